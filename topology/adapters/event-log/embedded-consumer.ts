import { setImmediate as nextTurn } from 'node:timers/promises'
import { PortError } from '../../ports/errors.ts'
import type { Batch, Consumer, ConsumerControl, ConsumerHandlers, EventLog } from '../../ports/event-log.ts'
import { boundsOf, unknownTopic } from './embedded-tables.ts'
import type { Lane, LogTables, Topic } from './embedded-tables.ts'

const POLL_MS = 20
const FIRST_RETRY_MS = 10
const MAX_RETRY_MS = 1000

/** The options of `EventLog.consume`. */
export type ConsumeOptions = Parameters<EventLog['consume']>[0]

/** One assigned partition. */
interface Assignment {
  readonly topic: string
  readonly partition: number
  readonly lane: number
  nextOffset: number
  /** The seek that the next batch obeys. */
  seekTo: number | null
  paused: boolean
  /** Stopped for good, until a seek: its position lies beyond the end of the log. */
  halted: boolean
  /** True while a back-off runs. */
  waiting: boolean
  retryMs: number
  idleTick: number
}

/** What the consumer's functions share. */
interface Loop {
  readonly tables: LogTables
  readonly options: ConsumeOptions
  readonly assignments: Map<string, Assignment>
  /** Topics whose reading failed and partitions whose `assigned` failed; `waiting` holds them back. */
  readonly failures: Map<string, { retryMs: number; waiting: boolean }>
  readonly missingTopics: Set<string>
  readonly timers: Set<NodeJS.Timeout>
  readonly control: ConsumerControl
  tick: number
  stopping: boolean
  awake: boolean
  wake(): void
}

/**
 * Starts consuming. `subscribe` registers a function that appends of this process call, and returns its removal. Fails
 * with `UNKNOWN_TOPIC` when a topic is absent.
 */
export function startConsumer(
  tables: LogTables,
  options: ConsumeOptions,
  subscribe: (wake: () => void) => () => void,
): Consumer {
  for (const bound of ['maxBatchRecords', 'maxBatchBytes'] as const) {
    if (!(options[bound] >= 1)) throw new RangeError(`${bound} is ${options[bound]}: give a number from 1.`)
  }
  for (const topic of options.topics) tables.file.run(() => tables.requireTopic(topic))
  let release: (() => void) | null = null
  const loop: Loop = {
    tables,
    options,
    assignments: new Map(),
    failures: new Map(),
    missingTopics: new Set(),
    timers: new Set(),
    control: {
      commit: async (topic, partition, offset) => commit(loop, topic, partition, offset),
      seek: (topic, partition, offset) => seek(loop, topic, partition, offset),
      pause: (topic, partition) => setPaused(loop, topic, partition, true),
      resume: (topic, partition) => setPaused(loop, topic, partition, false),
    },
    tick: 0,
    stopping: false,
    awake: false,
    wake: () => {
      loop.awake = true
      release?.()
    },
  }
  const unsubscribe = subscribe(loop.wake)
  const ticker = setInterval(() => {
    loop.tick += 1
    loop.wake()
  }, POLL_MS)
  const sleep = async (): Promise<void> => {
    if (!loop.awake) await new Promise<void>(resolve => (release = resolve))
    release = null
  }
  const ended = run(loop, sleep)
  return {
    stop: async () => {
      loop.stopping = true
      loop.wake()
      await ended
      clearInterval(ticker)
      unsubscribe()
      for (const timer of loop.timers) clearTimeout(timer)
      for (const key of loop.assignments.keys()) await revoke(loop, key)
    },
  }
}

async function run(loop: Loop, sleep: () => Promise<void>): Promise<void> {
  while (!loop.stopping) {
    loop.awake = false
    let progressed = false
    for (const name of loop.options.topics) {
      if (loop.failures.get(name)?.waiting === true) continue
      try {
        progressed = (await runTopic(loop, name)) || progressed
        loop.failures.delete(name)
      } catch (error) {
        holdBack(loop, name)
        report(loop, error, name, -1)
      }
    }
    if (loop.stopping) return
    if (progressed) await nextTurn()
    else await sleep()
  }
}

