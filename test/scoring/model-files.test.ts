import { createHash } from 'node:crypto'
import { copyFileSync, mkdirSync, mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import fc from 'fast-check'
import { afterEach, beforeEach, describe, expect, it } from 'vitest'
import { createFolderModelRepository, manifestProblems } from '../../topology/adapters/model-repository/folder.ts'
import type { ModelManifest } from '../../topology/ports/model-repository.ts'
import { checkManifestAgainstPlan, modelInputValue } from '../../topology/scoring/model-input.ts'
import { MODEL_PATH, compileWorld, manifest } from './world.ts'

let folder: string
beforeEach(() => {
  folder = mkdtempSync(join(tmpdir(), 'headwater-models-'))
})
afterEach(() => rmSync(folder, { recursive: true, force: true }))

const checksum = createHash('sha256').update(readFileSync(MODEL_PATH)).digest('hex')

function complete(version: string, changes: Partial<ModelManifest> = {}): ModelManifest {
  const reference = [{ feature: 'request.amount', edges: [1, 2], counts: [3, 4, 5], missing: 0 }]
  const checksums = { 'model.onnx': checksum }
  return { ...manifest, version, planHash: 'abc', metrics: { auc: 0.9 }, reference, checksums, ...changes }
}

function place(version: string, document: unknown): void {
  const home = join(folder, 'tiny', version)
  mkdirSync(home, { recursive: true })
  copyFileSync(MODEL_PATH, join(home, 'model.onnx'))
  writeFileSync(join(home, 'manifest.json'), typeof document === 'string' ? document : JSON.stringify(document))
}

const opened = () => createFolderModelRepository(folder).open('tiny')

describe('folder model repository', () => {
  it('opens the only version', async () => {
    place('1', complete('1'))
    expect(await opened()).toEqual({ manifest: complete('1'), path: join(folder, 'tiny', '1', 'model.onnx') })
  })

  it('opens the version that `current` names, and refuses to guess', async () => {
    place('1', complete('1'))
    place('2', complete('2'))
    await expect(opened()).rejects.toMatchObject({ code: 'MODEL_INVALID', message: expect.stringContaining('1, 2') })
    writeFileSync(join(folder, 'tiny', 'current'), '2\n')
    expect((await opened()).manifest.version).toBe('2')
    writeFileSync(join(folder, 'tiny', 'current'), '../2')
    await expect(opened()).rejects.toMatchObject({ code: 'MODEL_INVALID' })
    writeFileSync(join(folder, 'tiny', 'current'), '3')
    await expect(opened()).rejects.toMatchObject({
      code: 'MODEL_NOT_FOUND',
      message: expect.stringContaining('manifest.json'),
    })
  })

  it('says where it looked for what is not there', async () => {
    await expect(opened()).rejects.toMatchObject({ code: 'MODEL_NOT_FOUND', message: expect.stringContaining(folder) })
    mkdirSync(join(folder, 'tiny'))
    await expect(opened()).rejects.toMatchObject({ code: 'MODEL_NOT_FOUND' })
    for (const name of ['..', '../tiny', '']) {
      await expect(createFolderModelRepository(folder).open(name)).rejects.toMatchObject({ code: 'MODEL_NOT_FOUND' })
    }
  })

  it('refuses a file that is not the one the manifest speaks of', async () => {
    place('1', complete('1', { checksums: { 'model.onnx': '0'.repeat(64), '../secret': 'x', 'absent.bin': 'y' } }))
    const error: unknown = await opened().catch((error: unknown) => error)
    expect(error).toMatchObject({ code: 'MODEL_INVALID' })
    for (const part of [checksum, '0'.repeat(64), '../secret', 'absent.bin']) expect(String(error)).toContain(part)
  })

  it('refuses a manifest of another name or version, and one without a checksum', async () => {
    place('1', complete('2', { name: 'other', checksums: {} }))
    const error: unknown = await opened().catch((error: unknown) => error)
    for (const part of ['"other"', '"2"', 'model.onnx']) expect(String(error)).toContain(part)
  })

  it('names every problem of a manifest at once', async () => {
    const wrong = {
      ...complete('1'),
      name: 7,
      rows: 1.5,
      inputs: [{ name: 'amount', default: 0 }, { name: 'a.b', default: null }, { name: 'a.b', default: 1 }, 3],
      metrics: { auc: 'high' },
      reference: [{ feature: 'x.y', edges: [2, 1], counts: [1], missing: 0 }, null],
    }
    place('1', wrong)
    const error: unknown = await opened().catch((error: unknown) => error)
    expect(error).toMatchObject({ code: 'MODEL_INVALID' })
    for (const part of [
      'name must',
      'rows',
      'inputs[0].name',
      'inputs[1].default',
      'twice',
      'inputs[3]',
      'metrics',
      'ascend',
      '3 counts',
      'reference[1]',
    ]) {
      expect(String(error)).toContain(part)
    }
    place('1', '{"name": ')
    await expect(opened()).rejects.toMatchObject({
      code: 'MODEL_INVALID',
      message: expect.stringContaining('not JSON'),
    })
  })

  it('never throws on any JSON document', () => {
    fc.assert(
      fc.property(fc.jsonValue(), document => {
        expect(manifestProblems(document).length).toBeGreaterThan(0)
      }),
    )
  })
})

describe('a manifest against the plan', () => {
  const { plan } = compileWorld().bound
  const service = plan.services.find(each => each.name === 'scored')
  const check = (...names: string[]): string[] => {
    if (service === undefined) throw new Error('no service')
    const inputs = names.map(name => ({ name, default: 0 }))
    return checkManifestAgainstPlan({ ...manifest, inputs }, plan, service)
  }

  it('fits', () => {
    expect(
      check('request.amount', 'request.at', 'card_activity.count_1h', 'shop_profile.rating', 'derived.over_mean'),
    ).toEqual([])
  })

  it.each([
    ['request.nothing', 'no such field'],
    ['request.card', 'string'],
    ['nobody.count', 'no group nobody'],
    ['card_activity.nothing', 'no such feature'],
    ['card_activity.last_shop', 'string'],
    ['derived.nothing', 'derives no nothing'],
  ])('refuses %s', (name, reason) => {
    const problems = check('request.amount', name)
    expect(problems).toHaveLength(1)
    expect(problems[0]).toContain(name)
    expect(problems[0]).toContain(reason)
  })

  it('refuses a group that the service does not use, and a model that it does not name', () => {
    const plain = plan.services.find(each => each.name === 'plain')
    if (plain === undefined) throw new Error('no service')
    const inputs = [{ name: 'shop_profile.rating', default: 0 }]
    const problems = checkManifestAgainstPlan({ ...manifest, inputs }, plan, plain)
    expect(problems.join('\n')).toContain('names none')
    expect(problems.join('\n')).toContain('does not use group shop_profile')
  })
})

it('model inputs are numbers or nothing', () => {
  const cases = [1.5, -0.5, Infinity, true, false, 2n ** 60n, NaN, null, 'text', [1, 2]]
  expect(cases.map(modelInputValue)).toEqual([1.5, -0.5, Infinity, 1, 0, 2 ** 60, null, null, null, null])
})
