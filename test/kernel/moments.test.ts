import { readFileSync } from 'node:fs'
import * as fc from 'fast-check'
import { describe, expect, it } from 'vitest'
import { makeAggregator, type RawParams } from '../../features/kernel/aggregators/index.ts'
import { createReader, createWriter } from '../../features/kernel/encoding.ts'
import { addDoubleCube, addDoubleFourth } from '../../features/kernel/exact-powers.ts'
import { addDoubleSquare, emptyExactSum, exactTotal, type ExactSum } from '../../features/kernel/exact-sum.ts'
import type { Aggregator, Cell, FieldType, ReadAt, Value } from '../../features/kernel/types.ts'
import { doubles, presentCells, TYPES } from './inputs.ts'
import { bytesOf, stateOf } from './laws.ts'
import { DOUBLE_UNITS, doubleUnits, isNearest, type Rational } from './rationals.ts'

interface Recorded {
  readonly cases: readonly {
    readonly name: string
    readonly values: readonly number[]
    readonly sumOfSquares: number
    readonly variance: number
    readonly sampleVariance: number
    readonly sampleStd: number
    readonly skew: number
    readonly sampleSkew: number | null
    readonly kurtosis: number
    readonly sampleKurtosis: number | null
    readonly median: number
  }[]
}

const RUNS = 400
const AT: ReadAt = { t: 0, lengthMs: null }
const NUMERIC = TYPES.filter(type => ['boolean', 'int', 'int64', 'double', 'decimal'].includes(type.kind))
const double: FieldType = { kind: 'double' }
const recorded = JSON.parse(readFileSync(new URL('recorded/moments.json', import.meta.url), 'utf8')) as Recorded

function inputs(cells: readonly Cell[]) {
  return cells.map((cell, index) => ({ cell, time: index, id: String(index) }))
}

/** The result over cells, half of them merged, and the same through `absorb`. */
function of(family: string, type: FieldType, cells: readonly Cell[], params: RawParams = {}): Value {
  const aggregator = makeAggregator(family, params, type)
  const half = cells.length >> 1
  const left = stateOf(aggregator, inputs(cells.slice(0, half)))
  const right = stateOf(aggregator, inputs(cells.slice(half)))
  const merged = aggregator.merge(left, right)
  const absorbed = aggregator.absorb!(left, readerOf(aggregator, right))
  expect(bytesOf(aggregator, absorbed)).toBe(bytesOf(aggregator, merged))
  return aggregator.result(merged, AT)
}

function readerOf(aggregator: Aggregator, state: unknown) {
  const out = createWriter(16)
  aggregator.encode(state, out)
  return createReader(out.finish())
}

/** The distance in units of 2^−52 relative to the second; 0 between nulls, Infinity between null and a number. */
function ulps(actual: Value, expected: number | null): number {
  if (expected === null || actual === null) return actual === expected ? 0 : Infinity
  const difference = Math.abs(Number(actual) - expected)
  return difference === 0 ? 0 : difference / (Math.abs(expected) * 2 ** -52)
}

describe('moments as scipy and numpy compute them', () => {
  for (const { name, values, ...wanted } of recorded.cases) {
    it(`of the list ${name}`, () => {
      const families: readonly (readonly [string, RawParams, number | null])[] = [
        ['sumOfSquares', {}, wanted.sumOfSquares],
        ['variance', {}, wanted.variance],
        ['variance', { sample: true }, wanted.sampleVariance],
        ['std', { sample: true }, wanted.sampleStd],
        ['skew', {}, wanted.skew],
        ['skew', { sample: true }, wanted.sampleSkew],
        ['kurtosis', {}, wanted.kurtosis],
        ['kurtosis', { sample: true }, wanted.sampleKurtosis],
      ]
      // scipy rounds at every step: a mean of 1e6 standard deviations costs it about eight digits, of 1e3 about four.
      const bound = name === 'offset' ? 2 ** 24 : name === 'large' ? 2 ** 14 : 2 ** 10
      for (const [family, params, expected] of families) {
        expect(ulps(of(family, double, values, params), expected)).toBeLessThanOrEqual(bound)
        if (!values.every(Number.isInteger)) continue
        expect(ulps(of(family, { kind: 'int' }, values, params), expected)).toBeLessThanOrEqual(bound)
        const wide = values.map(BigInt)
        expect(ulps(of(family, { kind: 'int64' }, wide, params), expected)).toBeLessThanOrEqual(bound)
      }
    })
  }
})

