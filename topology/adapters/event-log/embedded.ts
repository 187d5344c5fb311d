import { randomUUID } from 'node:crypto'
import { setImmediate as nextTurn } from 'node:timers/promises'
import type { Clock } from '../../ports/clock.ts'
import { PortError } from '../../ports/errors.ts'
import type { Batch, Consumer, EventLog, TopicInfo, TopicSpec } from '../../ports/event-log.ts'
import { openSqliteFile } from '../sqlite-file.ts'
import type { Durability, SqliteFile } from '../sqlite-file.ts'
import { appender } from './embedded-append.ts'
import { startConsumer } from './embedded-consumer.ts'
import {
  LOG_APPLICATION_ID,
  LOG_FORMAT_VERSION,
  LOG_SCHEMA,
  MAX_LANES,
  boundsOf,
  laneOf,
  logTables,
  unknownTopic,
} from './embedded-tables.ts'
import type { LogTables, Topic } from './embedded-tables.ts'

/** Options of `openEmbeddedEventLog`. */
export interface EmbeddedEventLogOptions {
  /** The SQLite file, made with its folder when absent; `-wal` and `-shm` files lie beside it. */
  readonly path: string
  readonly clock: Clock
  /** Largest record, key and headers included; 1 MiB by default. */
  readonly maxRecordBytes?: number
  /** `normal` (default) survives `kill -9`; `full` survives a loss of power too. */
  readonly durability?: Durability
  /** How long a call may wait for another writer of the file; 5,000 by default. */
  readonly busyTimeoutMs?: number
  /** Retention is looked at once per so many append transactions; 64 by default. */
  readonly sweepEveryTransactions?: number
}

const READ_MAX_BYTES = 64 * 1_048_576
const GARBAGE_MAX_CHUNKS = 256
const TOPIC_NAME = /^[a-zA-Z0-9._-]{1,249}$/

/** Wake-ups of the consumers of this thread, by file. */
const wakers = new Map<string, Set<() => void>>()

/**
 * The event log in one SQLite file, which several threads and processes may open at once. Errors carry code
 * `LOG_UNAVAILABLE` and name the file. Appends of one event-loop turn share a transaction; the values passed to
 * `append` must not be changed until it resolves. Values of records are views of larger buffers: copy what is kept
 * for long. Every consumer of a group gets all partitions; appends of the same thread wake consumers at once, those
 * of other threads and processes are seen within 20 ms.
 */
export async function openEmbeddedEventLog(options: EmbeddedEventLogOptions): Promise<EventLog> {
  const file = await openSqliteFile({
    path: options.path,
    what: 'event log',
    errorCode: 'LOG_UNAVAILABLE',
    applicationId: LOG_APPLICATION_ID,
    formatVersion: LOG_FORMAT_VERSION,
    schema: LOG_SCHEMA,
    durability: options.durability ?? 'normal',
    busyTimeoutMs: options.busyTimeoutMs ?? 5000,
    cacheKiB: 16_384,
    checkpointPages: 4_000,
  })
  const tables = logTables(file)
  const limits = {
    maxRecordBytes: options.maxRecordBytes ?? 1_048_576,
    sweepEveryTransactions: options.sweepEveryTransactions ?? 64,
  }
  const appends = appender(tables, options.clock, limits, () => wakeAll(file.path))
  const consumers = new Set<Consumer>()
  return {
    capabilities: { groupBalancing: false, survivesProcess: true },
    ensureTopics: async specs => ensureTopics(tables, specs),
    deleteTopic: async name => deleteTopic(tables, name),
    describe: async name => file.run(() => describe(tables.topic(name))),
    bounds: async (name, partition) =>
      file.run(() => {
        const { topic, lane } = tables.requireLane(name, partition)
        return boundsOf(topic, lane)
      }),
    append: appends.append,
    read: async (name, partition, fromOffset, maxRecords) =>
      file.run(() => readBatch(tables, name, partition, fromOffset, maxRecords)),
    committed: async (group, name, partition) =>
      file.run(() => {
        const topic = tables.topic(name)
        return topic === null ? null : tables.committed(group, laneOf(topic, partition).id)
      }),
    consume: async consumeOptions => {
      const consumer = startConsumer(tables, consumeOptions, wake => subscribe(file.path, wake))
      consumers.add(consumer)
      return {
        stop: async () => {
          await consumer.stop()
          consumers.delete(consumer)
        },
      }
    },
    close: async () => {
      for (const consumer of consumers) await consumer.stop()
      consumers.clear()
      if (file.closed) return
      appends.flush()
      file.close()
    },
  }
}

