import { setTimeout as pause } from 'node:timers/promises'
import type { Clock } from '../../../ports/clock.ts'
import { PortError } from '../../../ports/errors.ts'
import { CODE, KafkaFault, faultCode, isRetriable, portError } from './faults.ts'
import { kafkajsCall } from './internals.ts'
import type { Broker } from './internals.ts'
import { openNode } from './node.ts'
import type { Node } from './node.ts'
import { metadataCall } from './requests.ts'
import type { BrokerAddress, ClusterMetadata, PartitionMetadata } from './requests.ts'

const FIRST_RETRY_MS = 20
const MAX_RETRY_MS = 500
const INVALID_TOPIC = 17

/** A topic as one broker last described it. */
export interface TopicState {
  readonly name: string
  /** Names this life of the topic. */
  readonly id: string
  /** By partition. */
  readonly partitions: readonly PartitionMetadata[]
}

/** The brokers of a cluster, connected when first needed. */
export interface Nodes {
  readonly where: string
  /** The broker with this id; fails with a retriable fault where it is not known. */
  node(nodeId: number): Promise<Node>
  /** All that were named by the last metadata. */
  known(): readonly BrokerAddress[]
  /** Asks some broker, or the one given, and remembers the answer. Topics that are not there are absent from it. */
  refresh(names: readonly string[], nodeId?: number): Promise<ReadonlyMap<string, TopicState>>
  /** As last seen. */
  cached(name: string): TopicState | undefined
  /** Node that takes orders about topics. */
  controller(): number
  /** Ends every connection at once; requests in flight fail. */
  close(): Promise<void>
}

/** Options of `openNodes`. */
export interface NodesOptions {
  readonly bootstrap: readonly { readonly host: string; readonly port: number }[]
  readonly makeBroker: (host: string, port: number) => Promise<Broker>
}

interface State {
  readonly options: NodesOptions
  readonly where: string
  readonly nodes: Map<number, Node>
  readonly topics: Map<string, TopicState>
  /** Connections to bootstrap addresses, for as long as they are asked. */
  readonly seeds: Set<Node>
  controllerId: number
  /** Whose turn it is to be asked. */
  turn: number
  closed: boolean
}

/** Opens nothing yet: connections are made by the first request. */
export function openNodes(options: NodesOptions): Nodes {
  const state: State = {
    options,
    where: options.bootstrap.map(({ host, port }) => `${host}:${port}`).join(','),
    nodes: new Map(),
    topics: new Map(),
    seeds: new Set(),
    controllerId: -1,
    turn: 0,
    closed: false,
  }
  return {
    where: state.where,
    node: async nodeId => nodeOf(state, nodeId),
    known: () => [...state.nodes.values()].map(node => node.address),
    controller: () => state.controllerId,
    cached: name => state.topics.get(name),
    refresh: async (names, nodeId) => {
      requireOpen(state)
      const answer =
        nodeId === undefined
          ? await askSome(state, names)
          : await nodeOf(state, nodeId).send(0, () => metadataCall(names))
      requireOpen(state)
      await adoptNodes(state, answer)
      return adoptTopics(state, answer)
    },
    close: async () => {
      state.closed = true
      await Promise.all([...state.nodes.values(), ...state.seeds].map(node => node.close()))
      state.nodes.clear()
      state.topics.clear()
    },
  }
}

function requireOpen({ closed, where }: State): void {
  if (closed) throw new PortError('CLOSED', `The event log on ${where} is closed.`)
}

function nodeOf(state: State, nodeId: number): Node {
  requireOpen(state)
  const found = state.nodes.get(nodeId)
  if (found === undefined) throw new KafkaFault(CODE.brokerNotAvailable, `Broker ${nodeId} is not known`)
  return found
}

/**
 * Asks the brokers that are known, connected ones first, then the bootstrap addresses; each in turn, for one that lost
 * touch with the others answers with what it knew.
 */
async function askSome(state: State, names: readonly string[]): Promise<ClusterMetadata> {
  let last: unknown = new KafkaFault(CODE.brokerNotAvailable, `No broker of ${state.where} is known`)
  state.turn += 1
  const known = [...state.nodes.values()]
  const first = state.turn % Math.max(1, known.length)
  const candidates = [...known.slice(first), ...known.slice(0, first)]
  candidates.sort((a, b) => Number(b.connected()) - Number(a.connected()))
  for (const node of candidates) {
    try {
      return await node.send(0, () => metadataCall(names))
    } catch (error) {
      last = error
    }
  }
  const { bootstrap, makeBroker } = state.options
  for (let i = 0; i < bootstrap.length && !state.closed; i += 1) {
    const at = bootstrap[(state.turn + i) % bootstrap.length]
    if (at === undefined) break
    const seed = openNode({ nodeId: -1, ...at }, await makeBroker(at.host, at.port))
    state.seeds.add(seed)
    try {
      return await seed.send(0, () => metadataCall(names))
    } catch (error) {
      last = error
    } finally {
      state.seeds.delete(seed)
      void seed.close()
    }
  }
  throw last instanceof Error ? last : new Error(String(last))
}

