/** Counts of one feature's values over fixed edges. `bins` has one entry more than the edges. */
export interface HistogramCounts {
  readonly bins: readonly number[]
  readonly missing: number
}

/** The same, open to change while it is being filled. */
export interface MutableCounts {
  readonly bins: number[]
  missing: number
}

/**
 * The bin of a value: the number of edges that are ≤ it, so that bin i covers [edges[i − 1], edges[i]), bin 0 what lies
 * below every edge and the last bin what lies at or above the last. `edges` ascend strictly; `value` is not NaN.
 */
export function binOf(edges: readonly number[], value: number): number {
  let low = 0
  let high = edges.length
  while (low < high) {
    const middle = (low + high) >>> 1
    if ((edges[middle] ?? Infinity) <= value) low = middle + 1
    else high = middle
  }
  return low
}

/** Zero counts to be filled over these edges: one bin more than there are edges. */
export function emptyCounts(edges: readonly number[]): MutableCounts {
  return { bins: Array.from({ length: edges.length + 1 }, () => 0), missing: 0 }
}

/** Counts one value in place; null, absent and NaN are missing. */
export function countValue(counts: MutableCounts, edges: readonly number[], value: number | null | undefined): void {
  if (value === null || value === undefined || Number.isNaN(value)) {
    counts.missing += 1
    return
  }
  const bin = binOf(edges, value)
  counts.bins[bin] = (counts.bins[bin] ?? 0) + 1
}

/** A copy that can be filled further. */
export function copyCounts(counts: HistogramCounts): MutableCounts {
  return { bins: [...counts.bins], missing: counts.missing }
}

/** The counts of both streams together. Throws `RangeError` when the two were not counted over the same edges. */
export function mergeCounts(left: HistogramCounts, right: HistogramCounts): HistogramCounts {
  if (left.bins.length !== right.bins.length) {
    throw new RangeError(
      `histograms of ${left.bins.length} and ${right.bins.length} bins cannot be merged: count both over one reference`,
    )
  }
  return {
    bins: left.bins.map((count, bin) => count + (right.bins[bin] ?? 0)),
    missing: left.missing + right.missing,
  }
}

/** All values counted, missing ones included. */
export function totalOf(counts: HistogramCounts): number {
  return counts.bins.reduce((sum, count) => sum + count, counts.missing)
}