describe('moments by hand', () => {
  it('of small lists', () => {
    // 1, 2, 10: mean 13/3, deviations −10/3, −7/3, 17/3; Σd² = 438/9, Σd³ = 3570/27, Σd⁴ = 95922/81.
    const g1 = 3570 / 27 / 3 / (438 / 9 / 3) ** 1.5
    expect(ulps(of('skew', { kind: 'int' }, [1, 2, 10]), g1)).toBeLessThanOrEqual(4)
    expect(ulps(of('skew', { kind: 'int' }, [1, 2, 10], { sample: true }), g1 * Math.sqrt(6))).toBeLessThanOrEqual(4)
    expect(
      ulps(of('kurtosis', { kind: 'int' }, [1, 2, 10]), 95922 / 81 / 3 / (438 / 9 / 3) ** 2 - 3),
    ).toBeLessThanOrEqual(8)
    expect(of('kurtosis', { kind: 'int' }, [1, 2])).toBe(-2)
    expect(of('skew', { kind: 'int' }, [1, 2])).toBe(0)
    expect(of('kurtosis', { kind: 'int' }, [1, 2, 3, 4, 5])).toBe(-1.3)
    expect(ulps(of('kurtosis', { kind: 'int' }, [1, 2, 3, 4, 5], { sample: true }), -1.2)).toBeLessThanOrEqual(1)
    expect(of('sumOfSquares', { kind: 'decimal', scale: 2 }, [110, 10])).toBe(1.22)
    expect(of('sumOfSquares', { kind: 'boolean' }, [true, false, true, null])).toBe(2)
    expect(of('sumOfSquares', { kind: 'int64' }, [2n ** 62n, 1n])).toBe(2n ** 124n + 1n)
  })

  it('of too few, equal and not finite values', () => {
    for (const family of ['skew', 'kurtosis']) {
      expect(of(family, double, [])).toBe(null)
      expect(of(family, double, [0.1])).toBe(null)
      expect(of(family, double, [0.1, 0.1, 0.1, 0.1, 0.1])).toBe(null)
      expect(of(family, double, [0, 0])).toBe(null)
      expect(of(family, double, [1, NaN])).toBe(NaN)
      expect(of(family, double, [1, -Infinity, 3])).toBe(NaN)
      expect(of(family, double, [null, null])).toBe(null)
      expect(of(family, double, [1, NaN], { sample: true })).toBe(null)
    }
    expect(of('skew', double, [1, 2], { sample: true })).toBe(null)
    expect(of('skew', double, [1, 2, 4], { sample: true })).not.toBe(null)
    expect(of('kurtosis', double, [1, 2, 4], { sample: true })).toBe(null)
    expect(of('kurtosis', double, [1, 2, 4, 5], { sample: true })).not.toBe(null)
    expect(of('sumOfSquares', double, [])).toBe(0)
    expect(of('sumOfSquares', { kind: 'int64' }, [])).toBe(0n)
    expect(of('sumOfSquares', double, [-Infinity, 2])).toBe(Infinity)
    expect(of('sumOfSquares', double, [Infinity, NaN])).toBe(NaN)
    expect(of('sumOfSquares', double, [1e200])).toBe(Infinity)
  })

  it('where the square of a deviation is no double', () => {
    expect(of('variance', double, [1e200, -1e200])).toBe(Infinity)
    expect(of('std', double, [1e200, -1e200])).toBe(1e200)
    expect(of('variance', double, [1e-162, 3e-162])).toBe(0)
    expect(of('std', double, [1e-162, 3e-162])).toBe((3e-162 - 1e-162) / 2)
    expect(of('std', double, [1e200, -1e200, 0], { sample: true })).toBe(1e200)
    expect(of('std', double, [Number.MAX_VALUE, -Number.MAX_VALUE])).toBe(Number.MAX_VALUE)
    expect(of('std', double, [Number.MAX_VALUE, -Number.MAX_VALUE], { sample: true })).toBe(Infinity)
    expect(of('std', double, [0, 2 * Number.MIN_VALUE])).toBe(Number.MIN_VALUE)
    expect(of('std', double, [1, Infinity])).toBe(NaN)
  })

  it('where floating point loses every digit', () => {
    expect(
      ulps(of('skew', double, [1e15, 1e15 + 1, 1e15 + 5]), of('skew', double, [0, 1, 5]) as number),
    ).toBeLessThanOrEqual(1)
    expect(of('kurtosis', double, [1e15, 1e15 + 1, 1e15 + 5, 1e15 + 9])).toBe(of('kurtosis', double, [0, 1, 5, 9]))
    for (const scale of [2 ** -1074, 2 ** -800, 2 ** 150, 2 ** 1010]) {
      const scaled = [0, 1, 5, 9].map(value => value * scale)
      expect(of('kurtosis', double, scaled)).toBe(of('kurtosis', double, [0, 1, 5, 9]))
      expect(of('skew', double, scaled)).toBe(of('skew', double, [0, 1, 5, 9]))
    }
  })
})

