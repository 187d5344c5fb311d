import type { Aggregator, FieldType } from '../types.ts'
import { argMax } from './arg-max.ts'
import { argMin } from './arg-min.ts'
import { bottomN } from './bottom-n.ts'
import { categoryHistogram } from './category-histogram.ts'
import { count } from './count.ts'
import type { AggregatorDescriptor, RawParams } from './descriptor.ts'
import { countPerCategory } from './count-per-category.ts'
import { decayedCount } from './decayed-count.ts'
import { decayedMean } from './decayed-mean.ts'
import { decayedSum } from './decayed-sum.ts'
import { distinct } from './distinct.ts'
import { distinctSet } from './distinct-set.ts'
import { entropy } from './entropy.ts'
import { firstN } from './first-n.ts'
import { first } from './first.ts'
import { gapMean } from './gap-mean.ts'
import { gapStd } from './gap-std.ts'
import { histogram } from './histogram.ts'
import { kurtosis } from './kurtosis.ts'
import { lastN } from './last-n.ts'
import { last } from './last.ts'
import { lastNDistinct } from './last-n-distinct.ts'
import { longestStreak } from './longest-streak.ts'
import { max } from './max.ts'
import { mean } from './mean.ts'
import { median } from './median.ts'
import { min } from './min.ts'
import { quantile } from './quantile.ts'
import { rate } from './rate.ts'
import { skew } from './skew.ts'
import { std } from './std.ts'
import { sumOfSquares } from './sum-of-squares.ts'
import { sum } from './sum.ts'
import { timeSinceFirst } from './time-since-first.ts'
import { timeSinceLast } from './time-since-last.ts'
import { topCategoryRatio } from './top-category-ratio.ts'
import { topK } from './top-k.ts'
import { topN } from './top-n.ts'
import { variance } from './variance.ts'
import { vectorMax } from './vector-max.ts'
import { vectorMean } from './vector-mean.ts'
import { vectorMin } from './vector-min.ts'
import { vectorSum } from './vector-sum.ts'

export type { AggregatorDescriptor, ParamValue, RawParams } from './descriptor.ts'

/** Every aggregator family, in the order in which they are documented. */
export const AGGREGATORS: readonly AggregatorDescriptor[] = [
  count,
  sum,
  mean,
  sumOfSquares,
  min,
  max,
  variance,
  std,
  skew,
  kurtosis,
  first,
  last,
  firstN,
  lastN,
  argMin,
  argMax,
  topN,
  bottomN,
  quantile,
  median,
  distinct,
  distinctSet,
  lastNDistinct,
  entropy,
  topK,
  histogram,
  categoryHistogram,
  countPerCategory,
  topCategoryRatio,
  timeSinceFirst,
  timeSinceLast,
  gapMean,
  gapStd,
  rate,
  longestStreak,
  decayedCount,
  decayedSum,
  decayedMean,
  vectorSum,
  vectorMean,
  vectorMin,
  vectorMax,
]

const byFamily: ReadonlyMap<string, AggregatorDescriptor> = new Map(AGGREGATORS.map(entry => [entry.family, entry]))

/**
 * The aggregator of a family with these parameters over fields of this type (null: without an input). Throws
 * `RangeError` that names the family, parameter or type which is not known or not allowed.
 */
export function makeAggregator(
  family: string,
  params: RawParams,
  inputType: FieldType | null,
  byType: FieldType | null = null,
): Aggregator {
  const descriptor = byFamily.get(family)
  if (descriptor === undefined) {
    throw new RangeError(`no aggregator is named ${family}; there are ${[...byFamily.keys()].join(', ')}`)
  }
  return descriptor.make(inputType, params, byType)
}
