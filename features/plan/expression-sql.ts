import { sqlDouble, sqlString } from '../kernel/aggregators/literal-sql.ts'
import type { FieldType } from '../kernel/types.ts'
import { decimalText } from './event.ts'
import type { Expression, FieldOwner } from './plan.ts'

export { sqlString } from '../kernel/aggregators/literal-sql.ts'

/**
 * The ClickHouse column type that holds a field's values, `Nullable` where it is optional. A decimal is a `Decimal`
 * of 18 digits (its author value, not the scaled integer), a timestamp Int64 milliseconds. Arrays are never Nullable:
 * a missing vector is the empty array.
 */
export function clickHouseType(type: FieldType, optional: boolean): string {
  const name = plainType(type)
  return optional && type.kind !== 'vector' ? `Nullable(${name})` : name
}

function plainType(type: FieldType): string {
  switch (type.kind) {
    case 'string':
      return 'String'
    case 'boolean':
      return 'Bool'
    case 'int':
    case 'int64':
    case 'timestamp':
      return 'Int64'
    case 'double':
      return 'Float64'
    case 'decimal':
      return `Decimal(18, ${type.scale})`
    case 'vector':
      return 'Array(Float64)'
  }
}

/** A name as ClickHouse reads it: back-quoted, with back-quotes and backslashes escaped. */
export function sqlIdentifier(name: string): string {
  return `\`${name.replaceAll('\\', '\\\\').replaceAll('`', '\\`')}\``
}

const COMPARATORS = { eq: '=', ne: '!=', lt: '<', le: '<=', gt: '>', ge: '>=' } as const

/**
 * The expression as a ClickHouse expression of type Nullable(Bool) or Bool, with the answers of `compileExpression`,
 * over columns of the types of `clickHouseType`.
 * @param column how a field is written; its back-quoted name by default
 */
export function expressionToSql(
  expression: Expression,
  source: FieldOwner,
  column: (field: string) => string = sqlIdentifier,
): string {
  const sql = (term: Expression): string => expressionToSql(term, source, column)
  switch (expression.op) {
    case 'field':
      return column(expression.name)
    case 'literal':
      return literalSql(expression)
    case 'and':
    case 'or':
      return joined(expression.op, expression.terms.map(sql))
    case 'not':
      return `(NOT ${sql(expression.term)})`
    case 'isNull':
      return isNullSql(expression.term, source, sql(expression.term))
    case 'in': {
      // What IN answers for a missing value depends on a setting; equality does not.
      const term = sql(expression.term)
      return joined(
        'or',
        expression.values.map(value => `(${term} = ${sql(value)})`),
      )
    }
    case 'startsWith':
      return `startsWith(${sql(expression.term)}, ${sqlString(expression.prefix)})`
    default:
      return `(${sql(expression.left)} ${COMPARATORS[expression.op]} ${sql(expression.right)})`
  }
}

function joined(op: 'and' | 'or', terms: readonly string[]): string {
  if (terms.length === 0) return op === 'and' ? 'true' : 'false'
  return `(${terms.join(op === 'and' ? ' AND ' : ' OR ')})`
}

function isNullSql(term: Expression, source: FieldOwner, sql: string): string {
  const field = term.op === 'field' ? source.fields.find(each => each.name === term.name) : undefined
  return field?.type.kind === 'vector' ? `empty(${sql})` : `isNull(${sql})`
}

function literalSql(literal: Extract<Expression, { readonly op: 'literal' }>): string {
  const { type, value } = literal
  if (value === null) return 'NULL'
  if (typeof value === 'string') return type.kind === 'int64' ? `toInt64(${sqlString(value)})` : sqlString(value)
  if (typeof value === 'boolean') return String(value)
  if (type.kind === 'decimal') return `toDecimal64(${sqlString(decimalText(value, type.scale))}, ${type.scale})`
  if (type.kind === 'double') return sqlDouble(value)
  return `toInt64(${value})`
}
