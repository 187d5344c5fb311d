import {
  applyPoint,
  emptySection,
  encodeSection,
  oracleRead,
  oracleVerdicts,
  prepareReads,
} from '../../features/kernel/index.ts'
import type { SectionImage } from '../../features/kernel/index.ts'
import type { FeatureRead, Point, Value } from '../../features/kernel/types.ts'
import { eventDecoder } from '../../features/plan/event.ts'
import type { BoundUnit } from '../../features/plan/units.ts'
import { imageDifferences, readsOf } from '../../load-tests/faults/section-oracle.ts'
import type { LogRecord } from '../../topology/ports/event-log.ts'
import { onlineKey, shardOf } from '../../topology/ports/online-layout.ts'
import type { Lane } from '../../topology/ports/online-store.ts'
import type { Pick } from './simulated-scheduler.ts'
import { sectionName, withBlocks } from './simulated-store.ts'
import type { StoredSection } from './simulated-store.ts'

/** What a log says of one section: the records of one partition that name one entity, in order. */
export interface Expected {
  readonly name: string
  readonly key: string
  readonly unit: BoundUnit
  readonly lane: Lane
  readonly shard: number
  readonly events: { readonly record: LogRecord; readonly point: Point; readonly late: boolean }[]
  /** By position. */
  readonly images: Map<number, SectionImage>
}

/** What sections must hold by the definition, kept up to date as the log grows. */
export type Truth = ReturnType<typeof createTruth>

/**
 * @param startOf the first offset that units count from, in a life and partition of the topic
 */
export function createTruth(
  namespace: string,
  units: readonly BoundUnit[],
  startOf: (incarnation: string, partition: number) => number,
) {
  const byName = new Map<string, Expected>()
  const byShard = new Map<string, Expected[]>()
  const byKey = new Map<string, Expected[]>()
  const decoders = new Map(units.map(unit => [unit, eventDecoder(unit.source)]))
  const shardName = ({ unit, incarnation, partition }: Lane, shard: number): string =>
    `${unit}|${incarnation}|${partition}|${shard}`

  function expectedOf(unit: BoundUnit, lane: Lane, entityId: string): Expected {
    const key = onlineKey(namespace, unit.entity, entityId, unit.id)
    const name = sectionName(lane, key)
    let found = byName.get(name)
    if (found === undefined) {
      const shard = shardOf(unit.entity, entityId)
      found = { name, key, unit, lane, shard, events: [], images: new Map() }
      byName.set(name, found)
      byKey.set(key, [...(byKey.get(key) ?? []), found])
      byShard.set(shardName(lane, shard), [...(byShard.get(shardName(lane, shard)) ?? []), found])
    }
    return found
  }

  function appended(incarnation: string, record: LogRecord): void {
    const { partition, offset, value, arrivalMs } = record
    if (offset < startOf(incarnation, partition)) return
    for (const unit of units) {
      const decoded = decoders.get(unit)?.decodeJson(value, arrivalMs)
      const id = decoded?.ok === true ? unit.entityId(decoded.event) : null
      if (decoded?.ok !== true || id === null) continue
      const { events } = expectedOf(unit, { unit: unit.id, incarnation, partition }, id)
      const point = unit.project(decoded.event)
      const newest = events.reduce((most, each) => Math.max(most, each.point.time), -Infinity)
      events.push({ record, point, late: point.time < newest - unit.spec.latenessMs })
    }
  }

  return {
    appended,
    byName: (name: string): Expected | undefined => byName.get(name),
    inShard: (lane: Lane, shard: number): readonly Expected[] => byShard.get(shardName(lane, shard)) ?? [],
    /** All sections of one entity in one unit. */
    ofKey: (key: string): readonly Expected[] => byKey.get(key) ?? [],
    all: (): readonly Expected[] => [...byName.values()],
    /** The log lost its records from an offset on. */
    cut: (incarnation: string, partition: number, from: number): void => {
      for (const { lane, events, images } of byName.values()) {
        if (lane.incarnation !== incarnation || lane.partition !== partition) continue
        images.clear()
        const kept = events.filter(({ record }) => record.offset < from)
        events.splice(0, events.length, ...kept)
      }
    },
  }
}

