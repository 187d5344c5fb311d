const scratch = new DataView(new ArrayBuffer(8))

/** An exact rational; the denominator is positive. */
export interface Rational {
  readonly numerator: bigint
  readonly denominator: bigint
}

/** 2^1074, in units of whose inverse every double is an integer. */
export const DOUBLE_UNITS = 1n << 1074n

/** A finite double as an integer number of 2^−1074. */
export function doubleUnits(value: number): bigint {
  scratch.setFloat64(0, value)
  const bits = scratch.getBigUint64(0)
  const biased = (bits >> 52n) & 0x7ffn
  const fraction = bits & 0xfffffffffffffn
  const magnitude = biased === 0n ? fraction : (fraction | (1n << 52n)) << (biased - 1n)
  return bits >> 63n ? -magnitude : magnitude
}

/** The next double towards +Infinity (`step` 1) or −Infinity (−1) of a finite double. */
export function neighbour(value: number, step: 1 | -1): number {
  if (value === 0) return step * 5e-324
  scratch.setFloat64(0, value)
  const away = value > 0 === step > 0
  scratch.setBigUint64(0, scratch.getBigUint64(0) + (away ? 1n : -1n))
  return scratch.getFloat64(0)
}

/**
 * Whether `value` is the double nearest to the rational, ties to even, Infinity from 2^1024 − 2^970 on: by comparing
 * its distance with that of both neighbours, not by rounding.
 */
export function isNearest(value: number, exact: Rational): boolean {
  const { numerator, denominator } = exact
  const target = numerator * DOUBLE_UNITS
  const limit = ((1n << 1024n) - (1n << 970n)) * DOUBLE_UNITS * denominator
  if (target >= limit) return value === Infinity
  if (target <= -limit) return value === -Infinity
  if (!Number.isFinite(value) || Object.is(value, -0)) return false
  const distance = (candidate: number): bigint => {
    const units = Number.isFinite(candidate) ? doubleUnits(candidate) : (candidate > 0 ? 1n : -1n) << 2098n
    const difference = target - units * denominator
    return difference < 0n ? -difference : difference
  }
  const own = distance(value)
  const even = (doubleUnits(value) >> ulpShift(value)) % 2n === 0n
  return [neighbour(value, 1), neighbour(value, -1)].every(
    other => own < distance(other) || (own === distance(other) && even),
  )
}

/**
 * Whether `value` is the double nearest to the root of a rational that is not negative, ties to even, Infinity from
 * 2^1024 − 2^970 on: by comparing the rational with the squares of the half-way points to both neighbours.
 */
export function isNearestRoot(value: number, { numerator, denominator }: Rational): boolean {
  if (!(value >= 0) || Object.is(value, -0)) return false
  const target = numerator * (2n * DOUBLE_UNITS) ** 2n
  /** The sign of half-way minus root. */
  const side = (left: bigint, right: bigint): number => {
    const square = (left + right) ** 2n * denominator
    return square > target ? 1 : square < target ? -1 : 0
  }
  const unitsOf = (each: number): bigint => (each === Infinity ? 1n << 2098n : doubleUnits(each))
  const own = unitsOf(value)
  const even = (own >> ulpShift(value)) % 2n === 0n
  const lower = value === Infinity ? unitsOf(Number.MAX_VALUE) : unitsOf(neighbour(value, -1))
  const below = value === 0 ? -1 : side(own, lower)
  const above = value === Infinity ? 1 : side(own, unitsOf(neighbour(value, 1)))
  return (below < 0 || (below === 0 && (even || value === Infinity))) && (above > 0 || (above === 0 && even))
}

function ulpShift(value: number): bigint {
  scratch.setFloat64(0, value)
  const biased = (scratch.getBigUint64(0) >> 52n) & 0x7ffn
  return biased === 0n ? 0n : biased - 1n
}
