import type { Value } from '../../features/kernel/types.ts'
import { SCORES_TOPIC } from '../ports/score-record.ts'
import type { ScoreRecord } from '../ports/score-record.ts'
import type { EventLog } from '../ports/event-log.ts'
import type { Telemetry } from '../ports/telemetry.ts'

/** A bounded buffer between the scorer and the event log. */
export interface ScoreLogBuffer {
  /** Never waits: a record that finds the buffer full is dropped and counted as `score_log_dropped_records`. */
  add(record: ScoreRecord): void
  /** Resolves when everything added before is in the log or dropped. */
  flush(): Promise<void>
  /** Flushes, then refuses what comes later. */
  close(): Promise<void>
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

/**
 * Appends score records to the topic `hw.scores`, keyed by decision id, in batches off the hot path. One append is in
 * flight at a time; a failed one is tried again `maxAttempts` times in all, then its records are dropped and counted.
 */
export function createScoreLogBuffer(options: {
  readonly log: EventLog
  readonly telemetry: Telemetry
  readonly maxBufferedRecords?: number
  readonly maxBatchRecords?: number
  readonly maxAttempts?: number
  readonly retryDelayMs?: number
}): ScoreLogBuffer {
  const { log, telemetry, maxBufferedRecords = 65_536, maxBatchRecords = 512 } = options
  const { maxAttempts = 5, retryDelayMs = 200 } = options
  let buffer: ScoreRecord[] = []
  let inFlight = 0
  let pump: Promise<void> | null = null
  let closed = false

  const drop = (count: number, reason: string): void => {
    telemetry.count('score_log_dropped_records', count, { reason })
  }
  const appendBatch = async (batch: readonly ScoreRecord[]): Promise<void> => {
    const records = batch.map(record => ({
      topic: SCORES_TOPIC,
      key: record.decisionId,
      value: encodeScoreRecord(record),
    }))
    for (let attempt = 1; attempt <= maxAttempts; attempt++) {
      try {
        await log.append(records)
        telemetry.count('score_log_appended_records', batch.length)
        return
      } catch (error) {
        telemetry.log('warn', 'appending score records failed', {
          attempt,
          records: batch.length,
          error: String(error),
        })
        if (attempt < maxAttempts) await new Promise(resolve => setTimeout(resolve, retryDelayMs * attempt))
      }
    }
    drop(batch.length, 'append_failed')
  }
  const run = async (): Promise<void> => {
    await new Promise(resolve => setImmediate(resolve))
    while (buffer.length > 0) {
      const batch = buffer.slice(0, maxBatchRecords)
      buffer = buffer.slice(maxBatchRecords)
      inFlight = batch.length
      await appendBatch(batch)
      inFlight = 0
      await new Promise(resolve => setImmediate(resolve))
    }
    pump = null
  }
  return {
    add: record => {
      if (closed) return drop(1, 'closed')
      if (buffer.length + inFlight >= maxBufferedRecords) return drop(1, 'full')
      buffer.push(record)
      pump ??= run()
    },
    flush: async () => {
      while (pump !== null) await pump
    },
    close: async () => {
      closed = true
      while (pump !== null) await pump
    },
    get bufferedRecords() {
      return buffer.length + inFlight
    },
  }
}
