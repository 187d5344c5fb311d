import { makeAggregator, tileMsFor } from '../kernel/index.ts'
import type { Cell, FeatureRead, FieldType, PartialSpec, Point, UnitSpec } from '../kernel/types.ts'
import { canonicalJson } from './canonical.ts'
import { keyText } from './event.ts'
import type { DecodedEvent } from './event.ts'
import { compileExpression } from './expression.ts'
import type { AggregatorRef, Expression, FeaturePlan, GroupPlan, Plan, SourcePlan } from './plan.ts'

/** A unit with all that is needed to feed and read it. */
export interface BoundUnit {
  readonly id: number
  /** The catalogue revision that it was created in. */
  readonly revision: number
  /** Names the reader that feeds it; progress is kept by it. */
  readonly feed: string
  readonly source: SourcePlan
  readonly entity: string
  /** Index into the source's fields of the entity's key. */
  readonly keyFieldIndex: number
  readonly spec: UnitSpec
  /** null when the event's key is null: the event does not concern this entity. */
  entityId(event: DecodedEvent): string | null
  project(event: DecodedEvent): Point
}

/** A feature with the unit that stores its state and how it is read from there. */
export interface BoundFeature {
  readonly plan: FeaturePlan
  readonly unit: BoundUnit
  readonly read: FeatureRead
}

/** A group whose features are placed; features in the order of the plan. */
export interface BoundGroup {
  readonly plan: GroupPlan
  readonly features: readonly BoundFeature[]
}

/** A plan whose features are placed in stored units. */
export interface BoundPlan {
  readonly plan: Plan
  readonly units: readonly BoundUnit[]
  readonly groups: ReadonlyMap<string, BoundGroup>
}

/** The reader of a source that feeds the units of one revision: `payment.r1`. */
export function feedName(source: string, revision: number): string {
  return `${source}.r${revision}`
}

/** One stored aggregation as the catalogue remembers it. */
export interface CataloguePartial {
  readonly aggregator: AggregatorRef
  readonly input: string | null
  readonly where: Expression | null
  readonly lifetime: boolean
}

/** A unit as it was frozen when it was created; never changed afterwards. */
export interface CatalogueUnit {
  readonly id: number
  readonly entity: string
  readonly source: string
  readonly keyField: string
  readonly columns: readonly { readonly field: string; readonly type: FieldType }[]
  readonly filters: readonly Expression[]
  /** The fields that the filters look at. */
  readonly filterFields: readonly { readonly field: string; readonly type: FieldType }[]
  readonly partials: readonly CataloguePartial[]
  readonly latenessMs: number
  readonly horizonMs: number
  readonly retentionMs: number
  readonly tileMs: number
  /** State hashes of the features it can answer. */
  readonly covers: readonly string[]
}

/**
 * Units of one source created together: they are fed by one reader, so that a later addition catches up without
 * holding them back.
 */
export interface CatalogueRevision {
  readonly revision: number
  readonly source: string
  /** The topic's life in which the units were created. */
  readonly incarnation: string
  /** By partition: the first offset the units count from. */
  readonly start: readonly number[]
  /** By partition: records before this offset were judged for lateness by an earlier revision. */
  readonly liveFrom: readonly number[]
  readonly units: readonly CatalogueUnit[]
}

/** Which units exist, kept beside the state they describe. */
export interface Catalogue {
  readonly format: 1
  readonly nextUnit: number
  readonly revisions: readonly CatalogueRevision[]
}

/** The catalogue of a namespace in which no unit was ever made; numbering starts at 1. */
export const EMPTY_CATALOGUE: Catalogue = { format: 1, nextUnit: 1, revisions: [] }

/** Where a topic stands when units are created on it; arrays by partition. */
export interface TopicStanding {
  readonly incarnation: string
  readonly startOffsets: readonly number[]
  readonly endOffsets: readonly number[]
}

const FILTER_BOUND = 31

function sourceOf(plan: Plan, name: string): SourcePlan {
  const source = plan.sources.find(s => s.name === name)
  if (source === undefined) throw new RangeError(`the plan has no source "${name}"`)
  return source
}

function fieldIndex(source: SourcePlan, name: string): number {
  const index = source.fields.findIndex(field => field.name === name)
  if (index < 0) throw new RangeError(`event "${source.name}" has no field "${name}"`)
  return index
}

function partialKey(partial: Pick<CataloguePartial, 'aggregator' | 'input' | 'where'>): string {
  return canonicalJson({ aggregator: partial.aggregator, input: partial.input, where: partial.where })
}

function horizonOf(source: SourcePlan): number {
  return Math.max(source.latenessMs, source.readBackMs)
}

