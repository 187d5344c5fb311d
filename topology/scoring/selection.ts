import type { FeatureRead, Value } from '../../features/kernel/types.ts'
import { prepareReads } from '../../features/kernel/index.ts'
import type { PreparedReads } from '../../features/kernel/index.ts'
import { requestKeyField } from '../../features/plan/compile.ts'
import type { DecodedEvent } from '../../features/plan/event.ts'
import { keyText } from '../../features/plan/event.ts'
import type { GroupPlan } from '../../features/plan/plan.ts'
import type { BoundGroup, BoundPlan, BoundUnit } from '../../features/plan/units.ts'
import { onlineKey } from '../ports/online-layout.ts'
import type { Section } from '../ports/online-store.ts'
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

/** The features that one stored unit answers for a selection. */
export interface UnitRead {
  readonly unit: BoundUnit
  readonly reads: PreparedReads
  /** Index of each read's feature within the selection. */
  readonly targets: readonly number[]
  /** The event asked about is of the unit's own source, so that it joins its windows. */
  readonly joinsSelf: boolean
  /** Index of the request's field that names the entity; −1 where the unit's own key field does. */
  readonly requestKeyIndex: number
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
  /** First unit whose horizon the instant lies behind, with the entity's newest event. */
  outOfRange: { readonly unit: BoundUnit; readonly newestMs: number | null } | null
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
  const units = new Map<number, { unit: BoundUnit; reads: FeatureRead[]; targets: number[]; requestKeyIndex: number }>()
  for (const { plan: group, features } of groups) {
    const featureNames = features.map(feature => feature.plan.name)
    selected.push({
      name: group.name,
      entity: group.entity,
      feeds: [...new Set(features.map(feature => feature.unit.feed))],
      maxAgeMs: group.maxAgeMs,
      featureNames,
      first: names.length,
      template: template(featureNames),
    })
    const keyIndex = request === null || group.source === request ? -1 : requestKeyIndex(bound, request, group)
    for (const { unit, read, plan } of features) {
      const entry = units.get(unit.id) ?? { unit, reads: [], targets: [], requestKeyIndex: keyIndex }
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
    units: [...units.values()].map(entry => ({
      ...entry,
      reads: prepareReads(entry.unit.spec, entry.reads),
      joinsSelf: entry.unit.source.name === request,
    })),
    groupOf,
    template: template(names),
    statuses: statusTable(names),
  }
}

function requestKeyIndex(bound: BoundPlan, requestName: string, group: GroupPlan): number {
  const request = bound.plan.sources.find(source => source.name === requestName)
  const entity = bound.plan.entities.find(each => each.name === group.entity)
  const key = request === undefined ? null : requestKeyField(group, request, entity)
  const index = request?.fields.findIndex(field => field.name === key) ?? -1
  if (index >= 0) return index
  throw new RangeError(
    `event "${requestName}" has no key field "${entity?.keyField}", which names the entity of group "${group.name}": add the field to the event or take the group out of the service`,
  )
}

/** The entity that a unit is read for, from the event that asks; null when the event names none. */
export function entityOf(read: UnitRead, event: DecodedEvent): string | null {
  return read.requestKeyIndex < 0 ? read.unit.entityId(event) : keyText(event.cells[read.requestKeyIndex] ?? null)
}

/** The online key of an entity's state in a unit. */
export function unitKey(namespace: string, read: UnitRead, entityId: string): string {
  return onlineKey(namespace, read.unit.entity, entityId, read.unit.id)
}

/** A row without any value. */
export function emptyRow(selection: Selection): FeatureRow {
  return {
    values: new Array<Value>(selection.names.length).fill(null),
    codes: new Uint8Array(selection.names.length).fill(MISSING),
    outOfRange: null,
  }
}

/**
 * Reads the features of one unit into a row. A value is `fresh`, or `stale` when `staleGroups` says so of its group;
 * null is `missing`; all are `out_of_range` when `t` lies behind the horizon. Throws when the stored bytes are not
 * readable.
 */
export function readInto(
  row: FeatureRow,
  selection: Selection,
  read: UnitRead,
  sections: readonly Section[],
  instant: { readonly t: number; readonly event: DecodedEvent | null; readonly staleGroups: readonly boolean[] },
): void {
  const self = read.joinsSelf && instant.event !== null ? read.unit.project(instant.event) : null
  const bytes = sections.map(section => section.bytes)
  const answer = read.reads.fromBytes(bytes, instant.t, self)
  const { targets } = read
  if (answer.outOfRange) {
    row.outOfRange ??= { unit: read.unit, newestMs: answer.newest }
    for (const target of targets) row.codes[target] = OUT_OF_RANGE
    return
  }
  for (let index = 0; index < targets.length; index++) {
    const target = targets[index] ?? 0
    const value = answer.values[index] ?? null
    row.values[target] = value
    const stale = instant.staleGroups[selection.groupOf[target] ?? 0] === true
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
