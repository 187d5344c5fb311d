import { refusedRow } from '../processors/history.ts'
import type { RecordMapper } from '../processors/history.ts'
import type { OfflineRow } from '../processors/offline-schema.ts'
import type { Clock } from '../ports/clock.ts'
import { PortError } from '../ports/errors.ts'
import type { Batch, ConsumerControl, ConsumerHandlers, EventLog, LogRecord, NewRecord } from '../ports/event-log.ts'
import type { OfflineStore } from '../ports/offline-store.ts'
import type { Telemetry } from '../ports/telemetry.ts'

/** Bounds of the offline writer. */
export interface OfflineWriterLimits {
  /** Rows held in memory before they are written, over all partitions. */
  readonly maxBufferedRows: number
  /** Bytes of the records that those rows came from. */
  readonly maxBufferedBytes: number
  /** The longest a row waits for company. */
  readonly flushIntervalMs: number
}

export const OFFLINE_WRITER_LIMITS: OfflineWriterLimits = {
  maxBufferedRows: 50_000,
  maxBufferedBytes: 64 * 1024 * 1024,
  flushIntervalMs: 1_000,
}

/** What an offline writer copies, and where to. */
export interface OfflineWriterOptions {
  /** By topic: how its records are mapped. */
  readonly mappers: ReadonlyMap<string, RecordMapper>
  readonly log: EventLog
  readonly offline: OfflineStore
  readonly clock: Clock
  readonly telemetry: Telemetry
  readonly limits: OfflineWriterLimits
}

interface BufferedRow {
  readonly row: OfflineRow
  readonly record: LogRecord
  readonly incarnation: string
}

interface End {
  readonly topic: string
  readonly partition: number
  readonly offset: number
}

/** ClickHouse's codes for a value that a column does not take, as opposed to a store that cannot take anything now. */
const DATA_ERRORS: ReadonlySet<string> = new Set([
  '6',
  '26',
  '27',
  '38',
  '41',
  '53',
  '69',
  '70',
  '72',
  '117',
  '349',
  '407',
])

function isDataError(error: unknown): error is PortError {
  if (!(error instanceof PortError) || error.code !== 'QUERY_FAILED') return false
  const code = /Code: (\d+)/.exec(error.message)?.[1]
  return code !== undefined && DATA_ERRORS.has(code)
}

/** Writes rows of one table; where values are refused, the halves apart, down to the rows that are at fault. */
async function insertRows(
  options: Pick<OfflineWriterOptions, 'offline' | 'telemetry'>,
  table: string,
  list: readonly BufferedRow[],
): Promise<void> {
  const { offline, telemetry } = options
  try {
    const rows = list.map(item => item.row)
    await offline.insert(table, rows)
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
      await offline.insert(letter.table, [letter.row])
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

/**
 * Copies topics into tables: rows first, then dead letters, then the offset. A crash in between writes some of them
 * again, which the tables collapse by position. A row that its table refuses goes to the dead letters with the engine's
 * words; its neighbours are written.
 */
export function createOfflineWriter(options: OfflineWriterOptions): ConsumerHandlers {
  const { clock, log, telemetry, limits } = options
  const rows = new Map<string, BufferedRow[]>()
  const deadLetters: NewRecord[] = []
  const ends = new Map<string, End>()
  /** By partition: records below it were taken already, so that a batch that is retried is not taken twice. */
  const taken = new Map<string, number>()
  let bufferedRows = 0
  let bufferedBytes = 0
  let oldestAtMs = 0

  function take(batch: Batch): void {
    const mapper = options.mappers.get(batch.topic)
    if (mapper === undefined) throw new Error(`no mapper for topic ${batch.topic}`)
    const key = keyOf(batch.topic, batch.partition)
    const from = taken.get(key) ?? -1
    for (const record of batch.records) {
      if (record.offset < from) continue
      const mapped = mapper(record, batch.incarnation)
      for (const { table, row } of mapped.rows) {
        let list = rows.get(table)
        if (list === undefined) rows.set(table, (list = []))
        list.push({ row, record, incarnation: batch.incarnation })
        bufferedRows++
      }
      bufferedBytes += record.value.length
      if (mapped.deadLetter !== null) {
        deadLetters.push(mapped.deadLetter)
        telemetry.count('offline_writer_dead_letters', 1, { topic: batch.topic })
      }
    }
    if (ends.size === 0) oldestAtMs = clock.nowMs()
    taken.set(key, batch.nextOffset)
    ends.set(key, { topic: batch.topic, partition: batch.partition, offset: batch.nextOffset })
  }

  /** Writes what is buffered now; what comes in meanwhile stays for the next flush. */
  async function flush(control: ConsumerControl): Promise<void> {
    const committing = [...ends]
    const letters = deadLetters.length
    for (const [table, list] of [...rows]) {
      const written = list.slice()
      await insertRows(options, table, written)
      list.splice(0, written.length)
      bufferedRows -= written.length
      bufferedBytes -= written.reduce((sum, item) => sum + item.record.value.length, 0)
      if (list.length === 0) rows.delete(table)
    }
    if (letters > 0) await log.append(deadLetters.slice(0, letters))
    deadLetters.splice(0, letters)
    for (const [key, end] of committing) {
      await control.commit(end.topic, end.partition, end.offset)
      if (ends.get(key) === end) ends.delete(key)
    }
    if (bufferedRows === 0) bufferedBytes = 0
    oldestAtMs = clock.nowMs()
  }

  let flushing: Promise<void> = Promise.resolve()
  /** One flush at a time; a failed one does not spoil the next. */
  function flushNext(control: ConsumerControl): Promise<void> {
    flushing = flushing.catch(() => undefined).then(() => flush(control))
    return flushing
  }

  let last: ConsumerControl | null = null
  async function flushIfDue(control: ConsumerControl): Promise<void> {
    last = control
    if (ends.size === 0) return
    const full = bufferedRows >= limits.maxBufferedRows || bufferedBytes >= limits.maxBufferedBytes
    if (full || clock.nowMs() - oldestAtMs >= limits.flushIntervalMs) await flushNext(control)
  }

  return {
    assigned: (topic, partition) => {
      taken.delete(keyOf(topic, partition))
      return Promise.resolve(null)
    },
    batch: async (batch, control) => {
      take(batch)
      await flushIfDue(control)
    },
    idle: (_topic, _partition, _endOffset, control) => flushIfDue(control),
    revoked: async (topic, partition) => {
      try {
        if (last !== null && ends.size > 0) await flushNext(last)
      } finally {
        ends.delete(keyOf(topic, partition))
        taken.delete(keyOf(topic, partition))
      }
    },
  }
}

function keyOf(topic: string, partition: number): string {
  return `${topic}/${partition}`
}
