import * as fc from 'fast-check'
import { readFileSync } from 'node:fs'
import { describe, expect, it } from 'vitest'
import { AGGREGATORS, makeAggregator, type RawParams } from '../../features/kernel/aggregators/index.ts'
import { createReader } from '../../features/kernel/encoding.ts'
import type { Aggregator, Cell, FieldType, Input, Value } from '../../features/kernel/types.ts'
import { FAMILY_PARAMS } from './family-params.ts'
import { inputsOf, TYPES } from './inputs.ts'
import { bytesOf, stateOf } from './laws.ts'
import { randomFrom, zipfRanks } from './samples.ts'

const AT = { t: 0, lengthMs: null }
const STRING: FieldType = { kind: 'string' }
const INT: FieldType = { kind: 'int' }
const DOUBLE: FieldType = { kind: 'double' }
const FAMILIES = [
  'distinctSet',
  'lastNDistinct',
  'entropy',
  'topK',
  'histogram',
  'categoryHistogram',
  'countPerCategory',
  'topCategoryRatio',
]

const asInputs = (cells: readonly Cell[]): Input[] =>
  cells.map((cell, index) => ({ cell, time: index, id: String(index) }))

/** The result of one state made of adds and one merge. */
function resultOf(aggregator: Aggregator, inputs: readonly Input[]): Value {
  const middle = inputs.length >> 1
  const left = stateOf(aggregator, inputs.slice(0, middle))
  return aggregator.result(aggregator.merge(left, stateOf(aggregator, inputs.slice(middle))), AT)
}

const of = (family: string, type: FieldType, cells: readonly Cell[], params: RawParams = {}): Value =>
  resultOf(makeAggregator(family, params, type), asInputs(cells))

const letters = (text: string): Cell[] => Array.from(text)

