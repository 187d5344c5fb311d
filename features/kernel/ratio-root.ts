import { productError } from './exact-sum.ts'
import { bitLength, roundScaled } from './rounding.ts'

/** Bits of the quotient that a root is taken of, at least; the root has half as many. */
const QUOTIENT_BITS = 122
/** More than what the steps of `safeRatioRoot` may be off by, as a share of the numerator. */
const DOUBT = 2 ** -96

/**
 * `√(numerator / denominator · 2^exponent)` as the nearest double, ties to even, rounded once also among subnormals;
 * beyond the largest double Infinity, and 0 for what rounds to zero. Throws `RangeError` when the numerator is negative
 * or the denominator not positive.
 */
export function scaledRatioRoot(numerator: bigint, denominator: bigint, exponent: number): number {
  if (numerator < 0n) throw new RangeError('the numerator of a ratio must not be negative to have a root')
  if (denominator <= 0n) throw new RangeError('the denominator of a ratio must be positive')
  if (numerator === 0n) return 0
  const least = QUOTIENT_BITS - bitLength(numerator) + bitLength(denominator)
  const shift = least + ((exponent - least) & 1)
  const scaledNumerator = shift > 0 ? numerator << BigInt(shift) : numerator
  const scaledDenominator = shift < 0 ? denominator << BigInt(-shift) : denominator
  const quotient = scaledNumerator / scaledDenominator
  const root = integerRoot(quotient)
  const exact = root * root === quotient && quotient * scaledDenominator === scaledNumerator
  return roundScaled(root, exact, (exponent - shift) / 2)
}

/** ⌊√value⌋ of an integer of up to 2^128: one step of Newton from 53 right bits leaves it off by one at most. */
function integerRoot(value: bigint): bigint {
  const guess = BigInt(Math.sqrt(Number(value)))
  let root = (guess + value / guess) >> 1n
  while (root * root > value) root -= 1n
  while ((root + 1n) * (root + 1n) <= value) root += 1n
  return root
}

/**
 * `√(numerator / denominator)` of safe integers as the nearest double; the numerator is not negative, the denominator
 * positive. With s the root of the rounded quotient and r = numerator − denominator·s², in which both products are taken
 * with their errors, the root is s + r / (2·s·denominator) but for less than `DOUBT`. Where both ends of that doubt round
 * to the same double, that is the answer; else integers decide.
 */
export function safeRatioRoot(numerator: number, denominator: number): number {
  if (numerator === 0) return 0
  const root = Math.sqrt(numerator / denominator)
  const square = root * root
  const product = denominator * square
  const error = productError(denominator, square, product) + denominator * productError(root, root, square)
  const rest = numerator - product - error
  const doubt = numerator * DOUBT
  const slope = 2 * root * denominator
  const least = root + (rest - doubt) / slope
  if (least === root + (rest + doubt) / slope) return least
  return scaledRatioRoot(BigInt(numerator), BigInt(denominator), 0)
}
