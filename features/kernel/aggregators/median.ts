import {
  absorbLogSketch,
  addToLogSketch,
  decodeLogSketch,
  emptyLogSketch,
  encodeLogSketch,
  logSketchCount,
  logSketchQuantile,
  logSketchSpec,
  mergeLogSketches,
  type LogSketch,
} from '../log-sketch.ts'
import { cellOrder } from '../order.ts'
import { ratioToNumber } from '../rounding.ts'
import type { ByteReader, Cell } from '../types.ts'
import { defineAggregator, type AggregatorDescriptor, type Algebra } from './descriptor.ts'
import { isNumericType, type NumericType } from './input-types.ts'
import { cellToNumber } from './numeric.ts'
import { decodeSortedCells, encodeSortedCells, insertCell, mergeCells } from './sorted-cells.ts'
import { bindAllSql, bindSql, withoutNanSql } from './sql.ts'

/** The values, ascending, or from bound + 1 values on their sketch. */
interface Median {
  cells: Cell[]
  sketch: LogSketch | null
}

const SKETCH = logSketchSpec(0.01, 2048)
const VALUES_TAG = 0
const SKETCH_TAG = 1
/** A list this many times shorter than another is put into it one by one. */
const FEW = 8

/** `median(field, bound)`. */
export const median: AggregatorDescriptor = defineAggregator({
  family: 'median',
  kind: 'merge',
  version: 1,
  exactness: 'float',
  params: {
    bound: {
      kind: 'integer',
      min: 1,
      max: 100_000,
      default: 10_000,
      doc: 'up to how many values the median is exact',
    },
  },
  doc: 'The middle one of the values that are not null and not NaN in ascending order, or of an even number the mean of the middle two, rounded once (−Infinity with Infinity: NaN); a boolean counts as 0 or 1. Exact up to `bound` values. Beyond it the lower middle one is estimated within 1 % as by quantile(0.5, 0.01) with its state; SQL answers up to the bound, beyond it the kernel runs over rows from the offline store. Empty: null. State: 1 byte, a count and the values, at most `bound` of them, then as quantile.',
  accepts: isNumericType,
  valueType: () => 'number | null',
  algebra: (inputType, params) => boundedMedian(inputType, params.bound),
  sql: (rows, inputType) => medianSql(inputType, rows.cells),
  sqlHolds: (rows, inputType, params) => `length(${withoutNanSql(inputType, rows.cells)}) <= ${params.bound}`,
})

function boundedMedian(type: NumericType, bound: number): Algebra<Median> {
  const order = cellOrder(type)
  const toNumber = cellToNumber(type)
  const sketchOf = (sketch: LogSketch, cells: readonly Cell[]): LogSketch => {
    for (const cell of cells) addToLogSketch(SKETCH, sketch, toNumber(cell))
    return sketch
  }
  const overflow = (state: Median): LogSketch => {
    state.sketch = sketchOf(emptyLogSketch(), state.cells)
    state.cells = []
    return state.sketch
  }
  /** Changes the first state into the union; shares nothing of the second that can change. */
  const unite = (into: Median, from: Median): Median => {
    if (into.sketch === null && from.sketch === null && into.cells.length + from.cells.length <= bound) {
      if (from.cells.length * FEW < into.cells.length) {
        for (const cell of from.cells) insertCell(into.cells, cell, order, bound)
      } else {
        into.cells = mergeCells(into.cells, from.cells, order, bound)
      }
      return into
    }
    const sketch = into.sketch ?? overflow(into)
    if (from.sketch === null) sketchOf(sketch, from.cells)
    else absorbLogSketch(SKETCH, sketch, from.sketch)
    return into
  }
  const decode = (input: ByteReader): Median => {
    const tag = input.u8()
    if (tag === VALUES_TAG) return { cells: decodeSortedCells(type, input, order, bound), sketch: null }
    if (tag !== SKETCH_TAG) throw new RangeError(`no median has the tag ${tag}`)
    const sketch = decodeLogSketch(SKETCH, input)
    const count = logSketchCount(sketch)
    if (count <= bound) throw new RangeError(`a sketch of ${count} values in a median(${bound})`)
    return { cells: [], sketch }
  }
  return {
    empty: () => ({ cells: [], sketch: null }),
    add: (state, input) => {
      const cell = input.cell
      if (cell === null || cell !== cell) return state
      if (state.sketch === null && state.cells.length === bound) overflow(state)
      if (state.sketch === null) insertCell(state.cells, cell, order, bound)
      else addToLogSketch(SKETCH, state.sketch, toNumber(cell))
      return state
    },
    merge: (left, right) => {
      const sketch = left.sketch === null ? null : mergeLogSketches(SKETCH, emptyLogSketch(), left.sketch)
      return unite({ cells: left.cells.slice(), sketch }, right)
    },
    result: state => {
      if (state.sketch !== null) return logSketchQuantile(SKETCH, state.sketch, 0.5)
      const { cells } = state
      const upper = cells[cells.length >> 1]
      if (upper === undefined) return null
      return cells.length % 2 === 1 ? toNumber(upper) : middle(type, cells[(cells.length >> 1) - 1]!, upper)
    },
    encode: (state, out) => {
      out.u8(state.sketch === null ? VALUES_TAG : SKETCH_TAG)
      if (state.sketch === null) encodeSortedCells(type, state.cells, out)
      else encodeLogSketch(state.sketch, out)
    },
    decode,
    absorb: (state, input) => unite(state, decode(input)),
  }
}

/** (a + b) / 2 as authors see it, rounded once. */
function middle(type: NumericType, a: Cell, b: Cell): number {
  if (type.kind === 'double') {
    const sum = (a as number) + (b as number)
    return Number.isFinite(sum) ? sum / 2 + 0 : (a as number) / 2 + (b as number) / 2
  }
  const unit = type.kind === 'decimal' ? 10n ** BigInt(type.scale) : 1n
  const wide = (cell: Cell): bigint => BigInt(cell as number | bigint | boolean)
  return ratioToNumber(wide(a) + wide(b), 2n * unit)
}

function medianSql(type: NumericType, cells: string): string {
  const wide = type.kind === 'double' || type.kind === 'decimal' ? (x: string) => x : (x: string) => `toInt256(${x})`
  const lower = wide('hw_sorted[intDiv(length(hw_sorted) + 1, 2)]')
  const upper = wide('hw_sorted[intDiv(length(hw_sorted), 2) + 1]')
  const middle =
    type.kind === 'double'
      ? 'if(isFinite(hw_lower + hw_upper), (hw_lower + hw_upper) / 2, hw_lower / 2 + hw_upper / 2)'
      : 'toFloat64(hw_lower + hw_upper) / 2'
  return bindSql(
    'sorted',
    `arraySort(${withoutNanSql(type, cells)})`,
    `if(empty(hw_sorted), NULL, ${bindAllSql({ lower, upper }, middle)})`,
  )
}
