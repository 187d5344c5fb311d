import { setImmediate as nextTurn } from 'node:timers/promises'
import { PortError } from '../../../ports/errors.ts'
import type { Batch } from '../../../ports/event-log.ts'
import { partitionKey } from './assign.ts'
import type { TopicPartition } from './assign.ts'
import { CODE, faultCode, isRetriable, portError } from './faults.ts'
import type { TopicState } from './nodes.ts'
import {
  acceptFetch,
  consumed,
  delayFetch,
  holdBack,
  isDrained,
  moveTo,
  newPartition,
  nextBatch,
  resetRetry,
  wantedFetch,
} from './partition-state.ts'
import type { PartitionScope, PartitionState, WantedFetch } from './partition-state.ts'
import type { FetchedPartition } from './requests.ts'

/** Without an answer of the broker for so long nobody can say that there is nothing new. */
const FRESH_MS = 5_000

/** What the fetching side sees of a partition. */
export interface PartitionFeed extends TopicPartition {
  /** Null while nothing is wanted. */
  wanted(): WantedFetch | null
  /** An answer to what was wanted at `turn` from `offset`; `answerBytes` is the size of the whole answer. */
  fetched(turn: number, offset: number, answer: FetchedPartition, answerBytes: number): void
  /** The topic is not there any more, as it seems. */
  doubt(): void
}

/** One partition that this member holds. */
export interface HeldPartition extends PartitionFeed {
  /** The topic's life that the handlers were told of; null before and after. */
  readonly topicId: string | null
  /** Offsets not yet handled, as far as known; 0 where none is known. */
  lag(): number
  seek(offset: number): void
  setPaused(paused: boolean): void
  /** Moves on: called about every 20 ms. */
  tick(): void
  /** Ends after the call in progress; resolves when `revoked` has returned. */
  leave(): Promise<void>
}

/** Starts with a partition: handlers are told of it, then called one at a time until it is left. */
export function holdPartition(scope: PartitionScope, place: TopicPartition): HeldPartition {
  const state = newPartition(place)
  let release: (() => void) | null = null
  let awake = false
  const wake = (): void => {
    awake = true
    release?.()
  }
  const rest = async (): Promise<void> => {
    if (!awake) await new Promise<void>(resolve => (release = resolve))
    release = null
    awake = false
  }
  const running = pump(scope, state, rest)
  return {
    ...place,
    get topicId() {
      return state.started ? (state.topic?.id ?? null) : null
    },
    wanted: () => wantedFetch(state, scope.clock.monotonicMs()),
    fetched: (turn, offset, answer, answerBytes) => {
      if (turn === state.turn && offset === state.fetchOffset && state.started) {
        acceptFetch(scope, state, answer, answerBytes)
        wake()
      } else if (answer.records.length > 0) scope.count('event_log_discarded_batches', 1)
    },
    doubt: () => {
      if (state.started) state.suspect = true
    },
    lag: () => {
      // Behind the last record that counts there may be markers of transactions.
      const at = isDrained(state) ? state.fetchOffset : state.position
      return state.started ? Math.max(0, state.endOffset - at) : 0
    },
    seek: offset => {
      state.seekTo = offset
      wake()
    },
    setPaused: paused => {
      state.paused = paused
      if (!paused) wake()
    },
    tick: () => {
      state.ticked = true
      wake()
    },
    leave: async () => {
      state.leaving = true
      wake()
      await running
    },
  }
}

async function pump(scope: PartitionScope, state: PartitionState, rest: () => Promise<void>): Promise<void> {
  while (!state.leaving) {
    if (scope.clock.monotonicMs() < state.waitUntilMs) await rest()
    else if (await step(scope, state)) await nextTurn()
    else if (!state.leaving) await rest()
  }
  await revoke(scope, state)
}

/** One call of a handler, or one move towards it; false when there is nothing to do but wait. */
async function step(scope: PartitionScope, state: PartitionState): Promise<boolean> {
  if (!state.started) return await start(scope, state)
  if (state.suspect) return await checkLife(scope, state)
  if (state.seekTo !== null) {
    moveTo(state, state.seekTo)
    state.seekTo = null
    state.halted = false
    state.outOfRange = false
    scope.wakeFetching()
  }
  if (state.halted) return false
  if (state.outOfRange) return await checkRange(scope, state)
  const batch = state.paused ? null : nextBatch(scope, state)
  if (batch !== null) return await handle(scope, state, batch)
  await idle(scope, state)
  return false
}

async function handle(scope: PartitionScope, state: PartitionState, batch: Batch): Promise<boolean> {
  const { handlers } = scope.options
  const handled = await attempt(scope, state, () => handlers.batch(batch, scope.control))
  if (!handled) return false
  scope.count('event_log_handled_records', batch.records.length)
  consumed(state, batch)
  return true
}

/** Once a tick, while everything is handled and the broker said lately that there is no more. */
async function idle(scope: PartitionScope, state: PartitionState): Promise<void> {
  const { place, endOffset } = state
  if (!state.ticked || !isDrained(state) || state.fetchOffset !== endOffset) return
  state.ticked = false
  if (scope.clock.monotonicMs() - state.answeredMs > FRESH_MS) return
  const { handlers } = scope.options
  await attempt(scope, state, () => handlers.idle(place.topic, place.partition, endOffset, scope.control))
}

/** Calls a handler; a throw is reported and holds the partition back for a growing time. */
async function attempt(scope: PartitionScope, state: PartitionState, call: () => Promise<void>): Promise<boolean> {
  try {
    await call()
    resetRetry(state)
    return true
  } catch (error) {
    holdBack(scope, state)
    scope.report(error, state.place.topic, state.place.partition)
    return false
  }
}

