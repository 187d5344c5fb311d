import {
  addIntegerSquare,
  decodeIntegerSum,
  emptyIntegerSum,
  encodeIntegerSum,
  integerSumTotal,
  isSmallSum,
  mergeIntegerSums,
  type IntegerSum,
} from '../integer-sum.ts'
import { ratioToNumber } from '../rounding.ts'
import type { ByteReader, ByteWriter, FieldType, TimeMs } from '../types.ts'
import { defineAggregator, type AggregatorDescriptor, type Algebra, type SqlRows } from './descriptor.ts'
import { decodeTimeSpan, encodeTimeSpan, gapsSql, type TimeSpan } from './gaps.ts'

/** The ends of the rows and the sum of the squares of the gaps between neighbours. */
interface Gaps extends TimeSpan {
  squares: IntegerSum
}

/** `gapStd()` and `gapStd(field)`. */
export const gapStd: AggregatorDescriptor = defineAggregator({
  family: 'gapStd',
  kind: 'concat',
  version: 1,
  exactness: 'float',
  params: {
    sample: {
      kind: 'boolean',
      default: false,
      doc: 'false divides by the number of gaps (population), true by one less (sample; null below three rows)',
    },
  },
  doc: 'The standard deviation of the m = n − 1 gaps in milliseconds between neighbouring rows in the order (time, id): √((m·Σg² − (Σg)²) / (m·d)) with d = m, or m − 1 for sample; with a field over rows where it is not null (NaN counts). Below two rows, for sample below three: null. The sums are exact integers; the quotient and the root are each rounded once. Events of one entity that lie in several partitions are put in order by the read, at most 200,000 within the window; a read of more fails. State: 1 byte when empty, otherwise 8 to 30.',
  accepts: (_inputType): _inputType is FieldType | null => true,
  valueType: () => 'number | null',
  algebra: (inputType, params) => deviationOfGaps(inputType, params.sample),
  sql: (rows, _inputType, params) => gapStdSql(rows, params.sample),
})

function deviationOfGaps(inputType: FieldType | null, sample: boolean): Algebra<Gaps> {
  return {
    empty: () => ({ count: 0, first: 0, last: 0, squares: emptyIntegerSum() }),
    add: (state, input) => {
      if (inputType !== null && input.cell === null) return state
      const time = input.time
      if (state.count === 0) state.first = time
      else addGapSquare(state.squares, state.last, time)
      state.last = time
      state.count++
      return state
    },
    merge: (left, right) => append({ ...left, squares: { ...left.squares } }, right),
    absorb: (state, input) => append(state, decodeGaps(input)),
    result: state => {
      const gaps = state.count - 1
      const divisor = sample ? gaps - 1 : gaps
      return divisor < 1 ? null : Math.sqrt(gapVariance(state, gaps, divisor))
    },
    encode: encodeGaps,
    decode: decodeGaps,
  }
}

/** `state`, changed, with the rows of `later` after its own. */
function append(state: Gaps, later: Gaps): Gaps {
  if (later.count === 0) return state
  state.squares = mergeIntegerSums(state.squares, later.squares)
  if (state.count === 0) state.first = later.first
  else addGapSquare(state.squares, state.last, later.first)
  state.last = later.last
  state.count += later.count
  return state
}

/** Adds the exact square of `to − from`, also where that difference is beyond 2^53. */
function addGapSquare(squares: IntegerSum, from: TimeMs, to: TimeMs): void {
  const gap = to - from
  if (Number.isSafeInteger(gap)) {
    addIntegerSquare(squares, gap)
  } else {
    const wide = BigInt(to) - BigInt(from)
    squares.big += wide * wide
  }
}

/** `(m·Σg² − (Σg)²) / (m·divisor)`, rounded once; never negative, since m·Σg² ≥ (Σg)². */
function gapVariance({ first, last, squares }: Gaps, gaps: number, divisor: number): number {
  const minuend = gaps * squares.small
  const denominator = gaps * divisor
  if (isSmallSum(squares) && minuend <= Number.MAX_SAFE_INTEGER && denominator <= Number.MAX_SAFE_INTEGER) {
    const span = last - first
    return (minuend - span * span) / denominator
  }
  const span = BigInt(last) - BigInt(first)
  const numerator = BigInt(gaps) * integerSumTotal(squares) - span * span
  return ratioToNumber(numerator, BigInt(gaps) * BigInt(divisor))
}

/** The ends, then the squares where they do not follow from these. */
function encodeGaps(state: Gaps, out: ByteWriter): void {
  encodeTimeSpan(state, out)
  if (state.count > 2) encodeIntegerSum(state.squares, out)
}

function decodeGaps(input: ByteReader): Gaps {
  const span = decodeTimeSpan(input)
  if (span.count > 2) {
    const squares = decodeIntegerSum(input)
    if (integerSumTotal(squares) < 0n) throw new RangeError('a sum of squares of gaps is negative')
    return { ...span, squares }
  }
  const squares = emptyIntegerSum()
  if (span.count === 2) addGapSquare(squares, span.first, span.last)
  return { ...span, squares }
}

/** In Int256, in which no sum of squares of milliseconds overflows; divided as Float64. */
function gapStdSql(rows: SqlRows, sample: boolean): string {
  const { times } = rows
  const gaps = `(toInt256(length(${times})) - 1)`
  const divisor = sample ? `(${gaps} - 1)` : gaps
  const squares = `arraySum(arrayMap(g -> toInt256(g) * toInt256(g), ${gapsSql(rows)}))`
  const span = `toInt256(${times}[-1] - ${times}[1])`
  const variance = `toFloat64(${gaps} * ${squares} - ${span} * ${span}) / toFloat64(${gaps} * ${divisor})`
  return `if(length(${times}) < ${sample ? 3 : 2}, NULL, sqrt(${variance}))`
}
