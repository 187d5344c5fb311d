import { mkdtemp, rm } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { afterAll, beforeAll, describe, expect, it } from 'vitest'
import { openEmbeddedEventLog } from '../../topology/adapters/event-log/embedded.ts'
import { startChdbServer } from '../../topology/adapters/offline-store/chdb/server.ts'
import type { ChdbServer } from '../../topology/adapters/offline-store/chdb/server.ts'
import { connectClickHouse } from '../../topology/adapters/offline-store/clickhouse/clickhouse.ts'
import { countScore, listCounts, openCounts } from '../../topology/monitoring/drift-counts.ts'
import type { Manifests } from '../../topology/monitoring/drift-counts.ts'
import { createDriftMonitor, decodeScoredInputs } from '../../topology/monitoring/drift-monitor.ts'
import type { DriftMonitor } from '../../topology/monitoring/drift-monitor.ts'
import {
  countsFromScoresSql,
  countsOf,
  driftJson,
  readDriftCounts,
  readDriftReport,
  renderDrift,
  writeDriftStatistics,
} from '../../topology/monitoring/drift-report.ts'
import type { CountsRow } from '../../topology/monitoring/drift-report.ts'
import { MINUTE_MS } from '../../topology/monitoring/drift-step.ts'
import type { Batch, ConsumerControl, EventLog } from '../../topology/ports/event-log.ts'
import type { OfflineStore } from '../../topology/ports/offline-store.ts'
import { SCORES_TOPIC } from '../../topology/ports/score-record.ts'
import type { ScoreRecord } from '../../topology/ports/score-record.ts'
import { scoreRow } from '../../topology/processors/offline-schema.ts'
import { FIXED_TABLES_DDL } from '../../topology/processors/offline-tables.ts'
import { encodeScoreRecord } from '../../topology/scoring/score-log.ts'
import { manifest } from './manifest.ts'

const PARTITIONS = 3
const FROM_MS = Date.parse('2025-06-01T10:00:00Z')
const manifests: Manifests = new Map([['fraud@1', manifest('1')]])
const everything = { fromMs: FROM_MS - 60 * MINUTE_MS, toMs: FROM_MS + 600 * MINUTE_MS }

let folder: string
let server: ChdbServer
let offline: OfflineStore
let log: EventLog
let nowMs = FROM_MS

beforeAll(async () => {
  folder = await mkdtemp(join(tmpdir(), 'hw-drift-'))
  server = await startChdbServer({ directory: join(folder, 'offline'), port: 0 })
  offline = connectClickHouse({ url: server.url, database: 'default' })
  for (const statement of FIXED_TABLES_DDL) await offline.command(statement)
  log = await openEmbeddedEventLog({
    path: join(folder, 'log.sqlite'),
    clock: { nowMs: () => nowMs, monotonicMs: () => nowMs },
  })
  await log.ensureTopics([{ name: SCORES_TOPIC, partitions: PARTITIONS, retentionMs: 0 }])
}, 60_000)

afterAll(async () => {
  await log?.close()
  await offline?.close()
  await server?.close()
  await rm(folder, { recursive: true, force: true })
})

function score(index: number): ScoreRecord {
  const values = [0.1 + 0.2, 0.3, 20, 19.999999999999996, 99.99, 1e300, -5, index % 140]
  const amount = index % 11 === 0 ? null : (values[index % values.length] ?? 0)
  return {
    decisionId: `d${index}`,
    service: 'fraud',
    eventId: `e${index}`,
    eventTimeMs: FROM_MS,
    asOfMs: FROM_MS,
    scoredAtMs: FROM_MS + index * 300,
    planHash: 'plan',
    model: index % 50 === 7 ? null : 'fraud',
    modelVersion: index % 50 === 7 ? null : index % 50 === 8 ? 'not known' : '1',
    policyVersion: '1',
    decision: 'approve',
    score: index % 13 === 0 ? null : (index % 10) / 10,
    degraded: null,
    matchedRules: [],
    request: {},
    features: {},
    statuses: {},
    inputs: { 'request.amount': amount, ...(index % 5 === 0 ? {} : { 'card_activity.payments_1h': index % 4 }) },
    positions: [],
    latencyUs: { decode: 1, read: 1, features: 1, model: 1, policy: 1, total: 5 },
  }
}

const SILENT = { count: () => {}, gauge: () => {}, observeMs: () => {}, log: () => {} }

