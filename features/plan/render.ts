import type { Window } from '../kernel/types.ts'
import { typeName } from './expression-check.ts'
import type { Expression, FeaturePlan, GroupPlan, Plan, ServicePlan, SourcePlan } from './plan.ts'

const HASH_DIGITS = 12

/** The plan as readable text: the same text for the same plan. */
export function renderPlan(plan: Plan): string {
  const blocks = [
    [`plan ${short(plan.hash)}`],
    ...plan.sources.map(sourceLines),
    ...plan.entities.map(entity => [`entity ${entity.name} by ${entity.keyField}${described(entity)}`]),
    ...plan.groups.map(groupLines),
    ...plan.services.map(serviceLines),
  ]
  return `${blocks.map(lines => lines.join('\n')).join('\n\n')}\n`
}

function short(hash: string): string {
  return hash.slice(0, HASH_DIGITS)
}

function described(of: { readonly description: string }): string {
  return of.description === '' ? '' : `: ${of.description}`
}

function sourceLines(source: SourcePlan): string[] {
  const marks = (name: string): string =>
    [
      name === source.idField ? 'id' : '',
      name === source.timeField ? 'time' : '',
      name === source.keyField ? 'record key' : '',
    ]
      .filter(mark => mark !== '')
      .join(', ')
  const rows = source.fields.map(field => [
    field.name,
    field.optional ? `optional ${typeName(field.type)}` : typeName(field.type),
    marks(field.name),
    field.description,
  ])
  return [
    `event ${source.name}${described(source)}`,
    `  topic ${source.topic} with ${source.partitions} partitions, lateness ${durationText(source.latenessMs)}, read back ${durationText(source.readBackMs)}, clock skew ${durationText(source.clockSkewMs)}, unknown fields: ${source.unknownFields}`,
    ...table(rows),
  ]
}

function groupLines(group: GroupPlan): string[] {
  const rows = group.features.map(feature => [
    feature.name,
    aggregatorText(feature),
    windowText(feature.window),
    feature.include === 'current' ? '' : feature.include,
    feature.whenEmpty === null
      ? feature.valueType
      : `${feature.valueType} (empty: ${JSON.stringify(feature.whenEmpty)})`,
    `state ${short(feature.stateHash)}`,
    `definition ${short(feature.definitionHash)}`,
    feature.description,
  ])
  return [
    `group ${group.name} of ${group.entity} by ${group.keyField} from ${group.source}, stale after ${durationText(group.maxAgeMs)}${described(group)}`,
    ...table(rows),
  ]
}

function serviceLines(service: ServicePlan): string[] {
  const { policy } = service
  return [
    `service ${service.name} for ${service.request}${described(service)}`,
    `  groups   ${service.groups.join(', ') || 'none'}`,
    `  derived  ${service.derived.join(', ') || 'none'}`,
    `  model    ${service.model ?? 'none'}`,
    `  policy   ${policy === null ? 'none' : `${policy.name} ${policy.version}: ${policy.outcomes.join(' < ')}`}`,
    `  definition ${short(service.definitionHash)}, code ${short(service.bundleHash)}`,
  ]
}

/** Rows as aligned columns; columns that are empty everywhere are left out. */
function table(rows: readonly (readonly string[])[]): string[] {
  const widths = (rows[0] ?? []).map((_, column) => Math.max(...rows.map(row => (row[column] ?? '').length)))
  return rows.map(row => {
    const cells = row.map((cell, column) =>
      (widths[column] ?? 0) === 0 ? '' : `  ${cell.padEnd(widths[column] ?? 0)}`,
    )
    return cells.join('').trimEnd()
  })
}

function aggregatorText(feature: FeaturePlan): string {
  const params = Object.entries(feature.aggregator.params).map(([name, value]) => `${name}: ${value}`)
  const args = [...(feature.input === null ? [] : [feature.input]), ...params].join(', ')
  const where = feature.where === null ? '' : ` where ${expressionText(feature.where)}`
  return `${feature.aggregator.family}(${args})${where}`
}

function windowText(window: Window): string {
  const length = window.kind === 'lifetime' ? 'lifetime' : durationText(window.lengthMs)
  return window.delayMs === 0 ? length : `${length}, delay ${durationText(window.delayMs)}`
}

const UNITS = [
  ['d', 86_400_000],
  ['h', 3_600_000],
  ['m', 60_000],
] as const

/** Milliseconds in the largest unit that divides them: `7d`, `90m`, `30s`. */
export function durationText(ms: number): string {
  for (const [unit, size] of UNITS) if (ms !== 0 && ms % size === 0) return `${ms / size}${unit}`
  return ms % 1000 === 0 ? `${ms / 1000}s` : `${ms}ms`
}

const SYMBOLS = { eq: '=', ne: '≠', lt: '<', le: '≤', gt: '>', ge: '≥' } as const

/** An expression as a reader writes it; decimals are shown as their authors wrote them. */
export function expressionText(expression: Expression): string {
  switch (expression.op) {
    case 'field':
      return expression.name
    case 'literal': {
      const { type, value } = expression
      if (type.kind === 'decimal' && typeof value === 'number') return String(value / 10 ** type.scale)
      return type.kind === 'int64' ? String(value) : JSON.stringify(value)
    }
    case 'and':
    case 'or':
      return `(${expression.terms.map(expressionText).join(` ${expression.op} `)})`
    case 'not':
      return `not ${expressionText(expression.term)}`
    case 'isNull':
      return `${expressionText(expression.term)} is null`
    case 'in':
      return `${expressionText(expression.term)} in [${expression.values.map(expressionText).join(', ')}]`
    case 'startsWith':
      return `${expressionText(expression.term)} starts with ${JSON.stringify(expression.prefix)}`
    default:
      return `${expressionText(expression.left)} ${SYMBOLS[expression.op]} ${expressionText(expression.right)}`
  }
}