/** Tells the handlers of the partition and takes their start. */
async function start(scope: PartitionScope, state: PartitionState): Promise<boolean> {
  const { topic, partition } = state.place
  try {
    const found = await asPort(() => scope.lookUp(topic), state.place)
    if (found === null || partition >= found.partitions.length || state.leaving) {
      holdBack(scope, state)
      return false
    }
    const bounds = await asPort(() => scope.bounds(found, partition), state.place)
    const committed = await scope.committed(found, partition)
    if (state.leaving) return false
    const chosen = await scope.options.handlers.assigned(topic, partition, bounds)
    state.topic = found
    state.started = true
    state.seekTo = null
    state.halted = false
    state.paused = false
    state.endOffset = bounds.endOffset
    state.answeredMs = scope.clock.monotonicMs()
    moveTo(state, chosen ?? committed ?? bounds.startOffset)
    resetRetry(state)
    scope.wakeFetching()
    return true
  } catch (error) {
    holdBack(scope, state)
    // A topic that is between two lives, or moves, is looked up again; anything else is told.
    if (faultCode(error) !== null && isRetriable(error)) scope.stale()
    else scope.report(error, topic, partition)
    return false
  }
}

/** Faults that pass by themselves stay as they are; anything else is the port's error. */
async function asPort<T>(ask: () => Promise<T>, { topic, partition }: TopicPartition): Promise<T> {
  try {
    return await ask()
  } catch (error) {
    if (faultCode(error) !== null && isRetriable(error)) throw error
    throw portError(error, `Topic ${topic} partition ${partition} cannot be looked up`)
  }
}

/** The broker does not know the topic's id: it ended, or the broker has not heard of it yet. */
async function checkLife(scope: PartitionScope, state: PartitionState): Promise<boolean> {
  let found: TopicState | null
  try {
    found = await asPort(() => scope.lookUp(state.place.topic), state.place)
  } catch (error) {
    holdBack(scope, state)
    scope.report(error, state.place.topic, state.place.partition)
    return false
  }
  state.suspect = false
  if (found?.id === state.topic?.id) {
    delayFetch(scope, state)
    return false
  }
  await revoke(scope, state)
  return true
}

/** The broker has no such offset: goes on above a start that moved, stops beyond the end or where the log is another. */
async function checkRange(scope: PartitionScope, state: PartitionState): Promise<boolean> {
  const { topic, place } = state
  if (topic === null) return false
  if (state.divergedAt !== null) {
    const { divergedAt, fetchOffset } = state
    state.outOfRange = false
    state.divergedAt = null
    state.halted = true
    scope.report(otherTail(scope, place, fetchOffset, divergedAt), place.topic, place.partition)
    return true
  }
  try {
    // Whoever led it when it was taken may not lead it any more.
    const now = await scope.lookUp(place.topic)
    if (now?.id !== topic.id) {
      state.suspect = true
      return true
    }
    const { startOffset, endOffset } = await scope.bounds(now, place.partition)
    if (state.seekTo !== null || state.leaving) return true
    state.outOfRange = false
    if (state.fetchOffset < startOffset) {
      scope.report(belowStart(scope, place, state.fetchOffset, startOffset), place.topic, place.partition)
      moveTo(state, startOffset)
      scope.wakeFetching()
    } else if (state.fetchOffset > endOffset) {
      state.halted = true
      scope.report(beyondEnd(scope, place, state.fetchOffset, endOffset), place.topic, place.partition)
    } else {
      state.fetchEpoch = -1
      delayFetch(scope, state)
    }
    return true
  } catch (error) {
    const code = faultCode(error)
    const gone = code === CODE.unknownTopicId || code === CODE.inconsistentTopicId
    if (gone || code === CODE.unknownTopicOrPartition) state.suspect = true
    else if (!isRetriable(error)) {
      const what = `The bounds of topic ${partitionKey(place)} cannot be read`
      scope.report(portError(error, what), place.topic, place.partition)
    }
    scope.stale()
    holdBack(scope, state)
    return false
  }
}

/** Lets the handlers finish the partition; its commits are still taken. */
async function revoke(scope: PartitionScope, state: PartitionState): Promise<void> {
  if (!state.started) return
  const { topic, partition } = state.place
  try {
    await scope.options.handlers.revoked(topic, partition)
  } catch (error) {
    scope.report(error, topic, partition)
  }
  state.started = false
  state.topic = null
  moveTo(state, 0)
}

function beyondEnd(scope: PartitionScope, place: TopicPartition, offset: number, end: number): PortError {
  return new PortError(
    'TOPIC_MISMATCH',
    `Group ${scope.options.group} stands at offset ${offset} of topic ${partitionKey(place)}, but the log on ` +
      `${scope.where} ends at ${end}: it lost its tail or was replaced. Seek, or rebuild.`,
  )
}

function otherTail(scope: PartitionScope, place: TopicPartition, offset: number, from: number): PortError {
  return new PortError(
    'TOPIC_MISMATCH',
    `Group ${scope.options.group} stands at offset ${offset} of topic ${partitionKey(place)}, but the log on ` +
      `${scope.where} lost what was read from ${from} on, as after an unclean leader election. Seek, or rebuild.`,
  )
}

function belowStart(scope: PartitionScope, place: TopicPartition, offset: number, start: number): PortError {
  return new PortError(
    'TOPIC_MISMATCH',
    `Group ${scope.options.group} stands at offset ${offset} of topic ${partitionKey(place)}, but retention has ` +
      `removed everything below ${start}: continuing there. Raise the topic's retention, or rebuild.`,
  )
}
