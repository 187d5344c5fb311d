import { clickHouseCode } from '../offline-changes.ts'
import { refusedRow } from '../processors/history.ts'
import type { RecordMapper } from '../processors/history.ts'
import type { Clock } from '../ports/clock.ts'
import { PortError } from '../ports/errors.ts'
import type {
  Batch,
  ConsumerControl,
  ConsumerHandlers,
  EventLog,
  NewRecord,
  PartitionBounds,
} from '../ports/event-log.ts'
import type { OfflineStore } from '../ports/offline-store.ts'
import type { Telemetry } from '../ports/telemetry.ts'
import type { EventReader } from '../ports/value-format.ts'
import { createOfflineBuffer, insertToken } from './offline-buffer.ts'
import type { BufferedRow } from './offline-buffer.ts'

/** Bounds of the offline writer. */
export interface OfflineWriterLimits {
  /** Rows held in memory before they are written, over all partitions; one batch more at most. */
  readonly maxBufferedRows: number
  /** Bytes of the records that those rows came from; one batch more at most. */
  readonly maxBufferedBytes: number
  /** Rows of one INSERT. */
  readonly maxInsertRows: number
  /** Bytes of the records that the rows of one INSERT came from. */
  readonly maxInsertBytes: number
  /** The longest a row waits for company. */
  readonly flushIntervalMs: number
}

export const OFFLINE_WRITER_LIMITS: OfflineWriterLimits = {
  maxBufferedRows: 50_000,
  maxBufferedBytes: 64 * 1024 * 1024,
  maxInsertRows: 100_000,
  maxInsertBytes: 32 * 1024 * 1024,
  flushIntervalMs: 1_000,
}

/** What an offline writer copies, and where to. */
export interface OfflineWriterOptions {
  /** By topic: how its records are mapped. */
  readonly mappers: ReadonlyMap<string, RecordMapper>
  /** By topic: what is prepared for a batch before its records are mapped. */
  readonly readers?: ReadonlyMap<string, EventReader>
  /** The consumer group, whose commits say what was copied before; records that are missing are not noticed without it. */
  readonly group?: string
  readonly log: EventLog
  readonly offline: OfflineStore
  readonly clock: Clock
  readonly telemetry: Telemetry
  readonly limits: OfflineWriterLimits
}

interface End {
  readonly topic: string
  readonly partition: number
  readonly offset: number
}

/** ClickHouse's codes for a value that a column does not take, as opposed to a store that cannot take anything now. */
const DATA_ERRORS: ReadonlySet<number> = new Set([6, 26, 27, 38, 41, 53, 69, 70, 72, 117, 349, 407])

function isDataError(error: unknown): error is PortError {
  if (!(error instanceof PortError) || error.code !== 'QUERY_FAILED') return false
  const code = clickHouseCode(error)
  return code !== null && DATA_ERRORS.has(code)
}

type InsertOptions = Pick<OfflineWriterOptions, 'offline' | 'telemetry'> & { readonly run: string }

/** Writes rows of one table; where values are refused, the halves apart, down to the rows that are at fault. */
async function insertRows(options: InsertOptions, table: string, list: readonly BufferedRow[]): Promise<void> {
  const { offline, telemetry, run } = options
  try {
    const rows = list.map(item => item.row)
    await offline.insert(table, rows, insertToken(run, table, list))
    telemetry.count('offline_writer_rows', list.length, { table })
  } catch (error) {
    if (!isDataError(error)) throw error
    const [only] = list
    if (list.length > 1) {
      const middle = Math.ceil(list.length / 2)
      await insertRows(options, table, list.slice(0, middle))
      await insertRows(options, table, list.slice(middle))
    } else if (only !== undefined) {
      const letter = refusedRow(only.record, only.incarnation, error.message)
      if (letter.table === table) throw error
      await offline.insert(letter.table, [letter.row], insertToken(run, `${letter.table} from ${table}`, list))
      telemetry.count('offline_writer_refused_rows', 1, { table })
      const { topic, partition, offset } = only.record
      telemetry.log('error', `offline-writer: ${table} refused a row; it is in dead_letters`, {
        topic,
        partition,
        offset,
      })
    }
  }
}

