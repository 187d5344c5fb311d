import type {
  Canary,
  FlushOutcome,
  Lane,
  LoadKey,
  OnlineStore,
  Progress,
  Section,
} from '../../topology/ports/online-store.ts'

interface StoredSection extends Omit<Section, 'blocks'> {
  readonly blocks: Map<number, Uint8Array>
  readonly expiresMs: number
}

/** The online store's contract in a few maps, with a clock of its own; the oracle of the conformance suite. */
export function modelOnlineStore(): { readonly store: OnlineStore; advanceMs(ms: number): void } {
  let nowMs = 0
  const canaries = new Map<string, Canary>()
  const sections = new Map<string, Map<string, StoredSection>>()
  const documents = new Map<string, string>()
  const progress = new Map<string, Progress>()
  const laneOf = (lane: Lane): string => JSON.stringify([lane.unit, lane.incarnation, lane.partition])
  const canaryKey = (lane: Lane, shard: number): string => `${laneOf(lane)} ${shard}`
  const alive = (key: string): [string, StoredSection][] =>
    [...(sections.get(key) ?? [])].filter(([, { expiresMs }]) => expiresMs > nowMs)
  const levelOf = (id: number): number => ((id % 16) + 16) % 16
  const visible = (section: StoredSection, asked: readonly number[]): Section => {
    const { incarnation, partition, position, bytes, levels } = section
    const has = (id: number): boolean => asked.includes(id) && (levels & (1 << levelOf(id))) !== 0
    const blocks = new Map([...section.blocks].filter(([id]) => has(id)))
    return { incarnation, partition, position, bytes, levels, blocks }
  }
  const ownOf = (lane: Lane, key: string): StoredSection | undefined =>
    alive(key).find(([owner]) => owner === JSON.stringify([lane.incarnation, lane.partition]))?.[1]
  const byShard = <T>(count: number, value: (shard: number) => T): T[] =>
    Array.from({ length: count }, (_, shard) => value(shard))

  const store: OnlineStore = {
    capabilities: { survivesProcess: false, timeToLive: true },
    initialiseCanaries: async (lane, shardCount, start) =>
      byShard(shardCount, shard => {
        const stored = canaries.get(canaryKey(lane, shard)) ?? start
        canaries.set(canaryKey(lane, shard), stored)
        return stored
      }),
    readCanaries: async (lane, shardCount) =>
      byShard(shardCount, shard => canaries.get(canaryKey(lane, shard)) ?? null),
    flush: async (lane, shards) =>
      shards.map(({ shard, expected, next, writes }): FlushOutcome => {
        const before = canaries.get(canaryKey(lane, shard))
        if (before === undefined || before.offset < expected.offset) return { ok: false, canary: before ?? null }
        const lost = writes.some(({ key, base }) => base >= 0 && (ownOf(lane, key)?.position ?? -1) < base)
        if (lost) return { ok: false, canary: before }
        let refused = 0
        for (const { key, position, bytes, levels, blocks, drops, ttlMs } of writes) {
          const stored = ownOf(lane, key)
          if (stored !== undefined && stored.position >= position) {
            refused += 1
            continue
          }
          const fewer = ((stored?.levels ?? 0) & ~levels) !== 0
          const kept = [...(stored?.blocks ?? [])].filter(
            ([id]) =>
              (!fewer || ((levels >>> levelOf(id)) & 1) === 1) &&
              drops.every(drop => levelOf(id) !== drop.level || (id - drop.level) / 16 >= drop.belowIndex),
          )
          const owners = sections.get(key) ?? new Map<string, StoredSection>()
          sections.set(key, owners)
          owners.set(JSON.stringify([lane.incarnation, lane.partition]), {
            incarnation: lane.incarnation,
            partition: lane.partition,
            position,
            bytes: bytes.slice(),
            levels,
            blocks: new Map([...kept, ...blocks.map(each => [each.id, each.bytes.slice()] as const)]),
            expiresMs: ttlMs > 0 ? nowMs + ttlMs : Infinity,
          })
        }
        const canary = next.offset > before.offset ? next : before
        canaries.set(canaryKey(lane, shard), canary)
        return { ok: true, canary, refused }
      }),
    load: async (lane, shard, expected, keys) => {
      const canary = canaries.get(canaryKey(lane, shard)) ?? null
      if (canary === null || canary.offset < expected.offset) return { ok: false, canary }
      const own = ({ key, blocks }: LoadKey): Section | null => {
        const section = ownOf(lane, key)
        return section === undefined ? null : visible(section, blocks)
      }
      return { ok: true, sections: keys.map(own) }
    },
    read: async keys => keys.map(each => alive(each.key).map(([, section]) => visible(section, each.blocks()))),
    readDocument: async name => documents.get(name) ?? null,
    writeDocument: async (name, expected, next) => {
      if ((documents.get(name) ?? null) !== expected) return false
      documents.set(name, next)
      return true
    },
    publishProgress: async published => {
      for (const one of published) progress.set(JSON.stringify([one.feed, one.partition]), one)
    },
    readProgress: async () => [...progress.values()],
    close: async () => {},
  }
  return {
    store,
    advanceMs: ms => {
      nowMs += ms
    },
  }
}
