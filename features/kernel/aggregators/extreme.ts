import { decodePresent, encodePresent } from '../encoding.ts'
import { cellOrder } from '../order.ts'
import type { ByteReader, ByteWriter, Cell } from '../types.ts'
import type { Algebra } from './descriptor.ts'
import { cellToValue, type ScalarType } from './input-types.ts'

/** The extreme of numbers; `value` means something only when `seen`. */
export interface NumberExtreme {
  value: number
  seen: boolean
}

/** The extreme of cells of other types; null when none was seen. */
interface CellExtreme {
  cell: Cell
}

/** What `min` and `max` of number cells share: all but `add`, `merge` and the unit. */
export function numberExtremeCodec(
  type: ScalarType,
  unit: number,
): Pick<Algebra<NumberExtreme>, 'empty' | 'result' | 'encode' | 'decode'> {
  const toValue = cellToValue(type)
  return {
    empty: () => ({ value: unit, seen: false }),
    result: state => (state.seen ? toValue(state.value) : null),
    encode: (state: NumberExtreme, out: ByteWriter) => {
      out.u8(state.seen ? 1 : 0)
      if (state.seen) encodePresent(type, state.value, out)
    },
    decode: (input: ByteReader) => {
      const tag = input.u8()
      if (tag > 1) throw new RangeError(`no extreme has the tag ${tag}`)
      return tag === 0 ? { value: unit, seen: false } : { value: decodePresent(type, input) as number, seen: true }
    },
  }
}

/** The extreme of strings, booleans or bigints by the cells' order; `sign` is 1 for the greatest, −1 for the least. */
export function cellExtreme(type: ScalarType, sign: 1 | -1): Algebra<CellExtreme> {
  const order = cellOrder(type)
  return {
    empty: () => ({ cell: null }),
    add: (state, input) => {
      const cell = input.cell
      if (cell !== null && (state.cell === null || order(cell, state.cell) * sign > 0)) state.cell = cell
      return state
    },
    merge: (left, right) => {
      if (left.cell === null) return { cell: right.cell }
      if (right.cell === null) return { cell: left.cell }
      return { cell: order(right.cell, left.cell) * sign > 0 ? right.cell : left.cell }
    },
    result: state => state.cell,
    encode: (state, out) => {
      out.u8(state.cell === null ? 0 : 1)
      if (state.cell !== null) encodePresent(type, state.cell, out)
    },
    decode: input => {
      const tag = input.u8()
      if (tag > 1) throw new RangeError(`no extreme has the tag ${tag}`)
      return { cell: tag === 0 ? null : decodePresent(type, input) }
    },
  }
}
