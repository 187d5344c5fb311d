import { createHash } from 'node:crypto'
import { InferenceSession, Tensor } from 'onnxruntime-node'
import { afterEach, describe, expect, it } from 'vitest'
import { createGrpcClient } from '../../topology/adapters/server/grpc/client.ts'
import { startGrpcServer } from '../../topology/adapters/server/grpc/server.ts'
import type { OnlineStore } from '../../topology/ports/online-store.ts'
import { ServerError } from '../../topology/ports/server.ts'
import { systemClock } from './harness.ts'
import { MODEL_PATH, NOW, manifest, paid, startWorld } from './world.ts'
import type { World } from './world.ts'

const open: World[] = []
afterEach(async () => {
  for (const world of open.splice(0)) await world.close()
})

async function start(...options: Parameters<typeof startWorld>): Promise<World> {
  const world = await startWorld(...options)
  open.push(world)
  return world
}

const HISTORY = [paid('p1', 50), paid('p2', 30, { amount: 20 }), paid('p3', 5, { card: 'c2', amount: 33.33 })]

async function withHistory(...options: Parameters<typeof startWorld>): Promise<World> {
  const world = await start(...options)
  await world.feed('payment', 0, HISTORY)
  await world.feed('profile', 0, [{ id: 'q1', at: NOW - 1000, shop: 's1', rating: 4.5 }])
  return world
}

function failure(work: Promise<unknown>): Promise<ServerError> {
  return work.then(
    () => Promise.reject(new Error('it did not fail')),
    (error: unknown) => error as ServerError,
  )
}

/** A store that is the given one but for some methods. */
function changed(store: OnlineStore, changes: Partial<OnlineStore>): OnlineStore {
  return Object.assign(Object.create(store) as OnlineStore, changes)
}

