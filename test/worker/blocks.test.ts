import { DatabaseSync } from 'node:sqlite'
import { join } from 'node:path'
import { describe, expect, it } from 'vitest'
import { entity, event, group, t } from '../../features/define/index.ts'
import { applyPoint, emptySection, encodeSection } from '../../features/kernel/index.ts'
import { compileProject } from '../../features/plan/compile.ts'
import { eventDecoder } from '../../features/plan/event.ts'
import { EMPTY_CATALOGUE, bindPlan, placePlan } from '../../features/plan/units.ts'
import { openEmbeddedOnlineStore } from '../../topology/adapters/online-store/embedded.ts'
import type { ConsumerHandlers, LogRecord } from '../../topology/ports/event-log.ts'
import { onlineKey } from '../../topology/ports/online-layout.ts'
import type { OnlineStore } from '../../topology/ports/online-store.ts'
import { createFeatureWorker } from '../../topology/runtime/feature-worker.ts'
import { temporaryFolder } from '../system/headwater.ts'
import { createCursor, createSimulatedLog } from './simulated-ports.ts'

const ride = event('ride', {
  topic: 'rides',
  id: 'id',
  time: 'at',
  key: 'rider',
  partitions: 1,
  lateness: '30m',
  fields: { id: t.string(), at: t.timestamp(), rider: t.string(), metres: t.int() },
})
const rider = entity('rider', { key: 'rider' })
const rides = group('rides', { entity: rider, source: ride }, e => ({
  n: e.count('1h'),
  far: e.max(e.metres, '24h'),
}))

const START = 1_700_000_000_000
const BUSY = 2_000

function planOf() {
  const compiled = compileProject({
    definitions: [{ file: 'rides.ts', exports: { ride, rider, rides } }],
    bundleHashes: { 'rides.ts': '0' },
  })
  if (!compiled.ok) throw new Error(JSON.stringify(compiled.problems))
  const standing = { incarnation: 'life-1', startOffsets: [0], endOffsets: [0] }
  return bindPlan(
    compiled.project.plan,
    placePlan(compiled.project.plan, EMPTY_CATALOGUE, new Map([['ride', standing]])),
  )
}

const bound = planOf()
const encoder = new TextEncoder()

function recordAt(offset: number, at: number): LogRecord {
  const value = encoder.encode(JSON.stringify({ id: `r${offset}`, at, rider: 'r', metres: offset % 97 }))
  return { topic: 'rides', partition: 0, offset, key: 'r', value, headers: {}, arrivalMs: START + offset * 1_000 }
}

/** One rider: a ride a second, then some that come twenty minutes late. */
const RECORDS = [
  ...Array.from({ length: BUSY }, (_, offset) => recordAt(offset, START + offset * 1_000)),
  ...Array.from({ length: 5 }, (_, index) => recordAt(BUSY + index, START + (BUSY - 1_200 + index * 90) * 1_000 + 500)),
]

function workerOver(store: OnlineStore, counted: Map<string, number>): ConsumerHandlers {
  const { log } = createSimulatedLog('rides', RECORDS)
  const [source] = bound.plan.sources
  if (source === undefined) throw new Error('no source')
  return createFeatureWorker({
    confirmUnits: () => Promise.resolve(),
    source,
    units: bound.units,
    start: { incarnation: 'life-1', offsets: [0] },
    liveFrom: [0],
    feed: 'ride.r1',
    reportsLateFor: new Set(['rider']),
    namespace: 'n',
    log,
    store,
    clock: { nowMs: () => START, monotonicMs: () => 0 },
    telemetry: {
      count: (name, by) => void counted.set(name, (counted.get(name) ?? 0) + by),
      gauge: () => undefined,
      observeMs: () => undefined,
      log: () => undefined,
    },
    limits: { maxDirtySections: 100, maxCachedBytes: 1 << 24, commitIntervalMs: 1_000, maxRecordBytes: 1 << 20 },
  })
}

/** Feeds records up to an offset, in batches; failed steps are tried again. */
async function feed(worker: ConsumerHandlers, to: number, failures: unknown[] = []): Promise<void> {
  const { batchAt, bounds } = createSimulatedLog('rides', RECORDS)
  const cursor = createCursor()
  cursor.next = (await worker.assigned('rides', 0, bounds)) ?? 0
  for (let step = 0; cursor.next < to && step < 100; step++) {
    const batch = batchAt(cursor.next, Math.min(100, to - cursor.next))
    try {
      await worker.batch({ ...batch, endOffset: batch.nextOffset }, cursor.control)
      cursor.advance(batch.nextOffset)
    } catch (error) {
      failures.push(error)
      cursor.sought = false
    }
  }
  if (cursor.next < to) throw new Error(`the worker stands at ${cursor.next}`)
}

