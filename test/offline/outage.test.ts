import { mkdtemp, rm } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { setTimeout as sleep } from 'node:timers/promises'
import { afterAll, beforeAll, describe, expect, it } from 'vitest'
import { event, t } from '../../features/define/index.ts'
import { compileProject } from '../../features/plan/compile.ts'
import type { Plan, SourcePlan } from '../../features/plan/plan.ts'
import { systemClock } from '../../services/clock.ts'
import { createTelemetry } from '../../services/telemetry.ts'
import { openEmbeddedEventLog } from '../../topology/adapters/event-log/embedded.ts'
import { startChdbServer } from '../../topology/adapters/offline-store/chdb/server.ts'
import type { ChdbServer } from '../../topology/adapters/offline-store/chdb/server.ts'
import {
  connectClickHouse,
  openClickHouseOfflineStore,
} from '../../topology/adapters/offline-store/clickhouse/clickhouse.ts'
import type { EventLog } from '../../topology/ports/event-log.ts'
import type { OfflineStore } from '../../topology/ports/offline-store.ts'
import type { Telemetry } from '../../topology/ports/telemetry.ts'
import { sourceMapper } from '../../topology/processors/history.ts'
import { migrateOfflineStore } from '../../topology/runtime/migrate.ts'
import { OFFLINE_WRITER_LIMITS, createOfflineWriter } from '../../topology/runtime/offline-writer.ts'
import { random } from '../worker/simulated-ports.ts'
import { startFaultyProxy } from './faulty-proxy.ts'
import type { Fate } from './faulty-proxy.ts'

const SEED = 20_241
const PARTITIONS = 4
const EVENTS = 24_000
const MAX_EVENTS = 240_000
const INVALID_EVERY = 997
const APPEND_RECORDS = 400
const MAX_BATCH_RECORDS = 200
const LIMITS = { ...OFFLINE_WRITER_LIMITS, maxBufferedRows: 2_000, maxInsertRows: 250, flushIntervalMs: 20 }
const FAULTS: readonly Fate[] = ['reset', 'cut', 'lost', 'hang', 'gateway', 'parts', 'memory']
const GROUP = 'outage'

function planOf(): Plan {
  const visit = event('visit', {
    topic: 'visits',
    id: 'id',
    time: 'at',
    lateness: '1h',
    fields: { id: t.string(), at: t.timestamp(), page: t.string() },
  })
  const compiled = compileProject({
    definitions: [{ file: 'v.ts', exports: { visit } }],
    bundleHashes: { 'v.ts': '0' },
  })
  if (!compiled.ok) throw new Error(JSON.stringify(compiled.problems))
  return compiled.project.plan
}

/** Fates in a seeded order: of every fourteen requests each fault takes one, and seven pass. */
function fatesOf(seed: number): () => Fate {
  const pick = random(seed)
  let deck: Fate[] = []
  return () => {
    if (deck.length === 0) deck = [...FAULTS, ...FAULTS.map((): Fate => 'pass')]
    const [fate = 'pass'] = deck.splice(pick(deck.length), 1)
    return fate
  }
}

/** Counts as the process's own telemetry does, and keeps the greatest value of the gauge of buffered rows. */
function watchedTelemetry() {
  const inner = createTelemetry('error')
  const seen = { mostBufferedRows: 0, errors: 0 }
  const telemetry: Telemetry = {
    ...inner,
    gauge: (name, value, labels) => {
      if (name === 'offline_writer_buffered_rows') seen.mostBufferedRows = Math.max(seen.mostBufferedRows, value)
      inner.gauge(name, value, labels)
    },
    log: () => undefined,
  }
  return { telemetry, seen, counters: () => inner.counters() }
}

