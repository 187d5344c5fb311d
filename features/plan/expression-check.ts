import type { DraftExpression } from '../define/expressions.ts'
import { draftOf } from '../define/expressions.ts'
import type { FieldType } from '../kernel/types.ts'
import { Refusal } from './event-codes.ts'
import { cellReader } from './event-fields.ts'
import type { Expression, FieldOwner, FieldPlan } from './plan.ts'

/** A checked expression with the fields it looks at, or all that is wrong with it. */
export type CheckedExpression =
  | { readonly ok: true; readonly expression: Expression; readonly fields: readonly string[] }
  | { readonly ok: false; readonly messages: readonly string[] }

interface Typed {
  readonly expression: Expression
  /** null for a literal that was refused or a field that is not there: said already. */
  readonly type: FieldType | null
}

interface Context {
  readonly source: FieldOwner
  readonly messages: string[]
  readonly fields: Set<string>
}

const CONDITION: FieldType = { kind: 'boolean' }
const NOTHING: Typed = { expression: { op: 'literal', type: CONDITION, value: null }, type: null }

/** Bound on the nodes of one expression. */
const MAX_NODES = 1000

/** Gives literals the types of the fields they stand beside, and checks that the whole is a yes-or-no expression. */
export function checkExpression(draft: unknown, source: FieldOwner): CheckedExpression {
  const context: Context = { source, messages: [], fields: new Set() }
  const given = draftOf(draft)
  if (countNodes(given) > MAX_NODES) return { ok: false, messages: [`it has more than ${MAX_NODES} parts`] }
  const { expression, type } = check(given, context)
  if (type !== null && type.kind !== 'boolean') context.messages.push(`it is ${typeName(type)}, not a condition`)
  if (context.messages.length > 0) return { ok: false, messages: context.messages }
  return { ok: true, expression, fields: [...context.fields].sort() }
}

function countNodes(draft: DraftExpression): number {
  let nodes = 0
  const pending: unknown[] = [draft]
  while (pending.length > 0 && nodes <= MAX_NODES) {
    const node = pending.pop()
    if (typeof node !== 'object' || node === null) continue
    nodes++
    for (const part of Object.values(node)) pending.push(...(Array.isArray(part) ? (part as unknown[]) : [part]))
  }
  return nodes
}

function check(draft: DraftExpression, context: Context): Typed {
  switch (draft?.op) {
    case 'field':
      return checkField(draft.name, context)
    case 'literal':
      return checkLiteral(draft.value, CONDITION, context)
    case 'and':
    case 'or':
      return condition({ op: draft.op, terms: draft.terms.map(term => checkCondition(term, context)) })
    case 'not':
      return condition({ op: 'not', term: checkCondition(draft.term, context) })
    case 'isNull':
      return condition({ op: 'isNull', term: check(draft.term, context).expression })
    case 'in':
      return checkIn(draft, context)
    case 'startsWith': {
      const term = check(draft.term, context)
      if (term.type !== null && term.type.kind !== 'string') {
        context.messages.push(`startsWith takes a string, not ${typeName(term.type)}`)
      }
      const prefix = checkLiteral(draft.prefix, { kind: 'string' }, context)
      const text = prefix.expression.op === 'literal' ? prefix.expression.value : ''
      return condition({ op: 'startsWith', term: term.expression, prefix: typeof text === 'string' ? text : '' })
    }
    case 'eq':
    case 'ne':
    case 'lt':
    case 'le':
    case 'gt':
    case 'ge':
      return checkComparison(draft, context)
    default:
      context.messages.push('it is not an expression over the columns of `e`')
      return NOTHING
  }
}

function condition(expression: Expression): Typed {
  return { expression, type: CONDITION }
}

function checkCondition(draft: DraftExpression, context: Context): Expression {
  const { expression, type } = check(draft, context)
  if (type !== null && type.kind !== 'boolean') context.messages.push(`${typeName(type)} is not a condition`)
  return expression
}

/** Where the field is missing the message says which there are. */
function checkField(name: string, context: Context): Typed {
  const field = context.source.fields.find(each => each.name === name)
  if (field === undefined) {
    context.messages.push(unknownField(name, context.source.fields))
    return NOTHING
  }
  context.fields.add(name)
  return { expression: { op: 'field', name }, type: field.type }
}

/** Such as `there is no field "amout"; there are amount, cardId`. */
export function unknownField(name: unknown, fields: readonly FieldPlan[]): string {
  return `there is no field ${JSON.stringify(name) ?? String(name)}; there are ${fields.map(field => field.name).join(', ')}`
}

function checkLiteral(value: unknown, type: FieldType, context: Context): Typed {
  if (type.kind === 'vector') {
    context.messages.push('vectors cannot be compared, only tested with isNull()')
    return NOTHING
  }
  if (value === null || value === undefined) {
    context.messages.push('a comparison with null is never true: use isNull() or isNotNull()')
    return NOTHING
  }
  if (typeof value === 'number' && !Number.isFinite(value)) {
    context.messages.push(`a comparison with ${value} is never useful`)
    return NOTHING
  }
  const cell = cellReader(type)(value)
  if (cell instanceof Refusal) {
    context.messages.push(cell.reason)
    return NOTHING
  }
  const plain = typeof cell === 'bigint' ? String(cell) : (cell as string | number | boolean)
  return { expression: { op: 'literal', type, value: plain }, type }
}

function checkComparison(draft: Extract<DraftExpression, { readonly left: DraftExpression }>, context: Context): Typed {
  const left = check(draft.left, context)
  const right =
    draft.right?.op === 'literal'
      ? checkLiteral(draft.right.value, left.type ?? CONDITION, left.type === null ? ignoring(context) : context)
      : check(draft.right, context)
  if (left.type !== null && right.type !== null) {
    if (typeName(left.type) !== typeName(right.type)) {
      context.messages.push(`${typeName(left.type)} cannot be compared with ${typeName(right.type)}`)
    } else if (left.type.kind === 'vector') {
      context.messages.push('vectors cannot be compared, only tested with isNull()')
    } else if (left.type.kind === 'boolean' && draft.op !== 'eq' && draft.op !== 'ne') {
      context.messages.push('booleans have no order: use isTrue() or isFalse()')
    }
  }
  return condition({ op: draft.op, left: left.expression, right: right.expression })
}

function checkIn(draft: Extract<DraftExpression, { readonly op: 'in' }>, context: Context): Typed {
  const term = check(draft.term, context)
  if (draft.values.length === 0) context.messages.push('in([]) is never true: list at least one value')
  const type = term.type ?? CONDITION
  const literals = draft.values.map(value => {
    if (value?.op === 'literal')
      return checkLiteral(value.value, type, term.type === null ? ignoring(context) : context)
    context.messages.push('in() takes plain values, not columns')
    return NOTHING
  })
  return condition({ op: 'in', term: term.expression, values: literals.map(literal => literal.expression) })
}

/** What follows from a problem that was already said is not said again. */
function ignoring(context: Context): Context {
  return { ...context, messages: [] }
}

/** Such as `decimal(2)`, `vector(3)` or `string`. */
export function typeName(type: FieldType): string {
  if (type.kind === 'decimal') return `decimal(${type.scale})`
  return type.kind === 'vector' ? `vector(${type.length})` : type.kind
}
