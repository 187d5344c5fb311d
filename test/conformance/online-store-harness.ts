import { afterEach, beforeEach } from 'vitest'
import { onlineKey, shardOf } from '../../topology/ports/online-layout.ts'
import type {
  Canary,
  FlushOutcome,
  Block,
  BlockDrop,
  Lane,
  LoadKey,
  OnlineStore,
  ReadKey,
  Section,
  SectionWrite,
} from '../../topology/ports/online-store.ts'
import { SHARD_COUNT } from '../../topology/ports/online-store.ts'

/** One store under test. Namespaces, incarnations and names are fresh per test, so one server can serve every test. */
export interface OnlineStoreSubject {
  readonly store: OnlineStore
  /** True when `advanceMs` moves the store's clock by hand and costs no time. */
  readonly handMovedClock: boolean
  /** Lets time pass for the store: moves its clock, or waits. */
  advanceMs(ms: number): Promise<void>
  /** Another handle on the same store; closed by `cleanup`. */
  second(): Promise<OnlineStore>
  /** Closes `store` and opens the same store again, as a new process would; closed by `cleanup`. */
  reopen(): Promise<OnlineStore>
  cleanup(): Promise<void>
}

/** Where canaries begin, and the canary and bytes of a test. */
export const start: Canary = { offset: -1, arrivalMs: 0 }
export const at = (offset: number): Canary => ({ offset, arrivalMs: 1000 + offset })
export const bytes = (...values: number[]): Uint8Array => Uint8Array.from(values)
/** What lies beside a section: by default nothing. */
export interface Beside {
  readonly levels: number
  readonly blocks?: readonly Block[]
  readonly drops?: readonly BlockDrop[]
  readonly base?: number
}
export const write = (
  key: string,
  position: number,
  value: Uint8Array,
  ttlMs = 0,
  { levels, blocks = [], drops = [], base = -1 }: Beside = { levels: 0 },
): SectionWrite => ({ key, position, bytes: value, levels, base, blocks, drops, ttlMs })
/** The id of a block. */
export const blockId = (level: number, index: number): number => 16 * index + level
export const block = (level: number, index: number, ...values: number[]): Block => ({
  id: blockId(level, index),
  bytes: bytes(...values),
})
/** Keys to read or to load, each with the same blocks. */
export const reading = (keys: readonly string[], ids: readonly number[] = []): ReadKey[] =>
  keys.map(key => ({ key, blocks: () => ids }))
export const loading = (keys: readonly string[], ids: readonly number[] = []): LoadKey[] =>
  keys.map(key => ({ key, blocks: ids }))
/** Sections in a form that compares, in one order; one without blocks is shown without them. */
export const plain = (section: Section | null | undefined): unknown => {
  if (section === null || section === undefined) return null
  const { incarnation, partition, position, levels } = section
  const head = { incarnation, partition, position, bytes: [...section.bytes] }
  const blocks = [...section.blocks].map(([id, value]) => [id, [...value]] as const).sort((a, b) => a[0] - b[0])
  return levels === 0 && blocks.length === 0 ? head : { ...head, levels, blocks }
}
export const sorted = (sections: readonly Section[] | undefined): unknown[] =>
  [...(sections ?? [])]
    .sort((a, b) =>
      a.incarnation < b.incarnation ? -1 : a.incarnation > b.incarnation ? 1 : a.partition - b.partition,
    )
    .map(plain)

let counter = 0
/** A name that no other test of the run uses. */
export function fresh(prefix: string): string {
  counter += 1
  return `${prefix}-${process.pid}-${counter}`
}

/** A lane of an incarnation that no other test of the run uses. */
export function freshLane(partition = 0, unit = 1): Lane {
  return { unit, incarnation: fresh('life'), partition }
}

/** An entity's key of a namespace and the shard it belongs to. */
export function entity(namespace: string, id: string, unit = 1): { readonly key: string; readonly shard: number } {
  return { key: onlineKey(namespace, 'card', id, unit), shard: shardOf('card', id) }
}

/** What every test starts from: a fresh subject and namespace. */
export interface OnlineStoreContext {
  readonly subject: OnlineStoreSubject
  readonly store: OnlineStore
  readonly namespace: string
  /** Initialises a lane's canaries and answers the lane. */
  ready(lane: Lane, from?: Canary): Promise<Lane>
  flushOne(
    lane: Lane,
    shard: number,
    expected: Canary,
    next: Canary,
    writes: readonly SectionWrite[],
    on?: OnlineStore,
  ): Promise<FlushOutcome | undefined>
}

/** Registers the set-up and tear-down of the surrounding `describe`. */
export function onlineStoreContext(factory: () => Promise<OnlineStoreSubject>): OnlineStoreContext {
  let subject: OnlineStoreSubject
  let namespace = ''
  beforeEach(async () => {
    subject = await factory()
    namespace = fresh('ns')
  })
  afterEach(async () => {
    await subject.cleanup()
  })
  return {
    get subject() {
      return subject
    },
    get store() {
      return subject.store
    },
    get namespace() {
      return namespace
    },
    ready: async (lane, from = start) => {
      await subject.store.initialiseCanaries(lane, SHARD_COUNT, from)
      return lane
    },
    flushOne: async (lane, shard, expected, next, writes, on = subject.store) =>
      (await on.flush(lane, [{ shard, expected, next, writes }]))[0],
  }
}
