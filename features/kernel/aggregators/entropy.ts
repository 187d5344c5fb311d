import type { Value } from '../types.ts'
import { boundedCounts, categoryBound, type BoundedCounts } from './bounded-counts.ts'
import { defineAggregator, type AggregatorDescriptor } from './descriptor.ts'
import { boundedCountsSql } from './frequency-sql.ts'
import { isScalarType } from './input-types.ts'

/** `entropy(field, bound)`. */
export const entropy: AggregatorDescriptor = defineAggregator({
  family: 'entropy',
  kind: 'merge',
  version: 1,
  exactness: 'float',
  params: { bound: categoryBound },
  doc: "Shannon's entropy in bits of the values that are not null: Σ (c / n) · log2(n / c) over the counts c of the distinct values, n their sum; 0 for one value, log2 k for k equally frequent ones; all NaN are one value. Empty: null. Exact counts up to the bound of distinct values, the sum rounded in floating point in the order of the values; beyond it the bound least values are told apart and all others together are one more. State: 1 to 2 bytes, each value kept with its count, and the count of the others.",
  accepts: isScalarType,
  valueType: () => 'number | null',
  algebra: (inputType, params) => boundedCounts('entropy', inputType, params.bound, entropyOf),
  sql: (rows, inputType, params) => {
    const share = '(hw_n - hw_k) / hw_n'
    const bits = `if(2 * hw_k > hw_n, -log1p(-(${share})) / ${Math.LN2}, log2(hw_n / hw_k))`
    const sum = `arraySum(hw_k -> arrayMap(hw_n -> hw_k / hw_n * ${bits}, [arraySum(hw_e)])[1], hw_e)`
    return `arrayMap(hw_e -> if(empty(hw_e), NULL, ${sum}), [${boundedCountsSql(rows.cells, inputType, params.bound)}])[1]`
  },
})

/**
 * Every term is at least 0, so nothing cancels; the term of a count above half goes through log1p, which keeps the
 * digits that `log2` of a ratio near 1 loses.
 */
function entropyOf(state: BoundedCounts): Value {
  let total = state.other
  for (const count of state.counts) total += count
  if (total === 0) return null
  let bits = 0
  for (const count of state.counts) bits += term(count, total)
  return state.other > 0 ? bits + term(state.other, total) : bits
}

function term(count: number, total: number): number {
  const surprise = 2 * count > total ? -Math.log1p(-(total - count) / total) / Math.LN2 : Math.log2(total / count)
  return (count / total) * surprise + 0
}