/** Says, and counts, that the log does not hold what was not copied yet. */
function reportMissing(telemetry: Telemetry, topic: string, partition: number, from: number, to: number): void {
  telemetry.count('offline_writer_missing_records', to - from, { topic })
  telemetry.log(
    'error',
    `offline-writer: records ${from} to ${to - 1} of ${topic} partition ${partition} were removed from the log before ` +
      'they were copied; they are not in the offline store. Raise the retention of the topic.',
    { topic, partition },
  )
}

function reportTruncated(
  telemetry: Telemetry,
  topic: string,
  partition: number,
  copied: number,
  bounds: PartitionBounds,
): void {
  telemetry.count('offline_writer_truncated_partitions', 1, { topic })
  telemetry.log(
    'error',
    `offline-writer: ${topic} partition ${partition} ends at ${bounds.endOffset}, but records up to ${copied - 1} were ` +
      'copied before: the log lost its end. Nothing more of this partition is copied, because new records would take ' +
      "the places of those that are lost. Restore the log, or delete the topic and make it again (it is another topic's " +
      'life then, and copied from its start).',
    { topic, partition, incarnation: bounds.incarnation },
  )
}

/** Where each partition stands, as far as this writer knows, to notice records that never came. */
function createContinuity(options: Pick<OfflineWriterOptions, 'group' | 'log' | 'telemetry'>) {
  const { group, log, telemetry } = options
  const expected = new Map<string, number>()
  return {
    async assigned(topic: string, partition: number, bounds: PartitionBounds): Promise<void> {
      const key = keyOf(topic, partition)
      expected.delete(key)
      // Only reports rest on it, so a log that cannot say it now is not asked again.
      const ask = group === undefined ? null : log.committed(group, topic, partition).catch(() => null)
      const copied = await ask
      if (copied === null) return
      if (copied > bounds.endOffset) reportTruncated(telemetry, topic, partition, copied, bounds)
      else expected.set(key, copied)
    },
    batch(batch: Batch): void {
      const key = keyOf(batch.topic, batch.partition)
      const from = expected.get(key)
      if (from !== undefined && batch.fetchedOffset > from) {
        reportMissing(telemetry, batch.topic, batch.partition, from, batch.fetchedOffset)
      }
      expected.set(key, Math.max(from ?? 0, batch.nextOffset))
    },
    revoked: (topic: string, partition: number) => void expected.delete(keyOf(topic, partition)),
  }
}

