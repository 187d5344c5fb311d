import type { Cell, Value } from '../../features/kernel/types.ts'
import { decimalText } from '../../features/plan/event.ts'
import type { DecodedEvent } from '../../features/plan/event.ts'
import { clickHouseType, sqlIdentifier, sqlString } from '../../features/plan/expression-sql.ts'
import type { FieldPlan, Plan, SourcePlan } from '../../features/plan/plan.ts'
import type { ScoreRecord } from '../ports/score-record.ts'
import { columnSql, createTableSql } from './offline-ddl.ts'
import type { ColumnSpec, TableSpec, ViewSpec } from './offline-ddl.ts'
import { FIXED_TABLES, FIXED_VIEWS } from './offline-tables.ts'

/** Names of the tables that rows are written to, and of the views over them that hold each fact once. */
export const OFFLINE_TABLES = {
  scores: 'scores',
  decisions: 'decisions',
  labels: 'labels',
  labelled: 'labels_known',
  deadLetters: 'dead_letters',
  driftCounts: 'drift_counts',
  driftMinutes: 'drift_minutes',
  driftStatistics: 'drift_statistics',
  drift: 'drift',
  migrations: 'schema_migrations',
} as const

const RESERVED: ReadonlySet<string> = new Set(Object.values(OFFLINE_TABLES))

/** Where a record stands in the log. */
export interface RecordPosition {
  readonly incarnation: string
  readonly partition: number
  readonly offset: number
  readonly arrivalMs: number
}

/** A row for `OfflineStore.insert`. */
export type OfflineRow = Readonly<Record<string, unknown>>

/** A label as the log keeps it. */
export interface LabelRecord {
  readonly eventId: string
  /** null when only the event is known. */
  readonly decisionId: string | null
  /** 1 for the positive class, 0 for the negative one. */
  readonly label: number
  /** When the label became known. */
  readonly knownAtMs: number
}

/** A record that was refused. */
export interface DeadLetter extends RecordPosition {
  readonly topic: string
  readonly key: string | null
  readonly code: string
  readonly reason: string
  readonly payload: Uint8Array
}

/** The raw table of a source, `events_<name>`: every accepted record, late ones and duplicates included. */
export function rawTableName(source: SourcePlan): string {
  return `events_${source.name}`
}

function comment(field: FieldPlan): string {
  const unit = field.type.kind === 'timestamp' ? 'UTC milliseconds since the epoch' : ''
  const absent = field.optional && field.type.kind === 'vector' ? 'empty when absent' : ''
  return [field.description, unit, absent].filter(part => part !== '').join('; ')
}

function positionColumns(): readonly ColumnSpec[] {
  const column = (name: string, type: string, text: string): ColumnSpec => ({
    name,
    type,
    kind: 'stored',
    expression: '',
    comment: text,
  })
  return [
    column('_event_ms', 'Int64', 'Event time, UTC milliseconds since the epoch'),
    column(
      '_arrival_ms',
      'Int64',
      'When the record became known, UTC milliseconds; never goes back within a partition',
    ),
    column('_partition', 'UInt32', 'Partition of the event log'),
    column('_offset', 'UInt64', 'Offset within the partition'),
    column('_incarnation', 'LowCardinality(String)', 'Which life of the topic the offset belongs to'),
  ]
}

function storedColumns(source: SourcePlan): readonly ColumnSpec[] {
  const fields = source.fields.map(field => ({
    name: field.name,
    type: clickHouseType(field.type, field.optional),
    kind: 'stored' as const,
    expression: '',
    comment: comment(field),
  }))
  return [...fields, ...positionColumns()]
}

function aliasColumns(source: SourcePlan): readonly ColumnSpec[] {
  const taken = new Set(storedColumns(source).map(column => column.name))
  const utc = (name: string, from: string, optional: boolean, text: string): ColumnSpec => ({
    name,
    type: optional ? "Nullable(DateTime64(3, 'UTC'))" : "DateTime64(3, 'UTC')",
    kind: 'alias',
    expression: `fromUnixTimestamp64Milli(${sqlIdentifier(from)}, 'UTC')`,
    comment: text,
  })
  const times = source.fields
    .filter(field => field.type.kind === 'timestamp')
    .map(field => utc(`${field.name}_utc`, field.name, field.optional, `${field.name} as a readable time`))
  const id: ColumnSpec = {
    name: '_event_id',
    type: 'String',
    kind: 'alias',
    expression: `toString(${sqlIdentifier(source.idField)})`,
    comment: 'The event id as text, as scores and labels hold it',
  }
  const all = [
    id,
    utc('_event_time', '_event_ms', false, 'Event time, readable'),
    utc('_arrival_time', '_arrival_ms', false, 'Arrival time, readable'),
    ...times,
  ]
  return all.filter(column => !taken.has(column.name))
}

