import { defineAggregator, type AggregatorDescriptor } from './descriptor.ts'
import { endpointAlgebra, endpointSql } from './endpoint.ts'
import { isFieldType, valueTypeText } from './input-types.ts'

/** `first(field)`. */
export const first: AggregatorDescriptor = defineAggregator({
  family: 'first',
  kind: 'merge',
  version: 1,
  exactness: 'exact',
  params: {},
  doc: 'The value that is not null with the least (time, id); should two share both, the least value. NaN is kept. Empty: null. Exact. State: time, id and value, or 1 byte when empty.',
  accepts: isFieldType,
  valueType: inputType => `${valueTypeText(inputType)} | null`,
  algebra: inputType => endpointAlgebra(inputType, -1),
  sql: (rows, inputType) => endpointSql(inputType, rows.cells, 1),
})