/** What was taken and not committed, and how it is written. */
function createPending(options: OfflineWriterOptions) {
  const { clock, log, telemetry, limits } = options
  const inserting: InsertOptions = { ...options, run: String(clock.nowMs()) }
  const buffer = createOfflineBuffer(limits)
  const deadLetters: NewRecord[] = []
  const ends = new Map<string, End>()
  /** By partition: records below it were taken already, so that a batch that is retried is not taken twice. */
  const taken = new Map<string, number>()
  /** On the monotonic clock: one that is set back must not hold rows up. */
  let oldestAtMs = 0
  const observe = (): void => telemetry.gauge('offline_writer_buffered_rows', buffer.rows)

  function take(batch: Batch): void {
    const mapper = options.mappers.get(batch.topic)
    if (mapper === undefined) throw new Error(`no mapper for topic ${batch.topic}`)
    const key = keyOf(batch.topic, batch.partition)
    const from = taken.get(key) ?? -1
    for (const record of batch.records) {
      if (record.offset < from) continue
      const mapped = mapper(record, batch.incarnation)
      for (const { table, row } of mapped.rows) buffer.add(table, { row, record, incarnation: batch.incarnation })
      if (mapped.deadLetter !== null) {
        deadLetters.push(mapped.deadLetter)
        telemetry.count('offline_writer_dead_letters', 1, { topic: batch.topic })
      }
    }
    if (ends.size === 0) oldestAtMs = clock.monotonicMs()
    taken.set(key, batch.nextOffset)
    ends.set(key, { topic: batch.topic, partition: batch.partition, offset: batch.nextOffset })
    observe()
  }

  /** Writes what is buffered now; what comes in meanwhile stays for the next flush. */
  async function flush(control: ConsumerControl): Promise<void> {
    const committing = [...ends]
    const letters = deadLetters.length
    try {
      for (const chunk of buffer.seal()) {
        await insertRows(inserting, chunk.table, chunk.rows)
        buffer.written(chunk)
      }
    } catch (error) {
      telemetry.count('offline_writer_failed_flushes', 1)
      throw error
    } finally {
      observe()
    }
    if (letters > 0) await log.append(deadLetters.slice(0, letters))
    deadLetters.splice(0, letters)
    for (const [key, end] of committing) {
      await control.commit(end.topic, end.partition, end.offset)
      if (ends.get(key) === end) ends.delete(key)
    }
    oldestAtMs = clock.monotonicMs()
  }

  const isFull = (): boolean => buffer.rows >= limits.maxBufferedRows || buffer.bytes >= limits.maxBufferedBytes
  return {
    take,
    flush,
    isFull,
    isDue: (): boolean => ends.size > 0 && (isFull() || clock.monotonicMs() - oldestAtMs >= limits.flushIntervalMs),
    isEmpty: (): boolean => ends.size === 0,
    /** What was taken of a partition may come again. */
    forgetTaken: (topic: string, partition: number) => void taken.delete(keyOf(topic, partition)),
    forgetEnd: (topic: string, partition: number) => void ends.delete(keyOf(topic, partition)),
  }
}

/**
 * Copies topics into tables: rows first, then dead letters, then the offset. A crash in between writes some of them
 * again, which the tables collapse by position. A row that its table refuses goes to the dead letters with the engine's
 * words; its neighbours are written.
 *
 * While the store takes nothing, the calls of the consumer fail and are made again, and no batch is taken into a buffer
 * that is full: memory stays within `limits` and one batch, however long that lasts, and nothing is committed. Records
 * that the log lost before they were copied are counted (`offline_writer_missing_records`), and so are partitions that
 * end below what was copied (`offline_writer_truncated_partitions`).
 */
export function createOfflineWriter(options: OfflineWriterOptions): ConsumerHandlers {
  const pending = createPending(options)
  const continuity = createContinuity(options)
  let flushing: Promise<void> = Promise.resolve()
  let next: Promise<void> | null = null
  /**
   * One flush at a time; a failed one does not spoil the next. Who asks while one waits for its turn shares that one, for
   * it writes all that is there when it starts: otherwise each partition would try a store that is away by itself.
   */
  function flushNext(control: ConsumerControl): Promise<void> {
    if (next === null) {
      next = flushing
        .catch(() => undefined)
        .then(() => {
          next = null
          return pending.flush(control)
        })
      flushing = next
    }
    return next
  }

  let last: ConsumerControl | null = null
  async function flushIfDue(control: ConsumerControl): Promise<void> {
    last = control
    if (pending.isDue()) await flushNext(control)
  }

  return {
    assigned: async (topic, partition, bounds) => {
      pending.forgetTaken(topic, partition)
      await continuity.assigned(topic, partition, bounds)
      return null
    },
    batch: async (batch, control) => {
      await options.readers?.get(batch.topic)?.prepare(batch.records.map(record => record.value))
      while (pending.isFull()) await flushNext(control)
      continuity.batch(batch)
      pending.take(batch)
      await flushIfDue(control)
    },
    idle: (_topic, _partition, _endOffset, control) => flushIfDue(control),
    revoked: async (topic, partition) => {
      try {
        if (last !== null && !pending.isEmpty()) await flushNext(last)
      } finally {
        continuity.revoked(topic, partition)
        pending.forgetEnd(topic, partition)
        pending.forgetTaken(topic, partition)
      }
    },
  }
}

function keyOf(topic: string, partition: number): string {
  return `${topic}/${partition}`
}
