import { beforeEach, describe, expect, it } from 'vitest'
import type { ConsumerControl, ConsumerHandlers, EventLog } from '../../topology/ports/event-log.ts'
import { SHARD_COUNT } from '../../topology/ports/online-store.ts'
import type { OnlineStore, Progress } from '../../topology/ports/online-store.ts'
import { createFeatureWorker } from '../../topology/runtime/feature-worker.ts'
import type { Network } from './simulated-network.ts'
import { noFaults } from './simulated-network.ts'
import { createSimulatedStore } from './simulated-ports.ts'
import { createTopic } from './simulated-topic.ts'
import type { Topic } from './simulated-topic.ts'
import { BASE_MS, TOPIC, paymentSource, settingOf } from './simulation-traffic.ts'

const { units } = settingOf(1)
const encoder = new TextEncoder()
const process = { name: 'worker', alive: true, frozen: false, calls: new Map<string, number>() }
/** Every call takes effect and is answered. */
const network: Network = { faults: noFaults(), inFlight: () => 0, call: async (_process, _what, effect) => effect() }

/** A topic with one partition, a store, and a clock that can be set. */
interface Setup {
  topic: Topic
  store: OnlineStore
  servers: ReturnType<typeof createSimulatedStore>
  clock: { wallMs: number; monotonicMs: number }
  commits: number[]
  progress: Progress[]
}

let setup: Setup
beforeEach(() => {
  const servers = createSimulatedStore(
    () => Promise.resolve(),
    () => 99,
    {},
  )
  const progress: Progress[] = []
  const store: OnlineStore = {
    ...servers.store,
    publishProgress: list => {
      progress.push(...list)
      return Promise.resolve()
    },
  }
  const clock = { wallMs: BASE_MS, monotonicMs: 1 }
  setup = { topic: createTopic(TOPIC, [0]), store, servers, clock, commits: [], progress }
})

function worker(
  changed: { readonly store?: OnlineStore; readonly log?: EventLog; readonly liveFrom?: number } = {},
): ConsumerHandlers {
  const { topic, store, clock } = setup
  return createFeatureWorker({
    confirmUnits: () => Promise.resolve(),
    source: paymentSource(),
    units,
    start: { incarnation: 'life-1', offsets: [0] },
    liveFrom: [changed.liveFrom ?? 0],
    feed: 'feed',
    reportsLateFor: new Set(['card', 'shop']),
    namespace: 'n',
    log: changed.log ?? topic.port(network, process),
    store: changed.store ?? store,
    clock: { nowMs: () => clock.wallMs, monotonicMs: () => clock.monotonicMs },
    telemetry: { count: () => undefined, gauge: () => undefined, observeMs: () => undefined, log: () => undefined },
    limits: { maxDirtySections: 100, maxCachedBytes: 1 << 20, commitIntervalMs: 2_000, maxRecordBytes: 1 << 20 },
  })
}

/** An event of one card at one shop; `at` in milliseconds after the beginning. */
function append(id: string, at: number) {
  const body = { id, at: BASE_MS + at, card: 'c', shop: 's', amount: 1 }
  return setup.topic.append(0, 'c', encoder.encode(JSON.stringify(body)), BASE_MS + 10_000_000 + at, 0)
}

const control: ConsumerControl = {
  commit: (_topic, _partition, offset) => {
    setup.commits.push(offset)
    return Promise.resolve()
  },
  seek: () => undefined,
  pause: () => undefined,
  resume: () => undefined,
}

async function assign(handlers: ConsumerHandlers): Promise<number | null> {
  return await handlers.assigned(TOPIC, 0, setup.topic.bounds(0))
}

async function readFrom(handlers: ConsumerHandlers, from: number): Promise<void> {
  await handlers.batch(setup.topic.batchAt(0, from, 100), control)
}

const positions = (): readonly number[] => [...setup.servers.sections().values()].map(section => section.position)

