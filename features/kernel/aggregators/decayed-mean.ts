import { decayQuotientSql } from './decay-sql.ts'
import { decayAlgebra, decayedQuotient, HALF_LIFE_PARAM, type Decayed } from './decay.ts'
import { defineAggregator, type AggregatorDescriptor } from './descriptor.ts'
import { isNumericType } from './input-types.ts'

/** `decayedMean(field, halfLife)`. */
export const decayedMean: AggregatorDescriptor = defineAggregator({
  family: 'decayedMean',
  kind: 'merge',
  version: 1,
  exactness: 'float',
  params: HALF_LIFE_PARAM,
  doc: 'Σ x·w / Σ w with w = 2^(time / h) over values that are not null: decayedSum over decayedCount of the same rows, which does not depend on the instant and never divides 0 by 0. A boolean counts as 0 or 1, an int64 as the nearest double. Empty: null. NaN and infinities as in sum, however old they are. Rows before (⌊newest / h⌋ − 63)·h are left out; each would weigh less than 2^−63 of the newest row. The answer is within 2^−50 of Σ|x|·w / Σ w. State: that of decayedSum and decayedCount together, landmarks once.',
  accepts: isNumericType,
  valueType: () => 'number | null',
  algebra: (inputType, { halfLifeMs }) => {
    const unit = inputType.kind === 'decimal' ? 10 ** inputType.scale : 1
    return {
      ...decayAlgebra(inputType, halfLifeMs, { sum: true, weight: true }),
      result: (state: Decayed) => {
        const quotient = decayedQuotient(state)
        return quotient === null ? null : quotient / unit
      },
    }
  },
  sql: (rows, inputType, { halfLifeMs }) =>
    `if(empty(${rows.times}), NULL, ${decayQuotientSql(rows, halfLifeMs, inputType)})`,
})
