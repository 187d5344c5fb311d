import { setTimeout as pause } from 'node:timers/promises'
import type { Clock } from '../../../ports/clock.ts'
import { PortError } from '../../../ports/errors.ts'
import type { TopicInfo, TopicSpec } from '../../../ports/event-log.ts'
import { CODE, KafkaFault, faultCode } from './faults.ts'
import { kafkajsCall } from './internals.ts'
import { findCoordinator, retrying } from './nodes.ts'
import type { Nodes, TopicState } from './nodes.ts'

const TOPIC_NAME = /^[a-zA-Z0-9._-]{1,249}$/
const TOPIC_RESOURCE = 2
const ORDER_LIMIT_MS = 20_000
/** How long brokers may take to learn of a topic that was made or deleted. */
const SPREAD_LIMIT_MS = 10_000
const SPREAD_POLL_MS = 20
/** Kafka's own default. */
const DEFAULT_MAX_BATCH_BYTES = 1_048_588
/** What a batch of one record takes beside key, value and headers. */
export const BATCH_OVERHEAD_BYTES = 64 * 1024

/** What the administration of topics needs. */
export interface TopicsScope {
  readonly nodes: Nodes
  readonly clock: Clock
  readonly maxRecordBytes: number
  /** 0 for the cluster's default. */
  readonly replicationFactor: number
}

/** As `EventLog.describe`. */
export async function describeTopic(scope: TopicsScope, name: string): Promise<TopicInfo | null> {
  const { nodes, clock } = scope
  return await retrying(clock, ORDER_LIMIT_MS, `Topic ${name} of ${nodes.where} cannot be described`, async () => {
    const state = (await nodes.refresh([name])).get(name)
    return state === undefined ? null : await infoOf(scope, state)
  })
}

interface ConfigAnswer {
  readonly resources: readonly {
    readonly configEntries: readonly { readonly configName: string; readonly configValue: string | null }[]
  }[]
}

async function infoOf({ nodes }: TopicsScope, state: TopicState): Promise<TopicInfo> {
  const configNames = [
    ...['cleanup.policy', 'retention.ms', 'retention.bytes', 'message.timestamp.type'],
    ...['unclean.leader.election.enable', 'min.insync.replicas'],
  ]
  const resources = [{ type: TOPIC_RESOURCE, name: state.name, configNames }]
  const leader = state.partitions.find(each => each.leader >= 0)?.leader
  const node = await nodes.node(leader ?? nodes.controller())
  const answer = await node.send(0, broker =>
    kafkajsCall<ConfigAnswer>(broker, 'DescribeConfigs', { resources, includeSynonyms: false }),
  )
  const entries = answer.resources[0]?.configEntries ?? []
  const config = new Map(entries.map(({ configName, configValue }) => [configName, configValue ?? '']))
  const positive = (key: string): number => Math.max(0, Number(config.get(key) ?? 0))
  return {
    name: state.name,
    incarnation: state.id,
    partitions: state.partitions.length,
    retentionMs: positive('retention.ms'),
    retentionBytes: positive('retention.bytes'),
    compacted: (config.get('cleanup.policy') ?? '').split(',').includes('compact'),
    appendTime: config.get('message.timestamp.type') === 'LogAppendTime',
    replicas: state.partitions.reduce((least, each) => Math.min(least, each.replicas), Infinity),
    minInSyncReplicas: Math.max(1, Number(config.get('min.insync.replicas') ?? 1)),
    uncleanElection: config.get('unclean.leader.election.enable') === 'true',
  }
}

