import { mergeCounts, totalOf } from './histogram.ts'
import type { HistogramCounts } from './histogram.ts'
import { chiMean, chiSquareQuantile, chiSquareTail, normalTwoSided } from './special.ts'

/** Added to the count of every bin in use before PSI takes logarithms. */
export const PSI_SMOOTHING = 0.5

/** What a statistic is expected to be while nothing drifts: its mean, and what it stays below 95 % and 99 % of the time. */
export interface NoiseBand {
  readonly mean: number
  readonly p95: number
  readonly p99: number
}

/** One feature's current counts against its reference. Sizes count missing values too. */
export interface FeatureDrift {
  readonly referenceRows: number
  readonly currentRows: number
  /** Bins that hold a value on either side, the missing ones counted as one bin. */
  readonly binsInUse: number
  readonly psi: number
  readonly psiBand: NoiseBand
  /** Probability of a PSI this large while nothing drifts. */
  readonly psiPValue: number
  /** Jensen–Shannon distance, base 2, from 0 to 1. */
  readonly js: number
  readonly jsBand: NoiseBand
  readonly missingReference: number
  readonly missingCurrent: number
  /** Current missing rate minus the reference's, −1 to 1. */
  readonly missingDifference: number
  /** Of the absolute difference. */
  readonly missingBand: NoiseBand
  readonly missingPValue: number
  /** −1 to 1: how much likelier a current value lies in a higher bin than a reference value than in a lower one. */
  readonly direction: number
}

/** Bins in use on either side, the missing values last; empty on both sides says nothing and is left out. */
function pairs(reference: HistogramCounts, current: HistogramCounts): readonly (readonly [number, number])[] {
  const merged = mergeCounts(reference, current)
  const used = merged.bins.flatMap((sum, bin) =>
    sum > 0 ? [[reference.bins[bin] ?? 0, current.bins[bin] ?? 0] as const] : [],
  )
  return merged.missing > 0 ? [...used, [reference.missing, current.missing] as const] : used
}

/** The number of bins in use on either side; the degrees of freedom of the noise are one less. */
export function binsInUse(reference: HistogramCounts, current: HistogramCounts): number {
  return pairs(reference, current).length
}

/**
 * Population stability index Σ (p − q) · ln(p / q) over the bins in use, missing values as a bin of their own, in nats.
 * Every count is smoothed by 0.5, and p and q are normalised after it. 0 when either side is empty. It is the symmetrised divergence of
 * S. Kullback and R. Leibler, "On Information and Sufficiency", Ann. Math. Stat. 22 (1951).
 */
export function psi(reference: HistogramCounts, current: HistogramCounts): number {
  const used = pairs(reference, current)
  const n = totalOf(current)
  const m = totalOf(reference)
  if (n === 0 || m === 0) return 0
  const smoothing = used.length * PSI_SMOOTHING
  let sum = 0
  for (const [referenceCount, currentCount] of used) {
    const p = (currentCount + PSI_SMOOTHING) / (n + smoothing)
    const q = (referenceCount + PSI_SMOOTHING) / (m + smoothing)
    sum += (p - q) * Math.log(p / q)
  }
  return Math.max(0, sum)
}

/**
 * Jensen–Shannon distance: the square root of H((p + q) / 2) − (H(p) + H(q)) / 2 in bits, missing values as a bin of
 * their own; 0 to 1, without smoothing. 0 when either side is empty. Source: D. Endres and J. Schindelin, "A New Metric for Probability
 * Distributions", IEEE Trans. Inf. Theory 49 (2003).
 */
export function jensenShannonDistance(reference: HistogramCounts, current: HistogramCounts): number {
  const n = totalOf(current)
  const m = totalOf(reference)
  if (n === 0 || m === 0) return 0
  let divergence = 0
  for (const [referenceCount, currentCount] of pairs(reference, current)) {
    const p = currentCount / n
    const q = referenceCount / m
    const middle = (p + q) / 2
    if (p > 0) divergence += (p / 2) * Math.log2(p / middle)
    if (q > 0) divergence += (q / 2) * Math.log2(q / middle)
  }
  return Math.sqrt(Math.min(1, Math.max(0, divergence)))
}

/**
 * PSI of two samples of n and m values of one distribution over B bins ≈ (1/n + 1/m) · χ² with B − 1 degrees of
 * freedom. Source: B. Yurdakul and J. Naranjo, "Statistical properties of the population stability index", Journal of
 * Risk Model Validation 14 (2020). All 0 where nothing can vary.
 */
export function psiNoise(bins: number, currentRows: number, referenceRows: number): NoiseBand {
  const degrees = bins - 1
  if (degrees < 1 || currentRows === 0 || referenceRows === 0) return { mean: 0, p95: 0, p99: 0 }
  const scale = 1 / currentRows + 1 / referenceRows
  return {
    mean: scale * degrees,
    p95: scale * chiSquareQuantile(0.95, degrees),
    p99: scale * chiSquareQuantile(0.99, degrees),
  }
}

