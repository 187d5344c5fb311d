import type { FieldType } from '../types.ts'
import { decaySql } from './decay-sql.ts'
import { decayAlgebra, decayedTotal, HALF_LIFE_PARAM, type Decayed } from './decay.ts'
import { defineAggregator, type AggregatorDescriptor } from './descriptor.ts'

/** `decayedCount(halfLife)` and `decayedCount(field, halfLife)`. */
export const decayedCount: AggregatorDescriptor = defineAggregator({
  family: 'decayedCount',
  kind: 'merge',
  version: 1,
  exactness: 'float',
  params: HALF_LIFE_PARAM,
  doc: 'Σ 2^(−(t − time) / h) over all rows, with a field over rows where it is not null (NaN counts); t is the instant that the window ends at and h the half-life. Empty: 0. Rows before (⌊newest / h⌋ − 63)·h are left out; each would weigh less than 2^−63 of the newest row. Each weight is within 0.6 · 2^−52 of its true value, they are added exactly, and the answer is within 2^−50 of itself. State: 1 byte when empty, otherwise 10 to 14 for each of at most 64 half-lives with rows.',
  accepts: (_inputType): _inputType is FieldType | null => true,
  valueType: () => 'number',
  algebra: (inputType, { halfLifeMs }) => ({
    ...decayAlgebra(inputType, halfLifeMs, { sum: false, weight: true }),
    result: (state: Decayed, at) => decayedTotal(state, 'weight', halfLifeMs, at.t),
  }),
  sql: (rows, _inputType, { halfLifeMs }) => decaySql(rows, halfLifeMs, rows.t, null),
})
