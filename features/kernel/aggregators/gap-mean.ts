import { ratioToNumber } from '../rounding.ts'
import type { FieldType } from '../types.ts'
import { defineAggregator, type AggregatorDescriptor, type Algebra } from './descriptor.ts'
import { decodeTimeSpan, encodeTimeSpan, type TimeSpan } from './gaps.ts'

/** `gapMean()` and `gapMean(field)`. */
export const gapMean: AggregatorDescriptor = defineAggregator({
  family: 'gapMean',
  kind: 'merge',
  version: 1,
  exactness: 'float',
  params: {},
  doc: 'The mean of the gaps in milliseconds between neighbouring rows in the order (time, id), which is (last time − first time) / (n − 1); with a field over rows where it is not null (NaN counts). Below two rows: null. Rows of one instant are 0 apart. The quotient of exact integers is rounded once. State: 1 byte when empty, otherwise 8 to 20.',
  accepts: (_inputType): _inputType is FieldType | null => true,
  valueType: () => 'number | null',
  algebra: inputType => meanOfGaps(inputType),
  sql: ({ times }) => `if(length(${times}) < 2, NULL, (${times}[-1] - ${times}[1]) / (toInt64(length(${times})) - 1))`,
})

function meanOfGaps(inputType: FieldType | null): Algebra<TimeSpan> {
  return {
    empty: () => ({ count: 0, first: 0, last: 0 }),
    add: (state, input) =>
      inputType !== null && input.cell === null ? state : append(state, 1, input.time, input.time),
    merge: (left, right) => append({ ...left }, right.count, right.first, right.last),
    absorb: (state, input) => {
      const { count, first, last } = decodeTimeSpan(input)
      return append(state, count, first, last)
    },
    result: ({ count, first, last }) => {
      if (count < 2) return null
      const span = last - first
      if (Number.isSafeInteger(span)) return span / (count - 1)
      return ratioToNumber(BigInt(last) - BigInt(first), BigInt(count - 1))
    },
    encode: encodeTimeSpan,
    decode: decodeTimeSpan,
  }
}

/** The state with `count` further rows; the mean needs only the ends, whose order does not matter. */
function append(state: TimeSpan, count: number, first: number, last: number): TimeSpan {
  if (count === 0) return state
  state.first = state.count === 0 || first < state.first ? first : state.first
  state.last = state.count === 0 || last > state.last ? last : state.last
  state.count += count
  return state
}
