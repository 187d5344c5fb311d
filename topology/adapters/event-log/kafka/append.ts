import { setTimeout as pause } from 'node:timers/promises'
import type { Clock } from '../../../ports/clock.ts'
import { PortError } from '../../../ports/errors.ts'
import type { NewRecord, Position } from '../../../ports/event-log.ts'
import type { Telemetry } from '../../../ports/telemetry.ts'
import { partitionOf } from '../../partitioner.ts'
import { prepareRecord, queuedBytes } from './append-lane.ts'
import type { AppendCall, PreparedRecord } from './append-lane.ts'
import { createSender } from './append-sender.ts'
import type { Sender } from './append-sender.ts'
import type { Compression } from './codecs.ts'
import { isRetriable, portError } from './faults.ts'
import type { Nodes, TopicState } from './nodes.ts'
import { requirePartition, unknownTopic } from './topics.ts'

const QUEUE_MAX_BYTES = 32 * 1_048_576
const FIRST_RETRY_MS = 20
const MAX_RETRY_MS = 1_000
const METADATA_AGE_MS = 5_000
const CLOSE_LIMIT_MS = 15_000

/** Options of `appender`. */
export interface AppenderOptions {
  /** Its own: appends that wait for replicas must not hold up others. */
  readonly nodes: Nodes
  readonly clock: Clock
  readonly telemetry: Telemetry | null
  readonly compression: Compression
  /** Of key, headers and value together. */
  readonly maxRecordBytes: number
  /** How long a record may wait for its acknowledgement before the append fails. */
  readonly deliveryTimeoutMs: number
}

/** The appending side of a log. */
export interface Appender {
  append(records: readonly NewRecord[]): Promise<readonly Position[]>
  /** Looks a topic up again before it is next written to. */
  forget(topic: string): void
  /** Sends what is queued, waits for it within a limit, and fails the rest. */
  close(): Promise<void>
}

interface State {
  readonly options: AppenderOptions
  readonly topics: TopicWatch
  readonly sender: Sender
  /** Calls whose records have no partition yet, in order. */
  readonly intake: AppendCall[]
  /** Calls that wait for room. */
  readonly waiters: (() => void)[]
  queuedBytes: number
  unfinished: number
  taking: boolean
  closed: boolean
  whenIdle: (() => void) | null
}

/**
 * Makes the appending side of a log: idempotent, acknowledged by all replicas in sync, one batch of a partition under
 * way at a time, so that order holds through retries. Appends of one event-loop turn share a request, and while one is
 * under way the next fills up. Within one process a record that is acknowledged is in the log once; a process that is
 * killed does not know what its last batch came to, and whoever appends those records again may append them twice
 * (they carry the same event ids). A rejected append may have been written in part.
 */
export function appender(options: AppenderOptions): Appender {
  const topics = watchTopics(options.nodes, options.clock, () => sender.topics())
  const sender: Sender = createSender({
    ...options,
    stateOf: topics.stateOf,
    refresh: topics.refresh,
    settle: (call, error) => settle(state, call, error),
  })
  const state: State = {
    options,
    topics,
    sender,
    intake: [],
    waiters: [],
    queuedBytes: 0,
    unfinished: 0,
    taking: false,
    closed: false,
    whenIdle: null,
  }
  return {
    append: records => append(state, records),
    forget: topics.forget,
    close: () => close(state),
  }
}

async function append(state: State, records: readonly NewRecord[]): Promise<readonly Position[]> {
  const requireOpen = (): void => {
    if (state.closed) throw closedError(state.options.nodes)
  }
  requireOpen()
  const prepared = records.map((record, index) => prepareRecord(record, index, state.options.maxRecordBytes))
  if (prepared.length === 0) return []
  while (state.queuedBytes >= QUEUE_MAX_BYTES) {
    await new Promise<void>(resolve => state.waiters.push(resolve))
    requireOpen()
  }
  const bytes = queuedBytes(prepared)
  state.queuedBytes += bytes
  state.unfinished += 1
  return await new Promise<readonly Position[]>((resolve, reject) => {
    const left = prepared.length
    state.intake.push({ records: prepared, positions: [], left, bytes, settled: false, resolve, reject })
    void take(state)
  })
}

function settle(state: State, call: AppendCall, error: unknown): void {
  if (call.settled || (error === null && call.left > 0)) return
  call.settled = true
  state.queuedBytes -= call.bytes
  state.unfinished -= 1
  if (error === null) call.resolve(call.positions)
  else call.reject(error)
  while (state.waiters.length > 0 && state.queuedBytes < QUEUE_MAX_BYTES) state.waiters.shift()?.()
  if (state.unfinished === 0) state.whenIdle?.()
}

