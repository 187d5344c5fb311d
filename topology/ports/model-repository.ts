/** How one model input is bound: `request.amount`, `card_activity.spend_24h` or `derived.amount_over_mean`. */
export interface ModelInput {
  readonly name: string
  /** What stands in for a null. */
  readonly default: number
}

/** One feature's frozen training distribution. */
export interface ReferenceHistogram {
  readonly feature: string
  /** Ascending inner edges; bin i covers [edges[i−1], edges[i]); outermost bins are underflow and overflow of the range. */
  readonly edges: readonly number[]
  /** `edges.length + 1` counts. */
  readonly counts: readonly number[]
  readonly missing: number
}

/**
 * What a model was made from and how it is called; `inputs` in the order of its columns, `rows` the size of its data
 * set, `trainedAt` ISO 8601.
 */
export interface ModelManifest {
  readonly name: string
  readonly version: string
  readonly inputs: readonly ModelInput[]
  readonly scoreOutput: string
  readonly planHash: string
  readonly trainedAt: string
  readonly rows: number
  readonly metrics: Readonly<Record<string, number>>
  readonly reference: readonly ReferenceHistogram[]
  /** File name → sha256 in hex. */
  readonly checksums: Readonly<Record<string, string>>
}

/**
 * Where models are kept, each with its manifest, by name and version. Errors carry code `MODEL_NOT_FOUND` or
 * `MODEL_INVALID`.
 */
export interface ModelRepository {
  /** The current version of a model, its manifest checked against its files' checksums. */
  open(name: string): Promise<{ readonly manifest: ModelManifest; readonly path: string }>
}
