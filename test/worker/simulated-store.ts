import { SHARD_COUNT } from '../../topology/ports/online-store.ts'
import type {
  Canary,
  FlushOutcome,
  Lane,
  LoadKey,
  LoadOutcome,
  Section,
  SectionWrite,
  ShardFlush,
} from '../../topology/ports/online-store.ts'

/** A section with all its blocks; never changed, only replaced. */
export type StoredSection = Section

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

/** Told after each atomic step what it changed. */
export interface StoreWatch {
  section(name: string): void
  canary(lane: Lane, shard: number): void
}

/** What one script changed, to take it back. */
interface Undo {
  readonly sequence: number
  readonly shard: number
  readonly lane: Lane
  readonly canaries: (Canary | null)[]
  readonly canary: Canary | null
  readonly sections: readonly (readonly [string, StoredSection | undefined])[]
}

const MAX_UNDO = 3_000

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

/** Names a section among all that are stored: its key, the life of the topic, and the partition. */
export function sectionName(lane: Pick<Lane, 'incarnation' | 'partition'>, key: string): string {
  return `${key}|${lane.incarnation}|${lane.partition}`
}

const laneName = (lane: Lane): string => `${lane.unit}|${lane.incarnation}|${lane.partition}`

/** The servers of an online store: each function is one atomic script, and what scripts did can be lost again. */
export type StoreServers = ReturnType<typeof createStoreServers>

/**
 * An online store's servers in memory, which obey the port's contract but for planted bugs. They can lose the last of
 * what they acknowledged, as a promoted replica does, all of them at once or one with its share of the shards.
 * @param nodes how many servers share the shards
 */
