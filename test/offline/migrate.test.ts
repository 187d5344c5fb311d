import { mkdtemp, readFile, rm } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { afterAll, beforeAll, describe, expect, it } from 'vitest'
import { event, t } from '../../features/define/index.ts'
import { compileProject } from '../../features/plan/compile.ts'
import type { FieldPlan, Plan, SourcePlan } from '../../features/plan/plan.ts'
import { startChdbServer } from '../../topology/adapters/offline-store/chdb/server.ts'
import type { ChdbServer } from '../../topology/adapters/offline-store/chdb/server.ts'
import {
  connectClickHouse,
  openClickHouseOfflineStore,
} from '../../topology/adapters/offline-store/clickhouse/clickhouse.ts'
import type { OfflineStore } from '../../topology/ports/offline-store.ts'
import { allTablesDdl } from '../../topology/processors/offline-schema.ts'
import { migrateOfflineStore, pendingChanges, requireMigrated } from '../../topology/runtime/migrate.ts'

const visit = event('visit', {
  topic: 'visits',
  id: 'id',
  time: 'at',
  lateness: '1h',
  description: "A page's visit",
  fields: {
    id: t.string({ description: 'Its id' }),
    at: t.timestamp(),
    page: t.string(),
    depth: t.int(),
    ratio: t.optional(t.double()),
    seen: t.optional(t.timestamp({ description: 'When it was seen' })),
    price: t.decimal(2),
    place: t.optional(t.vector(2)),
  },
})

function compiled(): Plan {
  const project = compileProject({
    definitions: [{ file: 'v.ts', exports: { visit } }],
    bundleHashes: { 'v.ts': '0' },
  })
  if (!project.ok) throw new Error(JSON.stringify(project.problems))
  return project.project.plan
}

const plan = compiled()

function withSource(change: (source: SourcePlan) => Partial<SourcePlan>): Plan {
  return { ...plan, sources: plan.sources.map(source => ({ ...source, ...change(source) })) }
}

function withField(name: string, change: Partial<FieldPlan>): Plan {
  return withSource(source => ({
    fields: source.fields.map(field => (field.name === name ? { ...field, ...change } : field)),
  }))
}

const newField: FieldPlan = { name: 'channel', type: { kind: 'string' }, optional: true, description: 'How it came' }

