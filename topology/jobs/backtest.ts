import { eventDecoder } from '../../features/plan/event.ts'
import type { DecodedEvent } from '../../features/plan/event.ts'
import type { SourcePlan } from '../../features/plan/plan.ts'
import type { Value } from '../../features/kernel/types.ts'
import { hash32 } from '../ports/online-layout.ts'
import type { ConsumerControl, ConsumerHandlers, EventLog, NewRecord } from '../ports/event-log.ts'
import type { TableFile, TableFiles } from '../ports/table-file.ts'
import { eventRecorder } from '../event-record.ts'
import { rowMapper } from './rows.ts'

export interface BacktestColumn {
  /** `group.feature`. */
  readonly name: string
  /** ClickHouse's type of the column. */
  readonly type: string
}

export interface BacktestOptions {
  readonly source: SourcePlan
  readonly eventsPath: string
  readonly outPath: string
  /** Keeps about one event in N, by a hash of its id; 1 keeps all. */
  readonly sampleOneIn: number
  readonly columns: readonly BacktestColumn[]
  /** The events' own log and the worker that feeds the online store. */
  readonly log: EventLog
  readonly worker: ConsumerHandlers
  /** Reads vectors online, each at its event's own time, in the order of `columns`; null for one out of range. */
  readonly readVectors: (events: readonly DecodedEvent[]) => Promise<readonly (readonly Value[] | null)[]>
  readonly files: TableFiles
  readonly onProgress: (done: BacktestSummary, total: number | null) => void
}

export interface BacktestSummary {
  readonly rows: number
  readonly vectors: number
  readonly refused: number
  /** Rows whose time is before that of an earlier row; they are read as of their place in the file. */
  readonly outOfOrder: number
  /** Rows further back than the read horizon: left out. */
  readonly outOfRange: number
  readonly firstRefusals: readonly string[]
}

const MAX_BUFFERED_ROWS = 20_000
const MAX_BUFFERED_BYTES = 32 * 1024 * 1024
const MAX_READ_BATCH = 500
const READ_BATCH_RECORDS = 5_000
const MAX_REPORTED_REFUSALS = 5

/** Feeds a worker from the log until every partition is read to its end, and flushes it. */
export function createDriver(log: EventLog, worker: ConsumerHandlers, topic: string, partitions: number) {
  const offsets: (number | null)[] = Array.from({ length: partitions }, () => null)
  const sought = new Map<number, number>()
  const control: ConsumerControl = {
    commit: () => Promise.resolve(),
    seek: (_topic, partition, offset) => void sought.set(partition, offset),
    pause: () => undefined,
    resume: () => undefined,
  }
  async function drainPartition(partition: number): Promise<void> {
    let from = offsets[partition] ?? (await worker.assigned(topic, partition, await log.bounds(topic, partition))) ?? 0
    for (;;) {
      const batch = await log.read(topic, partition, from, READ_BATCH_RECORDS)
      if (batch.records.length === 0) break
      await worker.batch(batch, control)
      from = sought.get(partition) ?? batch.nextOffset
      sought.delete(partition)
    }
    await worker.idle(topic, partition, from, control)
    offsets[partition] = from
  }
  return {
    drain: async (): Promise<void> => {
      for (let partition = 0; partition < partitions; partition++) await drainPartition(partition)
    },
  }
}

interface Progress {
  rows: number
  vectors: number
  refused: number
  outOfOrder: number
  outOfRange: number
  firstRefusals: string[]
}

/**
 * Replays a file of events, in file order, through the log, the worker and the online store, and reads each sampled
 * event's vector online at its own time: when every row known by then is applied and none that came later matters. Rows
 * become known at the running maximum of event times.
 */