/**
 * Whether a unit can go on being fed by the source as it is now: every field it reads is there with its type, also those
 * that only features no longer in the plan look at, and its state reaches as far back as the source may be read.
 */
function feedable(unit: CatalogueUnit, source: SourcePlan): boolean {
  const has = ({ field, type }: { readonly field: string; readonly type: FieldType }) =>
    source.fields.some(f => f.name === field && canonicalJson(f.type) === canonicalJson(type))
  return unit.horizonMs >= horizonOf(source) && unit.columns.every(has) && unit.filterFields.every(has)
}

function covering(
  catalogue: Catalogue,
  source: SourcePlan,
  group: GroupPlan,
  feature: FeaturePlan,
): CatalogueUnit | undefined {
  for (const revision of catalogue.revisions) {
    for (const unit of revision.units) {
      const sameEntity = unit.entity === group.entity && unit.keyField === group.keyField
      const covers = unit.source === source.name && sameEntity && unit.covers.includes(feature.stateHash)
      if (covers && feedable(unit, source)) return unit
    }
  }
  return undefined
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

interface Wanted {
  readonly group: GroupPlan
  readonly features: FeaturePlan[]
}

function newUnit(id: number, source: SourcePlan, wanted: Wanted): CatalogueUnit {
  const columns: { field: string; type: FieldType }[] = []
  const filters: Expression[] = []
  const partials = new Map<string, CataloguePartial>()
  let reach = 0
  for (const feature of wanted.features) {
    if (feature.input !== null && !columns.some(column => column.field === feature.input)) {
      const field = source.fields[fieldIndex(source, feature.input)]
      if (field !== undefined) columns.push({ field: feature.input, type: field.type })
    }
    if (feature.where !== null) {
      const text = canonicalJson(feature.where)
      if (!filters.some(filter => canonicalJson(filter) === text)) filters.push(feature.where)
    }
    const key = partialKey(feature)
    const lifetime = feature.window.kind === 'lifetime' || (partials.get(key)?.lifetime ?? false)
    partials.set(key, { aggregator: feature.aggregator, input: feature.input, where: feature.where, lifetime })
    const length = feature.window.kind === 'sliding' ? feature.window.lengthMs : 0
    reach = Math.max(reach, length + feature.window.delayMs)
  }
  const horizonMs = horizonOf(source)
  const filtered = new Set(filters.flatMap(fieldsIn))
  return {
    id,
    entity: wanted.group.entity,
    source: source.name,
    keyField: wanted.group.keyField,
    columns,
    filters,
    filterFields: source.fields.filter(f => filtered.has(f.name)).map(f => ({ field: f.name, type: f.type })),
    partials: [...partials.values()],
    latenessMs: source.latenessMs,
    horizonMs,
    retentionMs: reach + horizonMs,
    tileMs: tileMsFor(wanted.features.map(f => (f.window.kind === 'sliding' ? f.window.lengthMs : 0))),
    covers: [...new Set(wanted.features.map(feature => feature.stateHash))].sort(),
  }
}

/** Splits features so that no unit needs more than 31 different filters. */
function wantedUnits(plan: Plan, catalogue: Catalogue, source: SourcePlan): readonly Wanted[] {
  const wanted: { group: GroupPlan; features: FeaturePlan[]; filters: Set<string> }[] = []
  for (const group of plan.groups.filter(g => g.source === source.name)) {
    for (const feature of group.features) {
      if (covering(catalogue, source, group, feature) !== undefined) continue
      const filter = feature.where === null ? null : canonicalJson(feature.where)
      let unit = wanted.find(
        u =>
          u.group.entity === group.entity &&
          u.group.keyField === group.keyField &&
          (filter === null || u.filters.has(filter) || u.filters.size < FILTER_BOUND),
      )
      if (unit === undefined) {
        unit = { group, features: [], filters: new Set() }
        wanted.push(unit)
      }
      unit.features.push(feature)
      if (filter !== null) unit.filters.add(filter)
    }
  }
  return wanted
}

/** What a plan changes in the state that a catalogue describes. */
export interface StateChange {
  /** `group.feature` names whose state is not kept yet: they are computed from the log's first record on. */
  readonly added: readonly string[]
  /** Units that no feature of the plan reads any more. */
  readonly unusedUnits: readonly number[]
}

/** Compares a plan with what is stored; changes nothing. */
export function stateChange(plan: Plan, catalogue: Catalogue): StateChange {
  const used = new Set<number>()
  const added: string[] = []
  for (const group of plan.groups) {
    const source = sourceOf(plan, group.source)
    for (const feature of group.features) {
      const unit = covering(catalogue, source, group, feature)
      if (unit === undefined) added.push(`${group.name}.${feature.name}`)
      else used.add(unit.id)
    }
  }
  const units = catalogue.revisions.flatMap(revision => revision.units.map(unit => unit.id))
  return { added, unusedUnits: units.filter(id => !used.has(id)) }
}

/**
 * Gives every feature of the plan a stored unit: those whose state is already kept stay where they are, the rest goes
 * to new units, one per (entity, source). Returns the same catalogue object when nothing had to be added.
 */
export function placePlan(plan: Plan, catalogue: Catalogue, standings: ReadonlyMap<string, TopicStanding>): Catalogue {
  let next = catalogue
  for (const source of plan.sources) {
    const wanted = wantedUnits(plan, next, source)
    if (wanted.length === 0) continue
    const standing = standings.get(source.name)
    if (standing === undefined) throw new RangeError(`no topic standing was given for source "${source.name}"`)
    const first = !next.revisions.some(revision => revision.source === source.name)
    const revision: CatalogueRevision = {
      revision: next.revisions.length + 1,
      source: source.name,
      incarnation: standing.incarnation,
      start: standing.startOffsets,
      liveFrom: first ? standing.startOffsets : standing.endOffsets,
      units: wanted.map((unit, index) => newUnit(next.nextUnit + index, source, unit)),
    }
    next = { format: 1, nextUnit: next.nextUnit + wanted.length, revisions: [...next.revisions, revision] }
  }
  return next
}

function bindUnit(unit: CatalogueUnit, revision: number, source: SourcePlan): BoundUnit {
  const filters = unit.filters.map(filter => compileExpression(filter, source))
  const filterTexts = unit.filters.map(filter => canonicalJson(filter))
  const partials: PartialSpec[] = unit.partials.map(partial => {
    const column = partial.input === null ? -1 : unit.columns.findIndex(c => c.field === partial.input)
    const type = unit.columns[column]?.type ?? null
    return {
      aggregator: makeAggregator(partial.aggregator.family, partial.aggregator.params, type),
      column,
      filter: partial.where === null ? -1 : filterTexts.indexOf(canonicalJson(partial.where)),
      lifetime: partial.lifetime,
    }
  })
  const indexes = unit.columns.map(column => fieldIndex(source, column.field))
  const keyFieldIndex = fieldIndex(source, unit.keyField)
  return {
    id: unit.id,
    revision,
    feed: feedName(source.name, revision),
    source,
    entity: unit.entity,
    keyFieldIndex,
    spec: {
      columns: unit.columns.map(column => column.type),
      filterCount: filters.length,
      partials,
      latenessMs: unit.latenessMs,
      horizonMs: unit.horizonMs,
      retentionMs: unit.retentionMs,
      tileMs: unit.tileMs,
    },
    entityId: event => keyText(event.cells[keyFieldIndex] ?? null),
    project: event => {
      const cells: Cell[] = []
      for (const index of indexes) cells.push(event.cells[index] ?? null)
      let mask = 0
      for (let bit = 0; bit < filters.length; bit++) if (filters[bit]?.(event.cells) === true) mask |= 1 << bit
      return { time: event.time, id: event.id, cells, mask }
    },
  }
}

/**
 * Binds a plan to the units of a catalogue made by `placePlan`. Units no feature needs any more are left out.
 * Throws RangeError when a feature has no unit.
 */
export function bindPlan(plan: Plan, catalogue: Catalogue): BoundPlan {
  const units = new Map<number, { bound: BoundUnit; keys: readonly string[] }>()
  const groups = new Map<string, BoundGroup>()
  const revisionOf = new Map(catalogue.revisions.flatMap(r => r.units.map(unit => [unit.id, r.revision] as const)))
  for (const group of plan.groups) {
    const source = sourceOf(plan, group.source)
    const features = group.features.map((feature): BoundFeature => {
      const unit = covering(catalogue, source, group, feature)
      if (unit === undefined) throw new RangeError(`feature ${group.name}.${feature.name} has no unit in the catalogue`)
      let entry = units.get(unit.id)
      if (entry === undefined) {
        entry = { bound: bindUnit(unit, revisionOf.get(unit.id) ?? 0, source), keys: unit.partials.map(partialKey) }
        units.set(unit.id, entry)
      }
      const partial = entry.keys.indexOf(partialKey(feature))
      if (partial < 0)
        throw new RangeError(`unit ${unit.id} covers ${group.name}.${feature.name} but has no such partial`)
      const read = { partial, window: feature.window, include: feature.include, whenEmpty: feature.whenEmpty }
      return { plan: feature, unit: entry.bound, read }
    })
    groups.set(group.name, { plan: group, features })
  }
  const bound = [...units.values()].map(entry => entry.bound).sort((a, b) => a.id - b.id)
  return { plan, units: bound, groups }
}
