import * as fc from 'fast-check'
import { describe, expect, it } from 'vitest'
import { makeAggregator, type RawParams } from '../../features/kernel/aggregators/index.ts'
import { createReader, createWriter } from '../../features/kernel/encoding.ts'
import type { Cell, FieldType, Input, ReadAt, Value } from '../../features/kernel/types.ts'
import { inputsOf, TYPES } from './inputs.ts'
import { bytesOf, stateOf } from './laws.ts'

const RUNS = 300
const AT: ReadAt = { t: 0, lengthMs: null }
const SCALARS = TYPES.filter(type => type.kind !== 'vector')
const double: FieldType = { kind: 'double' }
const int: FieldType = { kind: 'int' }

/** The result over inputs, half of them merged. */
function resultOf(
  family: string,
  params: RawParams,
  inputs: readonly Input[],
  type: FieldType,
  byType: FieldType | null = null,
): Value {
  const aggregator = makeAggregator(family, params, type, byType)
  const middle = inputs.length >> 1
  const left = stateOf(aggregator, inputs.slice(0, middle))
  return aggregator.result(aggregator.merge(left, stateOf(aggregator, inputs.slice(middle))), AT)
}

/** Rows of [cell, by] at times 0, 1, 2, … */
function rows(...pairs: (readonly [Cell, Cell])[]): Input[] {
  return pairs.map(([cell, by], time) => ({ cell, by, time, id: '' }))
}

function column(...cells: Cell[]): Input[] {
  return cells.map((cell, time) => ({ cell, time, id: '' }))
}

const value = (type: FieldType, cell: Cell): Value =>
  type.kind === 'decimal' && cell !== null ? Number(cell) / 10 ** type.scale : cell

/** Order by the rules written out again, strings through their bytes. */
function naiveOrder(a: Cell, b: Cell): number {
  if (Array.isArray(a) && Array.isArray(b)) {
    return a.map((element, index) => naiveOrder(element as number, b[index] as number)).find(order => order !== 0) ?? 0
  }
  if (typeof a === 'string') return Buffer.compare(Buffer.from(a), Buffer.from(b as string))
  if (Number.isNaN(a) || Number.isNaN(b)) return Number(Number.isNaN(a)) - Number(Number.isNaN(b))
  return a! < b! ? -1 : a! > b! ? 1 : 0
}

const naiveRowOrder = (a: Input, b: Input): number =>
  a.time - b.time || naiveOrder(a.id, b.id) || naiveOrder(a.cell, b.cell)

describe('firstN', () => {
  for (const type of TYPES) {
    it(`of ${type.kind} equals sorting`, () => {
      fc.assert(
        fc.property(fc.array(inputsOf(type), { maxLength: 12 }), fc.integer({ min: 1, max: 5 }), (inputs, n) => {
          const sorted = inputs.filter(input => input.cell !== null).sort(naiveRowOrder)
          const wanted = sorted.slice(0, n).map(input => value(type, input.cell))
          expect(resultOf('firstN', { n }, inputs, type)).toEqual(wanted)
        }),
        { numRuns: RUNS },
      )
    })
  }

  it('gives the oldest first, NaN included, null left out', () => {
    const inputs = [...column(5, null, NaN, 7)].reverse()
    expect(resultOf('firstN', { n: 2 }, inputs, double)).toEqual([5, NaN])
    expect(resultOf('lastN', { n: 2 }, inputs, double)).toEqual([7, NaN])
    expect(resultOf('firstN', { n: 2 }, [], double)).toEqual([])
  })

  it('breaks ties of time by the bytes of the id', () => {
    const tied = ['\u{1F600}', '\uFFFD', 'b'].map((id, index) => ({ cell: index, time: 3, id }))
    expect(resultOf('firstN', { n: 3 }, tied, int)).toEqual([2, 1, 0])
  })
})

describe('argMin and argMax', () => {
  for (const byType of SCALARS) {
    for (const type of [int, { kind: 'string' }, { kind: 'vector', length: 3 }] as const) {
      it(`of ${type.kind} by ${byType.kind} equal sorting`, () => {
        fc.assert(
          fc.property(fc.array(inputsOf(type, byType), { maxLength: 10 }), inputs => {
            const valid = inputs.filter(row => row.cell !== null && row.by !== null && !Number.isNaN(row.by))
            const last = (sign: 1 | -1): Value =>
              [...valid]
                .sort((a, b) => naiveOrder(a.by!, b.by!) * sign || naiveRowOrder(a, b))
                .map(row => row.cell)
                .at(-1) ?? null
            expect(resultOf('argMax', {}, inputs, type, byType)).toEqual(last(1))
            expect(resultOf('argMin', {}, inputs, type, byType)).toEqual(last(-1))
          }),
          { numRuns: RUNS },
        )
      })
    }
  }

  it('prefer the latest of equals, both of them', () => {
    const inputs = rows(['a', 1], ['b', 3], ['c', 3], ['d', 1], ['e', 2])
    expect(resultOf('argMax', {}, inputs, { kind: 'string' }, int)).toBe('c')
    expect(resultOf('argMin', {}, inputs, { kind: 'string' }, int)).toBe('d')
  })

  it('skip a null in either input and NaN in the second, and keep NaN in the first', () => {
    const inputs = rows([null, 9], [1, null], [2, NaN], [3, 4], [NaN, 5])
    expect(resultOf('argMax', {}, inputs, double, double)).toBe(NaN)
    expect(resultOf('argMin', {}, inputs, double, double)).toBe(3)
    expect(resultOf('argMax', {}, rows([1, null], [2, NaN]), double, double)).toBe(null)
    expect(resultOf('argMin', {}, [{ cell: 1, time: 0, id: '' }], double, double)).toBe(null)
  })

  it('show decimals as authors see them', () => {
    const decimal: FieldType = { kind: 'decimal', scale: 2 }
    expect(resultOf('argMax', {}, rows([1234, 5n], [7, 4n]), decimal, { kind: 'int64' })).toBe(12.34)
  })

  it('need two fields, of which the second has an order', () => {
    expect(() => makeAggregator('argMax', {}, int)).toThrow('argMax needs a second field')
    expect(() => makeAggregator('argMin', {}, int, { kind: 'vector', length: 2 })).toThrow(
      'argMin takes no second field of type vector(2)',
    )
    expect(makeAggregator('argMax', {}, { kind: 'string' }, double).name).toBe('argMax:string,double')
  })
})

