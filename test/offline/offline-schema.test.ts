import { mkdtemp, rm } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { afterAll, beforeAll, describe, expect, it } from 'vitest'
import type { Cell } from '../../features/kernel/types.ts'
import type { Plan, SourcePlan } from '../../features/plan/plan.ts'
import type { ChdbServer } from '../../topology/adapters/offline-store/chdb/server.ts'
import { startChdbServer } from '../../topology/adapters/offline-store/chdb/server.ts'
import { openClickHouseOfflineStore } from '../../topology/adapters/offline-store/clickhouse/clickhouse.ts'
import type { OfflineStore } from '../../topology/ports/offline-store.ts'
import type { ScoreRecord } from '../../topology/ports/score-record.ts'
import {
  allTablesDdl,
  deadLetterRow,
  labelRow,
  OFFLINE_TABLES,
  rawRow,
  rawTable,
  rawTableName,
  scoreRow,
} from '../../topology/processors/offline-schema.ts'
import { migrateOfflineStore } from '../../topology/runtime/migrate.ts'

const field = (name: string, type: SourcePlan['fields'][number]['type'], optional = false, description = '') => ({
  name,
  type,
  optional,
  description,
})

const payment: SourcePlan = {
  name: 'payment',
  topic: 'payments',
  partitions: 4,
  idField: 'paymentId',
  timeField: 'occurredAt',
  keyField: 'cardId',
  latenessMs: 0,
  readBackMs: 0,
  clockSkewMs: 0,
  unknownFields: 'refuse',
  format: 'json',
  description: "Card payments; the author's words",
  fields: [
    field('paymentId', { kind: 'string' }, false, "The payment's id \\ as sent"),
    field('occurredAt', { kind: 'timestamp' }),
    field('cardId', { kind: 'string' }),
    field('amount', { kind: 'decimal', scale: 2 }, true, 'In euros'),
    field('count', { kind: 'int' }, true),
    field('big', { kind: 'int64' }, true),
    field('ratio', { kind: 'double' }, true),
    field('declined', { kind: 'boolean' }, true),
    field('at', { kind: 'timestamp' }, true),
    field('embedding', { kind: 'vector', length: 2 }, true),
  ],
}

const plan: Plan = { format: 1, hash: 'h', sources: [payment], unions: [], entities: [], groups: [], services: [] }

const MARCH = Date.UTC(2024, 2, 31, 23, 59, 59, 999)

function row(offset: number, id: string, time: number, card: string, cells: readonly Cell[] = [], partition = 0) {
  const rest = Array.from({ length: 7 }, (_, i) => cells[i] ?? null)
  return rawRow(
    payment,
    { incarnation: 'life', partition, offset, arrivalMs: time + 5 },
    { id, time, cells: [id, time, card, ...rest] },
  )
}

const score: ScoreRecord = {
  decisionId: 'd1',
  service: 'fraud',
  eventId: 'e1',
  eventTimeMs: MARCH,
  asOfMs: MARCH,
  scoredAtMs: MARCH + 10,
  planHash: 'plan',
  model: 'fraud',
  modelVersion: '1',
  policyVersion: null,
  decision: 'allow',
  score: 0.25,
  degraded: null,
  matchedRules: ['r1', "r'2"],
  request: { paymentId: 'e1', big: 9007199254740993n, embedding: [1, 2] },
  features: { 'card.spend_24h': 12.5, 'card.last': 'PL', 'card.seen': true, 'card.mean': null, 'card.odd': Number.NaN },
  statuses: { 'card.spend_24h': 'fresh', 'card.mean': 'default' },
  inputs: { 'card.spend_24h': 12.5, 'card.mean': null },
  positions: [{ unit: 1, incarnation: 'life', partition: 3, offset: -1 }],
  latencyUs: { decode: 1.5, read: 2, features: 3, model: 4, policy: 5, total: 15.5 },
}

