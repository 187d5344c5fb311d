import * as fc from 'fast-check'
import { describe, expect, it } from 'vitest'
import { AGGREGATORS, makeAggregator, type RawParams } from '../../features/kernel/aggregators/index.ts'
import { createReader } from '../../features/kernel/encoding.ts'
import type { Aggregator, Cell, FieldType, Input, ReadAt, Value } from '../../features/kernel/types.ts'
import { FAMILY_PARAMS } from './family-params.ts'
import { inputsOf, TYPES } from './inputs.ts'
import { bytesOf, stateOf } from './laws.ts'
import { DOUBLE_UNITS, doubleUnits, isNearest, isNearestRoot, type Rational } from './rationals.ts'

const RUNS = 500
const AT: ReadAt = { t: 1_700_000_000_000, lengthMs: 3_600_000 }
const NUMERIC = TYPES.filter(type => ['boolean', 'int', 'int64', 'double', 'decimal'].includes(type.kind))

/** A present finite cell as a rational. */
function rational(type: FieldType, cell: Cell): Rational {
  if (type.kind === 'double') return { numerator: doubleUnits(cell as number), denominator: DOUBLE_UNITS }
  return {
    numerator: BigInt(cell as number | bigint | boolean),
    denominator: type.kind === 'decimal' ? 10n ** BigInt(type.scale) : 1n,
  }
}

function plus(left: Rational, right: Rational): Rational {
  if (left.denominator === right.denominator) {
    return { numerator: left.numerator + right.numerator, denominator: left.denominator }
  }
  return {
    numerator: left.numerator * right.denominator + right.numerator * left.denominator,
    denominator: left.denominator * right.denominator,
  }
}

const times = (left: Rational, right: Rational): Rational => ({
  numerator: left.numerator * right.numerator,
  denominator: left.denominator * right.denominator,
})

const over = (left: Rational, divisor: number): Rational => ({
  numerator: left.numerator,
  denominator: left.denominator * BigInt(divisor),
})

const negated = (value: Rational): Rational => ({ numerator: -value.numerator, denominator: value.denominator })

const ZERO: Rational = { numerator: 0n, denominator: 1n }

const present = (inputs: readonly Input[]): Cell[] => inputs.map(input => input.cell).filter(cell => cell !== null)

const notFinite = (cells: readonly Cell[]): number[] =>
  cells.filter(cell => typeof cell === 'number' && !Number.isFinite(cell)) as number[]

const total = (type: FieldType, cells: readonly Cell[]): Rational =>
  cells.map(cell => rational(type, cell)).reduce(plus, ZERO)

