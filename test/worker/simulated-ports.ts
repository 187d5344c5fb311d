import type { Batch, ConsumerControl, EventLog, LogRecord } from '../../topology/ports/event-log.ts'
import type { Lane, OnlineStore, ReadKey } from '../../topology/ports/online-store.ts'
import { createStoreServers, withBlocks } from './simulated-store.ts'
import type { PlantedBugs, StoredSection } from './simulated-store.ts'

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

/**
 * An online store in memory for one owner: each call takes effect at once and is answered, unless the store goes back.
 */
export function createSimulatedStore(turn: () => Promise<void>, pick: (bound: number) => number, bugs: PlantedBugs) {
  const servers = createStoreServers(pick, bugs)
  /** Where the last writes began. */
  const marks: number[] = []
  async function call<T>(effect: () => T): Promise<T> {
    await turn()
    return effect()
  }
  const store: OnlineStore = {
    capabilities: { survivesProcess: true, timeToLive: false },
    initialiseCanaries: (lane, shardCount, start) =>
      call(() => {
        marks.push(servers.sequence())
        return Array.from({ length: shardCount }, (_, shard) => servers.initialise(lane, shard, start))
      }),
    readCanaries: (lane, shardCount) =>
      call(() => Array.from({ length: shardCount }, (_, shard) => servers.canaryOf(lane, shard))),
    flush: (lane, shards) =>
      call(() => {
        marks.push(servers.sequence())
        return shards.map(shard => servers.flush(lane, shard))
      }),
    load: (lane, shard, expected, keys) => call(() => servers.load(lane, shard, expected, keys)),
    read: keys => Promise.resolve(keys.map(each => readKey(servers.sections(), each))),
    readDocument: () => Promise.resolve(null),
    writeDocument: () => Promise.resolve(true),
    publishProgress: () => Promise.resolve(),
    readProgress: () => Promise.resolve([]),
    close: () => Promise.resolve(),
  }
  return {
    store,
    counts: servers.counts,
    /** Goes back to before the last so many writes. */
    empty: (): void => servers.empty(),
    rollBack: (writes: number): void => {
      const [mark] = marks.splice(Math.max(0, marks.length - writes))
      if (mark !== undefined) servers.rollBack(mark)
    },
    sections: servers.sections,
  }
}

/** The serving read of one key. */
export function readKey(sections: ReadonlyMap<string, StoredSection>, each: ReadKey): readonly StoredSection[] {
  const found = [...sections].filter(([name]) => name.startsWith(`${each.key}|`))
  return found.map(([, section]) => withBlocks(section, section.levels === 0 ? [] : each.blocks()))
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
    describe: () =>
      Promise.resolve({
        name: topic,
        incarnation: bounds.incarnation,
        partitions: 1,
        retentionMs: 0,
        retentionBytes: 0,
        compacted: false,
        appendTime: true,
        replicas: 1,
      }),
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

/**
 * A store as one owner would see it who does not look at the position that comes with blocks: it is always the one of
 * the section that this owner loaded or wrote last.
 */
export function blindToPositions(store: OnlineStore): OnlineStore {
  const seen = new Map<string, number>()
  const nameOf = (lane: Lane, key: string) => `${key}|${lane.partition}`
  return {
    ...store,
    flush: async (lane, shards) => {
      for (const { writes } of shards) for (const { key, position } of writes) seen.set(nameOf(lane, key), position)
      return await store.flush(lane, shards)
    },
    load: async (lane, shard, expected, keys) => {
      const outcome = await store.load(lane, shard, expected, keys)
      if (!outcome.ok) return outcome
      const sections = outcome.sections.map((section, index) => {
        const { key, blocks } = keys[index] ?? { key: '', blocks: [] }
        if (section === null) return null
        if (blocks.length === 0) seen.set(nameOf(lane, key), section.position)
        return { ...section, position: seen.get(nameOf(lane, key)) ?? section.position }
      })
      return { ok: true, sections }
    },
  }
}
