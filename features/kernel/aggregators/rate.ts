import type { FieldType } from '../types.ts'
import { defineAggregator, type AggregatorDescriptor, type Algebra } from './descriptor.ts'

interface Rows {
  count: number
}

/** `rate()` and `rate(field)`. */
export const rate: AggregatorDescriptor = defineAggregator({
  family: 'rate',
  kind: 'merge',
  version: 1,
  exactness: 'exact',
  params: {},
  doc: 'Rows per second: n / (declared length of the window in seconds); with a field the values that are not null (NaN counts). The divisor is the whole length, also for a tumbling window that is still open. Only for windows with a declared length: sliding and tumbling. Empty: 0. Exact integers, rounded once, up to 2^43 rows. State: 1 to 8 bytes.',
  accepts: (_inputType): _inputType is FieldType | null => true,
  valueType: () => 'number',
  algebra: inputType => rowsPerSecond(inputType),
  sql: rows => `length(${rows.times}) * 1000 / ${declaredLength(rows.lengthMs)}`,
})

function rowsPerSecond(inputType: FieldType | null): Algebra<Rows> {
  return {
    empty: () => ({ count: 0 }),
    add: (state, input) => {
      if (inputType === null || input.cell !== null) state.count++
      return state
    },
    merge: (left, right) => ({ count: left.count + right.count }),
    absorb: (state, input) => {
      state.count += input.varint()
      return state
    },
    result: (state, at) => (state.count * 1000) / declaredLength(at.lengthMs),
    encode: (state, out) => out.varint(state.count),
    decode: input => ({ count: input.varint() }),
  }
}

function declaredLength(lengthMs: number | null): number {
  if (lengthMs === null) {
    throw new RangeError('rate needs a window with a declared length: a sliding one such as 5m, or a tumbling one')
  }
  return lengthMs
}