/** Places the calls in order; waits where a topic must be looked up. */
async function take(state: State): Promise<void> {
  if (state.taking) return
  state.taking = true
  for (let call = state.intake[0]; call !== undefined; call = state.intake[0]) {
    const untilMs = state.options.clock.monotonicMs() + state.options.deliveryTimeoutMs
    try {
      await place(state, call, untilMs)
    } catch (error) {
      settle(state, call, portError(error, `The event log on ${state.options.nodes.where} did not take an append`))
    }
    state.intake.shift()
  }
  state.taking = false
}

async function place(state: State, call: AppendCall, untilMs: number): Promise<void> {
  const { topics, sender, options } = state
  const names = [...new Set(call.records.map(({ record }) => record.topic))]
  if (!names.every(topics.isKnown) || !isPlaceable(topics, call.records)) {
    await lookUp(state, names, untilMs)
  }
  const lanes = call.records.map(prepared => {
    const { topic } = prepared.record
    const found = topics.stateOf(topic)
    if (found === null) throw unknownTopic(topic, options.nodes)
    const partition = targetOf(prepared, found)
    requirePartition(found, partition)
    return sender.lane(found, partition)
  })
  for (const [index, lane] of lanes.entries()) {
    const prepared = call.records[index]
    if (prepared !== undefined) lane.queue.push({ call, index, prepared, untilMs })
  }
  sender.schedule()
}

async function lookUp(state: State, names: readonly string[], untilMs: number): Promise<void> {
  for (let waitMs = FIRST_RETRY_MS; ; waitMs = Math.min(waitMs * 2, MAX_RETRY_MS)) {
    try {
      await state.topics.refresh(names)
      return
    } catch (error) {
      if (!isRetriable(error) || state.options.clock.monotonicMs() >= untilMs || state.closed) throw error
      await pause(waitMs)
    }
  }
}

function targetOf({ record, keyBytes }: PreparedRecord, topic: TopicState): number {
  return record.partition ?? (keyBytes === null ? -1 : partitionOf(keyBytes, topic.partitions.length))
}

/** Whether every record's partition is there, as far as known. */
function isPlaceable(topics: TopicWatch, records: readonly PreparedRecord[]): boolean {
  return records.every(prepared => {
    const topic = topics.stateOf(prepared.record.topic)
    return topic !== null && targetOf(prepared, topic) < topic.partitions.length
  })
}

async function close(state: State): Promise<void> {
  if (state.closed) return
  state.closed = true
  const limit = new AbortController()
  if (state.unfinished > 0) {
    const idle = new Promise<void>(resolve => (state.whenIdle = resolve))
    await Promise.race([idle, pause(CLOSE_LIMIT_MS, undefined, { signal: limit.signal }).catch(() => {})])
  }
  limit.abort()
  const error = closedError(state.options.nodes)
  state.sender.fail(error)
  for (const call of state.intake) settle(state, call, error)
  for (const waiter of state.waiters.splice(0)) waiter()
}

function closedError(nodes: Nodes): PortError {
  return new PortError('CLOSED', `The event log on ${nodes.where} is closed.`)
}

/** The topics that are written to, as last looked up. */
interface TopicWatch {
  /** Whether a topic was looked up; one looked up long ago is looked up again in the background. */
  isKnown(this: void, topic: string): boolean
  stateOf(this: void, topic: string): TopicState | null
  refresh(this: void, topics: readonly string[]): Promise<void>
  forget(this: void, topic: string): void
}

function watchTopics(nodes: Nodes, clock: Clock, others: () => readonly string[]): TopicWatch {
  const known = new Map<string, { readonly state: TopicState | null; readonly atMs: number }>()
  let refreshing: { readonly names: ReadonlySet<string>; readonly done: Promise<void> } | null = null
  // One that may not be described any more must not hold up those beside it.
  const look = async (names: readonly string[], wanted: readonly string[]) => {
    try {
      return { asked: names, found: await nodes.refresh(names) }
    } catch (error) {
      if (isRetriable(error) || names.length === wanted.length) throw error
      return { asked: wanted, found: await nodes.refresh(wanted) }
    }
  }
  const refresh = async (topics: readonly string[]): Promise<void> => {
    // A look that is under way does for those it asks for; others wait for their turn.
    while (refreshing !== null) {
      const { names, done } = refreshing
      await done.catch(() => {})
      if (topics.every(name => names.has(name) && known.has(name))) return
    }
    const names = new Set([...topics, ...others()])
    const done = (async () => {
      const { asked, found } = await look([...names], topics)
      const atMs = clock.monotonicMs()
      for (const name of asked) known.set(name, { state: found.get(name) ?? null, atMs })
    })()
    refreshing = { names, done }
    try {
      await done
    } finally {
      refreshing = null
    }
  }
  return {
    isKnown: name => {
      const seen = known.get(name)
      if (seen === undefined) return false
      if (clock.monotonicMs() - seen.atMs >= METADATA_AGE_MS) refresh([name]).catch(() => {})
      return true
    },
    stateOf: name => known.get(name)?.state ?? null,
    refresh,
    forget: name => void known.delete(name),
  }
}