/** Mean of squared deviations from the mean, term by term in rationals. */
function deviations(type: FieldType, cells: readonly Cell[], divisor: number): Rational {
  const mean = over(total(type, cells), cells.length)
  const squares = cells.map(cell => {
    const deviation = plus(rational(type, cell), negated(mean))
    return times(deviation, deviation)
  })
  return over(squares.reduce(plus, ZERO), divisor)
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

function inOrder(inputs: readonly Input[]): Input[] {
  return inputs
    .filter(input => input.cell !== null)
    .sort((a, b) => a.time - b.time || naiveOrder(a.id, b.id) || naiveOrder(a.cell, b.cell))
}

/** The result of one state made of adds and one merge. */
function resultOf(aggregator: Aggregator, inputs: readonly Input[]): Value {
  const middle = inputs.length >> 1
  const left = stateOf(aggregator, inputs.slice(0, middle))
  return aggregator.result(aggregator.merge(left, stateOf(aggregator, inputs.slice(middle))), AT)
}

function check(
  family: string,
  params: RawParams,
  type: FieldType | null,
  verify: (result: Value, inputs: readonly Input[]) => void,
): void {
  const aggregator = makeAggregator(family, params, type)
  it(`result of ${aggregator.name}`, () => {
    const lists = fc.array(inputsOf(type), { maxLength: 12 })
    const property = fc.property(lists, inputs => {
      verify(resultOf(aggregator, inputs), inputs)
    })
    const outcome = fc.check(property, { numRuns: RUNS })
    expect(fc.defaultReportMessage(outcome)).toBeUndefined()
  })
}

describe('results equal a naive computation in rationals', () => {
  check('count', {}, null, (result, inputs) => expect(result).toBe(inputs.length))
  for (const type of TYPES) {
    check('count', {}, type, (result, inputs) => expect(result).toBe(present(inputs).length))
    check('first', {}, type, (result, inputs) => expect(result).toEqual(value(type, inOrder(inputs)[0]?.cell ?? null)))
    check('last', {}, type, (result, inputs) =>
      expect(result).toEqual(value(type, inOrder(inputs).at(-1)?.cell ?? null)),
    )
    check('lastN', { n: 3 }, type, (result, inputs) => {
      const newest = inOrder(inputs).slice(-3).reverse()
      expect(result).toEqual(newest.map(input => value(type, input.cell)))
    })
    if (type.kind === 'vector') continue
    check('distinct', { bound: 5 }, type, (result, inputs) => {
      const size = new Set(present(inputs)).size
      if (size <= 5) expect(result).toBe(size)
      else expect(Math.abs((result as number) - size)).toBeLessThanOrEqual(1)
    })
    const ordered = (inputs: readonly Input[]) =>
      present(inputs)
        .filter(cell => !Number.isNaN(cell))
        .sort(naiveOrder)
    check('min', {}, type, (result, inputs) => expect(result).toBe(value(type, ordered(inputs)[0] ?? null)))
    check('max', {}, type, (result, inputs) => expect(result).toBe(value(type, ordered(inputs).at(-1) ?? null)))
  }
  for (const type of NUMERIC) {
    check('sum', {}, type, (result, inputs) => {
      const cells = present(inputs)
      const special = notFinite(cells)
      if (special.length > 0) expect(result).toBe(special.reduce((left, right) => left + right))
      else if (type.kind === 'int64') expect(result).toBe(total(type, cells).numerator)
      else expect(isNearest(result as number, total(type, cells))).toBe(true)
    })
    check('mean', {}, type, (result, inputs) => {
      const cells = present(inputs)
      const special = notFinite(cells)
      if (cells.length === 0) expect(result).toBe(null)
      else if (special.length > 0) expect(result).toBe(special.reduce((left, right) => left + right))
      else expect(isNearest(result as number, over(total(type, cells), cells.length))).toBe(true)
    })
    for (const [family, nearest] of [
      ['variance', isNearest],
      ['std', isNearestRoot],
    ] as const) {
      for (const sample of [false, true]) {
        check(family, { sample }, type, (result, inputs) => {
          const cells = present(inputs)
          const divisor = cells.length - Number(sample)
          if (divisor < 1) expect(result).toBe(null)
          else if (notFinite(cells).length > 0) expect(result).toBe(NaN)
          else expect(nearest(result as number, deviations(type, cells, divisor))).toBe(true)
        })
      }
    }
  }
})

describe('known values', () => {
  const of = (family: string, type: FieldType, cells: readonly Cell[], params: RawParams = {}): Value =>
    resultOf(
      makeAggregator(family, params, type),
      cells.map((cell, index) => ({ cell, time: index, id: String(index) })),
    )
  const decimal: FieldType = { kind: 'decimal', scale: 2 }
  const double: FieldType = { kind: 'double' }

  it('of decimals are plain numbers', () => {
    expect(of('sum', decimal, [10, 20])).toBe(0.3)
    expect(of('mean', decimal, [1234, null, 1235])).toBe(12.345)
    expect(of('min', decimal, [1234, -1])).toBe(-0.01)
    expect(of('last', decimal, [1, 999])).toBe(9.99)
    expect(of('lastN', decimal, [1, 2, 3], { n: 2 })).toEqual([0.03, 0.02])
    expect(of('variance', decimal, [100, 200, 300, 400])).toBe(1.25)
    expect(of('variance', decimal, [100, 200, 300, 400, 500], { sample: true })).toBe(2.5)
    expect(of('std', decimal, [200, 400, 400, 400, 500, 500, 700, 900])).toBe(2)
  })

  it('do not cancel', () => {
    expect(of('variance', double, [1e9 + 4, 1e9 + 7, 1e9 + 13, 1e9 + 16], { sample: true })).toBe(30)
    expect(of('variance', double, [0.1, 0.1, 0.1])).toBe(0)
    expect(of('sum', double, [1e16, 1, -1e16])).toBe(1)
    expect(of('mean', double, [Number.MAX_VALUE, Number.MAX_VALUE])).toBe(Number.MAX_VALUE)
    expect(of('variance', double, [1e200, -1e200])).toBe(Infinity)
    expect(of('variance', double, [1e-170, -1e-170])).toBe(0)
    expect(of('variance', double, [2 ** -530, -(2 ** -530)])).toBe(2 ** -1060)
  })

  it('of an empty state are as documented', () => {
    const zero = (type: FieldType): Value => (type.kind === 'int64' ? 0n : 0)
    const none = (): Value => null
    const list = (): Value => []
    const expected: Readonly<Record<string, (type: FieldType) => Value>> = {
      count: () => 0,
      sum: zero,
      mean: none,
      sumOfSquares: zero,
      variance: none,
      std: none,
      skew: none,
      kurtosis: none,
      min: none,
      max: none,
      first: none,
      last: none,
      firstN: list,
      lastN: list,
      argMin: none,
      argMax: none,
      topN: list,
      bottomN: list,
      quantile: none,
      median: none,
      vectorSum: () => [0, 0, 0],
      vectorMean: none,
      vectorMin: none,
      vectorMax: none,
    }
    for (const [family, empty] of Object.entries(expected)) {
      const descriptor = AGGREGATORS.find(candidate => candidate.family === family)!
      for (const type of TYPES.filter(candidate => descriptor.accepts(candidate))) {
        const byType = descriptor.acceptsBy(null) ? null : type.kind === 'vector' ? ({ kind: 'int' } as const) : type
        const aggregator = descriptor.make(type, FAMILY_PARAMS[family]?.[0] ?? {}, byType)
        expect(aggregator.result(aggregator.empty(), AT)).toEqual(empty(type))
        expect(bytesOf(aggregator, aggregator.empty()).length).toBeLessThanOrEqual(4)
      }
    }
  })

  it('of NaN are as documented', () => {
    expect(of('min', double, [NaN, 1, Infinity])).toBe(1)
    expect(of('max', double, [NaN])).toBe(null)
    expect(of('min', double, [Infinity])).toBe(Infinity)
    expect(of('first', double, [NaN, 1])).toBe(NaN)
    expect(of('lastN', double, [1, NaN], { n: 2 })).toEqual([NaN, 1])
    expect(of('distinct', double, [NaN, NaN, 1])).toBe(2)
    expect(of('count', double, [NaN, null])).toBe(1)
    expect(of('variance', double, [1, Infinity])).toBe(NaN)
    expect(of('mean', double, [1, Infinity])).toBe(Infinity)
  })
})

describe('making', () => {
  it('names canonically', () => {
    const name = (family: string, params: RawParams, type: FieldType | null) =>
      makeAggregator(family, params, type).name
    expect(name('count', {}, null)).toBe('count')
    expect(name('sum', {}, { kind: 'decimal', scale: 2 })).toBe('sum:decimal(2)')
    expect(name('distinct', {}, { kind: 'string' })).toBe('distinct(1000):string')
    expect(name('distinct', { bound: 1000 }, { kind: 'string' })).toBe('distinct(1000):string')
    expect(name('lastN', { n: 5 }, { kind: 'vector', length: 8 })).toBe('lastN(5):vector(8)')
    expect(name('std', { sample: true }, { kind: 'double' })).toBe('std(true):double')
  })

  it('refuses what is unknown or wrong, and names it', () => {
    const string: FieldType = { kind: 'string' }
    expect(() => makeAggregator('mode', {}, string)).toThrow('no aggregator is named mode; there are count, sum')
    expect(() => makeAggregator('sum', {}, string)).toThrow('sum takes no field of type string')
    expect(() => makeAggregator('sum', {}, null)).toThrow('sum needs a field')
    expect(() => makeAggregator('min', {}, { kind: 'vector', length: 2 })).toThrow(
      'min takes no field of type vector(2)',
    )
    expect(() => makeAggregator('sum', {}, { kind: 'timestamp' })).toThrow(RangeError)
    expect(() => makeAggregator('lastN', {}, string)).toThrow(
      'lastN: parameter n must be an integer from 1 to 1000, it is missing',
    )
    expect(() => makeAggregator('lastN', { n: 1001 }, string)).toThrow('not 1001')
    expect(() => makeAggregator('distinct', { bound: 1.5 }, string)).toThrow('parameter bound')
    expect(() => makeAggregator('distinct', { bound: '7' }, string)).toThrow('from 1 to 100000')
    expect(() => makeAggregator('count', { n: 1 }, null)).toThrow('count has no parameter n; it takes none')
    expect(() => makeAggregator('std', { sampel: true }, { kind: 'int' })).toThrow('it has sample')
    expect(() => makeAggregator('std', { sample: 1 }, { kind: 'int' })).toThrow('must be true or false')
    expect(() => makeAggregator('count', JSON.parse('{"toString":1}') as RawParams, null)).toThrow(
      'no parameter toString',
    )
  })

  it('states the type of the result', () => {
    const text = (family: string, type: FieldType, params: RawParams = {}) =>
      AGGREGATORS.find(descriptor => descriptor.family === family)?.valueType(type, params)
    expect(text('count', { kind: 'string' })).toBe('number')
    expect(text('sum', { kind: 'int64' })).toBe('bigint')
    expect(text('sum', { kind: 'decimal', scale: 2 })).toBe('number')
    expect(text('mean', { kind: 'int64' })).toBe('number | null')
    expect(text('min', { kind: 'string' })).toBe('string | null')
    expect(text('max', { kind: 'int64' })).toBe('bigint | null')
    expect(text('last', { kind: 'vector', length: 2 })).toBe('readonly number[] | null')
    expect(text('lastN', { kind: 'boolean' }, { n: 2 })).toBe('readonly boolean[]')
    expect(text('lastN', { kind: 'vector', length: 2 }, { n: 2 })).toBe('readonly (readonly number[])[]')
    for (const descriptor of AGGREGATORS) expect(descriptor.doc).toMatch(/(Empty|Below).*State: /s)
  })

  it('refuses bytes that no state has', () => {
    const types: readonly (FieldType | null)[] = [null, ...TYPES]
    fc.assert(
      fc.property(
        fc.uint8Array({ maxLength: 30 }),
        fc.constantFrom(...AGGREGATORS),
        fc.constantFrom(...types),
        (bytes, descriptor, type) => {
          if (!descriptor.accepts(type)) return
          const byType = descriptor.acceptsBy(null) ? null : ({ kind: 'string' } as const)
          const aggregator = descriptor.make(type, FAMILY_PARAMS[descriptor.family]?.[0] ?? {}, byType)
          const original = Buffer.from(bytes).toString('hex')
          let state: unknown
          try {
            state = aggregator.decode(createReader(bytes))
          } catch (error) {
            expect(error).toBeInstanceOf(RangeError)
            return
          }
          expect(original.startsWith(bytesOf(aggregator, state))).toBe(true)
        },
      ),
      { numRuns: 5000 },
    )
  })
})
