import { defineAggregator, type AggregatorDescriptor } from './descriptor.ts'
import { endpointAlgebra } from './endpoint.ts'
import { isFieldType, valueTypeText } from './input-types.ts'

/** `first(field)`. */
export const first: AggregatorDescriptor = defineAggregator({
  family: 'first',
  kind: 'merge',
  version: 1,
  params: {},
  doc: 'The value that is not null with the least (time, id); should two share both, the least value. NaN is kept. Empty: null. Exact. State: time, id and value, or 1 byte when empty.',
  accepts: isFieldType,
  valueType: inputType => `${valueTypeText(inputType)} | null`,
  algebra: inputType => endpointAlgebra(inputType, -1),
})
