import { bottomExponent, scaleByPowerOfTwo, scaledRatioToNumber, splitPowerOfTwo } from './rounding.ts'
import type { ByteReader, ByteWriter } from './types.ts'

/**
 * An exact sum of doubles. The finite part is Σ parts[0 … count − 1] + spill · 2^SPILL_EXPONENT; the parts are an
 * expansion without overlap, growing in magnitude, as in Shewchuk, "Adaptive Precision Floating-Point Arithmetic"
 * (1997). The spill takes what an expansion of doubles cannot hold: sums of 2^1024 and more, and powers that overflow
 * or lose bits below 2^−1074. Values that are not finite are counted beside. Many expansions stand for one sum; its
 * encoding is that of the sum.
 */
export interface ExactSum {
  readonly parts: number[]
  count: number
  spill: bigint
  nans: number
  plusInfinities: number
  minusInfinities: number
}

/** The lowest bit of the fourth power of the smallest subnormal, 2^−1074. */
const SPILL_EXPONENT = -4296
/** 2^53 fourth powers of the largest double stay below 2^4200. */
const LARGEST_EXPONENT = 4200
const SMALLEST_DOUBLE_EXPONENT = -1074
/** Bits of an encoded mantissa that are read as one number. */
const LIMB_BITS = 49
/** Numbers below 2^50 times powers of two up to this one are finite. */
const LARGEST_LIMB_EXPONENT = 970
/** Veltkamp's constant 2^27 + 1, which splits 53 bits into 26 and 27. */
const SPLITTER = 134217729
/** Between these the square of a double and its error term are both exact doubles. */
const SMALLEST_EXACT_ROOT = 2 ** -480
const LARGEST_EXACT_ROOT = 2 ** 500
/** More parts than this are compressed; sums in ordinary use need two or three. */
const COMPRESS_ABOVE = 4
const LARGEST_COMPRESSED = 2 ** 1000
const NOT_FINITE_TAG = 1
const WIDE_TAG = 2

const limbs: number[] = []

/** The sum of nothing. */
export function emptyExactSum(): ExactSum {
  return { parts: [0.5, 0.5], count: 0, spill: 0n, nans: 0, plusInfinities: 0, minusInfinities: 0 }
}

/** Adds any double, NaN and the infinities included. */
export function addDouble(sum: ExactSum, value: number): void {
  if (value - value === 0) addFinite(sum, value)
  else if (value === Infinity) sum.plusInfinities++
  else if (value === -Infinity) sum.minusInfinities++
  else sum.nans++
}

/** Adds the exact square of any double. */
export function addDoubleSquare(sum: ExactSum, value: number): void {
  const size = value < 0 ? -value : value
  if (size > SMALLEST_EXACT_ROOT && size < LARGEST_EXACT_ROOT) {
    const product = value * value
    const error = productError(value, value, product)
    if (error !== 0) addFinite(sum, error)
    addFinite(sum, product)
  } else {
    addWidePower(sum, value, 2)
  }
}

/** Adds the exact `a·b` of doubles whose product neither overflows nor loses bits below 2^−1074. */
export function addProduct(sum: ExactSum, a: number, b: number): void {
  const product = a * b
  const error = productError(a, b, product)
  if (error !== 0) addFinite(sum, error)
  addFinite(sum, product)
}

/** Adds a power that doubles do not hold, or counts it where it is not finite. */
export function addWidePower(sum: ExactSum, value: number, power: 2 | 3 | 4): void {
  if (value === 0) return
  if (value - value === 0) {
    const exponent = bottomExponent(value)
    const odd = BigInt(scaleByPowerOfTwo(value, -exponent))
    sum.spill += (odd ** BigInt(power)) << BigInt(power * exponent - SPILL_EXPONENT)
  } else if (value !== value) {
    sum.nans++
  } else if (value > 0 || power !== 3) {
    sum.plusInfinities++
  } else {
    sum.minusInfinities++
  }
}

/**
 * Grows the expansion by one finite double. The error of a sum is NaN or infinite exactly when that sum or a step of
 * it overflows; then everything moves to the spill.
 */