function monitorOver(store: Pick<OfflineStore, 'insert' | 'query'>): DriftMonitor {
  return createDriftMonitor({
    offline: store,
    manifests,
    clock: { nowMs: () => nowMs, monotonicMs: () => nowMs },
    telemetry: SILENT,
    flushIntervalMs: 0,
    statisticsIntervalMs: 60_000,
    viewSlots: 60,
  })
}

/** Consumes until every partition is drained and idle, then stops. */
async function drain(monitor: DriftMonitor): Promise<void> {
  const idle = new Set<number>()
  let done = () => {}
  const drained = new Promise<void>(resolve => (done = resolve))
  const failures: Error[] = []
  const consumer = await log.consume({
    group: 'drift',
    topics: monitor.topics,
    maxBatchRecords: 97,
    maxBatchBytes: 1 << 20,
    handlers: {
      ...monitor.handlers,
      idle: async (topic, partition, endOffset, control) => {
        await monitor.handlers.idle(topic, partition, endOffset, control)
        idle.add(partition)
        if (idle.size === PARTITIONS) done()
      },
    },
    onError: error => failures.push(error),
  })
  await drained
  await consumer.stop()
  await monitor.flush()
  expect(failures).toEqual([])
}

const SCORES = 1200

describe('the drift monitor on real engines', () => {
  it('counts what ClickHouse counts from the scores, through restarts', async () => {
    const records = Array.from({ length: SCORES }, (_, index) => score(index))
    for (const part of [records.slice(0, 700), records.slice(700)]) {
      await log.append(
        part.map(record => ({
          topic: SCORES_TOPIC,
          key: record.decisionId,
          value: new TextEncoder().encode(JSON.stringify(record)),
          arrivalMs: record.scoredAtMs,
        })),
      )
      await drain(monitorOver(offline))
    }
    nowMs = FROM_MS + 5 * MINUTE_MS
    await log.append([
      { topic: SCORES_TOPIC, key: 'x', value: new TextEncoder().encode('no score'), arrivalMs: everything.toMs },
    ])
    await offline.insert(
      'scores',
      records.map(record => scoreRow(record)),
    )
    await drain(monitorOver(offline))

    const online = await readDriftCounts(offline, everything)
    const rows = await offline.query<CountsRow>(countsFromScoresSql(manifest('1'), everything))
    const bySql = rows.map(countsOf)
    const byFeature = (a: { feature: string }, b: { feature: string }) => (a.feature < b.feature ? -1 : 1)
    expect(online.toSorted(byFeature)).toEqual(bySql.toSorted(byFeature))
    expect(online).toHaveLength(3)
    const counted = records.filter(record => record.modelVersion === '1').length
    const statistics = await offline.query<{ n: string }>('SELECT uniqExact(feature) AS n FROM drift WHERE rows > 500')
    expect(statistics).toEqual([{ n: '3' }])
    await offline.command('TRUNCATE TABLE drift_statistics')
    nowMs = FROM_MS
    for (const each of online) expect(each.bins.reduce((a, b) => a + b, each.missing)).toBe(counted)
  }, 60_000)

  it('counts NaN and the infinities as ClickHouse does', async () => {
    const special = [NaN, Infinity, -Infinity, 5, null]
    const named = { ...manifest('special'), version: 'special' }
    const records = special.map((value, index): ScoreRecord => {
      const inputs = { 'request.amount': value, 'card_activity.payments_1h': special.at(index - 1) ?? null }
      const { score: plain } = score(index)
      const given = { modelVersion: named.version, score: special.at(index - 2) ?? plain, inputs }
      return { ...score(index), ...given, decisionId: `s${index}`, model: 'fraud' }
    })
    const encoded = records.map(encodeScoreRecord)
    expect(encoded.map(decodeScoredInputs)).toEqual(
      records.map(({ model, modelVersion, score: answer, inputs }) => ({ model, modelVersion, score: answer, inputs })),
    )
    const counts = openCounts(new Map())
    const known: Manifests = new Map([['fraud@special', named]])
    for (const bytes of encoded) {
      const scored = decodeScoredInputs(bytes)
      expect(scored !== null && countScore(counts, known, scored)).toBe(true)
    }
    const texts = encoded.map(bytes => JSON.parse(new TextDecoder().decode(bytes)) as ScoreRecord)
    await offline.insert(
      'scores',
      texts.map(record => scoreRow(record)),
    )
    const rows = await offline.query<CountsRow>(countsFromScoresSql(named, everything))
    const byFeature = (a: { feature: string }, b: { feature: string }) => (a.feature < b.feature ? -1 : 1)
    expect(listCounts(counts, known).toSorted(byFeature)).toEqual(rows.map(countsOf).toSorted(byFeature))
    expect(rows.map(countsOf).find(({ feature }) => feature === 'request.amount')).toMatchObject({
      bins: [1, 1, 0, 1],
      missing: 2,
    })
    const other = new TextEncoder().encode(JSON.stringify({ ...texts[0], inputs: { 'request.amount': 'infinity' } }))
    expect(decodeScoredInputs(other)).toBeNull()
  }, 60_000)

  it('reports it, and stores the statistics', async () => {
    const options = { offline, manifests, nowMs: FROM_MS + 5 * MINUTE_MS + 1, windowMinutes: 6 }
    const report = await readDriftReport(options)
    expect([report.fromMs, report.toMs]).toEqual([FROM_MS, FROM_MS + 6 * MINUTE_MS])
    expect(report.findings.map(finding => [finding.feature, finding.verdict])).toEqual([
      ['card_activity.payments_1h', 'alert'],
      ['score', 'alert'],
      ['request.amount', 'alert'],
    ])
    const text = renderDrift(report)
    expect(text).toContain('Model fraud 1: 3 features, 3 drifting')
    expect(text).toMatch(/^score +1152 +\d\.\d{4}/m)
    expect(JSON.parse(driftJson(report))).toEqual(JSON.parse(JSON.stringify(report)))
    await writeDriftStatistics(offline, report)
    await writeDriftStatistics(offline, { ...report, computedAtMs: report.computedAtMs + 1 })
    const stored = await offline.query<{ feature: string; psi: number; verdict: string; direction: string }>(
      'SELECT feature, psi, verdict, direction FROM drift ORDER BY feature',
    )
    const expected = report.findings.map(({ feature, psi, verdict }) => ({ feature, psi, verdict }))
    expect(stored).toEqual(
      expected
        .toSorted((a, b) => (a.feature < b.feature ? -1 : 1))
        .map(each => ({ ...each, direction: expect.stringMatching(/^(up|down|none)$/) as unknown })),
    )
    await expect(readDriftReport({ ...options, windowMinutes: 0.5 })).rejects.toThrow(/whole minutes, not 0.5/)
    const empty = await readDriftReport({ ...options, nowMs: everything.toMs + 60 * MINUTE_MS })
    expect(renderDrift(empty)).toContain('No scores of a known model version arrived')
  }, 60_000)
})

