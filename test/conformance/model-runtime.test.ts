import { mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { InferenceSession, Tensor } from 'onnxruntime-node'
import { afterAll, expect, it } from 'vitest'
import { createOnnxRuntime } from '../../topology/adapters/model-runtime/onnx/onnx.ts'
import { modelRuntimeConformance } from './model-runtime.ts'

const folder = mkdtempSync(join(tmpdir(), 'headwater-onnx-'))
const fixture = (name: string): string => join(import.meta.dirname, '..', 'fixtures', 'models', `${name}.onnx`)
const truncated = join(folder, 'truncated.onnx')
writeFileSync(truncated, readFileSync(fixture('column')).subarray(0, 120))

afterAll(() => rmSync(folder, { recursive: true, force: true }))

modelRuntimeConformance('onnxruntime-node on the CPU', {
  create: () => createOnnxRuntime(),
  inputWidth: 3,
  emptyFolder: folder,
  expected: ([a = 0, b = 0, c = 0]) => 1 / (1 + Math.exp(-(a * 0.25 - b * 0.5 + c * 0.125 + 0.0625))),
  models: [
    { title: '[rows, 1]', path: fixture('column'), scoreOutput: 'probability' },
    { title: '[rows]', path: fixture('flat'), scoreOutput: 'score' },
    { title: 'a classifier, [rows, 2]', path: fixture('classifier'), scoreOutput: 'probabilities' },
  ],
  refused: [
    {
      title: 'a wrong width',
      path: fixture('column'),
      inputWidth: 4,
      scoreOutput: 'probability',
      names: ['"features"', 'takes 3', '4'],
    },
    {
      title: 'an unknown output',
      path: fixture('classifier'),
      inputWidth: 3,
      scoreOutput: 'score',
      names: ['"score"', '"label"', '"probabilities"'],
    },
    {
      title: 'an output that is no float',
      path: fixture('classifier'),
      inputWidth: 3,
      scoreOutput: 'label',
      names: ['"label"', 'int64'],
    },
    {
      title: 'three classes',
      path: fixture('three-classes'),
      inputWidth: 3,
      scoreOutput: 'probabilities',
      names: ['3 columns'],
    },
    { title: 'float64 inputs', path: fixture('double'), inputWidth: 1, scoreOutput: 'probability', names: ['float64'] },
    { title: 'two inputs', path: fixture('two-inputs'), inputWidth: 1, scoreOutput: 'sum', names: ['"a"', '"b"'] },
    {
      title: 'a file cut short',
      path: truncated,
      inputWidth: 3,
      scoreOutput: 'probability',
      names: ['complete ONNX file'],
    },
  ],
})

it('answers what the session itself answers, bit for bit', async () => {
  const model = await createOnnxRuntime().load(fixture('classifier'), { inputWidth: 3, scoreOutput: 'probabilities' })
  const session = await InferenceSession.create(fixture('classifier'))
  const data = Float32Array.from({ length: 300 }, (_, index) => Math.sin(index) * 10 ** ((index % 9) - 4))
  const scores = await model.run(data, 100)
  const direct = await session.run({ features: new Tensor('float32', data, [100, 3]) })
  const probabilities = direct['probabilities']?.data as Float32Array
  expect(scores).toEqual(Float32Array.from({ length: 100 }, (_, row) => probabilities[2 * row + 1] ?? NaN))
  await model.close()
  await session.release()
})
