import type { RecordMapper } from '../processors/history.ts'
import type { Batch, ConsumerControl, ConsumerHandlers, EventLog, NewRecord } from '../ports/event-log.ts'
import type { Clock } from '../ports/clock.ts'
import type { OfflineStore } from '../ports/offline-store.ts'
import type { Telemetry } from '../ports/telemetry.ts'

export interface OfflineWriterLimits {
  /** Rows held in memory before they are written, over all partitions. */
  readonly maxBufferedRows: number
  /** The longest a row waits for company. */
  readonly flushIntervalMs: number
}

export const OFFLINE_WRITER_LIMITS: OfflineWriterLimits = { maxBufferedRows: 50_000, flushIntervalMs: 1_000 }

export interface OfflineWriterOptions {
  /** By topic: how its records are mapped. */
  readonly mappers: ReadonlyMap<string, RecordMapper>
  readonly log: EventLog
  readonly offline: OfflineStore
  readonly clock: Clock
  readonly telemetry: Telemetry
  readonly limits: OfflineWriterLimits
}

/**
 * Copies topics into tables: rows first, then dead letters, then the offset. A crash in between writes some of them
 * again, which the tables collapse by position.
 */
export function createOfflineWriter(options: OfflineWriterOptions): ConsumerHandlers {
  const { clock, log, offline, telemetry, limits } = options
  const rows = new Map<string, Readonly<Record<string, unknown>>[]>()
  const deadLetters: NewRecord[] = []
  const ends = new Map<string, { topic: string; partition: number; offset: number }>()
  let buffered = 0
  let oldestAtMs = 0

  function take(batch: Batch): void {
    const mapper = options.mappers.get(batch.topic)
    if (mapper === undefined) throw new Error(`no mapper for topic ${batch.topic}`)
    const done = ends.get(`${batch.topic}/${batch.partition}`)?.offset ?? -1
    for (const record of batch.records) {
      if (record.offset < done) continue
      const mapped = mapper(record, batch.incarnation)
      for (const { table, row } of mapped.rows) {
        let list = rows.get(table)
        if (list === undefined) rows.set(table, (list = []))
        list.push(row)
        buffered++
      }
      if (mapped.deadLetter !== null) {
        deadLetters.push(mapped.deadLetter)
        telemetry.count('offline_writer_dead_letters', 1, { topic: batch.topic })
      }
    }
    if (ends.size === 0) oldestAtMs = clock.nowMs()
    ends.set(`${batch.topic}/${batch.partition}`, {
      topic: batch.topic,
      partition: batch.partition,
      offset: batch.nextOffset,
    })
  }

  /** Writes what is buffered now; what comes in meanwhile stays for the next flush. */
  async function flush(control: ConsumerControl): Promise<void> {
    const committing = [...ends]
    const letters = deadLetters.length
    for (const [table, list] of [...rows]) {
      const written = list.slice()
      await offline.insert(table, written)
      telemetry.count('offline_writer_rows', written.length, { table })
      list.splice(0, written.length)
      buffered -= written.length
      if (list.length === 0) rows.delete(table)
    }
    if (letters > 0) await log.append(deadLetters.slice(0, letters))
    deadLetters.splice(0, letters)
    for (const [key, end] of committing) {
      await control.commit(end.topic, end.partition, end.offset)
      if (ends.get(key) === end) ends.delete(key)
    }
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
    if (buffered >= limits.maxBufferedRows || clock.nowMs() - oldestAtMs >= limits.flushIntervalMs)
      await flushNext(control)
  }

  return {
    assigned: () => Promise.resolve(null),
    batch: async (batch, control) => {
      take(batch)
      await flushIfDue(control)
    },
    idle: (_topic, _partition, _endOffset, control) => flushIfDue(control),
    revoked: async (topic, partition) => {
      try {
        if (last !== null && ends.size > 0) await flushNext(last)
      } finally {
        ends.delete(`${topic}/${partition}`)
      }
    },
  }
}
