import { describe, expect, it } from 'vitest'
import { entity, event, group, t } from '../../features/define/index.ts'
import { applyPoint, emptySection, encodeSection } from '../../features/kernel/index.ts'
import { compileProject } from '../../features/plan/compile.ts'
import { eventDecoder } from '../../features/plan/event.ts'
import { EMPTY_CATALOGUE, bindPlan, placePlan } from '../../features/plan/units.ts'
import type { BoundUnit } from '../../features/plan/units.ts'
import type { LogRecord } from '../../topology/ports/event-log.ts'
import { onlineKey } from '../../topology/ports/online-layout.ts'
import type { Telemetry } from '../../topology/ports/telemetry.ts'
import { createFeatureWorker } from '../../topology/runtime/feature-worker.ts'
import { createCursor, createScheduler, createSimulatedLog, createSimulatedStore, random } from './simulated-ports.ts'
import type { PlantedBugs } from './simulated-ports.ts'

const payment = event('payment', {
  topic: 'payments',
  id: 'id',
  time: 'at',
  key: 'card',
  partitions: 1,
  lateness: '1m',
  fields: { id: t.string(), at: t.timestamp(), card: t.string(), shop: t.string(), amount: t.decimal(2) },
})
const card = entity('card', { key: 'card' })
const shop = entity('shop', { key: 'shop' })
const cardGroup = group('card_activity', { entity: card, source: payment }, e => ({
  n: e.count('10m'),
  spend: e.sum(e.amount, 'lifetime'),
  last: e.last(e.shop, '1h'),
}))
const shopGroup = group('shop_activity', { entity: shop, source: payment }, e => ({ cards: e.distinct(e.card, '1h') }))

const NAMESPACE = 'sim'
const BASE = 1_700_000_000_000

function bind() {
  const definitions = [{ file: 'sim.ts', exports: { payment, card, shop, cardGroup, shopGroup } }]
  const compiled = compileProject({ definitions, bundleHashes: { 'sim.ts': '0' } })
  if (!compiled.ok) throw new Error(JSON.stringify(compiled.problems))
  const standing = { incarnation: 'life-1', startOffsets: [0], endOffsets: [0] }
  const catalogue = placePlan(compiled.project.plan, EMPTY_CATALOGUE, new Map([['payment', standing]]))
  return bindPlan(compiled.project.plan, catalogue)
}

const bound = bind()
const silent: Telemetry = { count: () => {}, gauge: () => {}, observeMs: () => {}, log: () => {} }

function makeRecords(pick: (bound: number) => number, count: number): LogRecord[] {
  const encoder = new TextEncoder()
  let now = BASE
  const ids: { id: string; at: number }[] = []
  return Array.from({ length: count }, (_, offset) => {
    now += pick(20_000)
    const again = ids.length > 0 && pick(8) === 0 ? ids[pick(ids.length)] : undefined
    const fresh = again ?? { id: `e${offset}`, at: now - (pick(4) === 0 ? pick(120_000) : 0) }
    ids.push(fresh)
    const body = { ...fresh, card: `c${pick(5)}`, shop: `s${pick(3)}`, amount: pick(10_000) / 100 }
    const poison = pick(20) === 0
    return {
      topic: 'payments',
      partition: 0,
      offset,
      key: body.card,
      value: encoder.encode(poison ? '{"id":' : JSON.stringify(body)),
      headers: {},
      arrivalMs: now,
    }
  })
}

/** The state of every (unit, entity) by the definition: a fold over the whole log. */
function oracle(records: readonly LogRecord[], units: readonly BoundUnit[]): Map<string, Uint8Array> {
  const out = new Map<string, Uint8Array>()
  for (const unit of units) {
    const decoder = eventDecoder(unit.source)
    const states = new Map<string, ReturnType<typeof emptySection>>()
    for (const record of records) {
      const decoded = decoder.decodeJson(record.value, record.arrivalMs)
      if (!decoded.ok) continue
      const id = unit.entityId(decoded.event)
      if (id === null) continue
      const state = states.get(id) ?? emptySection(unit.spec)
      states.set(id, state)
      applyPoint(unit.spec, state, unit.project(decoded.event))
    }
    for (const [id, state] of states) {
      out.set(`${onlineKey(NAMESPACE, unit.entity, id, unit.id)}|life-1|0`, encodeSection(unit.spec, state))
    }
  }
  return out
}

/**
 * Two workers own the same partition at once, each crashing, being redelivered records and losing acknowledgements,
 * over a store that also rolls back. Faults stop; one worker then reads to the end.
 */
