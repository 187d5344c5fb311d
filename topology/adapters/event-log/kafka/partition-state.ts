import { PortError } from '../../../ports/errors.ts'
import type { Batch, ConsumerControl, EventLog, LogRecord, PartitionBounds } from '../../../ports/event-log.ts'
import type { Clock } from '../../../ports/clock.ts'
import type { TopicPartition } from './assign.ts'
import { CODE, portError } from './faults.ts'
import type { TopicState } from './nodes.ts'
import { splitBatches, unpackRecords } from './record-batch.ts'
import type { PackedBatch } from './record-batch.ts'
import type { FetchedPartition } from './requests.ts'

const FIRST_RETRY_MS = 10
const MAX_RETRY_MS = 1_000
const HELD_BACK_MS = 100

/** The options of `EventLog.consume`. */
export type ConsumeOptions = Parameters<EventLog['consume']>[0]

/** What the partitions of one consumer share. */
export interface PartitionScope {
  readonly options: ConsumeOptions
  readonly clock: Clock
  readonly control: ConsumerControl
  /** Fetched records of a partition that may wait for their handler, in bytes. */
  readonly maxBufferedBytes: number
  readonly where: string
  /** Looks the topic up; null when it is not there. */
  lookUp(topic: string): Promise<TopicState | null>
  bounds(topic: TopicState, partition: number): Promise<PartitionBounds>
  committed(topic: TopicState, partition: number): Promise<number | null>
  /** Called when there may be something to fetch. */
  wakeFetching(): void
  /** Called when the leaders of partitions may have changed. */
  stale(): void
  report(error: unknown, topic: string, partition: number): void
  count(name: string, by: number): void
}

/** What is known of one partition that a member holds; times are on the monotonic clock. */
export interface PartitionState {
  readonly place: TopicPartition
  topic: TopicState | null
  started: boolean
  /** Where the next batch begins. */
  position: number
  /** Where the next fetch begins. */
  fetchOffset: number
  /** The leader's epoch of the batch before it; -1 while none was fetched. */
  fetchEpoch: number
  /** Raised when what is under way is not wanted any more. */
  turn: number
  queue: PackedBatch[]
  queuedBytes: number
  /** Records unpacked from the head of the queue; those before `readyAt` were handled. */
  ready: LogRecord[]
  readyAt: number
  /** As last told by the broker. */
  endOffset: number
  answeredMs: number
  full: boolean
  paused: boolean
  halted: boolean
  seekTo: number | null
  outOfRange: boolean
  /** Where the log left the one that was fetched before. */
  divergedAt: number | null
  suspect: boolean
  waitUntilMs: number
  fetchNotBeforeMs: number
  retryMs: number
  ticked: boolean
  leaving: boolean
}

/** A partition that was not started yet. */
export function newPartition(place: TopicPartition): PartitionState {
  return {
    place,
    topic: null,
    started: false,
    position: 0,
    fetchOffset: 0,
    fetchEpoch: -1,
    turn: 0,
    queue: [],
    queuedBytes: 0,
    ready: [],
    readyAt: 0,
    endOffset: 0,
    answeredMs: 0,
    full: false,
    paused: false,
    halted: false,
    seekTo: null,
    outOfRange: false,
    divergedAt: null,
    suspect: false,
    waitUntilMs: 0,
    fetchNotBeforeMs: 0,
    retryMs: FIRST_RETRY_MS,
    ticked: false,
    leaving: false,
  }
}

/** A fetch that is wanted; `turn` tells its answer from one that is not wanted any more. */
export interface WantedFetch {
  readonly topicId: string
  readonly offset: number
  readonly lastEpoch: number
  readonly turn: number
}

/** What is to be fetched next; null while nothing is wanted. */
export function wantedFetch(state: PartitionState, nowMs: number): WantedFetch | null {
  const { topic } = state
  if (!state.started || topic === null || state.leaving) return null
  const held = state.halted || state.suspect || state.outOfRange || state.seekTo !== null || state.full
  if (held || nowMs < state.fetchNotBeforeMs) return null
  return { topicId: topic.id, offset: state.fetchOffset, lastEpoch: state.fetchEpoch, turn: state.turn }
}

/** Whether all that was fetched is handled. */
export function isDrained(state: PartitionState): boolean {
  return state.queue.length === 0 && state.readyAt === state.ready.length
}

/** Goes on at an offset; what was fetched, and what is being fetched, is dropped. */
export function moveTo(state: PartitionState, offset: number): void {
  state.position = offset
  state.fetchOffset = offset
  state.fetchEpoch = -1
  state.divergedAt = null
  state.turn += 1
  state.queue = []
  state.queuedBytes = 0
  state.ready = []
  state.readyAt = 0
  state.full = false
}

/** Lets the handlers rest, longer each time. */
export function holdBack(scope: PartitionScope, state: PartitionState): void {
  state.waitUntilMs = scope.clock.monotonicMs() + state.retryMs
  state.retryMs = Math.min(state.retryMs * 2, MAX_RETRY_MS)
}

/** A handler went well. */
export function resetRetry(state: PartitionState): void {
  state.retryMs = FIRST_RETRY_MS
}

/** Lets fetching rest for a moment. */
export function delayFetch(scope: PartitionScope, state: PartitionState): void {
  state.fetchNotBeforeMs = scope.clock.monotonicMs() + HELD_BACK_MS
}

