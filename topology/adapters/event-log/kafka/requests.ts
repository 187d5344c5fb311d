import { KafkaFault } from './faults.ts'
import { API } from './internals.ts'
import type { ProtocolCall } from './internals.ts'
import { WireReader, WireWriter } from './wire.ts'
import type { AbortedTransaction } from './record-batch.ts'

/**
 * The requests that kafkajs does not know in the version needed: Metadata 12 (Kafka 2.8+) names topic ids, Fetch 13
 * (Kafka 3.1+) asks by them, so that a broker never answers with records of another life of a topic. Produce 7 is
 * encoded here because each partition's error must be seen. Layouts: kafka.apache.org/protocol.
 */

export const METADATA_VERSION = 12
export const FETCH_VERSION = 13
const PRODUCE_VERSION = 7
const READ_COMMITTED = 1
const ALL_REPLICAS = -1
const DIVERGING_EPOCH_TAG = 0
/** The id of no topic: sixteen zero bytes. */
const NO_TOPIC_ID = 'AAAAAAAAAAAAAAAAAAAAAA'

/** One broker of the cluster. */
export interface BrokerAddress {
  readonly nodeId: number
  readonly host: string
  readonly port: number
}

/** One topic; `errorCode` 0 when all is well. */
export interface TopicMetadata {
  readonly errorCode: number
  readonly name: string
  readonly id: string
  /** By partition. */
  readonly partitions: readonly PartitionMetadata[]
}

/** Who leads a partition: its node, -1 for none; the epoch of that leadership; and how many replicas there are. */
export interface PartitionMetadata {
  readonly leader: number
  readonly epoch: number
  readonly replicas: number
}

export interface ClusterMetadata {
  readonly brokers: readonly BrokerAddress[]
  readonly controller: number
  readonly topics: readonly TopicMetadata[]
}

/** Brokers, and the topics of these names (none for none); topics are never made by asking. */
export function metadataCall(names: readonly string[]): ProtocolCall<ClusterMetadata> {
  const body = new WireWriter().endOfStructure()
  body.compactArray(names, name => body.uuid(NO_TOPIC_ID).compactString(name).endOfStructure())
  body.int8(0).int8(0).endOfStructure()
  return call('Metadata', METADATA_VERSION, body, reader => {
    reader.skipTaggedFields()
    const throttleMs = reader.int32()
    const brokers = reader.compactArray(() => {
      const broker = { nodeId: reader.int32(), host: reader.compactString() ?? '', port: reader.int32() }
      reader.compactString()
      reader.skipTaggedFields()
      return broker
    })
    reader.compactString()
    const controller = reader.int32()
    const topics = reader.compactArray(() => readTopic(reader))
    return { throttleMs, value: { brokers, controller, topics } }
  })
}

function readTopic(reader: WireReader): TopicMetadata {
  const errorCode = reader.int16()
  const name = reader.compactString() ?? ''
  const id = reader.uuid()
  reader.int8()
  const partitions: PartitionMetadata[] = []
  const listed = reader.compactArray(() => {
    reader.int16()
    const partition = reader.int32()
    const leader = reader.int32()
    const epoch = reader.int32()
    const replicas = reader.compactArray(() => reader.int32()).length
    reader.compactArray(() => reader.int32())
    reader.compactArray(() => reader.int32())
    reader.skipTaggedFields()
    return { partition, leader, epoch, replicas }
  })
  for (const { partition, ...rest } of listed) partitions[partition] = rest
  reader.int32()
  reader.skipTaggedFields()
  const unknown: PartitionMetadata = { leader: -1, epoch: -1, replicas: 0 }
  return { errorCode, name, id, partitions: Array.from(partitions, each => each ?? unknown) }
}

/** Where to fetch a partition from. */
export interface FetchPartition {
  readonly topicId: string
  readonly partition: number
  readonly offset: number
  readonly maxBytes: number
  /**
   * The epoch of the leader that is asked. Without it (-1) a broker that follows by now answers too, from what it has.
   */
  readonly leaderEpoch: number
  /** The epoch of the record before `offset`, by which the broker notices that its log is another; -1 for unknown. */
  readonly lastEpoch: number
}

/** What a broker answered for one partition; offsets are -1 with an error. */
export interface FetchedPartition {
  readonly topicId: string
  readonly partition: number
  readonly errorCode: number
  /** The offset after the last record that readers of committed records may see. */
  readonly endOffset: number
  readonly startOffset: number
  readonly aborted: readonly AbortedTransaction[]
  /** Where the log left the one that was fetched before; null where it did not. */
  readonly divergedAt: number | null
  /** A view of the answer. */
  readonly records: Buffer
}

/** What a fetch answers: partitions, and the size of the answer that their records are views of. */
export interface FetchedAnswer {
  readonly bytes: number
  readonly partitions: readonly FetchedPartition[]
}