async function simulate(seed: number, bugs: PlantedBugs): Promise<{ wrong: string[]; stored: number }> {
  const pick = random(seed)
  const records = makeRecords(pick, 30 + pick(40))
  const scheduler = createScheduler(pick)
  const sim = createSimulatedStore(scheduler.turn, pick, bugs)
  const { log, batchAt, bounds } = createSimulatedLog('payments', records)
  let now = BASE
  const clock = { nowMs: () => (now += pick(1_500)), monotonicMs: () => now }
  const makeWorker = () =>
    createFeatureWorker({
      source: bound.plan.sources[0] as (typeof bound.plan.sources)[number],
      units: bound.units,
      start: { incarnation: 'life-1', offsets: [0] },
      liveFrom: [0],
      feed: 'feed',
      reportsLateFor: new Set(bound.units.map(unit => unit.entity)),
      namespace: NAMESPACE,
      log,
      store: sim.store,
      clock,
      telemetry: silent,
      limits: {
        maxDirtySections: 1 + pick(6),
        maxCachedSections: 1 + pick(8),
        commitIntervalMs: 2_000,
        maxRecordBytes: 1 << 20,
      },
    })

  async function own(steps: number): Promise<void> {
    let worker = makeWorker()
    let cursor = createCursor()
    let assigned = false
    for (let step = 0; step < steps; step++) {
      await scheduler.turn()
      if (pick(12) === 0) {
        worker = makeWorker()
        cursor = createCursor()
        assigned = false
      }
      try {
        if (!assigned) {
          const start = await worker.assigned('payments', 0, bounds)
          cursor.next = Math.max(0, (start ?? 0) - pick(5))
          assigned = true
        }
        const batch = batchAt(cursor.next, 1 + pick(8))
        if (batch.records.length === 0) await worker.idle('payments', 0, records.length, cursor.control)
        else await worker.batch(batch, cursor.control)
        // Now and then the same records come again, and now and then a stale batch from further on.
        if (pick(6) > 0) cursor.advance(batch.nextOffset)
        if (pick(15) === 0) cursor.next = Math.min(records.length, cursor.next + pick(6))
      } catch (error) {
        if (!(error instanceof Error) || !/lost|refused before/.test(error.message)) throw error
      }
      if (pick(25) === 0) sim.rollBack()
    }
  }

  async function finish(): Promise<void> {
    const worker = makeWorker()
    const cursor = createCursor()
    cursor.next = (await worker.assigned('payments', 0, bounds)) ?? 0
    for (let round = 0; round < 500; round++) {
      const batch = batchAt(cursor.next, 7)
      if (batch.records.length === 0) {
        await worker.idle('payments', 0, records.length, cursor.control)
        if (cursor.next >= records.length) {
          await worker.revoked('payments', 0)
          return
        }
        continue
      }
      await worker.batch(batch, cursor.control)
      cursor.advance(batch.nextOffset)
    }
    throw new Error(`seed ${seed}: the worker does not reach the end of the log`)
  }

  sim.faults.losePercent = pick(12)
  sim.faults.failPercent = pick(12)
  let running = 2
  const steps = 10 + pick(40)
  const failures: unknown[] = []
  for (let owner = 0; owner < 2; owner++) {
    own(steps)
      .catch((error: unknown) => void failures.push(error))
      .finally(() => running--)
  }
  await scheduler.run(() => running === 0)
  if (failures.length > 0) throw failures[0]
  sim.faults.losePercent = 0
  sim.faults.failPercent = 0
  let done = false
  const last = finish().finally(() => (done = true))
  await scheduler.run(() => done)
  await last
  const expected = oracle(records, bound.units)
  const stored = sim.sections()
  const wrong = [...expected].filter(([key, bytes]) => {
    const found = stored.get(key)
    return found === undefined || Buffer.compare(Buffer.from(found.bytes), Buffer.from(bytes)) !== 0
  })
  return { wrong: wrong.map(([key]) => key), stored: stored.size }
}

const FIRST_SEED = Number(process.env['HEADWATER_SIMULATION_SEED'] ?? 1)
const SEEDS = Number(process.env['HEADWATER_SIMULATION_SEEDS'] ?? 400)
const PLANTED_SEEDS = 200
const TIME_LIMIT_MS = 60_000 + SEEDS * 100

describe('the feature worker under hostile schedules', () => {
  it(`counts each event once over ${SEEDS} seeds from ${FIRST_SEED}`, { timeout: TIME_LIMIT_MS }, async () => {
    for (let seed = FIRST_SEED; seed < FIRST_SEED + SEEDS; seed++) {
      const { wrong, stored } = await simulate(seed, {})
      expect(wrong, `seed ${seed}: wrong or missing sections`).toEqual([])
      expect(stored, `seed ${seed}`).toBeGreaterThan(0)
    }
  })

  it.each([
    ['no fence', { noFence: true }],
    ['no max-register', { noMaxRegister: true }],
  ] as const)('finds the planted bug: %s', async (_name, bugs) => {
    let found = 0
    for (let seed = 1; seed <= PLANTED_SEEDS; seed++) {
      try {
        if ((await simulate(seed, bugs)).wrong.length > 0) found++
      } catch {
        found++
      }
    }
    expect(found).toBeGreaterThan(0)
  })
})
