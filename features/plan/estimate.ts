import { applyPoint, emptySection, encodeSection, reachOf } from '../kernel/index.ts'
import type { FieldType, UnitSpec } from '../kernel/types.ts'
import { horizonOf } from './group-source.ts'
import type { GroupSource } from './group-source.ts'
import { divide, isExact, newUnit } from './placement.ts'
import type { Wanted } from './placement.ts'
import type { FeaturePlan, GroupPlan, SourcePlan } from './plan.ts'
import { steadyState } from './steady-state.ts'
import { syntheticEvent } from './synthetic-events.ts'
import type { EventShape } from './synthetic-events.ts'
import { bindUnit } from './units.ts'
import type { BoundGroup, BoundUnit } from './units.ts'

/** What is assumed of an entity and its events. */
export interface EntityRate {
  readonly eventsPerEntityPerDay: number
  /** Of an event's id where it is text; 36 stands for a UUID, which is stored in 16. */
  readonly idBytes: number
  /** Of each text field. */
  readonly textBytes: number
}

/** What one entity takes once it has had its rate for longer than the longest window. */
export interface Estimate {
  /** Heads and blocks of all partitions that hold events of it, on average over time. */
  readonly bytesPerEntity: number
  /** Head and blocks of a flush that carries one event. */
  readonly bytesWrittenPerEvent: number
  /** Events that are kept as they are. */
  readonly pointsHeld: number
  /** Whether the rate was too high for all events to be tried, so that the older ones are taken to be like the latest. */
  readonly extrapolated: boolean
}

/** Assumed where nothing is known of the events: UUIDs, and texts such as codes and names. */
export const TYPICAL_EVENTS: Omit<EntityRate, 'eventsPerEntityPerDay'> = { idBytes: 36, textBytes: 12 }

const DAY_MS = 86_400_000

/**
 * What a group's entity takes: its units together, also those that it shares with other groups. Of a union's events each
 * is taken to have an equal share of the rate, and an event is written to the unit of its own kind alone.
 */
export function estimateGroup(group: BoundGroup, rate: EntityRate): Estimate {
  const sets = new Map(group.features.map(feature => [feature.unit, feature.units]))
  const units = [...sets.values()].flatMap(together => {
    const share = { ...rate, eventsPerEntityPerDay: rate.eventsPerEntityPerDay / together.length }
    return together.map(unit => ({ ...estimateUnit(unit, share), share: 1 / together.length }))
  })
  const sum = (part: (unit: (typeof units)[number]) => number): number =>
    units.reduce((total, unit) => total + part(unit), 0)
  return {
    bytesPerEntity: sum(unit => unit.bytesPerEntity),
    bytesWrittenPerEvent: Math.round(sum(unit => unit.share * unit.bytesWrittenPerEvent)),
    pointsHeld: sum(unit => unit.pointsHeld),
    extrapolated: units.some(unit => unit.extrapolated),
  }
}

/**
 * What an entity takes in a unit at the entity's rate, as `steadyState` finds it. An entity that is not the record key has
 * a section for each partition of the topic, with a share of its events.
 */
export function estimateUnit(unit: BoundUnit, rate: EntityRate): Estimate {
  const sections = sectionsOf(unit)
  const { bytes, bytesWritten, points, extrapolated } = steadyState(
    unit.spec,
    shapeOf(unit.spec, unit.source, rate),
    rate.eventsPerEntityPerDay / sections,
  )
  return {
    bytesPerEntity: Math.round(sections * bytes),
    bytesWrittenPerEvent: Math.round(bytesWritten),
    pointsHeld: Math.max(1, Math.round(sections * points)),
    extrapolated,
  }
}

/** How many sections an entity has: one for each partition that can hold events of it. */
function sectionsOf({ source, byRecordKey }: BoundUnit): number {
  return byRecordKey ? 1 : source.partitions
}

function shapeOf(spec: UnitSpec, source: SourcePlan, rate: Pick<EntityRate, 'idBytes' | 'textBytes'>): EventShape {
  const idType: FieldType = source.fields.find(field => field.name === source.idField)?.type ?? { kind: 'string' }
  const { columns, filterCount } = spec
  return { columns, filterCount, idType, idBytes: rate.idBytes, textBytes: rate.textBytes }
}

/** A window that keeps events as they are, with what it would hold of the busiest entity. */
export interface ExactWindowSize {
  readonly feature: FeaturePlan
  readonly points: number
  readonly bytes: number
}

/** Enough to see what a point takes, its share of tiles and headers included. */
const PROBE_EVENTS = 256
/** What the estimate may be too low by at other numbers of events. */
const PROBE_MARGIN = 1.25

/**
 * A quick upper estimate for each feature whose window keeps events as they are: how many its window holds at the
 * group's rate, times what a point of such features takes in a section of 256.
 */
export function exactWindowSizes(group: GroupPlan, source: GroupSource): readonly ExactWindowSize[] {
  const exact = group.features.filter(isExact).map(feature => ({ group, feature }))
  return divide(exact).flatMap(wanted => {
    const perPoint = probe(wanted, group, source)
    return wanted.features.map(feature => {
      const reachMs = reachOf(feature.window) + horizonOf(source)
      const points = Math.ceil((group.eventsPerEntityPerDay * reachMs) / DAY_MS)
      return { feature, points, bytes: Math.ceil(points * perPoint) }
    })
  })
}

/** Bytes for each point that a section of few events holds; of a union's events those with the largest. */
function probe(wanted: Wanted, group: GroupPlan, source: GroupSource): number {
  const units = source.members.map(member => bindUnit(newUnit(0, source, member, wanted, [0]), 0, member.source))
  const sections = units.reduce((sum, unit) => sum + sectionsOf(unit), 0)
  const spacingMs = (DAY_MS / group.eventsPerEntityPerDay) * sections
  return Math.max(...units.map(unit => bytesPerPoint(unit, spacingMs)))
}

function bytesPerPoint({ spec, source }: BoundUnit, spacingMs: number): number {
  const shape = shapeOf(spec, source, TYPICAL_EVENTS)
  const state = emptySection(spec)
  for (let index = 0; index < PROBE_EVENTS; index++) {
    applyPoint(spec, state, syntheticEvent(shape, index, Math.floor(index * spacingMs)))
  }
  const points = state.points.length - state.head
  const image = encodeSection(spec, state)
  const total = image.blocks.reduce((sum, block) => sum + block.bytes.length, image.bytes.length)
  return (total / Math.max(1, points)) * PROBE_MARGIN
}

/** Bytes as a reader takes them in: `714 B`, `4.2 KiB`, `16 MiB`. */
export function bytesText(bytes: number): string {
  const units = ['B', 'KiB', 'MiB', 'GiB', 'TiB']
  let value = bytes
  let unit = 0
  while (value >= 1024 && unit < units.length - 1) {
    value /= 1024
    unit++
  }
  return `${value >= 100 || unit === 0 ? Math.round(value) : Number(value.toPrecision(2))} ${units[unit]}`
}