describe('the offline writer while ClickHouse fails', () => {
  const plan = planOf()
  const source = plan.sources[0] as SourcePlan
  let folder: string
  let server: ChdbServer
  let direct: OfflineStore
  let log: EventLog

  beforeAll(async () => {
    folder = await mkdtemp(join(tmpdir(), 'headwater-outage-'))
    server = await startChdbServer({ directory: join(folder, 'offline') })
    direct = await openClickHouseOfflineStore({ url: server.url })
    await migrateOfflineStore(plan, direct, 0)
    log = await openEmbeddedEventLog({ path: join(folder, 'log.sqlite'), clock: systemClock })
    const topics = ['visits', 'visits.dead-letter']
    await log.ensureTopics(topics.map(name => ({ name, partitions: PARTITIONS, retentionMs: 0 })))
  }, 30_000)
  afterAll(async () => {
    await log.close()
    await direct.close()
    await server.close()
    await rm(folder, { recursive: true, force: true })
  }, 30_000)

  /** Appends `EVENTS` records, and more until `enough`. */
  async function appendEvents(enough: () => boolean): Promise<{ readonly valid: number; readonly invalid: number }> {
    const counts = { valid: 0, invalid: 0 }
    const now = Date.now()
    for (let from = 0; from < EVENTS || (!enough() && from < MAX_EVENTS); from += APPEND_RECORDS) {
      const records = Array.from({ length: APPEND_RECORDS }, (_, i) => {
        const n = from + i
        const bad = n % INVALID_EVERY === 0
        counts[bad ? 'invalid' : 'valid'] += 1
        const value = bad ? { id: `e${n}` } : { id: `e${n}`, at: now - (n % 1_000), page: `p${n % 7}` }
        return { topic: 'visits', key: `k${n % 50}`, value: new TextEncoder().encode(JSON.stringify(value)) }
      })
      await log.append(records)
      await sleep(60)
    }
    return counts
  }

  async function copied(): Promise<boolean> {
    for (let partition = 0; partition < PARTITIONS; partition += 1) {
      const { endOffset } = await log.bounds('visits', partition)
      if (endOffset > 0 && (await log.committed(GROUP, 'visits', partition)) !== endOffset) return false
    }
    return true
  }

  it('loses nothing, doubles nothing, holds no more rows than its bound, and catches up by itself', async () => {
    const fateOf = fatesOf(SEED)
    let harmful = true
    const proxy = await startFaultyProxy(server.url, () => (harmful ? fateOf() : 'pass'))
    const { telemetry, seen, counters } = watchedTelemetry()
    const limits = { requestTimeoutMs: 500, maxAttempts: 3, retryDelayMs: 5 }
    const offline = connectClickHouse({ url: proxy.url, database: 'headwater', ...limits })
    const consumer = await log.consume({
      group: GROUP,
      topics: ['visits'],
      maxBatchRecords: MAX_BATCH_RECORDS,
      maxBatchBytes: 1 << 20,
      handlers: createOfflineWriter({
        mappers: new Map([['visits', sourceMapper(source, 1 << 20)]]),
        ...{ group: GROUP, log, offline, clock: systemClock, telemetry, limits: LIMITS },
      }),
      onError: () => (seen.errors += 1),
    })
    try {
      const appended = appendEvents(() => FAULTS.every(fate => (proxy.fates.get(fate) ?? 0) > 1))
      await sleep(1_500)
      await proxy.down()
      await sleep(1_500)
      const [before] = await direct.query<{ n: string }>('SELECT count() AS n FROM events_visit FINAL')
      await proxy.up()
      const { valid, invalid } = await appended
      harmful = false
      await expect.poll(copied, { timeout: 30_000, interval: 100 }).toBe(true)

      expect(Number(before?.n)).toBeLessThan(valid)
      for (const fate of FAULTS) expect(proxy.fates.get(fate) ?? 0, fate).toBeGreaterThan(1)
      expect(seen.errors).toBeGreaterThan(0)
      expect(seen.mostBufferedRows).toBeGreaterThanOrEqual(LIMITS.maxBufferedRows)
      expect(seen.mostBufferedRows).toBeLessThanOrEqual(LIMITS.maxBufferedRows + MAX_BATCH_RECORDS)
      const [rows] = await direct.query(
        `SELECT count() AS stored, uniqExact(_partition, _offset) AS positions, uniqExact(id) AS ids FROM events_visit FINAL`,
      )
      expect(rows).toEqual({ stored: String(valid), positions: String(valid), ids: String(valid) })
      const wrong = await direct.query('SELECT id, count() AS n FROM visit GROUP BY id HAVING n != 1')
      expect(wrong).toEqual([])
      expect(await direct.query('SELECT count() AS n FROM visit')).toEqual([{ n: String(valid) }])
      // Each retry had the token of the first try, so that even before merges every row is there once.
      expect(await direct.query('SELECT count() AS n FROM events_visit')).toEqual([{ n: String(valid) }])
      expect(await direct.query('SELECT count() AS n FROM dead_letters FINAL')).toEqual([{ n: String(invalid) }])
      const letters = await Promise.all(
        Array.from({ length: PARTITIONS }, (_, partition) => log.bounds('visits.dead-letter', partition)),
      )
      expect(letters.reduce((sum, each) => sum + each.endOffset, 0)).toBe(invalid)
      expect(counters().get('offline_writer_rows{table=events_visit}')).toBe(valid)
      expect(counters().get('offline_writer_failed_flushes')).toBeGreaterThan(0)
    } finally {
      await consumer.stop()
      await offline.close()
      await proxy.down()
    }
  }, 60_000)
})
