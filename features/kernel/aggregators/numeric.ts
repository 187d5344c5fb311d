import { addDoubleCube, addDoubleFourth } from '../exact-powers.ts'
import {
  absorbExactSum,
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
  absorbIntegerSum,
  addBigInteger,
  addInteger,
  addIntegerCube,
  addIntegerFourth,
  addIntegerSquare,
  decodeIntegerSum,
  emptyIntegerSum,
  encodeIntegerSum,
  integerSumTotal,
  isSmallSum,
  mergeIntegerSums,
  type IntegerSum,
} from '../integer-sum.ts'
import { safeRatioRoot, scaledRatioRoot } from '../ratio-root.ts'
import { ratioToNumber, scaledRatioToNumber } from '../rounding.ts'
import type { ByteReader, ByteWriter, Cell } from '../types.ts'
import type { Algebra } from './descriptor.ts'
import type { NumericType } from './input-types.ts'

/**
 * Exact sums of powers of the cells of one type. The methods that add, and `absorb`, change the sum; `merge` does not.
 */
export interface SumDomain<S> {
  empty(): S
  add(sum: S, cell: Cell): void
  addSquare(sum: S, cell: Cell): void
  addCube(sum: S, cell: Cell): void
  addFourth(sum: S, cell: Cell): void
  merge(left: S, right: S): S
  encode(sum: S, out: ByteWriter): void
  decode(input: ByteReader): S
  /** Adds what `encode` wrote. */
  absorb(sum: S, input: ByteReader): void
  /** The sum as authors see it. */
  value(sum: S): number | bigint
  /** A sum of squares as authors see it. */
  squareValue(squares: S): number | bigint
  /** `sum / count`, rounded once; `count` is positive. */
  mean(sum: S, count: number): number
  /** `(count·squares − sum²) / (count·divisor)`, rounded once; NaN when a term was not finite. */
  variance(sum: S, squares: S, count: number, divisor: number): number
  /** The square root of that, itself rounded once; NaN when a term was not finite. */
  deviation(sum: S, squares: S, count: number, divisor: number): number
  /** The sum in units of the scaled cells as `mantissa · 2^exponent`; null when a term was not finite. */
  exact(sum: S): ScaledInteger | null
}

