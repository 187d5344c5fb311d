import { rootCertificates } from 'node:tls'
import type { ConnectionOptions } from 'node:tls'
import { PortError } from '../../../ports/errors.ts'
import type { Clock } from '../../../ports/clock.ts'
import type { Consumer, EventLog } from '../../../ports/event-log.ts'
import type { Telemetry } from '../../../ports/telemetry.ts'
import { appender } from './append.ts'
import type { Appender } from './append.ts'
import type { Compression } from './codecs.ts'
import { startConsumer } from './consumer.ts'
import type { ConsumerSetup } from './consumer.ts'
import { brokerFactory } from './internals.ts'
import { openNodes, retrying } from './nodes.ts'
import type { Nodes } from './nodes.ts'
import { partitionBounds, readRecords } from './read.ts'
import { committedOffset, deleteTopic, describeTopic, ensureTopics, findTopic, requirePartition } from './topics.ts'
import type { TopicsScope } from './topics.ts'

/** Options of `openKafkaEventLog`. */
export interface KafkaEventLogOptions {
  /** Some brokers of the cluster, as `host:port`. */
  readonly brokers: readonly string[]
  readonly clientId: string
  readonly clock: Clock
  /** Largest record, key and headers included; 1 MiB by default. */
  readonly maxRecordBytes?: number
  /** Copies of each partition of topics that are made; 0, the default, for the cluster's own default. */
  readonly replicationFactor?: number
  /** How records are packed when written, lz4 by default; all are read. */
  readonly compression?: Compression
  /** How long the group waits for a sign of life; 30,000 by default, brokers allow 6,000 to 1,800,000. */
  readonly sessionTimeoutMs?: number
  /** Fetched records of one partition that may wait for their handler; 16 MiB by default. */
  readonly maxBufferedBytes?: number
  readonly sasl?: {
    readonly mechanism: 'plain' | 'scram-sha-256' | 'scram-sha-512'
    readonly username: string
    readonly password: string
  }
  /** Contents of PEM files; `ca` beside the authorities of the system. */
  readonly tls?: { readonly ca?: string; readonly cert?: string; readonly key?: string }
  readonly telemetry?: Telemetry
  /** How often a consumer looks whether its topics have grown; 1,000 by default. */
  readonly metadataIntervalMs?: number
  /** How long an append may wait for its acknowledgement; 60,000 by default. */
  readonly deliveryTimeoutMs?: number
  /** How long opening waits for a first answer; 15,000 by default. */
  readonly openTimeoutMs?: number
}

const MIB = 1_048_576
const CONNECT_TIMEOUT_MS = 5_000
const REQUEST_TIMEOUT_MS = 30_000

/**
 * The event log on a Kafka cluster (3.7 and newer), through kafkajs's connections. Beside what the port says:
 *
 * - The incarnation of a topic is Kafka's topic id, and records are fetched by it: a broker never answers with records
 *   of another life of the topic.
 * - `arrivalMs` is what a header states (imports), else the record's time, which is the broker's append time where the
 *   topic says so. It is the same whoever reads the record. It is monotone within a partition as far as the brokers'
 *   clocks are, and while imports do not run beside live producers: a producer keeps what it states itself at or above
 *   the last record that it found in the partition and whatever it wrote after, and knows nothing of others.
 * - `append` is idempotent within one process. A process that is killed does not know what became of its last batch;
 *   whoever appends it again may append it twice. An append that is rejected may have been written in part.
 * - `endOffset` is the end of what readers of committed records see; records of transactions that were given up are
 *   left out, so offsets have gaps.
 *
 * Rejects with `LOG_UNAVAILABLE` when no broker answers, or none lets this client in.
 */
