import { copyCounts, countValue, emptyCounts, mergeCounts } from '../../features/statistics/histogram.ts'
import type { HistogramCounts, MutableCounts } from '../../features/statistics/histogram.ts'
import type { ModelManifest } from '../ports/model-repository.ts'

/** Manifests by `model@version`. */
export type Manifests = ReadonlyMap<string, ModelManifest>

/** The name under which a model's own answers are counted when its manifest has a reference for them. */
export const SCORE_FEATURE = 'score'

/** More than this many (model, version, feature) at once are refused: counts are held in memory for each. */
export const MAX_DRIFT_SERIES = 4096

/** The part of a ScoreRecord that drift is counted from. */
export interface ScoredInputs {
  readonly model: string | null
  readonly modelVersion: string | null
  readonly score: number | null
  readonly inputs: Readonly<Record<string, number | null>>
}

/** One feature's counts over some span of arrival time. */
export interface FeatureCounts extends HistogramCounts {
  readonly model: string
  readonly version: string
  readonly feature: string
}

/** Counts of one model version, one entry per reference of its manifest and in its order. */
export type ModelCounts = readonly HistogramCounts[]

/** Counts by `model@version`. */
export type CountsByModel = ReadonlyMap<string, ModelCounts>

/** `model@version`, the key of `Manifests` and `CountsByModel`. */
export function modelKey(model: string, version: string): string {
  return `${model}@${version}`
}

/**
 * Checks that every reference can be counted against. Throws `RangeError`, naming model and feature, for edges that do
 * not ascend, counts that do not fit them, a feature referenced twice, or more than `MAX_DRIFT_SERIES` in all.
 */
export function checkReferences(manifests: Manifests): void {
  let series = 0
  for (const [key, manifest] of manifests) {
    const seen = new Set<string>()
    for (const reference of manifest.reference) {
      const where = `model ${key}, reference of ${reference.feature}`
      if (seen.has(reference.feature)) throw new RangeError(`${where}: appears twice; keep one in manifest.json`)
      seen.add(reference.feature)
      if (reference.edges.some((edge, i) => !Number.isFinite(edge) || edge <= (reference.edges[i - 1] ?? -Infinity))) {
        throw new RangeError(`${where}: edges must be finite and ascend strictly; train the model's manifest again`)
      }
      if (reference.counts.length !== reference.edges.length + 1) {
        throw new RangeError(
          `${where}: ${reference.counts.length} counts for ${reference.edges.length} edges; there must be one more`,
        )
      }
      series += 1
    }
  }
  if (series > MAX_DRIFT_SERIES) {
    throw new RangeError(
      `${series} features of ${manifests.size} model versions are watched for drift, at most ${MAX_DRIFT_SERIES} can be: ` +
        'retire old model versions',
    )
  }
}

/** A copy whose counts can be filled by `countScore`. */
export function openCounts(counts: CountsByModel): Map<string, MutableCounts[]> {
  return new Map([...counts].map(([key, features]) => [key, features.map(copyCounts)]))
}

/**
 * Counts one record in place, at about 0.1 µs a feature. Returns false for a record that no manifest describes. An
 * input the record does not carry, or carries as null (the default stood in), is missing.
 */
export function countScore(counts: Map<string, MutableCounts[]>, manifests: Manifests, scored: ScoredInputs): boolean {
  if (scored.model === null || scored.modelVersion === null) return false
  const key = modelKey(scored.model, scored.modelVersion)
  const manifest = manifests.get(key)
  if (manifest === undefined) return false
  let features = counts.get(key)
  if (features === undefined) {
    features = manifest.reference.map(reference => emptyCounts(reference.edges))
    counts.set(key, features)
  }
  for (const [index, reference] of manifest.reference.entries()) {
    const value = reference.feature === SCORE_FEATURE ? scored.score : scored.inputs[reference.feature]
    const target = features[index]
    if (target !== undefined) countValue(target, reference.edges, value)
  }
  return true
}

/** The counts of both together. */
export function addCounts(left: CountsByModel, right: CountsByModel): CountsByModel {
  const sum = new Map(left)
  for (const [key, features] of right) {
    const present = sum.get(key)
    sum.set(
      key,
      present === undefined
        ? features
        : features.map((counts, index) => {
            const other = present[index]
            return other === undefined ? counts : mergeCounts(other, counts)
          }),
    )
  }
  return sum
}

/** One entry per model version and feature, in the manifests' order. */
export function listCounts(counts: CountsByModel, manifests: Manifests): readonly FeatureCounts[] {
  return [...counts].flatMap(([key, features]) => {
    const manifest = manifests.get(key)
    if (manifest === undefined) return []
    return features.flatMap((each, index) => {
      const reference = manifest.reference[index]
      return reference === undefined
        ? []
        : [{ model: manifest.name, version: manifest.version, feature: reference.feature, ...each }]
    })
  })
}