function describe(topic: Topic | null): TopicInfo | null {
  if (topic === null) return null
  return infoOf(topic.name, topic.incarnation, topic.lanes.length, topic.retentionMs)
}

function infoOf(name: string, incarnation: string, partitions: number, retentionMs: number): TopicInfo {
  return {
    name,
    incarnation,
    partitions,
    retentionMs,
    retentionBytes: 0,
    compacted: false,
    appendTime: true,
    replicas: 1,
  }
}

function ensureTopics(tables: LogTables, specs: readonly TopicSpec[]): readonly TopicInfo[] {
  for (const spec of specs) checkSpec(spec)
  const wanting = ({ name, partitions }: TopicSpec): boolean => (tables.topic(name)?.lanes.length ?? 0) < partitions
  const missing = tables.file.read(() => specs.some(wanting))
  if (!missing) return tables.file.read(() => specs.flatMap(spec => describe(tables.topic(spec.name)) ?? []))
  return tables.file.write(() => {
    const makeTopic = tables.file.rows(
      'INSERT INTO topics (name, incarnation, partitions, retention_ms) VALUES (?, ?, ?, ?) RETURNING id',
    )
    const makeLane = tables.file.rows(
      'INSERT INTO lanes (topic, partition, start_offset, end_offset) VALUES (?, ?, 0, 0) RETURNING id',
    )
    return specs.map(spec => {
      const existing = tables.topic(spec.name)
      if (existing !== null) {
        requirePartitions(existing, spec)
        return infoOf(spec.name, existing.incarnation, existing.lanes.length, existing.retentionMs)
      }
      const incarnation = randomUUID()
      const [id] = makeTopic.get(spec.name, incarnation, spec.partitions, spec.retentionMs) ?? []
      for (let partition = 0; partition < spec.partitions; partition += 1) {
        const [lane] = makeLane.get(Number(id), partition) ?? []
        if (Number(lane) >= MAX_LANES) throw tooManyLanes(tables.file)
      }
      return infoOf(spec.name, incarnation, spec.partitions, spec.retentionMs)
    })
  })
}

function checkSpec(spec: TopicSpec): void {
  if (!TOPIC_NAME.test(spec.name)) {
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

function requirePartitions(existing: Topic, spec: TopicSpec): void {
  if (existing.lanes.length >= spec.partitions) return
  throw new PortError(
    'TOPIC_MISMATCH',
    `Topic ${spec.name} exists with ${existing.lanes.length} partitions, ${spec.partitions} were asked for: ` +
      'correct the definition, or delete the topic first.',
  )
}

function tooManyLanes(file: SqliteFile): PortError {
  return new PortError(
    'LOG_UNAVAILABLE',
    `The event log ${file.path} has made ${MAX_LANES} partitions in its life, its limit: start a new file.`,
  )
}

/** Unlinks the topic at once, then deletes its records in bounded steps. */
async function deleteTopic(tables: LogTables, name: string): Promise<void> {
  tables.file.write(() => {
    const topic = tables.topic(name)
    if (topic === null) throw unknownTopic(name, tables.file.path)
    tables.file.statement('INSERT INTO garbage_lanes SELECT id FROM lanes WHERE topic = ?').run(topic.id)
    tables.file.statement('DELETE FROM commits WHERE lane IN (SELECT id FROM lanes WHERE topic = ?)').run(topic.id)
    tables.file.statement('DELETE FROM lanes WHERE topic = ?').run(topic.id)
    tables.file.statement('DELETE FROM topics WHERE id = ?').run(topic.id)
  })
  while (!tables.file.closed && !tables.file.write(() => tables.sweepGarbage(GARBAGE_MAX_CHUNKS))) await nextTurn()
}

function readBatch(tables: LogTables, name: string, partition: number, fromOffset: number, maxRecords: number): Batch {
  const { topic, lane } = tables.requireLane(name, partition)
  const from = Math.max(fromOffset, lane.startOffset)
  const records = tables.records(name, lane, from, { records: maxRecords, bytes: READ_MAX_BYTES, first: true })
  return {
    topic: name,
    incarnation: topic.incarnation,
    partition,
    records,
    fetchedOffset: from,
    nextOffset: (records.at(-1)?.offset ?? from - 1) + 1,
    endOffset: lane.endOffset,
  }
}

function subscribe(path: string, wake: () => void): () => void {
  const set = wakers.get(path) ?? new Set()
  wakers.set(path, set)
  set.add(wake)
  return () => {
    set.delete(wake)
    if (set.size === 0 && wakers.get(path) === set) wakers.delete(path)
  }
}

function wakeAll(path: string): void {
  for (const wake of wakers.get(path) ?? []) wake()
}
