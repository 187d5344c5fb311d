import { cellOrder } from '../order.ts'
import type { Cell } from '../types.ts'
import { defineAggregator, type AggregatorDescriptor, type Algebra } from './descriptor.ts'
import { canonicalCellsSql, valuesSql } from './frequency-sql.ts'
import { cellToValue, isScalarType, valueTypeText, type ScalarType } from './input-types.ts'
import { decodeDistinctCells, encodeDistinctCells, placeOf, putAt, unionCells } from './distinct-cells.ts'

/** The least values seen, ascending, at most as many as the bound. */
interface LeastValues {
  readonly values: Cell[]
}

const MAX_BOUND = 1000

/** `distinctSet(field, bound)`. */
export const distinctSet: AggregatorDescriptor = defineAggregator({
  family: 'distinctSet',
  kind: 'merge',
  version: 1,
  exactness: 'exact',
  params: { bound: { kind: 'integer', min: 1, max: MAX_BOUND, default: null, doc: 'how many values to keep' } },
  doc: 'The distinct values that are not null, ascending (strings by UTF-8 bytes, false before true, NaN one value after Infinity); of more than bound values the bound least. Empty: []. Exact. State: 1 to 2 bytes and the values.',
  accepts: isScalarType,
  valueType: inputType => `readonly ${valueTypeText(inputType)}[]`,
  algebra: (inputType, params) => leastValues(inputType, params.bound),
  sql: (rows, inputType, params) =>
    valuesSql(
      `arraySlice(arraySort(arrayDistinct(${canonicalCellsSql(rows.cells, inputType)})), 1, ${params.bound})`,
      inputType,
    ),
})

function leastValues(type: ScalarType, bound: number): Algebra<LeastValues> {
  const order = cellOrder(type)
  const toValue = cellToValue(type)
  return {
    idempotent: true,
    empty: () => ({ values: [] }),
    add: (state, input) => {
      const cell = input.cell
      if (cell === null) return state
      const values = state.values
      const place = placeOf(values, cell, order)
      if (place === bound || (place < values.length && order(values[place]!, cell) === 0)) return state
      if (values.length === bound) values.pop()
      putAt(values, place, cell)
      return state
    },
    merge: (left, right) => ({ values: unionCells(left.values, right.values, bound, order) }),
    result: state => state.values.map(toValue),
    encode: (state, out) => {
      out.varint(state.values.length)
      encodeDistinctCells(type, state.values, out)
    },
    decode: input => {
      const length = input.varint()
      if (length > bound) throw new RangeError(`${length} values in a distinctSet(${bound})`)
      return { values: decodeDistinctCells('distinctSet', type, length, order, input) }
    },
  }
}
