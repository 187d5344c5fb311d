import { eventDecoder } from '../../features/plan/event.ts'
import type { SourcePlan } from '../../features/plan/plan.ts'
import type { BoundUnit } from '../../features/plan/units.ts'
import type { Clock } from '../ports/clock.ts'
import type { Batch, ConsumerControl, ConsumerHandlers, EventLog, LogRecord, PartitionBounds } from '../ports/event-log.ts'
import { SHARD_COUNT } from '../ports/online-store.ts'
import type { Canary, OnlineStore } from '../ports/online-store.ts'
import type { Telemetry } from '../ports/telemetry.ts'
import {
  applyEvents,
  createFeatureLane,
  flushed,
  flushesFor,
  loaded,
  loadsFor,
  safePosition,
  trimCache,
} from '../processors/feature-lane.ts'
import type { FeatureLane, LaneEvent } from '../processors/feature-lane.ts'
import { lateTopic } from '../topology.ts'

/** Bounds and periods of a feature worker. */
export interface FeatureWorkerLimits {
  /** Dirty sections a partition may hold before it flushes, whether it has caught up or not. */
  readonly maxDirtySections: number
  /** Sections kept in memory per unit and partition. */
  readonly maxCachedSections: number
  /** How often canaries of untouched shards are brought forward and the offset is committed. */
  readonly commitIntervalMs: number
}

export const FEATURE_WORKER_LIMITS: FeatureWorkerLimits = {
  maxDirtySections: 5_000,
  maxCachedSections: 50_000,
  commitIntervalMs: 2_000,
}

export interface FeatureWorkerOptions {
  readonly source: SourcePlan
  /** The units of one catalogue revision. */
  readonly units: readonly BoundUnit[]
  /** By partition: the first offset the units count from, in the topic's life `incarnation`. */
  readonly start: { readonly incarnation: string; readonly offsets: readonly number[] }
  /** By partition: records before this offset had their lateness judged by an earlier revision. */
  readonly liveFrom: readonly number[]
  readonly namespace: string
  readonly log: EventLog
  readonly store: OnlineStore
  readonly clock: Clock
  readonly telemetry: Telemetry
  readonly limits: FeatureWorkerLimits
}

/** A partition cannot be continued without risking a wrong count; the message says what is missing and what to do. */
export class RebuildNeeded extends Error {
  readonly code = 'REBUILD_NEEDED'
  constructor(message: string) {
    super(`${message}; the state of this partition must be rebuilt from the offline store`)
    this.name = 'RebuildNeeded'
  }
}

interface PartitionTask {
  readonly partition: number
  readonly incarnation: string
  lanes: readonly FeatureLane[]
  lastCommitAtMs: number
  lastProgressAtMs: number
  committedOffset: number
  /** A step failed half-way: what is cached may not match what is stored. */
  broken: boolean
}

/**
 * The feature worker of one source: log in, sections out, each event counted once. Correctness rests on the stored
 * canaries and positions alone; the log's committed offset only shortens the way back after a restart.
 */