function addFinite(sum: ExactSum, value: number): void {
  const parts = sum.parts
  const count = sum.count
  let carry = value
  let kept = 0
  for (let index = 0; index < count; index++) {
    const part = parts[index]!
    const total = carry + part
    const shadow = total - carry
    const error = carry - (total - shadow) + (part - shadow)
    if (!(error - error === 0)) {
      spillParts(sum, kept, index, carry)
      return
    }
    if (error !== 0) parts[kept++] = error
    carry = total
  }
  if (carry !== 0) parts[kept++] = carry
  sum.count = kept > COMPRESS_ABOVE ? compress(parts, kept) : kept
}

/**
 * Shewchuk's COMPRESS, in place: the same sum in about as few parts as its bits need. Returns the new count; leaves
 * parts alone whose sum could overflow.
 */
function compress(parts: number[], count: number): number {
  let carry = parts[count - 1]!
  if (carry > LARGEST_COMPRESSED || carry < -LARGEST_COMPRESSED) return count
  let bottom = count - 1
  for (let index = count - 2; index >= 0; index--) {
    const part = parts[index]!
    const total = carry + part
    const error = part - (total - carry)
    if (error !== 0) {
      parts[bottom--] = total
      carry = error
    } else {
      carry = total
    }
  }
  let kept = 0
  for (let index = bottom + 1; index < count; index++) {
    const part = parts[index]!
    const total = part + carry
    const error = carry - (total - part)
    if (error !== 0) parts[kept++] = error
    carry = total
  }
  parts[kept++] = carry
  return kept
}

/** Moves parts[0 … kept), parts[from … count) and the carry to the spill. */
function spillParts(sum: ExactSum, kept: number, from: number, carry: number): void {
  let spill = sum.spill + toSpill(carry)
  for (let index = 0; index < kept; index++) spill += toSpill(sum.parts[index]!)
  for (let index = from; index < sum.count; index++) spill += toSpill(sum.parts[index]!)
  sum.spill = spill
  sum.count = 0
}

function toSpill(value: number): bigint {
  if (value === 0) return 0n
  const exponent = bottomExponent(value)
  return BigInt(scaleByPowerOfTwo(value, -exponent)) << BigInt(exponent - SPILL_EXPONENT)
}

/** A new sum of both. */
export function mergeExactSums(left: ExactSum, right: ExactSum): ExactSum {
  const merged: ExactSum = {
    parts: left.parts.slice(),
    count: left.count,
    spill: left.spill + right.spill,
    nans: left.nans + right.nans,
    plusInfinities: left.plusInfinities + right.plusInfinities,
    minusInfinities: left.minusInfinities + right.minusInfinities,
  }
  for (let index = 0; index < right.count; index++) addFinite(merged, right.parts[index]!)
  return merged
}

/** What a sum with NaN or infinities among its terms is by IEEE 754, or null when all terms are finite. */
export function notFiniteTotal(sum: ExactSum): number | null {
  if (sum.nans > 0 || (sum.plusInfinities > 0 && sum.minusInfinities > 0)) return NaN
  if (sum.plusInfinities > 0) return Infinity
  return sum.minusInfinities > 0 ? -Infinity : null
}

/** The finite part as `mantissa · 2^exponent`; the mantissa is odd, and zero is `0 · 2^0`. */
export function exactTotal(sum: ExactSum): { readonly mantissa: bigint; readonly exponent: number } {
  if (sum.spill !== 0n) {
    let total = sum.spill
    for (let index = 0; index < sum.count; index++) total += toSpill(sum.parts[index]!)
    const { odd, exponent } = splitPowerOfTwo(total)
    return { mantissa: odd, exponent: total === 0n ? 0 : exponent + SPILL_EXPONENT }
  }
  if (sum.count === 0) return { mantissa: 0n, exponent: 0 }
  const exponent = bottomExponent(sum.parts[0]!)
  let mantissa = 0n
  for (let index = 0; index < sum.count; index++) mantissa += scaledToBigint(sum.parts[index]!, -exponent)
  return { mantissa, exponent }
}

/** `value · 2^shift`, an integer of any size. */
function scaledToBigint(value: number, shift: number): bigint {
  const scaled = scaleByPowerOfTwo(value, shift)
  if (Number.isFinite(scaled)) return BigInt(scaled)
  const exponent = bottomExponent(value)
  return BigInt(scaleByPowerOfTwo(value, -exponent)) << BigInt(exponent + shift)
}