describe('score', () => {
  it('joins the event with the features of all its entities', async () => {
    const { engine } = await withHistory()
    const answer = await engine.score({ service: 'scored', event: paid('p9', 0, { amount: 60 }), includeFeatures: true })
    expect(answer.features).toEqual({
      'card_activity.count_1h': 3,
      'card_activity.mean_1h': 30,
      'card_activity.last_shop': 's1',
      'shop_activity.spend_1h': 10 + 20 + 33.33 + 60,
      'shop_profile.rating': 4.5,
      'derived.over_mean': 2,
      'derived.broken': null,
    })
    expect(answer.statuses).toEqual({
      'card_activity.count_1h': 'fresh',
      'card_activity.mean_1h': 'fresh',
      'card_activity.last_shop': 'fresh',
      'shop_activity.spend_1h': 'fresh',
      'shop_profile.rating': 'fresh',
      'derived.over_mean': 'fresh',
      'derived.broken': 'missing',
    })
    expect(answer).toMatchObject({ model: 'tiny', modelVersion: '1.2.0', policyVersion: '7', degraded: null })
    expect(answer.decisionId).toBe(createHash('sha256').update('scored\0p9').digest('hex').slice(0, 32))
  })

  it('equals GetFeatures and the model run by hand, bit for bit', async () => {
    const { engine } = await withHistory()
    const session = await InferenceSession.create(MODEL_PATH)
    for (let index = 0; index < 40; index++) {
      const event = paid(`x${index}`, index, { amount: Math.round(1234.5 * index) / 100, card: `c${index % 3}` })
      const answer = await engine.score({ service: 'scored', event })
      const asOfMs = event['at'] as number
      const { features } = await engine.getFeatures({ of: { kind: 'service', service: 'scored', event }, asOfMs })
      const row = manifest.inputs.map(({ name, default: whenNull }) => {
        const value = name === 'request.amount' ? event['amount'] : features[name]
        return typeof value === 'number' && !Number.isNaN(value) ? value : whenNull
      })
      const output = await session.run({ features: new Tensor('float32', Float32Array.from(row), [1, 3]) })
      expect(answer.score).toBe((output['probabilities']?.data as Float32Array)[1])
    }
    await session.release()
  })

  it('does not count an event twice that has come through the log already', async () => {
    const { engine } = await withHistory()
    const answer = await engine.score({ service: 'plain', event: HISTORY[1] ?? {}, includeFeatures: true })
    expect(answer.features).toMatchObject({ 'card_activity.count_1h': 2, 'card_activity.mean_1h': 15 })
  })

  it('reads the sections of all partitions together', async () => {
    const world = await withHistory()
    await world.feed('payment', 1, [paid('r1', 3, { card: 'c3', amount: 7 })])
    const { features } = await world.engine.getFeatures({
      of: { kind: 'groups', groups: ['shop_activity'], entities: { shop: 's1' } },
    })
    expect(features).toEqual({ 'shop_activity.spend_1h': 70.33 })
  })

  it('answers a service without model and policy', async () => {
    const { engine } = await withHistory()
    const answer = await engine.score({ service: 'plain', event: paid('p9', 0) })
    expect(answer).toMatchObject({ decision: 'none', score: null, model: null, policyVersion: null, degraded: null })
  })

  it('decides by policy: the worst of rules and score, a broken rule aside', async () => {
    const world = await withHistory()
    const calm = await world.engine.score({ service: 'scored', event: paid('p9', 0, { amount: 0.01 }) })
    expect(calm).toMatchObject({ decision: 'approve', matchedRules: [] })
    const high = await world.engine.score({ service: 'scored', event: paid('p9', 0, { amount: 500 }) })
    expect(high).toMatchObject({ decision: 'review', matchedRules: [] })
    await world.feed('payment', 1, Array.from({ length: 4 }, (_, index) => paid(`b${index}`, 4 - index, { card: 'c7' })))
    const burst = await world.engine.score({ service: 'scored', event: paid('p9', 0, { card: 'c7', amount: 0.01 }) })
    expect(burst).toMatchObject({ decision: 'decline', matchedRules: ['burst'] })
    expect(world.telemetry.total('policy_rule_failures')).toBe(3)
    expect(world.telemetry.total('derived_failures')).toBe(3)
  })
})

