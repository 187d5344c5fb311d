import type { Cell, FieldType } from '../types.ts'
import { sqlDouble } from './literal-sql.ts'

/** Types whose values can be put between edges. */
export type EdgeType = Extract<FieldType, { readonly kind: 'int' | 'int64' | 'double' | 'decimal' | 'timestamp' }>

/** Whether values of the type can be put between edges. */
export function isEdgeType(type: FieldType | null): type is EdgeType {
  return type !== null && type.kind !== 'string' && type.kind !== 'boolean' && type.kind !== 'vector'
}

/**
 * The least cells at or above each edge. An edge is what the author wrote, the shortest decimal that gives the number:
 * 0.1 is one tenth for a decimal field, though no double is. For whole numbers and decimals that cell is exact: of an
 * edge between two units the upper one.
 */
export function edgeCells(type: EdgeType, edges: readonly number[]): readonly (number | bigint)[] {
  if (type.kind === 'double') return edges
  const scale = type.kind === 'decimal' ? type.scale : 0
  const units = edges.map(edge => ceilingInUnits(edge, scale))
  return type.kind === 'int64' ? units : units.map(Number)
}

/** How many of the ascending thresholds are at most the cell, which is not NaN. */
export function binOfCell(thresholds: readonly (number | bigint)[], cell: Cell): number {
  const value = cell as number | bigint
  let low = 0
  let high = thresholds.length
  while (low < high) {
    const middle = (low + high) >>> 1
    if (thresholds[middle]! <= value) low = middle + 1
    else high = middle
  }
  return low
}

/** The thresholds as a ClickHouse array that can be compared with cells of the type. */
export function thresholdsSql(type: EdgeType, edges: readonly number[]): string {
  if (type.kind === 'double') return `[${edges.map(sqlDouble).join(', ')}]`
  const scale = type.kind === 'decimal' ? type.scale : 0
  const limit = type.kind === 'int64' ? 2n ** 63n : 2n ** 53n
  const units = edges.map(edge => clamp(ceilingInUnits(edge, scale), limit))
  if (type.kind !== 'decimal') return `[${units.map(unit => `toInt128('${unit}')`).join(', ')}]`
  return `[${units.map(unit => `toDecimal64('${scaledText(unit, scale)}', ${scale})`).join(', ')}]`
}

/** The least whole number of units of 10^−scale that is not below the number's shortest decimal. */
function ceilingInUnits(value: number, scale: number): bigint {
  const [mantissa = '0', exponent = '0'] = value.toExponential().split('e')
  const [whole = '0', fraction = ''] = mantissa.split('.')
  const digits = BigInt(whole + fraction)
  const shift = Number(exponent) - fraction.length + scale
  if (shift >= 0) return digits * 10n ** BigInt(shift)
  const divisor = 10n ** BigInt(-shift)
  const quotient = digits / divisor
  return digits > 0n && quotient * divisor !== digits ? quotient + 1n : quotient
}

function clamp(value: bigint, limit: bigint): bigint {
  return value > limit ? limit : value < -limit ? -limit : value
}

function scaledText(units: bigint, scale: number): string {
  const digits = (units < 0n ? -units : units).toString().padStart(scale + 1, '0')
  const sign = units < 0n ? '-' : ''
  return scale === 0 ? sign + digits : `${sign}${digits.slice(0, -scale)}.${digits.slice(-scale)}`
}
