import type { Clock } from '../../ports/clock.ts'
import { PortError } from '../../ports/errors.ts'
import type { NewRecord, Position } from '../../ports/event-log.ts'
import { partitionOf } from '../partitioner.ts'
import { encodeChunk, prepareRecord, storedBytes } from './embedded-chunk.ts'
import type { PlacedRecord, PreparedRecord } from './embedded-chunk.ts'
import { OFFSETS_PER_LANE, laneOf } from './embedded-tables.ts'
import type { Lane, LogTables, Topic } from './embedded-tables.ts'

const CHUNK_MAX_BYTES = 65_536
const CHUNK_MAX_RECORDS = 1024
const QUEUE_MAX_BYTES = 8 * 1_048_576
const RETENTION_MAX_CHUNKS = 256

/** The limits of appending. */
export interface AppendLimits {
  /** Of key, headers and value together. */
  readonly maxRecordBytes: number
  /** Retention and deleted topics are looked at once per so many transactions. */
  readonly sweepEveryTransactions: number
}

/** Appends of one event-loop turn share a transaction. */
export interface Appender {
  append(records: readonly NewRecord[]): Promise<readonly Position[]>
  /** Writes what is queued now. */
  flush(): void
}

interface QueuedAppend {
  readonly records: readonly PreparedRecord[]
  readonly resolve: (positions: readonly Position[]) => void
  readonly reject: (error: unknown) => void
}

interface LaneTail {
  readonly lane: Lane
  readonly topic: Topic
  nextOffset: number
  lastArrivalMs: number
  placed: PlacedRecord[]
  placedBytes: number
}

/** Makes the appending side of a log; `appended` is called after each commit. */
export function appender(tables: LogTables, clock: Clock, limits: AppendLimits, appended: () => void): Appender {
  const writer = transactionWriter(tables, clock, limits)
  let queue: QueuedAppend[] = []
  let queuedBytes = 0
  let scheduled: NodeJS.Immediate | null = null
  const flush = (): void => {
    if (scheduled !== null) clearImmediate(scheduled)
    scheduled = null
    const batch = queue
    queue = []
    queuedBytes = 0
    if (batch.length === 0) return
    try {
      for (const settle of tables.file.write(() => writer(batch))) settle()
    } catch (error) {
      for (const { reject } of batch) reject(error)
      return
    }
    appended()
  }
  const append = async (records: readonly NewRecord[]): Promise<readonly Position[]> => {
    tables.file.requireOpen()
    const prepared = records.map((record, index) => checkedRecord(record, index, limits.maxRecordBytes))
    if (prepared.length === 0) return []
    for (const one of prepared) queuedBytes += storedBytes(one)
    const result = new Promise<readonly Position[]>((resolve, reject) => {
      queue.push({ records: prepared, resolve, reject })
    })
    if (queuedBytes >= QUEUE_MAX_BYTES) flush()
    else scheduled ??= setImmediate(flush)
    return result
  }
  return { append, flush }
}

function checkedRecord(record: NewRecord, index: number, maxRecordBytes: number): PreparedRecord {
  const prepared = prepareRecord(record)
  if (prepared.payloadBytes > maxRecordBytes) {
    throw new PortError(
      'RECORD_TOO_LARGE',
      `Record ${index} of an append to topic ${record.topic} has ${prepared.payloadBytes} bytes, ` +
        `more than maxRecordBytes ${maxRecordBytes}: send less, or raise the limit.`,
    )
  }
  if (record.key === null && record.partition === undefined) {
    throw new TypeError(
      `Record ${index} of an append to topic ${record.topic} has neither a key nor a partition: set one.`,
    )
  }
  if (record.arrivalMs !== undefined && !Number.isSafeInteger(record.arrivalMs)) {
    throw new TypeError(
      `Record ${index} of an append to topic ${record.topic} has arrivalMs ${record.arrivalMs}: give whole milliseconds.`,
    )
  }
  return prepared
}