describe('statuses', () => {
  it('stale follows the pipeline, by group and its maxAge', async () => {
    const world = await withHistory()
    await world.caughtUp(NOW - 61_000)
    const answer = await world.engine.score({ service: 'scored', event: paid('p9', 0) })
    expect(answer.statuses).toMatchObject({
      'card_activity.count_1h': 'stale',
      'shop_activity.spend_1h': 'stale',
      'shop_profile.rating': 'fresh',
      'derived.over_mean': 'stale',
    })
    await world.caughtUp(NOW - 59_000)
    const again = await world.engine.score({ service: 'scored', event: paid('p9', 0) })
    expect(again.statuses).toMatchObject({ 'card_activity.count_1h': 'fresh', 'derived.over_mean': 'fresh' })
  })

  it('an idle entity is fresh, and a source nobody reads is stale', async () => {
    const world = await start()
    const idle = await world.engine.score({ service: 'plain', event: paid('p9', 0, { card: 'unseen' }) })
    expect(idle.statuses).toMatchObject({ 'card_activity.count_1h': 'fresh', 'card_activity.last_shop': 'missing' })
    const other = await start(({ store }) => ({ store: changed(store, { readProgress: async () => [] }) }))
    const unread = await other.engine.score({ service: 'plain', event: paid('p9', 0) })
    expect(unread.statuses).toMatchObject({ 'card_activity.count_1h': 'stale' })
  })

  it('default says that the model was given one; the record says where', async () => {
    const world = await withHistory()
    const event = paid('p9', 0, { shop: 'unrated' })
    const answer = await world.engine.score({ service: 'scored', event, includeFeatures: true })
    expect(answer.statuses).toMatchObject({ 'shop_profile.rating': 'default', 'derived.broken': 'missing' })
    expect(answer.features).toMatchObject({ 'shop_profile.rating': null })
    await world.engine.close()
    expect(world.records[0]?.inputs).toEqual({
      'request.amount': 10,
      'shop_profile.rating': null,
      'derived.over_mean': expect.any(Number),
    })
  })

  it('an entity that the event does not name is missing', async () => {
    const { engine } = await withHistory()
    const answer = await engine.score({ service: 'scored', event: paid('p9', 0, { shop: null }), includeFeatures: true })
    expect(answer.features).toMatchObject({ 'shop_activity.spend_1h': null, 'card_activity.count_1h': 3 })
    expect(answer.statuses).toMatchObject({ 'shop_activity.spend_1h': 'missing', 'shop_profile.rating': 'default' })
  })

  it('behind the horizon Score marks and answers, GetFeatures refuses and names the way', async () => {
    const { engine } = await withHistory()
    const asOfMs = NOW - 45 * 60_000
    const answer = await engine.score({ service: 'scored', event: paid('p9', 45), asOfMs, includeFeatures: true })
    expect(answer.statuses).toMatchObject({ 'card_activity.count_1h': 'out_of_range', 'shop_activity.spend_1h': 'out_of_range' })
    expect(answer.features).toMatchObject({ 'card_activity.count_1h': null })
    expect(answer.degraded).toBeNull()
    const of = { kind: 'groups', groups: ['card_activity'], entities: { card: 'c1' } } as const
    const error = await failure(engine.getFeatures({ of, asOfMs }))
    expect(error.code).toBe('OUT_OF_RANGE')
    for (const part of ['600000 ms', '"card"', 'headwater backtest']) expect(error.message).toContain(part)
  })
})

describe('batches', () => {
  it('isolate a bad row', async () => {
    const { engine } = await withHistory()
    const good = paid('p9', 0)
    const results = await engine.scoreBatch([
      { service: 'scored', event: good },
      { service: 'scored', event: { ...good, amount: 'much' } },
      { service: 'nobody', event: good },
      { service: 'scored', event: { ...good, extra: 1 } },
      { service: 'scored', event: { ...good, id: null } },
      { service: 'scored', event: good, asOfMs: 1.5 },
      { service: 'scored', event: good },
    ])
    expect(results.map(result => (result.ok ? 'ok' : result.error.code))).toEqual([
      'ok',
      'INVALID_EVENT',
      'UNKNOWN_SERVICE',
      'INVALID_EVENT',
      'INVALID_EVENT',
      'INVALID_REQUEST',
      'ok',
    ])
    expect(results[1]).toMatchObject({ error: { message: expect.stringContaining('"amount"') } })
    expect(results[3]).toMatchObject({ error: { message: expect.stringContaining('"extra"') } })
    expect(results[4]).toMatchObject({ error: { message: expect.stringContaining('MISSING_ID') } })
  })

  it('are bounded', async () => {
    const { engine } = await start(() => ({ limits: { maxBatchItems: 2 } }))
    const requests = Array.from({ length: 3 }, () => ({ service: 'plain', event: paid('p', 0) }))
    expect((await failure(engine.scoreBatch(requests))).code).toBe('BATCH_TOO_LARGE')
  })

  it('one event-loop turn is one read of each key and one model run', async () => {
    const reads: number[] = []
    const runs: number[] = []
    const world = await withHistory(({ store, models }) => {
      const [served] = models.values()
      if (served === undefined) throw new Error('no model')
      const model = {
        ...served.model,
        run: (features: Float32Array, rows: number) => {
          runs.push(rows)
          return served.model.run(features, rows)
        },
      }
      return {
        store: changed(store, {
          read: keys => {
            reads.push(keys.length)
            return store.read(keys)
          },
        }),
        models: new Map([['tiny', { ...served, model }]]),
        limits: { maxTurnRows: 64, maxModelRows: 32 },
      }
    })
    const cards = Array.from({ length: 60 }, (_, index) => `c${index % 5}`)
    const alone = []
    for (const card of cards) alone.push(await world.engine.score({ service: 'scored', event: paid('p', 0, { card }) }))
    reads.length = 0
    runs.length = 0
    const events = cards.map(card => ({ service: 'scored', event: paid('p', 0, { card }) }))
    const together = await Promise.all(events.map(request => world.engine.score(request)))
    expect(reads).toEqual([5 + 2])
    expect(runs).toEqual([32, 28])
    expect(together.map(answer => answer.score)).toEqual(alone.map(answer => answer.score))
  })
})

