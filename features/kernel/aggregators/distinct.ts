import { cellHasher, createHash64 } from '../hash.ts'
import {
  addHash,
  copyRegisters,
  decodeRegisters,
  emptyRegisters,
  encodeRegisters,
  estimateCardinality,
  raiseRegisters,
  type Registers,
} from '../hyperloglog.ts'
import { cellOrder } from '../order.ts'
import type { Cell } from '../types.ts'
import { defineAggregator, type AggregatorDescriptor, type Algebra } from './descriptor.ts'
import { canonicalCellsSql } from './frequency-sql.ts'
import { isScalarType, type ScalarType } from './input-types.ts'
import {
  absorbCells,
  decodeDistinctCells,
  encodeDistinctCells,
  placeOf,
  putAt,
  unionCells,
  type CellOrder,
} from './distinct-cells.ts'

/**
 * Up to the bound the values seen, ascending, and no registers; beyond it no values, and registers that have seen all of
 * them. Which of the two, and what is in it, is a function of the set of values.
 */
interface DistinctValues {
  values: Cell[]
  registers: Registers | null
}

const MAX_BOUND = 100_000
const DEFAULT_BOUND = 1000

/** `distinct(field)`. */
export const distinct: AggregatorDescriptor = defineAggregator({
  family: 'distinct',
  kind: 'merge',
  version: 2,
  exactness: 'exact',
  params: {
    bound: {
      kind: 'integer',
      min: 1,
      max: MAX_BOUND,
      default: DEFAULT_BOUND,
      doc: 'the largest count that is exact',
    },
  },
  doc: "The number of distinct values that are not null; all NaN are one value. Empty: 0. Exact up to the bound; beyond it an estimate above the bound by HyperLogLog (2^14 registers over XXH64, Ertl's improved estimator of 2017) with a relative standard error of at most 1.04 / √16384 = 0.81 % and no bias to speak of; SQL answers up to the bound, beyond it the kernel runs over rows from the offline store. State: 1 to 3 bytes and the values themselves, at most bound of them; beyond the bound about 2 bytes for each raised register while no more than 4096 are, then 12,292 bytes.",
  accepts: isScalarType,
  valueType: () => 'number',
  algebra: (inputType, params) => distinctValues(inputType, params.bound),
  sql: (rows, inputType) => `arrayUniq(${canonicalCellsSql(rows.cells, inputType)})`,
  sqlHolds: (rows, inputType, params) => `arrayUniq(${canonicalCellsSql(rows.cells, inputType)}) <= ${params.bound}`,
})

function distinctValues(type: ScalarType, bound: number): Algebra<DistinctValues> {
  const order = cellOrder(type)
  const see = seeing(type)
  const decode: Algebra<DistinctValues>['decode'] = input => {
    const header = input.varint()
    if (header > bound + 1) throw new RangeError(`${header} values in a distinct(${bound})`)
    if (header > bound) return { values: [], registers: decodeRegisters(input) }
    return { values: decodeDistinctCells('distinct', type, header, order, input), registers: null }
  }
  const absorbState = (into: DistinctValues, from: DistinctValues): DistinctValues => {
    unite(into, from, bound, order, see)
    return into
  }
  return {
    idempotent: true,
    empty: () => ({ values: [], registers: null }),
    add: (state, input) => {
      const cell = input.cell
      if (cell === null) return state
      if (state.registers !== null) {
        see(state.registers, cell)
        return state
      }
      const values = state.values
      const place = placeOf(values, cell, order)
      if (place < values.length && order(values[place]!, cell) === 0) return state
      putAt(values, place, cell)
      if (values.length > bound) overflow(state, see)
      return state
    },
    merge: (left, right) =>
      absorbState(
        {
          values: left.values.slice(),
          registers: left.registers === null ? null : copyRegisters(left.registers),
        },
        right,
      ),
    absorb: (state, input) => {
      if (state.registers !== null) return absorbState(state, decode(input))
      const header = input.varint()
      if (header > bound + 1) throw new RangeError(`${header} values in a distinct(${bound})`)
      if (header > bound) return absorbState(state, { values: [], registers: decodeRegisters(input) })
      absorbCells(state.values, type, header, order, input)
      if (state.values.length > bound) overflow(state, see)
      return state
    },
    result: state =>
      state.registers === null
        ? state.values.length
        : Math.max(bound + 1, Math.round(estimateCardinality(state.registers))),
    encode: (state, out) => {
      out.varint(state.registers === null ? state.values.length : bound + 1)
      if (state.registers === null) encodeDistinctCells(type, state.values, out)
      else encodeRegisters(state.registers, out)
    },
    decode,
  }
}

type See = (registers: Registers, cell: Cell) => void

function seeing(type: ScalarType): See {
  const hashCell = cellHasher(type)
  const hash = createHash64()
  return (registers, cell) => {
    hashCell(cell, hash)
    addHash(registers, hash)
  }
}

/** From values to registers that have seen them. */
function overflow(state: DistinctValues, see: See): void {
  const registers = emptyRegisters()
  for (const value of state.values) see(registers, value)
  state.values = []
  state.registers = registers
}

/** Changes the first state into the union; shares nothing of the second that can change. */
function unite(into: DistinctValues, from: DistinctValues, bound: number, order: CellOrder, see: See): void {
  if (into.registers === null && from.registers === null) {
    if (from.values.length === 0) return
    into.values = unionCells(into.values, from.values, Infinity, order)
    if (into.values.length > bound) overflow(into, see)
    return
  }
  if (into.registers === null) overflow(into, see)
  const registers = into.registers!
  if (from.registers !== null) raiseRegisters(registers, from.registers)
  else for (const value of from.values) see(registers, value)
}
