import { cellOrder } from '../order.ts'
import type { Cell } from '../types.ts'
import type { Algebra } from './descriptor.ts'
import { cellToValue, type ScalarType } from './input-types.ts'
import { decodeSortedCells, encodeSortedCells, insertCell, mergeCells } from './sorted-cells.ts'
import { shownListSql, withoutNanSql } from './sql.ts'

/** At most n cells, in the order in which they are answered. */
interface Ranked {
  readonly cells: Cell[]
}

/** The parameter that topN and bottomN share. */
export const RANKED_PARAM = {
  n: { kind: 'integer', min: 1, max: 1000, default: null, doc: 'how many values to keep' },
} as const

/** The n greatest (`sign` 1) or least (−1) cells that are neither null nor NaN, each as often as it came. */
export function rankedAlgebra(type: ScalarType, n: number, sign: 1 | -1): Algebra<Ranked> {
  const ascending = cellOrder(type)
  const order = sign === 1 ? (a: Cell, b: Cell): number => ascending(b, a) : ascending
  const toValue = cellToValue(type)
  return {
    empty: () => ({ cells: [] }),
    add: (state, input) => {
      const cell = input.cell
      if (cell !== null && cell === cell) insertCell(state.cells, cell, order, n)
      return state
    },
    merge: (left, right) => ({ cells: mergeCells(left.cells, right.cells, order, n) }),
    result: state => state.cells.map(toValue),
    encode: (state, out) => encodeSortedCells(type, state.cells, out),
    decode: input => ({ cells: decodeSortedCells(type, input, order, n) }),
    absorb: (state, input) => {
      for (const cell of decodeSortedCells(type, input, order, n)) insertCell(state.cells, cell, order, n)
      return state
    },
  }
}

/** The first n cells without NaN in descending or ascending order. */
export function rankedSql(type: ScalarType, cells: string, n: number, sort: 'arraySort' | 'arrayReverseSort'): string {
  return shownListSql(type, `arraySlice(${sort}(${withoutNanSql(type, cells)}), 1, ${n})`)
}
