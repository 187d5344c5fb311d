import { DatabaseSync } from 'node:sqlite'
import { copyFileSync, rmSync } from 'node:fs'
import { join } from 'node:path'
import fc from 'fast-check'
import { afterEach, beforeEach, describe, expect, it } from 'vitest'
import { entity, event, group, t } from '../../features/define/index.ts'
import { applyPoint, emptySection, encodeSection } from '../../features/kernel/index.ts'
import { compileProject } from '../../features/plan/compile.ts'
import { eventDecoder } from '../../features/plan/event.ts'
import type { BoundPlan, Catalogue } from '../../features/plan/units.ts'
import { openEmbeddedEventLog } from '../../topology/adapters/event-log/embedded.ts'
import { openEmbeddedOnlineStore } from '../../topology/adapters/online-store/embedded.ts'
import { createDriver } from '../../topology/jobs/backtest.ts'
import type { ConsumerControl, ConsumerHandlers, EventLog } from '../../topology/ports/event-log.ts'
import { onlineKey } from '../../topology/ports/online-layout.ts'
import type { OnlineStore } from '../../topology/ports/online-store.ts'
import { preparePlan } from '../../topology/runtime/catalogue.ts'
import { FEATURE_WORKER_LIMITS, createFeatureWorker } from '../../topology/runtime/feature-worker.ts'
import { temporaryFolder } from '../system/headwater.ts'
import { random } from './simulated-ports.ts'

const PARTITIONS = 2
const TOPIC = 'payments'
const NAMESPACE = 'default'
const BASE = 1_700_000_000_000
const RETENTION_MS = 3_600_000

const payment = event('payment', {
  topic: TOPIC,
  id: 'id',
  time: 'at',
  key: 'card',
  partitions: PARTITIONS,
  lateness: '1m',
  fields: { id: t.string(), at: t.timestamp(), card: t.string(), shop: t.string(), amount: t.decimal(2) },
})
const card = entity('card', { key: 'card' })
const shop = entity('shop', { key: 'shop' })
const cards = group('card_activity', { entity: card, source: payment }, e => ({
  n: e.count('lifetime'),
  spend_10m: e.sum(e.amount, '10m', { where: e.amount.gt(10) }),
  last: e.last(e.shop, 'lifetime'),
}))
const shops = group('shop_activity', { entity: shop, source: payment }, e => ({ cards_1h: e.distinct(e.card, '1h') }))

function planOf() {
  const definitions = [{ file: 'r.ts', exports: { payment, cards, shops } }]
  const compiled = compileProject({ definitions, bundleHashes: { 'r.ts': '0' } })
  if (!compiled.ok) throw new Error(JSON.stringify(compiled.problems))
  return compiled.project.plan
}
const plan = planOf()

/** A log and a store in a folder, a clock moved by hand, and the plan bound to them. */
interface World {
  readonly folder: string
  readonly clock: { now: number; nowMs(): number; monotonicMs(): number }
  readonly counted: Map<string, number>
  log: EventLog
  store: OnlineStore
  bound: BoundPlan
  catalogue: Catalogue
}

const logPath = (folder: string) => join(folder, 'log.sqlite')
const storePath = (folder: string) => join(folder, 'store.sqlite')

async function openWorld(folder: string, clock: World['clock'], retentionMs = 0): Promise<World> {
  const log = await openEmbeddedEventLog({ path: logPath(folder), clock, sweepEveryTransactions: 1 })
  await log.ensureTopics([{ name: TOPIC, partitions: PARTITIONS, retentionMs }])
  const store = await openEmbeddedOnlineStore({ path: storePath(folder), clock })
  return { folder, clock, counted: new Map(), log, store, ...(await preparePlan(plan, log, store)) }
}

function newClock(): World['clock'] {
  const clock = { now: BASE, nowMs: () => clock.now, monotonicMs: () => clock.now }
  return clock
}

async function closeWorld(world: World): Promise<void> {
  await world.store.close()
  await world.log.close()
}

function workerOver(world: World, limits = FEATURE_WORKER_LIMITS): ConsumerHandlers {
  const [revision] = world.catalogue.revisions
  const [source] = plan.sources
  if (revision === undefined || source === undefined) throw new Error('no revision')
  return createFeatureWorker({
    confirmUnits: () => Promise.resolve(),
    source,
    units: world.bound.units,
    start: { incarnation: revision.incarnation, offsets: revision.start },
    liveFrom: revision.liveFrom,
    feed: 'feed',
    reportsLateFor: new Set(world.bound.units.map(unit => unit.entity)),
    namespace: NAMESPACE,
    log: world.log,
    store: world.store,
    clock: world.clock,
    telemetry: {
      count: (name, by) => void world.counted.set(name, (world.counted.get(name) ?? 0) + by),
      gauge: () => undefined,
      observeMs: () => undefined,
      log: () => undefined,
    },
    limits: { ...limits, maxRecordBytes: 1024 * 1024 },
  })
}

