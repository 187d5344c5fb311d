import { decaySql } from './decay-sql.ts'
import { decayAlgebra, decayedTotal, HALF_LIFE_PARAM, type Decayed } from './decay.ts'
import { defineAggregator, type AggregatorDescriptor } from './descriptor.ts'
import { isNumericType } from './input-types.ts'

/** `decayedSum(field, halfLife)`. */
export const decayedSum: AggregatorDescriptor = defineAggregator({
  family: 'decayedSum',
  kind: 'merge',
  version: 1,
  exactness: 'float',
  params: HALF_LIFE_PARAM,
  doc: 'Σ x·2^(−(t − time) / h) over values that are not null; t is the instant that the window ends at and h the half-life; a boolean counts as 0 or 1, an int64 as the nearest double. Empty: 0. NaN and infinities as in sum, however old they are. Rows before (⌊newest / h⌋ − 63)·h are left out; each would weigh less than 2^−63 of the newest row. Terms are rounded once and added exactly; the answer is within 2^−50 of Σ|terms|. State: 1 byte when empty, otherwise 10 to 24 for each of at most 64 half-lives with rows, more for values of very different sizes.',
  accepts: isNumericType,
  valueType: () => 'number',
  algebra: (inputType, { halfLifeMs }) => {
    const unit = inputType.kind === 'decimal' ? 10 ** inputType.scale : 1
    return {
      ...decayAlgebra(inputType, halfLifeMs, { sum: true, weight: false }),
      result: (state: Decayed, at) => decayedTotal(state, 'sum', halfLifeMs, at.t) / unit,
    }
  },
  sql: (rows, inputType, { halfLifeMs }) => decaySql(rows, halfLifeMs, rows.t, inputType),
})