/** As `EventLog.ensureTopics`: those that are made keep records by time alone, under the time of their append. */
export async function ensureTopics(scope: TopicsScope, specs: readonly TopicSpec[]): Promise<readonly TopicInfo[]> {
  for (const spec of specs) checkSpec(spec)
  if (specs.length === 0) return []
  const { nodes, clock } = scope
  const names = [...new Set(specs.map(spec => spec.name))]
  const what = `Topics of ${nodes.where} cannot be made`
  const found = await retrying(clock, ORDER_LIMIT_MS, what, () => nodes.refresh(names))
  const absent = [...new Map(specs.filter(spec => !found.has(spec.name)).map(spec => [spec.name, spec])).values()]
  for (const spec of specs) requirePartitions(found.get(spec.name)?.partitions.length ?? spec.partitions, spec)
  if (absent.length > 0) {
    await retrying(clock, ORDER_LIMIT_MS, what, () => createTopics(scope, absent))
    await untilAllKnow(
      scope,
      absent.map(spec => spec.name),
      seen => absent.every(spec => seen.get(spec.name)?.partitions.every(each => each.leader >= 0) === true),
    )
  }
  const infos = new Map<string, TopicInfo>()
  for (const spec of specs) {
    const info = infos.get(spec.name) ?? (await describeTopic(scope, spec.name))
    if (info === null) throw new PortError('UNKNOWN_TOPIC', `Topic ${spec.name} was deleted while it was made.`)
    requirePartitions(info.partitions, spec)
    infos.set(spec.name, info)
  }
  return specs.flatMap(spec => infos.get(spec.name) ?? [])
}

function requirePartitions(partitions: number, spec: TopicSpec): void {
  if (partitions >= spec.partitions) return
  throw new PortError(
    'TOPIC_MISMATCH',
    `Topic ${spec.name} exists with ${partitions} partitions, ${spec.partitions} were asked for: ` +
      'add partitions, correct the definition, or delete the topic first.',
  )
}

function checkSpec(spec: TopicSpec): void {
  if (!TOPIC_NAME.test(spec.name) || spec.name === '.' || spec.name === '..') {
    throw new RangeError(
      `"${spec.name}" cannot name a topic: use 1 to 249 letters, digits, dots, underscores and dashes.`,
    )
  }
  if (!Number.isSafeInteger(spec.partitions) || spec.partitions < 1) {
    throw new RangeError(`Topic ${spec.name} has ${spec.partitions} partitions: give a whole number from 1.`)
  }
  if (!Number.isSafeInteger(spec.retentionMs) || spec.retentionMs < 0) {
    throw new RangeError(`Topic ${spec.name} has retentionMs ${spec.retentionMs}: give whole milliseconds, 0 for ever.`)
  }
}

async function createTopics(scope: TopicsScope, specs: readonly TopicSpec[]): Promise<void> {
  const { nodes, maxRecordBytes } = scope
  const maxBatchBytes = Math.max(DEFAULT_MAX_BATCH_BYTES, maxRecordBytes + BATCH_OVERHEAD_BYTES)
  const topics = specs.map(spec => ({
    topic: spec.name,
    numPartitions: spec.partitions,
    replicationFactor: scope.replicationFactor === 0 ? -1 : scope.replicationFactor,
    configEntries: [
      { name: 'message.timestamp.type', value: 'LogAppendTime' },
      { name: 'cleanup.policy', value: 'delete' },
      { name: 'retention.ms', value: String(spec.retentionMs === 0 ? -1 : spec.retentionMs) },
      { name: 'max.message.bytes', value: String(maxBatchBytes) },
    ],
  }))
  try {
    const node = await nodes.node(nodes.controller())
    await node.send(0, broker => kafkajsCall(broker, 'CreateTopics', { topics, timeout: ORDER_LIMIT_MS / 2 }))
  } catch (error) {
    const faults = (error as { errors?: readonly Error[] }).errors ?? [error as Error]
    // Another process made it meanwhile.
    const real = faults.find(fault => faultCode(fault) !== CODE.topicAlreadyExists)
    if (real === undefined) return
    if (faultCode(real) === CODE.notController) await nodes.refresh([])
    throw real
  }
}

/** As `EventLog.deleteTopic`. */
export async function deleteTopic(scope: TopicsScope, name: string): Promise<void> {
  const { nodes, clock } = scope
  const what = `Topic ${name} of ${nodes.where} cannot be deleted`
  const before = await retrying(clock, ORDER_LIMIT_MS, what, () => nodes.refresh([name]))
  const id = before.get(name)?.id
  if (id === undefined) {
    throw new PortError('UNKNOWN_TOPIC', `${nodes.where} has no topic ${name}: correct the name.`)
  }
  await retrying(clock, ORDER_LIMIT_MS, what, async tries => {
    try {
      const node = await nodes.node(nodes.controller())
      await node.send(0, broker => kafkajsCall(broker, 'DeleteTopics', { topics: [name], timeout: ORDER_LIMIT_MS / 2 }))
    } catch (error) {
      // The answer to an earlier try may have been lost.
      if (faultCode(error) === CODE.unknownTopicOrPartition && tries > 0) return
      if (faultCode(error) === CODE.notController) await nodes.refresh([])
      throw error
    }
  })
  await untilAllKnow(scope, [name], seen => seen.get(name)?.id !== id)
}

