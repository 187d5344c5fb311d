import type { Batch, ConsumerControl, EventLog, LogRecord } from '../../topology/ports/event-log.ts'
import type {
  Canary,
  FlushOutcome,
  Lane,
  LoadOutcome,
  OnlineStore,
  Section,
  ShardFlush,
} from '../../topology/ports/online-store.ts'

/** A small seeded generator (mulberry32). */
export function random(seed: number): (bound: number) => number {
  let state = seed >>> 0
  return bound => {
    state = (state + 0x6d2b79f5) >>> 0
    let z = Math.imul(state ^ (state >>> 15), state | 1)
    z ^= z + Math.imul(z ^ (z >>> 7), z | 61)
    return ((z ^ (z >>> 14)) >>> 0) % bound
  }
}

/** Releases waiting steps one at a time in a seeded order, so that one seed reproduces a whole run. */
export function createScheduler(pick: (bound: number) => number) {
  const waiting: (() => void)[] = []
  return {
    turn: (): Promise<void> => new Promise(resolve => void waiting.push(resolve)),
    /** Runs until nothing waits and `done` says so. */
    run: async (done: () => boolean): Promise<void> => {
      for (;;) {
        await new Promise(resolve => void setImmediate(resolve))
        if (waiting.length === 0) {
          if (done()) return
          continue
        }
        const index = pick(waiting.length)
        const [release] = waiting.splice(index, 1)
        release?.()
      }
    },
  }
}

interface Image {
  readonly sections: Map<string, Section>
  readonly canaries: Map<string, Canary>
}

export class Lost extends Error {}

/** Which rules of the protocol the simulated store leaves out, to show that the simulation would notice. */
export interface PlantedBugs {
  readonly noFence?: boolean
  readonly noMaxRegister?: boolean
}

/**
 * An online store in memory that can lose acknowledgements, refuse calls and roll a suffix of its writes back, as a
 * promoted replica does. It obeys the port's contract otherwise.
 */
export function createSimulatedStore(turn: () => Promise<void>, pick: (bound: number) => number, bugs: PlantedBugs) {
  let image: Image = { sections: new Map(), canaries: new Map() }
  const history: Image[] = []
  const faults = { losePercent: 0, failPercent: 0 }
  const sectionKey = (lane: Lane, key: string) => `${key}|${lane.incarnation}|${lane.partition}`
  const canaryKey = (lane: Lane, shard: number) => `${lane.unit}|${lane.incarnation}|${lane.partition}|${shard}`

  function remember(): void {
    history.push({ sections: new Map(image.sections), canaries: new Map(image.canaries) })
    if (history.length > 12) history.shift()
  }
  async function call<T>(effect: () => T): Promise<T> {
    await turn()
    if (pick(100) < faults.failPercent) throw new Lost('refused before the effect')
    const result = effect()
    await turn()
    if (pick(100) < faults.losePercent) throw new Lost('acknowledgement lost')
    return result
  }
  function flushShard(lane: Lane, shard: ShardFlush): FlushOutcome {
    const stored = image.canaries.get(canaryKey(lane, shard.shard)) ?? null
    if (bugs.noFence !== true && (stored === null || stored.offset < shard.expected.offset)) {
      return { ok: false, canary: stored }
    }
    let refused = 0
    for (const write of shard.writes) {
      const key = sectionKey(lane, write.key)
      const old = image.sections.get(key)
      if (bugs.noMaxRegister !== true && old !== undefined && old.position >= write.position) {
        refused++
        continue
      }
      const { incarnation, partition } = lane
      image.sections.set(key, { incarnation, partition, position: write.position, bytes: write.bytes })
    }
    const canary = stored !== null && stored.offset > shard.next.offset ? stored : shard.next
    image.canaries.set(canaryKey(lane, shard.shard), canary)
    return { ok: true, canary, refused }
  }
  const store: OnlineStore = {
    capabilities: { survivesProcess: true, timeToLive: false },
    initialiseCanaries: (lane, shardCount, start) =>
      call(() => {
        remember()
        return Array.from({ length: shardCount }, (_, shard) => {
          const key = canaryKey(lane, shard)
          const canary = image.canaries.get(key) ?? start
          image.canaries.set(key, canary)
          return canary
        })
      }),
    readCanaries: (lane, shardCount) =>
      call(() => Array.from({ length: shardCount }, (_, shard) => image.canaries.get(canaryKey(lane, shard)) ?? null)),
    flush: (lane, shards) =>
      call(() => {
        remember()
        return shards.map(shard => flushShard(lane, shard))
      }),
    load: (lane, shard, expected, keys): Promise<LoadOutcome> =>
      call(() => {
        const canary = image.canaries.get(canaryKey(lane, shard)) ?? null
        if (bugs.noFence !== true && (canary === null || canary.offset < expected.offset)) return { ok: false, canary }
        return { ok: true, sections: keys.map(key => image.sections.get(sectionKey(lane, key)) ?? null) }
      }),
    read: keys =>
      Promise.resolve(
        keys.map(key => [...image.sections].filter(([k]) => k.startsWith(`${key}|`)).map(([, section]) => section)),
      ),
    readDocument: () => Promise.resolve(null),
    writeDocument: () => Promise.resolve(true),
    publishProgress: () => Promise.resolve(),
    readProgress: () => Promise.resolve([]),
    close: () => Promise.resolve(),
  }
  return {
    store,
    faults,
    /** Goes back to an earlier image, losing acknowledged writes. */
    rollBack: (): void => {
      if (history.length === 0) return
      const index = pick(history.length)
      const old = history[index]
      if (old !== undefined) image = { sections: new Map(old.sections), canaries: new Map(old.canaries) }
      history.length = index
    },
    sections: (): ReadonlyMap<string, Section> => image.sections,
  }
}

