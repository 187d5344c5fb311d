import { sqlDouble, sqlString } from '../../features/kernel/aggregators/literal-sql.ts'
import type { ModelManifest } from '../ports/model-repository.ts'
import type { OfflineStore } from '../ports/offline-store.ts'
import { assessDrift, DRIFT_THRESHOLDS } from './drift-assess.ts'
import type { DriftFinding, DriftThresholds } from './drift-assess.ts'
import { checkReferences, SCORE_FEATURE } from './drift-counts.ts'
import type { FeatureCounts, Manifests } from './drift-counts.ts'
import { MINUTE_MS } from './drift-step.ts'

/** The table of `DriftCountRow`s. */
export const DRIFT_COUNTS_TABLE = 'drift_counts'

/** The table that `writeDriftStatistics` fills. */
export const DRIFT_STATISTICS_TABLE = 'drift_statistics'

export interface DriftReport {
  /** Whole minutes of arrival: from inclusive, to exclusive, UTC milliseconds. */
  readonly fromMs: number
  readonly toMs: number
  readonly computedAtMs: number
  readonly thresholds: DriftThresholds
  /** Strongest drift first. */
  readonly findings: readonly DriftFinding[]
}

/**
 * Drift of the last `windowMinutes` minutes of arrival, the running one included. Reads one row per feature, summed in
 * ClickHouse. Throws `RangeError` for a window that is not a whole number of 1 to 44,640 minutes, and the store's
 * PortError.
 */
export async function readDriftReport(options: {
  readonly offline: Pick<OfflineStore, 'query'>
  readonly manifests: Manifests
  readonly nowMs: number
  readonly windowMinutes: number
  readonly thresholds?: DriftThresholds
}): Promise<DriftReport> {
  const { windowMinutes, nowMs, manifests, thresholds = DRIFT_THRESHOLDS } = options
  if (!Number.isSafeInteger(windowMinutes) || windowMinutes < 1 || windowMinutes > 44_640) {
    throw new RangeError(`the drift window must be 1 to 44640 whole minutes, not ${windowMinutes}`)
  }
  checkReferences(manifests)
  const toMs = Math.floor(nowMs / MINUTE_MS) * MINUTE_MS + MINUTE_MS
  const fromMs = toMs - windowMinutes * MINUTE_MS
  const counts = await readDriftCounts(options.offline, { fromMs, toMs })
  return { fromMs, toMs, computedAtMs: nowMs, thresholds, findings: assessDrift(counts, manifests, thresholds) }
}

/** The stored counts of whole minutes from `fromMs` up to and without `toMs`, summed over minutes and partitions. */
export async function readDriftCounts(
  offline: Pick<OfflineStore, 'query'>,
  range: { readonly fromMs: number; readonly toMs: number },
): Promise<readonly FeatureCounts[]> {
  const rows = await offline.query<CountsRow>(
    `SELECT model, model_version, feature, sumForEach(bins) AS bin_counts, sum(missing) AS missing_count
FROM ${DRIFT_COUNTS_TABLE} FINAL
WHERE minute_ms >= {from_ms:Int64} AND minute_ms < {to_ms:Int64}
GROUP BY model, model_version, feature, length(bins)
ORDER BY model, model_version, feature`,
    { from_ms: range.fromMs, to_ms: range.toMs },
  )
  return rows.map(countsOf)
}

/** A row of `readDriftCounts` and of `countsFromScoresSql`; 64-bit integers come as strings. */
export interface CountsRow {
  readonly model: string
  readonly model_version: string
  readonly feature: string
  readonly bin_counts: readonly (string | number)[]
  readonly missing_count: string | number
}

export function countsOf(row: CountsRow): FeatureCounts {
  return {
    model: row.model,
    version: row.model_version,
    feature: row.feature,
    bins: row.bin_counts.map(Number),
    missing: Number(row.missing_count),
  }
}

/**
 * The counts of one model version straight from the scores table, as rows of `CountsRow`: the same bins by another
 * engine. Covers the scores answered from `fromMs` up to and without `toMs`. A decision that was logged more than once counts
 * once here and each time in `drift_counts`.
 */
export function countsFromScoresSql(
  manifest: ModelManifest,
  range: { readonly fromMs: number; readonly toMs: number },
): string {
  const items = manifest.reference.map(({ feature, edges }) => {
    const value = feature === SCORE_FEATURE ? 'score' : `inputs[${sqlString(feature)}]`
    return `(${sqlString(feature)}, [${edges.map(sqlDouble).join(', ')}]::Array(Float64), ${value})`
  })
  return `SELECT ${sqlString(manifest.name)} AS model, ${sqlString(manifest.version)} AS model_version, item.1 AS feature,
  sumForEach(arrayMap(i -> toUInt64(present AND i = bin), range(length(edges) + 1))) AS bin_counts,
  countIf(NOT present) AS missing_count
FROM (
  SELECT arrayJoin([${items.join(', ')}]::Array(Tuple(String, Array(Float64), Nullable(Float64)))) AS item,
    item.2 AS edges, ifNull(item.3, nan) AS value, NOT isNaN(value) AS present, arrayCount(edge -> edge <= value, edges) AS bin
  FROM scores FINAL
  WHERE model = ${sqlString(manifest.name)} AND model_version = ${sqlString(manifest.version)}
    AND scored_at_ms >= ${Math.trunc(range.fromMs)} AND scored_at_ms < ${Math.trunc(range.toMs)}
)
GROUP BY feature
ORDER BY feature`
}