const drive = (world: World, worker: ConsumerHandlers) => createDriver(world.log, worker, TOPIC, PARTITIONS).drain()

async function assign(world: World, worker: ConsumerHandlers, partition: number): Promise<number | null> {
  return await worker.assigned(TOPIC, partition, await world.log.bounds(TOPIC, partition))
}

const encoder = new TextEncoder()

/** Appends events of few cards and shops: some late, some twice, some that are none. */
async function append(world: World, seed: number, count: number): Promise<void> {
  const pick = random(seed)
  const sent: Record<string, unknown>[] = []
  const records = Array.from({ length: count }, (_, index) => {
    world.clock.now += pick(5_000)
    const again = sent.length > 0 && pick(8) === 0 ? sent[pick(sent.length)] : undefined
    const at = world.clock.now - (pick(4) === 0 ? pick(120_000) : 0)
    const amount = pick(5_000) / 100
    const body = again ?? { id: `e${seed}-${index}`, at, card: `c${pick(7)}`, shop: `s${pick(4)}`, amount }
    sent.push(body)
    const value = pick(25) === 0 ? '{"id":' : JSON.stringify(body)
    return { topic: TOPIC, key: String(body['card']), value: encoder.encode(value), arrivalMs: world.clock.now }
  })
  await world.log.append(records)
}

interface Stored {
  readonly position: number
  readonly hex: string
}

/** Every section of every entity there can be, by key and partition. */
async function stateOf(world: World): Promise<ReadonlyMap<string, Stored>> {
  const keys = world.bound.units.flatMap(unit =>
    Array.from({ length: 10 }, (_, index) => `${unit.entity === 'card' ? 'c' : 's'}${index}`).map(id =>
      onlineKey(NAMESPACE, unit.entity, id, unit.id),
    ),
  )
  const sections = await world.store.read(keys.map(key => ({ key, blocks: () => [] })))
  return new Map(
    keys.flatMap((key, index) =>
      (sections[index] ?? []).map(({ partition, position, bytes }): [string, Stored] => [
        `${key}|${partition}`,
        { position, hex: Buffer.from(bytes).toString('hex') },
      ]),
    ),
  )
}

/** The same by the definition: a fold over each partition. */
async function expected(world: World): Promise<ReadonlyMap<string, Stored>> {
  const out = new Map<string, Stored>()
  for (let partition = 0; partition < PARTITIONS; partition++) {
    const { records } = await world.log.read(TOPIC, partition, 0, 100_000)
    for (const unit of world.bound.units) {
      const decoder = eventDecoder(unit.source)
      const states = new Map<string, { state: ReturnType<typeof emptySection>; position: number }>()
      for (const record of records) {
        const decoded = decoder.decodeJson(record.value, record.arrivalMs)
        const id = decoded.ok ? unit.entityId(decoded.event) : null
        if (!decoded.ok || id === null) continue
        const entry = states.get(id) ?? { state: emptySection(unit.spec), position: -1 }
        states.set(id, entry)
        applyPoint(unit.spec, entry.state, unit.project(decoded.event))
        entry.position = record.offset
      }
      for (const [id, { state, position }] of states) {
        const hex = Buffer.from(encodeSection(unit.spec, state).bytes).toString('hex')
        out.set(`${onlineKey(NAMESPACE, unit.entity, id, unit.id)}|${partition}`, { position, hex })
      }
    }
  }
  return out
}

/** Changes the store's file behind its back. */
function tamper(path: string, sql: string): void {
  const database = new DatabaseSync(path)
  database.exec(sql)
  database.close()
}

