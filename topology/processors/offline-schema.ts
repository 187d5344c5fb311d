import type { Cell, Value } from '../../features/kernel/types.ts'
import { decimalText } from '../../features/plan/event.ts'
import type { DecodedEvent } from '../../features/plan/event.ts'
import { clickHouseType, sqlIdentifier, sqlString } from '../../features/plan/expression-sql.ts'
import type { FieldPlan, Plan, SourcePlan } from '../../features/plan/plan.ts'
import type { ScoreRecord } from '../ports/score-record.ts'
import { FIXED_TABLES_DDL } from './offline-tables.ts'

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

interface ColumnDdl {
  readonly name: string
  readonly type: string
  readonly expression: string
  readonly comment: string
}

function positionColumns(): readonly ColumnDdl[] {
  const column = (name: string, type: string, text: string): ColumnDdl => ({
    name,
    type,
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

function storedColumns(source: SourcePlan): readonly ColumnDdl[] {
  const fields = source.fields.map(field => ({
    name: field.name,
    type: clickHouseType(field.type, field.optional),
    expression: '',
    comment: comment(field),
  }))
  return [...fields, ...positionColumns()]
}

function aliasColumns(source: SourcePlan): readonly ColumnDdl[] {
  const taken = new Set(storedColumns(source).map(column => column.name))
  const utc = (name: string, from: string, optional: boolean, text: string): ColumnDdl => ({
    name,
    type: optional ? "Nullable(DateTime64(3, 'UTC'))" : "DateTime64(3, 'UTC')",
    expression: `fromUnixTimestamp64Milli(${sqlIdentifier(from)}, 'UTC')`,
    comment: text,
  })
  const times = source.fields
    .filter(field => field.type.kind === 'timestamp')
    .map(field => utc(`${field.name}_utc`, field.name, field.optional, `${field.name} as a readable time`))
  const id: ColumnDdl = {
    name: '_event_id',
    type: 'String',
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

function columnDdl(column: ColumnDdl): string {
  const alias = column.expression === '' ? '' : ` ALIAS ${column.expression}`
  const text = column.comment === '' ? '' : ` COMMENT ${sqlString(column.comment)}`
  return `${sqlIdentifier(column.name)} ${column.type}${alias}${text}`
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
 * itself: a record that is delivered again collapses, whichever batch it comes in. Fields added later are added as
 * columns (rows written before hold the type's default, or null where the field is optional).
 */
export function rawTableDdl(source: SourcePlan): readonly string[] {
  checkNames(source)
  const table = sqlIdentifier(rawTableName(source))
  const columns = [...storedColumns(source), ...aliasColumns(source)]
  const nullableKey = source.fields.some(field => field.name === source.keyField && field.optional)
  const settings = [
    'fsync_after_insert = 1',
    'fsync_part_directory = 1',
    'non_replicated_deduplication_window = 1000',
    ...(nullableKey ? ['allow_nullable_key = 1'] : []),
  ]
  const create = [
    `CREATE TABLE IF NOT EXISTS ${table} (`,
    columns.map(column => `  ${columnDdl(column)}`).join(',\n'),
    `) ENGINE = ReplacingMergeTree`,
    `PARTITION BY toYYYYMM(fromUnixTimestamp64Milli(_event_ms, 'UTC'))`,
    `ORDER BY (${sqlIdentifier(source.keyField)}, _event_ms, _partition, _offset, _incarnation)`,
    `SETTINGS ${settings.join(', ')}`,
    `COMMENT ${sqlString(`Every accepted record of ${source.topic}, as it came; read the view ${source.name}. ${source.description}`.trim())}`,
  ].join('\n')
  const added = columns.map(column => `ADD COLUMN IF NOT EXISTS ${columnDdl(column)}`).join(', ')
  return [create, `ALTER TABLE ${table} ${added}`, rawViewDdl(source)]
}

/**
 * The analysts' view, named as the source: each record once, and of records with the same id and time in one
 * partition the first in the log. Late events are in it: lateness belongs to an entity, not to a row.
 */
function rawViewDdl(source: SourcePlan): string {
  const table = sqlIdentifier(rawTableName(source))
  const columns = [...storedColumns(source), ...aliasColumns(source)]
  const identity = `sipHash128(_incarnation, _partition, ${sqlIdentifier(source.idField)}, _event_ms)`
  const listed = columns.map(column => columnDdl({ ...column, expression: '' })).join(', ')
  const about = `Events of ${source.topic}, each once: a redelivered record or a duplicate (same id and time in one partition) is left out. ${source.description}`
  return [
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
}

/** A column as `system.columns` lists it. */
export interface StoredColumn {
  readonly name: string
  readonly type: string
}

/**
 * What must change in a source's raw table before its events fit: statements that lose nothing (a field that became
 * optional), and problems where a field's type is another one now. `stored` is empty for a table that is not made yet.
 */
export function rawTableChanges(
  source: SourcePlan,
  stored: readonly StoredColumn[],
): { readonly statements: readonly string[]; readonly problems: readonly string[] } {
  const table = rawTableName(source)
  const statements: string[] = []
  const problems: string[] = []
  const found = new Map(stored.map(column => [column.name, column.type]))
  for (const field of source.fields) {
    const type = clickHouseType(field.type, field.optional)
    const before = found.get(field.name)
    if (before === undefined || before === type) continue
    if (type === `Nullable(${before})` && field.name !== source.keyField) {
      statements.push(`ALTER TABLE ${sqlIdentifier(table)} MODIFY COLUMN ${sqlIdentifier(field.name)} ${type}`)
    } else {
      problems.push(
        `field "${field.name}" of event "${source.name}" is ${type} now, the table ${table} keeps it as ${before}; ` +
          'give the changed field a new name, or change it back',
      )
    }
  }
  return { statements, problems }
}

/** Everything the offline store needs for a plan; each statement may be run again at any time. */
export function allTablesDdl(plan: Plan): readonly string[] {
  return [...plan.sources.flatMap(source => [...rawTableDdl(source)]), ...FIXED_TABLES_DDL]
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