/** The sum as the nearest double, ties to even; NaN and infinities as IEEE 754 adds them; overflow is ±Infinity. */
export function exactSumToNumber(sum: ExactSum): number {
  const special = notFiniteTotal(sum)
  if (special !== null) return special
  if (sum.spill === 0n) {
    const rounded = roundParts(sum.parts, sum.count)
    if (rounded - rounded === 0) return rounded
  }
  const { mantissa, exponent } = exactTotal(sum)
  return scaledRatioToNumber(mantissa, 1n, exponent)
}

/**
 * The double nearest to a sum of parts: from the greatest down until a part no longer fits, then half-way cases are
 * decided by the sign of the next part, as in CPython's `math.fsum`. NaN or an infinity when a step overflows.
 */
function roundParts(parts: readonly number[], count: number): number {
  if (count === 0) return 0
  let index = count - 1
  let total = parts[index]!
  let error = 0
  while (index > 0 && error === 0) {
    const part = parts[--index]!
    const previous = total
    total = previous + part
    error = part - (total - previous)
  }
  if (index > 0 && error < 0 === parts[index - 1]! < 0) {
    const doubled = error * 2
    const moved = total + doubled
    if (doubled === moved - total) return moved
  }
  return total
}

/** The sum divided by a positive safe integer, rounded once. */
export function exactSumOver(sum: ExactSum, divisor: number): number {
  const special = notFiniteTotal(sum)
  if (special !== null) return special
  if (sum.spill === 0n) {
    if (sum.count === 0) return 0
    if (sum.count === 1) return sum.parts[0]! / divisor + 0
    const quotient = quotientOfParts(sum.parts, sum.count, divisor)
    if (quotient !== null) return quotient
  }
  const { mantissa, exponent } = exactTotal(sum)
  return scaledRatioToNumber(mantissa, BigInt(divisor), exponent)
}

/**
 * A sum of two or more parts divided by an integer, or null when doubles cannot tell how to round it. With S = high +
 * low + δ and q the double next to high/d, S/d is q + (r + δ)/d for the remainder r = high − q·d + low, in which high −
 * q·d is exact (Dekker's product gives the error of q·d). |δ| and the rounding of r stay below `doubt`; when q plus
 * either end of that interval rounds to the same double, that double is the answer.
 */
function quotientOfParts(parts: readonly number[], count: number, divisor: number): number | null {
  let low = 0
  for (let index = 0; index < count - 1; index++) low += parts[index]!
  const top = parts[count - 1]!
  const high = top + low
  low -= high - top
  const quotient = high / divisor
  const size = Math.abs(quotient)
  if (!(size > SMALLEST_EXACT_ROOT && size < LARGEST_EXACT_ROOT)) return null
  const product = quotient * divisor
  const remainder = high - product - productError(quotient, divisor, product) + low
  const doubt = Math.abs(parts[count - 2]!) * 2 ** -46 + Math.abs(remainder) * 2 ** -50
  const least = quotient + (remainder - doubt) / divisor
  return least === quotient + (remainder + doubt) / divisor ? least : null
}

/** `a·b − product` for `product` the rounded a·b, exact while nothing over- or underflows; Dekker (1971). */
export function productError(a: number, b: number, product: number): number {
  const scaledA = SPLITTER * a
  const highA = scaledA - (scaledA - a)
  const lowA = a - highA
  const scaledB = SPLITTER * b
  const highB = scaledB - (scaledB - b)
  const lowB = b - highB
  return lowA * lowB - (product - highA * highB - lowA * highB - highA * lowB)
}

/**
 * One form per sum: a tag byte with bit 0 set when counts of NaN, +Infinity and −Infinity follow (three varints) and
 * bit 1 when the finite part is not zero and follows as zigzag mantissa (odd) and zigzag exponent.
 */
export function encodeExactSum(sum: ExactSum, out: ByteWriter): void {
  const special = sum.nans + sum.plusInfinities + sum.minusInfinities > 0
  const single = sum.spill === 0n && sum.count === 1
  const total = single ? null : exactTotal(sum)
  const nonZero = total === null || total.mantissa !== 0n
  out.u8((special ? NOT_FINITE_TAG : 0) | (nonZero ? WIDE_TAG : 0))
  if (special) {
    out.varint(sum.nans)
    out.varint(sum.plusInfinities)
    out.varint(sum.minusInfinities)
  }
  if (total === null) {
    const part = sum.parts[0]!
    const exponent = bottomExponent(part)
    out.int(scaleByPowerOfTwo(part, -exponent))
    out.int(exponent)
  } else if (nonZero) {
    out.bigint(total.mantissa)
    out.int(total.exponent)
  }
}

