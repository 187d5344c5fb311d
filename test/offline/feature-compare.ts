import type { Aggregator, FieldType, Input, Value } from '../../features/kernel/types.ts'

/** Keeps its rows: with it the oracle tells which ones a window has. It is never stored. */
export const COLLECT: Aggregator<Input[]> = {
  name: 'collect',
  kind: 'concat',
  version: 1,
  empty: () => [],
  add: (rows, input) => {
    rows.push(input)
    return rows
  },
  merge: (left, right) => [...left, ...right],
  result: rows => rows as unknown as Value,
  encode: () => {
    throw new RangeError('rows are not stored')
  },
  decode: () => {
    throw new RangeError('rows are not stored')
  },
}

/** From JSON as ClickHouse writes it, quoted 64-bit and not finite numbers, to a value like the expected one. */
export function readAs(expected: unknown, found: unknown): unknown {
  if (Array.isArray(found)) {
    if (expected === null && found.length === 0) return null
    return found.map((item, at) => readAs(Array.isArray(expected) ? expected[at] : undefined, item))
  }
  if (found === null) return null
  if (typeof expected === 'bigint') return BigInt(found as string)
  if (typeof expected === 'number') return numberOf(found)
  return found
}

const NOT_FINITE: Readonly<Record<string, number>> = { nan: NaN, '-nan': NaN, inf: Infinity, '-inf': -Infinity }

function numberOf(found: unknown): unknown {
  if (typeof found === 'number') return found
  return typeof found === 'string' ? (NOT_FINITE[found] ?? Number(found)) : found
}

/** What differences are measured by: the terms of the rows that are not null, as authors see the values. */
interface Terms {
  readonly values: readonly number[]
  readonly weights: readonly number[]
}

const sumOf = (numbers: readonly number[]): number => numbers.reduce((total, each) => total + each, 0)
const meanOf = (numbers: readonly number[]): number => (numbers.length === 0 ? 0 : sumOf(numbers) / numbers.length)

function gapsOf(rows: readonly Input[]): number[] {
  return rows.slice(1).map((row, index) => row.time - rows[index]!.time)
}

function numbersOf(rows: readonly Input[], type: FieldType | null): number[] {
  const unit = type?.kind === 'decimal' ? 10 ** type.scale : 1
  return rows.map(row => Number(row.cell) / unit)
}

/** What the agreement of two numbers is judged by: the rows of the window, and the instant they are read at. */
export interface Closeness {
  readonly family: string
  readonly type: FieldType | null
  readonly rows: readonly Input[]
  readonly t: number
  readonly halfLifeMs: number
}

const FLOAT = 1e-12
const SMALLEST = 2 ** -1074

/**
 * Whether two numbers of a family whose exactness is `float` agree. The rule is 1e-12 of Σ|terms|: of the values for a
 * sum, of their n-th parts for a mean. A variance is a difference of the mean of squares and the square of the mean, so
 * its terms are the squares over n; a standard deviation is compared by its square, since the root of a small difference
 * is large. Skew and kurtosis are quotients of central moments, whose errors add up: 1e-9 of the value, or of 1 where
 * the value is less. Others have terms of one sign: 1e-12 of the value, or of 1 where the value is less. A unit of 2^−1074
 * per term is allowed besides. All is compared in units near the greatest value, so that its square is a double.
 */
export function close(expected: number, found: number, by: Closeness): boolean {
  if (Object.is(expected, found) || (Number.isNaN(expected) && Number.isNaN(found))) return true
  if (!Number.isFinite(expected) || !Number.isFinite(found)) return false
  const rows = by.rows.filter(row => row.cell !== null || by.type === null)
  const values = by.type?.kind === 'vector' ? vectorTerms(rows) : numbersOf(rows, by.type)
  if (Math.abs(expected - found) <= (1 + values.length) * SMALLEST) return true
  const weights = rows.map(row => 2 ** (-(by.t - row.time) / by.halfLifeMs))
  const degree = DEGREES[by.family] ?? 0
  const unit = degree === 0 ? 1 : 2 ** -exponentOf(values)
  const scaled = (number: number): number => (degree === 2 ? number * unit * unit : number * unit)
  const terms = { values: values.map(value => value * unit), weights }
  const bound = boundOf(by.family, terms, scaled(expected), rows)
  const [left, right] = [scaled(expected), scaled(found)]
  const apart = SQUARED.has(by.family) ? Math.abs(left ** 2 - right ** 2) : Math.abs(left - right)
  return apart <= bound
}

const SQUARED: ReadonlySet<string> = new Set(['std', 'gapStd'])

/** How a value grows with the input: twice the input, 2^degree times the value. Others do not depend on its scale. */
const DEGREES: Readonly<Record<string, number>> = {
  sum: 1,
  mean: 1,
  std: 1,
  vectorSum: 1,
  vectorMean: 1,
  decayedSum: 1,
  decayedMean: 1,
  variance: 2,
  sumOfSquares: 2,
}

/** Between −1000 and 1000, an exponent of two near that of the greatest finite size. */
function exponentOf(values: readonly number[]): number {
  const greatest = values.reduce((most, value) => (Number.isFinite(value) ? Math.max(most, Math.abs(value)) : most), 0)
  return Math.max(-1000, Math.min(1000, greatest === 0 ? 0 : Math.floor(Math.log2(greatest))))
}

/** Of all elements: the scale of each is at most that. */
function vectorTerms(rows: readonly Input[]): number[] {
  return rows.map(row => Math.max(...(row.cell as readonly number[]).map(Math.abs)))
}

function boundOf(family: string, { values, weights }: Terms, expected: number, rows: readonly Input[]): number {
  const magnitudes = values.map(Math.abs)
  const squares = values.map(value => value ** 2)
  switch (family) {
    case 'sum':
    case 'vectorSum':
      return FLOAT * sumOf(magnitudes)
    case 'mean':
    case 'vectorMean':
      return FLOAT * meanOf(magnitudes)
    case 'sumOfSquares':
      return FLOAT * sumOf(squares)
    case 'variance':
    case 'std':
      return FLOAT * (sumOf(squares) / Math.max(1, values.length - 1))
    case 'skew':
    case 'kurtosis':
      return 1e-9 * Math.max(1, Math.abs(expected))
    case 'gapStd':
      return FLOAT * meanOf(gapsOf(rows).map(gap => gap ** 2))
    case 'decayedCount':
      return FLOAT * sumOf(weights)
    case 'decayedSum':
      return FLOAT * sumOf(magnitudes.map((each, at) => each * weights[at]!))
    case 'decayedMean':
      return (FLOAT * sumOf(magnitudes.map((each, at) => each * weights[at]!))) / sumOf(weights)
    default:
      return FLOAT * Math.max(1, Math.abs(expected))
  }
}
