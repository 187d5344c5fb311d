import { mkdtemp, rm } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { afterAll, beforeAll, describe, expect, it } from 'vitest'
import { event, t } from '../../features/define/index.ts'
import type { FieldPlan, Plan, SourcePlan } from '../../features/plan/plan.ts'
import { compileProject } from '../../features/plan/compile.ts'
import { RESERVED_EVENTS } from '../../features/plan/compile-names.ts'
import { systemClock } from '../../services/clock.ts'
import { createTelemetry } from '../../services/telemetry.ts'
import { openEmbeddedEventLog } from '../../topology/adapters/event-log/embedded.ts'
import { startChdbServer } from '../../topology/adapters/offline-store/chdb/server.ts'
import type { ChdbServer } from '../../topology/adapters/offline-store/chdb/server.ts'
import { openClickHouseOfflineStore } from '../../topology/adapters/offline-store/clickhouse/clickhouse.ts'
import { PortError } from '../../topology/ports/errors.ts'
import type { Batch, EventLog, LogRecord } from '../../topology/ports/event-log.ts'
import type { OfflineStore } from '../../topology/ports/offline-store.ts'
import { labelMapper, sourceMapper } from '../../topology/processors/history.ts'
import type { RecordMapper } from '../../topology/processors/history.ts'
import { OFFLINE_TABLES } from '../../topology/processors/offline-schema.ts'
import { migrateOfflineStore } from '../../topology/runtime/migrate.ts'
import { OFFLINE_WRITER_LIMITS, createOfflineWriter } from '../../topology/runtime/offline-writer.ts'
import type { OfflineWriterLimits } from '../../topology/runtime/offline-writer.ts'
import { createCursor } from '../worker/simulated-ports.ts'

const visit = event('visit', {
  topic: 'visits',
  id: 'id',
  time: 'at',
  lateness: '1h',
  fields: { id: t.string(), at: t.timestamp(), page: t.string(), depth: t.int() },
})

function planOf(): Plan {
  const compiled = compileProject({
    definitions: [{ file: 'v.ts', exports: { visit } }],
    bundleHashes: { 'v.ts': '0' },
  })
  if (!compiled.ok) throw new Error(JSON.stringify(compiled.problems))
  return compiled.project.plan
}

function changed(plan: Plan, name: string, change: Partial<FieldPlan>): Plan {
  const sources = plan.sources.map((source): SourcePlan => {
    return { ...source, fields: source.fields.map(field => (field.name === name ? { ...field, ...change } : field)) }
  })
  return { ...plan, sources }
}

