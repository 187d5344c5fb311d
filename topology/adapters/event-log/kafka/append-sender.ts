import type { Clock } from '../../../ports/clock.ts'
import { PortError } from '../../../ports/errors.ts'
import type { Telemetry } from '../../../ports/telemetry.ts'
import { holdBack, isEmpty, moveOn, newLane, nextBatch, putBack } from './append-lane.ts'
import type { AppendCall, Entry, Lane, Sending } from './append-lane.ts'
import type { Compression } from './codecs.ts'
import { CODE, KafkaFault, isRetriable, portError } from './faults.ts'
import { kafkajsCall } from './internals.ts'
import { isStale } from './nodes.ts'
import type { Nodes, TopicState } from './nodes.ts'
import { lastArrivalMs } from './read.ts'
import { produceCall } from './requests.ts'
import type { ProducedPartition } from './requests.ts'
import { unknownTopic } from './topics.ts'

const REQUEST_MAX_BYTES = 16 * 1_048_576
const BROKER_LIMIT_MS = 20_000

/** What the sender needs of what is around it. */
export interface SenderScope {
  readonly nodes: Nodes
  readonly clock: Clock
  readonly telemetry: Telemetry | null
  readonly compression: Compression
  readonly deliveryTimeoutMs: number
  /** A topic as last looked up. */
  stateOf(topic: string): TopicState | null
  /** Looks a topic up again, with all others that are written to. */
  refresh(topics: readonly string[]): Promise<void>
  /** A record has its position (`error` null), or the call has failed. */
  settle(call: AppendCall, error: unknown): void
}

/** Sends what is put into its lanes: one request at a time to each broker, one batch of each partition in it. */
export interface Sender {
  lane(topic: TopicState, partition: number): Lane
  /** Sends soon; what the same turn of the event loop adds comes along. */
  schedule(): void
  /** Topics that are written to. */
  topics(): readonly string[]
  /** Fails what is left. */
  fail(error: PortError): void
}

interface State {
  readonly scope: SenderScope
  readonly lanes: Map<string, Lane>
  /** Brokers with a request under way. */
  readonly busy: Set<number>
  scheduled: boolean
  timer: NodeJS.Timeout | null
  timerMs: number
}

/** Makes a sender. */
export function createSender(scope: SenderScope): Sender {
  const state: State = { scope, lanes: new Map(), busy: new Set(), scheduled: false, timer: null, timerMs: 0 }
  return {
    lane: (topic, partition) => laneOf(state, topic, partition),
    schedule: () => schedule(state),
    topics: () => [...state.lanes.values()].map(lane => lane.topic),
    fail: error => {
      if (state.timer !== null) clearTimeout(state.timer)
      state.timer = null
      for (const lane of state.lanes.values()) failLane(state, lane, error)
    },
  }
}

function laneOf(state: State, topic: TopicState, partition: number): Lane {
  const key = `${topic.id}/${partition}`
  const found = state.lanes.get(key)
  if (found !== undefined) return found
  for (const [old, lane] of state.lanes) {
    if (lane.topic === topic.name && lane.topicId !== topic.id && isEmpty(lane)) state.lanes.delete(old)
  }
  const lane = newLane(topic.name, topic.id, partition)
  state.lanes.set(key, lane)
  return lane
}

function schedule(state: State): void {
  if (state.scheduled) return
  state.scheduled = true
  setImmediate(() => {
    state.scheduled = false
    dispatch(state)
  })
}

function wakeAt(state: State, ms: number): void {
  if (state.timer !== null && state.timerMs <= ms) return
  if (state.timer !== null) clearTimeout(state.timer)
  state.timerMs = ms
  const waitMs = Math.max(1, Math.ceil(ms - state.scope.clock.monotonicMs()))
  state.timer = setTimeout(() => {
    state.timer = null
    dispatch(state)
  }, waitMs)
}

/** Starts a request for each leader that has none under way. */
function dispatch(state: State): void {
  const byLeader = new Map<number, Lane[]>()
  const nowMs = state.scope.clock.monotonicMs()
  for (const lane of state.lanes.values()) {
    const leader = leaderOf(state, lane)
    if (!state.busy.has(leader)) dropExpired(state, lane, nowMs)
    if (isEmpty(lane)) continue
    if (lane.waitUntilMs > nowMs) wakeAt(state, lane.waitUntilMs)
    else if (lane.producer === null || lane.arrivalMs === null) void prime(state, lane)
    else if (leader < 0) lookAgain(state, lane)
    else if (!state.busy.has(leader)) {
      const group = byLeader.get(leader)
      if (group === undefined) byLeader.set(leader, [lane])
      else group.push(lane)
    }
  }
  for (const [leader, lanes] of byLeader) void send(state, leader, lanes)
}

