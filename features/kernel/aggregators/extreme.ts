import { decodePresent, encodePresent } from '../encoding.ts'
import { cellOrder } from '../order.ts'
import type { ByteReader, ByteWriter, Cell } from '../types.ts'
import type { Algebra } from './descriptor.ts'
import { cellToValue, type ScalarType } from './input-types.ts'
import { bindSql, shownSql, withoutNanSql } from './sql.ts'

/** The extreme of numbers; `value` means something only when `seen`. */
export interface NumberExtreme {
  value: number
  seen: boolean
}

/** The extreme of cells of other types; null when none was seen. */
interface CellExtreme {
  cell: Cell
}

/** What `min` and `max` of number cells share: all but `add`, `merge`, `absorb` and the unit. */
export function numberExtremeCodec(
  type: ScalarType,
  unit: number,
): Pick<Algebra<NumberExtreme>, 'idempotent' | 'empty' | 'result' | 'encode' | 'decode'> {
  const toValue = cellToValue(type)
  return {
    idempotent: true,
    empty: () => ({ value: unit, seen: false }),
    result: state => (state.seen ? toValue(state.value) : null),
    encode: (state: NumberExtreme, out: ByteWriter) => {
      out.u8(state.seen ? 1 : 0)
      if (state.seen) encodePresent(type, state.value, out)
    },
    decode: (input: ByteReader) => {
      const value = decodeExtreme(type, input)
      return value === null ? { value: unit, seen: false } : { value: value as number, seen: true }
    },
  }
}

/** Reads one encoded extreme: null for none. */
export function decodeExtreme(type: ScalarType, input: ByteReader): Cell {
  const tag = input.u8()
  if (tag > 1) throw new RangeError(`no extreme has the tag ${tag}`)
  const cell = tag === 0 ? null : decodePresent(type, input)
  if (cell !== cell) throw new RangeError('an extreme is NaN')
  return cell
}

/** The extreme of strings, booleans or bigints by the cells' order; `sign` is 1 for the greatest, −1 for the least. */
export function cellExtreme(type: ScalarType, sign: 1 | -1): Algebra<CellExtreme> {
  const order = cellOrder(type)
  const offer = (state: CellExtreme, cell: Cell): CellExtreme => {
    if (cell !== null && (state.cell === null || order(cell, state.cell) * sign > 0)) state.cell = cell
    return state
  }
  return {
    idempotent: true,
    empty: () => ({ cell: null }),
    add: (state, input) => offer(state, input.cell),
    merge: (left, right) => offer({ cell: left.cell }, right.cell),
    result: state => state.cell,
    encode: (state, out) => {
      out.u8(state.cell === null ? 0 : 1)
      if (state.cell !== null) encodePresent(type, state.cell, out)
    },
    decode: input => ({ cell: decodeExtreme(type, input) }),
    absorb: (state, input) => offer(state, decodeExtreme(type, input)),
  }
}

/** The extreme of an array of cells without its NaN, NULL when there is none. */
export function extremeSql(type: ScalarType, cells: string, aggregate: 'min' | 'max'): string {
  const extreme = shownSql(type, `arrayReduce('${aggregate}', hw_cells)`)
  return bindSql('cells', withoutNanSql(type, cells), `if(empty(hw_cells), NULL, ${extreme})`)
}
