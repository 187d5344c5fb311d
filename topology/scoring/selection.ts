import type { FeatureRead, Point, Value } from '../../features/kernel/types.ts'
import { prepareReads } from '../../features/kernel/index.ts'
import type { PreparedReads, UnitAnswer } from '../../features/kernel/index.ts'
import { requestKeyFields } from '../../features/plan/compile.ts'
import { entityNamer } from '../../features/plan/entity-key.ts'
import type { DecodedEvent } from '../../features/plan/event.ts'
import { groupSource } from '../../features/plan/group-source.ts'
import type { GroupPlan } from '../../features/plan/plan.ts'
import type { BoundGroup, BoundPlan, BoundUnit } from '../../features/plan/units.ts'
import { onlineKey } from '../ports/online-layout.ts'
import type { FeatureStatus } from '../ports/score-record.ts'

/** Statuses by code; a row holds codes, an answer holds names. */
export const STATUSES: readonly FeatureStatus[] = ['fresh', 'stale', 'default', 'missing', 'out_of_range']
/** Code of `fresh`: a value whose source is caught up within the group's `maxAge`. */
export const FRESH = 0
/** Code of `stale`: a value whose source is not. */
export const STALE = 1
/** Code of `default`: null, and the model was given its input's default instead. */
export const DEFAULT = 2
/** Code of `missing`: null. */
export const MISSING = 3
/** Code of `out_of_range`: the instant lies behind the unit's read horizon, so nothing was read. */
export const OUT_OF_RANGE = 4

/** The features that one stored unit answers for a selection, or several units together, one for each event. */
export interface UnitRead {
  /** The first of `units`; but for the lateness they all have its spec. */
  readonly unit: BoundUnit
  readonly units: readonly BoundUnit[]
  readonly reads: PreparedReads
  /** Index of each read's feature within the selection. */
  readonly targets: readonly number[]
  /** The unit fed by events of the kind of the one asked about, which joins its windows; null for none. */
  readonly self: BoundUnit | null
  /** Names the entity from the event asked about; null where it has no such entity. */
  entityId(event: DecodedEvent): string | null
}

/** One group of a selection. `template` holds each of its feature names with null, to be copied and filled. */
export interface SelectedGroup {
  readonly name: string
  readonly entity: string
  /** The readers that its features depend on. */
  readonly feeds: readonly string[]
  readonly maxAgeMs: number
  readonly featureNames: readonly string[]
  /** Index of the group's first feature within the selection; the others follow. */
  readonly first: number
  readonly template: Readonly<Record<string, Value>>
}

/** A list of groups, ready to be read: features in group order, then derived ones. */
export interface Selection {
  readonly groups: readonly SelectedGroup[]
  /** `group.feature` …, then `derived.name` …. */
  readonly names: readonly string[]
  /** How many of `names` are read; the rest are derived. */
  readonly readCount: number
  readonly units: readonly UnitRead[]
  /** Group index by feature index, for the first `readCount` features. */
  readonly groupOf: readonly number[]
  /** An object with every name as a property, to be copied and filled. */
  readonly template: Readonly<Record<string, Value>>
  readonly statuses: StatusTable
}

/** Feature values and status codes of one row, by the selection's feature index. */
export interface FeatureRow {
  readonly values: Value[]
  readonly codes: Uint8Array
  /** The first read whose horizon the instant lies behind, with the entity's newest event. */
  outOfRange: { readonly read: UnitRead; readonly newestMs: number | null } | null
}

/** Turns status codes into the object of an answer; equal codes give the same object. */
export interface StatusTable {
  get(codes: Uint8Array): Readonly<Record<string, FeatureStatus>>
}

const MAX_STATUS_OBJECTS = 1024

function statusTable(names: readonly string[]): StatusTable {
  const known = new Map<string, Readonly<Record<string, FeatureStatus>>>()
  return {
    get: codes => {
      let key = ''
      for (let index = 0; index < codes.length; index++) key += codes[index]
      let statuses = known.get(key)
      if (statuses === undefined) {
        statuses = Object.fromEntries(
          names.map((name, index) => [name, STATUSES[codes[index] ?? MISSING] ?? 'missing']),
        )
        if (known.size >= MAX_STATUS_OBJECTS) known.clear()
        known.set(key, statuses)
      }
      return statuses
    },
  }
}

/** An object whose shape is settled before it is copied, so that copies are cheap. */
function template(names: readonly string[]): Readonly<Record<string, Value>> {
  return JSON.parse(`{${names.map(name => `${JSON.stringify(name)}:null`).join(',')}}`) as Record<string, Value>
}

/**
 * Prepares groups for reading. `request` is the source of the event that asks, null when entities are named instead.
 * Throws RangeError when a group of another source finds no field with its entity's key in the request.
 */
