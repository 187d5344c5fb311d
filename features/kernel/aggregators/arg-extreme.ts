import { decodePresent, encodePresent } from '../encoding.ts'
import { cellOrder, compareUtf8 } from '../order.ts'
import type { ByteReader, Cell, FieldType, TimeMs } from '../types.ts'
import type { Algebra, SqlRows } from './descriptor.ts'
import { cellToValue, type ScalarType } from './input-types.ts'
import { bindAllSql, bindSql, shownSql } from './sql.ts'

/** The row that leads; the rest means something only when the cell is not null. */
interface Leader {
  by: Cell
  time: TimeMs
  id: string
  cell: Cell
}

/**
 * The cell of the row whose `by` is greatest (`sign` 1) or least (−1); of several the one with the greatest time, then
 * id (UTF-8 bytes), then cell. Rows with a null in either input or NaN in `by` are skipped.
 */
export function argExtreme(type: FieldType, byType: ScalarType, sign: 1 | -1): Algebra<Leader> {
  const orderCells = cellOrder(type)
  const orderBys = cellOrder(byType)
  const toValue = cellToValue(type)
  const empty = (): Leader => ({ by: null, time: 0, id: '', cell: null })
  const offer = (state: Leader, by: Cell, time: TimeMs, id: string, cell: Cell): Leader => {
    if (cell === null || by === null || by !== by) return state
    if (state.cell !== null) {
      const order =
        orderBys(by, state.by) * sign || time - state.time || compareUtf8(id, state.id) || orderCells(cell, state.cell)
      if (order <= 0) return state
    }
    state.by = by
    state.time = time
    state.id = id
    state.cell = cell
    return state
  }
  const absorb = (state: Leader, input: ByteReader): Leader => {
    const tag = input.u8()
    if (tag > 1) throw new RangeError(`no leading row has the tag ${tag}`)
    if (tag === 0) return state
    const by = decodePresent(byType, input)
    if (by !== by) throw new RangeError('a leading row is ordered by NaN')
    return offer(state, by, input.int(), input.string(), decodePresent(type, input))
  }
  return {
    idempotent: true,
    empty,
    add: (state, input) => offer(state, input.by ?? null, input.time, input.id, input.cell),
    merge: (left, right) => offer({ ...left }, right.by, right.time, right.id, right.cell),
    result: state => toValue(state.cell),
    encode: (state, out) => {
      out.u8(state.cell === null ? 0 : 1)
      if (state.cell === null) return
      encodePresent(byType, state.by, out)
      out.int(state.time)
      out.string(state.id)
      encodePresent(type, state.cell, out)
    },
    decode: input => absorb(empty(), input),
    absorb,
  }
}

/** The cell of the last row, in the total order, whose `by` is the extreme; NULL, of vectors [], when there is none. */
export function argExtremeSql(rows: SqlRows, type: FieldType, byType: ScalarType, aggregate: 'min' | 'max'): string {
  const counts = byType.kind === 'double' ? 'isNotNull(hw_x) and not isNaN(assumeNotNull(hw_x))' : 'isNotNull(hw_x)'
  const candidates = `arrayMap(hw_x -> assumeNotNull(hw_x), arrayFilter(hw_x -> ${counts}, hw_bys))`
  const cell = `hw_cells[arrayLastIndex(hw_x -> ifNull(hw_x = hw_best, 0), hw_bys)]`
  const shown = shownSql(type, cell)
  const found = bindSql('best', `arrayReduce('${aggregate}', hw_candidates)`, shown)
  const missing = type.kind === 'vector' ? 'emptyArrayFloat64()' : 'NULL'
  const picked = bindSql('candidates', candidates, `if(empty(hw_candidates), ${missing}, ${found})`)
  return bindAllSql({ cells: rows.cells, bys: rows.bys }, picked)
}
