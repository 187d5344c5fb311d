import type { SqlRows } from './descriptor.ts'
import type { NumericType } from './input-types.ts'
import { doubleQuotientSql, doubleSumSql } from './sql.ts'

const KEPT_HALF_LIVES = 63

/**
 * Σ over rows of `2^((time − origin) / h)`, with an input type times the value, leaving out what the kernel leaves
 * out: rows before (⌊newest / h⌋ − 63)·h. `origin` is an Int64 expression. What does not depend on the row comes in as
 * arrays of one repeated value, since a lambda that captures an array copies it for every element.
 */
export function decaySql(rows: SqlRows, halfLifeMs: number, origin: string, inputType: NumericType | null): string {
  if (inputType?.kind === 'double') return doubleSumSql(termsSql('arrayMap', rows, halfLifeMs, origin, inputType))
  return termsSql('arraySum', rows, halfLifeMs, origin, inputType)
}

/** The sum that `decaySql` gives of the values, over that of their weights; at least one row is needed. */
export function decayQuotientSql(rows: SqlRows, halfLifeMs: number, inputType: NumericType): string {
  const newest = `${rows.times}[-1]`
  const weights = termsSql('arraySum', rows, halfLifeMs, newest, null)
  if (inputType.kind !== 'double') return `${termsSql('arraySum', rows, halfLifeMs, newest, inputType)} / ${weights}`
  return doubleQuotientSql(termsSql('arrayMap', rows, halfLifeMs, newest, inputType), weights)
}

function termsSql(
  apply: 'arrayMap' | 'arraySum',
  rows: SqlRows,
  halfLifeMs: number,
  origin: string,
  inputType: NumericType | null,
): string {
  const { times, cells } = rows
  const newest = `${times}[-1]`
  const oldest = `${newest} - positiveModulo(${newest}, ${halfLifeMs}) - ${KEPT_HALF_LIVES * halfLifeMs}`
  const repeated = (value: string): string => `arrayWithConstant(length(${times}), ${value})`
  const weight = `exp2((tm - origin) / ${halfLifeMs})`
  const columns = `${times}, ${repeated(oldest)}, ${repeated(origin)}`
  if (inputType === null) return `${apply}((tm, oldest, origin) -> if(tm >= oldest, ${weight}, 0), ${columns})`
  const term = `if(tm >= oldest, toFloat64(x) * ${weight}, 0)`
  const guarded = inputType.kind === 'double' ? `if(isFinite(x), ${term}, x)` : term
  return `${apply}((x, tm, oldest, origin) -> ${guarded}, ${cells}, ${columns})`
}