export function selectGroups(
  bound: BoundPlan,
  groups: readonly BoundGroup[],
  request: string | null,
  derived: readonly string[],
): Selection {
  const selected: SelectedGroup[] = []
  const names: string[] = []
  const groupOf: number[] = []
  const units = new Map<
    number,
    Pick<UnitRead, 'unit' | 'units' | 'self' | 'entityId'> & { reads: FeatureRead[]; targets: number[] }
  >()
  for (const { plan: group, features } of groups) {
    const featureNames = features.map(feature => feature.plan.name)
    selected.push({
      name: group.name,
      entity: group.entity,
      feeds: [...new Set(features.flatMap(feature => feature.units.map(unit => unit.feed)))],
      maxAgeMs: group.maxAgeMs,
      featureNames,
      first: names.length,
      template: template(featureNames),
    })
    const named = request === null ? () => null : requestNamer(bound, request, group)
    for (const { unit, units: together, read, plan } of features) {
      const self = together.find(each => each.source.name === request) ?? null
      const entityId = (event: DecodedEvent): string | null => (self === null ? named(event) : self.entityId(event))
      const entry = units.get(unit.id) ?? { unit, units: together, self, entityId, reads: [], targets: [] }
      entry.reads.push(read)
      entry.targets.push(names.length)
      units.set(unit.id, entry)
      names.push(`${group.name}.${plan.name}`)
      groupOf.push(selected.length - 1)
    }
  }
  const readCount = names.length
  for (const name of derived) names.push(`derived.${name}`)
  return {
    groups: selected,
    names,
    readCount,
    units: [...units.values()].map(entry => ({ ...entry, reads: prepareReads(entry.unit.spec, entry.reads) })),
    groupOf,
    template: template(names),
    statuses: statusTable(names),
  }
}

/** Names the entities of a group from a request of another kind than feeds it. Throws as `selectGroups` does. */
function requestNamer(bound: BoundPlan, requestName: string, group: GroupPlan): (event: DecodedEvent) => string | null {
  const request = bound.plan.sources.find(source => source.name === requestName)
  const entity = bound.plan.entities.find(each => each.name === group.entity)
  if (request === undefined) throw new RangeError(`the plan has no event "${requestName}"`)
  if (entity === undefined) throw new RangeError(`the plan has no entity "${group.entity}"`)
  const { fields, missing } = requestKeyFields(group, groupSource(bound.plan, group.source), request, entity)
  if (missing.length > 0) {
    throw new RangeError(
      `event "${requestName}" has no key field "${missing.join('", "')}", which names the entity of group "${group.name}": add the field to the event or take the group out of the service`,
    )
  }
  const nameOf = entityNamer(fields.map(name => request.fields.findIndex(field => field.name === name)))
  return event => nameOf(event.cells)
}

/** The online keys of an entity's state, in the order of the units that it is read from. */
export function unitKeys(namespace: string, read: UnitRead, entityId: string): readonly string[] {
  return read.units.map(unit => onlineKey(namespace, unit.entity, entityId, unit.id))
}

/** A row without any value. */
export function emptyRow(selection: Selection): FeatureRow {
  return {
    values: new Array<Value>(selection.names.length).fill(null),
    codes: new Uint8Array(selection.names.length).fill(MISSING),
    outOfRange: null,
  }
}

/** The point that joins the windows: the event that asks, where it is one of those that feed the units. */
export function selfOf({ self }: UnitRead, event: DecodedEvent | null): Point | null {
  return self !== null && event !== null ? self.project(event) : null
}

/**
 * Takes a unit's answer into a row. A value is `fresh`, or `stale` when `staleGroups` says so of its group; null is
 * `missing`; all are `out_of_range` when the instant lies behind the horizon.
 */
export function takeAnswer(
  row: FeatureRow,
  selection: Selection,
  read: UnitRead,
  answer: UnitAnswer,
  staleGroups: readonly boolean[],
): void {
  const { targets } = read
  if (answer.outOfRange) {
    row.outOfRange ??= { read, newestMs: answer.newest }
    for (const target of targets) row.codes[target] = OUT_OF_RANGE
    return
  }
  for (let index = 0; index < targets.length; index++) {
    const target = targets[index] ?? 0
    const value = answer.values[index] ?? null
    row.values[target] = value
    const stale = staleGroups[selection.groupOf[target] ?? 0] === true
    row.codes[target] = value === null ? MISSING : stale ? STALE : FRESH
  }
}

/** The values of a row by feature name. */
export function namedValues(selection: Selection, values: readonly Value[]): Record<string, Value> {
  const named: Record<string, Value> = { ...selection.template }
  const { names } = selection
  for (let index = 0; index < names.length; index++) named[names[index] ?? ''] = values[index] ?? null
  return named
}

/** The features of a row before it is read. */
export const NO_FEATURES: FeatureRow = { values: [], codes: new Uint8Array(), outOfRange: null }
