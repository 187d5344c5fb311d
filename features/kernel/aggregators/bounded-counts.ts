import { encodePresent, decodePresent } from '../encoding.ts'
import { cellOrder } from '../order.ts'
import type { Cell } from '../types.ts'
import type { Algebra, IntegerParam } from './descriptor.ts'
import type { ScalarType } from './input-types.ts'
import { placeOf, putAt, walkUnion } from './distinct-cells.ts'

/**
 * How often each category was seen: the `bound` least categories by value, ascending, with their counts, and one count
 * of all other events. Closed under merge: a category among the least of the whole is among the least of every part
 * that has it, so it was never dropped and its count is exact; what the others were dropped into is the rest.
 */
export interface BoundedCounts {
  categories: Cell[]
  counts: number[]
  /** 0 unless `bound` categories are kept. */
  other: number
}

/** The parameter that families over bounded counts share. */
export const categoryBound: IntegerParam = {
  kind: 'integer',
  min: 1,
  max: 10_000,
  default: 1000,
  doc: 'how many categories are told apart: the least by value, all others count as one more',
}

/** The algebra of bounded counts with a result of its own. */
export function boundedCounts(
  family: string,
  type: ScalarType,
  bound: number,
  result: Algebra<BoundedCounts>['result'],
): Algebra<BoundedCounts> {
  const order = cellOrder(type)
  return {
    empty: () => ({ categories: [], counts: [], other: 0 }),
    add: (state, input) => {
      const cell = input.cell
      if (cell === null) return state
      const { categories, counts } = state
      const place = placeOf(categories, cell, order)
      if (place < categories.length && order(categories[place]!, cell) === 0) {
        counts[place]!++
      } else if (place === bound) {
        state.other++
      } else {
        if (categories.length === bound) {
          categories.pop()
          state.other += counts.pop()!
        }
        putAt(categories, place, cell)
        putAt(counts, place, 1)
      }
      return state
    },
    merge: (left, right) => {
      const merged: BoundedCounts = { categories: [], counts: [], other: left.other + right.other }
      walkUnion(left.categories, right.categories, order, (fromLeft, fromRight) => {
        const count = (fromLeft >= 0 ? left.counts[fromLeft]! : 0) + (fromRight >= 0 ? right.counts[fromRight]! : 0)
        if (merged.categories.length === bound) {
          merged.other += count
        } else {
          merged.categories.push(fromLeft >= 0 ? left.categories[fromLeft]! : right.categories[fromRight]!)
          merged.counts.push(count)
        }
        return true
      })
      return merged
    },
    result,
    encode: (state, out) => {
      const { categories, counts } = state
      out.varint(categories.length)
      for (let index = 0; index < categories.length; index++) {
        encodePresent(type, categories[index]!, out)
        out.varint(counts[index]!)
      }
      if (categories.length === bound) out.varint(state.other)
    },
    decode: input => {
      const length = input.varint()
      if (length > bound) throw new RangeError(`${length} categories in ${family}(${bound})`)
      const categories: Cell[] = []
      const counts: number[] = []
      for (let index = 0; index < length; index++) {
        const category = decodePresent(type, input)
        const count = input.varint()
        if (count === 0) throw new RangeError(`a category of ${family} without events`)
        if (index > 0 && order(categories[index - 1]!, category) >= 0) {
          throw new RangeError(`categories of ${family} out of order`)
        }
        categories.push(category)
        counts.push(count)
      }
      return { categories, counts, other: length === bound ? input.varint() : 0 }
    },
  }
}
