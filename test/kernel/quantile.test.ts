import { readFileSync } from 'node:fs'
import * as fc from 'fast-check'
import { describe, expect, it } from 'vitest'
import { makeAggregator, type RawParams } from '../../features/kernel/aggregators/index.ts'
import { createReader, createWriter } from '../../features/kernel/encoding.ts'
import {
  addToLogSketch,
  decodeLogSketch,
  emptyLogSketch,
  encodeLogSketch,
  logSketchCount,
  logSketchQuantile,
  logSketchSpec,
  mergeLogSketches,
  type LogSketch,
  type LogSketchSpec,
} from '../../features/kernel/log-sketch.ts'
import type { Cell, FieldType, ReadAt, Value } from '../../features/kernel/types.ts'
import { inputsOf, TYPES } from './inputs.ts'
import { stateOf } from './laws.ts'
import { DOUBLE_UNITS, doubleUnits, isNearest } from './rationals.ts'

const AT: ReadAt = { t: 0, lengthMs: null }
const QUANTILES = [0, 0.001, 0.01, 0.05, 0.1, 0.25, 0.5, 0.75, 0.9, 0.95, 0.99, 0.999, 1]
const double: FieldType = { kind: 'double' }
const NUMERIC = TYPES.filter(type => ['boolean', 'int', 'int64', 'double', 'decimal'].includes(type.kind))

/** Uniform numbers of [0, 1) from a seed: a linear congruential generator modulo 2^48 (that of POSIX drand48). */
function uniforms(seed: number): () => number {
  let state = BigInt(seed)
  return () => {
    state = (state * 0x5deece66dn + 0xbn) & 0xffffffffffffn
    return Number(state) / 2 ** 48
  }
}

function normals(uniform: () => number): () => number {
  return () => Math.sqrt(-2 * Math.log(1 - uniform())) * Math.cos(2 * Math.PI * uniform())
}

type Draw = (uniform: () => number) => () => number

const DISTRIBUTIONS: Readonly<Record<string, Draw>> = {
  uniform: u => u,
  'uniform around zero': u => () => u() * 2000 - 1000,
  lognormal: u => {
    const normal = normals(u)
    return () => Math.exp(3 + 1.5 * normal())
  },
  pareto: u => () => (1 - u()) ** (-1 / 1.1),
  bimodal: u => {
    const normal = normals(u)
    return () => (u() < 0.3 ? 5 + normal() : 1000 + 30 * normal())
  },
  negative: u => () => Math.log(1 - u()) * 40,
  constant: () => () => 12.34,
  integers: u => () => Math.floor(u() * 50) - 5,
  exponents: u => () => 10 ** (u() * 15 - 5),
}

/** Distributions that spread too wide for 2048 buckets of 1 %. */
const WIDE: Readonly<Record<string, Draw>> = {
  'twenty powers of ten': u => () => 10 ** (u() * 20 - 10),
  'all exponents': u => () => 10 ** (u() * 600 - 300),
  'all exponents and both signs': u => () => (u() < 0.5 ? -1 : 1) * 2 ** (u() * 2046 - 1022),
}

function sample(draw: Draw, count: number, seed: number): Float64Array {
  const next = draw(uniforms(seed))
  return Float64Array.from({ length: count }, () => next())
}

function sketchOf(spec: LogSketchSpec, values: Iterable<number>): LogSketch {
  const sketch = emptyLogSketch()
  for (const value of values) addToLogSketch(spec, sketch, value)
  return sketch
}

function hexOf(sketch: LogSketch): string {
  const out = createWriter(16)
  encodeLogSketch(sketch, out)
  return Buffer.from(out.finish()).toString('hex')
}

/** The stated bound on the relative error at a level. */
function errorAt(level: number, alpha: number): number {
  return level === 0 ? alpha : errorAt(level - 1, (2 * alpha) / (1 + alpha * alpha))
}

/** The greatest relative error over all quantiles asked; the value at the rank is found by sorting. */
function worstError(spec: LogSketchSpec, sketch: LogSketch, values: Float64Array): number {
  const sorted = values.slice().sort()
  return Math.max(
    ...QUANTILES.map(q => {
      const exact = sorted[Math.floor(q * (sorted.length - 1))]!
      const estimate = logSketchQuantile(spec, sketch, q)!
      return estimate === exact ? 0 : Math.abs(estimate - exact) / Math.abs(exact)
    }),
  )
}