/** One partition of one topic in memory. */
export function createSimulatedLog(topic: string, records: readonly LogRecord[]) {
  const appended: { topic: string; headers: Readonly<Record<string, string>> }[] = []
  const bounds = { incarnation: 'life-1', startOffset: 0, endOffset: records.length }
  const batchAt = (from: number, count: number): Batch => {
    const part = records.slice(from, from + count)
    return {
      topic,
      incarnation: bounds.incarnation,
      partition: 0,
      records: part,
      fetchedOffset: from,
      nextOffset: from + part.length,
      endOffset: records.length,
    }
  }
  const log: EventLog = {
    capabilities: { groupBalancing: false, survivesProcess: false },
    ensureTopics: () => Promise.resolve([]),
    deleteTopic: () => Promise.resolve(),
    describe: () => Promise.resolve({ name: topic, incarnation: bounds.incarnation, partitions: 1 }),
    bounds: () => Promise.resolve(bounds),
    append: list => {
      for (const record of list) appended.push({ topic: record.topic, headers: record.headers ?? {} })
      return Promise.resolve(list.map((_, offset) => ({ partition: 0, offset })))
    },
    read: (_topic, _partition, from, count) => Promise.resolve(batchAt(from, count)),
    committed: () => Promise.resolve(null),
    consume: () => Promise.reject(new Error('the simulation drives its workers itself')),
    close: () => Promise.resolve(),
  }
  return { log, batchAt, bounds, appended }
}

/** A consumer's own idea of where it stands, which seeks move. */
export function createCursor() {
  const cursor = {
    next: 0,
    committed: 0,
    sought: false,
    control: {
      commit: (_topic: string, _partition: number, offset: number) => {
        cursor.committed = offset
        return Promise.resolve()
      },
      seek: (_topic: string, _partition: number, offset: number) => {
        cursor.next = offset
        cursor.sought = true
      },
      pause: () => undefined,
      resume: () => undefined,
    } satisfies ConsumerControl,
    /** Moves past a batch, unless the handler asked for another place. */
    advance: (offset: number): void => {
      if (!cursor.sought) cursor.next = offset
      cursor.sought = false
    },
  }
  return cursor
}