describe('overload', () => {
  it('refuses what the queue cannot hold, and serves again afterwards', async () => {
    const { engine } = await withHistory(() => ({ limits: { maxQueuedRows: 4 } }))
    const answers = Array.from({ length: 6 }, () => engine.score({ service: 'plain', event: paid('p', 0) }))
    const settled = await Promise.allSettled(answers)
    expect(settled.map(answer => answer.status)).toEqual([
      ...new Array<string>(4).fill('fulfilled'),
      ...new Array<string>(2).fill('rejected'),
    ])
    const error = await failure(answers[5] ?? Promise.resolve())
    expect(error.code).toBe('OVERLOADED')
    expect(error.retryAfterMs).toBeGreaterThan(0)
    expect((await engine.score({ service: 'plain', event: paid('p', 0) })).decision).toBe('none')
    expect(engine.describe().queuedRows).toBe(0)
  })

  it('refuses at once what is past its deadline', async () => {
    const world = await withHistory()
    const request = { service: 'plain', event: paid('p', 0) }
    expect((await failure(world.engine.score({ ...request, deadlineMs: NOW }))).code).toBe('DEADLINE_EXCEEDED')
    const waiting = failure(world.engine.score({ ...request, deadlineMs: NOW + 5 }))
    world.clock.timeMs += 6
    expect((await waiting).code).toBe('DEADLINE_EXCEEDED')
    expect(world.records).toEqual([])
  })

  it('refuses what would wait longer than its deadline, with a hint', async () => {
    const slow: { release: (() => void)[] } = { release: [] }
    const world = await withHistory(({ store }) => ({
      limits: { maxTurnRows: 1 },
      store: changed(store, {
        read: async keys => {
          await new Promise<void>(resolve => slow.release.push(resolve))
          return await store.read(keys)
        },
      }),
    }))
    const request = { service: 'plain', event: paid('p', 0) }
    const turn = async (): Promise<void> => {
      await new Promise(resolve => setImmediate(resolve))
      world.clock.timeMs += 1000
      slow.release.shift()?.()
    }
    const first = world.engine.score(request)
    await turn()
    await first
    const second = world.engine.score(request)
    const refused = await failure(world.engine.score({ ...request, deadlineMs: world.clock.timeMs + 10 }))
    expect(refused).toMatchObject({ code: 'OVERLOADED', message: expect.stringContaining('deadline') })
    expect(refused.retryAfterMs).toBeGreaterThan(10)
    await turn()
    await second
  })

  it('answers what was admitted before it closes, and nothing after', async () => {
    const world = await withHistory()
    const answer = world.engine.score({ service: 'scored', event: paid('p9', 0) })
    await world.engine.close()
    expect((await answer).decision).toBe('approve')
    expect(world.records).toHaveLength(1)
    expect((await failure(world.engine.score({ service: 'scored', event: paid('p9', 0) }))).code).toBe('SHUTTING_DOWN')
  })
})

