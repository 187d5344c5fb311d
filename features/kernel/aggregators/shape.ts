import { bitLength, ratioToNumber, scaleByPowerOfTwo, scaledRatioToNumber } from '../rounding.ts'

/*
 * With n values, Sₖ = Σxᵏ and mₖ the k-th central moment over n, these are integers whenever the Sₖ are:
 *   n²·m2 = n·S2 − S1²
 *   n³·m3 = n²·S3 − 3n·S1·S2 + 2·S1³
 *   n⁴·m4 = n³·S4 − 4n²·S1·S3 + 6n·S1²·S2 − 3·S1⁴
 */

function second(n: bigint, s1: bigint, s2: bigint): bigint {
  return n * s2 - s1 * s1
}

/**
 * Population skewness g1 = m3 / m2^1.5, or for a sample G1 = g1·√(n(n − 1)) / (n − 2), from integer power sums. The
 * square is rounded once and the root once: within one unit in the last place. Null without spread.
 */
export function skewness(n: bigint, sums: readonly bigint[], sample: boolean): number | null {
  const [s1, s2, s3] = sums as readonly [bigint, bigint, bigint]
  const spread = second(n, s1, s2)
  if (spread === 0n) return null
  const third = n * n * s3 - 3n * n * s1 * s2 + 2n * s1 * s1 * s1
  if (third === 0n) return 0
  const numerator = third * third * (sample ? n * (n - 1n) : 1n)
  const denominator = spread ** 3n * (sample ? (n - 2n) ** 2n : 1n)
  const half = (bitLength(denominator) - bitLength(numerator)) >> 1
  const root = scaleByPowerOfTwo(Math.sqrt(scaledRatioToNumber(numerator, denominator, 2 * half)), -half)
  return third < 0n ? 0 - root : root
}

/**
 * Population excess kurtosis g2 = m4 / m2² − 3, or for a sample
 * G2 = ((n² − 1)·m4 / m2² − 3(n − 1)²) / ((n − 2)(n − 3)), from integer power sums, rounded once. Null without spread.
 */
export function kurtosisExcess(n: bigint, sums: readonly bigint[], sample: boolean): number | null {
  const [s1, s2, s3, s4] = sums as readonly [bigint, bigint, bigint, bigint]
  const spread = second(n, s1, s2)
  if (spread === 0n) return null
  const fourth = n * n * n * s4 - 4n * n * n * s1 * s3 + 6n * n * s1 * s1 * s2 - 3n * s1 ** 4n
  const squared = spread * spread
  if (!sample) return ratioToNumber(fourth - 3n * squared, squared)
  const numerator = (n * n - 1n) * fourth - 3n * (n - 1n) ** 2n * squared
  return ratioToNumber(numerator, (n - 2n) * (n - 3n) * squared)
}
