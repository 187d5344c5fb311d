import type { ByteReader, FieldType } from '../types.ts'
import { defineAggregator, type AggregatorDescriptor, type Algebra } from './descriptor.ts'

/**
 * How many true rows stand before the first false one, after the last one, and at most in a row. Without a false row
 * all three are the number of rows.
 */
interface Streak {
  broken: boolean
  prefix: number
  suffix: number
  best: number
}

type BooleanType = Extract<FieldType, { readonly kind: 'boolean' }>

/** `longestStreak(field)`. */
export const longestStreak: AggregatorDescriptor = defineAggregator({
  family: 'longestStreak',
  kind: 'concat',
  version: 1,
  exactness: 'exact',
  params: {},
  doc: 'The greatest number of neighbouring rows in the order (time, id) in which the boolean field is true; rows where it is false end a streak, rows where it is null are skipped and do not. Empty: 0. Exact to 2^51. Events of one entity that lie in several partitions are put in order by the read, at most 200,000 within the window; a read of more fails. State: 1 to 24 bytes.',
  accepts: (inputType): inputType is BooleanType => inputType?.kind === 'boolean',
  valueType: () => 'number',
  algebra: () => streaks,
  sql: ({ cells }) =>
    `if(empty(${cells}), 0, arrayMax(arrayMap(run -> countEqual(run, true), arraySplit(x -> NOT x, ${cells}))))`,
})

const streaks: Algebra<Streak> = {
  empty: () => ({ broken: false, prefix: 0, suffix: 0, best: 0 }),
  add: (state, input) => {
    if (input.cell === true) {
      state.suffix++
      if (!state.broken) state.prefix++
      if (state.suffix > state.best) state.best = state.suffix
    } else if (input.cell === false) {
      state.broken = true
      state.suffix = 0
    }
    return state
  },
  merge: (left, right) => append({ ...left }, right),
  absorb: (state, input) => append(state, decode(input)),
  result: state => state.best,
  encode: (state, out) => {
    out.varint(state.prefix * 2 + (state.broken ? 1 : 0))
    if (!state.broken) return
    out.varint(state.suffix)
    out.varint(state.best)
  },
  decode,
}

/** `state`, changed, with the rows of `later` after its own. */
function append(state: Streak, later: Streak): Streak {
  state.best = Math.max(state.best, later.best, state.suffix + later.prefix)
  if (!state.broken) state.prefix += later.prefix
  state.suffix = later.broken ? later.suffix : state.suffix + later.suffix
  state.broken ||= later.broken
  return state
}

function decode(input: ByteReader): Streak {
  const head = input.varint()
  const prefix = Math.floor(head / 2)
  if (head % 2 === 0) return { broken: false, prefix, suffix: prefix, best: prefix }
  const suffix = input.varint()
  const best = input.varint()
  if (best < prefix || best < suffix) throw new RangeError(`a longest streak of ${best} is shorter than another`)
  return { broken: true, prefix, suffix, best }
}
