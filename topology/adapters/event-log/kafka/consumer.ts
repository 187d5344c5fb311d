import type { Clock } from '../../../ports/clock.ts'
import type { Consumer, ConsumerControl } from '../../../ports/event-log.ts'
import type { Telemetry } from '../../../ports/telemetry.ts'
import { partitionKey } from './assign.ts'
import type { TopicPartition } from './assign.ts'
import { notHeld } from './commits.ts'
import { portError } from './faults.ts'
import { startFetching } from './fetching.ts'
import type { Fetching } from './fetching.ts'
import { joinGroup } from './membership.ts'
import type { Membership } from './membership.ts'
import type { Nodes, TopicState } from './nodes.ts'
import { holdPartition } from './partition.ts'
import type { HeldPartition } from './partition.ts'
import type { ConsumeOptions, PartitionScope } from './partition-state.ts'
import { boundsOf } from './read.ts'
import { committedOffset, requireTopic, unknownTopic } from './topics.ts'

const POLL_MS = 20
const STALE_SPACING_MS = 100
const LAG_INTERVAL_MS = 1_000
/** A leader that was deposed without knowing goes on answering: how often others are asked. */
const LEADERS_INTERVAL_MS = 10_000

/** What a consumer is made from. */
export interface ConsumerSetup {
  /** Makes connections of its own: a request that waits holds up what comes after it. */
  readonly openNodes: () => Nodes
  readonly clock: Clock
  readonly telemetry: Telemetry | null
  readonly sessionTimeoutMs: number
  readonly maxBufferedBytes: number
  readonly metadataIntervalMs: number
}

interface State {
  readonly setup: ConsumerSetup
  readonly options: ConsumeOptions
  readonly nodes: Nodes
  readonly held: Map<string, HeldPartition>
  /** Partitions that are being finished with; what is assigned again waits for it. */
  readonly finishing: Map<string, Promise<void>>
  /** Those that the group gave to others: nothing is committed for them any more. */
  readonly lost: WeakSet<HeldPartition>
  /** What the group last gave to this member. */
  given: ReadonlySet<string>
  stopping: Promise<void> | null
}

/**
 * Starts consuming; fails with `UNKNOWN_TOPIC` when a topic is absent. Three things run side by side: the membership of
 * the group with its heartbeats, a fetch for each broker that leads a partition, and for each partition a pump that
 * calls the handlers one at a time. Fetches only fill the queue of a partition, up to its limit; so neither heartbeats
 * nor other partitions wait for a handler.
 */
export async function startConsumer(setup: ConsumerSetup, options: ConsumeOptions): Promise<Consumer> {
  for (const bound of ['maxBatchRecords', 'maxBatchBytes'] as const) {
    if (!(options[bound] >= 1)) throw new RangeError(`${bound} is ${options[bound]}: give a number from 1.`)
  }
  const nodes = setup.openNodes()
  try {
    for (const topic of options.topics) await requireTopic({ nodes, clock: setup.clock }, topic)
  } catch (error) {
    await nodes.close()
    throw error
  }
  const state: State = {
    setup,
    options,
    nodes,
    held: new Map(),
    finishing: new Map(),
    lost: new WeakSet(),
    given: new Set(),
    stopping: null,
  }
  return run(state)
}

function run(state: State): Consumer {
  const { setup, options, nodes, held } = state
  const { clock, telemetry } = setup
  const count = (name: string, by: number): void => telemetry?.count(name, by, { group: options.group })
  const stale = staleTopics(state, () => fetching.wake())
  const fetching: Fetching = startFetching({
    nodes,
    clock,
    partitions: () => held.values(),
    stale,
    onError: error => report(state, portError(error, `Records cannot be fetched from ${nodes.where}`), '', -1),
    count,
  })
  const scope: PartitionScope = {
    options,
    clock,
    control: controlOf(state, () => membership),
    maxBufferedBytes: setup.maxBufferedBytes,
    where: nodes.where,
    lookUp: topicLookUp(state),
    bounds: (topic, partition) => boundsOf(nodes, topic, partition),
    committed: (topic, partition) => committedOffset({ nodes, clock }, options.group, topic, partition),
    wakeFetching: fetching.wake,
    stale,
    report: (error, topic, partition) => report(state, error, topic, partition),
    count,
  }
  const membership: Membership = joinGroup({
    ...{ clock, telemetry, group: options.group, topics: options.topics },
    nodes: setup.openNodes(),
    sessionTimeoutMs: setup.sessionTimeoutMs,
    metadataIntervalMs: setup.metadataIntervalMs,
    owned: () => [...held.values()].filter(one => !state.lost.has(one)),
    assigned: partitions => ({ givenUp: assigned(state, scope, partitions) }),
    lost: () => {
      for (const one of held.values()) {
        state.lost.add(one)
        void finish(state, one)
      }
    },
    onError: error => report(state, error, '', -1),
  })
  const ticker = setInterval(() => {
    for (const one of held.values()) one.tick()
  }, POLL_MS)
  const gauges = setInterval(() => {
    for (const one of held.values()) lagGauge(state, one, one.lag())
  }, LAG_INTERVAL_MS)
  const leaders = setInterval(stale, LEADERS_INTERVAL_MS)
  const stop = async (): Promise<void> => {
    await Promise.all([...held.values()].map(one => finish(state, one)))
    await Promise.all(state.finishing.values())
    clearInterval(ticker)
    clearInterval(gauges)
    clearInterval(leaders)
    await membership.leave()
    await fetching.stop()
  }
  return {
    stop: () => {
      state.stopping ??= stop()
      return state.stopping
    },
  }
}