/** A present finite cell as an integer in units that all cells of the type share. */
function units(type: FieldType, cell: Cell): bigint {
  return type.kind === 'double' ? doubleUnits(cell as number) : BigInt(cell as number | bigint | boolean)
}

/** Σ (n·x − Σx)^power: n^power times n times the central moment. */
function centralSum(values: readonly bigint[], power: bigint): bigint {
  const total = values.reduce((left, right) => left + right, 0n)
  return values.reduce((sum, value) => sum + (BigInt(values.length) * value - total) ** power, 0n)
}

describe('moments equal a naive computation in rationals', () => {
  for (const type of NUMERIC) {
    const lists = fc.array(presentCells(type), { minLength: 1, maxLength: 9 })
    const finite = lists.map(cells => cells.filter(cell => typeof cell !== 'number' || Number.isFinite(cell)))
    const property = (verify: (cells: readonly Cell[], values: readonly bigint[]) => void) =>
      fc.assert(
        fc.property(finite, cells =>
          verify(
            cells,
            cells.map(cell => units(type, cell)),
          ),
        ),
        { numRuns: RUNS },
      )

    it(`sum of squares of ${type.kind}`, () => {
      property((cells, values) => {
        const squares = values.reduce((sum, value) => sum + value * value, 0n)
        const unit = type.kind === 'double' ? DOUBLE_UNITS : type.kind === 'decimal' ? 10n ** BigInt(type.scale) : 1n
        const result = of('sumOfSquares', type, cells)
        if (type.kind === 'int64') expect(result).toBe(squares)
        else expect(isNearest(result as number, { numerator: squares, denominator: unit * unit })).toBe(true)
      })
    })

    it(`kurtosis of ${type.kind}, rounded once`, () => {
      property((cells, values) => {
        const n = BigInt(values.length)
        const [second, fourth] = [centralSum(values, 2n), centralSum(values, 4n)]
        const [plain, sample] = [of('kurtosis', type, cells), of('kurtosis', type, cells, { sample: true })]
        if (second === 0n) {
          expect([plain, sample]).toEqual([null, null])
          return
        }
        const ratio: Rational = { numerator: n * fourth, denominator: second * second }
        const excess = { numerator: ratio.numerator - 3n * ratio.denominator, denominator: ratio.denominator }
        expect(isNearest(plain as number, excess)).toBe(true)
        if (n < 4n) {
          expect(sample).toBe(null)
          return
        }
        const numerator = (n * n - 1n) * ratio.numerator - 3n * (n - 1n) ** 2n * ratio.denominator
        const adjusted = { numerator, denominator: (n - 2n) * (n - 3n) * ratio.denominator }
        expect(isNearest(sample as number, adjusted)).toBe(true)
      })
    })

    it(`skew of ${type.kind}, within one unit in the last place`, () => {
      property((cells, values) => {
        const n = BigInt(values.length)
        const [second, third] = [centralSum(values, 2n), centralSum(values, 3n)]
        const check = (result: Value, factor: Rational): void => {
          const square = {
            numerator: n * third * third * factor.numerator,
            denominator: second ** 3n * factor.denominator,
          }
          if (result !== 0) expect((result as number) < 0).toBe(third < 0n)
          const units = doubleUnits(Math.abs(result as number))
          const slack = (units >> 52n) + 1n
          const below = units > slack ? units - slack : 0n
          const wanted = square.numerator * DOUBLE_UNITS ** 2n
          expect(below * below * square.denominator <= wanted).toBe(true)
          expect((units + slack) ** 2n * square.denominator >= wanted).toBe(true)
        }
        const [plain, sample] = [of('skew', type, cells), of('skew', type, cells, { sample: true })]
        if (second === 0n) {
          expect([plain, sample]).toEqual([null, null])
          return
        }
        check(plain, { numerator: 1n, denominator: 1n })
        if (n < 3n) expect(sample).toBe(null)
        else check(sample, { numerator: n * (n - 1n), denominator: (n - 2n) ** 2n })
      })
    })
  }
})

