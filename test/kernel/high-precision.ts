import { doubleUnits } from './rationals.ts'

/** Numbers of high precision are integers in units of 2^−240. */
export const BITS = 240n
/** The number 1. */
export const ONE = 1n << BITS

/** ln 2 = Σ 1 / (k·2^k) in units of 2^−240. */
const LN_2 = ((): bigint => {
  let total = 0n
  for (let k = 1n; k <= BITS; k++) total += (ONE >> k) / k
  return total
})()

/** 2^(numerator / denominator) for an exponent in [0, 1), in units of 2^−240, by the series of e^x. */
export function exactPower(numerator: number, denominator: number): bigint {
  const x = (LN_2 * BigInt(numerator)) / BigInt(denominator)
  let term = ONE
  let total = 0n
  for (let k = 1n; term > 0n; k++) {
    total += term
    term = ((term * x) >> BITS) / k
  }
  return total
}

/** A double in units of 2^−240; what is below is cut off. */
export const fixed = (value: number): bigint => doubleUnits(value) >> (1074n - BITS)
/** The value without its sign. */
export const size = (value: bigint): bigint => (value < 0n ? -value : value)
/** ⌊time / by⌋. */
export const floorDiv = (time: number, by: number): bigint => {
  const [a, b] = [BigInt(time), BigInt(by)]
  return a / b - (a % b < 0n ? 1n : 0n)
}

/** Σ x·2^(−(t − time)/h) over pairs of value and time, and Σ of the sizes, in units of 2^−240. */
export function exactDecay(
  pairs: readonly (readonly [number, number])[],
  halfLifeMs: number,
  t: number,
): [bigint, bigint] {
  let total = 0n
  let sizes = 0n
  for (const [x, time] of pairs) {
    const whole = floorDiv(time - t, halfLifeMs)
    const power = exactPower(Number(BigInt(time - t) - whole * BigInt(halfLifeMs)), halfLifeMs)
    const term = (fixed(x) * power) >> (BITS - whole)
    total += term
    sizes += size(term)
  }
  return [total, sizes]
}