export function createFeatureWorker(options: FeatureWorkerOptions): ConsumerHandlers {
  const { source, units, store, clock, telemetry, limits } = options
  const decoder = eventDecoder(source)
  const tasks = new Map<number, PartitionTask>()
  const labels = { source: source.name }

  async function open(partition: number, bounds: PartitionBounds): Promise<PartitionTask> {
    const lanes: FeatureLane[] = []
    for (const unit of units) {
      const lane = { unit: unit.id, incarnation: bounds.incarnation, partition }
      const canaries = await openCanaries(lane, bounds)
      lanes.push(createFeatureLane(unit, lane, options.namespace, canaries))
    }
    const now = clock.nowMs()
    const incarnation = bounds.incarnation
    const task = { partition, incarnation, lanes, lastCommitAtMs: now, lastProgressAtMs: 0, committedOffset: -1, broken: false }
    tasks.set(partition, task)
    return task
  }

  async function openCanaries(lane: FeatureLane['lane'], bounds: PartitionBounds): Promise<readonly Canary[]> {
    const stored = await store.readCanaries(lane, SHARD_COUNT)
    const found = stored.filter(canary => canary !== null)
    const what = `unit ${lane.unit}, topic ${source.topic} partition ${lane.partition}`
    if (found.length === 0) {
      const sameLife = options.start.incarnation === bounds.incarnation
      const start = (sameLife ? options.start.offsets[lane.partition] : undefined) ?? 0
      if (bounds.startOffset > start) {
        throw new RebuildNeeded(`${what}: the log begins at ${bounds.startOffset}, the unit at ${start}`)
      }
      return await store.initialiseCanaries(lane, SHARD_COUNT, { offset: start - 1, arrivalMs: 0 })
    }
    if (found.length < SHARD_COUNT) {
      throw new RebuildNeeded(`${what}: ${SHARD_COUNT - found.length} of ${SHARD_COUNT} canaries are missing`)
    }
    const lowest = Math.min(...found.map(canary => canary.offset))
    const highest = Math.max(...found.map(canary => canary.offset))
    if (lowest + 1 < bounds.startOffset) {
      throw new RebuildNeeded(`${what}: records ${lowest + 1} to ${bounds.startOffset - 1} are no longer in the log`)
    }
    if (highest >= bounds.endOffset) {
      throw new RebuildNeeded(`${what}: the log ends at ${bounds.endOffset}, below what was counted (${highest})`)
    }
    return found
  }

  /** Where the partition's lanes have all been: records at or below it need no second look. */
  function appliedOffset(task: PartitionTask): number {
    return Math.min(...task.lanes.map(lane => lane.applied.offset))
  }

  /** Forgets what is cached and starts again from what is stored. */
  async function restart(task: PartitionTask, control: ConsumerControl, why: string): Promise<void> {
    telemetry.count('feature_worker_fenced', 1, { ...labels, why })
    const bounds = await options.log.bounds(source.topic, task.partition)
    const fresh = await open(task.partition, bounds)
    control.seek(source.topic, task.partition, appliedOffset(fresh) + 1)
  }

  async function loadAll(task: PartitionTask, events: readonly LaneEvent[]): Promise<boolean> {
    for (const lane of task.lanes) {
      for (const request of loadsFor(lane, events)) {
        const outcome = await store.load(lane.lane, request.shard, request.expected, request.keys)
        if (!outcome.ok) return false
        loaded(lane, request, outcome.sections)
      }
    }
    return true
  }

  async function flush(task: PartitionTask, all: boolean): Promise<boolean> {
    for (const lane of task.lanes) {
      const shards = flushesFor(lane, all)
      if (shards.length === 0) continue
      const { accepted, refused } = flushed(lane, shards, await store.flush(lane.lane, shards))
      telemetry.count('feature_worker_refused_sections', refused, labels)
      if (!accepted) return false
      trimCache(lane, limits.maxCachedSections)
    }
    return true
  }

  async function commit(task: PartitionTask, control: ConsumerControl): Promise<void> {
    const next = Math.min(...task.lanes.map(lane => safePosition(lane).offset)) + 1
    if (next > task.committedOffset) {
      await control.commit(source.topic, task.partition, next)
      task.committedOffset = next
    }
    task.lastCommitAtMs = clock.nowMs()
  }

  async function progress(task: PartitionTask, caughtUp: boolean): Promise<void> {
    const now = clock.nowMs()
    if (!caughtUp || now - task.lastProgressAtMs < 1_000) return
    task.lastProgressAtMs = now
    const applied = task.lanes[0]?.applied ?? { offset: -1, arrivalMs: 0 }
    await store.publishProgress([
      { source: source.name, partition: task.partition, ...applied, caughtUpAtMs: now },
    ])
  }

  function decode(task: PartitionTask, records: readonly LogRecord[]): readonly LaneEvent[] {
    const events: LaneEvent[] = []
    let invalid = 0
    const from = appliedOffset(task)
    for (const record of records) {
      if (record.offset <= from) continue
      const decoded = decoder.decodeJson(record.value, record.arrivalMs)
      if (decoded.ok) events.push({ offset: record.offset, arrivalMs: record.arrivalMs, event: decoded.event })
      else invalid++
    }
    telemetry.count('feature_worker_invalid_records', invalid, labels)
    return events
  }

  /** One record per late event, naming the entities that refused it; written before the state that remembers it. */
  async function publishLate(records: readonly LogRecord[], late: ReadonlyMap<number, string[]>): Promise<void> {
    if (late.size === 0) return
    await options.log.append(
      records
        .filter(record => late.has(record.offset))
        .map(record => ({
          topic: lateTopic(source),
          key: record.key,
          partition: record.partition,
          value: record.value,
          headers: {
            ...record.headers,
            'hw-source': source.name,
            'hw-partition': String(record.partition),
            'hw-offset': String(record.offset),
            'hw-late-for': (late.get(record.offset) ?? []).join(','),
          },
        })),
    )
    telemetry.count('feature_worker_late_events', late.size, labels)
  }

  /** Applies a batch to every lane and says which events were late for which entity. */
  function apply(task: PartitionTask, events: readonly LaneEvent[], last: Canary): Map<number, string[]> {
    const late = new Map<number, string[]>()
    const liveFrom = options.liveFrom[task.partition] ?? 0
    for (const lane of task.lanes) {
      const outcome = applyEvents(lane, events, last)
      telemetry.count('feature_worker_added_events', outcome.added, { ...labels, unit: lane.unit.id })
      telemetry.count('feature_worker_duplicate_events', outcome.duplicates, { ...labels, unit: lane.unit.id })
      telemetry.count('feature_worker_conflicting_events', outcome.conflicts, { ...labels, unit: lane.unit.id })
      for (const offset of outcome.late) {
        if (offset < liveFrom) continue
        const entities = late.get(offset)
        if (entities === undefined) late.set(offset, [lane.unit.entity])
        else if (!entities.includes(lane.unit.entity)) entities.push(lane.unit.entity)
      }
    }
    return late
  }

  /** After a failed step nothing in memory is trusted: the next call starts again from what is stored. */
  async function guarded(partition: number, control: ConsumerControl, step: (task: PartitionTask) => Promise<void>) {
    const task = tasks.get(partition)
    if (task === undefined) throw new Error(`partition ${partition} of ${source.topic} was not assigned`)
    if (task.broken) {
      await restart(task, control, 'error')
      return
    }
    try {
      await step(task)
    } catch (error) {
      task.broken = true
      throw error
    }
  }

  async function batchStep(task: PartitionTask, input: Batch, control: ConsumerControl): Promise<void> {
    if (task.incarnation !== input.incarnation) {
      throw new Error(`partition ${input.partition} of ${source.topic} was not assigned in this life of the topic`)
    }
    const next = appliedOffset(task) + 1
    if (input.fetchedOffset > next) {
      const { startOffset } = await options.log.bounds(source.topic, input.partition)
      if (startOffset > next) {
        const what = `topic ${source.topic} partition ${input.partition}`
        throw new RebuildNeeded(`${what}: records ${next} to ${startOffset - 1} are no longer in the log`)
      }
      control.seek(source.topic, input.partition, next)
      return
    }
    const lastRecord = input.records.at(-1)
    if (lastRecord === undefined) return
    const events = decode(task, input.records)
    if (!(await loadAll(task, events))) {
      await restart(task, control, 'load')
      return
    }
    const late = apply(task, events, { offset: lastRecord.offset, arrivalMs: lastRecord.arrivalMs })
    await publishLate(input.records, late)
    const caughtUp = input.nextOffset >= input.endOffset
    const dirty = task.lanes.reduce((sum, lane) => sum + lane.dirty.size, 0)
    if (caughtUp || dirty >= limits.maxDirtySections) {
      const due = clock.nowMs() - task.lastCommitAtMs >= limits.commitIntervalMs
      if (!(await flush(task, due))) {
        await restart(task, control, 'flush')
        return
      }
      if (due) await commit(task, control)
    }
    await progress(task, caughtUp)
  }

  async function idleStep(task: PartitionTask, control: ConsumerControl): Promise<void> {
    const due = clock.nowMs() - task.lastCommitAtMs >= limits.commitIntervalMs
    const dirty = task.lanes.some(lane => lane.dirty.size > 0)
    const behind = task.lanes.some(lane => safePosition(lane).offset < lane.applied.offset)
    if (dirty || (behind && due)) {
      if (!(await flush(task, due))) {
        await restart(task, control, 'flush')
        return
      }
      if (due) await commit(task, control)
    }
    await progress(task, true)
  }

  return {
    assigned: async (_topic, partition, bounds) => appliedOffset(await open(partition, bounds)) + 1,
    batch: (input, control) => guarded(input.partition, control, task => batchStep(task, input, control)),
    idle: (_topic, partition, _endOffset, control) => guarded(partition, control, task => idleStep(task, control)),
    revoked: async (_topic, partition) => {
      const task = tasks.get(partition)
      tasks.delete(partition)
      if (task !== undefined && !task.broken) await flush(task, true)
    },
  }
}