/** Reads what `encodeExactSum` wrote; throws `RangeError` for bytes it never writes. */
export function decodeExactSum(input: ByteReader): ExactSum {
  const sum = emptyExactSum()
  absorbExactSum(sum, input)
  return sum
}

/** Adds to `sum` what `encodeExactSum` wrote; makes nothing new while doubles hold it. Throws as `decodeExactSum`. */
export function absorbExactSum(sum: ExactSum, input: ByteReader): void {
  const tag = input.u8()
  if (tag > (NOT_FINITE_TAG | WIDE_TAG)) throw new RangeError(`no exact sum has the tag ${tag}`)
  if (tag & NOT_FINITE_TAG) absorbNotFinite(sum, input)
  if (!(tag & WIDE_TAG)) return
  const limbCount = readMantissa(input)
  const exponent = input.int()
  if (exponent < SPILL_EXPONENT || exponent > LARGEST_EXPONENT) {
    throw new RangeError(`no exact sum has the exponent ${exponent}`)
  }
  if (exponent > SMALLEST_DOUBLE_EXPONENT && exponent + LIMB_BITS * limbCount <= LARGEST_LIMB_EXPONENT) {
    for (let index = 0; index < limbCount; index++) {
      addFinite(sum, limbs[index]! * 2 ** (exponent - 1 + LIMB_BITS * index))
    }
  } else {
    let doubled = 0n
    for (let index = limbCount - 1; index >= 0; index--)
      doubled = (doubled << BigInt(LIMB_BITS)) + BigInt(limbs[index]!)
    addScaled(sum, doubled >> 1n, exponent)
  }
}

/**
 * Reads an odd integer of any size, as `bigint` writes it, into `limbs`, lowest first: twice the integer is
 * Σ limbs[k]·2^(49k). Returns how many limbs there are. Nothing is made, which `input.bigint()` could not avoid.
 */
function readMantissa(input: ByteReader): number {
  let count = 0
  for (let more = true; more; count++) {
    let limb = 0
    let scale = 1
    for (let group = 0; more && group < LIMB_BITS / 7; group++) {
      const byte = input.u8()
      if (byte === 0 && count + group > 0)
        throw new RangeError('superfluous zero group in the mantissa of an exact sum')
      limb += (byte & 0x7f) * scale
      scale *= 128
      more = byte >= 0x80
    }
    limbs[count] = limb
  }
  const negative = limbs[0]! % 2
  limbs[0]! += negative
  if ((limbs[0]! / 2) % 2 === 0) throw new RangeError('the mantissa of an exact sum is even')
  if (negative === 1) for (let index = 0; index < count; index++) limbs[index] = -limbs[index]!
  return count
}

function absorbNotFinite(sum: ExactSum, input: ByteReader): void {
  const nans = input.varint()
  const plusInfinities = input.varint()
  const minusInfinities = input.varint()
  if (nans + plusInfinities + minusInfinities === 0) throw new RangeError('an exact sum counts no NaN')
  sum.nans += nans
  sum.plusInfinities += plusInfinities
  sum.minusInfinities += minusInfinities
}

/** Adds `mantissa · 2^exponent`: as parts where doubles hold it, else to the spill. */
function addScaled(sum: ExactSum, mantissa: bigint, exponent: number): void {
  const parts: number[] = []
  let rest = exponent >= SMALLEST_DOUBLE_EXPONENT ? mantissa : 0n
  while (rest !== 0n) {
    const leading = Number(rest)
    const part = scaleByPowerOfTwo(leading, exponent)
    if (!Number.isFinite(part)) break
    parts.push(part)
    rest -= BigInt(leading)
  }
  if (rest !== 0n || exponent < SMALLEST_DOUBLE_EXPONENT) {
    sum.spill += mantissa << BigInt(exponent - SPILL_EXPONENT)
    return
  }
  for (let index = parts.length - 1; index >= 0; index--) addFinite(sum, parts[index]!)
}
