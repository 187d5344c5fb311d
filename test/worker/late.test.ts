import { afterAll, beforeAll, describe, expect, it } from 'vitest'
import { entity, event, group, t } from '../../features/define/index.ts'
import { compileProject } from '../../features/plan/compile.ts'
import type { Project } from '../../features/plan/compile.ts'
import { createDriver } from '../../topology/jobs/backtest.ts'
import type { LogRecord } from '../../topology/ports/event-log.ts'
import { parseConfig } from '../../topology/runtime/config.ts'
import { openContext } from '../../topology/runtime/context.ts'
import type { RuntimeContext } from '../../topology/runtime/context.ts'
import { workerOf } from '../../topology/runtime/feature-processes.ts'
import { createScoringEngine } from '../../topology/scoring/engine.ts'
import { temporaryFolder } from '../system/headwater.ts'

const TOPIC = 'payments'
const PARTITIONS = 2
const T = 1_700_000_000_000
const MINUTE = 60_000

const payment = event('payment', {
  topic: TOPIC,
  id: 'id',
  time: 'at',
  key: 'card',
  partitions: PARTITIONS,
  lateness: '1m',
  fields: { id: t.string(), at: t.timestamp(), card: t.string(), shop: t.string(), amount: t.int() },
})
const card = entity('card', { key: 'card' })
const shop = entity('shop', { key: 'shop' })
const cards = group('card_activity', { entity: card, source: payment }, e => ({ n: e.count('lifetime') }))
const cardsLater = group('card_activity', { entity: card, source: payment }, e => ({
  n: e.count('lifetime'),
  spend: e.sum(e.amount, 'lifetime'),
}))
const shops = group('shop_activity', { entity: shop, source: payment }, e => ({ n: e.count('lifetime') }))

function projectOf(exports: Readonly<Record<string, unknown>>): Project {
  const compiled = compileProject({ definitions: [{ file: 'l.ts', exports }], bundleHashes: { 'l.ts': '0' } })
  if (!compiled.ok) throw new Error(JSON.stringify(compiled.problems))
  return compiled.project
}

const quiet = { count: () => undefined, gauge: () => undefined, observeMs: () => undefined, log: () => undefined }
const clock = { now: T, nowMs: () => clock.now, monotonicMs: () => clock.now }