describe('resuming', () => {
  const folder = temporaryFolder()
  let world: World
  beforeEach(async () => {
    for (const path of [logPath(folder.path), storePath(folder.path)]) {
      for (const suffix of ['', '-wal', '-shm', '.copy']) rmSync(`${path}${suffix}`, { force: true })
    }
    world = await openWorld(folder.path, newClock())
  })
  afterEach(async () => {
    await closeWorld(world)
  })

  it('goes on from the canaries after a restart, without counting twice', async () => {
    await append(world, 1, 400)
    const first = workerOver(world)
    await drive(world, first)
    for (let partition = 0; partition < PARTITIONS; partition++) await first.revoked(TOPIC, partition)
    const applied = world.counted.get('feature_worker_added_events')
    await closeWorld(world)
    world = await openWorld(folder.path, world.clock)
    await append(world, 2, 300)
    const second = workerOver(world)
    for (let partition = 0; partition < PARTITIONS; partition++) {
      const { records } = await world.log.read(TOPIC, partition, 0, 10_000)
      const before = records.filter(record => !new TextDecoder().decode(record.value).includes('"e2-')).length
      const next = await assign(world, second, partition)
      expect(next).toBeGreaterThan(0)
      expect(next).toBeLessThanOrEqual(before)
    }
    await drive(world, second)
    expect(applied).toBeGreaterThan(0)
    expect(await stateOf(world)).toEqual(await expected(world))
  })

  it('replays what a crash left behind the canaries, and skips what was counted', async () => {
    await append(world, 3, 300)
    await drive(world, workerOver(world))
    // The canaries of shards without events were not brought forward yet, so a crash goes back to the beginning.
    const again = workerOver(world)
    expect(await assign(world, again, 0)).toBe(0)
    await append(world, 4, 200)
    await drive(world, again)
    expect(await stateOf(world)).toEqual(await expected(world))
  })

  it('comes to the same state from an emptied store while the log holds everything', async () => {
    await append(world, 5, 400)
    await drive(world, workerOver(world))
    const before = await stateOf(world)
    expect(before).toEqual(await expected(world))
    await world.store.close()
    for (const suffix of ['', '-wal', '-shm']) rmSync(`${storePath(folder.path)}${suffix}`, { force: true })
    await world.log.close()
    world = await openWorld(folder.path, world.clock)
    expect((await stateOf(world)).size).toBe(0)
    await drive(world, workerOver(world))
    expect(await stateOf(world)).toEqual(before)
  })

  it('starts again when canaries and sections are gone and the catalogue is still there', async () => {
    await append(world, 6, 200)
    await drive(world, workerOver(world))
    tamper(storePath(folder.path), 'DELETE FROM sections; DELETE FROM canaries')
    const worker = workerOver(world)
    expect(await assign(world, worker, 0)).toBe(0)
    await drive(world, worker)
    expect(await stateOf(world)).toEqual(await expected(world))
  })
})

describe('what asks for a rebuild', () => {
  const folder = temporaryFolder()
  let world: World
  beforeEach(async () => {
    for (const path of [logPath(folder.path), storePath(folder.path)]) {
      for (const suffix of ['', '-wal', '-shm', '.copy']) rmSync(`${path}${suffix}`, { force: true })
    }
    world = await openWorld(folder.path, newClock(), RETENTION_MS)
  })
  afterEach(async () => {
    await closeWorld(world)
  })

  /** Reads everything and stops in good order, so that all canaries stand at the end. */
  async function finish(): Promise<void> {
    const worker = workerOver(world)
    await drive(world, worker)
    for (let partition = 0; partition < PARTITIONS; partition++) await worker.revoked(TOPIC, partition)
  }

  const refusal = (message: RegExp) =>
    expect.objectContaining({ code: 'REBUILD_NEEDED', message: expect.stringMatching(message) as string })

  it('a canary that is missing in one shard', async () => {
    await append(world, 11, 100)
    await finish()
    tamper(storePath(folder.path), 'DELETE FROM canaries WHERE unit = 2 AND partition = 1 AND shard = 17')
    const worker = workerOver(world)
    await expect(assign(world, worker, 1)).rejects.toEqual(
      refusal(/unit 2, topic payments partition 1: 1 of 256 canaries are missing.*rebuilt/),
    )
    expect(await assign(world, worker, 0)).toBeGreaterThan(0)
  })

  it('a log that ends below what was counted', async () => {
    await append(world, 12, 60)
    await world.log.close()
    copyFileSync(logPath(folder.path), `${logPath(folder.path)}.copy`)
    await world.store.close()
    world = await openWorld(folder.path, world.clock, RETENTION_MS)
    await append(world, 13, 60)
    await finish()
    await closeWorld(world)
    copyFileSync(`${logPath(folder.path)}.copy`, logPath(folder.path))
    world = await openWorld(folder.path, world.clock, RETENTION_MS)
    await expect(assign(world, workerOver(world), 0)).rejects.toEqual(
      refusal(/unit 1, topic payments partition 0: the log ends at \d+, below what was counted \(\d+\)/),
    )
  })

  it('a log that was put back to an older copy and has grown past the canaries since', async () => {
    await append(world, 14, 60)
    await world.log.close()
    copyFileSync(logPath(folder.path), `${logPath(folder.path)}.copy`)
    await world.store.close()
    world = await openWorld(folder.path, world.clock, RETENTION_MS)
    await append(world, 15, 40)
    await finish()
    await closeWorld(world)
    copyFileSync(`${logPath(folder.path)}.copy`, logPath(folder.path))
    world = await openWorld(folder.path, world.clock, RETENTION_MS)
    world.clock.now += 10_000
    await append(world, 16, 200)
    await expect(assign(world, workerOver(world), 0)).rejects.toEqual(refusal(/is not the one that was counted/))
  })

  it('a log trimmed below the resume point, before and while the worker runs', async () => {
    await append(world, 17, 100)
    await finish()
    const running = workerOver(world)
    const counted = (await assign(world, running, 0)) ?? 0
    await append(world, 18, 100)
    world.clock.now += 3 * RETENTION_MS
    await append(world, 19, 60)
    const { startOffset } = await world.log.bounds(TOPIC, 0)
    expect(startOffset).toBeGreaterThan(counted)
    const holes = new RegExp(`records \\d+ to ${startOffset - 1} are no longer in the log`)
    await expect(assign(world, workerOver(world), 0)).rejects.toEqual(refusal(holes))
    const batch = await world.log.read(TOPIC, 0, 0, 1_000)
    expect(batch.fetchedOffset).toBe(startOffset)
    await expect(running.batch(batch, silent)).rejects.toEqual(refusal(holes))
  })

  it('a new store on a log that has lost its beginning, but not a new unit that was created on it', async () => {
    await append(world, 20, 100)
    await finish()
    world.clock.now += 3 * RETENTION_MS
    await append(world, 21, 60)
    tamper(storePath(folder.path), 'DELETE FROM sections; DELETE FROM canaries')
    await expect(assign(world, workerOver(world), 0)).rejects.toEqual(
      refusal(/unit 1, topic payments partition 0: the log begins at \d+, the unit at 0/),
    )
    tamper(storePath(folder.path), 'DELETE FROM documents')
    Object.assign(world, await preparePlan(plan, world.log, world.store))
    const { startOffset } = await world.log.bounds(TOPIC, 0)
    expect(await assign(world, workerOver(world), 0)).toBe(startOffset)
  })
})