/** Stores a report, one row a finding. */
export async function writeDriftStatistics(offline: Pick<OfflineStore, 'insert'>, report: DriftReport): Promise<void> {
  if (report.findings.length === 0) return
  await offline.insert(
    DRIFT_STATISTICS_TABLE,
    report.findings.map(finding => driftStatisticsRow(report, finding)),
    `drift-statistics:${report.fromMs}:${report.toMs}:${report.computedAtMs}`,
  )
}

function driftStatisticsRow(report: DriftReport, finding: DriftFinding): Readonly<Record<string, unknown>> {
  return {
    model: finding.model,
    model_version: finding.version,
    feature: finding.feature,
    from_ms: report.fromMs,
    to_ms: report.toMs,
    computed_ms: report.computedAtMs,
    rows: finding.currentRows,
    reference_rows: finding.referenceRows,
    psi: finding.psi,
    psi_mean: finding.psiBand.mean,
    psi_p95: finding.psiBand.p95,
    psi_p99: finding.psiBand.p99,
    psi_p_value: finding.psiPValue,
    psi_q_value: finding.psiQValue,
    js: finding.js,
    js_mean: finding.jsBand.mean,
    js_p95: finding.jsBand.p95,
    js_p99: finding.jsBand.p99,
    missing_reference: finding.missingReference,
    missing_current: finding.missingCurrent,
    missing_difference: finding.missingDifference,
    missing_p99: finding.missingBand.p99,
    missing_p_value: finding.missingPValue,
    missing_q_value: finding.missingQValue,
    direction: directionOf(finding),
    verdict: finding.verdict,
  }
}

const VERDICT_TEXT: Readonly<Record<DriftFinding['verdict'], string>> = {
  alert: 'ALERT',
  stable: 'stable',
  too_few: 'too few rows',
}

/** The report as a table for people; every value stands beside what 99 % of windows without drift stay below. */
export function renderDrift(report: DriftReport): string {
  const { thresholds, findings } = report
  const window = `${isoMinute(report.fromMs)} to ${isoMinute(report.toMs)} UTC`
  if (findings.length === 0) return `No scores of a known model version arrived from ${window}.\n`
  const header = ['feature', 'rows', 'PSI', 'noise 99 %', 'JS', 'noise 99 %', 'missing', 'change', 'values', 'verdict']
  const sections = [...Map.groupBy(findings, finding => `${finding.model} ${finding.version}`)].map(
    ([model, members]) => {
      const rows = members.map(finding => [
        finding.feature,
        String(finding.currentRows),
        finding.psi.toFixed(4),
        finding.psiBand.p99.toFixed(4),
        finding.js.toFixed(4),
        finding.jsBand.p99.toFixed(4),
        percent(finding.missingCurrent),
        signed(finding.missingDifference),
        finding.verdict === 'alert' ? DIRECTION_TEXT[directionOf(finding)] : '',
        VERDICT_TEXT[finding.verdict],
      ])
      const alerts = members.filter(finding => finding.verdict === 'alert').length
      return `Model ${model}: ${members.length} features, ${alerts} drifting\n\n${table([header, ...rows])}`
    },
  )
  const rule =
    `ALERT: PSI above ${thresholds.psi} or missing rate off by more than ${percent(thresholds.missing)}, ` +
    `significant at a false discovery rate of ${percent(thresholds.alpha)}, on at least ${thresholds.minimumRows} rows.`
  return `Drift of what arrived from ${window}\n\n${sections.join('\n')}\n${rule}\n`
}

/** The report as plain data for `--json`. */
export function driftJson(report: DriftReport): string {
  return `${JSON.stringify(report, null, 2)}\n`
}

const NO_DIRECTION = 0.05

/** Where the values went: `up` or `down` by more than 0.05 of `direction`, otherwise `none`. */
export function directionOf(finding: Pick<DriftFinding, 'direction'>): 'up' | 'down' | 'none' {
  if (Math.abs(finding.direction) < NO_DIRECTION) return 'none'
  return finding.direction > 0 ? 'up' : 'down'
}

const DIRECTION_TEXT = { up: 'higher', down: 'lower', none: 'other' } as const

function table(rows: readonly (readonly string[])[]): string {
  const widths = (rows[0] ?? []).map((_, column) => Math.max(...rows.map(row => row[column]?.length ?? 0)))
  const left = (column: number) => column === 0 || column >= 8
  const line = (row: readonly string[]) =>
    row.map((cell, i) => (left(i) ? cell.padEnd(widths[i] ?? 0) : cell.padStart(widths[i] ?? 0))).join('  ')
  return `${rows.map(row => line(row).trimEnd()).join('\n')}\n`
}

function percent(share: number): string {
  return `${(share * 100).toFixed(1)} %`
}

function signed(share: number): string {
  return `${share < 0 ? '−' : '+'}${percent(Math.abs(share))}`
}

function isoMinute(ms: number): string {
  return new Date(ms).toISOString().slice(0, 16).replace('T', ' ')
}
