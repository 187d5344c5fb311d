import { defineAggregator, type AggregatorDescriptor } from './descriptor.ts'
import { isNumericType } from './input-types.ts'
import { SAMPLE_PARAM, spreadAlgebra, spreadSql } from './moments.ts'

/** `variance(field)`. */
export const variance: AggregatorDescriptor = defineAggregator({
  family: 'variance',
  kind: 'merge',
  version: 1,
  exactness: 'float',
  params: SAMPLE_PARAM,
  doc: '(n·Σx² − (Σx)²) / (n·d) over values that are not null, with d = n, or n − 1 for sample. Empty, and sample of one: null. The power sums are exact and the quotient is rounded once, so there is no cancellation and never a negative value. A NaN or an infinity among the values gives NaN; a variance beyond the largest double is Infinity. State: a count and two sums; for doubles 30 to 50 bytes in ordinary use.',
  accepts: isNumericType,
  valueType: () => 'number | null',
  algebra: (inputType, params) => spreadAlgebra(inputType, params.sample, 'variance'),
  sql: (rows, inputType, params) => spreadSql(inputType, rows.cells, params.sample, 'variance'),
})