describe('the ladder', () => {
  const request = { service: 'scored', event: paid('p9', 0), includeFeatures: true }

  it('without the online store the model is given its defaults', async () => {
    const world = await withHistory(({ store }) => ({
      store: changed(store, { read: () => Promise.reject(new Error('connection refused')) }),
    }))
    const answer = await world.engine.score(request)
    expect(answer).toMatchObject({ degraded: 'online_store_unavailable', decision: 'review' })
    expect(answer.score).toBeGreaterThan(0)
    expect(answer.statuses).toMatchObject({ 'card_activity.count_1h': 'missing', 'shop_profile.rating': 'default' })
    const of = { kind: 'groups', groups: ['card_activity'], entities: { card: 'c1' } } as const
    expect(await failure(world.engine.getFeatures({ of }))).toMatchObject({ code: 'STORE_UNAVAILABLE' })
  })

  it('a store that hangs is given up', async () => {
    const { engine } = await withHistory(({ store }) => ({
      store: changed(store, { read: () => new Promise(() => {}) }),
      limits: { maxReadMs: 5 },
    }))
    expect((await engine.score(request)).degraded).toBe('online_store_unavailable')
  })

  it('state that is not readable costs its own entity only', async () => {
    const world = await withHistory(({ store }) => ({
      store: changed(store, {
        read: async keys => {
          const sections = await store.read(keys)
          return sections.map((list, index) =>
            keys[index]?.includes(':card:') ? list.map(section => ({ ...section, bytes: Uint8Array.of(255, 255) })) : list,
          )
        },
      }),
    }))
    const answer = await world.engine.score(request)
    expect(answer.degraded).toBe('online_state_unreadable')
    expect(answer.features).toMatchObject({ 'card_activity.count_1h': null, 'shop_profile.rating': 4.5 })
  })

  it('without the model the policy answers by rules and fallback', async () => {
    const { engine } = await withHistory(() => ({ models: new Map() }))
    const answer = await engine.score(request)
    expect(answer).toMatchObject({ degraded: 'model_unavailable', score: null, decision: 'review', modelVersion: null })
    expect(answer.features).toMatchObject({ 'card_activity.count_1h': 3 })
  })

  it('a model that fails costs the score, not the answer', async () => {
    const world = await withHistory()
    for (const { model } of world.models.values()) await model.close()
    expect(await world.engine.score(request)).toMatchObject({ degraded: 'model_failed', score: null, decision: 'review' })
  })

  it('a model that fails on one row fails that row only', async () => {
    const { engine } = await withHistory(({ models }) => {
      const [served] = models.values()
      if (served === undefined) throw new Error('no model')
      const model = {
        ...served.model,
        run: async (features: Float32Array, rows: number) => {
          for (let row = 0; row < rows; row++) if (features[row * 3] === 66) throw new Error('66 is not for me')
          return await served.model.run(features, rows)
        },
      }
      return { models: new Map([['tiny', { ...served, model }]]) }
    })
    const amounts = [1, 66, 3]
    const answers = await Promise.all(
      amounts.map(amount => engine.score({ service: 'scored', event: paid('p9', 0, { amount }) })),
    )
    expect(answers.map(answer => answer.degraded)).toEqual([null, 'model_failed', null])
  })
})