/** Waits until every broker that can be reached sees the topics so, or the limit is over. */
async function untilAllKnow(
  { nodes, clock }: TopicsScope,
  names: readonly string[],
  settled: (seen: ReadonlyMap<string, TopicState>) => boolean,
): Promise<void> {
  const untilMs = clock.monotonicMs() + SPREAD_LIMIT_MS
  for (const { nodeId } of nodes.known()) {
    for (;;) {
      try {
        if (settled(await nodes.refresh(names, nodeId))) break
      } catch {
        // A broker that is away learns of it before it serves again.
        break
      }
      if (clock.monotonicMs() >= untilMs) break
      await pause(SPREAD_POLL_MS)
    }
  }
}

interface OffsetAnswer {
  readonly responses: readonly {
    readonly topic: string
    readonly partitions: readonly {
      readonly partition: number
      readonly offset: string
      readonly metadata: string | null
      readonly errorCode: number
    }[]
  }[]
}

/**
 * The offset that a group committed in this life of the topic, or null. A commit of this adapter carries the topic's
 * id; one of another life is not taken, one of another client (which carries none) is.
 */
export async function committedOffset(
  scope: Pick<TopicsScope, 'nodes' | 'clock'>,
  group: string,
  topic: TopicState,
  partition: number,
): Promise<number | null> {
  const { nodes, clock } = scope
  const what = `The offset that group ${group} committed for topic ${topic.name} cannot be read`
  return await retrying(clock, ORDER_LIMIT_MS, what, async () => {
    const node = await nodes.node(await findCoordinator(nodes, group))
    const topics = [{ topic: topic.name, partitions: [{ partition }] }]
    const answer = await node.send(0, broker =>
      kafkajsCall<OffsetAnswer>(broker, 'OffsetFetch', { groupId: group, topics }),
    )
    const found = answer.responses[0]?.partitions[0]
    if (found === undefined || Number(found.offset) < 0) return null
    if (found.metadata !== null && found.metadata !== '' && found.metadata !== topic.id) return null
    return Number(found.offset)
  })
}

/** A topic as just asked for; null when it is not there. */
export async function findTopic(scope: Pick<TopicsScope, 'nodes' | 'clock'>, name: string): Promise<TopicState | null> {
  const { nodes, clock } = scope
  const what = `Topic ${name} of ${nodes.where} cannot be looked up`
  return (await retrying(clock, ORDER_LIMIT_MS, what, () => nodes.refresh([name]))).get(name) ?? null
}

/** A topic as just asked for; `UNKNOWN_TOPIC` when it is not there. */
export async function requireTopic(scope: Pick<TopicsScope, 'nodes' | 'clock'>, name: string): Promise<TopicState> {
  const found = await findTopic(scope, name)
  if (found === null) throw unknownTopic(name, scope.nodes)
  return found
}

/** The error for a topic that is not there. */
export function unknownTopic(name: string, nodes: Nodes): PortError {
  return new PortError(
    'UNKNOWN_TOPIC',
    `The event log on ${nodes.where} has no topic ${name}: make it with headwater topics --create, or correct the name.`,
  )
}

/** `TOPIC_MISMATCH` when the topic has no such partition. */
export function requirePartition(topic: TopicState, partition: number): void {
  if (Number.isInteger(partition) && partition >= 0 && partition < topic.partitions.length) return
  throw new PortError(
    'TOPIC_MISMATCH',
    `Topic ${topic.name} has no partition ${partition}: it has ${topic.partitions.length}, numbered from 0.`,
  )
}

/** The error of a broker for one partition, as a fault; nothing where there is none. */
export function throwFault(errorCode: number, topic: string, partition: number): void {
  if (errorCode !== CODE.none) throw new KafkaFault(errorCode, `Topic ${topic} partition ${partition}`)
}
