import type { Value } from '../types.ts'
import { boundedCounts, categoryBound, type BoundedCounts } from './bounded-counts.ts'
import { defineAggregator, type AggregatorDescriptor } from './descriptor.ts'
import { boundedCountsSql } from './frequency-sql.ts'
import { isScalarType } from './input-types.ts'

/** `topCategoryRatio(field, bound)`. */
export const topCategoryRatio: AggregatorDescriptor = defineAggregator({
  family: 'topCategoryRatio',
  kind: 'merge',
  version: 1,
  exactness: 'exact',
  params: { bound: categoryBound },
  doc: 'The greatest count of one distinct value over the number of values that are not null, both counting NaN as one value: above 0, at most 1. Empty: null. Exact, rounded once, up to the bound of distinct values; beyond it the bound least values are told apart and all others together are one more, so the ratio is then never too low. State: 1 to 2 bytes, each value kept with its count, and the count of the others.',
  accepts: isScalarType,
  valueType: () => 'number | null',
  algebra: (inputType, params) => boundedCounts('topCategoryRatio', inputType, params.bound, ratioOf),
  sql: (rows, inputType, params) =>
    `arrayMap(hw_e -> if(empty(hw_e), NULL, arrayMax(hw_e) / arraySum(hw_e)), [${boundedCountsSql(rows.cells, inputType, params.bound)}])[1]`,
})

function ratioOf(state: BoundedCounts): Value {
  let total = state.other
  let greatest = state.other
  for (const count of state.counts) {
    total += count
    if (count > greatest) greatest = count
  }
  return total === 0 ? null : greatest / total
}