/** Takes what the group gave; resolves when what it gave to others is finished with, null when that is nothing. */
function assigned(state: State, scope: PartitionScope, partitions: readonly TopicPartition[]): Promise<void> | null {
  if (state.stopping !== null) return null
  const wanted = new Map(partitions.map(one => [partitionKey(one), one]))
  state.given = new Set(wanted.keys())
  const leaving = [...state.held].filter(([key, one]) => !wanted.has(key) && !state.lost.has(one))
  const ending = leaving.map(([, one]) => finish(state, one))
  for (const place of wanted.values()) void take(state, scope, place)
  return ending.length === 0 ? null : allOf(ending)
}

async function allOf(ending: readonly Promise<void>[]): Promise<void> {
  await Promise.all(ending)
}

/** Holds a partition, after this member has finished with it should it have held it before. */
async function take(state: State, scope: PartitionScope, place: TopicPartition): Promise<void> {
  const key = partitionKey(place)
  const ending = state.finishing.get(key)
  if (ending !== undefined) await ending
  if (state.stopping !== null || state.held.has(key) || !state.given.has(key)) return
  state.held.set(key, holdPartition(scope, place))
}

function finish(state: State, one: HeldPartition): Promise<void> {
  const key = partitionKey(one)
  const under = state.finishing.get(key)
  if (under !== undefined) return under
  const finished = (async () => {
    await one.leave()
    state.held.delete(key)
    state.finishing.delete(key)
    lagGauge(state, one, 0)
  })()
  state.finishing.set(key, finished)
  return finished
}

function lagGauge({ setup, options }: State, { topic, partition }: TopicPartition, lag: number): void {
  setup.telemetry?.gauge('event_log_lag_records', lag, { group: options.group, topic, partition })
}

function report({ options }: State, error: unknown, topic: string, partition: number): void {
  try {
    options.onError(error instanceof Error ? error : new Error(String(error)), topic, partition)
  } catch {
    // A reporter that throws must not end consumption.
  }
}

/** Looks topics up, several askers at a time; one that is not there is told once. */
function topicLookUp(state: State): PartitionScope['lookUp'] {
  const running = new Map<string, Promise<TopicState | null>>()
  const missing = new Set<string>()
  const ask = async (topic: string): Promise<TopicState | null> => {
    try {
      const found = (await state.nodes.refresh(state.options.topics)).get(topic) ?? null
      if (found !== null) missing.delete(topic)
      else if (!missing.has(topic)) {
        missing.add(topic)
        report(state, unknownTopic(topic, state.nodes), topic, -1)
      }
      return found
    } finally {
      running.delete(topic)
    }
  }
  return topic => {
    const found = running.get(topic) ?? ask(topic)
    running.set(topic, found)
    return found
  }
}

/** Refreshes who leads what, one request at a time and not too often. */
function staleTopics({ nodes, options, setup }: State, then: () => void): () => void {
  let refreshing = false
  let refreshedMs = -Infinity
  const refresh = async (): Promise<void> => {
    refreshing = true
    try {
      await nodes.refresh(options.topics)
    } catch {
      // Whoever needs it asks again.
    }
    refreshedMs = setup.clock.monotonicMs()
    refreshing = false
    then()
  }
  return () => {
    if (!refreshing && setup.clock.monotonicMs() - refreshedMs >= STALE_SPACING_MS) void refresh()
  }
}

function controlOf(state: State, membership: () => Membership): ConsumerControl {
  const started = (topic: string, partition: number): HeldPartition | null => {
    const one = state.held.get(partitionKey({ topic, partition }))
    return one === undefined || one.topicId === null ? null : one
  }
  return {
    commit: async (topic, partition, offset) => {
      const one = started(topic, partition)
      const topicId = one?.topicId ?? null
      if (one === null || topicId === null) throw notHeld({ topic, partition })
      requireOffset(offset)
      const held = (): boolean => one.topicId === topicId && !state.lost.has(one)
      await membership().commit({ topic, partition, offset, topicId }, held)
    },
    seek: (topic, partition, offset) => {
      requireOffset(offset)
      started(topic, partition)?.seek(offset)
    },
    pause: (topic, partition) => started(topic, partition)?.setPaused(true),
    resume: (topic, partition) => started(topic, partition)?.setPaused(false),
  }
}

function requireOffset(offset: number): void {
  if (!Number.isSafeInteger(offset) || offset < 0) {
    throw new RangeError(`${offset} is not an offset: give a whole number from 0.`)
  }
}