describe('a first start that was interrupted', () => {
  it('begins again: some canaries at the start, none beyond it, say that nothing was counted', async () => {
    append('a', 0)
    const { store } = setup
    const stopped: OnlineStore = {
      ...store,
      initialiseCanaries: async (lane, _count, start) => {
        await store.initialiseCanaries(lane, 100, start)
        throw new Error('the process ended')
      },
    }
    await expect(assign(worker({ store: stopped }))).rejects.toThrow('the process ended')
    const again = worker()
    expect(await assign(again)).toBe(0)
    await readFrom(again, 0)
    expect(positions()).toEqual([0, 0])
  })

  it('is refused when the log has lost its beginning meanwhile', async () => {
    append('a', 0)
    append('b', 1)
    const lane = { unit: units[0]?.id ?? 0, incarnation: 'life-1', partition: 0 }
    await setup.store.initialiseCanaries(lane, 100, { offset: -1, arrivalMs: 0 })
    setup.topic.cutHead(0, 0)
    await expect(assign(worker())).rejects.toMatchObject({ code: 'REBUILD_NEEDED' })
  })
})

describe('another life of the topic', () => {
  it('has its late events reported, whatever was reported at the same offsets before', async () => {
    const handlers = worker({ liveFrom: 2 })
    append('a', 3_600_000)
    append('late before the revision', 0)
    const first = append('late', 0)
    await assign(handlers)
    await readFrom(handlers, 0)
    expect(setup.topic.reportedLate(first, 'card')).toBe(true)
    await handlers.revoked(TOPIC, 0)
    setup.topic.recreate(1)
    append('b', 3_600_000)
    const second = append('late again', 0)
    const third = append('and again', 0)
    await assign(handlers)
    await readFrom(handlers, 0)
    for (const record of [second, third]) {
      expect(setup.topic.reportedLate(record, 'card')).toBe(true)
      expect(setup.topic.reportedLate(record, 'shop')).toBe(true)
    }
  })

  it('is counted beside the one before', async () => {
    const handlers = worker()
    append('a', 0)
    await assign(handlers)
    await readFrom(handlers, 0)
    await handlers.revoked(TOPIC, 0)
    setup.topic.recreate(1)
    append('b', 1)
    expect(await assign(worker())).toBe(0)
  })

  it('is refused over a store that was emptied: no log holds what was counted before', async () => {
    append('a', 0)
    setup.topic.recreate(1)
    append('b', 1)
    await expect(assign(worker())).rejects.toMatchObject({
      code: 'REBUILD_NEEDED',
      message: expect.stringMatching(/earlier life of the topic is not stored/) as string,
    })
  })

  it('is no reason to rebuild when it begins while a partition is being opened', async () => {
    const first = worker()
    append('a', 0)
    await assign(first)
    await readFrom(first, 0)
    await first.revoked(TOPIC, 0)
    const bounds = setup.topic.bounds(0)
    setup.topic.recreate(1)
    append('b', 1)
    await expect(worker().assigned(TOPIC, 0, bounds)).rejects.toThrow(/was made again meanwhile/)
    expect(await assign(worker())).toBe(0)
  })
})

describe('a clock that is set back', () => {
  it('holds up neither commits, nor canaries of quiet shards, nor progress', async () => {
    const handlers = worker()
    await assign(handlers)
    append('a', 0)
    await readFrom(handlers, 0)
    setup.clock.wallMs -= 48 * 3_600_000
    const published = setup.progress.length
    setup.clock.monotonicMs += 2_000
    append('b', 1)
    await readFrom(handlers, 1)
    expect(setup.commits).toEqual([2])
    expect(setup.progress.length).toBeGreaterThan(published)
    const lane = { unit: units[0]?.id ?? 0, incarnation: 'life-1', partition: 0 }
    const canaries = await setup.store.readCanaries(lane, SHARD_COUNT)
    expect(Math.min(...canaries.map(canary => canary?.offset ?? -1))).toBe(1)
  })
})

describe('a store that loses what it had while no event comes', () => {
  const seekable = (sought: number[]): ConsumerControl => ({
    ...control,
    seek: (_topic, _partition, offset) => void sought.push(offset),
  })

  it('is noticed before anything is called caught up, and is written again', async () => {
    const handlers = worker()
    append('a', 0)
    append('b', 1)
    await assign(handlers)
    await readFrom(handlers, 0)
    setup.clock.monotonicMs += 5_000
    await handlers.idle(TOPIC, 0, 2, control)
    expect(positions()).toEqual([1, 1])
    setup.servers.empty()
    const published = setup.progress.length
    const sought: number[] = []
    setup.clock.monotonicMs += 1_000
    await handlers.idle(TOPIC, 0, 2, seekable(sought))
    expect(setup.progress.length).toBe(published)
    expect(sought).toEqual([0])
    await readFrom(handlers, 0)
    expect(positions()).toEqual([1, 1])
  })
})
