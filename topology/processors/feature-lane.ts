import type { Point } from '../../features/kernel/types.ts'
import { applyPoint, decodeSection, emptySection, encodeSection } from '../../features/kernel/index.ts'
import type { SectionState } from '../../features/kernel/index.ts'
import type { DecodedEvent } from '../../features/plan/event.ts'
import type { BoundUnit } from '../../features/plan/units.ts'
import { onlineKey, shardOf } from '../ports/online-layout.ts'
import { SHARD_COUNT } from '../ports/online-store.ts'
import type { Canary, FlushOutcome, Lane, Section, SectionWrite, ShardFlush } from '../ports/online-store.ts'

/**
 * The worker's state for one (unit, source partition): a pure step machine. Every rule of the max-register protocol
 * is here; whoever drives it performs the loads and flushes it asks for and hands the outcomes back.
 *
 * Invariant: a cached entry is the state after exactly the records of this partition up to `applied` (or up to the
 * entry's own position where that is larger), so it may be dropped at any time and loaded again.
 */
export interface FeatureLane {
  readonly unit: BoundUnit
  readonly lane: Lane
  readonly namespace: string
  /** By shard: what the store last acknowledged. */
  readonly canaries: Canary[]
  /** The last record of the partition that went through this lane. */
  applied: Canary
  readonly entries: Map<string, Entry>
  readonly dirty: Set<string>
}

interface Entry {
  state: SectionState
  position: number
  readonly shard: number
}

/** A record that passed its source's checks, at its place in the log. */
export interface LaneEvent {
  readonly offset: number
  readonly arrivalMs: number
  readonly event: DecodedEvent
}

/** What applying a batch did. `late` holds the offsets this unit's entity refused. */
export interface LaneOutcome {
  readonly added: number
  readonly duplicates: number
  readonly conflicts: number
  readonly skipped: number
  readonly late: readonly number[]
}

export interface LoadRequest {
  readonly shard: number
  readonly expected: Canary
  readonly entityIds: readonly string[]
  readonly keys: readonly string[]
}

/** Starts where every shard is known to be written: at the smallest canary. `canaries` has one entry per shard. */
export function createFeatureLane(
  unit: BoundUnit,
  lane: Lane,
  namespace: string,
  canaries: readonly Canary[],
): FeatureLane {
  if (canaries.length !== SHARD_COUNT) throw new RangeError(`expected ${SHARD_COUNT} canaries, got ${canaries.length}`)
  return {
    unit,
    lane,
    namespace,
    canaries: [...canaries],
    applied: smallest(canaries),
    entries: new Map(),
    dirty: new Set(),
  }
}

function smallest(canaries: readonly Canary[]): Canary {
  return canaries.reduce((least, canary) => (canary.offset < least.offset ? canary : least))
}

/** The smallest canary: everything up to it is written in every shard. */
export function safePosition(lane: FeatureLane): Canary {
  return smallest(lane.canaries)
}

/** The sections that must be loaded before the events may be applied. */
export function loadsFor(lane: FeatureLane, events: readonly LaneEvent[]): readonly LoadRequest[] {
  const byShard = new Map<number, Set<string>>()
  for (const { offset, event } of events) {
    if (offset <= lane.applied.offset) continue
    const entityId = lane.unit.entityId(event)
    if (entityId === null || lane.entries.has(entityId)) continue
    const shard = shardOf(lane.unit.entity, entityId)
    if (offset <= (lane.canaries[shard]?.offset ?? -1)) continue
    let wanted = byShard.get(shard)
    if (wanted === undefined) byShard.set(shard, (wanted = new Set()))
    wanted.add(entityId)
  }
  return [...byShard].map(([shard, wanted]) => {
    const entityIds = [...wanted]
    const keys = entityIds.map(id => onlineKey(lane.namespace, lane.unit.entity, id, lane.unit.id))
    return { shard, expected: canaryOf(lane, shard), entityIds, keys }
  })
}

function canaryOf(lane: FeatureLane, shard: number): Canary {
  const canary = lane.canaries[shard]
  if (canary === undefined) throw new RangeError(`no shard ${shard}`)
  return canary
}

