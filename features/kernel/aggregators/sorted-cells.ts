import { decodePresent, encodePresent } from '../encoding.ts'
import type { ByteReader, ByteWriter, Cell, FieldType } from '../types.ts'
import type { CellOrder } from './distinct-cells.ts'

/** Puts a cell after those of a sorted list that do not follow it; a list longer than `limit` loses its end. */
export function insertCell(cells: Cell[], cell: Cell, order: CellOrder, limit: number): void {
  let low = 0
  let high = cells.length
  if (high > 0 && order(cells[high - 1]!, cell) <= 0) low = high
  while (low < high) {
    const middle = (low + high) >>> 1
    if (order(cells[middle]!, cell) <= 0) low = middle + 1
    else high = middle
  }
  if (low === limit) return
  if (cells.length === limit) cells.pop()
  if (low === cells.length) cells.push(cell)
  else cells.splice(low, 0, cell)
}

/** The first `limit` cells of two sorted lists, sorted; a new list. */
export function mergeCells(left: readonly Cell[], right: readonly Cell[], order: CellOrder, limit: number): Cell[] {
  const length = Math.min(limit, left.length + right.length)
  const merged: Cell[] = []
  let fromLeft = 0
  let fromRight = 0
  while (merged.length < length) {
    const takeLeft =
      fromRight === right.length || (fromLeft < left.length && order(left[fromLeft]!, right[fromRight]!) <= 0)
    merged.push(takeLeft ? left[fromLeft++]! : right[fromRight++]!)
  }
  return merged
}

/** Writes a list of present cells with its length before it. */
export function encodeSortedCells(type: FieldType, cells: readonly Cell[], out: ByteWriter): void {
  out.varint(cells.length)
  for (const cell of cells) encodePresent(type, cell, out)
}

/** Reads a list that `encodeSortedCells` wrote; throws `RangeError` when it is too long, out of order or holds NaN. */
export function decodeSortedCells(type: FieldType, input: ByteReader, order: CellOrder, limit: number): Cell[] {
  const length = input.varint()
  if (length > limit) throw new RangeError(`${length} values where at most ${limit} are kept`)
  const cells: Cell[] = []
  for (let index = 0; index < length; index++) {
    const cell = decodePresent(type, input)
    if (cell !== cell) throw new RangeError('NaN among sorted values')
    if (index > 0 && order(cells[index - 1]!, cell) > 0) throw new RangeError('sorted values out of order')
    cells.push(cell)
  }
  return cells
}