function checkNames(source: SourcePlan): void {
  if (RESERVED.has(source.name)) {
    throw new Error(`The source name '${source.name}' is taken by a table of the offline store; choose another name.`)
  }
  const clash = source.fields.find(field => field.name.startsWith('_'))
  if (clash !== undefined) {
    throw new Error(
      `The field '${clash.name}' of the source '${source.name}' begins with '_', which marks the columns of the log; rename it.`,
    )
  }
}

/**
 * The raw table of a source. `ReplacingMergeTree` over the record's own position, partitioned by the month of the row
 * itself: a record that is delivered again collapses, whichever batch it comes in.
 */
export function rawTable(source: SourcePlan): TableSpec {
  checkNames(source)
  const about = `Every accepted record of ${source.topic}, as it came; read the view ${source.name}. ${source.description}`
  return {
    kind: 'table',
    name: rawTableName(source),
    columns: [...storedColumns(source), ...aliasColumns(source)],
    versionColumn: '',
    partitionBy: `toYYYYMM(fromUnixTimestamp64Milli(_event_ms, 'UTC'))`,
    orderBy: [source.keyField, '_event_ms', '_partition', '_offset', '_incarnation'],
    nullableKey: source.fields.some(field => field.name === source.keyField && field.optional),
    arrivalColumn: '_arrival_ms',
    comment: about.trim(),
    event: source.name,
  }
}

/**
 * The analysts' view, named as the source: each record once, and of records with the same id and time in one
 * partition the first in the log. Late events are in it: lateness belongs to an entity, not to a row.
 */
export function rawView(source: SourcePlan): ViewSpec {
  const table = sqlIdentifier(rawTableName(source))
  const columns = [...storedColumns(source), ...aliasColumns(source)]
  const identity = `sipHash128(_incarnation, _partition, ${sqlIdentifier(source.idField)}, _event_ms)`
  const listed = columns.map(column => columnSql({ ...column, kind: 'stored' })).join(', ')
  const about = `Events of ${source.topic}, each once: a redelivered record or a duplicate (same id and time in one partition) is left out. ${source.description}`
  const sql = [
    `CREATE OR REPLACE VIEW ${sqlIdentifier(source.name)} (${listed}) AS`,
    `SELECT ${columns.map(column => `e.${sqlIdentifier(column.name)} AS ${sqlIdentifier(column.name)}`).join(', ')}`,
    `FROM ${table} AS e FINAL`,
    `LEFT JOIN (`,
    `  SELECT ${identity} AS identity, min(_offset) + 1 AS after_first FROM ${table}`,
    `  GROUP BY identity HAVING min(_offset) < max(_offset)`,
    `) AS d ON sipHash128(e._incarnation, e._partition, e.${sqlIdentifier(source.idField)}, e._event_ms) = d.identity`,
    `WHERE ifNull(d.after_first, 0) IN (0, e._offset + 1)`,
    `COMMENT ${sqlString(about.trim())}`,
  ].join('\n')
  return { kind: 'view', name: source.name, over: rawTableName(source), sql }
}

/** What the offline store must hold for a plan. */
export interface OfflineObjects {
  readonly tables: readonly TableSpec[]
  readonly views: readonly ViewSpec[]
}

/** Tables and views of a plan: its sources' and those that every plan has. */
export function offlineObjects(plan: Plan): OfflineObjects {
  return {
    tables: [...plan.sources.map(rawTable), ...FIXED_TABLES],
    views: [...plan.sources.map(rawView), ...FIXED_VIEWS],
  }
}

/** Statements that make everything the offline store needs for a plan from nothing; each may be run again at any time. */
export function allTablesDdl(plan: Plan): readonly string[] {
  const { tables, views } = offlineObjects(plan)
  return [...tables.map(table => createTableSql(table, 0)), ...views.map(view => view.sql)]
}