/** Takes in what a load answered. */
export function loaded(lane: FeatureLane, request: LoadRequest, sections: readonly (Section | null)[]): void {
  request.entityIds.forEach((entityId, index) => {
    const section = sections[index] ?? null
    const state = section === null ? emptySection(lane.unit.spec) : decodeSection(lane.unit.spec, section.bytes)
    lane.entries.set(entityId, { state, position: section?.position ?? -1, shard: request.shard })
  })
}

function touch(lane: FeatureLane, entityId: string, entry: Entry): void {
  lane.dirty.add(entityId)
  lane.entries.delete(entityId)
  lane.entries.set(entityId, entry)
}

/**
 * Applies events in offset order; `last` is the last record of the batch, whether it was an event or not. A record at
 * or below a section's position is skipped, and that section is written again with the next flush.
 */
export function applyEvents(lane: FeatureLane, events: readonly LaneEvent[], last: Canary): LaneOutcome {
  let added = 0
  let duplicates = 0
  let conflicts = 0
  let skipped = 0
  const late: number[] = []
  for (const { offset, event } of events) {
    if (offset <= lane.applied.offset) continue
    const entityId = lane.unit.entityId(event)
    if (entityId === null) continue
    const entry = lane.entries.get(entityId)
    if (entry === undefined) {
      skipped++
      continue
    }
    if (offset <= entry.position) {
      skipped++
      touch(lane, entityId, entry)
      continue
    }
    const point: Point = lane.unit.project(event)
    const outcome = applyPoint(lane.unit.spec, entry.state, point)
    entry.position = offset
    touch(lane, entityId, entry)
    if (outcome === 'added') added++
    else if (outcome === 'late') late.push(offset)
    else if (outcome === 'duplicate') duplicates++
    else conflicts++
  }
  if (last.offset > lane.applied.offset) lane.applied = last
  return { added, duplicates, conflicts, skipped, late }
}

/**
 * One flush: all dirty sections, with the canary of their shards brought to `applied`. With `all`, canaries of untouched
 * shards are brought forward too.
 */
export function flushesFor(lane: FeatureLane, all: boolean): readonly ShardFlush[] {
  const writes = new Map<number, SectionWrite[]>()
  for (const entityId of lane.dirty) {
    const entry = lane.entries.get(entityId)
    if (entry === undefined) throw new Error(`dirty entity ${entityId} is not cached`)
    let list = writes.get(entry.shard)
    if (list === undefined) writes.set(entry.shard, (list = []))
    list.push({
      key: onlineKey(lane.namespace, lane.unit.entity, entityId, lane.unit.id),
      position: entry.position,
      bytes: encodeSection(lane.unit.spec, entry.state),
      ttlMs: 0,
    })
  }
  if (all) {
    for (let shard = 0; shard < SHARD_COUNT; shard++) {
      if (!writes.has(shard) && canaryOf(lane, shard).offset < lane.applied.offset) writes.set(shard, [])
    }
  }
  return [...writes].map(([shard, list]) => {
    const expected = canaryOf(lane, shard)
    const next = expected.offset > lane.applied.offset ? expected : lane.applied
    return { shard, expected, next, writes: list }
  })
}

/**
 * Takes in what a flush answered. Returns false when any shard was fenced: the caller must forget this lane and start
 * again from the stored canaries.
 */
export function flushed(
  lane: FeatureLane,
  shards: readonly ShardFlush[],
  outcomes: readonly FlushOutcome[],
): { readonly accepted: boolean; readonly refused: number } {
  let refused = 0
  const evict = new Set<number>()
  for (const [index, shard] of shards.entries()) {
    const outcome = outcomes[index]
    if (outcome === undefined || !outcome.ok) return { accepted: false, refused }
    lane.canaries[shard.shard] = outcome.canary
    refused += outcome.refused
    if (outcome.refused > 0 || outcome.canary.offset > lane.applied.offset) evict.add(shard.shard)
  }
  lane.dirty.clear()
  if (evict.size > 0) {
    for (const [entityId, entry] of lane.entries) if (evict.has(entry.shard)) lane.entries.delete(entityId)
  }
  return { accepted: true, refused }
}

/** Drops the least recently touched clean entries above the bound. */
export function trimCache(lane: FeatureLane, maxEntities: number): void {
  if (lane.entries.size <= maxEntities) return
  for (const entityId of lane.entries.keys()) {
    if (lane.entries.size <= maxEntities) return
    if (!lane.dirty.has(entityId)) lane.entries.delete(entityId)
  }
}