describe('the record of a score', () => {
  it('holds all that an audit needs', async () => {
    const world = await withHistory()
    const event = paid('p9', 0, { amount: 60 })
    const answer = await world.engine.score({ service: 'scored', event })
    await world.engine.close()
    const [record] = world.records
    expect(record).toMatchObject({
      decisionId: answer.decisionId,
      service: 'scored',
      eventId: 'p9',
      eventTimeMs: NOW,
      asOfMs: NOW,
      scoredAtMs: NOW,
      planHash: world.bound.plan.hash,
      model: 'tiny',
      modelVersion: '1.2.0',
      policyVersion: '7',
      decision: answer.decision,
      score: answer.score,
      degraded: null,
      request: event,
      statuses: answer.statuses,
      inputs: { 'request.amount': 60, 'shop_profile.rating': 4.5, 'derived.over_mean': 2 },
    })
    expect(record?.features).toMatchObject({ 'card_activity.count_1h': 3 })
    const units = new Map(world.bound.units.map(unit => [unit.id, `${unit.source.name}/${unit.entity}`]))
    const positions = record?.positions.map(p => [units.get(p.unit), p.incarnation, p.partition, p.offset])
    expect(positions?.sort()).toEqual([
      ['payment/card', 'life', 0, 1],
      ['payment/shop', 'life', 0, 2],
      ['profile/shop', 'life', 0, 0],
    ])
  })

  it('is emitted after the answer, and a failing receiver harms nobody', async () => {
    const world = await withHistory(() => ({
      emit: () => {
        throw new Error('no room')
      },
    }))
    expect((await world.engine.score({ service: 'scored', event: paid('p9', 0) })).decision).toBe('approve')
    await world.engine.close()
    expect(world.telemetry.total('score_emit_failures')).toBe(1)
  })
})

describe('requests', () => {
  it('that make no sense are refused by name', async () => {
    const { engine } = await start()
    const groups = (names: string[], entities: Record<string, string>) =>
      failure(engine.getFeatures({ of: { kind: 'groups', groups: names, entities } }))
    expect(await groups([], {})).toMatchObject({ code: 'INVALID_REQUEST' })
    expect(await groups(['nobody'], {})).toMatchObject({ code: 'UNKNOWN_GROUP', message: expect.stringContaining('shop_activity') })
    expect(await groups(['card_activity'], { shop: 's1' })).toMatchObject({
      code: 'INVALID_REQUEST',
      message: expect.stringContaining('"card"'),
    })
    const unknown = await failure(engine.score({ service: 'nobody', event: {} }))
    expect(unknown).toMatchObject({ code: 'UNKNOWN_SERVICE', message: expect.stringContaining('scored, plain') })
  })

  it('GetFeatures of groups stands at the server clock', async () => {
    const { engine } = await withHistory()
    const of = { kind: 'groups', groups: ['card_activity', 'shop_profile'], entities: { card: 'c1', shop: 's1' } } as const
    expect(await engine.getFeatures({ of })).toMatchObject({
      asOfMs: NOW,
      features: { 'card_activity.count_1h': 2, 'card_activity.mean_1h': 15, 'shop_profile.rating': 4.5 },
    })
  })
})

it('refuses a model that does not fit its service', async () => {
  const world = await start()
  const [served] = world.models.values()
  if (served === undefined) throw new Error('no model')
  await expect(
    startWorld(() => ({
      models: new Map([
        ['tiny', { ...served, manifest: { ...manifest, inputs: [{ name: 'card_activity.nothing', default: 0 }] } }],
      ]),
    })),
  ).rejects.toThrow('card_activity.nothing')
})

it('answers over the wire as it does in the process', async () => {
  const world = await withHistory()
  const { score, scoreBatch, getFeatures } = world.engine
  const handlers = { score, scoreBatch, getFeatures, publishEvents: () => Promise.reject(new Error('not served here')) }
  const server = await startGrpcServer({ handlers, telemetry: world.telemetry, clock: systemClock, port: 0 })
  const client = createGrpcClient({ address: server.address })
  try {
    const request = { service: 'scored', event: paid('p9', 0, { amount: 60 }), includeFeatures: true }
    const { latencyUs: _here, ...here } = await world.engine.score(request)
    const { latencyUs: _there, ...there } = await client.score(request)
    expect(there).toEqual(here)
    const error = await failure(client.score({ service: 'scored', event: { ...request.event, amount: 'much' } }))
    expect(error).toMatchObject({ code: 'INVALID_EVENT', message: expect.stringContaining('"amount"') })
    const batch = await client.scoreBatch([request, { ...request, event: {} }])
    expect(batch.map(result => result.ok)).toEqual([true, false])
  } finally {
    client.close()
    await server.close(1000)
  }
})
