import type { Cell, FieldType, TimeMs } from './types.ts'

/**
 * Negative, zero or positive as the UTF-8 bytes of `a` come before, equal or come after those of `b`. UTF-8 keeps the
 * order of code points; UTF-16 does not: surrogates (0xD800 to 0xDFFF) stand for code points above 0xFFFF but compare
 * below 0xE000, so where two units differ and both are at least 0xD800, surrogates are moved above the rest.
 */
export function compareUtf8(a: string, b: string): number {
  if (a === b) return 0
  const shared = a.length < b.length ? a.length : b.length
  for (let index = 0; index < shared; index++) {
    const left = a.charCodeAt(index)
    const right = b.charCodeAt(index)
    if (left !== right) {
      if (left < 0xd800 || right < 0xd800) return left - right
      const leftIsSurrogate = left < 0xe000
      return leftIsSurrogate === right < 0xe000 ? left - right : leftIsSurrogate ? 1 : -1
    }
  }
  return a.length - b.length
}

/** The total order of an entity's points: by time, then by the UTF-8 bytes of the id. */
export function comparePoints(
  a: { readonly time: TimeMs; readonly id: string },
  b: { readonly time: TimeMs; readonly id: string },
): number {
  return a.time === b.time ? compareUtf8(a.id, b.id) : a.time - b.time
}

/**
 * A total order on the cells of one type: null first, then false before true, numbers ascending with NaN after
 * +Infinity, strings by UTF-8 bytes, vectors element by element. Zero means the same value (−0 and 0 are the same).
 */
export function compareCells(type: FieldType, a: Cell, b: Cell): number {
  return cellOrder(type)(a, b)
}

/** The order of `compareCells` for one type as a function, for callers that compare often. */
export function cellOrder(type: FieldType): (a: Cell, b: Cell) => number {
  return ORDERS[type.kind]
}

const ORDERS: Readonly<Record<FieldType['kind'], (a: Cell, b: Cell) => number>> = {
  string: nullsFirst<string>(compareUtf8),
  boolean: nullsFirst<boolean>((a, b) => Number(a) - Number(b)),
  int: nullsFirst<number>((a, b) => (a < b ? -1 : a > b ? 1 : 0)),
  timestamp: nullsFirst<number>((a, b) => (a < b ? -1 : a > b ? 1 : 0)),
  decimal: nullsFirst<number>((a, b) => (a < b ? -1 : a > b ? 1 : 0)),
  int64: nullsFirst<bigint>((a, b) => (a < b ? -1 : a > b ? 1 : 0)),
  double: nullsFirst<number>(compareNumbers),
  vector: nullsFirst<readonly number[]>(compareVectors),
}

function nullsFirst<T extends Exclude<Cell, null>>(order: (a: T, b: T) => number): (a: Cell, b: Cell) => number {
  return (a, b) => {
    if (a === null) return b === null ? 0 : -1
    return b === null ? 1 : order(a as T, b as T)
  }
}

function compareNumbers(a: number, b: number): number {
  if (a < b) return -1
  if (a > b) return 1
  return Number(a !== a) - Number(b !== b)
}

function compareVectors(a: readonly number[], b: readonly number[]): number {
  const shared = a.length < b.length ? a.length : b.length
  for (let index = 0; index < shared; index++) {
    const order = compareNumbers(a[index]!, b[index]!)
    if (order !== 0) return order
  }
  return a.length - b.length
}
