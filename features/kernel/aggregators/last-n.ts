import { decodePresent, encodePresent } from '../encoding.ts'
import { cellOrder, comparePoints } from '../order.ts'
import type { FieldType, Input } from '../types.ts'
import { defineAggregator, type AggregatorDescriptor, type Algebra } from './descriptor.ts'
import { cellToValue, isFieldType, valueTypeText } from './input-types.ts'

/** At most n values, oldest first; entries are never changed once made, so states may share them. */
interface Latest {
  readonly entries: Input[]
}

const MAX_N = 1000

/** `lastN(field, n)`. */
export const lastN: AggregatorDescriptor = defineAggregator({
  family: 'lastN',
  kind: 'merge',
  version: 1,
  params: { n: { kind: 'integer', min: 1, max: MAX_N, default: null, doc: 'how many values to keep' } },
  doc: 'The n values that are not null with the greatest (time, id, value), newest first; fewer when there are fewer. NaN is kept. Empty: []. Exact. State: a count, then time, id and value of each.',
  accepts: isFieldType,
  valueType: inputType => {
    const element = valueTypeText(inputType)
    return `readonly ${element.includes(' ') ? `(${element})` : element}[]`
  },
  algebra: (inputType, params) => latest(inputType, params.n),
})

function latest(type: FieldType, n: number): Algebra<Latest> {
  const cells = cellOrder(type)
  const order = (a: Input, b: Input): number => comparePoints(a, b) || cells(a.cell, b.cell)
  const toValue = cellToValue(type)
  return {
    empty: () => ({ entries: [] }),
    add: (state, input) => {
      if (input.cell === null) return state
      const entries = state.entries
      let place = entries.length
      while (place > 0 && order(input, entries[place - 1]!) < 0) place--
      if (entries.length === n) {
        if (place === 0) return state
        entries.shift()
        place--
      }
      const entry = { cell: input.cell, time: input.time, id: input.id }
      if (place === entries.length) entries.push(entry)
      else entries.splice(place, 0, entry)
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
      const length = input.varint()
      if (length > n) throw new RangeError(`${length} values in a lastN(${n})`)
      const entries: Input[] = []
      for (let index = 0; index < length; index++) {
        const time = input.int()
        const id = input.string()
        const entry = { cell: decodePresent(type, input), time, id }
        if (index > 0 && order(entries[index - 1]!, entry) > 0) throw new RangeError('values of a lastN out of order')
        entries.push(entry)
      }
      return { entries }
    },
  }
}

/** The n greatest of two ascending lists, ascending. */
function greatest(left: Input[], right: Input[], n: number, order: (a: Input, b: Input) => number): Input[] {
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
