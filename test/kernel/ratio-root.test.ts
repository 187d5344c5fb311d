import * as fc from 'fast-check'
import { describe, expect, it } from 'vitest'
import { safeRatioRoot, scaledRatioRoot } from '../../features/kernel/ratio-root.ts'
import { isNearestRoot } from './rationals.ts'

describe('the root of a ratio', () => {
  it('is the nearest double', () => {
    const sizes = fc.oneof(
      fc.constantFrom(1n, 2n, 4n, 2n ** 53n - 1n, 2n ** 107n),
      fc.bigInt({ min: 0n, max: 2n ** 200n }),
    )
    const exponents = fc.oneof(fc.integer({ min: -4, max: 4 }), fc.integer({ min: -2400, max: 2200 }))
    fc.assert(
      fc.property(sizes, sizes, exponents, (numerator, size, exponent) => {
        const denominator = size + 1n
        const up = exponent > 0 ? 1n << BigInt(exponent) : 1n
        const down = exponent < 0 ? 1n << BigInt(-exponent) : 1n
        const square = { numerator: numerator * up, denominator: denominator * down }
        expect(isNearestRoot(scaledRatioRoot(numerator, denominator, exponent), square)).toBe(true)
      }),
      { numRuns: 2000 },
    )
  })

  it('of safe integers is the nearest double, which the root of the rounded ratio is not', () => {
    const safe = fc.oneof(
      fc.nat(1000),
      fc.maxSafeNat(),
      fc.nat(94906265).map(root => root * root),
    )
    let missed = 0
    fc.assert(
      fc.property(safe, safe, (numerator, other) => {
        const denominator = Math.max(1, other)
        const square = { numerator: BigInt(numerator), denominator: BigInt(denominator) }
        expect(isNearestRoot(safeRatioRoot(numerator, denominator), square)).toBe(true)
        if (!isNearestRoot(Math.sqrt(numerator / denominator), square)) missed++
      }),
      { numRuns: 5000 },
    )
    expect(missed).toBeGreaterThan(100)
  })

  it('is refused of what has none', () => {
    expect(() => scaledRatioRoot(-1n, 1n, 0)).toThrow(RangeError)
    expect(() => scaledRatioRoot(1n, 0n, 0)).toThrow(RangeError)
    expect(scaledRatioRoot(0n, 5n, 7)).toBe(0)
    expect(scaledRatioRoot(2n ** 106n + 1n, 1n, 0)).toBe(2 ** 53)
    // The squares of half-way points: to even.
    expect(scaledRatioRoot((2n ** 53n + 1n) ** 2n, 1n, 0)).toBe(2 ** 53)
    expect(scaledRatioRoot((2n ** 53n + 3n) ** 2n, 1n, 0)).toBe(2 ** 53 + 4)
    expect(scaledRatioRoot((2n ** 53n + 1n) ** 2n + 1n, 1n, 0)).toBe(2 ** 53 + 2)
    expect(scaledRatioRoot(1n, 1n, -2150)).toBe(0)
    expect(scaledRatioRoot(9n, 1n, -2150)).toBe(1e-323)
    expect(scaledRatioRoot(1n, 1n, 2048)).toBe(Infinity)
  })
})
