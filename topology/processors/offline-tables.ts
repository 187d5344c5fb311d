const DURABLE = 'SETTINGS fsync_after_insert = 1, fsync_part_directory = 1, non_replicated_deduplication_window = 1000'

const POSITION_COLUMNS = `
  _arrival_ms Int64 COMMENT 'When the record became known, UTC milliseconds',
  _partition UInt32 COMMENT 'Partition of the event log',
  _offset UInt64 COMMENT 'Offset within the partition',
  _incarnation LowCardinality(String) COMMENT 'Which life of the topic the offset belongs to'`

const SCORES = `CREATE TABLE IF NOT EXISTS scores (
  decision_id String COMMENT 'hash(service, event id): the same event always has the same decision id',
  service LowCardinality(String) COMMENT 'The service that answered',
  event_id String COMMENT 'Id of the event that was scored',
  event_time_ms Int64 COMMENT 'Time of the event, UTC milliseconds',
  as_of_ms Int64 COMMENT 'The instant t of the windows, UTC milliseconds',
  scored_at_ms Int64 COMMENT 'When the answer was given, UTC milliseconds',
  plan_hash LowCardinality(String) COMMENT 'The plan that was served',
  model LowCardinality(String) COMMENT 'Model; empty for none',
  model_version LowCardinality(String) COMMENT 'Version of the model; empty for none',
  policy_version LowCardinality(String) COMMENT 'Version of the policy; empty for none',
  decision LowCardinality(String) COMMENT 'The outcome',
  score Nullable(Float64) COMMENT 'The model''s answer; null when no model answered',
  degraded LowCardinality(String) COMMENT 'Why the answer is degraded; empty for a full answer',
  matched_rules Array(String) COMMENT 'Rules of the policy that matched',
  request_json String COMMENT 'The event as it was sent, JSON by field name; 64-bit integers as strings',
  features Map(String, Nullable(Float64)) COMMENT 'Numeric and boolean features by group.feature or derived.name, booleans as 0 and 1',
  features_json String COMMENT 'All features, texts and lists included, as JSON; 64-bit integers as strings',
  statuses Map(String, LowCardinality(String)) COMMENT 'Status of each feature: fresh, stale, default, missing, out_of_range',
  inputs Map(String, Nullable(Float64)) COMMENT 'What the model was given by input name; null where the default stood in',
  positions Array(Tuple(unit UInt32, incarnation String, partition UInt32, offset Int64)) COMMENT 'Log positions that the state read had seen; offset -1 for none',
  latency_decode_us Float64 COMMENT 'Microseconds to decode the request',
  latency_read_us Float64 COMMENT 'Microseconds to read the online store',
  latency_features_us Float64 COMMENT 'Microseconds to compute features',
  latency_model_us Float64 COMMENT 'Microseconds in the model',
  latency_policy_us Float64 COMMENT 'Microseconds in the policy',
  latency_total_us Float64 COMMENT 'Microseconds in all',
  _first_wins UInt64 MATERIALIZED 18446744073709551615 - toUInt64(scored_at_ms) COMMENT 'Of several answers for one decision id the earliest is kept',
  scored_at DateTime64(3, 'UTC') ALIAS fromUnixTimestamp64Milli(scored_at_ms, 'UTC') COMMENT 'scored_at_ms, readable',
  event_time DateTime64(3, 'UTC') ALIAS fromUnixTimestamp64Milli(event_time_ms, 'UTC') COMMENT 'event_time_ms, readable'
) ENGINE = ReplacingMergeTree(_first_wins)
PARTITION BY toYYYYMM(fromUnixTimestamp64Milli(event_time_ms, 'UTC'))
ORDER BY (service, decision_id)
${DURABLE}
COMMENT 'Answered scores as they were logged; read the view decisions'`

const DECISIONS = `CREATE OR REPLACE VIEW decisions AS SELECT *, scored_at, event_time FROM scores FINAL
COMMENT 'One row per decision id: the first answer given'`

