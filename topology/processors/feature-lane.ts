import type { Point } from '../../features/kernel/types.ts'
import { applyPoint, encodeSection, stateBytes } from '../../features/kernel/index.ts'
import type { SectionState } from '../../features/kernel/index.ts'
import type { DecodedEvent } from '../../features/plan/event.ts'
import type { BoundUnit } from '../../features/plan/units.ts'
import { onlineKey } from '../ports/online-layout.ts'
import { SHARD_COUNT } from '../ports/online-store.ts'
import type { Canary, FlushOutcome, Lane, SectionWrite, ShardFlush } from '../ports/online-store.ts'

/**
 * The worker's state for one (unit, source partition): a pure step machine. Every rule of the max-register protocol
 * is here; whoever drives it performs the loads and flushes it asks for and hands the outcomes back.
 *
 * Invariant: a cached entry is the state after exactly the records of this partition up to `applied` (or up to the
 * entry's own position where that is larger), so it may be dropped at any time and loaded again. Blocks of it that are
 * not in memory are those of the section stored with `storedPosition`.
 */
export interface FeatureLane {
  readonly unit: BoundUnit
  readonly lane: Lane
  readonly namespace: string
  /** By shard: what the store last acknowledged. */
  readonly canaries: Canary[]
  /** The last record of the partition that went through this lane. */
  applied: Canary
  /** Least recently touched first. */
  readonly entries: Map<string, Entry>
  readonly dirty: Set<string>
  /** About how much memory the entries take. */
  cachedBytes: number
}

/** One entity's section in memory. */
export interface Entry {
  readonly state: SectionState
  position: number
  /** Position of the section that is stored, as last seen; −1 for none. */
  storedPosition: number
  readonly shard: number
  /** What it counts for in `cachedBytes`. */
  bytes: number
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
    cachedBytes: 0,
  }
}

function smallest(canaries: readonly Canary[]): Canary {
  return canaries.reduce((least, canary) => (canary.offset < least.offset ? canary : least))
}

/** The smallest canary: everything up to it is written in every shard. */
export function safePosition(lane: FeatureLane): Canary {
  return smallest(lane.canaries)
}

/** The online key of an entity's state in the lane's unit. */
export function keyOf(lane: FeatureLane, entityId: string): string {
  return onlineKey(lane.namespace, lane.unit.entity, entityId, lane.unit.id)
}

/** What the store last acknowledged of a shard. */
export function canaryOf(lane: FeatureLane, shard: number): Canary {
  const canary = lane.canaries[shard]
  if (canary === undefined) throw new RangeError(`no shard ${shard}`)
  return canary
}

/** Counts an entry for what it takes now. */
export function measure(lane: FeatureLane, entry: Entry): void {
  const bytes = stateBytes(entry.state)
  lane.cachedBytes += bytes - entry.bytes
  entry.bytes = bytes
}

function forget(lane: FeatureLane, entityId: string, entry: Entry): void {
  lane.cachedBytes -= entry.bytes
  lane.entries.delete(entityId)
}

function touch(lane: FeatureLane, entityId: string, entry: Entry): void {
  lane.dirty.add(entityId)
  lane.entries.delete(entityId)
  lane.entries.set(entityId, entry)
}

/**
 * Applies events in offset order; `last` is the last record of the batch, whether it was an event or not. A record at
 * or below a section's position is skipped, and that section is written again with the next flush. The sections and
 * blocks that `loadsFor` and `blockLoadsFor` name must be cached.
 */
export function applyEvents(lane: FeatureLane, events: readonly LaneEvent[], last: Canary): LaneOutcome {
  let added = 0
  let duplicates = 0
  let conflicts = 0
  let skipped = 0
  const late: number[] = []
  const changed = new Set<Entry>()
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
    changed.add(entry)
    if (outcome === 'added') added++
    else if (outcome === 'late') late.push(offset)
    else if (outcome === 'duplicate') duplicates++
    else conflicts++
  }
  for (const entry of changed) measure(lane, entry)
  if (last.offset > lane.applied.offset) lane.applied = last
  return { added, duplicates, conflicts, skipped, late }
}

/**
 * One flush: all dirty sections, with the canary of their shards brought to `applied`. With `all`, canaries of untouched
 * shards are brought forward too. Encoding takes what is now in blocks out of the cached states: unless `flushed`
 * accepts the outcome, the lane must be forgotten.
 */
export function flushesFor(lane: FeatureLane, all: boolean): readonly ShardFlush[] {
  const writes = new Map<number, SectionWrite[]>()
  for (const entityId of lane.dirty) {
    const entry = lane.entries.get(entityId)
    if (entry === undefined) throw new Error(`dirty entity ${entityId} is not cached`)
    let list = writes.get(entry.shard)
    if (list === undefined) writes.set(entry.shard, (list = []))
    const image = encodeSection(lane.unit.spec, entry.state)
    // Up to its canary a shard is known to be written; a section that was found ahead of it may have been lost since.
    const relies = image.levels !== 0 || entry.storedPosition > canaryOf(lane, entry.shard).offset
    const base = relies ? entry.storedPosition : -1
    list.push({ key: keyOf(lane, entityId), position: entry.position, ...image, base, ttlMs: 0 })
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
 * Takes in what a flush answered. Not accepted when any shard was fenced: the caller must forget this lane and start
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
  for (const entityId of lane.dirty) {
    const entry = lane.entries.get(entityId)
    if (entry === undefined) continue
    entry.storedPosition = entry.position
    measure(lane, entry)
  }
  lane.dirty.clear()
  if (evict.size > 0) {
    for (const [entityId, entry] of lane.entries) if (evict.has(entry.shard)) forget(lane, entityId, entry)
  }
  return { accepted: true, refused }
}

/** Bytes that a flush asks the store to write: heads and blocks. */
export function writtenBytes(shards: readonly ShardFlush[]): number {
  let bytes = 0
  for (const { writes } of shards) {
    for (const write of writes) {
      bytes += write.bytes.length
      for (const block of write.blocks) bytes += block.bytes.length
    }
  }
  return bytes
}

/** Forgets the least recently touched clean entries while all of them take more than the bound. */
export function trimCache(lane: FeatureLane, maxBytes: number): void {
  if (lane.cachedBytes <= maxBytes) return
  for (const [entityId, entry] of lane.entries) {
    if (lane.cachedBytes <= maxBytes) return
    if (!lane.dirty.has(entityId)) forget(lane, entityId, entry)
  }
}
