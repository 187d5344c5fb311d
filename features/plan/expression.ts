import { compareUtf8 } from '../kernel/order.ts'
import type { Cell, FieldType } from '../kernel/types.ts'
import type { Expression, FieldOwner } from './plan.ts'

/** An expression over the cells of an event, in the source's field order. Null is unknown. */
export type RowFilter = (cells: readonly Cell[]) => boolean | null

type Evaluate = (cells: readonly Cell[]) => Cell
type Present = Exclude<Cell, null>
type Comparison = Extract<Expression, { readonly left: Expression }>

/**
 * Compiles a checked expression into closures. Comparison with null gives null; `and`, `or` and `not` follow SQL's
 * three-valued logic; strings are ordered by their UTF-8 bytes; NaN equals nothing and is in no order.
 * Throws `RangeError` for a field that the source does not have.
 */
export function compileExpression(expression: Expression, source: FieldOwner): RowFilter {
  switch (expression.op) {
    case 'and':
      return allOf(expression.terms.map(term => compileExpression(term, source)))
    case 'or':
      return anyOf(expression.terms.map(term => compileExpression(term, source)))
    case 'not': {
      const term = compileExpression(expression.term, source)
      return cells => {
        const value = term(cells)
        return value === null ? null : !value
      }
    }
    case 'isNull': {
      const term = compileValue(expression.term, source)
      return cells => term(cells) === null
    }
    case 'in':
      return isAmong(expression, source)
    case 'startsWith': {
      const term = compileValue(expression.term, source)
      const { prefix } = expression
      return cells => {
        const value = term(cells)
        return value === null ? null : (value as string).startsWith(prefix)
      }
    }
    case 'field':
    case 'literal': {
      const term = compileValue(expression, source)
      return cells => term(cells) as boolean | null
    }
    default:
      return comparison(expression, source)
  }
}

function allOf(terms: readonly RowFilter[]): RowFilter {
  return cells => {
    let result: boolean | null = true
    for (const term of terms) {
      const value = term(cells)
      if (value === false) return false
      if (value === null) result = null
    }
    return result
  }
}

function anyOf(terms: readonly RowFilter[]): RowFilter {
  return cells => {
    let result: boolean | null = false
    for (const term of terms) {
      const value = term(cells)
      if (value === true) return true
      if (value === null) result = null
    }
    return result
  }
}

function isAmong(expression: Extract<Expression, { readonly op: 'in' }>, source: FieldOwner): RowFilter {
  const term = compileValue(expression.term, source)
  const values: ReadonlySet<Cell> = new Set(
    expression.values.map(value => compileValue(value, source)([])).filter(value => value !== null),
  )
  return cells => {
    const value = term(cells)
    if (value === null) return null
    return values.has(value) && value === value
  }
}

/** A field or a literal; conditions are values too, of booleans. */
function compileValue(expression: Expression, source: FieldOwner): Evaluate {
  if (expression.op === 'field') {
    const index = source.fields.findIndex(field => field.name === expression.name)
    if (index < 0) throw new RangeError(`event "${source.name}" has no field "${expression.name}"`)
    return cells => cells[index] ?? null
  }
  if (expression.op === 'literal') {
    const { value } = expression
    const cell = expression.type.kind === 'int64' && typeof value === 'string' ? BigInt(value) : value
    return () => cell
  }
  return compileExpression(expression, source)
}

function comparison(expression: Comparison, source: FieldOwner): RowFilter {
  const left = compileValue(expression.left, source)
  const right = compileValue(expression.right, source)
  const test = tester(expression.op, operandType(expression.left, source))
  return cells => {
    const a = left(cells)
    if (a === null) return null
    const b = right(cells)
    return b === null ? null : test(a, b)
  }
}

function tester(op: Comparison['op'], type: FieldType | null): (a: Present, b: Present) => boolean {
  if (type?.kind === 'string' && op !== 'eq' && op !== 'ne') {
    const bySign = SIGN_TESTS[op]
    return (a, b) => bySign(compareUtf8(a as string, b as string))
  }
  return TESTS[op]
}

const SIGN_TESTS: Readonly<Record<'lt' | 'le' | 'gt' | 'ge', (sign: number) => boolean>> = {
  lt: sign => sign < 0,
  le: sign => sign <= 0,
  gt: sign => sign > 0,
  ge: sign => sign >= 0,
}

const TESTS: Readonly<Record<Comparison['op'], (a: Present, b: Present) => boolean>> = {
  eq: (a, b) => a === b,
  ne: (a, b) => a !== b,
  lt: (a, b) => a < b,
  le: (a, b) => a <= b,
  gt: (a, b) => a > b,
  ge: (a, b) => a >= b,
}

/** The type of an operand: that of its field or literal, null for a condition. */
function operandType(expression: Expression, source: FieldOwner): FieldType | null {
  if (expression.op === 'literal') return expression.type
  if (expression.op === 'field') return source.fields.find(field => field.name === expression.name)?.type ?? null
  return null
}
