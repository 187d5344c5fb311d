import type { InferenceSession } from 'onnxruntime-node'
import { PortError } from '../../../ports/errors.ts'
import type { LoadedModel, ModelRuntime } from '../../../ports/model-runtime.ts'

/** Settings of the runtime; the defaults suit small models on a server that has other work to do. */
export interface OnnxOptions {
  /** Threads inside one operator; default 1. */
  readonly intraOpThreads?: number
}

const WARM_UP_RUNS = 3

/**
 * Runs ONNX files on the CPU of this process. A model has one float32 input `[rows, width]` with free rows, and a
 * float32 output `[rows]`, `[rows, 1]` or, as classifiers give it, `[rows, 2]` whose second column is the score.
 * `load` throws PortError `MODEL_INVALID` for anything else, naming what it found.
 */
export function createOnnxRuntime(options: OnnxOptions = {}): ModelRuntime {
  const intraOpThreads = options.intraOpThreads ?? 1
  return {
    load: async (path, { inputWidth, scoreOutput }) => {
      const ort = await import('onnxruntime-node')
      let session: InferenceSession
      try {
        session = await ort.InferenceSession.create(path, {
          executionProviders: ['cpu'],
          intraOpNumThreads: intraOpThreads,
          interOpNumThreads: 1,
          executionMode: 'sequential',
          logSeverityLevel: 3,
          extra: { session: { intra_op: { allow_spinning: '0' }, inter_op: { allow_spinning: '0' } } },
        })
      } catch (error) {
        throw invalid(path, `cannot be loaded: ${messageOf(error)}; is it a complete ONNX file?`, error)
      }
      try {
        const input = checkedInput(path, session, inputWidth)
        checkOutput(path, session, scoreOutput)
        const model = loadedModel(ort, session, { path, input, inputWidth, scoreOutput })
        await warmUp(path, model)
        return model
      } catch (error) {
        await session.release()
        throw error
      }
    },
  }
}

function messageOf(error: unknown): string {
  return error instanceof Error ? error.message : String(error)
}

function invalid(path: string, message: string, cause?: unknown): PortError {
  return new PortError('MODEL_INVALID', `model ${path} ${message}`, { cause })
}

function describe(metadata: InferenceSession.ValueMetadata | undefined): string {
  if (metadata === undefined) return 'nothing'
  if (!metadata.isTensor) return `"${metadata.name}" (not a tensor)`
  return `"${metadata.name}" (${metadata.type} [${metadata.shape.join(', ')}])`
}

function checkedInput(path: string, session: InferenceSession, width: number): string {
  const [input, ...others] = session.inputMetadata
  if (input === undefined || others.length > 0) {
    const found = session.inputMetadata.map(describe).join(', ')
    throw invalid(path, `must have one float32 input [rows, ${width}]; it has ${found || 'none'}`)
  }
  const wrong = (found: string): PortError =>
    invalid(path, `must have one float32 input [rows, ${width}]; ${describe(input)} ${found}`)
  if (!input.isTensor) throw wrong('is not a tensor: export it without ZipMap and sequences')
  if (input.type !== 'float32') throw wrong(`holds ${input.type}: export it with float32 inputs`)
  if (input.shape.length !== 2) throw wrong(`has ${input.shape.length} dimensions`)
  const [rows, columns] = input.shape
  if (typeof rows === 'number') throw wrong(`takes exactly ${rows} rows: export it with a free first dimension`)
  if (typeof columns === 'number' && columns !== width) {
    throw wrong(`takes ${columns} values a row, but the manifest names ${width} inputs`)
  }
  return input.name
}

function checkOutput(path: string, session: InferenceSession, scoreOutput: string): void {
  const output = session.outputMetadata.find(o => o.name === scoreOutput)
  if (output === undefined) {
    const found = session.outputMetadata.map(describe).join(', ')
    throw invalid(path, `has no output "${scoreOutput}"; it has ${found}: name one of them as scoreOutput`)
  }
  const wrong = (found: string): PortError =>
    invalid(path, `must answer float32 [rows], [rows, 1] or [rows, 2]; output ${describe(output)} ${found}`)
  if (!output.isTensor) throw wrong('is not a tensor: export the classifier with zipmap off')
  if (output.type !== 'float32') throw wrong(`holds ${output.type}`)
  if (output.shape.length < 1 || output.shape.length > 2) throw wrong(`has ${output.shape.length} dimensions`)
  const columns = output.shape[1]
  if (typeof columns === 'number' && columns !== 1 && columns !== 2) throw wrong(`has ${columns} columns`)
}

function loadedModel(
  ort: typeof import('onnxruntime-node'),
  session: InferenceSession,
  model: { readonly path: string; readonly input: string; readonly inputWidth: number; readonly scoreOutput: string },
): LoadedModel {
  const { path, input, inputWidth, scoreOutput } = model
  const fetches = [scoreOutput]
  let closed = false
  return {
    inputWidth,
    provider: 'cpu',
    run: async (features, rows) => {
      if (closed) throw new PortError('CLOSED', `model ${path} is closed`)
      const length = rows * inputWidth
      if (rows < 1 || features.length < length) {
        const found = `${rows} rows of ${inputWidth} from ${features.length} values`
        throw new PortError('MODEL_RUN', `model ${path} was asked for ${found}`)
      }
      const data = features.length === length ? features : features.subarray(0, length)
      let output: unknown
      try {
        const answer = await session.run({ [input]: new ort.Tensor('float32', data, [rows, inputWidth]) }, fetches)
        output = answer[scoreOutput]?.data
      } catch (error) {
        throw new PortError('MODEL_RUN', `model ${path} failed on ${rows} rows: ${messageOf(error)}`, { cause: error })
      }
      return scoresOf(path, output, rows)
    },
    close: async () => {
      if (closed) return
      closed = true
      await session.release()
    },
  }
}

function scoresOf(path: string, output: unknown, rows: number): Float32Array {
  if (output instanceof Float32Array) {
    if (output.length === rows) return output
    if (output.length === 2 * rows) return Float32Array.from({ length: rows }, (_, row) => output[2 * row + 1] ?? NaN)
  }
  const found = output instanceof Float32Array ? `${output.length} values` : typeof output
  throw new PortError('MODEL_RUN', `model ${path} answered ${found} for ${rows} rows; expected 1 or 2 values a row`)
}

async function warmUp(path: string, model: LoadedModel): Promise<void> {
  try {
    for (let run = 0; run < WARM_UP_RUNS; run++) {
      const rows = run + 1
      await model.run(new Float32Array(rows * model.inputWidth), rows)
    }
  } catch (error) {
    throw invalid(path, `fails on zeros: ${messageOf(error)}`, error)
  }
}
