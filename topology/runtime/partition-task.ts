import type { SourcePlan } from '../../features/plan/plan.ts'
import type { BoundUnit } from '../../features/plan/units.ts'
import type { Clock } from '../ports/clock.ts'
import type { ConsumerControl, EventLog, LogRecord, PartitionBounds } from '../ports/event-log.ts'
import { SHARD_COUNT } from '../ports/online-store.ts'
import type { Canary, OnlineStore } from '../ports/online-store.ts'
import type { Telemetry } from '../ports/telemetry.ts'
import type { EventReader } from '../ports/value-format.ts'
import {
  applyEvents,
  createFeatureLane,
  flushed,
  flushesFor,
  safePosition,
  trimCache,
  writtenBytes,
} from '../processors/feature-lane.ts'
import type { FeatureLane, LaneEvent } from '../processors/feature-lane.ts'
import { BlockMissing, blockLoadsFor, blocksLoaded, loaded, loadsFor } from '../processors/lane-loads.ts'
import type { LoadRequest } from '../processors/lane-loads.ts'
import { reportedRecord } from '../processors/reported.ts'
import { settleAll } from '../settle.ts'
import { lateTopic } from '../topology.ts'

/** Bounds and periods of a feature worker. */
export interface FeatureWorkerLimits {
  /** Dirty sections a partition may hold before it flushes, whether it has caught up or not. */
  readonly maxDirtySections: number
  /** Memory that the sections of one unit and partition may take between batches; above it they are flushed. */
  readonly maxCachedBytes: number
  /** How often canaries of untouched shards are brought forward and the offset is committed. */
  readonly commitIntervalMs: number
  /** The most that the log takes in one record. */
  readonly maxRecordBytes: number
}

export interface FeatureWorkerOptions {
  readonly source: SourcePlan
  /** The units of one catalogue revision. */
  readonly units: readonly BoundUnit[]
  /** By partition: the first offset the units count from, in the topic's life `incarnation`. */
  readonly start: { readonly incarnation: string; readonly offsets: readonly number[] }
  /** By partition: in that life, records before this offset had their lateness judged by an earlier revision. */
  readonly liveFrom: readonly number[]
  /** Entities whose late events this worker reports; those of earlier revisions are reported by theirs. */
  readonly reportsLateFor: ReadonlySet<string>
  /** Names the progress of these units, as `BoundUnit.feed`. */
  readonly feed: string
  readonly namespace: string
  readonly log: EventLog
  readonly store: OnlineStore
  /** Reads the source's records; as JSON where it is absent. */
  readonly reader?: EventReader
  readonly clock: Clock
  readonly telemetry: Telemetry
  readonly limits: FeatureWorkerLimits
  /** Called before units without canaries begin anew; throws where the store's units are no longer those of `units`. */
  readonly confirmUnits: () => Promise<void>
}

/** The options with what is prepared from them once. */
export interface WorkerScope extends FeatureWorkerOptions {
  readonly reader: EventReader
  /** By partition: late events of this life of the topic up to the offset were published, whatever became of the state. */
  readonly lateUpTo: Map<number, { readonly incarnation: string; readonly offset: number }>
}

/** A partition cannot be continued without risking a wrong count; the message says what is missing and what to do. */
export class RebuildNeeded extends Error {
  readonly code = 'REBUILD_NEEDED'
  constructor(message: string) {
    super(`${message}; the state of this partition must be rebuilt from the offline store`)
    this.name = 'RebuildNeeded'
  }
}

/** What a worker holds of one partition: a lane for each unit. */
export interface PartitionTask {
  readonly partition: number
  readonly incarnation: string
  readonly lanes: readonly FeatureLane[]
  /** On the monotonic clock, as is the next: a clock that is set back must not hold them up. */
  lastCommitAtMs: number
  lastProgressAtMs: number
  /** 0 while it was never read to its end. */
  caughtUpAtMs: number
  committedOffset: number
  /** A step failed half-way: what is cached may not match what is stored. */
  broken: boolean
}

const PROGRESS_INTERVAL_MS = 1_000

