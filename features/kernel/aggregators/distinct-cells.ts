import { decodePresent, encodePresent } from '../encoding.ts'
import type { ByteReader, ByteWriter, Cell, FieldType } from '../types.ts'

/** A total order of cells, as `cellOrder` gives. */
export type CellOrder = (a: Cell, b: Cell) => number

/** Where a cell stands in an ascending list without ties, or ought to stand: the number of cells below it. */
export function placeOf(cells: readonly Cell[], cell: Cell, order: CellOrder): number {
  let low = 0
  let high = cells.length
  while (low < high) {
    const middle = (low + high) >>> 1
    if (order(cells[middle]!, cell) < 0) low = middle + 1
    else high = middle
  }
  return low
}

/** Puts an item at a place of a list; the common case of the end is fast. */
export function putAt<T>(list: T[], place: number, item: T): void {
  if (place === list.length) list.push(item)
  else list.splice(place, 0, item)
}

/**
 * Walks two ascending lists without ties in the order of their union. `take` is given the place in each list where the
 * next cell stands, −1 where it does not, and answers whether to go on.
 */
export function walkUnion(
  left: readonly Cell[],
  right: readonly Cell[],
  order: CellOrder,
  take: (fromLeft: number, fromRight: number) => boolean,
): void {
  let leftAt = 0
  let rightAt = 0
  while (leftAt < left.length || rightAt < right.length) {
    const compared = leftAt === left.length ? 1 : rightAt === right.length ? -1 : order(left[leftAt]!, right[rightAt]!)
    if (!take(compared <= 0 ? leftAt : -1, compared >= 0 ? rightAt : -1)) return
    if (compared <= 0) leftAt++
    if (compared >= 0) rightAt++
  }
}

/** The least `limit` cells of two ascending lists without ties, ascending, without ties. */
export function unionCells(left: readonly Cell[], right: readonly Cell[], limit: number, order: CellOrder): Cell[] {
  const cells: Cell[] = []
  walkUnion(left, right, order, (fromLeft, fromRight) => {
    cells.push(fromLeft >= 0 ? left[fromLeft]! : right[fromRight]!)
    return cells.length < limit
  })
  return cells
}

/** Writes the cells without their number, which the state keeps in its own header. */
export function encodeDistinctCells(type: FieldType, cells: readonly Cell[], out: ByteWriter): void {
  for (const cell of cells) encodePresent(type, cell, out)
}

/** Reads `length` cells, which must ascend strictly (`RangeError` that names the family). */
export function decodeDistinctCells(
  family: string,
  type: FieldType,
  length: number,
  order: CellOrder,
  input: ByteReader,
): Cell[] {
  const cells: Cell[] = []
  for (let index = 0; index < length; index++) {
    const cell = decodePresent(type, input)
    if (index > 0 && order(cells[index - 1]!, cell) >= 0) throw new RangeError(`values of a ${family} out of order`)
    cells.push(cell)
  }
  return cells
}

const MAX_TRIES = 4

/** Adds `length` encoded ascending cells to an ascending list; strings that are in it already are not even decoded. */
export function absorbCells(cells: Cell[], type: FieldType, length: number, order: CellOrder, input: ByteReader): void {
  const text = type.kind === 'string'
  let next = 0
  for (let index = 0; index < length; index++) {
    let found = false
    for (let tries = 0; text && !found && tries < MAX_TRIES && next < cells.length; tries++) {
      found = input.skipString(cells[next++] as string)
    }
    if (found) continue
    const cell = decodePresent(type, input)
    const place = placeOf(cells, cell, order)
    if (place === cells.length || order(cells[place]!, cell) !== 0) putAt(cells, place, cell)
    next = place + 1
  }
}
