import type { Batch, LogRecord, PartitionBounds } from '../../../ports/event-log.ts'
import { CODE, faultCode } from './faults.ts'
import { kafkajsCall } from './internals.ts'
import { retrying } from './nodes.ts'
import type { Nodes, TopicState } from './nodes.ts'
import { splitBatches, unpackRecords } from './record-batch.ts'
import { fetchCall } from './requests.ts'
import type { FetchedPartition } from './requests.ts'
import { requirePartition, throwFault, unknownTopic } from './topics.ts'
import type { TopicsScope } from './topics.ts'

const READ_LIMIT_MS = 20_000
const READ_MAX_BYTES = 64 * 1_048_576
const FETCH_MAX_BYTES = 4 * 1_048_576
const READ_COMMITTED = 1
const LATEST = '-1'

type Scope = Pick<TopicsScope, 'nodes' | 'clock'>

/**
 * What a partition holds in one life of its topic: the end is asked by name, then confirmed by a fetch that names the
 * topic's id, which no other life of the topic answers.
 */
export async function partitionBounds(scope: Scope, name: string, partition: number): Promise<PartitionBounds> {
  const what = `The bounds of topic ${name} partition ${partition} cannot be read`
  return await retrying(scope.clock, READ_LIMIT_MS, what, async tries => {
    const topic = await topicOf(scope, name, partition, tries)
    return await boundsOf(scope.nodes, topic, partition)
  })
}

/** As `partitionBounds`, once, for a topic as it was described; fails with a fault when it is not that any more. */
export async function boundsOf(nodes: Nodes, topic: TopicState, partition: number): Promise<PartitionBounds> {
  const end = await latestOffset(nodes, topic, partition)
  const { startOffset, endOffset } = await fetchOnce(nodes, topic, partition, end, 1)
  return { incarnation: topic.id, startOffset, endOffset }
}

interface ListOffsetsAnswer {
  readonly responses: readonly { readonly partitions: readonly { readonly offset: string }[] }[]
}

async function latestOffset(nodes: Nodes, topic: TopicState, partition: number): Promise<number> {
  const node = await leaderOf(nodes, topic, partition)
  const topics = [{ topic: topic.name, partitions: [{ partition, timestamp: LATEST }] }]
  const answer = await node.send(0, broker =>
    kafkajsCall<ListOffsetsAnswer>(broker, 'ListOffsets', { replicaId: -1, isolationLevel: READ_COMMITTED, topics }),
  )
  return Math.max(0, Number(answer.responses[0]?.partitions[0]?.offset ?? 0))
}

/** As `EventLog.read`. */
export async function readRecords(
  scope: Scope,
  name: string,
  partition: number,
  fromOffset: number,
  maxRecords: number,
): Promise<Batch> {
  const what = `Topic ${name} partition ${partition} cannot be read from offset ${fromOffset}`
  return await retrying(scope.clock, READ_LIMIT_MS, what, async tries => {
    const topic = await topicOf(scope, name, partition, tries)
    try {
      return await readFrom(scope.nodes, topic, partition, fromOffset, maxRecords)
    } catch (error) {
      if (faultCode(error) !== CODE.offsetOutOfRange) throw error
      const bounds = await boundsOf(scope.nodes, topic, partition)
      if (fromOffset >= bounds.startOffset) return emptyBatch(topic, partition, fromOffset, bounds.endOffset)
      return await readFrom(scope.nodes, topic, partition, bounds.startOffset, maxRecords)
    }
  })
}

function emptyBatch(topic: TopicState, partition: number, offset: number, endOffset: number): Batch {
  const place = { topic: topic.name, incarnation: topic.id, partition }
  return { ...place, records: [], fetchedOffset: offset, nextOffset: offset, endOffset }
}

async function readFrom(
  nodes: Nodes,
  topic: TopicState,
  partition: number,
  fromOffset: number,
  maxRecords: number,
): Promise<Batch> {
  const records: LogRecord[] = []
  let bytes = 0
  let endOffset = 0
  let reached = fromOffset
  for (let offset = fromOffset; records.length < maxRecords && bytes < READ_MAX_BYTES;) {
    const fetched = await fetchOnce(nodes, topic, partition, offset, FETCH_MAX_BYTES)
    endOffset = fetched.endOffset
    const { batches, nextOffset } = splitBatches(fetched.records, fetched.aborted)
    for (const batch of batches) {
      if (records.length < maxRecords) unpackRecords(batch, topic.name, partition, offset, records)
    }
    bytes += fetched.records.length
    if (nextOffset === null || nextOffset <= offset) break
    offset = nextOffset
    reached = nextOffset
    if (offset >= endOffset) break
  }
  // Past markers and records that do not count, so that who reads on comes to the end.
  const nextOffset = records.length < maxRecords ? reached : (records[maxRecords - 1]?.offset ?? fromOffset - 1) + 1
  records.length = Math.min(records.length, maxRecords)
  return {
    topic: topic.name,
    incarnation: topic.id,
    partition,
    records,
    fetchedOffset: fromOffset,
    nextOffset,
    endOffset,
  }
}

/**
 * The arrival of the last record of a partition, in UTC milliseconds, and whether it was stated by whoever wrote it
 * rather than by the broker's clock; null where the last batch holds no record that counts.
 */
export async function lastArrivalMs(nodes: Nodes, topic: TopicState, partition: number): Promise<number | null> {
  const end = await latestOffset(nodes, topic, partition)
  if (end === 0) return null
  const fetched = await fetchOnce(nodes, topic, partition, end - 1, 1)
  const records: LogRecord[] = []
  for (const batch of splitBatches(fetched.records, fetched.aborted).batches) {
    unpackRecords(batch, topic.name, partition, 0, records)
  }
  return records.reduce<number | null>((most, record) => Math.max(most ?? -Infinity, record.arrivalMs), null)
}

async function fetchOnce(
  nodes: Nodes,
  topic: TopicState,
  partition: number,
  offset: number,
  maxBytes: number,
): Promise<FetchedPartition> {
  const node = await leaderOf(nodes, topic, partition)
  const leaderEpoch = topic.partitions[partition]?.epoch ?? -1
  const wanted = [{ topicId: topic.id, partition, offset, maxBytes, leaderEpoch, lastEpoch: -1 }]
  const answer = await node.send(0, () => fetchCall(wanted, { maxWaitMs: 0, minBytes: 0, maxBytes }))
  const [found] = answer.partitions
  if (found === undefined) throw new RangeError(`A fetch of topic ${topic.name} was answered without it`)
  throwFault(found.errorCode, topic.name, partition)
  return found
}

async function leaderOf(nodes: Nodes, topic: TopicState, partition: number) {
  const leader = topic.partitions[partition]?.leader ?? -1
  if (leader < 0) throwFault(CODE.leaderNotAvailable, topic.name, partition)
  return await nodes.node(leader)
}

/** The topic as last seen, or asked anew on a further try; `UNKNOWN_TOPIC` or `TOPIC_MISMATCH` when it is not there. */
async function topicOf(scope: Scope, name: string, partition: number, tries: number): Promise<TopicState> {
  const { nodes } = scope
  const seen = tries === 0 ? nodes.cached(name) : undefined
  const topic =
    seen !== undefined && partition < seen.partitions.length ? seen : (await nodes.refresh([name])).get(name)
  if (topic === undefined) throw unknownTopic(name, nodes)
  requirePartition(topic, partition)
  return topic
}