/** Reads the canaries of every unit; throws RebuildNeeded where going on from them would leave a hole. */
export async function openTask(scope: WorkerScope, partition: number, bounds: PartitionBounds): Promise<PartitionTask> {
  const { incarnation } = bounds
  const lanes: FeatureLane[] = []
  for (const unit of scope.units) {
    const lane = { unit: unit.id, incarnation, partition }
    lanes.push(createFeatureLane(unit, lane, scope.namespace, await openCanaries(scope, lane, bounds)))
  }
  const lastCommitAtMs = scope.clock.monotonicMs()
  const before = (await scope.store.readProgress()).find(p => p.feed === scope.feed && p.partition === partition)
  const caughtUpAtMs = before?.caughtUpAtMs ?? 0
  return {
    partition,
    incarnation,
    lanes,
    lastCommitAtMs,
    lastProgressAtMs: -Infinity,
    caughtUpAtMs,
    committedOffset: -1,
    broken: false,
  }
}

async function openCanaries(
  scope: WorkerScope,
  lane: FeatureLane['lane'],
  bounds: PartitionBounds,
): Promise<readonly Canary[]> {
  const stored = await scope.store.readCanaries(lane, SHARD_COUNT)
  const found = stored.filter(canary => canary !== null)
  const what = `unit ${lane.unit}, topic ${scope.source.topic} partition ${lane.partition}`
  const sameLife = scope.start.incarnation === bounds.incarnation
  const start = (sameLife ? scope.start.offsets[lane.partition] : undefined) ?? 0
  // Some canaries and no others, all where a unit begins: a first start that was interrupted. Nothing was counted yet.
  if (found.length < SHARD_COUNT && found.every(canary => canary.offset === start - 1)) {
    if (bounds.startOffset > start) {
      throw new RebuildNeeded(`${what}: the log begins at ${bounds.startOffset}, the unit at ${start}`)
    }
    if (!sameLife && found.length === 0) await checkEarlierLife(scope, lane.unit, what)
    await scope.confirmUnits()
    return await scope.store.initialiseCanaries(lane, SHARD_COUNT, { offset: start - 1, arrivalMs: 0 })
  }
  if (found.length < SHARD_COUNT) {
    throw new RebuildNeeded(`${what}: ${SHARD_COUNT - found.length} of ${SHARD_COUNT} canaries are missing`)
  }
  const lowest = found.reduce((least, canary) => (canary.offset < least.offset ? canary : least))
  const highest = found.reduce((most, canary) => (canary.offset > most.offset ? canary : most))
  if (lowest.offset + 1 < bounds.startOffset) {
    throw new RebuildNeeded(
      `${what}: records ${lowest.offset + 1} to ${bounds.startOffset - 1} are no longer in the log`,
    )
  }
  if (highest.offset >= bounds.endOffset) {
    throw new RebuildNeeded(`${what}: the log ends at ${bounds.endOffset}, below what was counted (${highest.offset})`)
  }
  await checkSameLog(scope, lane, bounds, highest, what)
  return found
}

/**
 * In another life of the topic than its first, a unit without canaries begins anew; but what was counted before must
 * still be stored, for no log holds it any more. A store that was emptied shows no canary of the first life either.
 */
async function checkEarlierLife(scope: WorkerScope, unit: number, what: string): Promise<void> {
  const { incarnation, offsets } = scope.start
  for (const partition of offsets.keys()) {
    const stored = await scope.store.readCanaries({ unit, incarnation, partition }, SHARD_COUNT)
    if (stored.some(canary => canary !== null)) return
  }
  throw new RebuildNeeded(`${what}: what the unit counted in an earlier life of the topic is not stored any more`)
}

/** A record that stands at a canary's offset with another arrival time belongs to another log. */
async function checkSameLog(
  scope: WorkerScope,
  lane: FeatureLane['lane'],
  bounds: PartitionBounds,
  canary: Canary,
  what: string,
): Promise<void> {
  if (canary.offset < bounds.startOffset) return
  const { records, incarnation } = await scope.log.read(scope.source.topic, lane.partition, canary.offset, 1)
  if (incarnation !== bounds.incarnation) throw new Error(`${what}: the topic was made again meanwhile`)
  const [record] = records
  if (record === undefined || record.offset !== canary.offset || record.arrivalMs === canary.arrivalMs) return
  throw new RebuildNeeded(
    `${what}: the record at ${canary.offset} is not the one that was counted; the topic was replaced`,
  )
}

