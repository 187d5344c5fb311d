import { makeAggregator } from '../kernel/index.ts'
import type { Cell, FeatureRead, FieldType, PartialSpec, Point, UnitSpec } from '../kernel/types.ts'
import { canonicalJson } from './canonical.ts'
import type { Catalogue, CatalogueRevision, CatalogueUnit } from './catalogue.ts'
import { entityNamer } from './entity-key.ts'
import type { DecodedEvent } from './event.ts'
import { compileExpression } from './expression.ts'
import { partialKey, wrapped } from './partials.ts'
import type { CataloguePartial } from './partials.ts'
import { eventSource, groupSource, horizonOf, unionSource } from './group-source.ts'
import type { GroupSource, MemberSource } from './group-source.ts'
import { divide, fieldIndex, newUnit, partialOf, sameEntity } from './placement.ts'
import type { Wanted } from './placement.ts'
import type { FeaturePlan, FieldOwner, GroupPlan, Plan, SourcePlan } from './plan.ts'

export { EMPTY_CATALOGUE, parseCatalogue } from './catalogue.ts'
export type { Catalogue, CatalogueRevision, CatalogueUnit } from './catalogue.ts'

/** A unit with all that is needed to feed and read it. */
export interface BoundUnit {
  readonly id: number
  /** The catalogue revision that it was created in. */
  readonly revision: number
  /** Names the reader that feeds it; progress is kept by it. */
  readonly feed: string
  readonly source: SourcePlan
  readonly entity: string
  /** Whether the record key is among the entity's key fields, so that an entity's events lie in one partition. */
  readonly byRecordKey: boolean
  readonly spec: UnitSpec
  /** null when a part of the event's key is null: the event does not concern this entity. */
  entityId(event: DecodedEvent): string | null
  project(event: DecodedEvent): Point
}

/** A feature with the unit that stores its state and how it is read from there. */
export interface BoundFeature {
  readonly plan: FeaturePlan
  /** The first of `units`; but for the lateness they all have its spec. */
  readonly unit: BoundUnit
  /** What its answer is read from together: one unit for each event that feeds the group. */
  readonly units: readonly BoundUnit[]
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

/** Where a topic stands when units are created on it; arrays by partition. */
export interface TopicStanding {
  readonly incarnation: string
  readonly startOffsets: readonly number[]
  readonly endOffsets: readonly number[]
}

/** The name of the event's field that a unit knows by this name. */
function fedBy({ union }: CatalogueUnit, name: string): string {
  return union === null ? name : (union.fields[name] ?? '')
}

/**
 * Whether a unit can go on being fed by the event as it is now: every field it reads is there with its type, also those
 * that only features no longer in the plan look at.
 */
function feedable(unit: CatalogueUnit, source: SourcePlan): boolean {
  const has = ({ field, type }: { readonly field: string; readonly type: FieldType }) =>
    source.fields.some(f => f.name === fedBy(unit, field) && canonicalJson(f.type) === canonicalJson(type))
  return unit.columns.every(has) && unit.filterFields.every(has)
}

/**
 * The units that keep a feature's state, one for each event that feeds its group and in the same order, and reach as far
 * back as it may be read; undefined where there are none.
 */
function covering(
  catalogue: Catalogue,
  source: GroupSource,
  group: GroupPlan,
  feature: FeaturePlan,
): readonly CatalogueUnit[] | undefined {
  const units = catalogue.revisions.flatMap(revision => revision.units)
  const horizonMs = horizonOf(source)
  const covers = (unit: CatalogueUnit | undefined, member: MemberSource): unit is CatalogueUnit =>
    unit?.source === member.source.name &&
    sameEntity(unit, group) &&
    unit.covers.includes(feature.stateHash) &&
    unit.horizonMs >= horizonMs &&
    feedable(unit, member.source)
  for (const unit of units) {
    if (!covers(unit, source.members[0]!)) continue
    const ids = unit.union?.units ?? [unit.id]
    const together = source.members.map(member => {
      const found = units.find(each => ids.includes(each.id) && each.source === member.source.name)
      return covers(found, member) ? [found] : []
    })
    if (ids.length === source.members.length && together.every(found => found.length === 1)) return together.flat()
  }
  return undefined
}

/** Events, then unions, as the groups of a plan see them. */
function groupSources(plan: Plan): readonly GroupSource[] {
  return [...plan.sources.map(eventSource), ...plan.unions.map(union => unionSource(union, plan.sources))]
}

/** What the plan's features of a source need beside the units there are. */
function wantedUnits(plan: Plan, catalogue: Catalogue, source: GroupSource): readonly Wanted[] {
  const groups = plan.groups.filter(group => group.source === source.name)
  const all = groups.flatMap(group => group.features.map(feature => ({ group, feature })))
  return divide(all.filter(({ group, feature }) => covering(catalogue, source, group, feature) === undefined))
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
    const source = groupSource(plan, group.source)
    for (const feature of group.features) {
      const units = covering(catalogue, source, group, feature)
      if (units === undefined) added.push(`${group.name}.${feature.name}`)
      else for (const unit of units) used.add(unit.id)
    }
  }
  const units = catalogue.revisions.flatMap(revision => revision.units.map(unit => unit.id))
  return { added, unusedUnits: units.filter(id => !used.has(id)) }
}

