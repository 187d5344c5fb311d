import { decodePresent, encodePresent } from '../encoding.ts'
import { cellOrder, comparePoints } from '../order.ts'
import type { ByteReader, FieldType, Input } from '../types.ts'
import type { Algebra } from './descriptor.ts'
import { cellToValue } from './input-types.ts'

/** At most n values, the nearest to the end last; entries are never changed once made, so states may share them. */
interface Ends {
  readonly entries: Input[]
}

/** The parameter that firstN and lastN share. */
export const ENDS_PARAM = {
  n: { kind: 'integer', min: 1, max: 1000, default: null, doc: 'how many values to keep' },
} as const

/**
 * The n values at one end of the order by time, then id (UTF-8 bytes), then value, from that end inwards; `sign` is 1
 * for the last, −1 for the first. `family` is for messages.
 */
export function endsAlgebra(family: string, type: FieldType, n: number, sign: 1 | -1): Algebra<Ends> {
  const cells = cellOrder(type)
  const order = (a: Input, b: Input): number => (comparePoints(a, b) || cells(a.cell, b.cell)) * sign
  const toValue = cellToValue(type)
  const decodeEntry = (input: ByteReader): Input => {
    const time = input.int()
    const id = input.string()
    return { cell: decodePresent(type, input), time, id }
  }
  const decodeLength = (input: ByteReader): number => {
    const length = input.varint()
    if (length > n) throw new RangeError(`${length} values in a ${family}(${n})`)
    return length
  }
  return {
    empty: () => ({ entries: [] }),
    add: (state, input) => {
      if (input.cell !== null) offer(state.entries, input, n, order, copyOf)
      return state
    },
    merge: (left, right) => ({ entries: greatest(left.entries, right.entries, n, order) }),
    result: state => state.entries.map(entry => toValue(entry.cell)).reverse(),
    encode: (state, out) => {
      out.varint(state.entries.length)
      for (const entry of state.entries) {
        out.int(entry.time)
        out.string(entry.id)
        encodePresent(type, entry.cell, out)
      }
    },
    decode: input => {
      const length = decodeLength(input)
      const entries: Input[] = []
      for (let index = 0; index < length; index++) {
        const entry = decodeEntry(input)
        if (index > 0 && order(entries[index - 1]!, entry) > 0) {
          throw new RangeError(`values of a ${family} out of order`)
        }
        entries.push(entry)
      }
      return { entries }
    },
    absorb: (state, input) => {
      for (let rest = decodeLength(input); rest > 0; rest--) {
        offer(state.entries, decodeEntry(input), n, order, itself)
      }
      return state
    },
  }
}

const copyOf = (input: Input): Input => ({ cell: input.cell, time: input.time, id: input.id })
const itself = (input: Input): Input => input

/**
 * Puts an input into an ascending list of at most n, which keeps the greatest.
 * @param toEntry what is kept of an input that the caller may change
 */
export function offer(
  entries: Input[],
  input: Input,
  n: number,
  order: (a: Input, b: Input) => number,
  toEntry: (input: Input) => Input,
): void {
  let place = entries.length
  while (place > 0 && order(input, entries[place - 1]!) < 0) place--
  if (entries.length === n) {
    if (place === 0) return
    entries.shift()
    place--
  }
  if (place === entries.length) entries.push(toEntry(input))
  else entries.splice(place, 0, toEntry(input))
}

/** The n greatest of two ascending lists, ascending. */
export function greatest(
  left: readonly Input[],
  right: readonly Input[],
  n: number,
  order: (a: Input, b: Input) => number,
): Input[] {
  const length = Math.min(n, left.length + right.length)
  const merged: Input[] = []
  let fromLeft = left.length - 1
  let fromRight = right.length - 1
  while (merged.length < length) {
    const takeLeft = fromRight < 0 || (fromLeft >= 0 && order(left[fromLeft]!, right[fromRight]!) >= 0)
    merged.push(takeLeft ? left[fromLeft--]! : right[fromRight--]!)
  }
  return merged.reverse()
}