describe('the error of a quantile sketch stays within its statement', () => {
  for (const [name, draw] of Object.entries(DISTRIBUTIONS)) {
    it(`${name}: without a collapse`, () => {
      for (const error of [0.001, 0.01, 0.1]) {
        for (const count of [1, 2, 10, 1000, 30_000]) {
          const spec = logSketchSpec(error, 65_536)
          const values = sample(draw, count, count)
          const sketch = sketchOf(spec, values)
          expect(sketch.level).toBe(0)
          expect(logSketchCount(sketch)).toBe(count)
          expect(worstError(spec, sketch, values)).toBeLessThanOrEqual(error)
        }
      }
    })
  }

  it('for a million values of the default size', () => {
    const spec = logSketchSpec(0.01, 2048)
    for (const name of ['lognormal', 'pareto', 'uniform around zero']) {
      const values = sample(DISTRIBUTIONS[name]!, 1_000_000, 7)
      const sketch = sketchOf(spec, values)
      expect(sketch.level).toBe(0)
      expect(worstError(spec, sketch, values)).toBeLessThanOrEqual(0.01)
      expect(hexOf(sketch).length / 2).toBeLessThan(8192)
    }
  })

  for (const [name, draw] of Object.entries({ ...DISTRIBUTIONS, ...WIDE })) {
    it(`${name}: after collapses, at the error of its level`, () => {
      for (const buckets of [4, 16, 128, 2048]) {
        for (const error of [0.001, 0.01, 0.1]) {
          const spec = logSketchSpec(error, buckets)
          const values = sample(draw, 5000, buckets)
          const sketch = sketchOf(spec, values)
          expect(sketch.positive.keys.length + sketch.negative.keys.length).toBeLessThanOrEqual(buckets)
          expect(worstError(spec, sketch, values)).toBeLessThanOrEqual(errorAt(sketch.level, error))
        }
      }
    })
  }

  it('and wide ones do collapse, to the error that the documentation states', () => {
    const spec = logSketchSpec(0.01, 2048)
    const everything = sketchOf(spec, sample(WIDE['all exponents and both signs']!, 200_000, 5))
    expect(everything.level).toBe(7)
    const oneSign = sketchOf(spec, sample(WIDE['all exponents']!, 200_000, 5))
    expect(oneSign.level).toBe(6)
    expect(errorAt(6, 0.01)).toBeLessThan(0.57)
    expect(errorAt(7, 0.01)).toBeLessThan(0.86)
    expect(
      sketchOf(
        spec,
        sample(u => () => 10 ** (u() * 17), 200_000, 5),
      ).level,
    ).toBe(0)
  })

  it('at the edges of every bucket near powers of two, and of the doubles', () => {
    const spec = logSketchSpec(0.01, 65_536)
    const edges = [2 ** -1022, Number.MAX_VALUE, 1, 2, 0.5, 1 + 2 ** -52, 2 - 2 ** -52, 1e-300, 3e300, 5 / 3, 11 / 9]
    for (const value of [...edges, ...edges.map(edge => -edge)]) {
      const estimate = logSketchQuantile(spec, sketchOf(spec, [value]), 0.5)!
      expect(Math.abs(estimate - value) / Math.abs(value)).toBeLessThanOrEqual(0.01)
    }
  })
})