/** Where all lanes have been: records at or below it need no second look. */
export function appliedOffset(task: PartitionTask): number {
  return Math.min(...task.lanes.map(lane => lane.applied.offset))
}

/**
 * Loads the sections that the events touch and the blocks of them that are needed; false when a shard was fenced or
 * another owner wrote a section meanwhile. Throws `RebuildNeeded` where a stored section lacks a block.
 */
export async function loadSections(
  scope: WorkerScope,
  task: PartitionTask,
  events: readonly LaneEvent[],
): Promise<boolean> {
  const lanes = await settleAll(task.lanes.map(lane => loadLane(scope, lane, events)))
  return lanes.every(ok => ok)
}

async function loadLane(scope: WorkerScope, lane: FeatureLane, events: readonly LaneEvent[]): Promise<boolean> {
  try {
    for (const { request, outcome } of await load(scope, lane, loadsFor(lane, events))) {
      if (!outcome.ok) return false
      loaded(lane, request, outcome.sections)
    }
    return await loadBlocks(scope, lane, events)
  } catch (error) {
    throw error instanceof BlockMissing ? new RebuildNeeded(`unit ${lane.unit.id}, ${error.message}`) : error
  }
}

async function loadBlocks(scope: WorkerScope, lane: FeatureLane, events: readonly LaneEvent[]): Promise<boolean> {
  const labels = { source: scope.source.name, unit: lane.unit.id }
  for (;;) {
    const requests = blockLoadsFor(lane, events)
    if (requests.length === 0) return true
    for (const { request, outcome } of await load(scope, lane, requests)) {
      if (!outcome.ok || !blocksLoaded(lane, request, outcome.sections)) return false
      const blocks = request.keys.reduce((sum, each) => sum + each.blocks.length, 0)
      scope.telemetry.count('feature_worker_block_loads', blocks, labels)
    }
  }
}

/** The shards' requests together, so that a store behind a network is waited for once. */
async function load(scope: WorkerScope, { lane }: FeatureLane, requests: readonly LoadRequest[]) {
  return await settleAll(
    requests.map(async request => ({
      request,
      outcome: await scope.store.load(lane, request.shard, request.expected, request.keys),
    })),
  )
}

/** Writes what is dirty, with `everyCanary` the canary of each shard too; false when a shard was fenced. */
export async function flushTask(scope: WorkerScope, task: PartitionTask, everyCanary: boolean): Promise<boolean> {
  const lanes = await settleAll(task.lanes.map(lane => flushLane(scope, lane, everyCanary)))
  return lanes.every(accepted => accepted)
}

async function flushLane(scope: WorkerScope, lane: FeatureLane, everyCanary: boolean): Promise<boolean> {
  const shards = flushesFor(lane, everyCanary)
  if (shards.length === 0) return true
  const { accepted, refused } = flushed(lane, shards, await scope.store.flush(lane.lane, shards))
  scope.telemetry.count('feature_worker_refused_sections', refused, { source: scope.source.name })
  if (!accepted) return false
  scope.telemetry.count('feature_worker_written_bytes', writtenBytes(shards), {
    source: scope.source.name,
    unit: lane.unit.id,
  })
  trimCache(lane, scope.limits.maxCachedBytes)
  return true
}

/** Commits up to the smallest canary: nothing that is not written. */
export async function commitTask(scope: WorkerScope, task: PartitionTask, control: ConsumerControl): Promise<void> {
  const next = Math.min(...task.lanes.map(lane => safePosition(lane).offset)) + 1
  if (next > task.committedOffset) {
    await control.commit(scope.source.topic, task.partition, next)
    task.committedOffset = next
  }
  task.lastCommitAtMs = scope.clock.monotonicMs()
}

/**
 * Whether every shard is still stored as far as it was acknowledged: false when the store went back or was emptied while
 * there was nothing to write.
 */