const silent: ConsumerControl = {
  commit: () => Promise.resolve(),
  seek: () => undefined,
  pause: () => undefined,
  resume: () => undefined,
}

/** Feeds one partition in batches of any size, now and then with a new worker in the place of the old one. */
async function feed(world: World, partition: number, pick: (bound: number) => number): Promise<void> {
  const make = () =>
    workerOver(world, {
      maxDirtySections: 1 + pick(12),
      maxCachedBytes: 2_000 * (1 + pick(12)),
      commitIntervalMs: pick(2) * 5_000,
    })
  let worker = make()
  let next = (await assign(world, worker, partition)) ?? 0
  const control = { ...silent, seek: (_topic: string, _partition: number, offset: number) => void (next = offset) }
  const { endOffset } = await world.log.bounds(TOPIC, partition)
  while (next < endOffset) {
    world.clock.now += pick(4_000)
    const batch = await world.log.read(TOPIC, partition, next, 1 + pick(25))
    next = batch.nextOffset
    await worker.batch(batch, control)
    if (pick(3) === 0) await worker.idle(TOPIC, partition, endOffset, control)
    if (pick(5) > 0) continue
    if (pick(2) === 0) await worker.revoked(TOPIC, partition)
    worker = make()
    next = (await assign(world, worker, partition)) ?? 0
  }
  await worker.idle(TOPIC, partition, endOffset, control)
  await worker.revoked(TOPIC, partition)
}

describe('batch boundaries and restarts', () => {
  it('never show in the stored bytes', async () => {
    const folder = temporaryFolder()
    let run = 0
    try {
      await fc.assert(
        fc.asyncProperty(fc.integer(), fc.integer({ min: 20, max: 120 }), async (seed, count) => {
          const path = join(folder.path, `run-${++run}`)
          const world = await openWorld(path, newClock())
          try {
            await append(world, seed, count)
            const pick = random(seed)
            for (let partition = 0; partition < PARTITIONS; partition++) await feed(world, partition, pick)
            const pieces = await stateOf(world)
            await world.store.close()
            world.store = await openEmbeddedOnlineStore({ path: join(path, 'one-pass.sqlite'), clock: world.clock })
            Object.assign(world, await preparePlan(plan, world.log, world.store))
            await drive(world, workerOver(world))
            expect(pieces).toEqual(await stateOf(world))
            expect(pieces.size).toBeGreaterThan(0)
          } finally {
            await closeWorld(world)
          }
        }),
        { numRuns: 120 },
      )
    } finally {
      folder.remove()
    }
  })
})