describe('the offline tables on the engine', () => {
  let folder: string
  let server: ChdbServer
  let store: OfflineStore
  beforeAll(async () => {
    folder = await mkdtemp(join(tmpdir(), 'headwater-test-'))
    server = await startChdbServer({ directory: join(folder, 'offline') })
    store = await openClickHouseOfflineStore({ url: server.url })
    for (let twice = 0; twice < 2; twice += 1) for (const sql of allTablesDdl(plan)) await store.command(sql)
  }, 30_000)
  afterAll(async () => {
    await store.close()
    await server.close()
    await rm(folder, { recursive: true, force: true })
  }, 30_000)

  it('holds every type of a field exactly', async () => {
    const full: readonly Cell[] = [-1, -5, 9223372036854775807n, Number.NaN, true, MARCH, [0.1, -2]]
    await store.insert(rawTableName(payment), [
      row(0, 'full', MARCH, 'żółć', full),
      row(1, 'large', MARCH, 'c', [9007199254740991]),
      row(2, 'none', MARCH, 'c'),
    ])
    const rows = await store.query(
      'SELECT *, toString(amount) AS exact, _event_id, _event_time, at_utc FROM payment ORDER BY _offset',
    )
    expect(rows).toMatchObject([
      {
        paymentId: 'full',
        cardId: 'żółć',
        exact: '-0.01',
        count: '-5',
        big: '9223372036854775807',
        ratio: 'nan',
        declined: true,
        at: String(MARCH),
        at_utc: '2024-03-31 23:59:59.999',
        embedding: [0.1, -2],
        _event_id: 'full',
        _event_ms: String(MARCH),
        _event_time: '2024-03-31 23:59:59.999',
        _arrival_ms: String(MARCH + 5),
        _partition: 0,
        _offset: '0',
        _incarnation: 'life',
      },
      { exact: '90071992547409.91' },
      { amount: null, count: null, big: null, ratio: null, declined: null, at: null, at_utc: null, embedding: [] },
    ])
    await store.command('TRUNCATE TABLE events_payment')
  })

  it('shows redelivered records and duplicates once, the first in the log winning', async () => {
    const rows = [
      row(0, 'a', MARCH, 'c1', [100]),
      row(1, 'b', MARCH, 'c1', [200]),
      row(2, 'a', MARCH, 'c1', [100]),
      row(3, 'b', MARCH, 'c2', [999]),
      row(4, 'a', MARCH + 1, 'c1', [300]),
      row(0, 'a', MARCH, 'c1', [400], 1),
      row(5, 'late', MARCH - 86_400_000, 'c1', [500]),
    ]
    await store.insert('events_payment', rows.slice(0, 4))
    await store.insert('events_payment', rows.toReversed())
    await store.insert('events_payment', rows, 'token')
    await store.insert('events_payment', rows, 'token')
    const expected = [
      ['0:0', '1'],
      ['0:1', '2'],
      ['0:4', '3'],
      ['0:5', '5'],
      ['1:0', '4'],
    ]
    const seen = async (): Promise<unknown> =>
      (
        await store.query<{ at: string; amount: number }>(
          "SELECT concat(toString(_partition), ':', toString(_offset)) AS at, amount FROM payment ORDER BY _partition, _offset",
        )
      ).map(each => [each.at, String(each.amount)])
    expect(await seen()).toEqual(expected)
    expect(await store.query("SELECT count() AS n FROM payment WHERE cardId = 'c2'")).toEqual([{ n: '0' }])
    await store.command('OPTIMIZE TABLE events_payment FINAL')
    expect(await store.query('SELECT count() AS n FROM events_payment')).toEqual([{ n: '7' }])
    expect(await seen()).toEqual(expected)
    const plain = await fetch(server.url, { method: 'POST', body: 'SELECT count() FROM headwater.payment' })
    expect(await plain.text()).toBe('5\n')
    const parts = await store.query(
      "SELECT DISTINCT partition FROM system.parts WHERE active AND database = 'headwater' AND table = 'events_payment' ORDER BY partition",
    )
    expect(parts).toEqual([{ partition: '202403' }, { partition: '202404' }])
  })

  it('takes an import that spans hundreds of months', async () => {
    const months = Array.from({ length: 300 }, (_, i) => row(1_000 + i, `m${i}`, Date.UTC(1990, i, 1), 'old'))
    await store.insert('events_payment', months)
    expect(await store.query("SELECT count() AS n FROM payment WHERE cardId = 'old'")).toEqual([{ n: '300' }])
  })

  it("carries the author's words on tables, columns and views", async () => {
    const comments = await store.query(
      "SELECT table, name, comment FROM system.columns WHERE database = 'headwater' AND name IN ('paymentId', 'amount') ORDER BY table, name",
    )
    expect(comments).toEqual(
      ['events_payment', 'payment'].flatMap(table => [
        { table, name: 'amount', comment: 'In euros' },
        { table, name: 'paymentId', comment: "The payment's id \\ as sent" },
      ]),
    )
    const undocumented = await store.query(
      `SELECT table, name FROM system.columns WHERE database = 'headwater' AND comment = '' AND table IN {tables:Array(String)}`,
      { tables: ['scores', 'labels', 'dead_letters', 'drift_counts', 'drift_statistics'] },
    )
    expect(undocumented).toEqual([])
    const tables = await store.query("SELECT name FROM system.tables WHERE database = 'headwater' AND comment = ''")
    expect(tables).toEqual([])
  })

  it('adds the columns of fields that come later', async () => {
    const more = { ...payment, fields: [...payment.fields, field('channel', { kind: 'string' }, true, 'New')] }
    await migrateOfflineStore({ ...plan, sources: [more] }, store, 0)
    const cells: Cell[] = ['new', MARCH, 'c9', null, null, null, null, null, null, null, 'web']
    await store.insert('events_payment', [
      rawRow(more, { incarnation: 'life', partition: 2, offset: 0, arrivalMs: 1 }, { id: 'new', time: MARCH, cells }),
    ])
    expect(
      await store.query("SELECT channel FROM payment WHERE cardId IN ('c9', 'c1') ORDER BY channel NULLS LAST LIMIT 2"),
    ).toEqual([{ channel: 'web' }, { channel: null }])
  })

  it('keeps the first answer of a decision, with all that belongs to it', async () => {
    await store.insert(OFFLINE_TABLES.scores, [scoreRow(score)])
    await store.insert(OFFLINE_TABLES.scores, [scoreRow({ ...score, scoredAtMs: MARCH + 20, decision: 'block' })])
    await store.insert(OFFLINE_TABLES.scores, [scoreRow(score)])
    const rows = await store.query<Record<string, string>>(`SELECT * FROM ${OFFLINE_TABLES.decisions}`)
    expect(rows).toMatchObject([
      {
        decision_id: 'd1',
        decision: 'allow',
        score: 0.25,
        policy_version: '',
        matched_rules: ['r1', "r'2"],
        features: { 'card.spend_24h': 12.5, 'card.seen': 1, 'card.mean': null, 'card.odd': 'nan' },
        statuses: { 'card.spend_24h': 'fresh', 'card.mean': 'default' },
        inputs: { 'card.spend_24h': 12.5, 'card.mean': null },
        positions: [{ unit: 1, incarnation: 'life', partition: 3, offset: '-1' }],
        latency_total_us: 15.5,
        scored_at: '2024-04-01 00:00:00.009',
      },
    ])
    expect(JSON.parse(rows[0]?.['features_json'] ?? '')).toEqual({ ...score.features, 'card.odd': 'NaN' })
    expect(JSON.parse(rows[0]?.['request_json'] ?? '')).toEqual({ ...score.request, big: '9007199254740993' })
  })

  it('keeps labels with their corrections, dead letters by the byte, and the last count of a minute', async () => {
    const at = { incarnation: 'life', partition: 0, offset: 0, arrivalMs: MARCH }
    await store.insert(OFFLINE_TABLES.labels, [
      labelRow({ eventId: 'e1', decisionId: 'd1', label: 0, knownAtMs: 5 }, at),
      labelRow({ eventId: 'e1', decisionId: 'd1', label: 1, knownAtMs: 9 }, { ...at, offset: 1 }),
      labelRow({ eventId: 'e2', decisionId: null, label: 1, knownAtMs: 9 }, { ...at, offset: 2 }),
    ])
    expect(await store.query(`SELECT event_id, label FROM ${OFFLINE_TABLES.labelled} ORDER BY event_id`)).toEqual([
      { event_id: 'e1', label: 1 },
      { event_id: 'e2', label: 1 },
    ])
    const payload = Uint8Array.from({ length: 256 }, (_, i) => i)
    const letter = deadLetterRow({ ...at, topic: 'payments', key: null, code: 'BAD_JSON', reason: "it's bad", payload })
    await store.insert(OFFLINE_TABLES.deadLetters, [letter, letter])
    expect(
      await store.query(
        'SELECT topic, reason, length(payload) AS n, hex(payload) = upper(payload_hex) AS same FROM dead_letters FINAL',
      ),
    ).toEqual([{ topic: 'payments', reason: "it's bad", n: '256', same: 1 }])
    const count = { model: 'm', model_version: '1', feature: 'f', minute_ms: MARCH - (MARCH % 60_000), missing: 1 }
    await store.insert(OFFLINE_TABLES.driftCounts, [{ ...count, partition: 0, bins: [1, 2], last_offset: 5 }])
    await store.insert(OFFLINE_TABLES.driftCounts, [
      { ...count, partition: 0, bins: [9, 9], last_offset: 3 },
      { ...count, partition: 1, bins: [10, 20], last_offset: 0 },
    ])
    expect(await store.query(`SELECT bins, missing, total FROM ${OFFLINE_TABLES.driftMinutes}`)).toEqual([
      { bins: ['11', '22'], missing: '2', total: '35' },
    ])
    const drift = {
      model: 'm',
      model_version: '1',
      feature: 'f',
      from_ms: 0,
      to_ms: 60_000,
      rows: 5,
      verdict: 'stable',
    }
    for (const [computed_ms, psi] of [
      [1, 0.1],
      [3, 0.3],
      [2, 0.2],
    ]) {
      await store.insert(OFFLINE_TABLES.driftStatistics, [{ ...drift, computed_ms, psi }])
    }
    expect(await store.query(`SELECT psi, js FROM ${OFFLINE_TABLES.drift}`)).toEqual([{ psi: 0.3, js: null }])
  })
})

describe('names', () => {
  it('refuses a source or a field whose name the store needs', () => {
    expect(() => rawTable({ ...payment, name: 'scores' })).toThrow(/'scores' is taken/)
    const fields = [...payment.fields, field('_offset', { kind: 'int' })]
    expect(() => rawTable({ ...payment, fields })).toThrow(/'_offset'.*begins with '_'/)
  })
})