/** Committed records of partitions, waiting up to `maxWaitMs` for the first. */
export function fetchCall(
  partitions: readonly FetchPartition[],
  limits: { readonly maxWaitMs: number; readonly minBytes: number; readonly maxBytes: number },
): ProtocolCall<FetchedAnswer> {
  const body = new WireWriter(64 + partitions.length * 64).endOfStructure()
  body.int32(-1).int32(limits.maxWaitMs).int32(limits.minBytes).int32(limits.maxBytes).int8(READ_COMMITTED)
  body.int32(0).int32(-1)
  const byTopic = Map.groupBy(partitions, each => each.topicId)
  body.compactArray([...byTopic], ([topicId, wanted]) => {
    body.uuid(topicId)
    body.compactArray(wanted, ({ partition, offset, maxBytes, leaderEpoch, lastEpoch }) => {
      body.int32(partition).int32(leaderEpoch).int64(offset).int32(lastEpoch).int64(-1).int32(maxBytes).endOfStructure()
    })
    body.endOfStructure()
  })
  body.compactArray([], () => {})
  body.compactString('').endOfStructure()
  return call('Fetch', FETCH_VERSION, body, reader => {
    reader.skipTaggedFields()
    const throttleMs = reader.int32()
    const errorCode = reader.int16()
    if (errorCode !== 0) throw new KafkaFault(errorCode, 'A fetch failed')
    reader.int32()
    const out: FetchedPartition[] = []
    reader.compactArray(() => {
      const topicId = reader.uuid()
      reader.compactArray(() => out.push(readFetched(reader, topicId)))
      reader.skipTaggedFields()
    })
    return { throttleMs, value: { bytes: reader.bytes.length, partitions: out } }
  })
}

function readFetched(reader: WireReader, topicId: string): FetchedPartition {
  const partition = reader.int32()
  const errorCode = reader.int16()
  reader.int64()
  const endOffset = reader.int64()
  const startOffset = reader.int64()
  const aborted = reader.compactArray(() => {
    const one = { producerId: reader.int64(), firstOffset: reader.int64() }
    reader.skipTaggedFields()
    return one
  })
  reader.int32()
  const records = reader.compactBytes() ?? Buffer.alloc(0)
  let divergedAt: number | null = null
  reader.taggedFields((tag, field) => {
    if (tag !== DIVERGING_EPOCH_TAG) return
    field.int32()
    divergedAt = field.int64()
  })
  return { topicId, partition, errorCode, endOffset, startOffset, aborted, divergedAt, records }
}

/** One encoded batch for one partition. */
export interface ProducePartition {
  readonly topic: string
  readonly partition: number
  readonly batch: Buffer
}

/** What became of it. `appendMs` is -1 where the topic keeps the producer's time. */
export interface ProducedPartition {
  readonly topic: string
  readonly partition: number
  readonly errorCode: number
  readonly baseOffset: number
  readonly appendMs: number
}

/** Writes one batch to each partition; answered when all replicas in sync have it. */
export function produceCall(
  batches: readonly ProducePartition[],
  timeoutMs: number,
): ProtocolCall<readonly ProducedPartition[]> {
  const total = batches.reduce((sum, each) => sum + each.batch.length + 64, 64)
  const body = new WireWriter(total).string(null).int16(ALL_REPLICAS).int32(timeoutMs)
  const byTopic = Map.groupBy(batches, each => each.topic)
  body.array([...byTopic], ([topic, some]) => {
    body.string(topic).array(some, ({ partition, batch }) => {
      body.int32(partition).int32(batch.length).raw(batch)
    })
  })
  return call('Produce', PRODUCE_VERSION, body, reader => {
    const out: ProducedPartition[] = []
    reader.array(() => {
      const topic = reader.string() ?? ''
      reader.array(() => {
        const partition = reader.int32()
        const errorCode = reader.int16()
        const baseOffset = reader.int64()
        const appendMs = reader.int64()
        reader.int64()
        out.push({ topic, partition, errorCode, baseOffset, appendMs })
      })
    })
    return { throttleMs: reader.int32(), value: out }
  })
}

function call<T>(
  apiName: keyof typeof API,
  apiVersion: number,
  body: WireWriter,
  read: (reader: WireReader) => { readonly throttleMs: number; readonly value: T },
): ProtocolCall<T> {
  const { bytes } = body
  return {
    request: { apiKey: API[apiName], apiVersion, apiName, encode: async () => ({ buf: bytes, buffer: bytes }) },
    response: {
      decode: async payload => {
        const { throttleMs, value } = read(new WireReader(payload))
        return { clientSideThrottleTime: throttleMs, value }
      },
      parse: async (decoded: { readonly value: T }) => decoded.value,
    },
    logResponseError: false,
  }
}
