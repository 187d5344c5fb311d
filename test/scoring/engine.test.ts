import { createHash } from 'node:crypto'
import { InferenceSession, Tensor } from 'onnxruntime-node'
import { afterEach, describe, expect, it } from 'vitest'
import { createGrpcClient } from '../../topology/adapters/server/grpc/client.ts'
import { startGrpcServer } from '../../topology/adapters/server/grpc/server.ts'
import { systemClock } from './harness.ts'
import { HISTORY, MODEL_PATH, NOW, changed, failure, feedHistory, manifest, paid, startWorld } from './world.ts'
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

async function withHistory(...options: Parameters<typeof startWorld>): Promise<World> {
  return await feedHistory(await start(...options))
}

describe('score', () => {
  it('joins the event with the features of all its entities', async () => {
    const { engine } = await withHistory()
    const answer = await engine.score({
      service: 'scored',
      event: paid('p9', 0, { amount: 60 }),
      includeFeatures: true,
    })
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
      const event = paid(`x${index}`, index / 10, { amount: Math.round(1234.5 * index) / 100, card: `c${index % 3}` })
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
    await world.feed(
      'payment',
      1,
      Array.from({ length: 4 }, (_, index) => paid(`b${index}`, 4 - index, { card: 'c7' })),
    )
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
    const answer = await engine.score({
      service: 'scored',
      event: paid('p9', 0, { shop: null }),
      includeFeatures: true,
    })
    expect(answer.features).toMatchObject({ 'shop_activity.spend_1h': null, 'card_activity.count_1h': 3 })
    expect(answer.statuses).toMatchObject({ 'shop_activity.spend_1h': 'missing', 'shop_profile.rating': 'default' })
  })

  it('behind the horizon Score marks and answers, GetFeatures refuses and names the way', async () => {
    const { engine } = await withHistory()
    const asOfMs = NOW - 45 * 60_000
    const answer = await engine.score({ service: 'scored', event: paid('p9', 45), asOfMs, includeFeatures: true })
    expect(answer.statuses).toMatchObject({
      'card_activity.count_1h': 'out_of_range',
      'shop_activity.spend_1h': 'out_of_range',
    })
    expect(answer.features).toMatchObject({ 'card_activity.count_1h': null })
    expect(answer.degraded).toBeNull()
    const of = { kind: 'groups', groups: ['card_activity'], entities: { card: 'c1' } } as const
    const error = await failure(engine.getFeatures({ of, asOfMs }))
    expect(error.code).toBe('OUT_OF_RANGE')
    for (const part of ['600000 ms', '"card"', 'headwater backtest']) expect(error.message).toContain(part)
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
    expect(await groups(['nobody'], {})).toMatchObject({
      code: 'UNKNOWN_GROUP',
      message: expect.stringContaining('shop_activity'),
    })
    expect(await groups(['card_activity'], { shop: 's1' })).toMatchObject({
      code: 'INVALID_REQUEST',
      message: expect.stringContaining('"card"'),
    })
    const unknown = await failure(engine.score({ service: 'nobody', event: {} }))
    expect(unknown).toMatchObject({ code: 'UNKNOWN_SERVICE', message: expect.stringContaining('plain, scored') })
  })

  it('GetFeatures of groups stands at the server clock', async () => {
    const { engine } = await withHistory()
    const of = {
      kind: 'groups',
      groups: ['card_activity', 'shop_profile'],
      entities: { card: 'c1', shop: 's1' },
    } as const
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