const LABELS = `CREATE TABLE IF NOT EXISTS labels (
  event_id String COMMENT 'Id of the labelled event',
  decision_id String COMMENT 'Decision that was labelled; empty when only the event is known',
  label Float64 COMMENT '1 for the positive class, 0 for the negative one',
  known_at_ms Int64 COMMENT 'When the label became known, UTC milliseconds',${POSITION_COLUMNS},
  known_at DateTime64(3, 'UTC') ALIAS fromUnixTimestamp64Milli(known_at_ms, 'UTC') COMMENT 'known_at_ms, readable'
) ENGINE = ReplacingMergeTree
ORDER BY (event_id, decision_id, known_at_ms, _partition, _offset, _incarnation)
${DURABLE}
COMMENT 'Labels as they became known, later corrections included; read the view labels_known'`

const LABELS_KNOWN = `CREATE OR REPLACE VIEW labels_known AS SELECT *, known_at FROM labels FINAL
ORDER BY known_at_ms DESC, _offset DESC LIMIT 1 BY event_id, decision_id
COMMENT 'The newest label of each event and decision'`

const DEAD_LETTERS = `CREATE TABLE IF NOT EXISTS dead_letters (
  topic LowCardinality(String) COMMENT 'Topic of the refused record',
  key Nullable(String) COMMENT 'Record key',
  code LowCardinality(String) COMMENT 'Why it was refused, from a closed set',
  reason String COMMENT 'Why it was refused, in words, with the field',
  payload_hex String COMMENT 'The record value, byte by byte in hexadecimal',${POSITION_COLUMNS},
  payload String ALIAS unhex(payload_hex) COMMENT 'The record value',
  arrival_time DateTime64(3, 'UTC') ALIAS fromUnixTimestamp64Milli(_arrival_ms, 'UTC') COMMENT 'Arrival, readable'
) ENGINE = ReplacingMergeTree
ORDER BY (topic, _partition, _offset, _incarnation)
${DURABLE}
COMMENT 'Records that no step could accept, with the reason and where they stand in the log'`

const DRIFT_COUNTS = `CREATE TABLE IF NOT EXISTS drift_counts (
  model LowCardinality(String) COMMENT 'Model',
  model_version LowCardinality(String) COMMENT 'Version of the model',
  feature LowCardinality(String) COMMENT 'Model input',
  minute_ms Int64 COMMENT 'Start of the minute in which the scores arrived, UTC milliseconds',
  partition UInt32 COMMENT 'Partition of the score log that these rows came from',
  bins Array(UInt64) COMMENT 'Rows per bin of the reference that the model was trained with; the outermost ones are underflow and overflow',
  missing UInt64 COMMENT 'Rows in which the value was missing',
  last_offset Int64 COMMENT 'Offset of the last record counted here; of several rows the one with the largest stands',
  _version UInt64 MATERIALIZED toUInt64(last_offset + 1) COMMENT 'Which row is kept',
  minute DateTime64(3, 'UTC') ALIAS fromUnixTimestamp64Milli(minute_ms, 'UTC') COMMENT 'minute_ms, readable'
) ENGINE = ReplacingMergeTree(_version)
PARTITION BY toYYYYMM(fromUnixTimestamp64Milli(minute_ms, 'UTC'))
ORDER BY (model, model_version, feature, minute_ms, partition)
${DURABLE}
COMMENT 'Counts of scored rows per feature, minute and log partition; read the view drift_minutes'`

const DRIFT_MINUTES = `CREATE OR REPLACE VIEW drift_minutes AS
SELECT c.model AS model, c.model_version AS model_version, c.feature AS feature, c.minute_ms AS minute_ms,
  fromUnixTimestamp64Milli(c.minute_ms, 'UTC') AS minute,
  sumForEach(c.bins) AS bins, sum(c.missing) AS missing, arraySum(bins) + missing AS total
FROM drift_counts AS c FINAL GROUP BY c.model, c.model_version, c.feature, c.minute_ms
COMMENT 'Counts of scored rows per feature and minute, all partitions together'`

