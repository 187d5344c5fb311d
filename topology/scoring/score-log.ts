import type { Value } from '../../features/kernel/types.ts'
import { SCORES_TOPIC } from '../ports/score-record.ts'
import type { ScoreRecord } from '../ports/score-record.ts'
import { PortError } from '../ports/errors.ts'
import type { EventLog, NewRecord } from '../ports/event-log.ts'
import type { Telemetry } from '../ports/telemetry.ts'

/** A bounded buffer between the scorer and the event log. */
export interface ScoreLogBuffer {
  /** Never waits: a record that finds the buffer full is dropped and counted as `score_log_dropped_records`. */
  add(record: ScoreRecord): void
  /** Resolves when everything added before is in the log or dropped. */
  flush(): Promise<void>
  /**
   * Refuses what comes later and writes what came before; what is not written after `maxWaitMs` (10,000 by default) is
   * dropped and counted.
   */
  close(maxWaitMs?: number): Promise<void>
  readonly bufferedRecords: number
}

/**
 * JSON in which an int64 is its decimal text and NaN and the infinities are the texts `NaN`, `Infinity`, `-Infinity`:
 * no value is lost to null.
 */
export function encodeScoreRecord(record: ScoreRecord): Uint8Array {
  const special = isSpecial(record.score) || holdsSpecial(record.request) || holdsSpecial(record.features)
  const text = special || holdsSpecial(record.inputs) ? JSON.stringify(record, plainValue) : JSON.stringify(record)
  return encoder.encode(text)
}

const encoder = new TextEncoder()

/** Whether any value needs `plainValue`, which costs several times as much as plain JSON. */
function holdsSpecial(values: Readonly<Record<string, Value>>): boolean {
  for (const name in values) if (isSpecial(values[name] ?? null)) return true
  return false
}

function isSpecial(value: Value): boolean {
  if (typeof value === 'number') return !Number.isFinite(value)
  return typeof value === 'bigint' || (typeof value === 'object' && value !== null)
}

function plainValue(_key: string, value: unknown): unknown {
  if (typeof value === 'bigint') return value.toString()
  if (typeof value === 'number' && !Number.isFinite(value)) return String(value)
  return value
}

/** What the embedded log takes in one record by default, less room for the key and the record's own head. */
const DEFAULT_MAX_RECORD_BYTES = 1024 * 1024 - 4096

/** The record as JSON of at most `maxBytes`, without its request and features when it is larger; null without a way. */
function encodeWithin(record: ScoreRecord, maxBytes: number): { value: Uint8Array; cut: boolean } | null {
  const whole = encodeScoreRecord(record)
  if (whole.length <= maxBytes) return { value: whole, cut: false }
  const value = encodeScoreRecord({ ...record, request: {}, features: {} })
  return value.length <= maxBytes ? { value, cut: true } : null
}

function encodeBatch(batch: readonly ScoreRecord[], maxRecordBytes: number): { records: NewRecord[]; cut: number } {
  const records: NewRecord[] = []
  let cut = 0
  for (const record of batch) {
    const fitting = encodeWithin(record, maxRecordBytes)
    if (fitting === null) continue
    if (fitting.cut) cut += 1
    records.push({ topic: SCORES_TOPIC, key: record.decisionId, value: fitting.value })
  }
  return { records, cut }
}

/** Whether the same append may succeed later. */
function isTransient(error: unknown): boolean {
  return !(error instanceof PortError) || error.code === 'LOG_UNAVAILABLE'
}

/** Appends until it succeeds, cannot succeed, has been tried often enough or is given up; returns whether it did. */
async function appendRepeatedly(
  { log, telemetry }: { readonly log: Pick<EventLog, 'append'>; readonly telemetry: Telemetry },
  records: readonly NewRecord[],
  retry: { readonly maxAttempts: number; readonly retryDelayMs: number; givenUp(): boolean },
): Promise<boolean> {
  for (let attempt = 1; ; attempt++) {
    try {
      await log.append(records)
      return true
    } catch (error) {
      if (retry.givenUp()) return false
      const fields = { attempt, records: records.length, error: String(error) }
      telemetry.log('warn', 'appending score records failed', fields)
      if (attempt >= retry.maxAttempts || !isTransient(error)) return false
      await new Promise(resolve => setTimeout(resolve, retry.retryDelayMs * attempt))
      if (retry.givenUp()) return false
    }
  }
}

