import { createTableSql } from './offline-ddl.ts'
import type { ColumnSpec, TableSpec, ViewSpec } from './offline-ddl.ts'

function stored(name: string, type: string, comment: string): ColumnSpec {
  return { name, type, kind: 'stored', expression: '', comment }
}

function alias(name: string, type: string, expression: string, comment: string): ColumnSpec {
  return { name, type, kind: 'alias', expression, comment }
}

function materialized(name: string, type: string, expression: string, comment: string): ColumnSpec {
  return { name, type, kind: 'materialized', expression, comment }
}

/** A column of UTC milliseconds as a time that people can read. */
function readable(name: string, from: string, comment = `${from}, readable`): ColumnSpec {
  return alias(name, "DateTime64(3, 'UTC')", `fromUnixTimestamp64Milli(${from}, 'UTC')`, comment)
}

const POSITION_COLUMNS: readonly ColumnSpec[] = [
  stored('_arrival_ms', 'Int64', 'When the record became known, UTC milliseconds'),
  stored('_partition', 'UInt32', 'Partition of the event log'),
  stored('_offset', 'UInt64', 'Offset within the partition'),
  stored('_incarnation', 'LowCardinality(String)', 'Which life of the topic the offset belongs to'),
]

const SCORES: TableSpec = {
  kind: 'table',
  name: 'scores',
  columns: [
    stored('decision_id', 'String', 'hash(service, event id): the same event always has the same decision id'),
    stored('service', 'LowCardinality(String)', 'The service that answered'),
    stored('event_id', 'String', 'Id of the event that was scored'),
    stored('event_time_ms', 'Int64', 'Time of the event, UTC milliseconds'),
    stored('as_of_ms', 'Int64', 'The instant t of the windows, UTC milliseconds'),
    stored('scored_at_ms', 'Int64', 'When the answer was given, UTC milliseconds'),
    stored('plan_hash', 'LowCardinality(String)', 'The plan that was served'),
    stored('model', 'LowCardinality(String)', 'Model; empty for none'),
    stored('model_version', 'LowCardinality(String)', 'Version of the model; empty for none'),
    stored('policy_version', 'LowCardinality(String)', 'Version of the policy; empty for none'),
    stored('decision', 'LowCardinality(String)', 'The outcome'),
    stored('score', 'Nullable(Float64)', "The model's answer; null when no model answered"),
    stored('degraded', 'LowCardinality(String)', 'Why the answer is degraded; empty for a full answer'),
    stored('matched_rules', 'Array(String)', 'Rules of the policy that matched'),
    stored('request_json', 'String', 'The event as it was sent, JSON by field name; 64-bit integers as strings'),
    stored(
      'features',
      'Map(String, Nullable(Float64))',
      'Numeric and boolean features by group.feature or derived.name, booleans as 0 and 1',
    ),
    stored('features_json', 'String', 'All features, texts and lists included, as JSON; 64-bit integers as strings'),
    stored(
      'statuses',
      'Map(String, LowCardinality(String))',
      'Status of each feature: fresh, stale, default, missing, out_of_range',
    ),
    stored(
      'inputs',
      'Map(String, Nullable(Float64))',
      'What the model was given by input name; null where the default stood in',
    ),
    stored(
      'positions',
      'Array(Tuple(unit UInt32, incarnation String, partition UInt32, offset Int64))',
      'Log positions that the state read had seen; offset -1 for none',
    ),
    stored('latency_decode_us', 'Float64', 'Microseconds to decode the request'),
    stored('latency_read_us', 'Float64', 'Microseconds to read the online store'),
    stored('latency_features_us', 'Float64', 'Microseconds to compute features'),
    stored('latency_model_us', 'Float64', 'Microseconds in the model'),
    stored('latency_policy_us', 'Float64', 'Microseconds in the policy'),
    stored('latency_total_us', 'Float64', 'Microseconds in all'),
    materialized(
      '_first_wins',
      'UInt64',
      '18446744073709551615 - toUInt64(scored_at_ms)',
      'Of several answers for one decision id the earliest is kept',
    ),
    readable('scored_at', 'scored_at_ms'),
    readable('event_time', 'event_time_ms'),
  ],
  versionColumn: '_first_wins',
  partitionBy: "toYYYYMM(fromUnixTimestamp64Milli(event_time_ms, 'UTC'))",
  orderBy: ['service', 'decision_id'],
  nullableKey: false,
  arrivalColumn: 'scored_at_ms',
  comment: 'Answered scores as they were logged; read the view decisions',
  event: '',
}