function columnValue(field: FieldPlan, cell: Cell): unknown {
  if (cell === null) return field.type.kind === 'vector' ? [] : null
  if (field.type.kind === 'decimal' && typeof cell === 'number') return decimalText(cell, field.type.scale)
  if (typeof cell === 'bigint') return cell.toString()
  return cell
}

/** The row of the raw table for one event of the log. */
export function rawRow(source: SourcePlan, record: RecordPosition, event: DecodedEvent): OfflineRow {
  const row: Record<string, unknown> = {}
  source.fields.forEach((field, i) => {
    row[field.name] = columnValue(field, event.cells[i] ?? null)
  })
  row['_event_ms'] = event.time
  row['_arrival_ms'] = record.arrivalMs
  row['_partition'] = record.partition
  row['_offset'] = record.offset
  row['_incarnation'] = record.incarnation
  return row
}

function jsonText(value: unknown): string {
  return JSON.stringify(value, (_, inner: unknown) => {
    if (typeof inner === 'bigint') return inner.toString()
    return typeof inner === 'number' && !Number.isFinite(inner) ? String(inner) : inner
  })
}

/** Texts under which the log keeps doubles that are no numbers. */
const NOT_FINITE: ReadonlySet<unknown> = new Set(['NaN', 'Infinity', '-Infinity'])

function numericFeatures(
  values: Readonly<Record<string, Value>>,
  numeric: ReadonlySet<string>,
): Readonly<Record<string, number | null>> {
  const result: Record<string, number | null> = {}
  for (const [name, value] of Object.entries(values)) {
    if (typeof value === 'number' || value === null) result[name] = value
    else if (typeof value === 'boolean' || typeof value === 'bigint') result[name] = Number(value)
    else if (numeric.has(name) || NOT_FINITE.has(value)) result[name] = Number(value)
  }
  return result
}

/** The row of `scores` for one answered score. `numeric` names features whose texts are numbers (int64). */
export function scoreRow(record: ScoreRecord, numeric: ReadonlySet<string> = new Set()): OfflineRow {
  return {
    decision_id: record.decisionId,
    service: record.service,
    event_id: record.eventId,
    event_time_ms: record.eventTimeMs,
    as_of_ms: record.asOfMs,
    scored_at_ms: record.scoredAtMs,
    plan_hash: record.planHash,
    model: record.model ?? '',
    model_version: record.modelVersion ?? '',
    policy_version: record.policyVersion ?? '',
    decision: record.decision,
    score: record.score,
    degraded: record.degraded ?? '',
    matched_rules: record.matchedRules,
    request_json: jsonText(record.request),
    features: numericFeatures(record.features, numeric),
    features_json: jsonText(record.features),
    statuses: record.statuses,
    inputs: record.inputs,
    positions: record.positions,
    latency_decode_us: record.latencyUs.decode,
    latency_read_us: record.latencyUs.read,
    latency_features_us: record.latencyUs.features,
    latency_model_us: record.latencyUs.model,
    latency_policy_us: record.latencyUs.policy,
    latency_total_us: record.latencyUs.total,
  }
}

/** The row of `labels` for one label and where it stands in the log. */
export function labelRow(label: LabelRecord, record: RecordPosition): OfflineRow {
  return {
    event_id: label.eventId,
    decision_id: label.decisionId ?? '',
    label: label.label,
    known_at_ms: label.knownAtMs,
    _arrival_ms: record.arrivalMs,
    _partition: record.partition,
    _offset: record.offset,
    _incarnation: record.incarnation,
  }
}

const hexadecimal = (bytes: Uint8Array): string => {
  let text = ''
  for (const byte of bytes) text += byte.toString(16).padStart(2, '0')
  return text
}

/** The row of `dead_letters` for one refused record; the payload is kept byte by byte. */
export function deadLetterRow(letter: DeadLetter): OfflineRow {
  return {
    topic: letter.topic,
    key: letter.key,
    code: letter.code,
    reason: letter.reason,
    payload_hex: hexadecimal(letter.payload),
    _arrival_ms: letter.arrivalMs,
    _partition: letter.partition,
    _offset: letter.offset,
    _incarnation: letter.incarnation,
  }
}
