import { argExtreme, argExtremeSql } from './arg-extreme.ts'
import { defineAggregator, type AggregatorDescriptor } from './descriptor.ts'
import { isFieldType, isScalarType, valueTypeText } from './input-types.ts'

/** `argMax(field, by)`. */
export const argMax: AggregatorDescriptor = defineAggregator({
  family: 'argMax',
  kind: 'merge',
  version: 1,
  exactness: 'exact',
  params: {},
  doc: 'The value of the field in the row where the second field is greatest; of several such rows the latest by (time, id, value). Rows where either is null or the second is NaN are skipped; NaN in the first is kept. Strings by their UTF-8 bytes, false before true. Empty: null. Exact. State: both values, time and id, or 1 byte when empty.',
  accepts: isFieldType,
  acceptsBy: isScalarType,
  valueType: inputType => `${valueTypeText(inputType)} | null`,
  algebra: (inputType, _params, byType) => argExtreme(inputType, byType, 1),
  sql: (rows, inputType, _params, byType) => argExtremeSql(rows, inputType, byType, 'max'),
})
