import * as fc from 'fast-check'
import { describe, expect, it } from 'vitest'
import { createReader, createWriter } from '../../features/kernel/encoding.ts'
import {
  addDouble,
  addDoubleSquare,
  decodeExactSum,
  emptyExactSum,
  encodeExactSum,
  exactSumOver,
  exactSumToNumber,
  exactTotal,
  mergeExactSums,
  type ExactSum,
} from '../../features/kernel/exact-sum.ts'
import {
  addBigInteger,
  addInteger,
  addIntegerSquare,
  decodeIntegerSum,
  emptyIntegerSum,
  encodeIntegerSum,
  integerSumTotal,
} from '../../features/kernel/integer-sum.ts'
import {
  bitLength,
  bottomExponent,
  ratioToNumber,
  scaleByPowerOfTwo,
  scaledRatioToNumber,
  splitPowerOfTwo,
} from '../../features/kernel/rounding.ts'
import { doubles, presentCells } from './inputs.ts'
import { DOUBLE_UNITS, doubleUnits, isNearest } from './rationals.ts'

const finite = doubles.filter(Number.isFinite)

function sumOf(values: readonly number[]): ExactSum {
  const sum = emptyExactSum()
  for (const value of values) addDouble(sum, value)
  return sum
}

function bytes(sum: ExactSum): string {
  const out = createWriter()
  encodeExactSum(sum, out)
  return Buffer.from(out.finish()).toString('hex')
}

