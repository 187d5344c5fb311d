import { AGGREGATORS } from '../kernel/aggregators/index.ts'
import type { ParamValue } from '../kernel/aggregators/index.ts'
import { bytesText } from './estimate.ts'
import type { Estimate, EntityRate } from './estimate.ts'
import { typeName } from './expression-check.ts'
import type { Expression, FeaturePlan, GroupPlan, Plan, ServicePlan, SourcePlan, UnionPlan } from './plan.ts'
import { durationText, windowText } from './window-text.ts'

const HASH_DIGITS = 12

/** The plan as readable text: the same text for the same plan. */
export function renderPlan(plan: Plan): string {
  const blocks = [
    [`plan ${short(plan.hash)}`],
    ...plan.sources.map(sourceLines),
    ...plan.unions.map(unionLines),
    ...plan.entities.map(entity => [`entity ${entity.name} by ${entity.keyFields.join(', ')}${described(entity)}`]),
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
    `  topic ${source.topic} with ${source.partitions} partitions, lateness ${durationText(source.latenessMs)}, read back ${durationText(source.readBackMs)}, clock skew ${durationText(source.clockSkewMs)}, unknown fields: ${source.unknownFields}${source.format === 'json' ? '' : `, format ${source.format}`}`,
    ...table(rows),
  ]
}

function unionLines(union: UnionPlan): string[] {
  const rows = union.fields.map(field => [
    field.name,
    field.optional ? `optional ${typeName(field.type)}` : typeName(field.type),
    ...union.members.map(member => `${member.source}.${member.fields[field.name] ?? ''}`),
    field.description,
  ])
  return [
    `union ${union.name} of ${union.members.map(member => member.source).join(', ')}${described(union)}`,
    ...table(rows),
  ]
}

function groupLines(group: GroupPlan): string[] {
  const rows = group.features.map(feature => [
    feature.name,
    aggregatorText(feature),
    windowText(feature.window),
    offlinePath(feature),
    feature.include === 'current' ? '' : feature.include,
    feature.whenEmpty === null
      ? feature.valueType
      : `${feature.valueType} (empty: ${JSON.stringify(feature.whenEmpty)})`,
    `state ${short(feature.stateHash)}`,
    `definition ${short(feature.definitionHash)}`,
    feature.description,
  ])
  return [
    `group ${group.name} of ${group.entity} by ${group.keyFields.join(', ')} from ${group.source}, stale after ${durationText(group.maxAgeMs)}${described(group)}`,
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
  const params = Object.entries(feature.aggregator.params).map(([name, value]) => `${name}: ${paramText(name, value)}`)
  const fields = [feature.input, feature.by].filter(name => name !== null)
  const where = feature.where === null ? '' : ` where ${expressionText(feature.where)}`
  return `${feature.aggregator.family}(${[...fields, ...params].join(', ')})${where}`
}

function paramText(name: string, value: ParamValue): string {
  if (typeof value === 'number') return name.endsWith('Ms') ? durationText(value) : String(value)
  return typeof value === 'object' ? `[${value.join(', ')}]` : String(value)
}

/**
 * How a feature's value is computed offline: in ClickHouse SQL, by the kernel over streamed rows, or in SQL as long as
 * the rows stay within the aggregator's bound and by the kernel beyond it.
 */
export function offlinePath({ aggregator }: FeaturePlan): 'sql' | 'kernel' | 'sql, past the bound kernel' {
  const descriptor = AGGREGATORS.find(each => each.family === aggregator.family)
  if (descriptor === undefined || descriptor.exactness === 'kernel') return 'kernel'
  return descriptor.sqlBounded ? 'sql, past the bound kernel' : 'sql'
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

/** What one entity of a group takes, with the rate that this is for. */
export interface GroupEstimate {
  readonly group: string
  readonly rate: EntityRate
  readonly estimate: Estimate
  /** Other groups whose features are kept in the same units, and counted here too. */
  readonly sharedWith: readonly string[]
}

function about({ extrapolated }: Estimate): string {
  return extrapolated ? 'about ' : ''
}

/** The estimates as a table with what they assume. */
export function renderEstimates(estimates: readonly GroupEstimate[]): string {
  const rows = estimates.map(({ group, rate, estimate, sharedWith }) => [
    group,
    `${rate.eventsPerEntityPerDay} events a day`,
    `${about(estimate)}${bytesText(estimate.bytesPerEntity)} per entity`,
    `${about(estimate)}${bytesText(estimate.bytesWrittenPerEvent)} written per event`,
    `${estimate.pointsHeld} events held`,
    sharedWith.length === 0 ? '' : `shared with ${sharedWith.join(', ')}`,
  ])
  const [first] = estimates
  if (first === undefined) return 'online state: no group'
  const { idBytes, textBytes } = first.rate
  const title = `online state of one entity, for ids of ${idBytes} bytes and texts of ${textBytes}`
  return [title, ...table(rows)].join('\n')
}
