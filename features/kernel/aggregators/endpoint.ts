import { decodePresent, encodePresent } from '../encoding.ts'
import { cellOrder, compareUtf8 } from '../order.ts'
import type { Cell, FieldType, TimeMs } from '../types.ts'
import type { Algebra } from './descriptor.ts'
import { cellToValue } from './input-types.ts'

/** The first or last value; time and id mean something only when the cell is not null. */
interface Endpoint {
  time: TimeMs
  id: string
  cell: Cell
}

/**
 * The value at one end of the order by time, then id (UTF-8 bytes), then value; `sign` is 1 for the last, −1 for the
 * first. The value decides only between two points of the same time and id, which keeps `merge` commutative.
 */
export function endpointAlgebra(type: FieldType, sign: 1 | -1): Algebra<Endpoint> {
  const order = cellOrder(type)
  const toValue = cellToValue(type)
  const unitTime = sign === 1 ? -Infinity : Infinity
  const wins = (challenger: Endpoint, holder: Endpoint): boolean => {
    if (challenger.time !== holder.time) return (challenger.time - holder.time) * sign > 0
    const byId = compareUtf8(challenger.id, holder.id)
    return (byId === 0 ? order(challenger.cell, holder.cell) : byId) * sign > 0
  }
  return {
    empty: () => ({ time: unitTime, id: '', cell: null }),
    add: (state, input) => {
      if (input.cell !== null && wins(input, state)) {
        state.time = input.time
        state.id = input.id
        state.cell = input.cell
      }
      return state
    },
    merge: (left, right) => {
      const winner = wins(right, left) ? right : left
      return { time: winner.time, id: winner.id, cell: winner.cell }
    },
    result: state => toValue(state.cell),
    encode: (state, out) => {
      out.u8(state.cell === null ? 0 : 1)
      if (state.cell === null) return
      out.int(state.time)
      out.string(state.id)
      encodePresent(type, state.cell, out)
    },
    decode: input => {
      const tag = input.u8()
      if (tag > 1) throw new RangeError(`no first or last value has the tag ${tag}`)
      if (tag === 0) return { time: unitTime, id: '', cell: null }
      return { time: input.int(), id: input.string(), cell: decodePresent(type, input) }
    },
  }
}
