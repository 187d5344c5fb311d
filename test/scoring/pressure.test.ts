import { afterEach, describe, expect, it } from 'vitest'
import { NOW, changed, failure, feedHistory, paid, startWorld } from './world.ts'
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

/** Lets what was resolved be settled to the end. */
const settle = (): Promise<void> => new Promise(resolve => setImmediate(resolve))

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
    await settle()
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
      await settle()
      world.clock.timeMs += 1000
      slow.release.shift()?.()
    }
    const first = world.engine.score(request)
    await turn()
    await first
    await settle()
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
            keys[index]?.key.includes(':card:') === true
              ? list.map(section => ({ ...section, bytes: Uint8Array.of(255, 255) }))
              : list,
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
    expect(await world.engine.score(request)).toMatchObject({
      degraded: 'model_failed',
      score: null,
      decision: 'review',
    })
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
