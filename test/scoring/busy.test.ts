import { afterEach, describe, expect, it } from 'vitest'
import type { Value } from '../../features/kernel/types.ts'
import type { OnlineStore, ReadKey, Section } from '../../topology/ports/online-store.ts'
import { NOW, changed, failure, paid, startWorld } from './world.ts'
import type { World } from './world.ts'

const HOUR = 3_600_000
const EVENTS = 1_500

const open: World[] = []
afterEach(async () => {
  for (const world of open.splice(0)) await world.close()
})

/** Payments of one busy card, every two seconds for 50 minutes. */
const BUSY = Array.from({ length: EVENTS }, (_, index) =>
  paid(`b${index}`, 0, { at: NOW - 37 - (EVENTS - index) * 2_000, amount: index % 7 }),
)

type Read = (keys: readonly ReadKey[], store: OnlineStore) => Promise<readonly (readonly Section[])[]>

/** A world with a busy card, over a store that is read in this way; `reads` gets the keys of each read. */
async function busyWorld(read: Read = (keys, store) => store.read(keys)): Promise<{ world: World; reads: string[][] }> {
  const reads: string[][] = []
  const world = await startWorld(({ store }) => ({
    store: changed(store, {
      read: keys => {
        reads.push(keys.map(each => each.key))
        return read(keys, store)
      },
    }),
  }))
  open.push(world)
  await world.feed('payment', 0, [...BUSY, paid('quiet', 1, { card: 'c2' })])
  return { world, reads }
}

const request = (t: number, card = 'c1') => ({
  service: 'plain',
  event: { ...paid('asked', 0), at: t, card },
  includeFeatures: true,
})

/** What a plain loop over the events answers, the one that asks included. */
function expected(t: number): { count: number; sum: number } {
  const within = BUSY.filter(each => Number(each['at']) > t - HOUR && Number(each['at']) <= t)
  return { count: within.length + 1, sum: within.reduce((sum, each) => sum + Number(each['amount']), 10) }
}

function expectFeatures(features: Readonly<Record<string, Value>> | null, t: number): void {
  const { count, sum } = expected(t)
  expect(features?.['card_activity.count_1h']).toBe(count)
  expect(features?.['card_activity.mean_1h']).toBeCloseTo(sum / count, 9)
}

describe('a busy entity', () => {
  it('is answered from one read, whose blocks follow from the instant', async () => {
    const { world, reads } = await busyWorld()
    const instants = [NOW, NOW - 300_000, NOW + 10 * 60_000, NOW + 30 * 60_000 + 1_234, NOW + HOUR]
    for (const t of instants) expectFeatures((await world.engine.score(request(t))).features, t)
    expect(reads).toHaveLength(instants.length)
    expect(world.telemetry.total('online_second_reads')).toBe(0)
    const [[section] = []] = await world.store.read([{ key: reads[0]?.[0] ?? '', blocks: () => [] }])
    expect(section?.levels).not.toBe(0)
  })

  it('shares a read between rows that ask for different instants of it', async () => {
    const { world, reads } = await busyWorld()
    const instants = [NOW, NOW + 17 * 60_000, NOW + 40 * 60_000]
    const answers = await Promise.all(instants.map(t => world.engine.score(request(t))))
    answers.forEach((answer, index) => expectFeatures(answer.features, instants[index] ?? 0))
    expect(reads).toHaveLength(1)
    expect(reads[0]).toHaveLength(1)
  })

  it('is read again, alone and counted, where blocks turn out to be missing', async () => {
    let first = true
    const { world, reads } = await busyWorld((keys, store) => {
      const bare = keys.map(({ key }) => ({ key, blocks: () => [] }))
      const asked = first ? bare : keys
      first = false
      return store.read(asked)
    })
    const t = NOW + 30 * 60_000
    const [busy, quiet] = await Promise.all([world.engine.score(request(t)), world.engine.score(request(t, 'c2'))])
    expectFeatures(busy.features, t)
    expect(quiet.features?.['card_activity.count_1h']).toBe(2)
    expect([busy.degraded, quiet.degraded]).toEqual([null, null])
    expect(reads.map(keys => keys.length)).toEqual([2, 1])
    expect(world.telemetry.total('online_second_reads')).toBe(1)
    await new Promise(resolve => setImmediate(resolve))
    expect(world.records.map(record => record.positions.length)).toEqual([1, 1])
  })

  it('is not readable where a block that its state names is not stored', async () => {
    const { world } = await busyWorld(async (keys, store) =>
      (await store.read(keys)).map(sections => sections.map(section => ({ ...section, blocks: new Map() }))),
    )
    const t = NOW + 30 * 60_000
    const answer = await world.engine.score(request(t))
    expect(answer).toMatchObject({ degraded: 'online_state_unreadable' })
    expect(answer.features).toMatchObject({ 'card_activity.count_1h': null })
    expect(world.telemetry.total('unit_read_failures')).toBe(1)
    expect(world.telemetry.logs.join('\n')).toMatch(/block \d+ is named by the stored state but is not stored/)
    const of = { kind: 'groups', groups: ['card_activity'], entities: { card: 'c1' } } as const
    expect(await failure(world.engine.getFeatures({ of, asOfMs: t }))).toMatchObject({ code: 'STORE_UNAVAILABLE' })
  })

  it('is given up when it needs other blocks in every read', async () => {
    const { world, reads } = await busyWorld((keys, store) =>
      store.read(keys.map(({ key }) => ({ key, blocks: () => [] }))),
    )
    expect((await world.engine.score(request(NOW + 30 * 60_000))).degraded).toBe('online_state_unreadable')
    expect(reads).toHaveLength(17)
    expect(world.telemetry.total('online_second_reads')).toBe(16)
    expect(world.telemetry.logs.join('\n')).toMatch(/named new blocks in each of 17 reads/)
  })

  it('costs its own rows only when the second read fails', async () => {
    let count = 0
    const { world } = await busyWorld((keys, store) => {
      if (++count === 2) return Promise.reject(new Error('connection lost'))
      return store.read(keys.map(({ key }) => ({ key, blocks: () => [] })))
    })
    const t = NOW + 30 * 60_000
    const [busy, quiet] = await Promise.all([world.engine.score(request(t)), world.engine.score(request(t, 'c2'))])
    expect(busy.degraded).toBe('online_store_unavailable')
    expect(quiet).toMatchObject({ degraded: null, features: { 'card_activity.count_1h': 2 } })
  })
})