describe('exact sums of doubles', () => {
  it('equal the sum of integers in units of 2^-1074 and round to the nearest double', () => {
    fc.assert(
      fc.property(fc.array(finite, { maxLength: 40 }), fc.integer({ min: 1, max: 1000 }), (values, divisor) => {
        const sum = sumOf(values)
        const units = values.reduce((total, value) => total + doubleUnits(value), 0n)
        const { mantissa, exponent } = exactTotal(sum)
        expect(mantissa << BigInt(exponent + 1074)).toBe(units)
        expect(isNearest(exactSumToNumber(sum), { numerator: units, denominator: DOUBLE_UNITS })).toBe(true)
        const mean = { numerator: units, denominator: DOUBLE_UNITS * BigInt(divisor) }
        expect(isNearest(exactSumOver(sum, divisor), mean)).toBe(true)
      }),
      { numRuns: 3000 },
    )
  })

  it('are right for many ordinary values of like and of unlike size', () => {
    const cents = fc.integer({ min: -1_000_000, max: 1_000_000 }).map(value => value / 100 + 0)
    const wide = fc.tuple(fc.maxSafeInteger(), fc.integer({ min: -120, max: 60 })).map(([m, e]) => m * 2 ** e + 0)
    for (const values of [cents, wide, fc.oneof(cents, wide)]) {
      fc.assert(
        fc.property(
          fc.array(values, { minLength: 2, maxLength: 60 }),
          fc.integer({ min: 1, max: 1e9 }),
          (list, extra) => {
            const sum = sumOf(list)
            const units = list.reduce((total, value) => total + doubleUnits(value), 0n)
            expect(isNearest(exactSumToNumber(sum), { numerator: units, denominator: DOUBLE_UNITS })).toBe(true)
            for (const divisor of [list.length, 2, 3, extra]) {
              const mean = { numerator: units, denominator: DOUBLE_UNITS * BigInt(divisor) }
              expect(isNearest(exactSumOver(sum, divisor), mean)).toBe(true)
            }
            const { mantissa, exponent } = exactTotal(sum)
            expect(mantissa << BigInt(exponent + 1074)).toBe(units)
          },
        ),
        { numRuns: 1000 },
      )
    }
  })

  it('are right when halves decide the rounding', () => {
    const halves = fc.constantFrom(1, 2 ** 53, 2 ** -53, 2 ** -54, -(2 ** -54), 2 ** -106, -(2 ** -106), 5e-324)
    fc.assert(
      fc.property(fc.array(halves, { maxLength: 8 }), values => {
        const units = values.reduce((total, value) => total + doubleUnits(value), 0n)
        expect(isNearest(exactSumToNumber(sumOf(values)), { numerator: units, denominator: DOUBLE_UNITS })).toBe(true)
      }),
      { numRuns: 2000 },
    )
    expect(exactSumToNumber(sumOf([1, 2 ** -53]))).toBe(1)
    expect(exactSumToNumber(sumOf([1, 2 ** -53, 5e-324]))).toBe(1 + 2 ** -52)
    expect(exactSumToNumber(sumOf([1 + 2 ** -52, 2 ** -53]))).toBe(1 + 2 ** -51)
  })

  it('keep sums beyond the largest double and come back', () => {
    const largest = Number.MAX_VALUE
    expect(exactSumToNumber(sumOf([largest, largest]))).toBe(Infinity)
    expect(exactSumToNumber(sumOf([largest, largest, -largest]))).toBe(largest)
    expect(exactSumToNumber(sumOf([largest, 2 ** 970]))).toBe(Infinity)
    expect(exactSumToNumber(sumOf([largest, 2 ** 970, -5e-324]))).toBe(largest)
    expect(exactSumToNumber(sumOf([1e308, 1e308, -1e308, -1e308, 5e-324]))).toBe(5e-324)
    expect(bytes(sumOf([1e308, 1e308, -1e308, -1e308, 5e-324]))).toBe(bytes(sumOf([5e-324])))
  })

  it('treat NaN and infinities as IEEE 754 does', () => {
    expect(exactSumToNumber(sumOf([1, NaN]))).toBe(NaN)
    expect(exactSumToNumber(sumOf([1, Infinity]))).toBe(Infinity)
    expect(exactSumToNumber(sumOf([-Infinity, 1]))).toBe(-Infinity)
    expect(exactSumToNumber(sumOf([Infinity, -Infinity]))).toBe(NaN)
    const squares = emptyExactSum()
    addDoubleSquare(squares, -Infinity)
    expect(exactSumToNumber(squares)).toBe(Infinity)
  })

  it('add exact squares of every double', () => {
    fc.assert(
      fc.property(fc.array(finite, { maxLength: 12 }), values => {
        const sum = emptyExactSum()
        for (const value of values) addDoubleSquare(sum, value)
        const units = values.reduce((total, value) => total + doubleUnits(value) ** 2n, 0n)
        const { mantissa, exponent } = exactTotal(sum)
        expect(mantissa << BigInt(exponent + 2148)).toBe(units)
        expect(isNearest(exactSumToNumber(sum), { numerator: units, denominator: DOUBLE_UNITS ** 2n })).toBe(true)
      }),
      { numRuns: 2000 },
    )
  })

  it('have one encoding, whatever path led there', () => {
    fc.assert(
      fc.property(fc.array(doubles, { maxLength: 12 }), fc.array(doubles, { maxLength: 12 }), (left, right) => {
        const merged = mergeExactSums(sumOf(left), sumOf(right))
        const straight = sumOf([...right, ...left])
        expect(bytes(merged)).toBe(bytes(straight))
        const out = createWriter()
        encodeExactSum(merged, out)
        const decoded = decodeExactSum(createReader(out.finish()))
        expect(bytes(decoded)).toBe(bytes(straight))
        expect(exactSumToNumber(decoded)).toBe(exactSumToNumber(straight))
      }),
      { numRuns: 2000 },
    )
  })

  it('stay small in ordinary use', () => {
    const cents = sumOf(Array.from({ length: 1000 }, (_, index) => (index * 37 + 1) / 100))
    expect(bytes(cents).length / 2).toBeLessThanOrEqual(14)
    expect(cents.count).toBeLessThanOrEqual(4)
    expect(bytes(sumOf([])).length / 2).toBe(1)
    const everywhere = sumOf(Array.from({ length: 2000 }, (_, index) => 2 ** (index - 1020) * (index % 2 ? 1 : -1)))
    expect(bytes(everywhere).length / 2).toBeLessThanOrEqual(310)
  })

  it('refuse bytes that no sum has', () => {
    const read = (...values: number[]) => decodeExactSum(createReader(Uint8Array.from(values)))
    expect(() => read(4)).toThrow(RangeError)
    expect(() => read(1, 0, 0, 0)).toThrow('counts no NaN')
    expect(() => read(2, 4, 0)).toThrow('even')
    expect(() => read(2, 2, 0xff, 0xff, 0x7f)).toThrow('exponent')
    expect(() => read(2)).toThrow(RangeError)
  })
})