describe('exact sums of powers', () => {
  const powers: readonly (readonly [bigint, (sum: ExactSum, value: number) => void])[] = [
    [2n, addDoubleSquare],
    [3n, addDoubleCube],
    [4n, addDoubleFourth],
  ]
  for (const [power, add] of powers) {
    it(`of power ${power} hold every bit`, () => {
      const edges = fc.constantFrom(2 ** 200, 2 ** -200, 2 ** 200 - 2 ** 148, -(2 ** -199), 5e-324, Number.MAX_VALUE)
      const values = fc.array(fc.oneof(doubles.filter(Number.isFinite), edges), { maxLength: 12 })
      fc.assert(
        fc.property(values, list => {
          const sum = emptyExactSum()
          for (const value of list) add(sum, value)
          const { mantissa, exponent } = exactTotal(sum)
          const wanted = list.reduce((total, value) => total + doubleUnits(value) ** power, 0n)
          expect(mantissa << (BigInt(exponent) + 1074n * power)).toBe(wanted)
        }),
        { numRuns: RUNS },
      )
    })
  }
})

describe('reading an integer of any size', () => {
  it('gives a number exactly when it is safe', () => {
    const edges = [0n, 63n, 64n, 2n ** 48n, 2n ** 52n, 2n ** 53n - 2n, 2n ** 53n - 1n, 2n ** 53n, 2n ** 54n, 2n ** 70n]
    const wide = fc.bigInt({ min: -(2n ** 60n), max: 2n ** 60n })
    const values = fc.oneof(fc.constantFrom(...edges, ...edges.map(edge => -edge)), wide)
    fc.assert(
      fc.property(values, value => {
        const out = createWriter(16)
        out.bigint(value)
        out.u8(7)
        const reader = createReader(out.finish())
        const safe = value >= -(2n ** 53n - 1n) && value <= 2n ** 53n - 1n
        expect(reader.integer()).toBe(safe ? Number(value) : value)
        expect(reader.u8()).toBe(7)
      }),
      { numRuns: 2000 },
    )
  })

  it('refuses superfluous groups and a missing end', () => {
    const read = (...bytes: number[]) => createReader(Uint8Array.from(bytes)).integer()
    expect(() => read(0x80, 0)).toThrow('superfluous')
    expect(() => read(...Array<number>(7).fill(0x80), 0)).toThrow('superfluous')
    expect(() => read(...Array<number>(9).fill(0x80), 0)).toThrow('superfluous')
    expect(() => read(0x80)).toThrow(RangeError)
    expect(() => read(...Array<number>(9).fill(0x80))).toThrow(RangeError)
  })
})