/** Probability of a PSI at least this large under `psiNoise`'s law; 1 where nothing can vary. */
export function psiPValue(value: number, bins: number, currentRows: number, referenceRows: number): number {
  if (bins < 2 || currentRows === 0 || referenceRows === 0) return 1
  return chiSquareTail(value / (1 / currentRows + 1 / referenceRows), bins - 1)
}

/**
 * The same for the Jensen–Shannon distance. Both divergences are f-divergences, of which the second-order term at p = q
 * is f″(1) / 2 · Σ (p − q)² / q: f″(1) = 2 for PSI and 1 / (4 ln 2) for Jensen–Shannon in bits, so that
 * JSD ≈ PSI / (8 ln 2) ≈ (1/n + 1/m) / (8 ln 2) · χ² and the distance is its root, whose mean is that of χ.
 * Source: I. Csiszár and P. Shields, "Information Theory and Statistics: A Tutorial" (2004), section 4.
 */
export function jensenShannonNoise(bins: number, currentRows: number, referenceRows: number): NoiseBand {
  const degrees = bins - 1
  if (degrees < 1 || currentRows === 0 || referenceRows === 0) return { mean: 0, p95: 0, p99: 0 }
  const scale = Math.sqrt((1 / currentRows + 1 / referenceRows) / (8 * Math.LN2))
  return {
    mean: Math.min(1, scale * chiMean(degrees)),
    p95: Math.min(1, scale * Math.sqrt(chiSquareQuantile(0.95, degrees))),
    p99: Math.min(1, scale * Math.sqrt(chiSquareQuantile(0.99, degrees))),
  }
}

/**
 * The difference of two missing rates by the pooled two-proportion normal test: z = (p − q) / √(r (1 − r)(1/n + 1/m)),
 * r the rate of both samples together. Source: A. Agresti, "Categorical Data Analysis", 3rd edition (2013), section
 * 3.2. The band is that of the absolute difference; p-value 1 where nothing can vary.
 */
export function missingRateDifference(
  reference: HistogramCounts,
  current: HistogramCounts,
): { readonly difference: number; readonly band: NoiseBand; readonly pValue: number } {
  const n = totalOf(current)
  const m = totalOf(reference)
  if (n === 0 || m === 0) return { difference: 0, band: { mean: 0, p95: 0, p99: 0 }, pValue: 1 }
  const difference = current.missing / n - reference.missing / m
  const pooled = (current.missing + reference.missing) / (n + m)
  const error = Math.sqrt(pooled * (1 - pooled) * (1 / n + 1 / m))
  return {
    difference,
    band: {
      mean: error * Math.sqrt(2 / Math.PI),
      p95: error * Math.sqrt(chiSquareQuantile(0.95, 1)),
      p99: error * Math.sqrt(chiSquareQuantile(0.99, 1)),
    },
    pValue: error === 0 ? 1 : normalTwoSided(difference / error),
  }
}

/**
 * P(current bin > reference bin) − P(current bin < reference bin) over the values that are present, −1 to 1.
 * Source: N. Cliff, "Dominance statistics: Ordinal analyses to answer ordinal questions", Psychological Bulletin 114
 * (1993).
 */
export function direction(reference: HistogramCounts, current: HistogramCounts): number {
  const n = totalOf(current) - current.missing
  const m = totalOf(reference) - reference.missing
  if (n === 0 || m === 0) return 0
  let below = 0
  let sum = 0
  for (const [bin, count] of reference.bins.entries()) {
    const share = count / m
    sum += ((current.bins[bin] ?? 0) / n) * (below - (1 - below - share))
    below += share
  }
  return Math.max(-1, Math.min(1, sum))
}

/** Every drift statistic of one feature. Throws `RangeError` when the two were not counted over the same edges. */
export function compareCounts(reference: HistogramCounts, current: HistogramCounts): FeatureDrift {
  const referenceRows = totalOf(reference)
  const currentRows = totalOf(current)
  const bins = binsInUse(reference, current)
  const index = psi(reference, current)
  const missing = missingRateDifference(reference, current)
  return {
    referenceRows,
    currentRows,
    binsInUse: bins,
    psi: index,
    psiBand: psiNoise(bins, currentRows, referenceRows),
    psiPValue: psiPValue(index, bins, currentRows, referenceRows),
    js: jensenShannonDistance(reference, current),
    jsBand: jensenShannonNoise(bins, currentRows, referenceRows),
    missingReference: referenceRows === 0 ? 0 : reference.missing / referenceRows,
    missingCurrent: currentRows === 0 ? 0 : current.missing / currentRows,
    missingDifference: missing.difference,
    missingBand: missing.band,
    missingPValue: missing.pValue,
    direction: direction(reference, current),
  }
}
