import type { Clock } from '../../../ports/clock.ts'
import { isRetriable } from './faults.ts'
import { QUIET_MS } from './membership.ts'
import type { Nodes } from './nodes.ts'
import type { PartitionFeed } from './partition.ts'
import { fetchCall } from './requests.ts'

const POLL_MS = 20
const MAX_WAIT_MS = 150
const ANSWER_MAX_BYTES = 8 * 1_048_576
const PARTITION_MAX_BYTES = 1_048_576
const FIRST_RETRY_MS = 50
const MAX_RETRY_MS = 1_000

/** What fetching needs of its consumer. */
export interface FetchScope {
  /** Its own: a fetch waits at the broker for records to come. */
  readonly nodes: Nodes
  readonly clock: Clock
  partitions(): Iterable<PartitionFeed>
  /** The leaders of partitions may have changed. */
  stale(): void
  onError(error: unknown): void
  count(name: string, by: number): void
}

/** The fetching side of a consumer. */
export interface Fetching {
  /** Something may be wanted that was not. */
  wake(): void
  stop(): Promise<void>
}

interface State {
  readonly scope: FetchScope
  readonly loops: Map<number, Promise<void>>
  readonly wakers: Set<() => void>
  stopping: boolean
}

/** One request at a time to each broker that leads a partition which wants records; the answer fills its queue. */
export function startFetching(scope: FetchScope): Fetching {
  const state: State = { scope, loops: new Map(), wakers: new Set(), stopping: false }
  const watch = setInterval(() => startLoops(state), POLL_MS)
  const wakeAll = (): void => {
    for (const waker of state.wakers) waker()
  }
  return {
    wake: () => {
      startLoops(state)
      wakeAll()
    },
    stop: async () => {
      state.stopping = true
      clearInterval(watch)
      wakeAll()
      await scope.nodes.close()
      await Promise.all(state.loops.values())
    },
  }
}

/** Starts loops for brokers that lead something and have none. */
function startLoops(state: State): void {
  const { scope, loops } = state
  if (state.stopping) return
  for (const one of scope.partitions()) {
    const topic = scope.nodes.cached(one.topic)
    const leader = topic?.partitions[one.partition]?.leader ?? -1
    // A topic that is not there any more has no broker that could say so.
    if (topic === undefined) one.doubt()
    else if (leader < 0) scope.stale()
    else if (!loops.has(leader)) loops.set(leader, loop(state, leader))
  }
}

interface Wanted {
  readonly feed: PartitionFeed
  readonly topicId: string
  readonly offset: number
  readonly leaderEpoch: number
  readonly lastEpoch: number
  readonly turn: number
}

function wantedOf({ scope }: State, leader: number): readonly Wanted[] {
  const out: Wanted[] = []
  for (const feed of scope.partitions()) {
    const led = scope.nodes.cached(feed.topic)?.partitions[feed.partition]
    if (led?.leader !== leader) continue
    const wanted = feed.wanted()
    if (wanted !== null) out.push({ feed, leaderEpoch: led.epoch, ...wanted })
  }
  return out
}

async function loop(state: State, leader: number): Promise<void> {
  const { scope } = state
  let retryMs = FIRST_RETRY_MS
  let failingSinceMs: number | null = null
  for (let round = 0; !state.stopping; round += 1) {
    const wanted = wantedOf(state, leader)
    if (wanted.length === 0) {
      await rest(state, POLL_MS)
      continue
    }
    try {
      await fetch(state, leader, wanted, round)
      retryMs = FIRST_RETRY_MS
      failingSinceMs = null
    } catch (error) {
      if (state.stopping) return
      scope.count('event_log_fetch_retries', 1)
      failingSinceMs ??= scope.clock.monotonicMs()
      const lasting = scope.clock.monotonicMs() - failingSinceMs >= QUIET_MS
      if (lasting || !isRetriable(error)) scope.onError(error)
      scope.stale()
      await rest(state, retryMs)
      retryMs = Math.min(retryMs * 2, MAX_RETRY_MS)
      if (wantedOf(state, leader).length === 0) break
    }
  }
  state.loops.delete(leader)
}

async function fetch(state: State, leader: number, wanted: readonly Wanted[], round: number): Promise<void> {
  const { scope } = state
  // The broker fills its answer in the order asked: each partition comes first in turn.
  const first = round % wanted.length
  const ordered = [...wanted.slice(first), ...wanted.slice(0, first)]
  const asked = ordered.map(({ feed, topicId, offset, leaderEpoch, lastEpoch }) => {
    return { topicId, partition: feed.partition, offset, maxBytes: PARTITION_MAX_BYTES, leaderEpoch, lastEpoch }
  })
  const limits = { maxWaitMs: MAX_WAIT_MS, minBytes: 1, maxBytes: ANSWER_MAX_BYTES }
  const node = await scope.nodes.node(leader)
  const { bytes, partitions } = await node.send(1, () => fetchCall(asked, limits))
  const byPlace = new Map(ordered.map(each => [`${each.topicId}/${each.feed.partition}`, each]))
  let recordBytes = 0
  for (const answer of partitions) {
    const each = byPlace.get(`${answer.topicId}/${answer.partition}`)
    recordBytes += answer.records.length
    each?.feed.fetched(each.turn, each.offset, answer, bytes)
  }
  scope.count('event_log_fetched_bytes', recordBytes)
}

function rest(state: State, ms: number): Promise<void> {
  return new Promise(resolve => {
    const done = (): void => {
      clearTimeout(timer)
      state.wakers.delete(done)
      resolve()
    }
    const timer = setTimeout(done, ms)
    state.wakers.add(done)
  })
}