export async function isStillStored(scope: WorkerScope, task: PartitionTask): Promise<boolean> {
  const lanes = await settleAll(
    task.lanes.map(async ({ lane, canaries }) => {
      const stored = await scope.store.readCanaries(lane, SHARD_COUNT)
      return canaries.every((canary, shard) => (stored[shard]?.offset ?? -Infinity) >= canary.offset)
    }),
  )
  return lanes.every(stored => stored)
}

/** Whether it is time to say how far the partition has been read. */
export function progressDue(scope: WorkerScope, task: PartitionTask): boolean {
  return scope.clock.monotonicMs() - task.lastProgressAtMs >= PROGRESS_INTERVAL_MS
}

/** Says about once a second how far the partition has been read, and when it was last read to its end. */
export async function publishProgress(scope: WorkerScope, task: PartitionTask, caughtUp: boolean): Promise<void> {
  if (caughtUp) task.caughtUpAtMs = scope.clock.nowMs()
  if (!progressDue(scope, task)) return
  task.lastProgressAtMs = scope.clock.monotonicMs()
  const applied = task.lanes[0]?.applied ?? { offset: -1, arrivalMs: 0 }
  const { partition, caughtUpAtMs } = task
  await scope.store.publishProgress([{ feed: scope.feed, partition, ...applied, caughtUpAtMs }])
}

/** The valid events among records that the task has not applied; the others are the offline writer's to report. */
export function decodeRecords(
  scope: WorkerScope,
  task: PartitionTask,
  records: readonly LogRecord[],
): readonly LaneEvent[] {
  const events: LaneEvent[] = []
  let invalid = 0
  const from = appliedOffset(task)
  for (const record of records) {
    if (record.offset <= from) continue
    const decoded = scope.reader.read(record.value, record.arrivalMs)
    if (decoded.ok) events.push({ offset: record.offset, arrivalMs: record.arrivalMs, event: decoded.event })
    else invalid++
  }
  scope.telemetry.count('feature_worker_invalid_records', invalid, { source: scope.source.name })
  return events
}

/** Applies a batch to every lane; returns which entities refused which offset as late. */
export function applyToLanes(
  scope: WorkerScope,
  task: PartitionTask,
  events: readonly LaneEvent[],
  last: Canary,
): ReadonlyMap<number, readonly string[]> {
  const late = new Map<number, string[]>()
  const liveFrom = (task.incarnation === scope.start.incarnation ? scope.liveFrom[task.partition] : undefined) ?? 0
  for (const lane of task.lanes) {
    const outcome = applyEvents(lane, events, last)
    const labels = { source: scope.source.name, unit: lane.unit.id }
    scope.telemetry.count('feature_worker_added_events', outcome.added, labels)
    scope.telemetry.count('feature_worker_duplicate_events', outcome.duplicates, labels)
    scope.telemetry.count('feature_worker_conflicting_events', outcome.conflicts, labels)
    if (!scope.reportsLateFor.has(lane.unit.entity)) continue
    for (const offset of outcome.late) {
      if (offset < liveFrom) continue
      const entities = late.get(offset)
      if (entities === undefined) late.set(offset, [lane.unit.entity])
      else if (!entities.includes(lane.unit.entity)) entities.push(lane.unit.entity)
    }
  }
  return late
}

/** One record per late event, naming the entities that refused it; written before the state that remembers it. */
export async function publishLate(
  scope: WorkerScope,
  { partition, incarnation }: PartitionTask,
  records: readonly LogRecord[],
  late: ReadonlyMap<number, readonly string[]>,
): Promise<void> {
  const { source, log, telemetry, limits } = scope
  const published = scope.lateUpTo.get(partition)
  const upTo = published?.incarnation === incarnation ? published.offset : -1
  const refused = records.filter(record => record.offset > upTo && late.has(record.offset))
  const last = refused.at(-1)
  if (last === undefined) return
  await log.append(
    refused.map(record => {
      const headers = { 'hw-source': source.name, 'hw-late-for': (late.get(record.offset) ?? []).join(',') }
      return reportedRecord(record, { ...source, topic: lateTopic(source) }, headers, limits.maxRecordBytes)
    }),
  )
  scope.lateUpTo.set(partition, { incarnation, offset: last.offset })
  telemetry.count('feature_worker_late_events', refused.length, { source: source.name })
}