async function adoptNodes(state: State, answer: ClusterMetadata): Promise<void> {
  const { nodes, options } = state
  state.controllerId = answer.controller
  for (const address of answer.brokers) {
    const { nodeId, host, port } = address
    const isSame = (node: Node | undefined): boolean => node?.address.host === host && node.address.port === port
    if (isSame(nodes.get(nodeId))) continue
    const fresh = openNode(address, await options.makeBroker(host, port))
    // Another answer may have brought it meanwhile.
    const before = nodes.get(nodeId)
    if (isSame(before)) continue
    nodes.set(nodeId, fresh)
    void before?.close()
  }
  const alive = new Set(answer.brokers.map(each => each.nodeId))
  for (const [nodeId, node] of nodes) {
    if (alive.has(nodeId) || answer.brokers.length === 0) continue
    nodes.delete(nodeId)
    void node.close()
  }
}

/** Takes every topic that is well before it fails for one that is not. */
function adoptTopics({ topics }: State, answer: ClusterMetadata): ReadonlyMap<string, TopicState> {
  const found = new Map<string, TopicState>()
  let fault: KafkaFault | null = null
  for (const topic of answer.topics) {
    const { errorCode, name } = topic
    const isAbsent = errorCode === CODE.unknownTopicOrPartition || errorCode === CODE.unknownTopicId
    if (isAbsent || errorCode === INVALID_TOPIC) topics.delete(name)
    else if (errorCode !== CODE.none && errorCode !== CODE.leaderNotAvailable) {
      fault ??= new KafkaFault(errorCode, `Topic ${name} cannot be described`)
    } else {
      const newest = newestOf(topics.get(name), topic)
      found.set(name, newest)
      topics.set(name, newest)
    }
  }
  if (fault !== null) throw fault
  return found
}

/** A leadership that was seen is not undone by a broker that has not heard of it. */
function newestOf(before: TopicState | undefined, now: TopicState): TopicState {
  if (before === undefined || before.id !== now.id) return now
  const partitions = now.partitions.map((one, partition) => {
    const seen = before.partitions[partition]
    return seen !== undefined && seen.epoch > one.epoch ? seen : one
  })
  return { ...now, partitions }
}

/**
 * Tries until it succeeds, fails for good, or `limitMs` are over; pauses grow from 20 to 500 ms. Rejects with
 * `PortError`; `what` says what was tried.
 */
export async function retrying<T>(
  clock: Clock,
  limitMs: number,
  what: string,
  attempt: (tries: number) => Promise<T>,
): Promise<T> {
  const untilMs = clock.monotonicMs() + limitMs
  for (let tries = 0, waitMs = FIRST_RETRY_MS; ; tries += 1, waitMs = Math.min(waitMs * 2, MAX_RETRY_MS)) {
    try {
      return await attempt(tries)
    } catch (error) {
      if (!isRetriable(error) || clock.monotonicMs() + waitMs >= untilMs) throw portError(error, what)
      await pause(waitMs)
    }
  }
}

/** Retriable codes that mean the cached description of a topic is out of date. */
export function isStale(error: unknown): boolean {
  const code = faultCode(error)
  return code === null || (code !== CODE.requestTimedOut && code !== CODE.throttlingQuotaExceeded)
}

/** The group's coordinator, asked of some broker. */
export async function findCoordinator(nodes: Nodes, group: string): Promise<number> {
  if (nodes.known().length === 0) await nodes.refresh([])
  let last: unknown = new KafkaFault(CODE.coordinatorNotAvailable, `No coordinator of group ${group}`)
  for (const { nodeId } of nodes.known()) {
    try {
      const node = await nodes.node(nodeId)
      const answer = await node.send(0, broker =>
        kafkajsCall<{ coordinator: { nodeId: number } }>(broker, 'GroupCoordinator', {
          groupId: group,
          coordinatorType: 0,
        }),
      )
      if (nodes.known().every(each => each.nodeId !== answer.coordinator.nodeId)) await nodes.refresh([])
      return answer.coordinator.nodeId
    } catch (error) {
      last = error
    }
  }
  await nodes.refresh([])
  throw last
}
