const scratch = new DataView(new ArrayBuffer(8))

/**
 * The exponent of the lowest set bit of a finite number that is not zero: `value` is an odd multiple of `2^k`.
 */
export function bottomExponent(value: number): number {
  scratch.setFloat64(0, value)
  const high = scratch.getUint32(0)
  const low = scratch.getUint32(4)
  const biased = (high >>> 20) & 0x7ff
  const unit = biased === 0 ? -1074 : biased - 1075
  if (low !== 0) return unit + trailingZeros(low)
  const fraction = high & 0xfffff
  if (fraction !== 0) return unit + 32 + trailingZeros(fraction)
  return unit + 52
}

/** `value · 2^exponent` for any exponent; exact whenever the product is a double. */
export function scaleByPowerOfTwo(value: number, exponent: number): number {
  let scaled = value
  let rest = exponent
  while (rest > 1000 && scaled !== 0 && Number.isFinite(scaled)) {
    scaled *= 2 ** 1000
    rest -= 1000
  }
  while (rest < -1000 && scaled !== 0) {
    scaled *= 2 ** -1000
    rest += 1000
  }
  return scaled === 0 || !Number.isFinite(scaled) ? scaled : scaled * 2 ** rest
}

/** Trailing zero bits of a 32-bit integer that is not zero. */
function trailingZeros(word: number): number {
  return 31 - Math.clz32(word & -word)
}

/** Bits of a positive bigint: `2^(bits − 1) ≤ value < 2^bits`. */
export function bitLength(value: bigint): number {
  const digits = value.toString(16)
  return digits.length * 4 - Math.clz32(Number.parseInt(digits[0]!, 16)) + 28
}

/** A bigint as `odd · 2^exponent`; zero is `0 · 2^0`. */
export function splitPowerOfTwo(value: bigint): { readonly odd: bigint; readonly exponent: number } {
  if (value === 0n) return { odd: 0n, exponent: 0 }
  let odd = value
  let exponent = 0
  while ((odd & 0xffffffffn) === 0n) {
    odd >>= 32n
    exponent += 32
  }
  const zeros = trailingZeros(Number(odd & 0xffffffffn) | 0)
  return { odd: odd >> BigInt(zeros), exponent: exponent + zeros }
}

/**
 * `numerator / denominator` as the nearest double, ties to even, beyond the largest double ±Infinity. Throws
 * `RangeError` when the denominator is not positive.
 */
export function ratioToNumber(numerator: bigint, denominator: bigint): number {
  return scaledRatioToNumber(numerator, denominator, 0)
}

/**
 * `numerator / denominator · 2^exponent` as the nearest double, ties to even, rounded once also among subnormals;
 * beyond the largest double ±Infinity, and 0 (never −0) for what rounds to zero. Throws `RangeError` when the
 * denominator is not positive.
 */
export function scaledRatioToNumber(numerator: bigint, denominator: bigint, exponent: number): number {
  if (denominator <= 0n) throw new RangeError('the denominator of a ratio must be positive')
  if (numerator === 0n) return 0
  if (exponent === 0 && isSafe(numerator) && isSafe(denominator)) return Number(numerator) / Number(denominator)
  const magnitude = numerator < 0n ? -numerator : numerator
  const shift = 66 - bitLength(magnitude) + bitLength(denominator)
  const scaledNumerator = shift > 0 ? magnitude << BigInt(shift) : magnitude
  const scaledDenominator = shift < 0 ? denominator << BigInt(-shift) : denominator
  const quotient = scaledNumerator / scaledDenominator
  const exact = quotient * scaledDenominator === scaledNumerator
  const rounded = roundScaled(quotient, exact, exponent - shift)
  return numerator < 0n && rounded !== 0 ? -rounded : rounded
}

/**
 * The double nearest to `(quotient + f) · 2^exponent` with f = 0 when exact and 0 < f < 1 otherwise, ties to even. The
 * quotient has at least 60 bits, so that f only decides ties.
 */
export function roundScaled(quotient: bigint, exact: boolean, exponent: number): number {
  const top = bitLength(quotient) - 1 + exponent
  if (top > 1024) return Infinity
  if (top < -1076) return 0
  const unit = Math.max(top - 52, -1074)
  const drop = BigInt(unit - exponent)
  let kept = quotient >> drop
  const rest = quotient - (kept << drop)
  const half = 1n << (drop - 1n)
  if (rest > half || (rest === half && (!exact || (kept & 1n) === 1n))) kept += 1n
  return scaleByPowerOfTwo(Number(kept), unit)
}

function isSafe(value: bigint): boolean {
  return value >= -9007199254740991n && value <= 9007199254740991n
}
