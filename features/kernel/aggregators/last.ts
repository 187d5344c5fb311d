import { defineAggregator, type AggregatorDescriptor } from './descriptor.ts'
import { endpointAlgebra, endpointSql } from './endpoint.ts'
import { isFieldType, valueTypeText } from './input-types.ts'

/** `last(field)`. */
export const last: AggregatorDescriptor = defineAggregator({
  family: 'last',
  kind: 'merge',
  version: 1,
  exactness: 'exact',
  params: {},
  doc: 'The value that is not null with the greatest (time, id); should two share both, the greatest value. NaN is kept. Empty: null. Exact. State: time, id and value, or 1 byte when empty.',
  accepts: isFieldType,
  valueType: inputType => `${valueTypeText(inputType)} | null`,
  algebra: inputType => endpointAlgebra(inputType, 1),
  sql: (rows, inputType) => endpointSql(inputType, rows.cells, -1),
})