/** The section after exactly the records up to a position. */
function imageAt(expected: Expected, position: number): SectionImage {
  const known = expected.images.get(position)
  if (known !== undefined) return known
  const { spec } = expected.unit
  const state = emptySection(spec)
  for (const { record, point } of expected.events) if (record.offset <= position) applyPoint(spec, state, point)
  const image = encodeSection(spec, state)
  expected.images.set(position, image)
  return image
}

/**
 * In what a stored section differs from a fold over the records up to its position, cut into a head and blocks, no block
 * missing or changed. With `whole` none may be left over either: a store may keep some that it was never told to drop
 * until the next write.
 */
export function sectionDifferences(expected: Expected, section: StoredSection, whole: boolean): readonly string[] {
  const { name, events } = expected
  if (!events.some(({ record }) => record.offset === section.position)) {
    return [`${name}: at ${section.position}, where the log has no record of it`]
  }
  const image = imageAt(expected, section.position)
  const wrong = imageDifferences(image, section).map(each => `${name} at ${section.position}: ${each}`)
  if (!whole) return wrong
  const known = new Set(image.blocks.map(block => block.id))
  for (const id of section.blocks.keys()) if (!known.has(id)) wrong.push(`${name}: block ${id} left over`)
  return wrong
}

const MAX_ROUNDS = 16

/** Reads of a unit, and how they are answered from sections. */
export interface UnitReads {
  readonly unit: BoundUnit
  readonly reads: readonly FeatureRead[]
  readonly prepared: ReturnType<typeof prepareReads>
}

/** What is asked of each unit in every comparison. */
export function unitReads(unit: BoundUnit): UnitReads {
  const reads = readsOf(unit)
  return { unit, reads, prepared: prepareReads(unit.spec, reads) }
}

/**
 * Reads one entity at picked instants as a scorer does, all its sections together, and compares with a plain loop over
 * the records of each section up to its position.
 */
export function readDifferences(
  { unit, reads, prepared }: UnitReads,
  sections: readonly { readonly expected: Expected; readonly section: StoredSection }[],
  pick: Pick,
): readonly string[] {
  const { spec } = unit
  const log = sections.flatMap(({ expected, section }, partition) =>
    expected.events
      .filter(({ record }) => record.offset <= section.position)
      .map(({ point }) => ({ partition, point })),
  )
  const verdicts = oracleVerdicts(spec, log)
  const accepted = log.filter((_, index) => verdicts[index] === 'added')
  const newest = accepted.reduce((most, { point }) => Math.max(most, point.time), 0)
  const instants = [newest, newest - spec.horizonMs, newest + pick(2 * spec.retentionMs)]
  return instants.flatMap(t => {
    const self = pick(2) === 0 ? null : (log[pick(log.length)]?.point ?? null)
    const found = answerOf(
      prepared,
      sections.map(({ section }) => section),
      t,
      self,
    )
    const wanted = oracleRead(spec, reads, accepted, t, self)
    if (shown(found) === shown(wanted)) return []
    return [`${sections[0]?.expected.key ?? ''}: read at ${t}: ${shown(found)}, not ${shown(wanted)}`]
  })
}

/** Reads with the blocks that the instant names, then with those that were missing. */
function answerOf(
  prepared: UnitReads['prepared'],
  sections: readonly StoredSection[],
  t: number,
  self: Point | null,
): readonly Value[] | string | null {
  const ids = new Set(prepared.blocksFor(t, self))
  for (let round = 0; round < MAX_ROUNDS; round++) {
    const named = sections.map(section => withBlocks(section, section.levels === 0 ? [] : [...ids]))
    const answer = prepared.fromBytes(named, t, self)
    if (!('missing' in answer)) return answer.outOfRange ? null : answer.values
    if (answer.missing.some(id => ids.has(id))) return `blocks ${answer.missing.join(', ')} are named but not stored`
    for (const id of answer.missing) ids.add(id)
  }
  return 'it never has all the blocks it needs'
}

function shown(value: unknown): string {
  return JSON.stringify(value, (_, each: unknown) => (typeof each === 'bigint' ? `${each}n` : each))
}
