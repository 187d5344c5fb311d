import type { Clock } from '../../../ports/clock.ts'
import type { Telemetry } from '../../../ports/telemetry.ts'
import { hashTag, slotOf } from './layout.ts'
import type { KeyNames } from './layout.ts'
import type { Router } from './router.ts'

/** What the parts of one open store share. */
export interface StoreScope {
  readonly router: Router
  readonly names: KeyNames
  readonly clock: Clock
  readonly telemetry: Telemetry
  /** Keys that were last seen to have blocks: they are asked for together with the blocks of these lanes. */
  readonly busy: BoundedMap<readonly BusyLane[]>
  /** Keys whose hash of blocks outlived the blocks of this writer's sections. */
  readonly leftovers: BoundedMap<true>
  /** Names of incarnations by their id. */
  readonly incarnations: Map<number, string>
  shardSlot(shard: number): number
  keySlot(key: string): number
}

/** A map that forgets its oldest entries above a bound. */
export interface BoundedMap<T> {
  get(key: string): T | undefined
  set(key: string, value: T): void
  delete(key: string): void
}

/** A map of at most `maxEntries`. */
export function boundedMap<T>(maxEntries: number): BoundedMap<T> {
  const entries = new Map<string, T>()
  return {
    get: key => entries.get(key),
    set: (key, value) => {
      entries.set(key, value)
      if (entries.size <= maxEntries) return
      for (const oldest of entries.keys()) {
        entries.delete(oldest)
        return
      }
    },
    delete: key => void entries.delete(key),
  }
}

/** A section that was seen to have blocks: its lane, and the levels it had. */
export interface BusyLane {
  readonly lane: Buffer
  readonly levels: number
}

const MAX_BUSY_KEYS = 65_536
const MAX_LEFTOVER_KEYS = 4_096
const MAX_TAGS = 4_096

/** Makes what is shared. */
export function storeScope(router: Router, names: KeyNames, clock: Clock, telemetry: Telemetry): StoreScope {
  const slots = new Map<string, number>()
  const slotOfTag = (tag: string): number => {
    let slot = slots.get(tag)
    if (slot !== undefined) return slot
    slot = slotOf(`{${tag}}`)
    if (slots.size >= MAX_TAGS) slots.clear()
    slots.set(tag, slot)
    return slot
  }
  return {
    router,
    names,
    clock,
    telemetry,
    busy: boundedMap(MAX_BUSY_KEYS),
    leftovers: boundedMap(MAX_LEFTOVER_KEYS),
    incarnations: new Map(),
    shardSlot: shard => (router.clustered ? slotOfTag(String(shard)) : 0),
    keySlot: key => (router.clustered ? slotOfTag(hashTag(key)) : 0),
  }
}
