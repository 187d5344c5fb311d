import type { ByteReader, ByteWriter, FieldType, Input } from '../types.ts'
import { defineAggregator, type AggregatorDescriptor, type Algebra } from './descriptor.ts'

interface Count {
  count: number
}

/** `count()` and `count(field)`. */
export const count: AggregatorDescriptor = defineAggregator({
  family: 'count',
  kind: 'merge',
  version: 1,
  exactness: 'exact',
  params: {},
  doc: 'Without a field the number of rows, with a field the number of values that are not null (NaN counts). Empty: 0. Exact to 2^53. State: 1 to 8 bytes.',
  accepts: (_inputType): _inputType is FieldType | null => true,
  valueType: () => 'number',
  algebra: (inputType): Algebra<Count> => (inputType === null ? countOfRows : countOfValues),
  sql: rows => `length(${rows.times})`,
})

const shared = {
  empty: (): Count => ({ count: 0 }),
  merge: (left: Count, right: Count): Count => ({ count: left.count + right.count }),
  result: (state: Count): number => state.count,
  encode: (state: Count, out: ByteWriter): void => out.varint(state.count),
  decode: (input: ByteReader): Count => ({ count: input.varint() }),
  absorb: (state: Count, input: ByteReader): Count => {
    state.count += input.varint()
    return state
  },
}

const countOfRows: Algebra<Count> = {
  ...shared,
  add: state => {
    state.count++
    return state
  },
}

const countOfValues: Algebra<Count> = {
  ...shared,
  add: (state: Count, input: Input) => {
    if (input.cell !== null) state.count++
    return state
  },
}