describe('known answers', () => {
  it('of distinctSet', () => {
    expect(of('distinctSet', STRING, letters('cabbage'), { bound: 10 })).toEqual(['a', 'b', 'c', 'e', 'g'])
    expect(of('distinctSet', STRING, letters('cabbage'), { bound: 3 })).toEqual(['a', 'b', 'c'])
    expect(of('distinctSet', { kind: 'decimal', scale: 2 }, [10, -5, 10, null], { bound: 3 })).toEqual([-0.05, 0.1])
    expect(of('distinctSet', DOUBLE, [NaN, 1, NaN, Infinity], { bound: 9 })).toEqual([1, Infinity, NaN])
    expect(of('distinctSet', { kind: 'boolean' }, [true, false, true], { bound: 1 })).toEqual([false])
  })

  it('of lastNDistinct', () => {
    expect(of('lastNDistinct', STRING, letters('abacb'), { n: 5 })).toEqual(['b', 'c', 'a'])
    expect(of('lastNDistinct', STRING, letters('abacb'), { n: 2 })).toEqual(['b', 'c'])
    expect(of('lastNDistinct', STRING, letters('abcda'), { n: 2 })).toEqual(['a', 'd'])
    const tied = ['y', 'x'].map(cell => ({ cell, time: 5, id: 'same' }))
    expect(resultOf(makeAggregator('lastNDistinct', { n: 1 }, STRING), tied)).toEqual(['y'])
    expect(of('lastNDistinct', { kind: 'decimal', scale: 1 }, [15, null, 20, 15], { n: 3 })).toEqual([1.5, 2])
  })

  it('of entropy', () => {
    expect(of('entropy', STRING, letters('aaaa'))).toBe(0)
    expect(of('entropy', STRING, letters('abab'))).toBe(1)
    expect(of('entropy', STRING, letters('abcdefgh'))).toBe(3)
    expect(of('entropy', STRING, letters('aabc'))).toBe(1.5)
    expect(of('entropy', STRING, [])).toBe(null)
    expect(of('entropy', STRING, letters('abcdefgh'), { bound: 4 })).toBe(2)
    expect(of('entropy', DOUBLE, [NaN, NaN])).toBe(0)
  })

  it('of countPerCategory', () => {
    expect(of('countPerCategory', STRING, letters('cabbage'))).toEqual([
      ['a', 2],
      ['b', 2],
      ['c', 1],
      ['e', 1],
      ['g', 1],
    ])
    expect(of('countPerCategory', STRING, letters('cabbage'), { bound: 2 })).toEqual([
      ['a', 2],
      ['b', 2],
    ])
    expect(of('countPerCategory', { kind: 'int64' }, [2n ** 60n, -1n, 2n ** 60n])).toEqual([
      [-1n, 1],
      [2n ** 60n, 2],
    ])
    expect(of('countPerCategory', { kind: 'decimal', scale: 2 }, [150, 150])).toEqual([[1.5, 2]])
  })

  it('of topCategoryRatio', () => {
    expect(of('topCategoryRatio', STRING, [])).toBe(null)
    expect(of('topCategoryRatio', STRING, letters('aab'))).toBe(2 / 3)
    expect(of('topCategoryRatio', STRING, letters('abcde'), { bound: 1 })).toBe(4 / 5)
  })

  it('of topK', () => {
    expect(of('topK', STRING, letters('abacba'), { k: 2 })).toEqual([
      ['a', 3],
      ['b', 2],
    ])
    expect(of('topK', STRING, letters('dcba'), { k: 3 })).toEqual([
      ['a', 1],
      ['b', 1],
      ['c', 1],
    ])
    expect(of('topK', { kind: 'decimal', scale: 2 }, [5, 5, null, 7], { k: 1 })).toEqual([[0.05, 2]])
    expect(of('topK', DOUBLE, [NaN, NaN, 1], { k: 5 })).toEqual([
      [NaN, 2],
      [1, 1],
    ])
  })

  it('of histogram, a value at an edge being above it', () => {
    expect(of('histogram', INT, [], { edges: [0, 1] })).toEqual([0, 0, 0])
    expect(of('histogram', INT, [-5, 0, 1, 9, 10, 11], { edges: [0, 10] })).toEqual([1, 3, 2])
    expect(of('histogram', INT, [0, 1, 2], { edges: [0.5, 1.5] })).toEqual([1, 1, 1])
    expect(of('histogram', INT, [-2, -1, 0], { edges: [-1.5, -0.5] })).toEqual([1, 1, 1])
    expect(of('histogram', DOUBLE, [NaN, -Infinity, Infinity, 0], { edges: [0] })).toEqual([1, 2])
    expect(of('histogram', { kind: 'timestamp' }, [1_700_000_000_000], { edges: [1.7e12] })).toEqual([0, 1])
  })

  it('of histogram over decimals, whose edges are decimal', () => {
    const cents: FieldType = { kind: 'decimal', scale: 2 }
    expect(of('histogram', cents, [9, 10, 11], { edges: [0.1] })).toEqual([1, 2])
    expect(of('histogram', cents, [9, 10, 11], { edges: [0.105] })).toEqual([2, 1])
    expect(of('histogram', cents, [-11, -10, -9], { edges: [-0.105] })).toEqual([1, 2])
    expect(of('histogram', cents, [28, 29, 30], { edges: [0.29] })).toEqual([1, 2])
    expect(of('histogram', cents, [-1, 0, 1], { edges: [-1e300, 1e-300, 1e300] })).toEqual([0, 2, 1, 0])
    const nano: FieldType = { kind: 'decimal', scale: 9 }
    const sameDouble = [9007199254740906, 9007199254740907]
    expect(sameDouble.map(cell => cell / 1e9)).toEqual([9007199.254740907, 9007199.254740907])
    expect(of('histogram', nano, sameDouble, { edges: [9007199.254740907] })).toEqual([1, 1])
  })

  it('of histogram over bigints beyond 2^53', () => {
    const big: FieldType = { kind: 'int64' }
    const cells = [2n ** 53n - 1n, 2n ** 53n, 2n ** 53n + 1n, -(2n ** 70n), 2n ** 70n]
    expect(of('histogram', big, cells, { edges: [2 ** 53] })).toEqual([2, 3])
    expect(of('histogram', big, cells, { edges: [-1e30, 1e19, 1e30] })).toEqual([0, 4, 1, 0])
  })

  it('of categoryHistogram', () => {
    expect(of('categoryHistogram', STRING, letters('abcax'), { categories: ['c', 'a'] })).toEqual([1, 2, 2])
    expect(of('categoryHistogram', { kind: 'boolean' }, [true, false, null], { categories: ['true'] })).toEqual([1, 1])
    expect(of('categoryHistogram', { kind: 'int64' }, [-5n, 5n, 2n ** 64n], { categories: ['-5'] })).toEqual([1, 2])
    expect(of('categoryHistogram', STRING, [], { categories: ['__proto__', 'constructor'] })).toEqual([0, 0, 0])
  })
})

