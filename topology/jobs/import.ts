import { createHash } from 'node:crypto'
import { eventDecoder } from '../../features/plan/event.ts'
import type { DecodedEvent } from '../../features/plan/event.ts'
import type { SourcePlan } from '../../features/plan/plan.ts'
import type { Clock } from '../ports/clock.ts'
import type { EventLog, NewRecord } from '../ports/event-log.ts'
import type { TableFiles } from '../ports/table-file.ts'
import { deadLetterTopic } from '../topology.ts'
import type { EventFormats } from '../ports/value-format.ts'
import { eventRecorder, jsonFormats } from '../event-record.ts'
import { InputError, rowMapper } from './rows.ts'

/** When an imported row became known: at its event time, now, or as a column of milliseconds says. */
export type Arrival =
  { readonly kind: 'event' } | { readonly kind: 'now' } | { readonly kind: 'column'; readonly name: string }

export interface ImportOptions {
  readonly source: SourcePlan
  readonly path: string
  readonly arrival: Arrival
  /** The rows are a table's current content: id and time are filled in where the file has none. */
  readonly snapshot: boolean
  readonly log: EventLog
  /** How the records are written; as JSON where it is absent. */
  readonly formats?: EventFormats
  readonly files: TableFiles
  readonly clock: Clock
  readonly onProgress: (done: ImportSummary, total: number | null) => void
}

export interface ImportSummary {
  readonly rows: number
  readonly appended: number
  /** Rows that are not valid events: written to the dead-letter topic with file, row and reason. */
  readonly refused: number
  /** Rows whose time is before that of an earlier row. */
  readonly outOfOrder: number
  readonly firstRefusals: readonly string[]
}

const MAX_BATCH_RECORDS = 5_000
const MAX_BATCH_BYTES = 16 * 1024 * 1024
const MAX_REPORTED_REFUSALS = 5
/** What is kept of a refused row, so that it always fits into a record. */
const MAX_REFUSED_BYTES = 65_536

/** Fills in what a snapshot's rows lack: an id from the row's content, and one time for all. */
function completeSnapshot(source: SourcePlan, fields: Record<string, unknown>, nowMs: number): void {
  fields[source.timeField] ??= nowMs
  if (fields[source.idField] === undefined) {
    const text = JSON.stringify(fields, (_key, value: unknown) =>
      typeof value === 'bigint' ? value.toString() : value,
    )
    fields[source.idField] = `snapshot-${createHash('sha256').update(text).digest('hex').slice(0, 24)}`
  }
}

type Stated = { readonly ok: true; readonly ms: number } | { readonly ok: false; readonly reason: string }

/** When a row became known. A time that has not come yet would pull all later arrivals of its partition along. */
function statedArrival(
  arrival: Arrival,
  row: Readonly<Record<string, unknown>>,
  event: DecodedEvent,
  nowMs: number,
  clockSkewMs: number,
): Stated {
  if (arrival.kind === 'now') return { ok: true, ms: nowMs }
  const found = arrival.kind === 'event' ? event.time : row[arrival.name]
  const what = arrival.kind === 'event' ? 'its own time' : `column ${arrival.name}`
  const ms = found === null || found === '' ? Number.NaN : Number(found)
  if (!Number.isSafeInteger(ms) || ms <= 0) {
    return { ok: false, reason: `${what} must hold UTC milliseconds, found ${JSON.stringify(found) ?? 'nothing'}` }
  }
  if (ms <= nowMs + clockSkewMs) return { ok: true, ms }
  return { ok: false, reason: `by ${what} it becomes known at ${ms}, which has not come yet` }
}

/**
 * Streams a file into the log in file order. A row's arrival time is made monotone over the whole file, so that "known
 * at" is the same prefix in every partition.
 */