const DECISIONS: ViewSpec = {
  kind: 'view',
  name: 'decisions',
  over: 'scores',
  sql: `CREATE OR REPLACE VIEW decisions AS SELECT *, scored_at, event_time FROM scores FINAL
COMMENT 'One row per decision id: the first answer given'`,
}

const LABELS: TableSpec = {
  kind: 'table',
  name: 'labels',
  columns: [
    stored('event_id', 'String', 'Id of the labelled event'),
    stored('decision_id', 'String', 'Decision that was labelled; empty when only the event is known'),
    stored('label', 'Float64', '1 for the positive class, 0 for the negative one'),
    stored('known_at_ms', 'Int64', 'When the label became known, UTC milliseconds'),
    ...POSITION_COLUMNS,
    readable('known_at', 'known_at_ms'),
  ],
  versionColumn: '',
  partitionBy: '',
  orderBy: ['event_id', 'decision_id', 'known_at_ms', '_partition', '_offset', '_incarnation'],
  nullableKey: false,
  arrivalColumn: '_arrival_ms',
  comment: 'Labels as they became known, later corrections included; read the view labels_known',
  event: '',
}

const LABELS_KNOWN: ViewSpec = {
  kind: 'view',
  name: 'labels_known',
  over: 'labels',
  sql: `CREATE OR REPLACE VIEW labels_known AS SELECT *, known_at FROM labels FINAL
ORDER BY known_at_ms DESC, _offset DESC LIMIT 1 BY event_id, decision_id
COMMENT 'The newest label of each event and decision'`,
}

const DEAD_LETTERS: TableSpec = {
  kind: 'table',
  name: 'dead_letters',
  columns: [
    stored('topic', 'LowCardinality(String)', 'Topic of the refused record'),
    stored('key', 'Nullable(String)', 'Record key'),
    stored('code', 'LowCardinality(String)', 'Why it was refused, from a closed set'),
    stored('reason', 'String', 'Why it was refused, in words, with the field'),
    stored('payload_hex', 'String', 'The record value, byte by byte in hexadecimal'),
    ...POSITION_COLUMNS,
    alias('payload', 'String', 'unhex(payload_hex)', 'The record value'),
    readable('arrival_time', '_arrival_ms', 'Arrival, readable'),
  ],
  versionColumn: '',
  partitionBy: '',
  orderBy: ['topic', '_partition', '_offset', '_incarnation'],
  nullableKey: false,
  arrivalColumn: '_arrival_ms',
  comment: 'Records that no step could accept, with the reason and where they stand in the log',
  event: '',
}

const DRIFT_COUNTS: TableSpec = {
  kind: 'table',
  name: 'drift_counts',
  columns: [
    stored('model', 'LowCardinality(String)', 'Model'),
    stored('model_version', 'LowCardinality(String)', 'Version of the model'),
    stored('feature', 'LowCardinality(String)', 'Model input'),
    stored('minute_ms', 'Int64', 'Start of the minute in which the scores arrived, UTC milliseconds'),
    stored('partition', 'UInt32', 'Partition of the score log that these rows came from'),
    stored(
      'bins',
      'Array(UInt64)',
      'Rows per bin of the reference that the model was trained with; the outermost ones are underflow and overflow',
    ),
    stored('missing', 'UInt64', 'Rows in which the value was missing'),
    stored(
      'last_offset',
      'Int64',
      'Offset of the last record counted here; of several rows the one with the largest stands',
    ),
    materialized('_version', 'UInt64', 'toUInt64(last_offset + 1)', 'Which row is kept'),
    readable('minute', 'minute_ms'),
  ],
  versionColumn: '_version',
  partitionBy: "toYYYYMM(fromUnixTimestamp64Milli(minute_ms, 'UTC'))",
  orderBy: ['model', 'model_version', 'feature', 'minute_ms', 'partition'],
  nullableKey: false,
  arrivalColumn: 'minute_ms',
  comment: 'Counts of scored rows per feature, minute and log partition; read the view drift_minutes',
  event: '',
}

const DRIFT_MINUTES: ViewSpec = {
  kind: 'view',
  name: 'drift_minutes',
  over: 'drift_counts',
  sql: `CREATE OR REPLACE VIEW drift_minutes AS
SELECT c.model AS model, c.model_version AS model_version, c.feature AS feature, c.minute_ms AS minute_ms,
  fromUnixTimestamp64Milli(c.minute_ms, 'UTC') AS minute,
  sumForEach(c.bins) AS bins, sum(c.missing) AS missing, arraySum(bins) + missing AS total
FROM drift_counts AS c FINAL GROUP BY c.model, c.model_version, c.feature, c.minute_ms
COMMENT 'Counts of scored rows per feature and minute, all partitions together'`,
}

