import { decodePresent, encodePresent } from '../encoding.ts'
import { cellOrder } from '../order.ts'
import type { Cell } from '../types.ts'
import { defineAggregator, type AggregatorDescriptor, type Algebra } from './descriptor.ts'
import { isScalarType, type ScalarType } from './input-types.ts'

/**
 * The values seen, ascending. Beyond the bound only the `bound` least values stay and `overflow` is set: a rule on
 * values alone, so that the state does not depend on arrival.
 */
interface DistinctValues {
  values: Cell[]
  overflow: boolean
}

const MAX_BOUND = 100_000
const DEFAULT_BOUND = 1000

/** `distinct(field)`. */
export const distinct: AggregatorDescriptor = defineAggregator({
  family: 'distinct',
  kind: 'merge',
  version: 1,
  params: {
    bound: {
      kind: 'integer',
      min: 1,
      max: MAX_BOUND,
      default: DEFAULT_BOUND,
      doc: 'the largest count that is told apart',
    },
  },
  doc: 'The number of distinct values that are not null; all NaN are one value. Empty: 0. Exact up to the bound; with more values the result stays at the bound. State: the values themselves, at most bound of them, and 2 to 4 bytes.',
  accepts: isScalarType,
  valueType: () => 'number',
  algebra: (inputType, params) => distinctValues(inputType, params.bound),
})

function distinctValues(type: ScalarType, bound: number): Algebra<DistinctValues> {
  const order = cellOrder(type)
  return {
    empty: () => ({ values: [], overflow: false }),
    add: (state, input) => {
      if (input.cell !== null) insert(state, input.cell, bound, order)
      return state
    },
    merge: (left, right) => union(left, right, bound, order),
    result: state => state.values.length,
    encode: (state, out) => {
      out.varint(state.values.length)
      out.u8(state.overflow ? 1 : 0)
      for (const value of state.values) encodePresent(type, value, out)
    },
    decode: input => {
      const length = input.varint()
      const overflow = input.u8()
      if (length > bound || overflow > 1 || (overflow === 1 && length < bound)) {
        throw new RangeError(`${length} values with overflow ${overflow} in a distinct(${bound})`)
      }
      const values: Cell[] = []
      for (let index = 0; index < length; index++) {
        const value = decodePresent(type, input)
        if (index > 0 && order(values[index - 1]!, value) >= 0) {
          throw new RangeError('values of a distinct out of order')
        }
        values.push(value)
      }
      return { values, overflow: overflow === 1 }
    },
  }
}

function insert(state: DistinctValues, cell: Cell, bound: number, order: (a: Cell, b: Cell) => number): void {
  const values = state.values
  let low = 0
  let high = values.length
  while (low < high) {
    const middle = (low + high) >>> 1
    const compared = order(values[middle]!, cell)
    if (compared === 0) return
    if (compared < 0) low = middle + 1
    else high = middle
  }
  if (values.length === bound) {
    state.overflow = true
    if (low === bound) return
    values.pop()
  }
  if (low === values.length) values.push(cell)
  else values.splice(low, 0, cell)
}

function union(
  left: DistinctValues,
  right: DistinctValues,
  bound: number,
  order: (a: Cell, b: Cell) => number,
): DistinctValues {
  const values: Cell[] = []
  const leftValues = left.values
  const rightValues = right.values
  let fromLeft = 0
  let fromRight = 0
  while (values.length < bound && fromLeft < leftValues.length && fromRight < rightValues.length) {
    const compared = order(leftValues[fromLeft]!, rightValues[fromRight]!)
    values.push(compared <= 0 ? leftValues[fromLeft]! : rightValues[fromRight]!)
    if (compared <= 0) fromLeft++
    if (compared >= 0) fromRight++
  }
  while (values.length < bound && fromLeft < leftValues.length) values.push(leftValues[fromLeft++]!)
  while (values.length < bound && fromRight < rightValues.length) values.push(rightValues[fromRight++]!)
  const leftOver = fromLeft < leftValues.length || fromRight < rightValues.length
  return { values, overflow: left.overflow || right.overflow || leftOver }
}
