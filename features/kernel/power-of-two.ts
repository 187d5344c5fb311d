import { scaleByPowerOfTwo } from './rounding.ts'

const STEPS = 64
const FRACTION_BITS = 160
/** Numerator and denominator of an exponent stay below this, so that `numerator · 64` is a safe integer. */
const LARGEST_DENOMINATOR = 2 ** 46

/** 2^(i/64) as the sum of the nearest double and what that leaves. */
const { nearest: NEAREST, rest: REST } = tableOfPowers()

/** The Taylor coefficients ln(2)^k / k! of 2^x around 0. */
const C1 = Math.LN2
const C2 = (C1 * Math.LN2) / 2
const C3 = (C2 * Math.LN2) / 3
const C4 = (C3 * Math.LN2) / 4
const C5 = (C4 * Math.LN2) / 5
const C6 = (C5 * Math.LN2) / 6
const C7 = (C6 * Math.LN2) / 7

/**
 * `2^(numerator / denominator)`, from 1 to below 2, for integers with 0 ≤ numerator < denominator ≤ 2^46. The same
 * bits on every platform, unlike `Math.pow`: only additions, products, quotients and a floor of doubles are used.
 *
 * The exponent is i/64 + r with the integer i and r in [0, 1/64) found without rounding but that of r itself, and
 * 2^r − 1 is its Taylor polynomial of degree 7, which leaves out less than 10^−20. The result is within 0.6 units in
 * the last place, 2^−52, of the true value. Throws `RangeError` for other arguments.
 */
export function powerOfTwo(numerator: number, denominator: number): number {
  if (!(numerator >= 0 && numerator < denominator && denominator <= LARGEST_DENOMINATOR)) {
    throw new RangeError(`no power of two for the exponent ${numerator}/${denominator}, which must be in [0, 1)`)
  }
  const scaled = numerator * STEPS
  const step = Math.floor(scaled / denominator)
  const r = (scaled - step * denominator) / (denominator * STEPS)
  const excess = r * (C1 + r * (C2 + r * (C3 + r * (C4 + r * (C5 + r * (C6 + r * C7))))))
  const power = NEAREST[step]!
  return power + (REST[step]! + power * excess)
}

/** From integer square roots: 2^(1/64) is the square root of the square root … of 2, six times. */
function tableOfPowers(): { readonly nearest: Float64Array; readonly rest: Float64Array } {
  const fraction = BigInt(FRACTION_BITS)
  let root = 2n << fraction
  for (let steps = STEPS; steps > 1; steps /= 2) root = integerSquareRoot(root << fraction)
  const nearest = new Float64Array(STEPS)
  const rest = new Float64Array(STEPS)
  let power = 1n << fraction
  for (let index = 0; index < STEPS; index++) {
    const rounded = Number(power)
    nearest[index] = scaleByPowerOfTwo(rounded, -FRACTION_BITS)
    rest[index] = scaleByPowerOfTwo(Number(power - BigInt(rounded)), -FRACTION_BITS)
    power = (power * root) >> fraction
  }
  return { nearest, rest }
}

/** The greatest integer whose square is at most `value`, by Newton's method from above. */
function integerSquareRoot(value: bigint): bigint {
  let root = 1n << BigInt((value.toString(2).length + 1) >> 1)
  for (;;) {
    const next = (root + value / root) >> 1n
    if (next >= root) return root
    root = next
  }
}
