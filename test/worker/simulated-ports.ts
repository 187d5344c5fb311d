import type { Batch, ConsumerControl, EventLog, LogRecord } from '../../topology/ports/event-log.ts'
import type {
  Canary,
  FlushOutcome,
  Lane,
  LoadKey,
  LoadOutcome,
  OnlineStore,
  Section,
  SectionWrite,
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

/** A section with all its blocks; never changed, only replaced. */
export type StoredSection = Section

interface Image {
  readonly sections: Map<string, StoredSection>
  readonly canaries: Map<string, Canary>
}

export class Lost extends Error {}

/** Which rules of the protocol the simulated store leaves out, to show that the simulation would notice. */
export interface PlantedBugs {
  readonly noFence?: boolean
  readonly noMaxRegister?: boolean
  /** Blocks are written although their section is refused. */
  readonly blocksOfRefused?: boolean
  /** Blocks are written although the whole flush is fenced. */
  readonly blocksOfFenced?: boolean
  /** Blocks that a write leaves alone need not be stored. */
  readonly noBase?: boolean
  /** Now and then a section is written without its blocks. */
  readonly tornFlush?: boolean
}

const levelOf = (id: number): number => ((id % 16) + 16) % 16

/** What lies beside a section after a write: drops first, then blocks. */
function blocksAfter(
  before: StoredSection | undefined,
  { blocks, drops, levels }: SectionWrite,
): Map<number, Uint8Array> {
  const fewer = ((before?.levels ?? 0) & ~levels) !== 0
  const dropped = (id: number): boolean =>
    (fewer && ((levels >>> levelOf(id)) & 1) === 0) ||
    drops.some(drop => drop.level === levelOf(id) && (id - drop.level) / 16 < drop.belowIndex)
  const after = new Map([...(before?.blocks ?? [])].filter(([id]) => !dropped(id)))
  for (const { id, bytes } of blocks) after.set(id, bytes)
  return after
}

/** A section as it is answered: with those of the asked blocks that exist and whose level it has. */
export function withBlocks(section: StoredSection, ids: readonly number[]): Section {
  const blocks = new Map<number, Uint8Array>()
  for (const id of ids) {
    const bytes = section.blocks.get(id)
    if (bytes !== undefined && ((section.levels >>> levelOf(id)) & 1) === 1) blocks.set(id, bytes)
  }
  return { ...section, blocks }
}

/**
 * An online store in memory that can lose acknowledgements, refuse calls and roll a suffix of its writes back, as a
 * promoted replica does. It obeys the port's contract otherwise.
 */
export function createSimulatedStore(turn: () => Promise<void>, pick: (bound: number) => number, bugs: PlantedBugs) {
  let image: Image = { sections: new Map(), canaries: new Map() }
  const history: Image[] = []
  const faults = { losePercent: 0, failPercent: 0 }
  const counts = { written: 0, dropped: 0 }
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
    const blocksOnly = (write: SectionWrite): void => {
      const old = image.sections.get(sectionKey(lane, write.key))
      if (old !== undefined)
        image.sections.set(sectionKey(lane, write.key), { ...old, blocks: blocksAfter(old, write) })
    }
    if (bugs.noFence !== true && (stored === null || stored.offset < shard.expected.offset)) {
      if (bugs.blocksOfFenced === true) shard.writes.forEach(blocksOnly)
      return { ok: false, canary: stored }
    }
    const positionOf = (key: string): number => image.sections.get(sectionKey(lane, key))?.position ?? -1
    const lost = shard.writes.some(({ key, base }) => base >= 0 && positionOf(key) < base)
    if (lost && bugs.noBase !== true) return { ok: false, canary: stored }
    let refused = 0
    for (const write of shard.writes) {
      const key = sectionKey(lane, write.key)
      const old = image.sections.get(key)
      if (bugs.noMaxRegister !== true && old !== undefined && old.position >= write.position) {
        refused++
        if (bugs.blocksOfRefused === true) blocksOnly(write)
        continue
      }
      const { incarnation, partition } = lane
      const { position, bytes, levels } = write
      const blocks = bugs.tornFlush === true && pick(4) === 0 ? (old?.blocks ?? new Map()) : blocksAfter(old, write)
      for (const id of old?.blocks.keys() ?? []) if (!blocks.has(id)) counts.dropped++
      counts.written += write.blocks.length
      image.sections.set(key, { incarnation, partition, position, bytes, levels, blocks })
    }
    const canary = stored !== null && stored.offset > shard.next.offset ? stored : shard.next
    image.canaries.set(canaryKey(lane, shard.shard), canary)
    return { ok: true, canary, refused }
  }
  function loadOne(lane: Lane, { key, blocks }: LoadKey): Section | null {
    const section = image.sections.get(sectionKey(lane, key))
    if (section === undefined) return null
    return withBlocks(section, blocks)
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
        return { ok: true, sections: keys.map(key => loadOne(lane, key)) }
      }),
    read: keys =>
      Promise.resolve(
        keys.map(each => {
          const found = [...image.sections].filter(([key]) => key.startsWith(`${each.key}|`))
          return found.map(([, section]) => withBlocks(section, section.levels === 0 ? [] : each.blocks()))
        }),
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
    /** Blocks written with accepted sections, and blocks dropped. */
    counts,
    /** Goes back to an earlier image, losing acknowledged writes: before one of the last writes, or the last so many. */
    rollBack: (writes?: number): void => {
      if (history.length === 0) return
      const index = writes === undefined ? pick(history.length) : Math.max(0, history.length - writes)
      const old = history[index]
      if (old !== undefined) image = { sections: new Map(old.sections), canaries: new Map(old.canaries) }
      history.length = index
    },
    sections: (): ReadonlyMap<string, StoredSection> => image.sections,
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