const [unit] = bound.units
if (unit === undefined) throw new Error('no unit')
const KEY = onlineKey('n', 'rider', 'r', unit.id)

async function expectStored(store: OnlineStore, records: readonly LogRecord[]): Promise<void> {
  if (unit === undefined) return
  const decoder = eventDecoder(unit.source)
  const state = emptySection(unit.spec)
  for (const record of records) {
    const decoded = decoder.decodeJson(record.value, record.arrivalMs)
    if (decoded.ok) applyPoint(unit.spec, state, unit.project(decoded.event))
  }
  const image = encodeSection(unit.spec, state)
  const ids = image.blocks.map(block => block.id)
  const [[section] = []] = await store.read([{ key: KEY, blocks: () => ids }])
  expect(section?.position).toBe(records.at(-1)?.offset)
  expect(section?.bytes).toEqual(image.bytes)
  expect(section?.blocks).toEqual(new Map(image.blocks.map(block => [block.id, block.bytes])))
}

describe('a worker over a store with blocks', () => {
  const folder = temporaryFolder()
  const clock = { nowMs: () => START, monotonicMs: () => 0 }
  let stores = 0
  const openStore = async (): Promise<{ store: OnlineStore; path: string }> => {
    const path = join(folder.path, `store-${++stores}.sqlite`)
    return { store: await openEmbeddedOnlineStore({ path, clock }), path }
  }

  it('writes a busy entity in parts and loads what late events need, after a restart too', async () => {
    const { store } = await openStore()
    const counted = new Map<string, number>()
    await feed(workerOver(store, counted), BUSY)
    await expectStored(store, RECORDS.slice(0, BUSY))
    expect(counted.get('feature_worker_block_loads')).toBeUndefined()
    const written = counted.get('feature_worker_written_bytes') ?? 0
    const [[section] = []] = await store.read([{ key: KEY, blocks: () => [] }])
    expect(section?.levels).not.toBe(0)
    // Twenty flushes of the whole would have written ten times as much as there is at the end.
    expect(written).toBeGreaterThan(BUSY * 10)
    expect(written).toBeLessThan(BUSY * 100)
    await feed(workerOver(store, counted), RECORDS.length)
    expect(counted.get('feature_worker_block_loads')).toBeGreaterThan(0)
    expect(counted.get('feature_worker_added_events')).toBe(RECORDS.length)
    await expectStored(store, RECORDS)
    await store.close()
  })

  it('asks for a rebuild where a block that it needs is gone', async () => {
    const { store, path } = await openStore()
    await feed(workerOver(store, new Map()), BUSY)
    const database = new DatabaseSync(path)
    database.exec('DELETE FROM blocks')
    database.close()
    const failures: unknown[] = []
    await expect(feed(workerOver(store, new Map()), RECORDS.length, failures)).rejects.toThrow(/stands at/)
    expect(failures[0]).toMatchObject({
      code: 'REBUILD_NEEDED',
      message: expect.stringMatching(/unit 1, hw:n:.*rider:r:1: block \d+ of the stored section is missing.*rebuilt/),
    })
    await store.close()
  })

  it('forgets what it has encoded when it was fenced, even if starting again fails at first', async () => {
    const { store } = await openStore()
    let [fences, refusals] = [0, 0]
    const hostile: OnlineStore = Object.assign(Object.create(store) as OnlineStore, {
      flush: (lane, shards) => {
        if (++fences !== 10) return store.flush(lane, shards)
        refusals = 1
        return Promise.resolve(shards.map(() => ({ ok: false, canary: null })))
      },
      readCanaries: (lane, count) => {
        if (refusals-- > 0) return Promise.reject(new Error('connection lost'))
        return store.readCanaries(lane, count)
      },
    } satisfies Partial<OnlineStore>)
    const counted = new Map<string, number>()
    const failures: unknown[] = []
    await feed(workerOver(hostile, counted), RECORDS.length, failures)
    expect(failures).toMatchObject([{ message: 'connection lost' }])
    expect(counted.get('feature_worker_restarts')).toBe(2)
    await expectStored(store, RECORDS)
    await store.close()
  })
})
