import type { ByteReader, ByteWriter } from './types.ts'

/**
 * An exact sum of integers: `small + big`, where `small` is a safe integer and `big` takes what does not fit. Many
 * splits stand for one sum; its encoding is that of the sum.
 */
export interface IntegerSum {
  small: number
  big: bigint
}

/** Above these the square, the cube, the fourth power of an integer is not safe. */
const LARGEST_SAFE_ROOT = 94906265
const LARGEST_SAFE_CUBE_ROOT = 208063
const LARGEST_SAFE_FOURTH_ROOT = 9741

/** The sum of nothing. */
export function emptyIntegerSum(): IntegerSum {
  return { small: 0, big: 0n }
}

/** Adds a safe integer. */
export function addInteger(sum: IntegerSum, value: number): void {
  const next = sum.small + value
  if (next >= -Number.MAX_SAFE_INTEGER && next <= Number.MAX_SAFE_INTEGER) {
    sum.small = next
  } else {
    sum.big += BigInt(sum.small) + BigInt(value)
    sum.small = 0
  }
}

/** Adds an integer of any size. */
export function addBigInteger(sum: IntegerSum, value: bigint): void {
  if (value >= -9007199254740991n && value <= 9007199254740991n) addInteger(sum, Number(value))
  else sum.big += value
}

/** Adds the square of a safe integer. */
export function addIntegerSquare(sum: IntegerSum, value: number): void {
  if (value >= -LARGEST_SAFE_ROOT && value <= LARGEST_SAFE_ROOT) {
    addInteger(sum, value * value)
  } else {
    const wide = BigInt(value)
    sum.big += wide * wide
  }
}

/** Adds the cube of a safe integer. */
export function addIntegerCube(sum: IntegerSum, value: number): void {
  if (value >= -LARGEST_SAFE_CUBE_ROOT && value <= LARGEST_SAFE_CUBE_ROOT) addInteger(sum, value * value * value)
  else sum.big += BigInt(value) ** 3n
}

/** Adds the fourth power of a safe integer. */
export function addIntegerFourth(sum: IntegerSum, value: number): void {
  if (value >= -LARGEST_SAFE_FOURTH_ROOT && value <= LARGEST_SAFE_FOURTH_ROOT) {
    const square = value * value
    addInteger(sum, square * square)
  } else {
    sum.big += BigInt(value) ** 4n
  }
}

/** A new sum of both. */
export function mergeIntegerSums(left: IntegerSum, right: IntegerSum): IntegerSum {
  const merged = { small: left.small, big: left.big === 0n ? right.big : left.big + right.big }
  addInteger(merged, right.small)
  return merged
}

/** The sum as one bigint. */
export function integerSumTotal(sum: IntegerSum): bigint {
  return sum.big + BigInt(sum.small)
}

/** Whether `small` alone is the sum. */
export function isSmallSum(sum: IntegerSum): boolean {
  return sum.big === 0n
}

/** Writes the sum as one zigzag integer, however it is split. */
export function encodeIntegerSum(sum: IntegerSum, out: ByteWriter): void {
  if (sum.big === 0n) out.int(sum.small)
  else out.bigint(integerSumTotal(sum))
}

/** Reads what `encodeIntegerSum` wrote. */
export function decodeIntegerSum(input: ByteReader): IntegerSum {
  const total = input.integer()
  return typeof total === 'number' ? { small: total, big: 0n } : { small: 0, big: total }
}

/** Adds to `sum` what `encodeIntegerSum` wrote; makes nothing new while that is a safe integer. */
export function absorbIntegerSum(sum: IntegerSum, input: ByteReader): void {
  const total = input.integer()
  if (typeof total === 'number') addInteger(sum, total)
  else sum.big += total
}
