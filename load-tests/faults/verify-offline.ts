import { sqlIdentifier } from '../../features/plan/expression-sql.ts'
import type { FieldPlan, SourcePlan } from '../../features/plan/plan.ts'
import { jsonFormats } from '../../topology/event-record.ts'
import type { EventLog } from '../../topology/ports/event-log.ts'
import type { OfflineStore } from '../../topology/ports/offline-store.ts'
import type { EventFormats } from '../../topology/ports/value-format.ts'
import { OFFLINE_TABLES, rawRow, rawTableName } from '../../topology/processors/offline-schema.ts'
import type { OfflineRow } from '../../topology/processors/offline-schema.ts'
import { checkedRecords } from './checked-records.ts'

export interface VerifyOfflineOptions {
  readonly offline: OfflineStore
  readonly log: EventLog
  readonly source: SourcePlan
  readonly formats?: EventFormats
  /** Differences that are told in words; 20 by default. */
  readonly maxDifferences?: number
}

/** How the rows of one table differ from the records that they must come from. */
export interface TableVerification {
  /** Rows that the log asks for. */
  readonly expected: number
  readonly missing: number
  /** Rows beyond the first of one (partition, offset), after the table's own deduplication. */
  readonly double: number
  /** Rows at offsets where the log has no such record. */
  readonly extra: number
  /** Rows whose values are not the record's. */
  readonly wrong: number
}

/** What an offline check found of one source in this life of its topic. */
export interface OfflineVerification {
  /** The life of the topic that was compared; rows of others are left alone. */
  readonly life: { readonly incarnation: string }
  readonly records: number
  readonly events: TableVerification
  readonly deadLetters: TableVerification
  /** Partitions in which the view of each event once has other rows than the log's first of each id and time. */
  readonly wrongViews: number
  readonly differences: readonly string[]
}

type Row = Readonly<Record<string, unknown>>
type Counts = { -readonly [Name in keyof TableVerification]: number }

const noCounts = (): Counts => ({ expected: 0, missing: 0, double: 0, extra: 0, wrong: 0 })

/** Walks the rows of one partition beside its records; both in the order of their offsets. */
function comparer(
  rows: AsyncIterator<Row>,
  counts: Counts,
  differs: (expected: Row, row: Row) => string | null,
  tell: (text: string) => void,
) {
  let next: Row | null = null
  let ended = false
  const pull = async (): Promise<void> => {
    const result = ended ? null : await rows.next()
    next = result === null || result.done === true ? null : result.value
    if (next === null) ended = true
  }
  const offsetOf = (row: Row): number => Number(row['_offset'])
  const surplus = async (offset: number, what: 'double' | 'extra'): Promise<void> => {
    counts[what]++
    tell(
      what === 'double' ? `offset ${offset} has more than one row` : `offset ${offset} has a row, but no such record`,
    )
    await pull()
  }
  return {
    expect: async (offset: number, expected: Row): Promise<void> => {
      counts.expected++
      if (next === null) await pull()
      while (next !== null && offsetOf(next) < offset) await surplus(offsetOf(next), 'extra')
      if (next === null || offsetOf(next) > offset) {
        counts.missing++
        tell(`offset ${offset} has no row`)
        return
      }
      // Of rows at one offset the record's own may come last.
      let first = differs(expected, next)
      await pull()
      while (next !== null && offsetOf(next) === offset) {
        if (first !== null && differs(expected, next) === null) first = null
        await surplus(offset, 'double')
      }
      if (first === null) return
      counts.wrong++
      tell(`offset ${offset}: ${first}`)
    },
    finish: async (): Promise<void> => {
      if (next === null) await pull()
      while (next !== null) await surplus(offsetOf(next), 'extra')
    },
  }
}

async function* rowsOf(chunks: AsyncIterable<readonly Row[]>): AsyncGenerator<Row> {
  for await (const chunk of chunks) yield* chunk
}

const DENORMALS: Readonly<Record<string, number>> = { nan: Number.NaN, inf: Infinity, '-inf': -Infinity }

/** A value of a row as text, the same for the ways in which a number may be written. */
function plain(field: FieldPlan | undefined, value: unknown): string {
  if (value === null || value === undefined) return 'null'
  if (Array.isArray(value)) return JSON.stringify(value.map(Number))
  const text = typeof value === 'string' ? value : JSON.stringify(value)
  if (field?.type.kind === 'decimal') return String(Number(text))
  if (field?.type.kind === 'double')
    return String(DENORMALS[text] ?? (typeof value === 'number' ? value : Number(text)))
  return text
}

