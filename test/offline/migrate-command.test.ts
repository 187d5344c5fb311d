import { readFile } from 'node:fs/promises'
import { join } from 'node:path'
import { afterAll, describe, expect, it } from 'vitest'
import { startChdbServer } from '../../topology/adapters/offline-store/chdb/server.ts'
import { openClickHouseOfflineStore } from '../../topology/adapters/offline-store/clickhouse/clickhouse.ts'
import { ROOT, headwater, temporaryFolder } from '../system/headwater.ts'

const NOTHING = 'nothing to do: the offline store fits the plan\n'

describe('headwater migrate', () => {
  const folder = temporaryFolder()
  const definitions = join(ROOT, 'test', 'system', 'definitions', 'payments.ts')
  afterAll(() => folder.remove())

  it('prints what it would do, does it, and has nothing to do after that', async () => {
    const flags = ['--data', join(folder.path, 'data'), '--features', definitions]
    const dry = await headwater(['migrate', '--dry-run', ...flags])
    expect([dry.code, dry.stderr]).toEqual([0, ''])
    expect(dry.stdout).toMatch(/^-- events_payment 1: make the table\nCREATE TABLE IF NOT EXISTS `events_payment` \(/)
    expect(dry.stdout).toMatch(/-- payment 1: make the view\nCREATE OR REPLACE VIEW/)
    const tables = async () => (await headwater(['sql', 'SHOW TABLES', '--format', 'TSV', ...flags])).stdout
    expect(await tables()).toBe('')
    const first = await headwater(['migrate', ...flags])
    expect(first.stdout).toMatch(/^events_payment 1: make the table\nscores 1: make the table\n/)
    expect(await tables()).toContain('schema_migrations')
    expect((await headwater(['migrate', ...flags])).stdout).toBe(NOTHING)
    expect((await headwater(['migrate', '--dry-run', ...flags])).stdout).toBe(NOTHING)
    const kept = await headwater(['migrate', '--set', 'offlineStore.retentionDays=30', ...flags])
    expect(kept.stdout).toMatch(/^events_payment 2: delete rows 30 days after they arrived\n/)
  }, 180_000)

  it('makes the database of a server, whose processes only check it', async () => {
    const server = await startChdbServer({ directory: join(folder.path, 'server') })
    try {
      const flags = ['--data', join(folder.path, 'other'), '--features', definitions]
      const settings = ['offlineStore.kind=clickhouse', `offlineStore.url=${server.url}`, 'offlineStore.database=made']
      const all = [...flags, ...settings.flatMap(setting => ['--set', setting])]
      const early = await headwater(['run', 'offline-writer', ...all])
      expect(early.code).toBe(1)
      expect(early.stderr).toMatch(/headwater: the database of the offline store at .* run "headwater migrate"/)
      expect((await headwater(['migrate', '--dry-run', ...all])).stdout).toMatch(/^-- events_payment 1: make the table/)
      expect((await headwater(['migrate', ...all])).code).toBe(0)
      expect((await headwater(['migrate', ...all])).stdout).toBe(NOTHING)
      expect((await headwater(['sql', 'SELECT count() FROM payment', '--format', 'TSV', ...all])).stdout).toBe('0\n')
    } finally {
      await server.close()
    }
  }, 180_000)

  it('is documented with users whose rights the engine knows', async () => {
    const text = await readFile(join(ROOT, 'topology', 'deploy', 'clickhouse', 'users.sql'), 'utf8')
    const statements = text
      .replaceAll(/^--.*$/gm, '')
      .split(';')
      .map(sql => sql.trim())
      .filter(sql => sql !== '')
    const server = await startChdbServer({ directory: join(folder.path, 'users') })
    const store = await openClickHouseOfflineStore({ url: server.url })
    try {
      expect(statements).toHaveLength(10)
      const unknown = store.query("SELECT formatQuerySingleLine('GRANT ALTER NOTHING ON headwater.* TO someone')")
      await expect(unknown).rejects.toThrow(/Code: 62\./)
      for (const sql of statements) {
        const [row] = await store.query<{ f: string }>('SELECT formatQuerySingleLine({sql:String}) AS f', { sql })
        expect(row?.f.split(' ')[0]).toBe(sql.split(' ')[0])
      }
    } finally {
      await store.close()
      await server.close()
    }
  }, 30_000)
})