function leaderOf({ scope }: State, lane: Lane): number {
  return scope.stateOf(lane.topic)?.partitions[lane.partition]?.leader ?? -1
}

/** Waits and looks the topic up again; records for a life of a topic that ended are not written to the next. */
function lookAgain(state: State, lane: Lane): void {
  const { scope } = state
  holdBack(lane, scope.clock.monotonicMs())
  wakeAt(state, lane.waitUntilMs)
  const check = (): void => {
    const now = scope.stateOf(lane.topic)
    if (now === null) failLane(state, lane, unknownTopic(lane.topic, scope.nodes))
    else if (now.id !== lane.topicId || lane.partition >= now.partitions.length) {
      const message = `Topic ${lane.topic} was deleted and made again while records were appended: append them anew.`
      failLane(state, lane, new PortError('UNKNOWN_TOPIC', message))
    }
  }
  scope.refresh([lane.topic]).then(check, () => {})
}

function failLane({ scope }: State, lane: Lane, error: PortError): void {
  const entries = [...(lane.sending?.entries ?? []), ...lane.queue]
  lane.sending = null
  lane.tries += 1
  lane.queue = []
  lane.producer = null
  for (const { call } of entries) scope.settle(call, error)
}

function dropExpired({ scope }: State, lane: Lane, nowMs: number): void {
  const first = lane.sending?.entries[0] ?? lane.queue[0]
  if (first === undefined || nowMs < first.untilMs) return
  const what = `Topic ${lane.topic} partition ${lane.partition}: no acknowledgement within ${scope.deliveryTimeoutMs} ms`
  const error = new PortError('LOG_UNAVAILABLE', `${what}. Check that enough replicas of the partition are in sync.`)
  if (lane.sending !== null) {
    for (const { call } of lane.sending.entries) scope.settle(call, error)
    // The broker may have taken it, and would take the next batch of that sequence for the same one.
    lane.sending = null
    lane.tries += 1
    lane.producer = null
  }
  for (let next = lane.queue[0]; next !== undefined && nowMs >= next.untilMs; next = lane.queue[0]) {
    lane.queue.shift()
    scope.settle(next.call, error)
  }
}

/** Learns what the first batch needs: an identity, and the arrival that the next must not go below. */
async function prime(state: State, lane: Lane): Promise<void> {
  if (lane.priming) return
  lane.priming = true
  const { scope } = state
  try {
    lane.producer ??= await newProducer(scope.nodes)
    if (lane.arrivalMs === null) {
      const topic = scope.stateOf(lane.topic)
      if (topic === null) throw new KafkaFault(CODE.unknownTopicOrPartition, `Topic ${lane.topic}`)
      lane.arrivalMs = (await lastArrivalMs(scope.nodes, topic, lane.partition)) ?? -Infinity
      lane.statedMs = lane.arrivalMs
    }
  } catch (error) {
    if (isRetriable(error)) lookAgain(state, lane)
    else failLane(state, lane, portError(error, `Topic ${lane.topic} partition ${lane.partition} takes no append`))
  } finally {
    lane.priming = false
    schedule(state)
  }
}

async function newProducer(nodes: Nodes): Promise<NonNullable<Lane['producer']>> {
  const known = nodes.known()
  const chosen = known.find(each => each.nodeId === nodes.controller()) ?? known[0]
  if (chosen === undefined) throw new KafkaFault(CODE.brokerNotAvailable, 'No broker is known')
  const node = await nodes.node(chosen.nodeId)
  const args = { transactionalId: null, transactionTimeout: 60_000 }
  const answer = await node.send(0, broker =>
    kafkajsCall<{ producerId: string; producerEpoch: number }>(broker, 'InitProducerId', args),
  )
  return { producerId: Number(answer.producerId), epoch: answer.producerEpoch, sequence: 0 }
}