const DRIFT_STATISTICS: TableSpec = {
  kind: 'table',
  name: 'drift_statistics',
  columns: [
    stored('model', 'LowCardinality(String)', 'Model'),
    stored('model_version', 'LowCardinality(String)', 'Version of the model'),
    stored('feature', 'LowCardinality(String)', 'Model input'),
    stored('from_ms', 'Int64', 'First instant of the window of arrival, UTC milliseconds'),
    stored('to_ms', 'Int64', 'First instant after the window, UTC milliseconds'),
    stored('computed_ms', 'Int64', 'When it was computed, UTC milliseconds; the newest is kept'),
    stored('rows', 'UInt64', 'Rows in the window'),
    stored('reference_rows', 'UInt64', 'Rows the model was trained on'),
    stored('psi', 'Nullable(Float64)', 'Population stability index against the training reference'),
    stored('psi_mean', 'Nullable(Float64)', 'Its mean over windows of this size without drift'),
    stored('psi_p95', 'Nullable(Float64)', 'What 95 of 100 windows without drift stay below'),
    stored('psi_p99', 'Nullable(Float64)', 'What 99 of 100 windows without drift stay below'),
    stored('psi_p_value', 'Nullable(Float64)', 'Probability of such a PSI, or a larger one, without drift'),
    stored('psi_q_value', 'Nullable(Float64)', 'The p-value corrected for the number of features (Benjamini-Hochberg)'),
    stored('js', 'Nullable(Float64)', 'Jensen-Shannon distance (base 2) against the training reference'),
    stored('js_mean', 'Nullable(Float64)', 'Its mean over windows of this size without drift'),
    stored('js_p95', 'Nullable(Float64)', 'What 95 of 100 windows without drift stay below'),
    stored('js_p99', 'Nullable(Float64)', 'What 99 of 100 windows without drift stay below'),
    stored('missing_reference', 'Nullable(Float64)', 'Share of missing values in training'),
    stored('missing_current', 'Nullable(Float64)', 'Share of missing values in the window'),
    stored('missing_difference', 'Nullable(Float64)', 'Current share minus training share'),
    stored('missing_p99', 'Nullable(Float64)', 'What the difference stays below in 99 of 100 windows without drift'),
    stored('missing_p_value', 'Nullable(Float64)', 'Probability of such a difference, or a larger one, without drift'),
    stored(
      'missing_q_value',
      'Nullable(Float64)',
      'The p-value corrected for the number of features (Benjamini-Hochberg)',
    ),
    stored('direction', 'LowCardinality(String)', 'Whether values moved up or down'),
    stored('verdict', 'LowCardinality(String)', 'alert, stable or too_few'),
    materialized('_version', 'UInt64', 'toUInt64(computed_ms)', 'Which row is kept'),
    readable('window_start', 'from_ms', 'from_ms, readable'),
    readable('window_end', 'to_ms', 'to_ms, readable'),
  ],
  versionColumn: '_version',
  partitionBy: "toYYYYMM(fromUnixTimestamp64Milli(from_ms, 'UTC'))",
  orderBy: ['model', 'model_version', 'feature', 'from_ms', 'to_ms'],
  nullableKey: false,
  arrivalColumn: 'to_ms',
  comment: 'Drift statistics per feature and window; read the view drift',
  event: '',
}

const DRIFT: ViewSpec = {
  kind: 'view',
  name: 'drift',
  over: 'drift_statistics',
  sql: `CREATE OR REPLACE VIEW drift AS SELECT *, window_start, window_end FROM drift_statistics FINAL
COMMENT 'Drift statistics per feature and window, the newest computation of each'`,
}

/** The tables that do not depend on a plan. */
export const FIXED_TABLES: readonly TableSpec[] = [SCORES, LABELS, DEAD_LETTERS, DRIFT_COUNTS, DRIFT_STATISTICS]

/** The views over them. */
export const FIXED_VIEWS: readonly ViewSpec[] = [DECISIONS, LABELS_KNOWN, DRIFT_MINUTES, DRIFT]

/** Statements that make the tables and views that do not depend on a plan; each may be run again at any time. */
export const FIXED_TABLES_DDL: readonly string[] = [
  ...FIXED_TABLES.map(table => createTableSql(table, 0)),
  ...FIXED_VIEWS.map(view => view.sql),
]