describe('a quantile sketch is a function of its multiset', () => {
  it('whatever the order and the grouping, through every collapse', () => {
    for (const [name, draw] of Object.entries({ ...DISTRIBUTIONS, ...WIDE })) {
      const values = sample(draw, 3000, name.length)
      const uniform = uniforms(99)
      for (const buckets of [4, 5, 64, 256]) {
        const spec = logSketchSpec(0.01, buckets)
        const whole = hexOf(sketchOf(spec, values))
        expect(hexOf(sketchOf(spec, values.slice().reverse()))).toBe(whole)
        expect(hexOf(sketchOf(spec, values.slice().sort()))).toBe(whole)
        const parts = Array.from({ length: 7 }, () => emptyLogSketch())
        for (const value of values) addToLogSketch(spec, parts[Math.floor(uniform() ** 3 * 7)]!, value)
        const leftFirst = parts.reduce((left, right) => mergeLogSketches(spec, left, right))
        const rightFirst = parts.reduceRight((right, left) => mergeLogSketches(spec, left, right))
        expect([hexOf(leftFirst), hexOf(rightFirst)]).toEqual([whole, whole])
      }
    }
  })

  it('at the least level that fits', () => {
    const spec = logSketchSpec(0.01, 16)
    const roomy = logSketchSpec(0.01, 65_536)
    const values = fc.array(fc.double({ noNaN: true, noDefaultInfinity: true }), { minLength: 1, maxLength: 80 })
    fc.assert(
      fc.property(values, list => {
        const free = sketchOf(roomy, list)
        const filledAt = (level: number): number =>
          [free.positive, free.negative].reduce(
            (sum, { keys }) => sum + new Set(keys.map(key => Math.ceil(key / 2 ** level) + 0)).size,
            0,
          )
        let level = 0
        while (filledAt(level) > 16) level++
        expect(sketchOf(spec, list).level).toBe(level)
      }),
      { numRuns: 300 },
    )
  })

  it('with bytes that later versions must read and make', () => {
    const spec = logSketchSpec(0.01, 2048)
    const values = [12.34, 12.35, 100, 1e6, 0, 0, -5, 1e-9, Infinity, -Infinity, -Infinity, NaN, 5e-324]
    const hex = hexOf(sketchOf(spec, values))
    expect(hex).toBe(RECORDED_BYTES)
    const input = createReader(Buffer.from(RECORDED_BYTES, 'hex'))
    expect(hexOf(decodeLogSketch(spec, input))).toBe(hex)
    expect(input.remaining).toBe(0)
  })
})

const RECORDED_BYTES = '1f03010204ab10009409016900d0030001a40100'

describe('quantile', () => {
  const of = (cells: readonly Cell[], params: RawParams, type: FieldType = double): Value => {
    const aggregator = makeAggregator('quantile', params, type)
    return aggregator.result(
      stateOf(
        aggregator,
        cells.map((cell, time) => ({ cell, time, id: '' })),
      ),
      AT,
    )
  }

  it('answers as documented for zeros, infinities, NaN and nothing', () => {
    expect(of([], { q: 0.5 })).toBe(null)
    expect(of([NaN, null], { q: 0.5 })).toBe(null)
    expect(of([0, 5e-324, -1e-310], { q: 1 })).toBe(0)
    const hostile = [Infinity, NaN, 0, -Infinity, null]
    expect(of(hostile, { q: 0 })).toBe(-Infinity)
    expect(of(hostile, { q: 0.5 })).toBe(0)
    expect(of(hostile, { q: 1 })).toBe(Infinity)
  })

  it('takes every numeric type as authors see it', () => {
    const near = (actual: Value, expected: number): void =>
      expect(Math.abs((actual as number) - expected)).toBeLessThanOrEqual(0.01 * Math.abs(expected))
    near(of([1234], { q: 0.5 }, { kind: 'decimal', scale: 2 }), 12.34)
    near(of([-(2n ** 62n)], { q: 0.5 }, { kind: 'int64' }), -(2 ** 62))
    near(of([true, true, false], { q: 0.5 }, { kind: 'boolean' }), 1)
    expect(of([true, false, false], { q: 0.5 }, { kind: 'boolean' })).toBe(0)
  })

  it('is within 1 % of numpy with method "lower"', () => {
    const recorded = JSON.parse(readFileSync(new URL('recorded/moments.json', import.meta.url), 'utf8')) as {
      readonly cases: readonly {
        readonly values: readonly number[]
        readonly median: number
        readonly lowerQuantiles: readonly (readonly [number, number])[]
      }[]
    }
    for (const { values, median, lowerQuantiles } of recorded.cases) {
      for (const [q, expected] of lowerQuantiles) {
        expect(Math.abs((of(values, { q }) as number) - expected)).toBeLessThanOrEqual(0.01 * Math.abs(expected))
      }
      const aggregator = makeAggregator('median', {}, double)
      const state = stateOf(
        aggregator,
        values.map((cell, time) => ({ cell, time, id: '' })),
      )
      expect(aggregator.result(state, AT)).toBe(median)
    }
  })

  it('states and checks its parameters', () => {
    expect(makeAggregator('quantile', { q: 0.9 }, double).name).toBe('quantile(0.9,0.01,2048):double')
    expect(() => makeAggregator('quantile', {}, double)).toThrow('quantile: parameter q must be a number from 0 to 1')
    expect(() => makeAggregator('quantile', { q: 1.1 }, double)).toThrow('not 1.1')
    expect(() => makeAggregator('quantile', { q: 0.5, error: 0.5 }, double)).toThrow('parameter error')
    expect(() => makeAggregator('quantile', { q: 0.5 }, { kind: 'string' })).toThrow('takes no field of type string')
    expect(() => logSketchSpec(0.5, 2048)).toThrow(RangeError)
    expect(() => logSketchSpec(0.01, 3)).toThrow('needs 4 buckets')
  })

  it('refuses bytes of no sketch', () => {
    const spec = logSketchSpec(0.01, 4)
    const read = (...bytes: number[]) => decodeLogSketch(spec, createReader(Uint8Array.from(bytes)))
    expect(() => read(64)).toThrow('no sketch has the tag 64')
    expect(() => read(1, 0)).toThrow('counts nothing')
    expect(() => read(8, 5)).toThrow('5 buckets in a sketch of 4')
    expect(() => read(32 + 8, 1, 2, 0, 0, 0, 0)).toThrow('2 buckets at level 1 in a sketch of 4')
    expect(() => read(32 + 8, 21, 3, 0, 0, 0, 0, 0, 0)).toThrow('at level 21')
    expect(() => read(8, 1, 0x82, 0x80, 0x80, 1, 0)).toThrow('no sketch has the bucket')
    expect(() => read(8, 2, 0)).toThrow(RangeError)
  })
})

