import { cellOrder } from '../order.ts'
import { cellHasher, createHash64 } from '../hash.ts'
import { estimateCount } from '../count-min.ts'
import type { Value } from '../types.ts'
import { defineAggregator, type AggregatorDescriptor } from './descriptor.ts'
import { cellToValue, isScalarType, valueTypeText, type ScalarType } from './input-types.ts'
import { heavyHitters, type HeavyHitters } from './heavy-hitters.ts'

const MAX_K = 1000
const MAX_BOUND = 10_000

/** `topK(field, k, bound)`. */
export const topK: AggregatorDescriptor = defineAggregator({
  family: 'topK',
  kind: 'merge',
  version: 1,
  exactness: 'kernel',
  params: {
    k: { kind: 'integer', min: 1, max: MAX_K, default: null, doc: 'how many values to list' },
    bound: {
      kind: 'integer',
      min: 1,
      max: MAX_BOUND,
      default: 1000,
      doc: 'up to how many distinct values the answer is exact, and how many candidates are kept beyond',
    },
  },
  doc: 'Pairs [value, count] of the k most frequent values that are not null, the most frequent first, of equal counts the lesser value first; all NaN are one value; never more than bound pairs. Empty: []. Exact up to bound distinct values. Beyond, for n values: one whose share of them is f is a candidate with a probability of at least 1 − (1 − f)^bound (each event draws from its hash, the bound values with the least draw are candidates), and counts come from a Count-Min sketch of 4 rows of w counters, w the least power of two that is at least 2 · bound: never too low, too high by more than n · e / w with a probability of at most 1.8 % each. With 1000: w is 2048, the excess is within 0.14 % of n, a value of 1 % of n is a candidate with 99.995 %. The draws are no secret: one who chooses event ids can choose candidates. State: 1 to 2 bytes, for each value kept the value, up to 6 bytes and its count; beyond the bound instead of the counts 1 to 3 bytes for each of the 4 · w counters, less where they are 0.',
  accepts: isScalarType,
  valueType: inputType => `readonly (readonly [${valueTypeText(inputType)}, number])[]`,
  algebra: (inputType, params) => ({
    ...heavyHitters(inputType, params.bound),
    result: mostFrequent(inputType, params.k),
  }),
})

function mostFrequent(type: ScalarType, k: number): (state: HeavyHitters) => Value {
  const toValue = cellToValue(type)
  const order = cellOrder(type)
  const hashCell = cellHasher(type)
  const hash = createHash64()
  return state => {
    const pairs = state.values.map((value, index) => {
      if (state.sketch === null) return { value, count: state.counts[index]! }
      hashCell(value, hash)
      return { value, count: estimateCount(state.sketch, hash) }
    })
    pairs.sort((a, b) => b.count - a.count || order(a.value, b.value))
    return pairs.slice(0, k).map(pair => [toValue(pair.value), pair.count])
  }
}