export async function backtest(options: BacktestOptions): Promise<BacktestSummary> {
  const file = await options.files.open(options.eventsPath)
  try {
    const progress: Progress = { rows: 0, vectors: 0, refused: 0, outOfOrder: 0, outOfRange: 0, firstRefusals: [] }
    const idName = options.source.idField
    const idType = options.source.fields.find(field => field.name === idName)?.type.kind
    const idColumn = { name: idName, type: idType === 'string' ? 'String' : 'Int64' }
    const rows = replay(options, file, progress)
    await options.files.write(options.outPath, [idColumn, ...options.columns], rows)
    return progress
  } finally {
    await file.close()
  }
}

async function* replay(
  options: BacktestOptions,
  file: TableFile,
  progress: Progress,
): AsyncGenerator<readonly Readonly<Record<string, unknown>>[]> {
  const { source, log } = options
  const mapper = rowMapper(options.eventsPath, file, source, [], [])
  const decoder = eventDecoder(source)
  const toRecord = eventRecorder(source)
  const driver = createDriver(log, options.worker, source.topic, source.partitions)
  // Halved, so that the oldest waiting read stays well inside the horizon of the newest applied row.
  const maxWaitMs = Math.max(source.latenessMs, source.readBackMs) / 2
  let buffered: NewRecord[] = []
  let bufferedBytes = 0
  let waiting: DecodedEvent[] = []
  let arrivalMs = Number.NEGATIVE_INFINITY

  const refuse = (reason: string) => {
    progress.refused++
    if (progress.firstRefusals.length < MAX_REPORTED_REFUSALS) {
      progress.firstRefusals.push(`row ${progress.rows}: ${reason}`)
    }
  }
  const apply = async () => {
    if (buffered.length > 0) await log.append(buffered)
    buffered = []
    bufferedBytes = 0
    await driver.drain()
  }
  /** Reads every waiting event before `beforeMs`; all rows known at those times have been appended. */
  async function* settle(beforeMs: number) {
    const due = waiting.filter(event => event.time < beforeMs)
    waiting = waiting.filter(event => event.time >= beforeMs)
    if (due.length === 0) return
    await apply()
    for (let start = 0; start < due.length; start += MAX_READ_BATCH) {
      const part = due.slice(start, start + MAX_READ_BATCH)
      const vectors = await options.readVectors(part)
      const rows = part.flatMap((event, index) => {
        const vector = vectors[index] ?? null
        return vector === null ? [] : [outputRow(options, event, vector)]
      })
      progress.vectors += rows.length
      progress.outOfRange += part.length - rows.length
      yield rows
    }
    options.onProgress(progress, file.rowCount)
  }

  for await (const chunk of file.rows()) {
    for (const row of chunk) {
      progress.rows++
      const decoded = decoder.decodeFields(mapper.toFields(row), null)
      if (!decoded.ok) {
        refuse(decoded.reason)
        continue
      }
      const { event } = decoded
      const outOfOrder = event.time < arrivalMs
      if (outOfOrder) progress.outOfOrder++
      const known = Math.max(arrivalMs, event.time)
      const first = waiting[0]
      const waitedLong = first !== undefined && known - first.time > maxWaitMs
      if (outOfOrder || waitedLong || waiting.length >= MAX_BUFFERED_ROWS) yield* settle(known)
      arrivalMs = known
      const made = toRecord(event, arrivalMs)
      if (!made.ok) {
        refuse(made.reason)
        continue
      }
      buffered.push(made.record)
      if (hash32(event.id) % options.sampleOneIn === 0) waiting.push(event)
      bufferedBytes += made.record.value.length
      if (buffered.length >= MAX_BUFFERED_ROWS || bufferedBytes >= MAX_BUFFERED_BYTES) await apply()
    }
  }
  yield* settle(Number.POSITIVE_INFINITY)
  await apply()
  options.onProgress(progress, file.rowCount)
}

function outputRow(
  options: BacktestOptions,
  event: DecodedEvent,
  vector: readonly Value[],
): Readonly<Record<string, unknown>> {
  const row: Record<string, unknown> = { [options.source.idField]: event.id }
  options.columns.forEach((column, index) => {
    row[column.name] = vector[index] ?? null
  })
  return row
}