/** One round over the partitions of a topic; true when some batch was handled. */
async function runTopic(loop: Loop, name: string): Promise<boolean> {
  const topic = loop.tables.file.run(() => loop.tables.topic(name))
  await revokeGone(loop, name, topic)
  if (topic === null) {
    if (!loop.missingTopics.has(name)) report(loop, unknownTopic(name, loop.tables.file.path), name, -1)
    loop.missingTopics.add(name)
    return false
  }
  loop.missingTopics.delete(name)
  let progressed = false
  for (const lane of topic.lanes) {
    if (loop.stopping) return progressed
    const assignment = await assignmentOf(loop, topic, lane)
    if (assignment !== null && !assignment.waiting && !loop.stopping) {
      const now = loop.tables.file.run(() => loop.tables.lane(lane.id))
      if (now !== null) progressed = (await runPartition(loop, topic, now, assignment)) || progressed
    }
  }
  return progressed
}

/** Revokes the partitions of a topic that was deleted, or made again under the same name. */
async function revokeGone(loop: Loop, name: string, topic: Topic | null): Promise<void> {
  const alive = new Set(topic?.lanes.map(lane => lane.id))
  for (const [key, assignment] of loop.assignments) {
    if (assignment.topic !== name || alive.has(assignment.lane) || loop.stopping) continue
    await revoke(loop, key)
  }
}

/** Lets the handlers finish a partition; its commits are still taken. */
async function revoke(loop: Loop, key: string): Promise<void> {
  const assignment = loop.assignments.get(key)
  if (assignment === undefined) return
  try {
    await loop.options.handlers.revoked(assignment.topic, assignment.partition)
  } catch (error) {
    report(loop, error, assignment.topic, assignment.partition)
  }
  loop.assignments.delete(key)
}

async function assignmentOf(loop: Loop, topic: Topic, lane: Lane): Promise<Assignment | null> {
  const key = keyOf(topic.name, lane.partition)
  const found = loop.assignments.get(key)
  if (found !== undefined) return found
  if (loop.failures.get(key)?.waiting === true) return null
  try {
    const chosen = await loop.options.handlers.assigned(topic.name, lane.partition, boundsOf(topic, lane))
    const committed = loop.tables.file.run(() => loop.tables.committed(loop.options.group, lane.id))
    const assignment: Assignment = {
      topic: topic.name,
      partition: lane.partition,
      lane: lane.id,
      nextOffset: chosen ?? committed ?? lane.startOffset,
      seekTo: null,
      paused: false,
      halted: false,
      waiting: false,
      retryMs: FIRST_RETRY_MS,
      idleTick: loop.tick,
    }
    loop.failures.delete(key)
    loop.assignments.set(key, assignment)
    return assignment
  } catch (error) {
    holdBack(loop, key)
    report(loop, error, topic.name, lane.partition)
    return null
  }
}

/** One batch or one idle call of a partition; true when a batch was handled. */
async function runPartition(loop: Loop, topic: Topic, lane: Lane, assignment: Assignment): Promise<boolean> {
  if (assignment.seekTo !== null) {
    assignment.nextOffset = assignment.seekTo
    assignment.seekTo = null
    assignment.halted = false
  }
  if (assignment.halted) return false
  if (assignment.nextOffset > lane.endOffset) {
    assignment.halted = true
    report(loop, beyondEnd(loop, topic, lane, assignment.nextOffset), topic.name, lane.partition)
    return false
  }
  if (assignment.nextOffset < lane.startOffset) {
    report(loop, belowStart(loop, topic, lane, assignment.nextOffset), topic.name, lane.partition)
    assignment.nextOffset = lane.startOffset
  }
  if (assignment.nextOffset === lane.endOffset) {
    if (assignment.idleTick === loop.tick) return false
    assignment.idleTick = loop.tick
    await attempt(loop, assignment, handlers => handlers.idle(topic.name, lane.partition, lane.endOffset, loop.control))
    return false
  }
  if (assignment.paused) return false
  const batch = loop.tables.file.run(() => readBatch(loop, topic, lane, assignment.nextOffset))
  if (batch.records.length === 0) return false
  const handled = await attempt(loop, assignment, handlers => handlers.batch(batch, loop.control))
  if (handled) assignment.nextOffset = batch.nextOffset
  return handled
}

