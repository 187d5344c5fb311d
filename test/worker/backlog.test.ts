import { describe, expect, it } from 'vitest'
import { entity, event, group, t } from '../../features/define/index.ts'
import { compileProject } from '../../features/plan/compile.ts'
import { EMPTY_CATALOGUE, bindPlan, placePlan } from '../../features/plan/units.ts'
import type { LogRecord } from '../../topology/ports/event-log.ts'
import { SHARD_COUNT } from '../../topology/ports/online-store.ts'
import { createFeatureWorker } from '../../topology/runtime/feature-worker.ts'
import { createCursor, createSimulatedLog, createSimulatedStore } from './simulated-ports.ts'

const ride = event('ride', {
  topic: 'rides',
  id: 'id',
  time: 'at',
  key: 'rider',
  partitions: 1,
  lateness: '1m',
  fields: { id: t.string(), at: t.timestamp(), rider: t.string() },
})
const rider = entity('rider', { key: 'rider' })
const rides = group('rides', { entity: rider, source: ride }, e => ({ n: e.count('lifetime') }))

const START = 1_700_000_000_000
const RECORDS = 400
const BATCH = 10

describe('a worker that is never caught up', () => {
  it('writes and commits all the same, in its commit interval, however few entities there are', async () => {
    const compiled = compileProject({
      definitions: [{ file: 'rides.ts', exports: { ride, rider, rides } }],
      bundleHashes: { 'rides.ts': '0' },
    })
    if (!compiled.ok) throw new Error(JSON.stringify(compiled.problems))
    const { plan } = compiled.project
    const standing = { incarnation: 'life-1', startOffsets: [0], endOffsets: [0] }
    const bound = bindPlan(plan, placePlan(plan, EMPTY_CATALOGUE, new Map([['ride', standing]])))
    const encoder = new TextEncoder()
    const records = Array.from({ length: RECORDS }, (_, offset): LogRecord => {
      const value = encoder.encode(JSON.stringify({ id: `r${offset}`, at: START + offset, rider: `r${offset % 3}` }))
      return { topic: 'rides', partition: 0, offset, key: 'r', value, headers: {}, arrivalMs: START + offset }
    })
    const { store } = createSimulatedStore(
      () => Promise.resolve(),
      () => 99,
      {},
    )
    const progress: number[] = []
    const watched = {
      ...store,
      publishProgress: (list: readonly { readonly offset: number }[]) => {
        progress.push(...list.map(each => each.offset))
        return Promise.resolve()
      },
    }
    const { log, batchAt, bounds } = createSimulatedLog('rides', records)
    let now = START
    const worker = createFeatureWorker({
      confirmUnits: () => Promise.resolve(),
      source: plan.sources[0] as (typeof plan.sources)[number],
      units: bound.units,
      start: { incarnation: 'life-1', offsets: [0] },
      liveFrom: [0],
      feed: 'ride.r1',
      reportsLateFor: new Set(['rider']),
      namespace: 'n',
      log,
      store: watched,
      clock: { nowMs: () => now, monotonicMs: () => now },
      telemetry: { count: () => {}, gauge: () => {}, observeMs: () => {}, log: () => {} },
      limits: { maxDirtySections: 5_000, maxCachedBytes: 1 << 26, commitIntervalMs: 2_000, maxRecordBytes: 1 << 20 },
    })
    const cursor = createCursor()
    cursor.next = (await worker.assigned('rides', 0, bounds)) ?? 0
    const lane = { unit: bound.units[0]?.id ?? 0, incarnation: 'life-1', partition: 0 }
    const written = async () => (await store.readCanaries(lane, SHARD_COUNT)).map(canary => canary?.offset ?? -2)
    for (; cursor.next < RECORDS; now += 300) {
      const batch = { ...batchAt(cursor.next, BATCH), endOffset: 1_000_000 }
      await worker.batch(batch, cursor.control)
      cursor.advance(batch.nextOffset)
      if (now - START < 2_000) continue
      // Eight batches pass in an interval, so nothing is ever further behind than that.
      expect(Math.min(...(await written()))).toBeGreaterThanOrEqual(batch.nextOffset - 1 - 8 * BATCH)
      expect(cursor.committed).toBeGreaterThanOrEqual(batch.nextOffset - 8 * BATCH)
    }
    expect(progress.length).toBeGreaterThan(3)
    expect(progress.at(-1)).toBeGreaterThan(RECORDS - 5 * BATCH)
  })
})