/** New units by the event that feeds them, numbered from the catalogue's next one on. */
function newUnits(plan: Plan, catalogue: Catalogue): ReadonlyMap<string, readonly CatalogueUnit[]> {
  const bySource = new Map<string, CatalogueUnit[]>()
  let { nextUnit } = catalogue
  for (const source of groupSources(plan)) {
    for (const wanted of wantedUnits(plan, catalogue, source)) {
      const ids = source.members.map((_, index) => nextUnit + index)
      nextUnit += ids.length
      for (const [index, member] of source.members.entries()) {
        const unit = newUnit(ids[index]!, source, member, wanted, ids)
        bySource.set(member.source.name, [...(bySource.get(member.source.name) ?? []), unit])
      }
    }
  }
  return bySource
}

/**
 * Gives every feature of the plan stored units: those whose state is already kept stay where they are, the rest goes
 * to new units, as `divide` says, one for each event that feeds them. Returns the same catalogue object when nothing had
 * to be added.
 */
export function placePlan(plan: Plan, catalogue: Catalogue, standings: ReadonlyMap<string, TopicStanding>): Catalogue {
  let next = catalogue
  const wanted = newUnits(plan, catalogue)
  for (const source of plan.sources) {
    const units = wanted.get(source.name)
    if (units === undefined) continue
    const standing = standings.get(source.name)
    if (standing === undefined) throw new RangeError(`no topic standing was given for source "${source.name}"`)
    const first = !next.revisions.some(revision => revision.source === source.name)
    const revision: CatalogueRevision = {
      revision: next.revisions.length + 1,
      source: source.name,
      incarnation: standing.incarnation,
      start: standing.startOffsets,
      liveFrom: first ? standing.startOffsets : standing.endOffsets,
      units,
    }
    next = { format: 2, nextUnit: next.nextUnit + units.length, revisions: [...next.revisions, revision] }
  }
  return next
}

function columnOf(unit: CatalogueUnit, field: string | null): number {
  return field === null ? -1 : unit.columns.findIndex(column => column.field === field)
}

function aggregatorOf(
  { aggregator: { family, params }, window }: CataloguePartial,
  inputType: FieldType | null,
  byType: FieldType | null,
) {
  return wrapped(makeAggregator(family, params, inputType, byType), window, inputType, byType)
}

/** The event's fields under the names that a unit has for them, with their places in the event. */
function fieldsOf(
  unit: CatalogueUnit,
  source: SourcePlan,
): {
  readonly owner: FieldOwner
  readonly placeOf: (name: string) => number
  readonly places: readonly number[] | null
} {
  const placeOf = (name: string): number => fieldIndex(source, fedBy(unit, name))
  if (unit.union === null) return { owner: source, placeOf, places: null }
  const names = Object.keys(unit.union.fields)
  const places = names.map(placeOf)
  const fields = names.map((name, index) => ({ ...source.fields[places[index]!]!, name }))
  return { owner: { name: source.name, fields }, placeOf, places }
}

