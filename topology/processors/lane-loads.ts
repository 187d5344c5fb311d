import { DIRECTORY_BLOCK, addBlock, blocksForPoint, decodeSection, emptySection } from '../../features/kernel/index.ts'
import { shardOf } from '../ports/online-layout.ts'
import type { Canary, LoadKey, Section } from '../ports/online-store.ts'
import { canaryOf, keyOf, measure } from './feature-lane.ts'
import type { FeatureLane, LaneEvent } from './feature-lane.ts'

/** Sections of one shard to load, or blocks of sections that are cached; `entityIds` go with `keys`. */
export interface LoadRequest {
  readonly shard: number
  readonly expected: Canary
  readonly entityIds: readonly string[]
  readonly keys: readonly LoadKey[]
}

/** The sections that must be loaded before the events may be applied. */
export function loadsFor(lane: FeatureLane, events: readonly LaneEvent[]): readonly LoadRequest[] {
  const byShard: WantedByShard = new Map()
  for (const { offset, event } of events) {
    if (offset <= lane.applied.offset) continue
    const entityId = lane.unit.entityId(event)
    if (entityId === null || lane.entries.has(entityId)) continue
    const shard = shardOf(lane.unit.entity, entityId)
    if (offset <= (lane.canaries[shard]?.offset ?? -1)) continue
    wantedOf(byShard, shard, entityId).add(DIRECTORY_BLOCK)
  }
  return requestsOf(lane, byShard)
}

/**
 * The blocks that must be loaded before the events may be applied, once their sections are cached. Blocks lie within
 * blocks: after `blocksLoaded` ask again until nothing is requested.
 */
export function blockLoadsFor(lane: FeatureLane, events: readonly LaneEvent[]): readonly LoadRequest[] {
  const byShard: WantedByShard = new Map()
  for (const { offset, event } of events) {
    if (offset <= lane.applied.offset) continue
    const entityId = lane.unit.entityId(event)
    const entry = entityId === null ? undefined : lane.entries.get(entityId)
    if (entityId === null || entry === undefined || offset <= entry.position) continue
    for (const id of blocksForPoint(lane.unit.spec, entry.state, event.time)) {
      wantedOf(byShard, entry.shard, entityId).add(id)
    }
  }
  return requestsOf(lane, byShard)
}

type WantedByShard = Map<number, Map<string, Set<number>>>

function wantedOf(byShard: WantedByShard, shard: number, entityId: string): Set<number> {
  let wanted = byShard.get(shard)
  if (wanted === undefined) byShard.set(shard, (wanted = new Map()))
  let blocks = wanted.get(entityId)
  if (blocks === undefined) wanted.set(entityId, (blocks = new Set()))
  return blocks
}

function requestsOf(lane: FeatureLane, byShard: WantedByShard): readonly LoadRequest[] {
  return [...byShard].map(([shard, wanted]) => ({
    shard,
    expected: canaryOf(lane, shard),
    entityIds: [...wanted.keys()],
    keys: [...wanted].map(([entityId, blocks]) => ({ key: keyOf(lane, entityId), blocks: [...blocks] })),
  }))
}

/** A block that a stored section is made of is not in the store. */
export class BlockMissing extends Error {
  constructor(key: string, id: number) {
    super(`${key}: block ${id} of the stored section is missing`)
    this.name = 'BlockMissing'
  }
}

/** Takes in what a load answered. Throws `BlockMissing` for a section with blocks that lacks its directory. */
export function loaded(lane: FeatureLane, request: LoadRequest, sections: readonly (Section | null)[]): void {
  const { spec } = lane.unit
  request.entityIds.forEach((entityId, index) => {
    const section = sections[index] ?? null
    const directory = section?.blocks.get(DIRECTORY_BLOCK)
    if (section !== null && section.levels !== 0 && directory === undefined) {
      throw new BlockMissing(keyOf(lane, entityId), DIRECTORY_BLOCK)
    }
    const state = section === null ? emptySection(spec) : decodeSection(spec, section.bytes, directory)
    const position = section?.position ?? -1
    const entry = { state, position, storedPosition: position, shard: request.shard, bytes: 0 }
    lane.entries.set(entityId, entry)
    measure(lane, entry)
  })
}

/**
 * Takes in what a load of blocks answered. Returns false when a section is no longer the one that is cached: another
 * owner of the partition wrote it, so that the caller must forget this lane and start again from the stored canaries.
 * Throws `BlockMissing` for a section that was not changed and lacks a block.
 */
export function blocksLoaded(lane: FeatureLane, request: LoadRequest, sections: readonly (Section | null)[]): boolean {
  for (const [index, entityId] of request.entityIds.entries()) {
    const entry = lane.entries.get(entityId)
    const section = sections[index] ?? null
    if (entry === undefined || (section?.position ?? -1) !== entry.storedPosition) return false
    const { key, blocks } = request.keys[index] ?? { key: '', blocks: [] }
    for (const id of blocks) {
      const bytes = section?.blocks.get(id)
      if (bytes === undefined) throw new BlockMissing(key, id)
      addBlock(lane.unit.spec, entry.state, id, bytes)
    }
    measure(lane, entry)
  }
  return true
}