describe('recorded answers of scipy and numpy', () => {
  const recorded = JSON.parse(readFileSync(new URL('recorded/frequency.json', import.meta.url), 'utf8')) as {
    readonly output: {
      readonly entropy: readonly { readonly counts: readonly number[]; readonly bits: number }[]
      readonly histogram: { values: readonly number[]; edges: readonly number[]; counts: readonly number[] }
    }
  }

  it.each(recorded.output.entropy.map(entry => [JSON.stringify(entry.counts).slice(0, 40), entry] as const))(
    'entropy of counts %s',
    (_name, { counts, bits }) => {
      const aggregator = makeAggregator('entropy', {}, INT)
      let state = aggregator.empty()
      counts.forEach((count, category) => {
        // Doubling by merge reaches large counts without as many adds.
        let power = stateOf(aggregator, asInputs([category]))
        for (let rest = count; rest > 0; rest = Math.floor(rest / 2)) {
          if (rest % 2 === 1) state = aggregator.merge(state, power)
          power = aggregator.merge(power, power)
        }
      })
      const found = aggregator.result(state, AT) as number
      expect(Math.abs(found - bits)).toBeLessThanOrEqual(1e-12 * Math.max(bits, 1e-3))
    },
  )

  it('histogram', () => {
    const { values, edges, counts } = recorded.output.histogram
    expect(of('histogram', DOUBLE, values, { edges })).toEqual(counts)
  })
})

describe('results equal a naive computation', () => {
  const value = (type: FieldType, cell: Cell): Value =>
    type.kind === 'decimal' && cell !== null ? Number(cell) / 10 ** type.scale : cell

  function order(a: Cell, b: Cell): number {
    if (typeof a === 'string') return Buffer.compare(Buffer.from(a), Buffer.from(b as string))
    if (Number.isNaN(a) || Number.isNaN(b)) return Number(Number.isNaN(a)) - Number(Number.isNaN(b))
    return a! < b! ? -1 : a! > b! ? 1 : 0
  }

  function counted(inputs: readonly Input[]): [Cell, number][] {
    const counts = new Map<Cell, number>()
    for (const { cell } of inputs) if (cell !== null) counts.set(cell, (counts.get(cell) ?? 0) + 1)
    return [...counts].sort((a, b) => order(a[0], b[0]))
  }

  /** The counts of the least categories, all others as one. */
  function lumped(inputs: readonly Input[], bound: number): number[] {
    const counts = counted(inputs).map(([, count]) => count)
    const others = counts.slice(bound).reduce((sum, count) => sum + count, 0)
    return others === 0 ? counts : [...counts.slice(0, bound), others]
  }

  function check(
    family: string,
    params: RawParams,
    type: FieldType,
    expected: (inputs: readonly Input[]) => Value,
  ): void {
    const aggregator = makeAggregator(family, params, type)
    it(`of ${aggregator.name}`, () => {
      fc.assert(
        fc.property(fc.array(inputsOf(type), { maxLength: 12 }), inputs => {
          expect(resultOf(aggregator, inputs)).toEqual(expected(inputs))
        }),
        { numRuns: 300 },
      )
    })
  }

  for (const type of TYPES.filter(candidate => candidate.kind !== 'vector')) {
    check('distinctSet', { bound: 3 }, type, inputs =>
      counted(inputs)
        .slice(0, 3)
        .map(([cell]) => value(type, cell)),
    )
    check('lastNDistinct', { n: 3 }, type, inputs => {
      const ordered = inputs
        .filter(input => input.cell !== null)
        .sort((a, b) => a.time - b.time || order(a.id, b.id) || order(a.cell, b.cell))
        .map(input => input.cell)
        .reverse()
      return [...new Set(ordered)].slice(0, 3).map(cell => value(type, cell))
    })
    check('countPerCategory', { bound: 3 }, type, inputs =>
      counted(inputs)
        .slice(0, 3)
        .map(([cell, count]) => [value(type, cell), count]),
    )
    check('topK', { k: 3 }, type, inputs =>
      counted(inputs)
        .sort((a, b) => b[1] - a[1])
        .slice(0, 3)
        .map(([cell, count]) => [value(type, cell), count]),
    )
    check('topCategoryRatio', { bound: 2 }, type, inputs => {
      const counts = lumped(inputs, 2)
      return counts.length === 0 ? null : Math.max(...counts) / counts.reduce((sum, count) => sum + count, 0)
    })
    const entropy = makeAggregator('entropy', { bound: 3 }, type)
    it(`of ${entropy.name}`, () => {
      fc.assert(
        fc.property(fc.array(inputsOf(type), { minLength: 1, maxLength: 12 }), inputs => {
          const counts = lumped(inputs, 3)
          const found = resultOf(entropy, inputs)
          if (counts.length === 0) {
            expect(found).toBe(null)
            return
          }
          const total = counts.reduce((sum, count) => sum + count, 0)
          const bits = Math.log2(total) - counts.reduce((sum, count) => sum + count * Math.log2(count), 0) / total
          expect(Math.abs((found as number) - bits)).toBeLessThan(1e-14)
        }),
        { numRuns: 300 },
      )
    })
  }
})