describe('late events', () => {
  const folder = temporaryFolder()
  let context: RuntimeContext
  let keys: { card: string; sameCard: string; otherCard: string }

  async function open(project: Project): Promise<void> {
    const parsed = parseConfig({ file: null, environment: {}, flags: { dataDirectory: folder.path } })
    if (!parsed.ok) throw new Error(JSON.stringify(parsed.problems))
    context = await openContext(parsed.config, project, clock, quiet)
  }

  async function append(id: string, at: number, cardId: string, shopId: string): Promise<{ partition: number }> {
    clock.now = Math.max(clock.now, at) + 10
    const value = new TextEncoder().encode(JSON.stringify({ id, at, card: cardId, shop: shopId, amount: 1 }))
    const [position] = await context.log.append([{ topic: TOPIC, key: cardId, value, headers: { trace: id } }])
    return position ?? { partition: -1 }
  }

  /** Every revision reads to the end, the first one first. */
  async function work(): Promise<void> {
    for (const revision of context.catalogue.revisions) {
      const worker = workerOf(context, revision)
      if (worker !== null) await createDriver(context.log, worker.handlers, TOPIC, PARTITIONS).drain()
    }
  }

  async function lateRecords(): Promise<LogRecord[]> {
    const out: LogRecord[] = []
    for (let partition = 0; partition < PARTITIONS; partition++) {
      out.push(...(await context.log.read(`${TOPIC}.late`, partition, 0, 1_000)).records)
    }
    return out
  }

  const idOf = (record: LogRecord) => (JSON.parse(new TextDecoder().decode(record.value)) as { id: string }).id

  async function features(cardId: string, shopId: string): Promise<Readonly<Record<string, unknown>>> {
    const engine = createScoringEngine({
      bound: context.bound,
      services: new Map(),
      namespace: context.config.namespace,
      store: context.store,
      models: new Map(),
      clock,
      telemetry: quiet,
      emit: () => undefined,
    })
    const groups = ['card_activity', 'shop_activity']
    const of = { kind: 'groups', groups, entities: { card: cardId, shop: shopId } } as const
    const answer = await engine.getFeatures({ of, asOfMs: clock.now })
    await engine.close()
    return answer.features
  }

  beforeAll(async () => {
    await open(projectOf({ cards, shops }))
    // Cards that the log's partitioner puts together, and one that it puts elsewhere.
    const first = await append('probe-0', T - 60 * MINUTE, 'card-0', 'probe')
    const placed = await Promise.all(
      Array.from({ length: 20 }, async (_, index) => {
        const name = `card-${index + 1}`
        return { name, partition: (await append(`probe-${name}`, T - 60 * MINUTE, name, 'probe')).partition }
      }),
    )
    const sameCard = placed.find(each => each.partition === first.partition)?.name ?? ''
    const otherCard = placed.find(each => each.partition !== first.partition)?.name ?? ''
    keys = { card: 'card-0', sameCard, otherCard }
    await work()
    expect(await lateRecords()).toEqual([])
  })
  afterAll(async () => {
    await context.close()
    folder.remove()
  })

  it('go once to the late topic, naming the entities that refused them, and count for the others', async () => {
    await append('newest', T, keys.card, 'shop-a')
    await append('in-time', T - MINUTE, keys.card, 'shop-b')
    await append('late-for-card', T - MINUTE - 1, keys.card, 'shop-c')
    await append('late-for-both', T - 3 * MINUTE, keys.card, 'shop-a')
    await append('other-partition', T - 3 * MINUTE, keys.otherCard, 'shop-a')
    await work()
    await work()
    const found = await lateRecords()
    const byId = new Map(found.map(record => [idOf(record), record.headers['hw-late-for']]))
    expect(found).toHaveLength(byId.size)
    expect(byId.get('late-for-card')).toBe('card')
    expect(byId.get('late-for-both')?.split(',').sort()).toEqual(['card', 'shop'])
    expect(byId.has('in-time')).toBe(false)
    expect(byId.has('other-partition')).toBe(false)
    const late = found.find(record => idOf(record) === 'late-for-card')
    expect(late?.headers).toMatchObject({ trace: 'late-for-card', 'hw-source': 'payment' })
    const { records } = await context.log.read(
      TOPIC,
      Number(late?.headers['hw-partition']),
      Number(late?.headers['hw-offset']),
      1,
    )
    expect(records.map(idOf)).toEqual(['late-for-card'])
    // The probe, the newest, the one in time; not the two late ones.
    expect(await features(keys.card, 'shop-c')).toEqual({ 'card_activity.n': 3, 'shop_activity.n': 1 })
    expect(await features(keys.card, 'shop-b')).toEqual({ 'card_activity.n': 3, 'shop_activity.n': 1 })
    // The one from the other partition counts: lateness is a matter of one partition.
    expect(await features(keys.otherCard, 'shop-a')).toEqual({ 'card_activity.n': 2, 'shop_activity.n': 2 })
  })

  it('are refused by the shop alone when only the shop has moved on', async () => {
    const { partition } = await append('newest-3', T + MINUTE, keys.sameCard, 'shop-e')
    let name = ''
    for (let index = 0; name === ''; index++) {
      const candidate = `fresh-${index}`
      const position = await append(`late-shop-${index}`, T - MINUTE, candidate, 'shop-e')
      if (position.partition === partition) name = candidate
    }
    await work()
    const found = (await lateRecords()).filter(record => idOf(record).startsWith('late-shop-'))
    expect(found.map(record => record.headers['hw-late-for'])).toEqual(['shop'])
    expect((await features(name, 'shop-e'))['card_activity.n']).toBe(1)
  })

  it('are not published again by a revision that catches up, nor by a worker that starts again', async () => {
    const before = (await lateRecords()).map(idOf).sort()
    expect(before.length).toBeGreaterThan(2)
    await context.close()
    await open(projectOf({ cardsLater, shops }))
    expect(context.catalogue.revisions).toHaveLength(2)
    await work()
    expect((await lateRecords()).map(idOf).sort()).toEqual(before)
    const { 'card_activity.n': n, 'card_activity.spend': spend } = await features(keys.card, 'shop-a')
    expect([n, spend]).toEqual([3, 3])
  })

  it('are published once when two revisions feed the same entity', async () => {
    await append('late-for-two-revisions', T - 30 * MINUTE, keys.card, 'shop-a')
    await work()
    const found = (await lateRecords()).filter(record => idOf(record) === 'late-for-two-revisions')
    expect(found.map(record => record.headers['hw-late-for']?.split(',').sort())).toEqual([['card', 'shop']])
  })
})
