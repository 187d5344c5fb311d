import type { FieldType } from '../types.ts'
import { defineAggregator, type AggregatorDescriptor } from './descriptor.ts'
import { timeSinceAlgebra, timeSinceSql } from './time-since.ts'

/** `timeSinceLast()` and `timeSinceLast(field)`. */
export const timeSinceLast: AggregatorDescriptor = defineAggregator({
  family: 'timeSinceLast',
  kind: 'merge',
  version: 1,
  exactness: 'exact',
  params: {},
  doc: 'Milliseconds from the greatest event time to the instant that the window ends at, over all rows, with a field over rows where it is not null (NaN counts). Empty: null. Exact. State: 1 byte when empty, otherwise 7 for times of this century.',
  accepts: (_inputType): _inputType is FieldType | null => true,
  valueType: () => 'number | null',
  algebra: inputType => timeSinceAlgebra(inputType, 1),
  sql: rows => timeSinceSql(rows, -1),
})