describe('topK beyond its bound', () => {
  interface Measured {
    readonly listed: readonly (readonly [Cell, number])[]
    readonly truth: ReadonlyMap<Cell, number>
    readonly events: number
  }

  function measure(type: FieldType, bound: number, events: number, next: (index: number) => Cell): Measured {
    const aggregator = makeAggregator('topK', { k: Math.min(1000, bound), bound }, type)
    const truth = new Map<Cell, number>()
    let state = aggregator.empty()
    for (let index = 0; index < events; index++) {
      const cell = next(index)
      truth.set(cell, (truth.get(cell) ?? 0) + 1)
      state = aggregator.add(state, { cell, time: 1_700_000_000_000 + index, id: `event-${index}` })
    }
    return { listed: aggregator.result(state, AT) as unknown as Measured['listed'], truth, events }
  }

  const zipf = (values: number, exponent: number): ((index: number) => Cell) => {
    const next = zipfRanks(values, exponent, randomFrom(5))
    return () => `merchant-${next()}`
  }
  const random = randomFrom(6)
  const similar = (): Cell => `${'m'.repeat(40)}${Math.floor(random() ** 3 * 30_000)}`
  const distributions: readonly (readonly [string, FieldType, () => (index: number) => Cell])[] = [
    ['uniform over 5,000', STRING, () => zipf(5000, 0)],
    ['Zipf 0.8', STRING, () => zipf(50_000, 0.8)],
    ['Zipf 1.1', STRING, () => zipf(50_000, 1.1)],
    ['Zipf 1.5', STRING, () => zipf(50_000, 1.5)],
    ['all equal', STRING, () => () => 'same'],
    ['sequential ids', INT, () => index => index],
    ['one in fifty among sequential ids', INT, () => index => (index % 50 === 7 ? -1 : index)],
    ['strings alike but for the end', STRING, () => similar],
  ]
  const width = 2048

  for (const [name, type, start] of distributions) {
    it.each([10, 1000, 100_000])(`counts ${name} as stated over %i events`, events => {
      const { listed, truth } = measure(type, 1000, events, start())
      const allowed = truth.size <= 1000 ? 0 : (Math.E / width) * events
      let above = 0
      for (const [value, count] of listed) {
        const excess = count - truth.get(value)!
        expect(excess).toBeGreaterThanOrEqual(0)
        if (excess > allowed) above++
      }
      expect(above).toBeLessThanOrEqual(0.018 * listed.length)
      const candidates = new Set(listed.map(([value]) => value))
      // A share of 1.4 % is missed with a probability of (1 − 0.014)^1000 < 1e−6.
      for (const [value, count] of truth) if (count / events >= 0.014) expect(candidates.has(value)).toBe(true)
      if (truth.size <= 1000) expect(listed.length).toBe(truth.size)
      else expect(listed.length).toBe(1000)
    })
  }

  it('lists the ten most frequent of a Zipf stream of a million', () => {
    const { listed, truth } = measure(STRING, 1000, 1_000_000, zipf(50_000, 1.1))
    const frequent = [...truth].sort((a, b) => b[1] - a[1]).slice(0, 10)
    expect(listed.slice(0, 10).map(([value]) => value)).toEqual(frequent.map(([value]) => value))
  }, 30_000)

  it('misses a value of share f with a probability of at most (1 − f)^bound', () => {
    const trials = 2000
    const [bound, events] = [20, 200]
    const aggregator = makeAggregator('topK', { k: bound, bound }, INT)
    for (const share of [0.02, 0.05, 0.1, 0.2]) {
      let missed = 0
      for (let trial = 0; trial < trials; trial++) {
        let state = aggregator.empty()
        for (let index = 0; index < events; index++) {
          const cell = index < share * events ? -1 : index
          state = aggregator.add(state, { cell, time: index, id: `${share}-${trial}-${index}` })
        }
        const listed = aggregator.result(state, AT) as unknown as Measured['listed']
        if (!listed.some(([value]) => value === -1)) missed++
      }
      const stated = (1 - share) ** bound
      const scatter = 4 * Math.sqrt((stated * (1 - stated)) / trials)
      expect(missed / trials).toBeLessThan(stated + scatter)
      // The statement is nearly the truth where all other values differ, so the draws behave as independent ones.
      expect(missed / trials).toBeGreaterThan(0.75 * stated - scatter)
    }
  }, 30_000)

  it('has one encoding, however the events are parted', () => {
    const next = zipf(3000, 0.9)
    const inputs = Array.from({ length: 6000 }, (_, index) => ({ cell: next(index), time: index, id: `e${index}` }))
    const aggregator = makeAggregator('topK', { k: 10, bound: 200 }, STRING)
    const whole = bytesOf(aggregator, stateOf(aggregator, inputs))
    for (const parts of [2, 7, 60]) {
      const states = Array.from({ length: parts }, (_, part) =>
        stateOf(
          aggregator,
          inputs.filter((_input, index) => index % parts === part),
        ),
      )
      const forward = states.reduce((left, right) => aggregator.merge(left, right))
      const backward = states.reduceRight((left, right) => aggregator.merge(left, right))
      expect(bytesOf(aggregator, forward)).toBe(whole)
      expect(bytesOf(aggregator, backward)).toBe(whole)
    }
    expect(whole.length / 2).toBeLessThan(2 + 200 * (1 + 13 + 6) + 4 * 512 * 3)
  })
})

