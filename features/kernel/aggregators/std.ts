import { defineAggregator, type AggregatorDescriptor } from './descriptor.ts'
import { isNumericType } from './input-types.ts'
import { SAMPLE_PARAM, spreadAlgebra, spreadSql } from './moments.ts'

/** `std(field)`. */
export const std: AggregatorDescriptor = defineAggregator({
  family: 'std',
  kind: 'merge',
  version: 1,
  exactness: 'float',
  params: SAMPLE_PARAM,
  doc: '√((n·Σx² − (Σx)²) / (n·d)) over values that are not null, with d = n, or n − 1 for sample: the root of variance. Empty, and sample of one: null. The power sums are exact and the root is rounded once, so it is also right where the variance itself would be beyond the largest double or below the smallest. A NaN or an infinity among the values gives NaN. State: as variance.',
  accepts: isNumericType,
  valueType: () => 'number | null',
  algebra: (inputType, params) => spreadAlgebra(inputType, params.sample, 'deviation'),
  sql: (rows, inputType, params) => spreadSql(inputType, rows.cells, params.sample, 'deviation'),
})
