import { readFileSync } from 'node:fs'
import fc from 'fast-check'
import { describe, expect, it } from 'vitest'
import { compareCounts, direction, jensenShannonDistance, psi } from '../../features/statistics/drift.ts'
import {
  binOf,
  countValue,
  emptyCounts,
  mergeCounts,
  totalOf,
  type HistogramCounts,
} from '../../features/statistics/histogram.ts'
import { benjaminiHochberg } from '../../features/statistics/multiplicity.ts'
import {
  chiSquareQuantile,
  chiSquareTail,
  logGamma,
  normalTwoSided,
  upperGamma,
} from '../../features/statistics/special.ts'

interface Recorded {
  readonly logGamma: readonly (readonly [number, number])[]
  readonly upperGamma: readonly (readonly [number, number, number])[]
  readonly chiSquareQuantile: readonly (readonly [number, number, number])[]
  readonly normalTwoSided: readonly (readonly [number, number])[]
  readonly pairs: readonly {
    readonly reference: readonly number[]
    readonly current: readonly number[]
    readonly psi: number
    readonly psiPValue: number
    readonly psi99: number
    readonly js: number
    readonly js95: number
    readonly jsMean: number
    readonly missingPValue: number
  }[]
  readonly benjaminiHochberg: readonly [readonly number[], readonly number[]]
  readonly binOf: { readonly edges: number[]; readonly samples: number[]; readonly bins: number[] }
}

const recorded = JSON.parse(readFileSync(new URL('reference/values.json', import.meta.url), 'utf8')) as Recorded

/** Equal to a relative 1e-10, or to 1e-14 near zero, where SciPy's own error is larger. */
function expectClose(actual: number, expected: number): void {
  expect(Math.abs(actual - expected), `${actual} against ${expected}`).toBeLessThanOrEqual(
    1e-14 + 1e-10 * Math.abs(expected),
  )
}

/** The recorded counts carry the missing ones last. */
function counts(values: readonly number[]): HistogramCounts {
  return { bins: values.slice(0, -1), missing: values.at(-1) ?? 0 }
}

describe('against SciPy and NumPy', () => {
  it('gives the special functions', () => {
    for (const [x, value] of recorded.logGamma) expectClose(logGamma(x), value)
    for (const [a, x, value] of recorded.upperGamma) expectClose(upperGamma(a, x), value)
    for (const [p, k, value] of recorded.chiSquareQuantile) expectClose(chiSquareQuantile(p, k), value)
    for (const [z, value] of recorded.normalTwoSided) expectClose(normalTwoSided(z), value)
  })

  it('gives PSI, Jensen–Shannon distance, bands and p-values', () => {
    for (const pair of recorded.pairs) {
      const drift = compareCounts(counts(pair.reference), counts(pair.current))
      expectClose(drift.psi, pair.psi)
      expectClose(drift.psiPValue, pair.psiPValue)
      expectClose(drift.psiBand.p99, pair.psi99)
      expectClose(drift.js, pair.js)
      expectClose(drift.jsBand.p95, Math.min(1, pair.js95))
      expectClose(drift.jsBand.mean, Math.min(1, pair.jsMean))
      expectClose(drift.missingPValue, pair.missingPValue)
    }
  })

  it('adjusts p-values as scipy.stats.false_discovery_control', () => {
    const [given, adjusted] = recorded.benjaminiHochberg
    for (const [index, value] of benjaminiHochberg(given).entries()) expectClose(value, adjusted[index] ?? NaN)
    expect(benjaminiHochberg([])).toEqual([])
  })

  it('bins as numpy.digitize', () => {
    const { edges, samples, bins } = recorded.binOf
    expect(samples.map(value => binOf(edges, value))).toEqual(bins)
  })
})

const histogram = (bins: number) =>
  fc.record({
    bins: fc.array(fc.nat(5000), { minLength: bins, maxLength: bins }),
    missing: fc.nat(5000),
  })
const histograms = fc.integer({ min: 1, max: 12 }).chain(bins => fc.tuple(histogram(bins), histogram(bins)))

