import { defineAggregator, type AggregatorDescriptor, type Algebra } from './descriptor.ts'
import { cellExtreme, decodeExtreme, extremeSql, numberExtremeCodec, type NumberExtreme } from './extreme.ts'
import { isNumberCell, isScalarType, valueTypeText, type ScalarType } from './input-types.ts'

/** `min(field)`. */
export const min: AggregatorDescriptor = defineAggregator({
  family: 'min',
  kind: 'merge',
  version: 1,
  exactness: 'exact',
  params: {},
  doc: 'The least value that is not null and not NaN; strings by their UTF-8 bytes, false before true. Empty: null. Exact. State: 1 byte and the value.',
  accepts: isScalarType,
  valueType: inputType => `${valueTypeText(inputType)} | null`,
  algebra: (inputType): Algebra<unknown> =>
    isNumberCell(inputType) ? numberMin(inputType) : cellExtreme(inputType, -1),
  sql: (rows, inputType) => extremeSql(inputType, rows.cells, 'min'),
})

function numberMin(type: ScalarType): Algebra<NumberExtreme> {
  return {
    ...numberExtremeCodec(type, Infinity),
    add: (state, input) => {
      const value = input.cell as number | null
      if (value !== null && value === value) {
        state.seen = true
        if (value < state.value) state.value = value
      }
      return state
    },
    merge: (left, right) => ({
      value: right.value < left.value ? right.value : left.value,
      seen: left.seen || right.seen,
    }),
    absorb: (state, input) => {
      const value = decodeExtreme(type, input) as number | null
      if (value !== null) {
        state.seen = true
        if (value < state.value) state.value = value
      }
      return state
    },
  }
}