/** Records from the head of the queue within the consumer's limits, left there until they are handled. */
export function nextBatch(scope: PartitionScope, state: PartitionState): Batch | null {
  const { place } = state
  const { maxBatchRecords, maxBatchBytes } = scope.options
  try {
    // What was handled is let go, and no more is unpacked than the next batch may hold.
    state.ready.splice(0, state.readyAt)
    state.readyAt = 0
    let bytes = state.ready.reduce((sum, record) => sum + recordBytes(record), 0)
    while (state.ready.length < maxBatchRecords && bytes < maxBatchBytes) {
      const packed = state.queue[0]
      if (packed === undefined) break
      const before = state.ready.length
      unpackRecords(packed, place.topic, place.partition, state.position, state.ready)
      for (let i = before; i < state.ready.length; i += 1) bytes += recordBytes(state.ready[i] as LogRecord)
      state.queue.shift()
      state.queuedBytes -= packed.bytes.length
    }
  } catch (error) {
    // What cannot be unpacked is fetched again; it is never skipped.
    moveTo(state, state.position)
    holdBack(scope, state)
    scope.report(
      portError(error, `Records from offset ${state.position} cannot be unpacked`),
      place.topic,
      place.partition,
    )
    return null
  }
  if (state.full && state.queuedBytes <= scope.maxBufferedBytes / 2) {
    state.full = false
    scope.wakeFetching()
  }
  if (state.readyAt === state.ready.length) return null
  const records = cut(state.ready, state.readyAt, maxBatchRecords, maxBatchBytes)
  return {
    topic: place.topic,
    incarnation: state.topic?.id ?? '',
    partition: place.partition,
    records,
    fetchedOffset: state.position,
    nextOffset: (records.at(-1) as LogRecord).offset + 1,
    endOffset: state.endOffset,
  }
}

function recordBytes(record: LogRecord): number {
  return record.value.length + (record.key?.length ?? 0)
}

function cut(records: readonly LogRecord[], from: number, maxRecords: number, maxBytes: number): readonly LogRecord[] {
  const limit = Math.min(records.length, from + maxRecords)
  let until = from
  for (let bytes = 0; until < limit; until += 1) {
    bytes += recordBytes(records[until] as LogRecord)
    if (until > from && bytes > maxBytes) break
  }
  return records.slice(from, until)
}

/** Says that a batch of the head of the queue was handled. */
export function consumed(state: PartitionState, batch: Batch): void {
  state.readyAt += batch.records.length
  if (state.readyAt === state.ready.length) {
    state.ready = []
    state.readyAt = 0
  }
  state.position = batch.nextOffset
}

const LIFE_CODES: ReadonlySet<number> = new Set([
  CODE.unknownTopicId,
  CODE.inconsistentTopicId,
  CODE.unknownTopicOrPartition,
])

const MOVED_CODES: ReadonlySet<number> = new Set([
  CODE.leaderNotAvailable,
  CODE.notLeader,
  CODE.requestTimedOut,
  CODE.brokerNotAvailable,
  CODE.replicaNotAvailable,
  CODE.storageError,
  CODE.fencedLeaderEpoch,
  CODE.unknownLeaderEpoch,
  CODE.offsetNotAvailable,
])

/** Takes a broker's answer to the fetch that is wanted; `answerBytes` is the size of the whole answer. */
export function acceptFetch(
  scope: PartitionScope,
  state: PartitionState,
  answer: FetchedPartition,
  answerBytes: number,
): void {
  const { place } = state
  const { errorCode } = answer
  const nowMs = scope.clock.monotonicMs()
  if (errorCode === CODE.none && answer.divergedAt === null) {
    try {
      enqueue(scope, state, answer, answerBytes)
    } catch (error) {
      state.fetchNotBeforeMs = nowMs + MAX_RETRY_MS
      scope.report(portError(error, `Offset ${state.fetchOffset} cannot be read`), place.topic, place.partition)
    }
  } else if (errorCode === CODE.offsetOutOfRange || errorCode === CODE.none) {
    // What was fetched before it is handled first.
    if (isDrained(state)) {
      state.outOfRange = true
      state.divergedAt = answer.divergedAt
    } else state.fetchNotBeforeMs = nowMs + HELD_BACK_MS
  } else if (LIFE_CODES.has(errorCode)) state.suspect = true
  else if (MOVED_CODES.has(errorCode)) {
    state.fetchNotBeforeMs = nowMs + HELD_BACK_MS
    scope.stale()
  } else {
    state.fetchNotBeforeMs = nowMs + MAX_RETRY_MS
    const what = `Topic ${place.topic} partition ${place.partition} cannot be fetched (Kafka error code ${errorCode})`
    const message = `${what}. Check the rights of the user and the state of the broker.`
    scope.report(new PortError('LOG_UNAVAILABLE', message), place.topic, place.partition)
  }
}

function enqueue(scope: PartitionScope, state: PartitionState, answer: FetchedPartition, answerBytes: number): void {
  const { batches, nextOffset, lastEpoch } = splitBatches(answer.records, answer.aborted)
  // A small part of a large answer is copied, so that it does not keep all of it in memory.
  const copied = answer.records.length * 2 < answerBytes
  for (const batch of batches) {
    if (batch.lastOffset < state.fetchOffset) continue
    state.queue.push(copied ? { ...batch, bytes: Buffer.from(batch.bytes) } : batch)
    state.queuedBytes += batch.bytes.length
  }
  if (nextOffset !== null) {
    state.fetchOffset = Math.max(state.fetchOffset, nextOffset)
    state.fetchEpoch = lastEpoch
  }
  state.endOffset = answer.endOffset
  state.answeredMs = scope.clock.monotonicMs()
  if (state.queuedBytes >= scope.maxBufferedBytes && !state.full) {
    state.full = true
    scope.count('event_log_pauses', 1)
  }
}
