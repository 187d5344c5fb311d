import { defineAggregator, type AggregatorDescriptor } from './descriptor.ts'
import { isVectorType } from './input-types.ts'
import { vectorExtremes, vectorExtremesSql } from './vectors.ts'

/** `vectorMin(field)`. */
export const vectorMin: AggregatorDescriptor = defineAggregator({
  family: 'vectorMin',
  kind: 'merge',
  version: 1,
  exactness: 'exact',
  params: {},
  doc: 'The element-wise least of the vectors that are not null. NaN elements are skipped; a place that held only NaN is NaN. Empty: null. Exact. State: 1 byte, then 8 bytes per element.',
  accepts: isVectorType,
  valueType: () => 'readonly number[] | null',
  algebra: inputType => vectorExtremes(inputType.length, -1),
  sql: rows => vectorExtremesSql(rows.cells, 'min'),
})
