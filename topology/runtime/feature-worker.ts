import { jsonFormats } from '../event-record.ts'
import type { Batch, ConsumerControl, ConsumerHandlers } from '../ports/event-log.ts'
import { safePosition } from '../processors/feature-lane.ts'
import {
  RebuildNeeded,
  appliedOffset,
  applyToLanes,
  commitTask,
  decodeRecords,
  flushTask,
  isStillStored,
  loadSections,
  openTask,
  progressDue,
  publishLate,
  publishProgress,
} from './partition-task.ts'
import type { FeatureWorkerLimits, FeatureWorkerOptions, PartitionTask, WorkerScope } from './partition-task.ts'

export const FEATURE_WORKER_LIMITS: Omit<FeatureWorkerLimits, 'maxRecordBytes'> = {
  maxDirtySections: 5_000,
  maxCachedBytes: 4 * 1024 * 1024,
  commitIntervalMs: 2_000,
}

/**
 * The feature worker of one source: log in, sections out, each event counted once. Correctness rests on the stored
 * canaries and positions alone; the log's committed offset only shortens the way back after a restart.
 */
export function createFeatureWorker(options: FeatureWorkerOptions): ConsumerHandlers {
  const scope: WorkerScope = {
    ...options,
    reader: options.reader ?? jsonFormats.reader(options.source),
    lateUpTo: new Map(),
  }
  const tasks = new Map<number, PartitionTask>()

  /** Forgets what is cached and starts again from what is stored. */
  async function restart(partition: number, control: ConsumerControl, why: string): Promise<void> {
    scope.telemetry.count('feature_worker_restarts', 1, { source: scope.source.name, why })
    const bounds = await scope.log.bounds(scope.source.topic, partition)
    const task = await openTask(scope, partition, bounds)
    tasks.set(partition, task)
    control.seek(scope.source.topic, partition, appliedOffset(task) + 1)
  }

  /** After a failed step nothing in memory is trusted: the next call starts again from what is stored. */
  async function guarded(
    partition: number,
    control: ConsumerControl,
    step: (task: PartitionTask) => Promise<string | null>,
  ): Promise<void> {
    const task = tasks.get(partition)
    if (task === undefined) throw new Error(`partition ${partition} of ${scope.source.topic} was not assigned`)
    if (task.broken) {
      await restart(partition, control, 'error')
      return
    }
    let fenced: string | null
    try {
      fenced = await step(task)
    } catch (error) {
      task.broken = true
      throw error
    }
    if (fenced === null) return
    // Should the restart fail, the next call must not go on with what is cached.
    task.broken = true
    await restart(partition, control, fenced)
  }

  return {
    assigned: async (_topic, partition, bounds) => {
      const task = await openTask(scope, partition, bounds)
      tasks.set(partition, task)
      return appliedOffset(task) + 1
    },
    batch: async (input, control) => {
      // What this fails with says nothing about what is in memory: the batch may simply be tried again.
      const ready = scope.reader.prepare(input.records.map(record => record.value))
      if (ready !== null) await ready
      await guarded(input.partition, control, task => runBatch(scope, task, input, control))
    },
    idle: (_topic, partition, _endOffset, control) =>
      guarded(partition, control, task => runIdle(scope, task, control)),
    revoked: async (_topic, partition) => {
      const task = tasks.get(partition)
      tasks.delete(partition)
      if (task !== undefined && !task.broken) await flushTask(scope, task, true)
    },
  }
}

/** Steps answer what was fenced, or null when all went well. */
async function runBatch(
  scope: WorkerScope,
  task: PartitionTask,
  input: Batch,
  control: ConsumerControl,
): Promise<'load' | 'flush' | null> {
  const { topic } = scope.source
  if (task.incarnation !== input.incarnation) {
    throw new Error(`partition ${input.partition} of ${topic} was not assigned in this life of the topic`)
  }
  const next = appliedOffset(task) + 1
  if (input.fetchedOffset > next) {
    const { startOffset } = await scope.log.bounds(topic, input.partition)
    if (startOffset > next) {
      const what = `topic ${topic} partition ${input.partition}`
      throw new RebuildNeeded(`${what}: records ${next} to ${startOffset - 1} are no longer in the log`)
    }
    control.seek(topic, input.partition, next)
    return null
  }
  const last = input.records.at(-1)
  if (last === undefined) return null
  const events = decodeRecords(scope, task, input.records)
  if (!(await loadSections(scope, task, events))) return 'load'
  const late = applyToLanes(scope, task, events, { offset: last.offset, arrivalMs: last.arrivalMs })
  await publishLate(scope, task, input.records, late)
  const caughtUp = input.nextOffset >= input.endOffset
  const dirty = task.lanes.reduce((sum, lane) => sum + lane.dirty.size, 0)
  const due = commitDue(scope, task)
  const full = task.lanes.some(lane => lane.cachedBytes > scope.limits.maxCachedBytes)
  if (caughtUp || due || full || dirty >= scope.limits.maxDirtySections) {
    if (!(await flushTask(scope, task, due))) return 'flush'
    if (due) await commitTask(scope, task, control)
  }
  await publishProgress(scope, task, caughtUp)
  return null
}

async function runIdle(
  scope: WorkerScope,
  task: PartitionTask,
  control: ConsumerControl,
): Promise<'flush' | 'canary' | null> {
  const due = commitDue(scope, task)
  const dirty = task.lanes.some(lane => lane.dirty.size > 0)
  const behind = task.lanes.some(lane => safePosition(lane).offset < lane.applied.offset)
  if (dirty || (behind && due)) {
    if (!(await flushTask(scope, task, due))) return 'flush'
    if (due) await commitTask(scope, task, control)
  }
  // Without events no flush meets the fence; what is said to be caught up must still be there.
  if (progressDue(scope, task) && !(await isStillStored(scope, task))) return 'canary'
  await publishProgress(scope, task, true)
  return null
}

function commitDue(scope: WorkerScope, task: PartitionTask): boolean {
  return scope.clock.monotonicMs() - task.lastCommitAtMs >= scope.limits.commitIntervalMs
}