describe('exact sums of integers', () => {
  const integers = presentCells({ kind: 'int' }) as fc.Arbitrary<number>
  const wide = presentCells({ kind: 'int64' }) as fc.Arbitrary<bigint>

  it('equal the sum of bigints and have one encoding', () => {
    fc.assert(
      fc.property(fc.array(integers, { maxLength: 12 }), fc.array(wide, { maxLength: 6 }), (small, big) => {
        const sum = emptyIntegerSum()
        for (const value of small) addInteger(sum, value)
        for (const value of small) addIntegerSquare(sum, value)
        for (const value of big) addBigInteger(sum, value)
        const squares = small.map(value => BigInt(value) ** 2n)
        const total = [...small.map(BigInt), ...squares, ...big].reduce((left, right) => left + right, 0n)
        expect(integerSumTotal(sum)).toBe(total)
        const out = createWriter()
        const direct = createWriter()
        encodeIntegerSum(sum, out)
        direct.bigint(total)
        expect(out.finish()).toEqual(direct.finish())
        expect(integerSumTotal(decodeIntegerSum(createReader(out.finish())))).toBe(total)
      }),
      { numRuns: 2000 },
    )
  })
})

describe('rounding', () => {
  it('rounds any ratio to the nearest double', () => {
    const numerators = fc.oneof(
      fc.bigInt({ min: -(2n ** 70n), max: 2n ** 70n }),
      fc.bigInt({ min: 0n, max: 2n ** 2200n }),
    )
    const denominators = fc.oneof(fc.bigInt({ min: 1n, max: 2n ** 60n }), fc.bigInt({ min: 1n, max: 2n ** 1200n }))
    fc.assert(
      fc.property(numerators, denominators, (numerator, denominator) => {
        expect(isNearest(ratioToNumber(numerator, denominator), { numerator, denominator })).toBe(true)
      }),
      { numRuns: 3000 },
    )
  })

  it('rounds once among subnormals and at ties', () => {
    const odd = fc.bigInt({ min: 1n, max: 2n ** 56n })
    fc.assert(
      fc.property(
        odd,
        fc.integer({ min: -1140, max: -1010 }),
        fc.constantFrom(1n, 3n),
        (numerator, exponent, divisor) => {
          const exact = { numerator, denominator: divisor << BigInt(-exponent) }
          expect(isNearest(scaledRatioToNumber(numerator, divisor, exponent), exact)).toBe(true)
        },
      ),
      { numRuns: 3000 },
    )
    expect(scaledRatioToNumber(1n, 2n, -1074)).toBe(0)
    expect(scaledRatioToNumber(3n, 2n, -1074)).toBe(2 * 5e-324)
    expect(Object.is(scaledRatioToNumber(-1n, 4n, -1074), 0)).toBe(true)
  })

  it('refuses a denominator that is not positive', () => {
    expect(() => ratioToNumber(1n, 0n)).toThrow(RangeError)
    expect(() => ratioToNumber(1n, -2n)).toThrow(RangeError)
  })

  it('finds bits', () => {
    expect([1n, 2n, 3n, 15n, 16n, 255n, 256n, 2n ** 70n].map(bitLength)).toEqual([1, 2, 2, 4, 5, 8, 9, 71])
    fc.assert(
      fc.property(finite, value => {
        if (value === 0) return
        const exponent = bottomExponent(value)
        const odd = scaleByPowerOfTwo(value, -exponent)
        expect(Math.abs(odd % 2)).toBe(1)
        expect(scaleByPowerOfTwo(odd, exponent)).toBe(value)
      }),
    )
    fc.assert(
      fc.property(fc.bigInt(), fc.integer({ min: 0, max: 200 }), (value, shift) => {
        const split = splitPowerOfTwo(value << BigInt(shift))
        expect(split.odd << BigInt(split.exponent)).toBe(value << BigInt(shift))
        expect(value === 0n || (split.odd & 1n) === 1n).toBe(true)
      }),
    )
  })
})