describe('median', () => {
  const of = (cells: readonly Cell[], params: RawParams, type: FieldType = double): Value => {
    const aggregator = makeAggregator('median', params, type)
    return aggregator.result(
      stateOf(
        aggregator,
        cells.map((cell, time) => ({ cell, time, id: '' })),
      ),
      AT,
    )
  }

  for (const type of NUMERIC) {
    it(`of ${type.kind} is exact up to the bound`, () => {
      const unit = type.kind === 'double' ? DOUBLE_UNITS : type.kind === 'decimal' ? 10n ** BigInt(type.scale) : 1n
      fc.assert(
        fc.property(fc.array(inputsOf(type), { maxLength: 9 }), inputs => {
          const cells = inputs.map(input => input.cell).filter(cell => cell !== null && !Number.isNaN(cell))
          if (cells.some(cell => typeof cell === 'number' && !Number.isFinite(cell))) return
          const sorted = cells
            .map(cell => (type.kind === 'double' ? doubleUnits(cell as number) : BigInt(cell as number)))
            .sort((a, b) => (a < b ? -1 : a > b ? 1 : 0))
          const result = of(
            inputs.map(input => input.cell),
            {},
            type,
          )
          if (sorted.length === 0) {
            expect(result).toBe(null)
            return
          }
          const numerator = sorted[(sorted.length - 1) >> 1]! + sorted[sorted.length >> 1]!
          expect(isNearest(result as number, { numerator, denominator: 2n * unit })).toBe(true)
        }),
        { numRuns: 400 },
      )
    })
  }

  it('of infinities', () => {
    expect(of([Infinity, Infinity, 1, 1], {})).toBe(Infinity)
    expect(of([Infinity, -Infinity], {})).toBe(NaN)
    expect(of([Infinity, -Infinity, 3], {})).toBe(3)
    expect(of([Number.MAX_VALUE, Number.MAX_VALUE], {})).toBe(Number.MAX_VALUE)
    expect(of([NaN, 4, null], {})).toBe(4)
  })

  it('is the sketch beyond the bound, and not before', () => {
    const values = sample(DISTRIBUTIONS['lognormal']!, 500, 3)
    const sorted = values.slice().sort()
    const cells = [...values]
    expect(of(cells, { bound: 500 })).toBe((sorted[249]! + sorted[250]!) / 2)
    const spec = logSketchSpec(0.01, 2048)
    expect(of(cells, { bound: 499 })).toBe(logSketchQuantile(spec, sketchOf(spec, values), 0.5))
    expect(Math.abs((of(cells, { bound: 499 }) as number) / sorted[249]! - 1)).toBeLessThanOrEqual(0.01)
  })
})