const DRIFT_STATISTICS = `CREATE TABLE IF NOT EXISTS drift_statistics (
  model LowCardinality(String) COMMENT 'Model',
  model_version LowCardinality(String) COMMENT 'Version of the model',
  feature LowCardinality(String) COMMENT 'Model input',
  from_ms Int64 COMMENT 'First instant of the window of arrival, UTC milliseconds',
  to_ms Int64 COMMENT 'First instant after the window, UTC milliseconds',
  computed_ms Int64 COMMENT 'When it was computed, UTC milliseconds; the newest is kept',
  rows UInt64 COMMENT 'Rows in the window',
  reference_rows UInt64 COMMENT 'Rows the model was trained on',
  psi Nullable(Float64) COMMENT 'Population stability index against the training reference',
  psi_mean Nullable(Float64) COMMENT 'Its mean over windows of this size without drift',
  psi_p95 Nullable(Float64) COMMENT 'What 95 of 100 windows without drift stay below',
  psi_p99 Nullable(Float64) COMMENT 'What 99 of 100 windows without drift stay below',
  psi_p_value Nullable(Float64) COMMENT 'Probability of such a PSI, or a larger one, without drift',
  psi_q_value Nullable(Float64) COMMENT 'The p-value corrected for the number of features (Benjamini-Hochberg)',
  js Nullable(Float64) COMMENT 'Jensen-Shannon distance (base 2) against the training reference',
  js_mean Nullable(Float64) COMMENT 'Its mean over windows of this size without drift',
  js_p95 Nullable(Float64) COMMENT 'What 95 of 100 windows without drift stay below',
  js_p99 Nullable(Float64) COMMENT 'What 99 of 100 windows without drift stay below',
  missing_reference Nullable(Float64) COMMENT 'Share of missing values in training',
  missing_current Nullable(Float64) COMMENT 'Share of missing values in the window',
  missing_difference Nullable(Float64) COMMENT 'Current share minus training share',
  missing_p99 Nullable(Float64) COMMENT 'What the difference stays below in 99 of 100 windows without drift',
  missing_p_value Nullable(Float64) COMMENT 'Probability of such a difference, or a larger one, without drift',
  missing_q_value Nullable(Float64) COMMENT 'The p-value corrected for the number of features (Benjamini-Hochberg)',
  direction LowCardinality(String) COMMENT 'Whether values moved up or down',
  verdict LowCardinality(String) COMMENT 'alert, stable or too_few',
  _version UInt64 MATERIALIZED toUInt64(computed_ms) COMMENT 'Which row is kept',
  window_start DateTime64(3, 'UTC') ALIAS fromUnixTimestamp64Milli(from_ms, 'UTC') COMMENT 'from_ms, readable',
  window_end DateTime64(3, 'UTC') ALIAS fromUnixTimestamp64Milli(to_ms, 'UTC') COMMENT 'to_ms, readable'
) ENGINE = ReplacingMergeTree(_version)
PARTITION BY toYYYYMM(fromUnixTimestamp64Milli(from_ms, 'UTC'))
ORDER BY (model, model_version, feature, from_ms, to_ms)
${DURABLE}
COMMENT 'Drift statistics per feature and window; read the view drift'`

const DRIFT = `CREATE OR REPLACE VIEW drift AS SELECT *, window_start, window_end FROM drift_statistics FINAL
COMMENT 'Drift statistics per feature and window, the newest computation of each'`

/** The tables and views that do not depend on a plan; each statement may be run again at any time. */
export const FIXED_TABLES_DDL: readonly string[] = [
  SCORES,
  DECISIONS,
  LABELS,
  LABELS_KNOWN,
  DEAD_LETTERS,
  DRIFT_COUNTS,
  DRIFT_MINUTES,
  DRIFT_STATISTICS,
  DRIFT,
]
