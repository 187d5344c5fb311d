import { AGGREGATORS, isUnbounded, layoutFor, LEVELS_MS, reachOf } from '../kernel/index.ts'
import type { FieldType, Window } from '../kernel/types.ts'
import { canonicalJson } from './canonical.ts'
import type { CatalogueUnion, CatalogueUnit } from './catalogue.ts'
import { horizonOf, memberField } from './group-source.ts'
import type { GroupSource, MemberSource } from './group-source.ts'
import { partialKey, wrappingOf } from './partials.ts'
import type { CataloguePartial } from './partials.ts'
import type { AggregatorRef, Expression, FeaturePlan, FieldOwner, GroupPlan } from './plan.ts'

/** Features of one entity that one unit is to keep. */
export interface Wanted {
  readonly entity: string
  readonly keyFields: readonly string[]
  readonly features: readonly FeaturePlan[]
}

/** A mask has 31 bits. */
const FILTER_BOUND = 31

/** Index of a field in the source. Throws `RangeError` that names it where there is none. */
export function fieldIndex(source: FieldOwner, name: string): number {
  const index = source.fields.findIndex(field => field.name === name)
  if (index < 0) throw new RangeError(`event "${source.name}" has no field "${name}"`)
  return index
}

/** The partial that keeps a feature's state. */
export function partialOf(feature: FeaturePlan): CataloguePartial {
  const { aggregator, input, by, where, window } = feature
  return { aggregator, input, by, where, window: wrappingOf(window), lifetime: isUnbounded(window) }
}

/**
 * The multiples on which all lower edges of a window fall, 0 where they fall anywhere. Aggregators over the order of
 * events need the events themselves wherever they may lie in several partitions, and so do not use it.
 */
function edgeOf({ window, aggregator }: FeaturePlan): number {
  return isConcat(aggregator) ? 0 : declaredEdge(window)
}

function isConcat({ family }: AggregatorRef): boolean {
  return AGGREGATORS.some(each => each.family === family && each.kind === 'concat')
}

/** Whether declaring an edge spares the unit events of this window. */
export function takesEdge({ window, aggregator }: FeaturePlan): boolean {
  return window.kind === 'sliding' && !isConcat(aggregator)
}

function declaredEdge(window: Window): number {
  if (window.kind === 'sliding') return window.edgeMs
  return window.kind === 'tumbling' ? window.lengthMs : 0
}

/** Whether the window's edges fall anywhere, so that its events are kept as they are. */
export function isExact(feature: FeaturePlan): boolean {
  return edgeOf(feature) === 0
}

/** The widest spans within which an edge on multiples of whole milliseconds never falls. */
function spanWidth(edgeMs: number): number {
  return LEVELS_MS.findLast(level => edgeMs % level === 0) ?? 1
}

function greatestCommonDivisor(a: number, b: number): number {
  return b === 0 ? a : greatestCommonDivisor(b, a % b)
}

/**
 * Whether the states of a feature grow with the events: a window that picks rows by itself keeps all of them, or all
 * runs of them, in every tile, although it looks back no further than it says.
 */
function picksRows({ window }: FeaturePlan): boolean {
  return window.kind === 'session' || (window.kind === 'lastEvents' && window.withinMs !== null)
}

/** Windows that pick rows have a unit of their own where the others reach at least so many times as far. */
const MIN_REACH_RATIO = 2
/** The unit of such features. */
const PICKED = 'picked'

/**
 * What features of one entity share a unit by: `PICKED`, or the widest spans within which none of their edges falls, 0
 * for exact windows. A feature that asks for less joins those that ask for more and reach as far.
 */
function sharing(feature: FeaturePlan, features: readonly FeaturePlan[]): number | typeof PICKED {
  const reachMs = reachOf(feature.window)
  const farthest = Math.max(
    0,
    ...features.filter(each => isExact(each) && !picksRows(each)).map(each => reachOf(each.window)),
  )
  const isPicked = (each: FeaturePlan): boolean => picksRows(each) && reachOf(each.window) * MIN_REACH_RATIO <= farthest
  if (isPicked(feature)) return PICKED
  const widthOf = (each: FeaturePlan): number => (isExact(each) ? 0 : spanWidth(edgeOf(each)))
  const hosts = features.filter(each => !isPicked(each) && reachOf(each.window) >= reachMs).map(widthOf)
  return Math.min(widthOf(feature), ...hosts)
}

/** What tells the entities of a source apart: their type and the fields that hold their keys. */
interface Keyed {
  readonly entity: string
  readonly keyFields: readonly string[]
}

