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
  notFiniteTotal,
  type ExactSum,
} from '../exact-sum.ts'
import {
  addBigInteger,
  addInteger,
  addIntegerSquare,
  decodeIntegerSum,
  emptyIntegerSum,
  encodeIntegerSum,
  integerSumTotal,
  isSmallSum,
  mergeIntegerSums,
  type IntegerSum,
} from '../integer-sum.ts'
import { ratioToNumber, scaledRatioToNumber } from '../rounding.ts'
import type { ByteReader, ByteWriter, Cell } from '../types.ts'
import type { NumericType } from './input-types.ts'

/** Exact sums and sums of squares of the cells of one type. `add` and `addSquare` change the sum; `merge` does not. */
export interface SumDomain<S> {
  empty(): S
  add(sum: S, cell: Cell): void
  addSquare(sum: S, cell: Cell): void
  merge(left: S, right: S): S
  encode(sum: S, out: ByteWriter): void
  decode(input: ByteReader): S
  /** The sum as authors see it. */
  value(sum: S): number | bigint
  /** `sum / count`, rounded once; `count` is positive. */
  mean(sum: S, count: number): number
  /** `(count·squares − sum²) / (count·divisor)`, rounded once; NaN when a term was not finite. */
  variance(sum: S, squares: S, count: number, divisor: number): number
}

/** A function over a domain whose state type it must not know. */
export type OverDomain<R> = <S>(domain: SumDomain<S>) => R

/** Calls `use` with the domain of a numeric type. */
export function withSumDomain<R>(type: NumericType, use: OverDomain<R>): R {
  if (type.kind === 'double') return use(DOUBLES)
  if (type.kind === 'int64') return use(BIG_INTEGERS)
  if (type.kind === 'boolean') return use(BOOLEANS)
  return use(integers(type.kind === 'decimal' ? type.scale : 0))
}

/** Safe integers that stand for `cell / 10^scale`. */
function integers(scale: number): SumDomain<IntegerSum> {
  const unit = 10 ** scale
  return {
    empty: emptyIntegerSum,
    add: (sum, cell) => addInteger(sum, cell as number),
    addSquare: (sum, cell) => addIntegerSquare(sum, cell as number),
    merge: mergeIntegerSums,
    encode: encodeIntegerSum,
    decode: decodeIntegerSum,
    value: sum => (isSmallSum(sum) ? sum.small / unit : ratioToNumber(integerSumTotal(sum), BigInt(unit))),
    mean: (sum, count) => integerMean(sum, count, unit),
    variance: (sum, squares, count, divisor) => integerVariance(sum, squares, count, divisor, unit),
  }
}

const BOOLEANS: SumDomain<IntegerSum> = {
  ...integers(0),
  add: (sum, cell) => addInteger(sum, cell === true ? 1 : 0),
  addSquare: (sum, cell) => addInteger(sum, cell === true ? 1 : 0),
}

const BIG_INTEGERS: SumDomain<IntegerSum> = {
  ...integers(0),
  add: (sum, cell) => addBigInteger(sum, cell as bigint),
  addSquare: (sum, cell) => addBigInteger(sum, (cell as bigint) * (cell as bigint)),
  value: integerSumTotal,
}

const DOUBLES: SumDomain<ExactSum> = {
  empty: emptyExactSum,
  add: (sum, cell) => addDouble(sum, cell as number),
  addSquare: (sum, cell) => addDoubleSquare(sum, cell as number),
  merge: mergeExactSums,
  encode: encodeExactSum,
  decode: decodeExactSum,
  value: exactSumToNumber,
  mean: exactSumOver,
  variance: doubleVariance,
}

function integerMean(sum: IntegerSum, count: number, unit: number): number {
  const divisor = count * unit
  if (isSmallSum(sum) && divisor <= Number.MAX_SAFE_INTEGER) return sum.small / divisor
  return ratioToNumber(integerSumTotal(sum), BigInt(count) * BigInt(unit))
}

function integerVariance(sum: IntegerSum, squares: IntegerSum, count: number, divisor: number, unit: number): number {
  if (isSmallSum(sum) && isSmallSum(squares)) {
    const minuend = count * squares.small
    const subtrahend = sum.small * sum.small
    const denominator = count * divisor * unit * unit
    if (minuend <= Number.MAX_SAFE_INTEGER && denominator <= Number.MAX_SAFE_INTEGER) {
      return (minuend - subtrahend) / denominator
    }
  }
  const total = integerSumTotal(sum)
  const numerator = BigInt(count) * integerSumTotal(squares) - total * total
  return ratioToNumber(numerator, BigInt(count) * BigInt(divisor) * BigInt(unit) ** 2n)
}

function doubleVariance(sum: ExactSum, squares: ExactSum, count: number, divisor: number): number {
  if (notFiniteTotal(squares) !== null) return NaN
  const first = exactTotal(sum)
  const second = exactTotal(squares)
  const exponent = Math.min(2 * first.exponent, second.exponent)
  const numerator =
    ((BigInt(count) * second.mantissa) << BigInt(second.exponent - exponent)) -
    ((first.mantissa * first.mantissa) << BigInt(2 * first.exponent - exponent))
  return scaledRatioToNumber(numerator, BigInt(count) * BigInt(divisor), exponent)
}
