import type { RawParams } from '../../features/kernel/aggregators/index.ts'

/** The parameters with which each family is tried; `[{}]` for families that are not listed. */
export const FAMILY_PARAMS: Readonly<Record<string, readonly RawParams[]>> = {
  variance: [{}, { sample: true }],
  std: [{}, { sample: true }],
  lastN: [{ n: 1 }, { n: 4 }, { n: 1000 }],
  distinct: [{ bound: 1 }, { bound: 4 }, {}],
  distinctSet: [{ bound: 1 }, { bound: 3 }, { bound: 1000 }],
  lastNDistinct: [{ n: 1 }, { n: 3 }, { n: 1000 }],
  entropy: [{ bound: 1 }, { bound: 3 }, {}],
  topK: [{ k: 1, bound: 1 }, { k: 2, bound: 3 }, { k: 3 }],
  histogram: [{ edges: [0] }, { edges: [-2.005, -1, 0, 0.1, 3, 9007199254740992, 1e20] }],
  categoryHistogram: [{ categories: ['true', '1', 'a'] }],
  countPerCategory: [{ bound: 1 }, { bound: 3 }, {}],
  topCategoryRatio: [{ bound: 1 }, { bound: 3 }, {}],
  gapStd: [{}, { sample: true }],
  decayedCount: [{ halfLifeMs: 1000 }, { halfLifeMs: 34_560_000_000 }],
  decayedSum: [{ halfLifeMs: 1000 }, { halfLifeMs: 34_560_000_000 }],
  decayedMean: [{ halfLifeMs: 1000 }, { halfLifeMs: 34_560_000_000 }],
  skew: [{}, { sample: true }],
  kurtosis: [{}, { sample: true }],
  firstN: [{ n: 1 }, { n: 4 }, { n: 1000 }],
  topN: [{ n: 1 }, { n: 4 }, { n: 1000 }],
  bottomN: [{ n: 1 }, { n: 4 }, { n: 1000 }],
  quantile: [{ q: 0.5 }, { q: 0, error: 0.1, buckets: 4 }, { q: 0.9, error: 0.001, buckets: 7 }],
  median: [{ bound: 1 }, { bound: 5 }, {}],
}