describe('migrations of the offline store', () => {
  let folder: string
  let server: ChdbServer
  const stores: OfflineStore[] = []
  let next = 0

  async function store(database = `m${(next += 1)}`): Promise<OfflineStore> {
    const made = await openClickHouseOfflineStore({ url: server.url, database })
    stores.push(made)
    return made
  }
  const row = (offset: number, extra: Readonly<Record<string, unknown>> = {}) => ({
    ...{
      id: `v${offset}`,
      at: 1_700_000_000_000,
      page: 'p',
      depth: 1,
      ratio: 0.5,
      seen: null,
      price: '1.25',
      place: [],
    },
    ...{ _event_ms: 1_700_000_000_000, _arrival_ms: Date.now(), _partition: 0, _offset: offset, _incarnation: 'life' },
    ...extra,
  })
  const columns = async (from: OfflineStore, name: string) =>
    await from.query<{ table: string; type: string; comment: string }>(
      'SELECT table, type, comment FROM system.columns WHERE database = currentDatabase() AND name = {name:String} ORDER BY table',
      { name },
    )
  const ttl = async (from: OfflineStore, table: string): Promise<string> => {
    const [found] = await from.query<{ engine_full: string }>(
      'SELECT engine_full FROM system.tables WHERE database = currentDatabase() AND name = {table:String}',
      { table },
    )
    return / TTL (.*?) SETTINGS /.exec(found?.engine_full ?? '')?.[1] ?? ''
  }

  beforeAll(async () => {
    folder = await mkdtemp(join(tmpdir(), 'headwater-migrate-'))
    server = await startChdbServer({ directory: join(folder, 'offline') })
  }, 30_000)
  afterAll(async () => {
    for (const each of stores) await each.close()
    await server.close()
    await rm(folder, { recursive: true, force: true })
  }, 30_000)

  it('make everything once, say what they did, and find nothing to do the second time', async () => {
    const db = await store()
    const done = await migrateOfflineStore(plan, db, 0)
    expect(done.map(each => `${each.object} ${each.version}: ${each.name}`)).toEqual([
      ...['events_visit', 'scores', 'labels', 'dead_letters', 'drift_counts', 'drift_statistics'].map(
        table => `${table} 1: make the table`,
      ),
      ...['visit', 'decisions', 'labels_known', 'drift_minutes', 'drift'].map(view => `${view} 1: make the view`),
    ])
    expect(await migrateOfflineStore(plan, db, 0)).toEqual([])
    expect(await pendingChanges(plan, db, 0)).toEqual({ migrations: [], problems: [] })
    expect(await requireMigrated(plan, db, 0)).toEqual([])
    const recorded = await db.query<{ object: string }>(
      "SELECT object, version, name, length(checksum) AS n, length(statements) AS s, applied_at > now() - 60 AS lately FROM schema_migrations WHERE object = 'visit'",
    )
    expect(recorded).toEqual([{ object: 'visit', version: 1, name: 'make the view', n: '64', s: '1', lately: 1 }])
  })

  it('make the same tables as the plain statements', async () => {
    const migrated = await store()
    const plain = await store()
    await migrateOfflineStore(plan, migrated, 0)
    for (const sql of allTablesDdl(plan)) await plain.command(sql)
    const shape = (db: OfflineStore) =>
      db.query(
        "SELECT table, name, type, default_kind, default_expression, comment FROM system.columns WHERE database = currentDatabase() AND table != 'schema_migrations' ORDER BY table, position",
      )
    expect(await shape(migrated)).toEqual(await shape(plain))
    expect((await pendingChanges(plan, plain, 0)).migrations.map(each => each.name)).toEqual(
      Array.from({ length: 5 }, () => 'make the view anew'),
    )
  })

  it('take over a database as the first version made it, with its rows', async () => {
    const db = await store()
    const file = new URL('../fixtures/offline-schema-first.json', import.meta.url)
    for (const sql of JSON.parse(await readFile(file, 'utf8')) as string[]) await db.command(sql)
    await db.insert('events_visit', [row(1), row(2)])
    const wider = withSource(source => ({
      fields: [...source.fields, newField].map(field =>
        field.name === 'at' ? { ...field, optional: false, description: 'The instant' } : field,
      ),
    }))
    const done = await migrateOfflineStore(wider, db, 0)
    expect(done.filter(each => each.object === 'events_visit').map(each => each.name)).toEqual([
      'add channel; describe at',
    ])
    expect(done.map(each => each.object)).toEqual([
      'events_visit',
      'visit',
      'decisions',
      'labels_known',
      'drift_minutes',
      'drift',
    ])
    await db.insert('events_visit', [row(3, { channel: 'web' })])
    expect(await db.query('SELECT id, channel, price FROM visit ORDER BY _offset')).toEqual([
      { id: 'v1', channel: null, price: 1.25 },
      { id: 'v2', channel: null, price: 1.25 },
      { id: 'v3', channel: 'web', price: 1.25 },
    ])
    expect(await migrateOfflineStore(wider, db, 0)).toEqual([])
  })

  it('may be run by several processes at once', async () => {
    const database = `m${(next += 1)}`
    const together = await Promise.all(Array.from({ length: 4 }, () => store(database)))
    const wider = withSource(source => ({ fields: [...source.fields, newField], description: 'Another text' }))
    for (const each of [plan, wider]) {
      const done = await Promise.all(together.map(db => migrateOfflineStore(each, db, each === plan ? 0 : 30)))
      expect(done.flat().length).toBeGreaterThan(0)
    }
    const [db] = together as [OfflineStore]
    expect(await migrateOfflineStore(wider, db, 30)).toEqual([])
    expect((await columns(db, 'channel')).map(each => each.table)).toEqual(['events_visit', 'visit'])
    const twice = await db.query(
      'SELECT object, version, count() AS n FROM schema_migrations FINAL GROUP BY object, version HAVING n > 1',
    )
    expect(twice).toEqual([])
  })

  it('describe tables, columns and views anew when the author does', async () => {
    const db = await store()
    await migrateOfflineStore(plan, db, 0)
    const told = withSource(source => ({
      description: "It's a visit",
      fields: source.fields.map(field =>
        field.name === 'page' ? { ...field, description: "The page's \\ path" } : field,
      ),
    }))
    const { migrations } = await pendingChanges(told, db, 0)
    expect(migrations.map(each => [each.object, each.name, each.needed])).toEqual([
      ['events_visit', 'describe page; describe the table', false],
      ['visit', 'make the view anew', false],
    ])
    expect(await requireMigrated(told, db, 0)).toEqual([
      'events_visit: describe page; describe the table',
      'visit: make the view anew',
    ])
    await migrateOfflineStore(told, db, 0)
    expect(await columns(db, 'page')).toEqual(
      ['events_visit', 'visit'].map(table => ({ table, type: 'String', comment: "The page's \\ path" })),
    )
    const [about] = await db.query<{ comment: string }>(
      "SELECT comment FROM system.tables WHERE database = currentDatabase() AND name = 'events_visit'",
    )
    expect(about?.comment).toMatch(/It's a visit$/)
    expect(await migrateOfflineStore(told, db, 0)).toEqual([])
  })

  it('set, change and remove how long rows are kept, by arrival', async () => {
    const db = await store()
    await migrateOfflineStore(plan, db, 0)
    const day = 86_400_000
    const old = row(1, { _arrival_ms: Date.now() - 40 * day })
    await db.insert('events_visit', [old, row(2)])
    const tables = ['events_visit', 'scores', 'labels', 'dead_letters', 'drift_counts', 'drift_statistics']
    const kept = async () => await db.query('SELECT _offset AS o FROM events_visit ORDER BY o')
    for (const [days, name] of [
      [90, 'delete rows 90 days after they arrived'],
      [30, 'delete rows 30 days after they arrived'],
      [0, 'keep rows for ever'],
    ] as const) {
      const done = await migrateOfflineStore(plan, db, days)
      expect(done.map(each => [each.object, each.name, each.needed])).toEqual(tables.map(table => [table, name, false]))
      for (const table of tables) {
        expect(await ttl(db, table)).toMatch(
          days === 0 ? /^$/ : new RegExp(`_ms, 1000\\), 'UTC'\\) \\+ toIntervalDay\\(${days}\\)$`),
        )
      }
      expect(await migrateOfflineStore(plan, db, days)).toEqual([])
      if (days > 0) await db.command('OPTIMIZE TABLE events_visit FINAL')
      expect(await kept()).toEqual(days === 90 ? [{ o: '1' }, { o: '2' }] : [{ o: '2' }])
    }
    await db.command('ALTER TABLE events_visit MODIFY TTL toDateTime(intDiv(at, 1000)) + INTERVAL 2 YEAR')
    expect(await migrateOfflineStore(plan, db, 0)).toEqual([])
    await expect(migrateOfflineStore(plan, db, 7)).rejects.toThrow(/events_visit has a TTL of its own.*REMOVE TTL/s)
    const made = await store()
    await migrateOfflineStore(plan, made, 365)
    expect(await ttl(made, 'labels')).toMatch(/toIntervalDay\(365\)$/)
  })

  it('let a field become optional, its readable time included', async () => {
    const db = await store()
    await migrateOfflineStore(plan, db, 0)
    const done = await migrateOfflineStore(withField('depth', { optional: true }), db, 0)
    expect(done.map(each => [each.object, each.version, each.name, each.needed])).toEqual([
      ['events_visit', 2, 'let depth be null', true],
      ['visit', 2, 'make the view anew', false],
    ])
    await db.insert('events_visit', [row(1, { depth: null })])
    expect(await db.query('SELECT depth FROM visit')).toEqual([{ depth: null }])
  })

  it('refuse what would lose something, with all reasons at once and before anything is changed', async () => {
    const db = await store()
    await migrateOfflineStore(plan, db, 0)
    const refused = async (other: Plan): Promise<string> => {
      const before = await pendingChanges(plan, db, 0)
      const error: unknown = await migrateOfflineStore(other, db, 0).catch((reason: unknown) => reason)
      expect(error).toMatchObject({ code: 'SCHEMA_MISMATCH' })
      expect(await pendingChanges(plan, db, 0)).toEqual(before)
      return (error as Error).message
    }
    const types = withSource(source => ({
      description: 'changed too',
      fields: source.fields.map((field): FieldPlan => {
        if (field.name === 'depth') return { ...field, type: { kind: 'string' } }
        return field.name === 'price' ? { ...field, type: { kind: 'decimal', scale: 4 } } : field
      }),
    }))
    const both = await refused(types)
    expect(both).toMatch(
      /field "depth" of event "visit" is String now, the table events_visit keeps it as Int64; give the/,
    )
    expect(both).toMatch(/field "price" of event "visit" is Decimal\(18, 4\) now.*Decimal\(18, 2\)/)
    expect(await refused(withField('ratio', { optional: false }))).toMatch(
      /"ratio".*is Float64 now.*Nullable\(Float64\)/,
    )
    const gone = withSource(source => ({ fields: source.fields.filter(field => field.name !== 'page') }))
    expect(await refused(gone)).toMatch(
      /column "page" of type String that event "visit" no longer has.*DROP COLUMN `page`/,
    )
    expect(await refused(withSource(() => ({ keyField: 'page' })))).toMatch(
      /events_visit is ordered by \(id, .*must be by \(page, .*give the event a new name/,
    )
    const computed = withSource(source => ({ fields: [...source.fields, { ...newField, name: 'at_utc' }] }))
    expect(await refused(computed)).toMatch(/"at_utc" of event "visit" is stored now.*a ALIAS column/)
    const optionalGone = withSource(source => ({ fields: source.fields.filter(field => field.name !== 'ratio') }))
    expect((await migrateOfflineStore(optionalGone, db, 0)).map(each => each.object)).toEqual(['visit'])
    await db.insert('events_visit', [row(1, { ratio: undefined })])
  })

  it('are asked for by a process that may only write rows', async () => {
    const db = await store()
    await expect(requireMigrated(plan, db, 0)).rejects.toThrow(/events_visit: make the table.*run "headwater migrate"/s)
    await migrateOfflineStore(plan, db, 0)
    const wider = withSource(source => ({ fields: [...source.fields, newField] }))
    await expect(requireMigrated(wider, db, 0)).rejects.toThrow(/events_visit: add channel/)
    await migrateOfflineStore(wider, db, 0)
    expect(await requireMigrated(wider, db, 0)).toEqual([])
    // The version before goes on writing while both run.
    expect(await requireMigrated(plan, db, 0)).toEqual(['visit: make the view anew'])
    const nowhere = connectClickHouse({ url: server.url, database: 'nowhere' })
    stores.push(nowhere)
    await expect(requireMigrated(plan, nowhere, 0)).rejects.toThrow(
      /database .* is not there yet: run "headwater migrate"/,
    )
  })
})
