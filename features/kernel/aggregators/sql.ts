import type { FieldType } from '../types.ts'
import type { NumericType } from './input-types.ts'
import { sqlDouble } from './literal-sql.ts'

/*
 * Names made here start with `hw_`. A lambda reads what it captures once per element, so whatever a lambda needs that is
 * an expression or an array is bound before; a body that is bound mentions bound names only, never the caller's text.
 */

/** `body`, in which `hw_<name>` stands for the value of `expression`; that is computed once. */
export function bindSql(name: string, expression: string, body: string): string {
  return bindAllSql({ [name]: expression }, body)
}

/** As `bindSql` for several names at once, whose expressions do not see each other. */
export function bindAllSql(bindings: Readonly<Record<string, string>>, body: string): string {
  const names = Object.keys(bindings).map(name => `hw_${name}`)
  const values = Object.values(bindings).map(expression => `[${expression}]`)
  return `arrayMap((${names.join(', ')}) -> ${body}, ${values.join(', ')})[1]`
}

/** A present cell as an answer shows it: a decimal as Float64, the rest as it is. */
export function shownSql(type: FieldType, cell: string): string {
  return type.kind === 'decimal' ? `toFloat64(${cell})` : cell
}

/** An array of present cells as an answer shows them. */
export function shownListSql(type: FieldType, cells: string): string {
  return type.kind === 'decimal' ? `arrayMap(hw_x -> toFloat64(hw_x), ${cells})` : cells
}

/** The array without NaN. */
export function withoutNanSql(type: FieldType, cells: string): string {
  return type.kind === 'double' ? `arrayFilter(hw_x -> not isNaN(hw_x), ${cells})` : cells
}

/** 2^−64: no sum of this share of doubles overflows. */
export const SHRINK_SQL = sqlDouble(2 ** -64)
/** 2^64. */
export const GROW_SQL = sqlDouble(2 ** 64)

/**
 * The sum of an array of doubles, compensated; with NaN or infinities among them as IEEE 754 adds them, and infinite
 * only where the sum itself is, whatever the sums on the way to it.
 */
export function doubleSumSql(values: string): string {
  return doubleTotalSql(values, null)
}

/** The sum of an array of doubles as `doubleSumSql` adds them, divided by a number: infinite only where that is. */
export function doubleQuotientSql(values: string, divisor: string): string {
  return doubleTotalSql(values, divisor)
}

function doubleTotalSql(values: string, divisor: string | null): string {
  const over = divisor === null ? '' : '/ hw_n'
  const bindings = {
    notFinite: 'arraySum(arrayFilter(hw_x -> not isFinite(hw_x), hw_terms))',
    small: `arrayReduce('sumKahan', arrayMap(hw_x -> hw_x * ${SHRINK_SQL}, hw_terms))`,
  }
  const wide = bindAllSql(bindings, `if(hw_notFinite = 0, hw_small ${over} * ${GROW_SQL}, hw_notFinite)`)
  const total = bindSql(
    'total',
    `arrayReduce('sumKahan', hw_terms)`,
    `if(isFinite(hw_total), hw_total ${over}, ${wide})`,
  )
  return bindAllSql(divisor === null ? { terms: values } : { terms: values, n: divisor }, total)
}

/** The sum of an array of numeric cells: exact (Int256 or Decimal) except for doubles. */
export function sumSql(type: NumericType, cells: string): string {
  if (type.kind === 'double') return doubleSumSql(cells)
  if (type.kind === 'decimal') return `arrayReduce('sum', ${cells})`
  return `arrayReduce('sum', arrayMap(hw_x -> toInt256(hw_x), ${cells}))`
}

/** The least power of two that a double is divided by: numbers below it are subnormal. */
const SMALLEST_POWER_BITS = 2n ** 52n
const EXPONENT_BITS = 0x7ffn << 52n

/** The greatest power of two that is not above any double's size: its bits without sign and fraction. */
function powerOfTwoSql(size: string): string {
  const bits = `bitAnd(reinterpretAsUInt64(${size}), toUInt64('${EXPONENT_BITS}'))`
  return `reinterpretAsFloat64(greatest(${bits}, toUInt64('${SMALLEST_POWER_BITS}')))`
}

/**
 * `body`, in which `hw_deviations` is the array of the values' differences from their mean in units of `hw_unit`, as
 * Float64, `hw_n` their number; NULL below `least` values. The first value is taken off before the mean is, exactly for
 * all but doubles, so that equal values deviate by exactly 0 and a great mean costs no digits. The unit is 1, for doubles
 * a power of two near the greatest of their sizes, so that no difference and no square of one overflows.
 */
export function deviationsSql(type: NumericType, cells: string, least: number, body: string): string {
  const isDouble = type.kind === 'double'
  const asIs = isDouble || type.kind === 'decimal'
  const wide = asIs ? 'hw_x' : 'toInt256(hw_x)'
  const origin = asIs ? 'hw_cells[1]' : 'toInt256(hw_cells[1])'
  const kahan = `arrayReduce('sumKahan', hw_shifted)`
  const centred = bindSql(
    'mean',
    `${kahan} / length(hw_shifted)`,
    bindSql('deviations', 'arrayMap(hw_x -> hw_x - hw_mean, hw_shifted)', bindSql('n', 'length(hw_deviations)', body)),
  )
  const shifted = bindSql('shifted', `arrayMap(hw_x -> toFloat64(${wide} - hw_origin), hw_cells)`, centred)
  const present = `if(length(hw_cells) < ${least}, NULL, ${bindSql('origin', origin, shifted)})`
  if (!isDouble) return bindAllSql({ cells, unit: 'toFloat64(1)' }, present)
  const scaled = bindSql('cells', 'arrayMap(hw_x -> hw_x / hw_unit, hw_doubles)', present)
  const size = 'arrayMax(arrayMap(hw_x -> abs(hw_x), hw_doubles))'
  return bindSql('doubles', cells, bindSql('unit', powerOfTwoSql(size), scaled))
}

/**
 * As `deviationsSql`, with the deviations divided by the greatest of their sizes, so that their powers neither over- nor
 * underflow; NULL without spread and NaN when a value is not finite.
 */
export function scaledDeviationsSql(type: NumericType, cells: string, least: number, body: string): string {
  const scaled = bindSql(
    'scale',
    'arrayMax(arrayMap(hw_x -> abs(hw_x), hw_deviations))',
    `if(hw_scale = 0, NULL, ${bindSql('scaled', 'arrayMap(hw_x -> hw_x / hw_scale, hw_deviations)', body)})`,
  )
  return deviationsSql(type, cells, least, `if(arrayExists(hw_x -> not isFinite(hw_x), hw_deviations), nan, ${scaled})`)
}

/** The mean of the given power of `hw_scaled`. */
export function scaledMomentSql(power: 2 | 3 | 4): string {
  return `arrayReduce('sumKahan', arrayMap(hw_x -> ${Array(power).fill('hw_x').join(' * ')}, hw_scaled)) / hw_n`
}
