import { decodeCell, encodeCell } from '../encoding.ts'
import { cellOrder, comparePoints } from '../order.ts'
import type { Aggregator, ByteReader, FieldType, Input } from '../types.ts'
import { greatest, offer } from './ends.ts'

/** At most `count` rows in ascending order; they are never changed once made, so states may share them. */
interface LastEvents {
  entries: Input[]
}

const WRAPPER_VERSION = 1

/**
 * `inner` over the `count` rows that are greatest by (time, id, input, second input). The state is these rows, those
 * with a null input among them, and the result folds them in that order: of the kind merge whatever `inner` is.
 */
export function lastEventsOf(
  inner: Aggregator,
  count: number,
  inputType: FieldType | null,
  byType: FieldType | null,
): Aggregator<LastEvents> {
  const order = entryOrder(inputType, byType)
  const toEntry = ({ time, id, cell, by }: Input): Input => {
    const kept = inputType === null ? null : cell
    return byType === null ? { cell: kept, time, id } : { cell: kept, time, id, by: by ?? null }
  }
  const decode = (input: ByteReader): LastEvents => {
    const length = input.varint()
    if (length > count) throw new RangeError(`${length} rows in a state of the last ${count}`)
    const entries: Input[] = []
    for (let place = 0; place < length; place++) {
      const time = input.int()
      const id = input.string()
      const cell = inputType === null ? null : decodeCell(inputType, input)
      const entry = byType === null ? { cell, time, id } : { cell, time, id, by: decodeCell(byType, input) }
      if (place > 0 && order(entries[place - 1]!, entry) > 0)
        throw new RangeError('rows of the last events out of order')
      entries.push(entry)
    }
    return { entries }
  }
  return {
    name: `lastEvents(${count}) of ${inner.name}`,
    kind: 'merge',
    version: 1000 * WRAPPER_VERSION + inner.version,
    inner,
    empty: () => ({ entries: [] }),
    add: (state, input) => {
      offer(state.entries, input, count, order, toEntry)
      return state
    },
    merge: (left, right) => ({ entries: greatest(left.entries, right.entries, count, order) }),
    absorb: (state, input) => {
      state.entries = greatest(state.entries, decode(input).entries, count, order)
      return state
    },
    result: (state, at) => {
      let folded = inner.empty()
      for (const entry of state.entries) folded = inner.add(folded, entry)
      return inner.result(folded, { t: at.t, lengthMs: null })
    },
    encode: (state, out) => {
      out.varint(state.entries.length)
      for (const entry of state.entries) {
        out.int(entry.time)
        out.string(entry.id)
        if (inputType !== null) encodeCell(inputType, entry.cell, out)
        if (byType !== null) encodeCell(byType, entry.by ?? null, out)
      }
    },
    decode,
  }
}

type EntryOrder = (a: Input, b: Input) => number

function entryOrder(inputType: FieldType | null, byType: FieldType | null): EntryOrder {
  const cells = inputType === null ? () => 0 : cellOrder(inputType)
  const bys = byType === null ? () => 0 : cellOrder(byType)
  return (a, b) => comparePoints(a, b) || cells(a.cell, b.cell) || bys(a.by ?? null, b.by ?? null)
}
