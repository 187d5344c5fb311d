import { writeFileSync } from 'node:fs'
import { join } from 'node:path'
import { afterEach, describe, expect, it } from 'vitest'
import type { LoadedModel, ModelRuntime } from '../../topology/ports/model-runtime.ts'

/** One case of a model file that every runtime must refuse, with what the message must name. */
export interface RefusedModel {
  readonly title: string
  readonly path: string
  readonly inputWidth: number
  readonly scoreOutput: string
  readonly names: readonly string[]
}

/** What a runtime is judged by: model files that compute the same function in different output shapes. */
export interface ModelRuntimeCase {
  create(): ModelRuntime
  /** Each answers `expected(row)` for a row of `inputWidth` values. */
  readonly models: readonly { readonly title: string; readonly path: string; readonly scoreOutput: string }[]
  readonly inputWidth: number
  expected(row: readonly number[]): number
  readonly refused: readonly RefusedModel[]
  readonly emptyFolder: string
}

/** The suite that every model runtime passes. */
export function modelRuntimeConformance(name: string, setup: ModelRuntimeCase): void {
  describe(`model runtime: ${name}`, () => {
    const open: LoadedModel[] = []
    afterEach(async () => {
      for (const model of open.splice(0)) await model.close()
    })
    const load = async (path: string, scoreOutput: string): Promise<LoadedModel> => {
      const model = await setup.create().load(path, { inputWidth: setup.inputWidth, scoreOutput })
      open.push(model)
      return model
    }
    const rowsOf = (count: number): number[][] =>
      Array.from({ length: count }, (_, row) =>
        Array.from({ length: setup.inputWidth }, (_, column) => Math.fround(Math.sin(row * 7 + column) * 3)),
      )

    for (const { title, path, scoreOutput } of setup.models) {
      it(`answers one score a row: ${title}`, async () => {
        const model = await load(path, scoreOutput)
        expect(model.inputWidth).toBe(setup.inputWidth)
        expect(model.provider).not.toBe('')
        const rows = rowsOf(17)
        const scores = await model.run(Float32Array.from(rows.flat()), rows.length)
        expect(scores).toHaveLength(rows.length)
        rows.forEach((row, index) => expect(scores[index]).toBeCloseTo(setup.expected(row), 6))
      })

      it(`answers a row alike alone and among others: ${title}`, async () => {
        const model = await load(path, scoreOutput)
        const rows = rowsOf(9)
        const together = await model.run(Float32Array.from(rows.flat()), rows.length)
        for (const [index, row] of rows.entries()) {
          const [alone] = await model.run(Float32Array.from(row), 1)
          expect(alone).toBe(together[index])
        }
      })
    }

    it('reads only the rows it is told of', async () => {
      const [first] = setup.models
      const model = await load(first?.path ?? '', first?.scoreOutput ?? '')
      const scores = await model.run(new Float32Array(setup.inputWidth * 5), 2)
      expect(scores).toHaveLength(2)
      await expect(model.run(new Float32Array(setup.inputWidth), 2)).rejects.toMatchObject({ code: 'MODEL_RUN' })
      await expect(model.run(new Float32Array(0), 0)).rejects.toMatchObject({ code: 'MODEL_RUN' })
    })

    it('refuses to run when closed, and closes twice', async () => {
      const [first] = setup.models
      const model = await load(first?.path ?? '', first?.scoreOutput ?? '')
      await model.close()
      await model.close()
      await expect(model.run(new Float32Array(setup.inputWidth), 1)).rejects.toMatchObject({ code: 'CLOSED' })
    })

    for (const { title, path, inputWidth, scoreOutput, names } of setup.refused) {
      it(`refuses ${title}`, async () => {
        const error: unknown = await setup
          .create()
          .load(path, { inputWidth, scoreOutput })
          .catch((error: unknown) => error)
        expect(error).toMatchObject({ code: 'MODEL_INVALID' })
        for (const part of [path, ...names]) expect((error as Error).message).toContain(part)
      })
    }

    it('refuses a file that is no model, one that is cut short, and one that is absent', async () => {
      const noise = join(setup.emptyFolder, 'noise.onnx')
      const empty = join(setup.emptyFolder, 'empty.onnx')
      writeFileSync(noise, Buffer.from('not a model at all'))
      writeFileSync(empty, '')
      for (const path of [noise, empty, join(setup.emptyFolder, 'absent.onnx')]) {
        const loading = setup.create().load(path, { inputWidth: 3, scoreOutput: 'probability' })
        await expect(loading).rejects.toMatchObject({ code: 'MODEL_INVALID', message: expect.stringContaining(path) })
      }
    })
  })
}
