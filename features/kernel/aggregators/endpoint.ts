import { decodePresent, encodePresent } from '../encoding.ts'
import { cellOrder, compareUtf8 } from '../order.ts'
import type { ByteReader, Cell, FieldType, TimeMs } from '../types.ts'
import type { Algebra } from './descriptor.ts'
import { cellToValue } from './input-types.ts'
import { bindSql, shownSql } from './sql.ts'

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
  const empty = (): Endpoint => ({ time: sign === 1 ? -Infinity : Infinity, id: '', cell: null })
  const wins = (time: TimeMs, id: string, cell: Cell, holder: Endpoint): boolean => {
    if (time !== holder.time) return (time - holder.time) * sign > 0
    const byId = compareUtf8(id, holder.id)
    return (byId === 0 ? order(cell, holder.cell) : byId) * sign > 0
  }
  const offer = (state: Endpoint, time: TimeMs, id: string, cell: Cell): Endpoint => {
    if (wins(time, id, cell, state)) {
      state.time = time
      state.id = id
      state.cell = cell
    }
    return state
  }
  const absorb = (state: Endpoint, input: ByteReader): Endpoint => {
    const tag = input.u8()
    if (tag > 1) throw new RangeError(`no first or last value has the tag ${tag}`)
    return tag === 0 ? state : offer(state, input.int(), input.string(), decodePresent(type, input))
  }
  return {
    decisive: sign === 1 ? 'last' : 'first',
    idempotent: true,
    empty,
    add: (state, input) => (input.cell === null ? state : offer(state, input.time, input.id, input.cell)),
    merge: (left, right) => {
      const winner = wins(right.time, right.id, right.cell, left) ? right : left
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
    decode: input => absorb(empty(), input),
    absorb,
  }
}

/** The element at `position` (1 for the first, −1 for the last) of rows in their total order; of vectors [] when empty. */
export function endpointSql(type: FieldType, cells: string, position: 1 | -1): string {
  const cell = shownSql(type, `hw_cells[${position}]`)
  return bindSql('cells', cells, type.kind === 'vector' ? cell : `if(empty(hw_cells), NULL, ${cell})`)
}