/** The first column in which a stored row is not what the record says. */
function rowDifference(source: SourcePlan): (expected: Row, row: Row) => string | null {
  const fields = new Map(source.fields.map(field => [field.name, field]))
  return (expected, row) => {
    for (const [name, value] of Object.entries(expected)) {
      const [wanted, found] = [plain(fields.get(name), value), plain(fields.get(name), row[name])]
      if (wanted !== found) return `${name} is ${found.slice(0, 60)}, not ${wanted.slice(0, 60)}`
    }
    return null
  }
}

function letterDifference(expected: Row, row: Row): string | null {
  for (const name of ['code', 'payload_hex', 'key']) {
    if (expected[name] !== row[name]) return `${name} of the dead letter is not the record's`
  }
  return null
}

const LIFE = '_incarnation = {incarnation:String} AND _partition = {partition:UInt32}'

/**
 * Compares every record of the log with the tables, partition by partition: valid ones with the raw table of the source,
 * column by column, the others with the dead letters. Rows are taken as the table's own deduplication (`FINAL`) leaves
 * them, and the view of each event once is compared in number and sum of offsets. It must run when the writer has
 * read the log to its end. One chunk of records and rows is held at a time, and the ids of one partition.
 */
export async function verifyOffline(options: VerifyOfflineOptions): Promise<OfflineVerification> {
  const { offline, log, source, maxDifferences = 20 } = options
  const reader = (options.formats ?? jsonFormats).reader(source)
  const info = await log.describe(source.topic)
  if (info === null) throw new Error(`there is no topic ${source.topic}`)
  const { incarnation } = info
  const events = noCounts()
  const deadLetters = noCounts()
  const differences: string[] = []
  let [records, wrongViews] = [0, 0]
  const columns = [
    ...source.fields.map(field => field.name),
    '_event_ms',
    '_arrival_ms',
    '_partition',
    '_offset',
    '_incarnation',
  ]
  const eventsSql = `SELECT ${columns.map(sqlIdentifier).join(', ')} FROM ${sqlIdentifier(rawTableName(source))} FINAL WHERE ${LIFE} ORDER BY _offset`
  const lettersSql = `SELECT _offset, key, code, payload_hex FROM ${OFFLINE_TABLES.deadLetters} FINAL WHERE topic = {topic:String} AND ${LIFE} ORDER BY _offset`
  for (let partition = 0; partition < info.partitions; partition++) {
    const { endOffset } = await log.bounds(source.topic, partition)
    const params = { incarnation, partition, topic: source.topic }
    const tell = (text: string): void =>
      void (differences.length < maxDifferences && differences.push(`${source.topic} partition ${partition}: ${text}`))
    const eventRows = rowsOf(offline.stream<Row>(eventsSql, params))
    const letterRows = rowsOf(offline.stream<Row>(lettersSql, params))
    const valid = comparer(eventRows, events, rowDifference(source), tell)
    const refused = comparer(letterRows, deadLetters, letterDifference, text => tell(`dead letters: ${text}`))
    const once = new Set<string>()
    let onceOffsets = 0
    for await (const chunk of checkedRecords(log, reader, source.topic, partition, endOffset)) {
      for (const { record, event, code } of chunk) {
        records++
        const { offset, arrivalMs } = record
        if (event === null) {
          await refused.expect(offset, {
            code,
            key: record.key,
            payload_hex: Buffer.from(record.value).toString('hex'),
          })
          continue
        }
        const row: OfflineRow = rawRow(source, { incarnation, partition, offset, arrivalMs }, event)
        await valid.expect(offset, row)
        const identity = `${event.time} ${event.id}`
        if (!once.has(identity)) onceOffsets += offset
        once.add(identity)
      }
    }
    await valid.finish()
    await refused.finish()
    const [view] = await offline.query<{ readonly rows: string; readonly offsets: string }>(
      `SELECT toString(count()) AS rows, toString(sum(_offset)) AS offsets FROM ${sqlIdentifier(source.name)} WHERE ${LIFE}`,
      params,
    )
    if (Number(view?.rows) !== once.size || Number(view?.offsets) !== onceOffsets) {
      wrongViews++
      tell(`the view ${source.name} has ${view?.rows ?? 0} rows, the log ${once.size} different events`)
    }
  }
  return { life: { incarnation }, records, events, deadLetters, wrongViews, differences }
}