/** `mantissa · 2^exponent`. */
export interface ScaledInteger {
  readonly mantissa: bigint
  readonly exponent: number
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

/** From a present cell of a numeric type to the nearest double of what authors see; a boolean is 0 or 1. */
export function cellToNumber(type: NumericType): (cell: Cell) => number {
  if (type.kind !== 'decimal') return Number
  const unit = 10 ** type.scale
  return cell => (cell as number) / unit
}

/** Safe integers that stand for `cell / 10^scale`. */
function integers(scale: number): SumDomain<IntegerSum> {
  const unit = 10 ** scale
  return {
    empty: emptyIntegerSum,
    add: (sum, cell) => addInteger(sum, cell as number),
    addSquare: (sum, cell) => addIntegerSquare(sum, cell as number),
    addCube: (sum, cell) => addIntegerCube(sum, cell as number),
    addFourth: (sum, cell) => addIntegerFourth(sum, cell as number),
    merge: mergeIntegerSums,
    encode: encodeIntegerSum,
    decode: decodeIntegerSum,
    absorb: absorbIntegerSum,
    value: sum => (isSmallSum(sum) ? sum.small / unit : ratioToNumber(integerSumTotal(sum), BigInt(unit))),
    squareValue: squares => ratioToNumber(integerSumTotal(squares), BigInt(unit) ** 2n),
    mean: (sum, count) => integerMean(sum, count, unit),
    variance: (sum, squares, count, divisor) => integerSpread(sum, squares, count, divisor, unit, QUOTIENT),
    deviation: (sum, squares, count, divisor) => integerSpread(sum, squares, count, divisor, unit, ROOT),
    exact: sum => ({ mantissa: integerSumTotal(sum), exponent: 0 }),
  }
}

const addBoolean = (sum: IntegerSum, cell: Cell): void => addInteger(sum, cell === true ? 1 : 0)

const BOOLEANS: SumDomain<IntegerSum> = {
  ...integers(0),
  add: addBoolean,
  addSquare: addBoolean,
  addCube: addBoolean,
  addFourth: addBoolean,
}

const BIG_INTEGERS: SumDomain<IntegerSum> = {
  ...integers(0),
  add: (sum, cell) => addBigInteger(sum, cell as bigint),
  addSquare: (sum, cell) => addBigInteger(sum, (cell as bigint) ** 2n),
  addCube: (sum, cell) => addBigInteger(sum, (cell as bigint) ** 3n),
  addFourth: (sum, cell) => addBigInteger(sum, (cell as bigint) ** 4n),
  value: integerSumTotal,
  squareValue: integerSumTotal,
}

const DOUBLES: SumDomain<ExactSum> = {
  empty: emptyExactSum,
  add: (sum, cell) => addDouble(sum, cell as number),
  addSquare: (sum, cell) => addDoubleSquare(sum, cell as number),
  addCube: (sum, cell) => addDoubleCube(sum, cell as number),
  addFourth: (sum, cell) => addDoubleFourth(sum, cell as number),
  merge: mergeExactSums,
  encode: encodeExactSum,
  decode: decodeExactSum,
  absorb: absorbExactSum,
  value: exactSumToNumber,
  squareValue: exactSumToNumber,
  mean: exactSumOver,
  variance: (sum, squares, count, divisor) => doubleSpread(sum, squares, count, divisor, QUOTIENT),
  deviation: (sum, squares, count, divisor) => doubleSpread(sum, squares, count, divisor, ROOT),
  exact: sum => (notFiniteTotal(sum) === null ? exactTotal(sum) : null),
}

function integerMean(sum: IntegerSum, count: number, unit: number): number {
  const divisor = count * unit
  if (isSmallSum(sum) && divisor <= Number.MAX_SAFE_INTEGER) return sum.small / divisor
  return ratioToNumber(integerSumTotal(sum), BigInt(count) * BigInt(unit))
}

/** A function of a ratio that is not negative, rounded once. */
interface OfRatio {
  /** Of safe integers. */
  safe(numerator: number, denominator: number): number
  /** Of `numerator / denominator · 2^exponent`. */
  wide(numerator: bigint, denominator: bigint, exponent: number): number
}

const QUOTIENT: OfRatio = { safe: (numerator, denominator) => numerator / denominator, wide: scaledRatioToNumber }
const ROOT: OfRatio = { safe: safeRatioRoot, wide: scaledRatioRoot }

function integerSpread(
  sum: IntegerSum,
  squares: IntegerSum,
  count: number,
  divisor: number,
  unit: number,
  ofRatio: OfRatio,
): number {
  if (isSmallSum(sum) && isSmallSum(squares)) {
    const minuend = count * squares.small
    const subtrahend = sum.small * sum.small
    const denominator = count * divisor * unit * unit
    if (minuend <= Number.MAX_SAFE_INTEGER && denominator <= Number.MAX_SAFE_INTEGER) {
      return ofRatio.safe(minuend - subtrahend, denominator)
    }
  }
  const total = integerSumTotal(sum)
  const numerator = BigInt(count) * integerSumTotal(squares) - total * total
  return ofRatio.wide(numerator, BigInt(count) * BigInt(divisor) * BigInt(unit) ** 2n, 0)
}

function doubleSpread(sum: ExactSum, squares: ExactSum, count: number, divisor: number, ofRatio: OfRatio): number {
  if (notFiniteTotal(squares) !== null) return NaN
  const first = exactTotal(sum)
  const second = exactTotal(squares)
  const exponent = Math.min(2 * first.exponent, second.exponent)
  const numerator =
    ((BigInt(count) * second.mantissa) << BigInt(second.exponent - exponent)) -
    ((first.mantissa * first.mantissa) << BigInt(2 * first.exponent - exponent))
  return ofRatio.wide(numerator, BigInt(count) * BigInt(divisor), exponent)
}

/** The algebra of one exact sum: of what `add` puts in for each cell, as `value` shows it. */
export function exactSumAlgebra<S>(
  domain: SumDomain<S>,
  add: (sum: S, cell: Cell) => void,
  value: (sum: S) => number | bigint,
): Algebra<S> {
  return {
    empty: domain.empty,
    add: (state, input) => {
      if (input.cell !== null) add(state, input.cell)
      return state
    },
    merge: domain.merge,
    result: value,
    encode: domain.encode,
    decode: domain.decode,
    absorb: (state, input) => {
      domain.absorb(state, input)
      return state
    },
  }
}
