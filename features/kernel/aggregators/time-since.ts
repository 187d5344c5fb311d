import type { FieldType } from '../types.ts'
import type { Algebra, SqlRows } from './descriptor.ts'

/** The earliest or latest time; it means something only when `seen`. */
interface Instant {
  seen: boolean
  time: number
}

/**
 * The time from one end of the rows (`sign` 1 the last, −1 the first) to the instant of the read, in milliseconds;
 * with an input type only rows whose cell is not null.
 */
export function timeSinceAlgebra(inputType: FieldType | null, sign: 1 | -1): Algebra<Instant> {
  const take = (state: Instant, time: number): Instant => {
    if (!state.seen || (time - state.time) * sign > 0) state.time = time
    state.seen = true
    return state
  }
  const decode: Algebra<Instant>['decode'] = input => {
    const tag = input.u8()
    if (tag > 1) throw new RangeError(`no time since has the tag ${tag}`)
    return tag === 0 ? { seen: false, time: 0 } : { seen: true, time: input.int() }
  }
  return {
    decisive: sign === 1 ? 'last' : 'first',
    idempotent: true,
    empty: () => ({ seen: false, time: 0 }),
    add: (state, input) => (inputType !== null && input.cell === null ? state : take(state, input.time)),
    merge: (left, right) => {
      const merged = { seen: left.seen, time: left.time }
      return right.seen ? take(merged, right.time) : merged
    },
    absorb: (state, input) => {
      const other = decode(input)
      return other.seen ? take(state, other.time) : state
    },
    result: (state, at) => (state.seen ? at.t - state.time : null),
    encode: (state, out) => {
      out.u8(state.seen ? 1 : 0)
      if (state.seen) out.int(state.time)
    },
    decode,
  }
}

/** The time since the row at a place of the array of times, 1 the first and −1 the last. */
export function timeSinceSql(rows: SqlRows, place: 1 | -1): string {
  return `if(empty(${rows.times}), NULL, ${rows.t} - ${rows.times}[${place}])`
}