describe('the offline writer', () => {
  const plan = planOf()
  const source = plan.sources[0] as SourcePlan
  let folder: string
  let server: ChdbServer
  let offline: OfflineStore
  let log: EventLog

  beforeAll(async () => {
    folder = await mkdtemp(join(tmpdir(), 'headwater-writer-'))
    server = await startChdbServer({ directory: join(folder, 'offline') })
    offline = await openClickHouseOfflineStore({ url: server.url })
    log = await openEmbeddedEventLog({ path: join(folder, 'log.sqlite'), clock: systemClock })
    await log.ensureTopics(
      ['visits', 'visits.dead-letter', 'numbers', 'hw.labels'].map(name => ({ name, partitions: 2, retentionMs: 0 })),
    )
    await migrateOfflineStore(plan, offline, 0)
    await offline.command('CREATE TABLE numbers (n Int64) ENGINE = MergeTree ORDER BY n')
  })
  afterAll(async () => {
    await log.close()
    await offline.close()
    await server.close()
    await rm(folder, { recursive: true, force: true })
  })

  const numberMapper: RecordMapper = record => ({
    rows: [{ table: 'numbers', row: { n: JSON.parse(new TextDecoder().decode(record.value)) as unknown } }],
    deadLetter: null,
  })
  const mappers = new Map<string, RecordMapper>([
    ['visits', sourceMapper(source, 1 << 20)],
    ['numbers', numberMapper],
    ['hw.labels', labelMapper],
  ])
  const writer = (store: OfflineStore, limits: Partial<OfflineWriterLimits> = {}) =>
    createOfflineWriter({
      mappers,
      log,
      offline: store,
      clock: systemClock,
      telemetry: createTelemetry('error'),
      limits: { ...OFFLINE_WRITER_LIMITS, flushIntervalMs: 0, ...limits },
    })
  const batchOf = (topic: string, partition: number, values: readonly unknown[]): Batch => {
    const records = values.map((value, offset): LogRecord => {
      const bytes = new TextEncoder().encode(JSON.stringify(value))
      return { topic, partition, offset, key: 'k', value: bytes, headers: {}, arrivalMs: 1_700_000_000_000 + offset }
    })
    const { length } = records
    const incarnation = 'life'
    return { topic, incarnation, partition, records, fetchedOffset: 0, nextOffset: length, endOffset: length }
  }
  const letters = (topic: string) =>
    offline.query<{ offset: string; code: string }>(
      'SELECT toString(_offset) AS offset, code FROM dead_letters FINAL WHERE topic = {topic:String} ORDER BY _offset',
      { topic },
    )

  it('puts the rows that a table refuses aside and writes their neighbours', async () => {
    const cursor = createCursor()
    await writer(offline).batch(batchOf('numbers', 0, [1, 2, 'abc', 4, 'def', 6]), cursor.control)
    expect(await offline.query('SELECT n FROM numbers ORDER BY n')).toEqual(['1', '2', '4', '6'].map(n => ({ n })))
    expect(await letters('numbers')).toEqual(['2', '4'].map(offset => ({ offset, code: 'NOT_STORABLE' })))
    expect(cursor.committed).toBe(6)
  })

  it('keeps labels that make no sense as dead letters', async () => {
    const label = { eventId: 'e1', decisionId: null, label: 1, knownAtMs: 1_700_000_000_000 }
    const cursor = createCursor()
    await writer(offline).batch(
      batchOf('hw.labels', 0, [{ label: 'abc' }, label, { ...label, label: 2 }]),
      cursor.control,
    )
    expect(await letters('hw.labels')).toEqual(['0', '2'].map(offset => ({ offset, code: 'NOT_READABLE' })))
    expect(await offline.query('SELECT event_id FROM labels')).toEqual([{ event_id: 'e1' }])
  })

  it('reports a record once when its batch is tried again after another partition was flushed', async () => {
    let down = true
    const failing: OfflineStore = {
      ...offline,
      insert: async (table, rows, token) => {
        if (down) throw new PortError('STORE_UNAVAILABLE', 'down for the test')
        await offline.insert(table, rows, token)
      },
    }
    const handlers = writer(failing)
    const cursor = createCursor()
    const batch = batchOf('visits', 0, [{ id: 'v1' }])
    await expect(handlers.batch(batch, cursor.control)).rejects.toThrow('down for the test')
    down = false
    await handlers.idle('visits', 1, 0, cursor.control)
    await handlers.batch(batch, cursor.control)
    expect((await log.read('visits.dead-letter', 0, 0, 10)).records).toHaveLength(1)
  })

  it('tries a store that is away once for all partitions that wait for it', async () => {
    let tries = 0
    const away: OfflineStore = {
      ...offline,
      insert: async () => {
        tries += 1
        await new Promise(resolve => setImmediate(resolve))
        throw new PortError('STORE_UNAVAILABLE', 'away for the test')
      },
    }
    const handlers = writer(away, { flushIntervalMs: 60_000 })
    const cursor = createCursor()
    const partitions = Array.from({ length: 16 }, (_, partition) => partition)
    for (const partition of partitions) {
      await handlers.batch(batchOf('numbers', partition, [partition]), cursor.control)
    }
    const ended = await Promise.allSettled(partitions.map(partition => handlers.revoked('numbers', partition)))
    expect(ended.every(({ status }) => status === 'rejected')).toBe(true)
    expect(tries).toBe(1)
  })

  it('writes rows in time though the clock was set back', async () => {
    let nowMs = 1_700_000_000_000
    let elapsedMs = 0
    const handlers = createOfflineWriter({
      mappers,
      log,
      offline,
      clock: { nowMs: () => nowMs, monotonicMs: () => elapsedMs },
      telemetry: createTelemetry('error'),
      limits: { ...OFFLINE_WRITER_LIMITS, flushIntervalMs: 1_000 },
    })
    const cursor = createCursor()
    await handlers.batch(batchOf('numbers', 0, [1, 2, 3]), cursor.control)
    nowMs -= 3_600_000
    elapsedMs = 999
    await handlers.idle('numbers', 0, 3, cursor.control)
    expect(cursor.committed).toBe(0)
    elapsedMs = 1_000
    await handlers.idle('numbers', 0, 3, cursor.control)
    expect(cursor.committed).toBe(3)
  })

  it('writes a large buffer in several inserts, and tries each again with its own rows and token', async () => {
    const tried: { rows: number; token: string | undefined }[] = []
    let down = true
    const failing: OfflineStore = {
      ...offline,
      insert: async (table, rows, token) => {
        tried.push({ rows: rows.length, token })
        if (down && tried.length === 2) throw new PortError('STORE_UNAVAILABLE', 'down for the test')
        await offline.insert(table, rows, token)
      },
    }
    const handlers = writer(failing, { maxInsertRows: 40 })
    const cursor = createCursor()
    const event = (i: number) => ({ id: `many${i}`, at: 1_700_000_000_000, page: 'p', depth: i })
    const values = Array.from({ length: 100 }, (_, i) => event(i))
    await expect(handlers.batch(batchOf('visits', 1, values), cursor.control)).rejects.toThrow('down for the test')
    down = false
    // A batch that comes in between goes into inserts of its own.
    await handlers.batch(batchOf('visits', 0, [event(1_000)]), cursor.control)
    expect(tried.map(each => each.rows)).toEqual([40, 40, 40, 20, 1])
    const tokens = tried.map(each => each.token)
    expect(tokens[2]).toBe(tokens[1])
    expect(new Set(tokens).size).toBe(4)
    expect(tokens.every(token => /^events_visit:[0-9a-f]{64}$/.test(token ?? ''))).toBe(true)
    expect(await offline.query("SELECT count() AS n FROM events_visit WHERE startsWith(id, 'many')")).toEqual([
      { n: '101' },
    ])

    const bytes = writer(failing, { maxInsertBytes: 200 })
    tried.length = 0
    await bytes.batch(batchOf('visits', 1, values), cursor.control)
    expect(tried.reduce((sum, each) => sum + each.rows, 0)).toBe(100)
    expect(Math.max(...tried.map(each => each.rows))).toBeLessThanOrEqual(4)
    // Another life of the writer: the same records have other tokens, and collapse all the same.
    expect(await offline.query("SELECT count() AS n FROM visit WHERE startsWith(id, 'many')")).toEqual([{ n: '101' }])
  })

  it('counts and names what the log lost before it was copied, and a log that lost its end', async () => {
    const telemetry = createTelemetry('error')
    const said: string[] = []
    const shortLog: EventLog = { ...log, committed: () => Promise.resolve(10) }
    const handlers = createOfflineWriter({
      ...{ mappers, log: shortLog, offline, clock: systemClock, group: 'lost' },
      telemetry: { ...telemetry, log: (_level, message) => void said.push(message) },
      limits: { ...OFFLINE_WRITER_LIMITS, flushIntervalMs: 0 },
    })
    const cursor = createCursor()
    const bounds = { incarnation: 'life', startOffset: 12, endOffset: 20 }
    expect(await handlers.assigned('hw.labels', 1, bounds)).toBeNull()
    const late = { ...batchOf('hw.labels', 1, []), fetchedOffset: 12, nextOffset: 13 }
    await handlers.batch(late, cursor.control)
    await handlers.batch({ ...late, fetchedOffset: 13, nextOffset: 15 }, cursor.control)
    await handlers.batch({ ...late, fetchedOffset: 18, nextOffset: 20 }, cursor.control)
    await handlers.assigned('visits', 0, { incarnation: 'life', startOffset: 0, endOffset: 4 })
    expect(said).toEqual([
      expect.stringMatching(
        /^offline-writer: records 10 to 11 of hw\.labels partition 1 were removed from the log before/,
      ),
      expect.stringMatching(/^offline-writer: records 15 to 17 of hw\.labels partition 1/),
      expect.stringMatching(
        /^offline-writer: visits partition 0 ends at 4, but records up to 9 were copied before.*make it again/,
      ),
    ])
    expect(telemetry.counters().get('offline_writer_missing_records{topic=hw.labels}')).toBe(5)
    expect(telemetry.counters().get('offline_writer_truncated_partitions{topic=visits}')).toBe(1)
  })

  it('widens a field that became optional and refuses one of another type, before anything is written', async () => {
    await migrateOfflineStore(changed(plan, 'page', { optional: true }), offline, 0)
    const types = await offline.query<{ type: string }>(
      "SELECT type FROM system.columns WHERE database = currentDatabase() AND table = 'events_visit' AND name = 'page'",
    )
    expect(types).toEqual([{ type: 'Nullable(String)' }])
    const other = changed(changed(plan, 'page', { optional: true }), 'depth', { type: { kind: 'string' } })
    await expect(migrateOfflineStore(other, offline, 0)).rejects.toThrow(
      /"depth" of event "visit" is String now.*Int64/,
    )
  })

  it('knows every table of the offline store as a name that no event may have', () => {
    for (const name of Object.values(OFFLINE_TABLES)) expect(RESERVED_EVENTS.has(name), name).toBe(true)
  })
})