describe('bytes', () => {
  it('of an empty state are few', () => {
    for (const family of FAMILIES) {
      const descriptor = AGGREGATORS.find(candidate => candidate.family === family)!
      for (const type of TYPES.filter(candidate => descriptor.accepts(candidate))) {
        for (const params of FAMILY_PARAMS[family]!) {
          const aggregator = descriptor.make(type, params)
          expect(bytesOf(aggregator, aggregator.empty()).length / 2).toBeLessThanOrEqual(2)
        }
      }
    }
  })

  it('that no state has are refused', () => {
    const cases = FAMILIES.flatMap(family => {
      const descriptor = AGGREGATORS.find(candidate => candidate.family === family)!
      return TYPES.filter(type => descriptor.accepts(type)).flatMap(type =>
        FAMILY_PARAMS[family]!.map(params => descriptor.make(type, params)),
      )
    })
    const small = fc.uint8Array({ maxLength: 40, max: 5 })
    fc.assert(
      fc.property(fc.oneof(small, fc.uint8Array({ maxLength: 40 })), fc.constantFrom(...cases), (bytes, aggregator) => {
        let state: unknown
        try {
          state = aggregator.decode(createReader(bytes))
        } catch (error) {
          expect(error).toBeInstanceOf(RangeError)
          return
        }
        expect(Buffer.from(bytes).toString('hex').startsWith(bytesOf(aggregator, state))).toBe(true)
      }),
      { numRuns: 20_000 },
    )
  })

  it('are refused by name', () => {
    const decode = (family: string, params: RawParams, type: FieldType, ...bytes: readonly number[]) => {
      return () => makeAggregator(family, params, type).decode(createReader(Uint8Array.from(bytes)))
    }
    expect(decode('distinctSet', { bound: 1 }, INT, 2)).toThrow('2 values in a distinctSet(1)')
    expect(decode('distinctSet', { bound: 3 }, INT, 2, 4, 2)).toThrow('values of a distinctSet out of order')
    expect(decode('lastNDistinct', { n: 1 }, INT, 2)).toThrow('2 values in a lastNDistinct(1)')
    expect(decode('lastNDistinct', { n: 2 }, INT, 2, 0, 0, 2, 2, 0, 2)).toThrow('out of order or twice')
    expect(decode('entropy', { bound: 1 }, INT, 2)).toThrow('2 categories in entropy(1)')
    expect(decode('entropy', {}, INT, 1, 2, 0)).toThrow('without events')
    expect(decode('countPerCategory', {}, INT, 2, 2, 1, 2, 1)).toThrow('out of order')
    expect(decode('histogram', { edges: [0] }, INT, 0, 3)).toThrow('a run of 3 zeros')
    expect(decode('histogram', { edges: [0] }, INT, 0, 1, 0, 1)).toThrow('a run of 1 zeros')
    expect(decode('topK', { k: 1, bound: 1 }, INT, 3)).toThrow('3 values in a topK over 1')
    expect(decode('topK', { k: 1 }, INT, 1, 2, 5, 0)).toThrow('without events')
    expect(decode('topK', { k: 1, bound: 1 }, INT, 2, 2, 5, 3, 0, 1, 1, 1, 1, 1, 1, 1)).toThrow('rows of 3 and 2')
  })
})