async function send(state: State, leader: number, ready: readonly Lane[]): Promise<void> {
  const { scope } = state
  const chosen: Lane[] = []
  const tries = new Map<Lane, number>()
  // A lane whose leader changed meanwhile was sent elsewhere, or given up: what comes of this request is of no account.
  const isLast = (lane: Lane): boolean => lane.tries === tries.get(lane)
  state.busy.add(leader)
  try {
    const batches: { topic: string; partition: number; batch: Buffer }[] = []
    let bytes = 0
    for (const lane of ready) {
      if (bytes >= REQUEST_MAX_BYTES) break
      chosen.push(lane)
      lane.tries += 1
      tries.set(lane, lane.tries)
      lane.sending ??= nextBatch(lane, scope.clock, scope.compression)
      const { batch } = lane.sending
      batches.push({ topic: lane.topic, partition: lane.partition, batch })
      bytes += batch.length
    }
    const node = await scope.nodes.node(leader)
    const answers = await node.send(0, () => produceCall(batches, BROKER_LIMIT_MS))
    const byPlace = new Map(answers.map(answer => [`${answer.topic}/${answer.partition}`, answer]))
    for (const lane of chosen.filter(isLast)) answered(state, lane, byPlace.get(`${lane.topic}/${lane.partition}`))
    scope.telemetry?.count('event_log_appended_bytes', bytes)
  } catch (error) {
    scope.telemetry?.count('event_log_append_retries', 1)
    for (const lane of chosen.filter(isLast)) {
      if (!isRetriable(error)) {
        failLane(state, lane, portError(error, `Broker ${leader} of ${scope.nodes.where} did not take an append`))
      } else if (isStale(error)) lookAgain(state, lane)
      else holdBack(lane, scope.clock.monotonicMs())
    }
  } finally {
    state.busy.delete(leader)
    // To the end of the map, so that a request that is full does not always leave the same lanes out.
    for (const lane of chosen) {
      const key = `${lane.topicId}/${lane.partition}`
      if (state.lanes.delete(key)) state.lanes.set(key, lane)
    }
    schedule(state)
  }
}

/** The broker has forgotten a producer, or lost part of what it wrote. */
const LOST_PRODUCER: ReadonlySet<number> = new Set([
  CODE.outOfOrderSequence,
  CODE.duplicateSequence,
  CODE.unknownProducerId,
  CODE.invalidProducerEpoch,
])

function answered(state: State, lane: Lane, answer: ProducedPartition | undefined): void {
  const { scope } = state
  const { sending } = lane
  if (sending === null) return
  const code = answer?.errorCode ?? CODE.networkException
  if (answer !== undefined && code === CODE.none) {
    taken(state, lane, sending, answer)
    return
  }
  scope.telemetry?.count('event_log_append_retries', 1)
  const fault = new KafkaFault(code, `Topic ${lane.topic} partition ${lane.partition} did not take a batch`)
  if (code === CODE.messageTooLarge || code === CODE.recordListTooLarge) tooLarge(state, lane, sending)
  else if (LOST_PRODUCER.has(code)) {
    // Another identity is needed; should an earlier try have been taken after all, these records are there twice.
    putBack(lane, sending)
    lane.producer = null
    holdBack(lane, scope.clock.monotonicMs())
  } else if (!isRetriable(fault)) failLane(state, lane, portError(fault, `${scope.nodes.where} refused an append`))
  else if (code === CODE.notEnoughReplicas) holdBack(lane, scope.clock.monotonicMs())
  else lookAgain(state, lane)
}

function taken({ scope }: State, lane: Lane, sending: Sending, answer: ProducedPartition): void {
  moveOn(lane, sending)
  if (sending.timed && answer.appendMs > 0) lane.arrivalMs = Math.max(lane.arrivalMs ?? -Infinity, answer.appendMs)
  scope.telemetry?.count('event_log_appended_records', sending.entries.length, { topic: lane.topic })
  for (const [i, { call, index }] of sending.entries.entries()) {
    call.positions[index] = { partition: lane.partition, offset: answer.baseOffset + i }
    call.left -= 1
    scope.settle(call, null)
  }
}

/** The topic allows smaller batches than ours: halves them; a single record fails. */
function tooLarge({ scope }: State, lane: Lane, sending: Sending): void {
  if (sending.entries.length > 1) {
    lane.maxBatchBytes = Math.max(1, Math.floor(Math.min(lane.maxBatchBytes, sending.batch.length) / 2))
    putBack(lane, sending)
    return
  }
  lane.sending = null
  const [only] = sending.entries as readonly [Entry]
  const message =
    `A record of ${only.prepared.bytes} bytes is more than topic ${lane.topic} takes: ` +
    'send less, or raise its max.message.bytes.'
  scope.settle(only.call, new PortError('RECORD_TOO_LARGE', message))
}