describe('laws', () => {
  it('is symmetric, bounded, and zero on equal counts', () => {
    fc.assert(
      fc.property(histograms, ([left, right]) => {
        expectClose(psi(left, right), psi(right, left))
        expectClose(jensenShannonDistance(left, right), jensenShannonDistance(right, left))
        expectClose(direction(left, right) + direction(right, left), 0)
        const drift = compareCounts(left, right)
        expect(drift.psi).toBeGreaterThanOrEqual(0)
        for (const share of [drift.js, drift.psiPValue, drift.missingPValue, Math.abs(drift.direction)]) {
          expect(share).toBeGreaterThanOrEqual(0)
          expect(share).toBeLessThanOrEqual(1)
        }
        const same = compareCounts(left, left)
        expect([same.psi, same.js, same.missingDifference]).toEqual([0, 0, 0])
        expect(same.direction).toBeCloseTo(0, 12)
        expect(same.psiPValue).toBe(1)
      }),
      { numRuns: 2000 },
    )
  })

  it('counts a concatenation as the merge of the counts of its parts', () => {
    const value = fc.option(fc.double({ min: -10, max: 10 }), { nil: null })
    const edges = fc.uniqueArray(fc.double({ min: -9, max: 9, noNaN: true }), { maxLength: 11 })
    fc.assert(
      fc.property(fc.array(value), fc.array(value), edges, (left, right, unsorted) => {
        const sorted = unsorted.toSorted((a, b) => a - b)
        const count = (values: readonly (number | null)[]) => {
          const filled = emptyCounts(sorted)
          for (const each of values) countValue(filled, sorted, each)
          return filled
        }
        const merged = mergeCounts(count(left), count(right))
        expect(merged).toEqual(count([...left, ...right]))
        expect(totalOf(merged)).toBe(left.length + right.length)
      }),
      { numRuns: 2000 },
    )
  })

  it('refuses to merge counts of different edges', () => {
    expect(() => mergeCounts({ bins: [1], missing: 0 }, { bins: [1, 2], missing: 0 })).toThrow(/cannot be merged/)
  })

  it('has quantiles that undo the tail', () => {
    fc.assert(
      fc.property(
        fc.double({ min: 1e-6, max: 1 - 1e-6, noNaN: true }),
        fc.integer({ min: 1, max: 60 }),
        (p, degrees) => {
          expect(chiSquareTail(chiSquareQuantile(p, degrees), degrees)).toBeCloseTo(1 - p, 9)
        },
      ),
    )
  })

  it('points to where the values went', () => {
    expect(direction({ bins: [5, 5, 0], missing: 0 }, { bins: [0, 0, 9], missing: 1 })).toBe(1)
    expect(direction({ bins: [0, 5, 5], missing: 0 }, { bins: [3, 0, 0], missing: 0 })).toBe(-1)
    expect(direction({ bins: [5, 5], missing: 0 }, { bins: [0, 0], missing: 7 })).toBe(0)
  })
})

/** Numbers in [0, 1) from a 32-bit seed (mulberry32), so that the trials below are the same on every run. */
function uniform(seed: number): () => number {
  let state = seed >>> 0
  return () => {
    state = (state + 0x6d2b79f5) >>> 0
    let mixed = Math.imul(state ^ (state >>> 15), 1 | state)
    mixed = (mixed + Math.imul(mixed ^ (mixed >>> 7), 61 | mixed)) ^ mixed
    return ((mixed ^ (mixed >>> 14)) >>> 0) / 4294967296
  }
}

describe('noise bands', () => {
  const edges = [0.1, 0.2, 0.3, 0.4, 0.5, 0.6, 0.7, 0.8, 0.9]
  const sample = (random: () => number, rows: number): HistogramCounts => {
    const filled = emptyCounts(edges)
    for (let row = 0; row < rows; row += 1) countValue(filled, edges, random() < 0.03 ? null : random())
    return filled
  }

  it('holds 99 % of the windows of a stationary stream, and calls 1 % significant', () => {
    const trials = 3000
    const outside = { psi: 0, js: 0, missing: 0, significant: 0 }
    let psiSum = 0
    let bandSum = 0
    const random = uniform(7)
    for (let trial = 0; trial < trials; trial += 1) {
      const drift = compareCounts(sample(random, 5000), sample(random, 600))
      if (drift.psi > drift.psiBand.p99) outside.psi += 1
      if (drift.js > drift.jsBand.p99) outside.js += 1
      if (Math.abs(drift.missingDifference) > drift.missingBand.p99) outside.missing += 1
      if (drift.psiPValue < 0.01) outside.significant += 1
      psiSum += drift.psi
      bandSum += drift.psiBand.mean
    }
    for (const [name, count] of Object.entries(outside)) {
      expect(count / trials, name).toBeLessThan(0.0165)
      expect(count / trials, name).toBeGreaterThan(0.004)
    }
    expect(psiSum / bandSum).toBeGreaterThan(0.96)
    expect(psiSum / bandSum).toBeLessThan(1.04)
  }, 60_000)
})