export async function openKafkaEventLog(options: KafkaEventLogOptions): Promise<EventLog> {
  const { clock } = options
  const telemetry = options.telemetry ?? null
  const makeBroker = brokerFactory({
    clientId: options.clientId,
    tls: options.tls === undefined ? null : tlsOptions(options.tls),
    sasl: options.sasl ?? null,
    connectTimeoutMs: CONNECT_TIMEOUT_MS,
    requestTimeoutMs: REQUEST_TIMEOUT_MS,
    telemetry,
  })
  const bootstrap = options.brokers.map(parseAddress)
  const open = (): Nodes => openNodes({ bootstrap, makeBroker })
  const nodes = open()
  const what = `The event log on ${nodes.where} cannot be opened`
  try {
    await retrying(clock, options.openTimeoutMs ?? 15_000, what, () => nodes.refresh([]))
  } catch (error) {
    await nodes.close()
    throw error
  }
  const maxRecordBytes = options.maxRecordBytes ?? MIB
  const writing = open()
  return eventLog({
    topics: { nodes, clock, maxRecordBytes, replicationFactor: options.replicationFactor ?? 0 },
    writing,
    writer: appender({
      nodes: writing,
      clock,
      telemetry,
      compression: options.compression ?? 'lz4',
      maxRecordBytes,
      deliveryTimeoutMs: options.deliveryTimeoutMs ?? 60_000,
    }),
    consuming: {
      openNodes: open,
      clock,
      telemetry,
      sessionTimeoutMs: options.sessionTimeoutMs ?? 30_000,
      maxBufferedBytes: options.maxBufferedBytes ?? 16 * MIB,
      metadataIntervalMs: options.metadataIntervalMs ?? 1_000,
    },
  })
}

interface Parts {
  readonly topics: TopicsScope
  readonly writer: Appender
  /** The writer's connections. */
  readonly writing: Nodes
  readonly consuming: ConsumerSetup
}

function eventLog({ topics, writer, writing, consuming }: Parts): EventLog {
  const { nodes } = topics
  const consumers = new Set<Consumer>()
  let closing: Promise<void> | null = null
  let closed = false
  const whileOpen = async <T>(act: () => Promise<T>): Promise<T> => {
    if (closed) throw new PortError('CLOSED', `The event log on ${nodes.where} is closed.`)
    return await act()
  }
  const end = async (): Promise<void> => {
    // Handlers may still append and read while they finish.
    await Promise.all([...consumers].map(consumer => consumer.stop()))
    closed = true
    await writer.close()
    await Promise.all([nodes.close(), writing.close()])
  }
  return {
    capabilities: { groupBalancing: true, survivesProcess: true },
    ensureTopics: specs =>
      whileOpen(async () => {
        const infos = await ensureTopics(topics, specs)
        for (const { name } of specs) writer.forget(name)
        return infos
      }),
    deleteTopic: name =>
      whileOpen(async () => {
        await deleteTopic(topics, name)
        writer.forget(name)
      }),
    describe: name => whileOpen(() => describeTopic(topics, name)),
    bounds: (topic, partition) => whileOpen(() => partitionBounds(topics, topic, partition)),
    append: writer.append,
    read: (topic, partition, fromOffset, maxRecords) =>
      whileOpen(() => readRecords(topics, topic, partition, fromOffset, maxRecords)),
    committed: (group, topic, partition) =>
      whileOpen(async () => {
        const found = await findTopic(topics, topic)
        if (found === null) return null
        requirePartition(found, partition)
        return await committedOffset(topics, group, found, partition)
      }),
    consume: options =>
      whileOpen(async () => {
        if (closing !== null) throw new PortError('CLOSED', `The event log on ${nodes.where} is being closed.`)
        const consumer = await startConsumer(consuming, options)
        consumers.add(consumer)
        if (closing !== null) {
          await consumer.stop()
          throw new PortError('CLOSED', `The event log on ${nodes.where} was closed.`)
        }
        return {
          stop: async () => {
            await consumer.stop()
            consumers.delete(consumer)
          },
        }
      }),
    close: () => {
      closing ??= end()
      return closing
    },
  }
}

function tlsOptions({ ca, ...own }: NonNullable<KafkaEventLogOptions['tls']>): ConnectionOptions {
  return ca === undefined ? own : { ...own, ca: [...rootCertificates, ca] }
}

function parseAddress(text: string): { readonly host: string; readonly port: number } {
  const match = /^\[?([^\]]+?)\]?:(\d{1,5})$/.exec(text)
  if (match?.[1] === undefined) {
    throw new RangeError(`"${text}" is not the address of a broker: write host:port, such as kafka-1:9092.`)
  }
  return { host: match[1], port: Number(match[2]) }
}