export async function importFile(options: ImportOptions): Promise<ImportSummary> {
  const { source, path, arrival, log, clock } = options
  const file = await options.files.open(path)
  try {
    const supplied = options.snapshot ? [source.idField, source.timeField] : []
    const extra = arrival.kind === 'column' ? [arrival.name] : []
    if (arrival.kind === 'column' && !file.columns.some(column => column.name === arrival.name)) {
      throw new InputError(`${path} has no column ${arrival.name}, which --arrival names`)
    }
    const mapper = rowMapper(path, file, source, supplied, extra)
    const decoder = eventDecoder(source)
    const writer = (options.formats ?? jsonFormats).writer(source)
    await writer.prepare()
    const toRecord = eventRecorder(source, writer)
    const startedAtMs = clock.nowMs()
    const firstRefusals: string[] = []
    let rowCount = 0
    let appended = 0
    let refused = 0
    let outOfOrder = 0
    let newest = Number.NEGATIVE_INFINITY
    let arrivalMs = Number.NEGATIVE_INFINITY
    let pending: NewRecord[] = []
    let pendingBytes = 0

    const summary = (): ImportSummary => ({ rows: rowCount, appended, refused, outOfOrder, firstRefusals })
    const refuse = (fields: Readonly<Record<string, unknown>>, code: string, reason: string) => {
      refused++
      if (firstRefusals.length < MAX_REPORTED_REFUSALS) firstRefusals.push(`row ${rowCount}: ${reason}`)
      pending.push(refusal(source, path, rowCount, fields, code, reason))
    }
    const take = (row: Readonly<Record<string, unknown>>, fields: Record<string, unknown>) => {
      const decoded = decoder.decodeFields(fields, null)
      if (!decoded.ok) return refuse(fields, decoded.code, decoded.reason)
      const { event } = decoded
      const stated = statedArrival(arrival, row, event, startedAtMs, source.clockSkewMs)
      if (!stated.ok) return refuse(fields, 'BAD_ARRIVAL', stated.reason)
      const knownMs = Math.max(arrivalMs, stated.ms)
      if (event.time > knownMs + source.clockSkewMs) {
        const early = decoder.decodeFields(fields, knownMs)
        if (!early.ok) return refuse(fields, early.code, early.reason)
      }
      const made = toRecord(event, knownMs)
      if (!made.ok) return refuse(fields, 'NOT_WRITABLE', made.reason)
      if (event.time < newest) outOfOrder++
      newest = Math.max(newest, event.time)
      arrivalMs = knownMs
      pending.push(made.record)
      appended++
    }
    const flush = async () => {
      if (pending.length > 0) await log.append(pending)
      pending = []
      pendingBytes = 0
      options.onProgress(summary(), file.rowCount)
    }
    for await (const rows of file.rows()) {
      for (const row of rows) {
        const fields = mapper.toFields(row)
        if (options.snapshot) completeSnapshot(source, fields, startedAtMs)
        rowCount++
        take(row, fields)
        pendingBytes += pending.at(-1)?.value.length ?? 0
        if (pending.length >= MAX_BATCH_RECORDS || pendingBytes >= MAX_BATCH_BYTES) await flush()
      }
    }
    await flush()
    if (rowCount === 0) throw new InputError(`${path} holds no rows`)
    return summary()
  } finally {
    await file.close()
  }
}

function refusal(
  source: SourcePlan,
  path: string,
  row: number,
  fields: Readonly<Record<string, unknown>>,
  code: string,
  reason: string,
): NewRecord {
  const text = JSON.stringify(fields, (_key, value: unknown) => {
    const plain = typeof value !== 'bigint' && (typeof value !== 'number' || Number.isFinite(value))
    return plain ? value : String(value)
  })
  const payload = new TextEncoder().encode(text)
  const cut = payload.length > MAX_REFUSED_BYTES
  return {
    topic: deadLetterTopic(source),
    key: `${path}:${row}`,
    value: cut ? payload.subarray(0, MAX_REFUSED_BYTES) : payload,
    headers: {
      'hw-source': source.name,
      'hw-file': path,
      'hw-row': String(row),
      'hw-code': code,
      'hw-reason': reason,
      ...(cut ? { 'hw-cut-from-bytes': String(payload.length) } : {}),
    },
  }
}