/** A unit of the catalogue with all that is needed to feed it from its source, as it is now. */
export function bindUnit(unit: CatalogueUnit, revision: number, source: SourcePlan): BoundUnit {
  const { owner, placeOf, places } = fieldsOf(unit, source)
  const filters = unit.filters.map(filter => compileExpression(filter, owner))
  const filterTexts = unit.filters.map(filter => canonicalJson(filter))
  const partials: PartialSpec[] = unit.partials.map(partial => {
    const column = columnOf(unit, partial.input)
    const by = columnOf(unit, partial.by)
    return {
      aggregator: aggregatorOf(partial, unit.columns[column]?.type ?? null, unit.columns[by]?.type ?? null),
      column,
      by,
      filter: partial.where === null ? -1 : filterTexts.indexOf(canonicalJson(partial.where)),
      lifetime: partial.lifetime,
    }
  })
  const indexes = unit.columns.map(column => placeOf(column.field))
  const nameOf = entityNamer(unit.keyFields.map(placeOf))
  return {
    id: unit.id,
    revision,
    feed: feedName(source.name, revision),
    source,
    entity: unit.entity,
    byRecordKey: unit.keyFields.some(name => fedBy(unit, name) === source.keyField),
    spec: {
      columns: unit.columns.map(column => column.type),
      filterCount: filters.length,
      partials,
      latenessMs: unit.latenessMs,
      horizonMs: unit.horizonMs,
      retentionMs: unit.retentionMs,
      edgeMs: unit.edgeMs,
      rawMs: unit.rawMs,
      layout: unit.layout,
    },
    entityId: event => nameOf(event.cells),
    project: event => {
      const cells: Cell[] = []
      for (const index of indexes) cells.push(event.cells[index] ?? null)
      let mask = 0
      if (filters.length > 0) {
        const row = places === null ? event.cells : places.map(place => event.cells[place] ?? null)
        for (let bit = 0; bit < filters.length; bit++) if (filters[bit]?.(row) === true) mask |= 1 << bit
      }
      return { time: event.time, id: event.id, cells, mask }
    },
  }
}

/**
 * Binds a plan to the units of a catalogue made by `placePlan`. Units no feature needs any more are left out.
 * Throws RangeError when a feature has no unit.
 */
export function bindPlan(plan: Plan, catalogue: Catalogue): BoundPlan {
  const bound = new Map<number, BoundUnit>()
  const groups = new Map<string, BoundGroup>()
  const revisionOf = new Map(catalogue.revisions.flatMap(r => r.units.map(unit => [unit.id, r.revision] as const)))
  for (const group of plan.groups) {
    const source = groupSource(plan, group.source)
    const features = group.features.map((feature): BoundFeature => {
      const units = covering(catalogue, source, group, feature)
      const [first] = units ?? []
      if (units === undefined || first === undefined)
        throw new RangeError(`feature ${group.name}.${feature.name} has no unit in the catalogue`)
      const all = units.map((unit, index): BoundUnit => {
        const known = bound.get(unit.id)
        if (known !== undefined) return known
        const made = bindUnit(unit, revisionOf.get(unit.id) ?? 0, source.members[index]!.source)
        bound.set(unit.id, made)
        return made
      })
      const key = partialKey(partialOf(feature))
      const partial = first.partials.findIndex(each => partialKey(each) === key)
      if (partial < 0)
        throw new RangeError(`unit ${first.id} covers ${group.name}.${feature.name} but has no such partial`)
      const read = { partial, window: feature.window, include: feature.include, whenEmpty: feature.whenEmpty }
      return { plan: feature, unit: all[0]!, units: all, read }
    })
    groups.set(group.name, { plan: group, features })
  }
  return { plan, units: [...bound.values()].sort((a, b) => a.id - b.id), groups }
}