/**
 * Appends score records to the topic `hw.scores`, keyed by decision id, in batches off the hot path. One append is in
 * flight at a time; one that found the log unavailable is tried again, `maxAttempts` times in all, then its records are
 * dropped and counted. A record of more than `maxRecordBytes` (1 MiB less 4 KiB by default; below what the log takes)
 * is written without its request and features and counted as `score_log_cut_records`; one that is too large even so is
 * dropped.
 */
export function createScoreLogBuffer(options: {
  readonly log: Pick<EventLog, 'append'>
  readonly telemetry: Telemetry
  readonly maxBufferedRecords?: number
  readonly maxBatchRecords?: number
  readonly maxRecordBytes?: number
  readonly maxAttempts?: number
  readonly retryDelayMs?: number
}): ScoreLogBuffer {
  const { log, telemetry, maxBufferedRecords = 65_536, maxBatchRecords = 512 } = options
  const { maxRecordBytes = DEFAULT_MAX_RECORD_BYTES, maxAttempts = 5, retryDelayMs = 200 } = options
  let buffer: ScoreRecord[] = []
  let inFlight = 0
  let pump: Promise<void> | null = null
  let closed = false
  let abandoned = false

  const drop = (count: number, reason: string): void => {
    telemetry.count('score_log_dropped_records', count, { reason })
  }
  const append = async (records: readonly NewRecord[]): Promise<void> => {
    const retry = { maxAttempts, retryDelayMs, givenUp: () => abandoned }
    const appended = await appendRepeatedly({ log, telemetry }, records, retry)
    if (abandoned) return
    if (appended) telemetry.count('score_log_appended_records', records.length)
    else drop(records.length, 'append_failed')
  }
  const run = async (): Promise<void> => {
    await new Promise(resolve => setImmediate(resolve))
    while (buffer.length > 0) {
      const batch = buffer.slice(0, maxBatchRecords)
      buffer = buffer.slice(maxBatchRecords)
      const { records, cut } = encodeBatch(batch, maxRecordBytes)
      inFlight = records.length
      if (cut > 0) telemetry.count('score_log_cut_records', cut)
      if (records.length < batch.length) drop(batch.length - records.length, 'too_large')
      if (records.length > 0) await append(records)
      inFlight = 0
      await new Promise(resolve => setImmediate(resolve))
    }
    pump = null
  }
  /** Whatever is not in the log yet counts as dropped, though an append in flight may still succeed. */
  const abandon = (): void => {
    abandoned = true
    const left = buffer.length + inFlight
    buffer = []
    inFlight = 0
    pump = null
    drop(left, 'closed_unwritten')
    telemetry.log('error', 'score records were not written before the end', { records: left })
  }
  const drained = async (): Promise<true> => {
    while (pump !== null) await pump
    return true
  }
  return {
    add: record => {
      if (closed) return drop(1, 'closed')
      if (buffer.length + inFlight >= maxBufferedRecords) return drop(1, 'full')
      buffer.push(record)
      pump ??= run()
    },
    flush: async () => {
      await drained()
    },
    close: async (maxWaitMs = 10_000) => {
      closed = true
      let timer: NodeJS.Timeout | undefined
      const limit = new Promise<false>(resolve => (timer = setTimeout(() => resolve(false), maxWaitMs)))
      const written = await Promise.race([drained(), limit])
      clearTimeout(timer)
      if (!written && !abandoned) abandon()
    },
    get bufferedRecords() {
      return buffer.length + inFlight
    },
  }
}