describe('topN and bottomN', () => {
  for (const type of SCALARS) {
    it(`of ${type.kind} equal sorting`, () => {
      fc.assert(
        fc.property(fc.array(inputsOf(type), { maxLength: 14 }), fc.integer({ min: 1, max: 6 }), (inputs, n) => {
          const sorted = inputs
            .map(input => input.cell)
            .filter(cell => cell !== null && !Number.isNaN(cell))
            .sort(naiveOrder)
            .map(cell => value(type, cell))
          expect(resultOf('bottomN', { n }, inputs, type)).toEqual(sorted.slice(0, n))
          expect(resultOf('topN', { n }, inputs, type)).toEqual(sorted.reverse().slice(0, n))
        }),
        { numRuns: RUNS },
      )
    })
  }

  it('keep duplicates and leave out NaN', () => {
    const inputs = column(3, NaN, 1, 3, null, Infinity, 2)
    expect(resultOf('topN', { n: 3 }, inputs, double)).toEqual([Infinity, 3, 3])
    expect(resultOf('bottomN', { n: 9 }, inputs, double)).toEqual([1, 2, 3, 3, Infinity])
    expect(resultOf('topN', { n: 1 }, column(NaN), double)).toEqual([])
  })

  it('refuse a wrong n', () => {
    expect(() => makeAggregator('topN', {}, int)).toThrow(
      'topN: parameter n must be an integer from 1 to 1000, it is missing',
    )
    expect(() => makeAggregator('bottomN', { n: 1001 }, int)).toThrow('not 1001')
  })
})

describe('bytes that no state has', () => {
  const made = [
    makeAggregator('firstN', { n: 3 }, int),
    makeAggregator('topN', { n: 3 }, int),
    makeAggregator('bottomN', { n: 3 }, { kind: 'string' }),
    makeAggregator('argMax', {}, int, { kind: 'string' }),
    makeAggregator('argMin', {}, { kind: 'string' }, int),
    makeAggregator('skew', {}, double),
    makeAggregator('kurtosis', {}, int),
    makeAggregator('sumOfSquares', {}, double),
    makeAggregator('quantile', { q: 0.5, buckets: 4 }, double),
    makeAggregator('median', { bound: 2 }, int),
    makeAggregator('vectorMean', {}, { kind: 'vector', length: 1 }),
  ]

  it('are refused, or are the bytes of the state that they decode to', () => {
    const bytes = fc.oneof(
      fc.uint8Array({ maxLength: 30 }),
      fc.array(fc.oneof(fc.nat(6), fc.nat(255)), { maxLength: 16 }).map(list => Uint8Array.from(list)),
    )
    fc.assert(
      fc.property(bytes, fc.constantFrom(...made), (given, aggregator) => {
        let state: unknown
        try {
          state = aggregator.decode(createReader(given))
        } catch (error) {
          expect(error).toBeInstanceOf(RangeError)
          return
        }
        expect(Buffer.from(given).toString('hex').startsWith(bytesOf(aggregator, state))).toBe(true)
      }),
      { numRuns: 5000 },
    )
  })

  it('are refused with what is wrong', () => {
    const decode = (family: string, params: RawParams, write: (out: ReturnType<typeof createWriter>) => void) => {
      const out = createWriter(16)
      write(out)
      return makeAggregator(family, params, double, family.startsWith('arg') ? double : null).decode(
        createReader(out.finish()),
      )
    }
    const list =
      (...values: number[]) =>
      (out: ReturnType<typeof createWriter>) => {
        out.varint(values.length)
        for (const each of values) out.f64(each)
      }
    expect(() => decode('topN', { n: 2 }, list(1, 2, 3))).toThrow('3 values where at most 2 are kept')
    expect(() => decode('topN', { n: 2 }, list(1, 2))).toThrow('out of order')
    expect(() => decode('bottomN', { n: 2 }, list(2, 1))).toThrow('out of order')
    expect(() => decode('bottomN', { n: 2 }, list(2, NaN))).toThrow('NaN among sorted values')
    expect(() => decode('firstN', { n: 2 }, out => out.varint(3))).toThrow('3 values in a firstN(2)')
    expect(() => decode('argMax', {}, out => out.u8(2))).toThrow('no leading row has the tag 2')
    const ordered = (by: number) => (out: ReturnType<typeof createWriter>) => {
      out.u8(1)
      out.f64(by)
    }
    expect(() => decode('argMax', {}, ordered(NaN))).toThrow('a leading row is ordered by NaN')
    expect(() => decode('min', {}, ordered(NaN))).toThrow('an extreme is NaN')
  })
})