function readBatch(loop: Loop, topic: Topic, lane: Lane, fromOffset: number): Batch {
  const budget = { records: loop.options.maxBatchRecords, bytes: loop.options.maxBatchBytes, first: true }
  const records = loop.tables.records(topic.name, lane, fromOffset, budget)
  return {
    topic: topic.name,
    incarnation: topic.incarnation,
    partition: lane.partition,
    records,
    fetchedOffset: fromOffset,
    nextOffset: (records.at(-1)?.offset ?? fromOffset - 1) + 1,
    endOffset: lane.endOffset,
  }
}

/** Calls a handler; a throw is reported and holds the partition back for a growing time. */
async function attempt(
  loop: Loop,
  assignment: Assignment,
  call: (handlers: ConsumerHandlers) => Promise<void>,
): Promise<boolean> {
  try {
    await call(loop.options.handlers)
    assignment.retryMs = FIRST_RETRY_MS
    return true
  } catch (error) {
    assignment.waiting = true
    waitBeforeRetry(loop, assignment)
    report(loop, error, assignment.topic, assignment.partition)
    return false
  }
}

function holdBack(loop: Loop, key: string): void {
  const failure = { retryMs: loop.failures.get(key)?.retryMs ?? FIRST_RETRY_MS, waiting: true }
  loop.failures.set(key, failure)
  waitBeforeRetry(loop, failure)
}

function waitBeforeRetry(loop: Loop, held: { waiting: boolean; retryMs: number }): void {
  const timer = setTimeout(() => {
    loop.timers.delete(timer)
    held.waiting = false
    loop.wake()
  }, held.retryMs)
  loop.timers.add(timer)
  held.retryMs = Math.min(held.retryMs * 2, MAX_RETRY_MS)
}

function report(loop: Loop, error: unknown, topic: string, partition: number): void {
  try {
    loop.options.onError(error instanceof Error ? error : new Error(String(error)), topic, partition)
  } catch {
    // A reporter that throws must not end consumption.
  }
}

function commit(loop: Loop, topic: string, partition: number, offset: number): void {
  const assignment = loop.assignments.get(keyOf(topic, partition))
  if (assignment === undefined) {
    throw new PortError(
      'UNKNOWN_TOPIC',
      `Partition ${partition} of topic ${topic} is not assigned to this consumer: commit only what it was given.`,
    )
  }
  requireOffset(offset)
  loop.tables.file.run(() => loop.tables.commit(loop.options.group, assignment.lane, offset))
}

function seek(loop: Loop, topic: string, partition: number, offset: number): void {
  requireOffset(offset)
  const assignment = loop.assignments.get(keyOf(topic, partition))
  if (assignment === undefined) return
  assignment.seekTo = offset
  loop.wake()
}

function setPaused(loop: Loop, topic: string, partition: number, paused: boolean): void {
  const assignment = loop.assignments.get(keyOf(topic, partition))
  if (assignment === undefined) return
  assignment.paused = paused
  if (!paused) loop.wake()
}

function requireOffset(offset: number): void {
  if (!Number.isSafeInteger(offset) || offset < 0)
    throw new RangeError(`${offset} is not an offset: give a whole number from 0.`)
}

function keyOf(topic: string, partition: number): string {
  return `${topic}/${partition}`
}

function beyondEnd(loop: Loop, topic: Topic, lane: Lane, offset: number): PortError {
  return new PortError(
    'TOPIC_MISMATCH',
    `Group ${loop.options.group} stands at offset ${offset} of topic ${topic.name} partition ${lane.partition}, but ` +
      `the log ${loop.tables.file.path} ends at ${lane.endOffset}: it lost its tail or was replaced. Seek, or rebuild.`,
  )
}

function belowStart(loop: Loop, topic: Topic, lane: Lane, offset: number): PortError {
  return new PortError(
    'TOPIC_MISMATCH',
    `Group ${loop.options.group} stands at offset ${offset} of topic ${topic.name} partition ${lane.partition}, but ` +
      `retention has removed everything below ${lane.startOffset}: continuing there. Raise retentionMs, or rebuild.`,
  )
}
