import { join } from 'node:path'
import { DatabaseSync } from 'node:sqlite'
import { describe, expect, it } from 'vitest'
import { entity, event, group, t } from '../../features/define/index.ts'
import type { Duration } from '../../features/define/index.ts'
import { estimateGroup, TYPICAL_EVENTS } from '../../features/plan/estimate.ts'
import { EMPTY_CATALOGUE, bindPlan, placePlan } from '../../features/plan/units.ts'
import { openEmbeddedOnlineStore } from '../../topology/adapters/online-store/embedded.ts'
import type { LogRecord } from '../../topology/ports/event-log.ts'
import { createFeatureWorker } from '../../topology/runtime/feature-worker.ts'
import { temporaryFolder } from '../system/headwater.ts'
import { createCursor, createSimulatedLog, random } from '../worker/simulated-ports.ts'
import { projectOf } from './source.ts'

const START_MS = 1_700_000_000_000
const DAY_MS = 86_400_000
const encoder = new TextEncoder()

interface Setup {
  readonly window: Duration
  readonly edge?: Duration
  /** Another window with a wide edge, which is kept in a unit of its own. */
  readonly beside?: Duration
  readonly perDay: number
  readonly days: number
  readonly measuredDays: number
}

function boundOf({ window, edge, beside }: Setup) {
  const order = event('order', {
    topic: 'orders',
    id: 'id',
    time: 'at',
    key: 'buyer',
    partitions: 1,
    lateness: '30m',
    fields: { id: t.string(), at: t.timestamp(), buyer: t.string(), city: t.string(), amount: t.decimal(2) },
  })
  const buyer = entity('buyer', { key: 'buyer' })
  const options = edge === undefined ? {} : { edge }
  const orders = group('orders', { entity: buyer, source: order }, e => ({
    n: e.count(window, options),
    spent: e.sum(e.amount, window, options),
    mean: e.mean(e.amount, window, { ...options, where: e.amount.gt(20) }),
    city: e.last(e.city, window, options),
    ...(beside === undefined ? {} : { most: e.max(e.amount, beside, { edge: '1d' }) }),
  }))
  const { plan } = projectOf({ orders })
  const standing = { incarnation: 'life-1', startOffsets: [0], endOffsets: [0] }
  return bindPlan(plan, placePlan(plan, EMPTY_CATALOGUE, new Map([['order', standing]])))
}

/** Orders of one buyer at random times. */
function recordsOf({ perDay, days }: Setup): readonly LogRecord[] {
  const below = random(11)
  const share = (): number => (below(1 << 24) + 0.5) / 2 ** 24
  const records: LogRecord[] = []
  let at = START_MS
  for (;;) {
    at += Math.ceil((-Math.log(share()) * DAY_MS) / perDay)
    if (at > START_MS + days * DAY_MS) return records
    const hex = Array.from({ length: 8 }, () =>
      below(1 << 16)
        .toString(16)
        .padStart(4, '0'),
    ).join('')
    const id = hex.replace(/^(.{8})(.{4})(.{4})(.{4})(.{12})$/, '$1-$2-$3-$4-$5')
    const city = `city_${String(below(1e7)).padStart(7, '0')}`
    const value = encoder.encode(JSON.stringify({ id, at, buyer: 'b', city, amount: Math.floor(share() * 9000) / 100 }))
    const offset = records.length
    records.push({ topic: 'orders', partition: 0, offset, key: 'b', value, headers: {}, arrivalMs: at })
  }
}

describe('what a worker stores and writes', () => {
  const folder = temporaryFolder()

  it.each<[string, Setup]>([
    ['a quiet entity', { window: '30d', perDay: 8, days: 110, measuredDays: 70 }],
    ['a busy entity', { window: '2d', perDay: 1500, days: 2.8, measuredDays: 0.5 }],
    [
      'a busy entity with edges, in two units',
      { window: '12h', edge: '10m', beside: '3d', perDay: 1500, days: 4.3, measuredDays: 0.5 },
    ],
  ])('for %s is within 20 %% of the estimate', async (name, setup) => {
    const bound = boundOf(setup)
    const records = recordsOf(setup)
    const path = join(folder.path, `${name.replaceAll(/\W/g, '-')}.sqlite`)
    const clock = { nowMs: () => START_MS, monotonicMs: () => 0 }
    const store = await openEmbeddedOnlineStore({ path, clock })
    const { log, batchAt, bounds } = createSimulatedLog('orders', records)
    const [source] = bound.plan.sources
    if (source === undefined) throw new Error('no source')
    let writtenBytes = 0
    const worker = createFeatureWorker({
      confirmUnits: () => Promise.resolve(),
      source,
      units: bound.units,
      start: { incarnation: 'life-1', offsets: [0] },
      liveFrom: [0],
      feed: 'order.r1',
      reportsLateFor: new Set(['buyer']),
      namespace: 'n',
      log,
      store,
      clock,
      telemetry: {
        count: (counter, by) => void (counter === 'feature_worker_written_bytes' && (writtenBytes += by)),
        gauge: () => undefined,
        observeMs: () => undefined,
        log: () => undefined,
      },
      limits: { maxDirtySections: 1, maxCachedBytes: 1 << 24, commitIntervalMs: 1000, maxRecordBytes: 1 << 20 },
    })
    const database = new DatabaseSync(path, { readOnly: true })
    const stored = database.prepare(
      'SELECT (SELECT sum(length(bytes)) FROM sections) + coalesce((SELECT sum(length(bytes)) FROM blocks), 0) AS total',
    )
    const cursor = createCursor()
    await worker.assigned('orders', 0, bounds)
    const measuredFrom = records.findIndex(
      ({ arrivalMs }) => arrivalMs > START_MS + (setup.days - setup.measuredDays) * DAY_MS,
    )
    const sums = { stored: 0, samples: 0 }
    for (cursor.next = 0; cursor.next < records.length;) {
      const measuring = cursor.next >= measuredFrom
      if (cursor.next === measuredFrom) writtenBytes = 0
      const size = measuring ? 1 : Math.min(64, measuredFrom - cursor.next)
      const batch = batchAt(cursor.next, size)
      await worker.batch({ ...batch, endOffset: batch.nextOffset }, cursor.control)
      cursor.advance(batch.nextOffset)
      if (!measuring || cursor.next % 10 !== 0) continue
      sums.stored += Number(stored.get()?.['total'])
      sums.samples++
    }
    database.close()
    await store.close()

    const [orders] = bound.groups.values()
    if (orders === undefined) throw new Error('no group')
    const estimate = estimateGroup(orders, { ...TYPICAL_EVENTS, eventsPerEntityPerDay: setup.perDay })
    expect(bound.units).toHaveLength(setup.beside === undefined ? 1 : 2)
    const near = (figure: number, real: number): void => {
      expect(figure / real, `${figure} instead of ${real}`).toBeGreaterThan(0.8)
      expect(figure / real, `${figure} instead of ${real}`).toBeLessThan(1.2)
    }
    near(estimate.bytesPerEntity, sums.stored / sums.samples)
    near(estimate.bytesWrittenPerEvent, writtenBytes / (records.length - measuredFrom))
  })
})
