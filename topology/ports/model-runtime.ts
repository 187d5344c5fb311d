/** A loaded model: rows of float32 in, one probability a row out. */
export interface LoadedModel {
  readonly inputWidth: number
  /** Where it really runs, such as `cpu`. */
  readonly provider: string
  /** `rows` × `inputWidth` values, row by row; resolves to one score per row. Errors carry code `MODEL_RUN`. */
  run(features: Float32Array, rows: number): Promise<Float32Array>
  close(): Promise<void>
}

/** What makes models runnable. Errors carry code `MODEL_INVALID`. */
export interface ModelRuntime {
  /** Loads and warms up; refuses a model whose inputs or outputs do not fit, naming what it found. */
  load(path: string, options: { readonly inputWidth: number; readonly scoreOutput: string }): Promise<LoadedModel>
}