describe('the drift monitor while the offline store does not answer', () => {
  const commits: number[] = []
  const control: ConsumerControl = {
    commit: async (_topic, _partition, offset) => void commits.push(offset),
    seek: () => {},
    pause: () => {},
    resume: () => {},
  }
  const batch = (from: number, count: number): Batch => ({
    topic: SCORES_TOPIC,
    incarnation: 'i',
    partition: 0,
    records: Array.from({ length: count }, (_, i) => ({
      topic: SCORES_TOPIC,
      partition: 0,
      offset: from + i,
      key: null,
      value: new TextEncoder().encode(JSON.stringify(score(from + i))),
      headers: {},
      arrivalMs: FROM_MS + (from + i) * MINUTE_MS,
    })),
    fetchedOffset: from,
    nextOffset: from + count,
    endOffset: from + count,
  })

  it('keeps the rows and the offset, and shows the last minutes all the same', async () => {
    let down = true
    const written: unknown[] = []
    const monitor = monitorOver({
      insert: async (_table, rows) => {
        if (down) throw new Error('connection refused')
        written.push(...rows)
      },
      query: async () => [],
    })
    const bounds = { incarnation: 'i', startOffset: 0, endOffset: 10 }
    expect(await monitor.handlers.assigned(SCORES_TOPIC, 0, bounds)).toBeNull()
    await monitor.handlers.batch(batch(20, 4), control)
    expect(commits).toEqual([])
    nowMs = FROM_MS + 23 * MINUTE_MS
    expect(monitor.view().map(each => each.bins.reduce((a, b) => a + b, each.missing))).toEqual([4, 4, 4])
    down = false
    await monitor.handlers.idle(SCORES_TOPIC, 0, 24, control)
    expect(written).toHaveLength(4 * 3)
    expect(commits).toEqual([23])
    nowMs = FROM_MS + 82 * MINUTE_MS
    expect(monitor.view().map(each => each.bins.reduce((a, b) => a + b, each.missing))).toEqual([1, 1, 1])
    nowMs = FROM_MS
  })
})