export function createStoreServers(
  pick: (bound: number) => number,
  bugs: PlantedBugs,
  nodes = 1,
  watch: StoreWatch = { section: () => undefined, canary: () => undefined },
) {
  const sections = new Map<string, StoredSection>()
  const lanes = new Map<string, (Canary | null)[]>()
  const everWritten = new Map<string, number[]>()
  const epochs = Array.from({ length: nodes }, () => 0)
  const counts = { written: 0, dropped: 0 }
  let undo: Undo[] = []
  let sequence = 0

  const nodeOf = (shard: number): number => shard % nodes

  function canariesOf(lane: Lane): (Canary | null)[] {
    const name = laneName(lane)
    let found = lanes.get(name)
    if (found === undefined) lanes.set(name, (found = Array.from({ length: SHARD_COUNT }, () => null)))
    return found
  }

  /** Stores a canary and what comes with it, and remembers what was there. */
  function store(
    lane: Lane,
    shard: number,
    canary: Canary,
    after: readonly (readonly [string, StoredSection])[],
  ): void {
    const canaries = canariesOf(lane)
    const before = after.map(([name]) => [name, sections.get(name)] as const)
    undo.push({ sequence: sequence++, shard, lane, canaries, canary: canaries[shard] ?? null, sections: before })
    if (undo.length > 2 * MAX_UNDO) undo = undo.slice(-MAX_UNDO)
    for (const [name, section] of after) sections.set(name, section)
    canaries[shard] = canary
    let written = everWritten.get(laneName(lane))
    if (written === undefined) {
      everWritten.set(laneName(lane), (written = Array.from({ length: SHARD_COUNT }, () => -1)))
    }
    written[shard] = Math.max(written[shard] ?? -1, canary.offset)
    for (const [name] of after) watch.section(name)
    watch.canary(lane, shard)
  }

  function initialise(lane: Lane, shard: number, start: Canary): Canary {
    const stored = canariesOf(lane)[shard] ?? null
    if (stored === null) store(lane, shard, start, [])
    return stored ?? start
  }

  function blocksOnly(lane: Lane, write: SectionWrite): void {
    const name = sectionName(lane, write.key)
    const old = sections.get(name)
    if (old === undefined) return
    sections.set(name, { ...old, blocks: blocksAfter(old, write) })
    watch.section(name)
  }

  function flush(lane: Lane, { shard, expected, next, writes }: ShardFlush): FlushOutcome {
    const stored = canariesOf(lane)[shard] ?? null
    if (bugs.noFence !== true && (stored === null || stored.offset < expected.offset)) {
      if (bugs.blocksOfFenced === true) for (const write of writes) blocksOnly(lane, write)
      return { ok: false, canary: stored }
    }
    const positionOf = (key: string): number => sections.get(sectionName(lane, key))?.position ?? -1
    const lost = writes.some(({ key, base }) => base >= 0 && positionOf(key) < base)
    if (lost && bugs.noBase !== true) return { ok: false, canary: stored }
    const accepted: [string, StoredSection][] = []
    for (const write of writes) {
      const name = sectionName(lane, write.key)
      const old = sections.get(name)
      if (bugs.noMaxRegister !== true && old !== undefined && old.position >= write.position) {
        if (bugs.blocksOfRefused === true) blocksOnly(lane, write)
        continue
      }
      const { incarnation, partition } = lane
      const { position, bytes, levels } = write
      const blocks = bugs.tornFlush === true && pick(4) === 0 ? (old?.blocks ?? new Map()) : blocksAfter(old, write)
      for (const id of old?.blocks.keys() ?? []) if (!blocks.has(id)) counts.dropped++
      counts.written += write.blocks.length
      accepted.push([name, { incarnation, partition, position, bytes, levels, blocks }])
    }
    const canary = stored !== null && stored.offset > next.offset ? stored : next
    store(lane, shard, canary, accepted)
    return { ok: true, canary, refused: writes.length - accepted.length }
  }

  function load(lane: Lane, shard: number, expected: Canary, keys: readonly LoadKey[]): LoadOutcome {
    const canary = canariesOf(lane)[shard] ?? null
    if (bugs.noFence !== true && (canary === null || canary.offset < expected.offset)) return { ok: false, canary }
    const found = keys.map(({ key, blocks }) => {
      const section = sections.get(sectionName(lane, key))
      return section === undefined ? null : withBlocks(section, blocks)
    })
    return { ok: true, sections: found }
  }

  /** Takes back what scripts did from a moment on, at one server or (null) at all of them; answers how many. */
  function rollBack(toSequence: number, node: number | null = null): number {
    const gone = undo.filter(each => each.sequence >= toSequence && (node === null || nodeOf(each.shard) === node))
    for (const { canaries, shard, canary, sections: before } of gone.toReversed()) {
      canaries[shard] = canary
      for (const [name, section] of before) {
        if (section === undefined) sections.delete(name)
        else sections.set(name, section)
      }
    }
    const lost = new Set(gone)
    undo = undo.filter(each => !lost.has(each))
    for (const each of gone) {
      for (const [name] of each.sections) watch.section(name)
      watch.canary(each.lane, each.shard)
    }
    return gone.length
  }

  return {
    initialise,
    flush,
    load,
    rollBack,
    nodes,
    nodeOf,
    /** Changes when the server that answers for a node is another one than before. */
    epochOf: (node: number): number => epochs[node] ?? 0,
    /** Another server answers for a node from now on, or (null) for every node. */
    replace: (node: number | null): void => {
      for (let each = 0; each < nodes; each++)
        if (node === null || each === node) epochs[each] = (epochs[each] ?? 0) + 1
    },
    /** All that was ever stored is gone. */
    empty: (): void => {
      sections.clear()
      lanes.clear()
      undo = []
    },
    canaryOf: (lane: Lane, shard: number): Canary | null => lanes.get(laneName(lane))?.[shard] ?? null,
    /** The largest canary that the shard ever had, whatever was lost since. */
    everWritten: (lane: Lane, shard: number): number => everWritten.get(laneName(lane))?.[shard] ?? -1,
    sections: (): ReadonlyMap<string, StoredSection> => sections,
    /** Of the next script; what is rolled back is named by it. */
    sequence: (): number => sequence,
    /** Blocks written with accepted sections, and blocks dropped. */
    counts,
  }
}