/** Whether the same events concern the same entities of both. */
export function sameEntity(a: Keyed, b: Keyed): boolean {
  return a.entity === b.entity && canonicalJson(a.keyFields) === canonicalJson(b.keyFields)
}

/**
 * Divides features of one source among units: by entity and key fields, then by the widest spans within which none of
 * their edges falls, exact windows and those without a lower edge apart from all others. A feature with wider spans joins
 * one with narrower ones that reaches as far, which keeps all it needs anyway. Sessions and last events within a time
 * stand apart where the exact windows reach twice as far or further. No unit needs more than 31 different filters.
 * Which features come together does not depend on their order, as long as they have no more filters than that.
 */
export function divide(
  features: readonly { readonly group: GroupPlan; readonly feature: FeaturePlan }[],
): readonly Wanted[] {
  const wanted: (Wanted & { by: number | string; features: FeaturePlan[]; filters: Set<string> })[] = []
  for (const { group, feature } of features) {
    const ofEntity = features.filter(each => sameEntity(each.group, group)).map(each => each.feature)
    const by = sharing(feature, ofEntity)
    const filter = feature.where === null ? null : canonicalJson(feature.where)
    let unit = wanted.find(
      each =>
        sameEntity(each, group) &&
        each.by === by &&
        (filter === null || each.filters.has(filter) || each.filters.size < FILTER_BOUND),
    )
    if (unit === undefined) {
      unit = { entity: group.entity, keyFields: group.keyFields, by, features: [], filters: new Set() }
      wanted.push(unit)
    }
    unit.features.push(feature)
    if (filter !== null) unit.filters.add(filter)
  }
  return wanted
}

function fieldsIn(expression: Expression): readonly string[] {
  switch (expression.op) {
    case 'field':
      return [expression.name]
    case 'literal':
      return []
    case 'and':
    case 'or':
      return expression.terms.flatMap(fieldsIn)
    case 'not':
    case 'isNull':
    case 'in':
    case 'startsWith':
      return fieldsIn(expression.term)
    default:
      return [...fieldsIn(expression.left), ...fieldsIn(expression.right)]
  }
}

/**
 * The unit that keeps the wanted features of one of their source's events. Those of a union's events are alike but for
 * the lateness, so that one read can answer from all of them.
 * @param units ids of the units of all its events
 */
export function newUnit(
  id: number,
  source: GroupSource,
  member: MemberSource,
  wanted: Wanted,
  units: readonly number[],
): CatalogueUnit {
  const { entity, keyFields, features } = wanted
  const columns: { field: string; type: FieldType }[] = []
  const filters: Expression[] = []
  const partials = new Map<string, CataloguePartial>()
  for (const feature of features) {
    for (const name of [feature.input, feature.by]) {
      if (name === null || columns.some(column => column.field === name)) continue
      columns.push({ field: name, type: source.fields[fieldIndex(source, name)]!.type })
    }
    if (feature.where !== null) {
      const text = canonicalJson(feature.where)
      if (!filters.some(filter => canonicalJson(filter) === text)) filters.push(feature.where)
    }
    const partial = partialOf(feature)
    const key = partialKey(partial)
    partials.set(key, { ...partial, lifetime: partial.lifetime || (partials.get(key)?.lifetime ?? false) })
  }
  const horizonMs = horizonOf(source)
  const reachMs = Math.max(...features.map(feature => reachOf(feature.window)))
  const delayMs = Math.max(...features.map(feature => feature.window.delayMs))
  const retentionMs = reachMs + horizonMs
  const edgeMs = features.some(isExact) ? 0 : features.map(edgeOf).reduce(greatestCommonDivisor)
  const filtered = new Set(filters.flatMap(fieldsIn))
  return {
    id,
    entity,
    source: member.source.name,
    keyFields,
    union:
      member.fields === null ? null : unionOf(member, [...keyFields, ...columns.map(c => c.field), ...filtered], units),
    columns,
    filters,
    filterFields: source.fields.filter(f => filtered.has(f.name)).map(f => ({ field: f.name, type: f.type })),
    partials: [...partials.values()],
    latenessMs: member.source.latenessMs,
    horizonMs,
    retentionMs,
    edgeMs,
    rawMs: edgeMs === 0 ? retentionMs : horizonMs + delayMs,
    layout: layoutFor(retentionMs),
    covers: [...new Set(features.map(feature => feature.stateHash))].sort(),
  }
}

function unionOf(member: MemberSource, names: readonly string[], units: readonly number[]): CatalogueUnion {
  const used = [...new Set(names)].sort()
  return { fields: Object.fromEntries(used.map(name => [name, memberField(member, name)])), units }
}
