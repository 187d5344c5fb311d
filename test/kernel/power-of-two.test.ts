import * as fc from 'fast-check'
import { describe, expect, it } from 'vitest'
import { powerOfTwo } from '../../features/kernel/power-of-two.ts'
import { exactPower, fixed, ONE, size } from './high-precision.ts'

describe('powerOfTwo', () => {
  it('is within 0.6 units in the last place', () => {
    const limit = ((ONE * 6n) / 10n) >> 52n
    const exponents = fc
      .oneof(fc.integer({ min: 1, max: 200 }), fc.integer({ min: 1, max: 34_560_000_000 }), fc.constant(2 ** 46))
      .chain(denominator =>
        fc.tuple(
          fc.oneof(fc.integer({ min: 0, max: denominator - 1 }), fc.constantFrom(0, denominator - 1)),
          fc.constant(denominator),
        ),
      )
    fc.assert(
      fc.property(exponents, ([numerator, denominator]) => {
        const power = powerOfTwo(numerator, denominator)
        expect(power >= 1 && power < 2).toBe(true)
        expect(size(fixed(power) - exactPower(numerator, denominator)) <= limit).toBe(true)
      }),
      { numRuns: 3000 },
    )
  })

  it('is exact at 0, and Math.SQRT2 at a half', () => {
    expect(powerOfTwo(0, 7)).toBe(1)
    expect(powerOfTwo(1, 2)).toBe(Math.SQRT2)
    expect(powerOfTwo(43_200_000, 86_400_000)).toBe(Math.SQRT2)
  })

  it('refuses exponents outside [0, 1)', () => {
    for (const [n, d] of [
      [-1, 2],
      [2, 2],
      [0, 0],
      [NaN, 1],
      [1, 2 ** 47],
    ] as const) {
      expect(() => powerOfTwo(n, d)).toThrow(RangeError)
    }
  })
})
