import { decodePresent, encodePresent } from '../encoding.ts'
import { cellOrder, comparePoints } from '../order.ts'
import type { Cell, Input } from '../types.ts'
import { defineAggregator, type AggregatorDescriptor, type Algebra } from './descriptor.ts'
import { canonicalCellsSql, valuesSql } from './frequency-sql.ts'
import { cellToValue, isScalarType, valueTypeText, type ScalarType } from './input-types.ts'

/**
 * At most n last occurrences of different values, oldest first; entries are never changed once made. Keeping n is
 * closed under merge: a value that n others follow in a part has n others after it in the whole too, and an occurrence
 * of it in another part that is kept though a later one was dropped here comes before those n as well.
 */
interface LatestOccurrences {
  readonly entries: Input[]
}

const MAX_N = 1000

/** `lastNDistinct(field, n)`. */
export const lastNDistinct: AggregatorDescriptor = defineAggregator({
  family: 'lastNDistinct',
  kind: 'merge',
  version: 1,
  exactness: 'exact',
  params: { n: { kind: 'integer', min: 1, max: MAX_N, default: null, doc: 'how many values to keep' } },
  doc: 'The n distinct values that are not null whose last occurrence is latest by (time, id, value), newest first; fewer when there are fewer. All NaN are one value. Empty: []. Exact. State: 1 to 2 bytes, then time, id and value of each.',
  accepts: isScalarType,
  valueType: inputType => `readonly ${valueTypeText(inputType)}[]`,
  algebra: (inputType, params) => latestOccurrences(inputType, params.n),
  sql: (rows, inputType, params) => {
    const newest = `arrayReverse(${canonicalCellsSql(rows.cells, inputType)})`
    const distinct = `arrayMap(hw_r -> arrayFilter((hw_x, hw_u) -> hw_u = 1, hw_r, arrayEnumerateUniq(hw_r)), [${newest}])[1]`
    return valuesSql(`arraySlice(${distinct}, 1, ${params.n})`, inputType)
  },
})

function latestOccurrences(type: ScalarType, n: number): Algebra<LatestOccurrences> {
  const cells = cellOrder(type)
  const order = (a: Input, b: Input): number => comparePoints(a, b) || cells(a.cell, b.cell)
  const toValue = cellToValue(type)
  return {
    idempotent: true,
    empty: () => ({ entries: [] }),
    add: (state, input) => {
      if (input.cell !== null) insert(state.entries, input, n, order)
      return state
    },
    merge: (left, right) => ({ entries: latestOfBoth(left.entries, right.entries, n, order) }),
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
      if (length > n) throw new RangeError(`${length} values in a lastNDistinct(${n})`)
      const entries: Input[] = []
      const seen = new Set<Cell>()
      for (let index = 0; index < length; index++) {
        const time = input.int()
        const id = input.string()
        const entry = { cell: decodePresent(type, input), time, id }
        if (seen.has(entry.cell) || (index > 0 && order(entries[index - 1]!, entry) >= 0)) {
          throw new RangeError('values of a lastNDistinct out of order or twice')
        }
        seen.add(entry.cell)
        entries.push(entry)
      }
      return { entries }
    },
  }
}

function insert(entries: Input[], input: Input, n: number, order: (a: Input, b: Input) => number): void {
  const cell = input.cell
  let place = entries.length
  while (place > 0 && order(input, entries[place - 1]!) < 0) place--
  for (let index = place; index < entries.length; index++) if (sameCell(entries[index]!.cell, cell)) return
  let older = place - 1
  while (older >= 0 && !sameCell(entries[older]!.cell, cell)) older--
  if (older < 0 && entries.length === n) {
    if (place === 0) return
    older = 0
  }
  const entry = { cell, time: input.time, id: input.id }
  if (older < 0) {
    entries.splice(place, 0, entry)
    return
  }
  entries.copyWithin(older, older + 1, place)
  entries[place - 1] = entry
}

function sameCell(a: Cell, b: Cell): boolean {
  return a === b || (a !== a && b !== b)
}

/** The n latest of two lists, oldest first, of each value only the later occurrence. */
function latestOfBoth(left: Input[], right: Input[], n: number, order: (a: Input, b: Input) => number): Input[] {
  const merged: Input[] = []
  const seen = new Set<Cell>()
  let fromLeft = left.length - 1
  let fromRight = right.length - 1
  while (merged.length < n && (fromLeft >= 0 || fromRight >= 0)) {
    const takeLeft = fromRight < 0 || (fromLeft >= 0 && order(left[fromLeft]!, right[fromRight]!) >= 0)
    const entry = takeLeft ? left[fromLeft--]! : right[fromRight--]!
    if (seen.has(entry.cell)) continue
    seen.add(entry.cell)
    merged.push(entry)
  }
  return merged.reverse()
}