/** Writes a batch of appends inside the caller's transaction; each answer settles one append after the commit. */
function transactionWriter(
  tables: LogTables,
  clock: Clock,
  limits: AppendLimits,
): (batch: readonly QueuedAppend[]) => (() => void)[] {
  const insertChunk = tables.file.statement('INSERT INTO chunks (id, records, written_ms, data) VALUES (?, ?, ?, ?)')
  const moveEnd = tables.file.statement('UPDATE lanes SET end_offset = ?, last_arrival_ms = ? WHERE id = ?')
  const dropOld = retention(tables)
  let transactions = 0
  const seal = (tail: LaneTail, nowMs: number): void => {
    if (tail.placed.length === 0) return
    const base = tail.lane.id * OFFSETS_PER_LANE + tail.nextOffset - tail.placed.length
    insertChunk.run(base, tail.placed.length, nowMs, encodeChunk(tail.placed, tail.placedBytes))
    tail.placed = []
    tail.placedBytes = 0
  }
  const place = (prepared: PreparedRecord, tail: LaneTail, nowMs: number): Position => {
    const bytes = storedBytes(prepared)
    if (tail.placedBytes + bytes > CHUNK_MAX_BYTES || tail.placed.length >= CHUNK_MAX_RECORDS) seal(tail, nowMs)
    tail.lastArrivalMs = Math.max(tail.lastArrivalMs, prepared.record.arrivalMs ?? nowMs)
    tail.placed.push({ prepared, arrivalMs: tail.lastArrivalMs })
    tail.placedBytes += bytes
    const position = { partition: tail.lane.partition, offset: tail.nextOffset }
    tail.nextOffset += 1
    return position
  }
  return batch => {
    const nowMs = clock.nowMs()
    const topics = new Map<string, Topic>()
    const tails = new Map<number, LaneTail>()
    const settles = batch.map(({ records, resolve, reject }) => {
      let lanes: LaneTail[]
      try {
        lanes = records.map(record => tailOf(record, topics, tails, tables))
      } catch (error) {
        if (error instanceof PortError) return () => reject(error)
        throw error
      }
      const positions = lanes.map((tail, index) => place(elementAt(records, index), tail, nowMs))
      return () => resolve(positions)
    })
    for (const tail of tails.values()) {
      if (tail.nextOffset === tail.lane.endOffset) continue
      seal(tail, nowMs)
      moveEnd.run(tail.nextOffset, tail.lastArrivalMs, tail.lane.id)
    }
    transactions += 1
    if (transactions % limits.sweepEveryTransactions === 0) {
      for (const tail of tails.values()) dropOld(tail.topic, tail.lane, nowMs)
      tables.sweepGarbage(RETENTION_MAX_CHUNKS)
    }
    return settles
  }
}

function tailOf(
  prepared: PreparedRecord,
  topics: Map<string, Topic>,
  tails: Map<number, LaneTail>,
  tables: LogTables,
): LaneTail {
  const { record, keyBytes } = prepared
  const known = topics.get(record.topic)
  const topic = known ?? tables.requireTopic(record.topic)
  if (known === undefined) topics.set(record.topic, topic)
  const partition = record.partition ?? (keyBytes === null ? -1 : partitionOf(keyBytes, topic.lanes.length))
  const lane = laneOf(topic, partition)
  const found = tails.get(lane.id)
  if (found !== undefined) return found
  const tail: LaneTail = {
    lane,
    topic,
    nextOffset: lane.endOffset,
    lastArrivalMs: lane.lastArrivalMs,
    placed: [],
    placedBytes: 0,
  }
  tails.set(lane.id, tail)
  return tail
}

/**
 * Drops whole chunks written longer ago than the topic's retention, a bounded number at a time. The time is when the
 * log wrote them, as with Kafka's `LogAppendTime`: imported history is kept as long as anything else.
 */
function retention(tables: LogTables): (topic: Topic, lane: Lane, nowMs: number) => void {
  const oldest = tables.file.rows(
    'SELECT id, records, written_ms FROM chunks WHERE id >= ? AND id < ? ORDER BY id LIMIT ?',
  )
  const drop = tables.file.statement('DELETE FROM chunks WHERE id >= ? AND id < ?')
  const moveStart = tables.file.statement('UPDATE lanes SET start_offset = ? WHERE id = ?')
  return (topic, lane, nowMs) => {
    if (topic.retentionMs <= 0) return
    const origin = lane.id * OFFSETS_PER_LANE
    let start = lane.startOffset
    for (const [id, records, writtenMs] of oldest.all(
      origin + start,
      origin + OFFSETS_PER_LANE,
      RETENTION_MAX_CHUNKS,
    )) {
      if (Number(writtenMs) > nowMs - topic.retentionMs) break
      start = Number(id) - origin + Number(records)
    }
    if (start === lane.startOffset) return
    drop.run(origin, origin + start)
    moveStart.run(start, lane.id)
  }
}

function elementAt<T>(items: readonly T[], index: number): T {
  const item = items[index]
  if (item === undefined) throw new RangeError(`No element at ${index}`)
  return item
}
