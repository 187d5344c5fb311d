import { PortError } from '../../../ports/errors.ts'
import { settleAll } from '../../../settle.ts'
import type { Canary, Lane, LoadKey, LoadOutcome, ReadKey, Section } from '../../../ports/online-store.ts'
import {
  blockField,
  blocksKey,
  hashTag,
  idBytes,
  laneBytes,
  marks,
  parseCanary,
  parseHead,
  parseSection,
} from './layout.ts'
import type { StoredSection } from './layout.ts'
import { isTryAgain } from './router.ts'
import { LOAD, READ } from './scripts.ts'
import type { BusyLane, StoreScope } from './scope.ts'

const NO_BLOCKS: ReadonlyMap<number, Uint8Array> = new Map()
const NO_IDS = Buffer.alloc(0)
const MAX_INCARNATIONS = 4_096

/** One script call with the fence of a flush. */
export async function load(
  scope: StoreScope,
  lane: Lane,
  shard: number,
  expected: Canary,
  keys: readonly LoadKey[],
): Promise<LoadOutcome> {
  const names = [scope.names.canary(lane, shard)]
  const ids: Buffer[] = []
  for (const each of keys) names.push(each.key)
  for (const { key, blocks } of keys) {
    if (blocks.length > 0) names.push(blocksKey(key))
    ids.push(blocks.length > 0 ? idBytes(blocks) : NO_IDS)
  }
  const reply = (await scope.router.send({
    slot: scope.shardSlot(shard),
    command: LOAD,
    keys: names.length,
    args: [...names, scope.clock.nowMs(), expected.offset, laneBytes(lane), keys.length, ...ids],
  })) as unknown[]
  if (reply[0] !== 1) return { ok: false, canary: parseCanary(reply[1]) }
  const sections = keys.map(({ key, blocks }, index): Section | null => {
    const answer = reply[index + 1]
    const [head, ...values] = Array.isArray(answer) ? (answer as (Buffer | null)[]) : [answer as Buffer | null]
    if (head === null || head === undefined) return null
    const stored = parseSection(head, 0, key)
    return sectionOf(
      stored,
      lane.incarnation,
      stored.levels === 0 ? NO_BLOCKS : blocksIn(stored.levels, blocks, values, 0),
    )
  })
  return { ok: true, sections }
}

/** A key of a read, with what was found. */
interface Wanted {
  readonly key: ReadKey
  readonly slot: number
  /** Lanes whose blocks are asked for with the head; undefined where it is read alone. */
  readonly hint: readonly BusyLane[] | undefined
  /** Ids of the blocks that may be needed, once they were asked for. */
  ids: readonly number[] | null
  stored: readonly StoredSection[]
  /** Of each section. */
  blocks: readonly ReadonlyMap<number, Uint8Array>[]
}

/**
 * The serving read. All heads come with one `MGET` (in a cluster one for each slot); with it, in the same round trip,
 * the blocks of keys that were seen to have some, each with the position of the section that it belongs to. Where that
 * is not the head's, a write came in between, and the key is read again by a script (`online_store_repeated_reads`). So
 * is one whose head shows blocks that were not known of (`online_store_unhinted_reads`); from then on they are.
 */
export async function read(scope: StoreScope, keys: readonly ReadKey[]): Promise<readonly (readonly Section[])[]> {
  const wanted = keys.map((key): Wanted => {
    const hint = scope.busy.get(key.key)
    const ids = hint === undefined ? null : key.blocks()
    return { key, slot: scope.keySlot(key.key), hint, ids, stored: [], blocks: [] }
  })
  const asked = wanted.filter(({ ids }) => ids !== null && ids.length > 0)
  const again: Wanted[] = []
  if (asked.length === 0) await readHeads(scope, wanted)
  else {
    const heads = readHeads(scope, wanted)
    const blocks = settleAll(asked.map(one => readHinted(scope, one)))
    const values = (await settleAll([heads.then(() => []), blocks]))[1] ?? []
    for (const [index, one] of asked.entries()) if (!takeHinted(one, values[index] ?? [])) again.push(one)
    scope.telemetry.count('online_store_repeated_reads', again.length)
  }
  const unhinted = wanted.filter(one => one.ids === null && one.stored.some(section => section.levels !== 0))
  scope.telemetry.count('online_store_unhinted_reads', unhinted.length)
  for (const one of unhinted) one.ids = one.key.blocks()
  if (again.length + unhinted.length > 0) await readWithBlocks(scope, [...again, ...unhinted])
  for (const one of wanted) keepHint(scope, one)
  await learnIncarnations(scope, wanted)
  const nowMs = scope.clock.nowMs()
  return wanted.map(one => sectionsOf(scope, one, nowMs))
}

/** Remembers which lanes of a key have blocks. */
function keepHint({ busy }: StoreScope, { key, hint, stored }: Wanted): void {
  const lanes = stored.filter(section => section.levels !== 0)
  if (lanes.length === 0) {
    if (hint !== undefined) busy.delete(key.key)
    return
  }
  const same = lanes.length === hint?.length && lanes.every(({ lane, levels }) => hintOf(hint, lane)?.levels === levels)
  // The views are copied: they would keep the whole answer in memory.
  if (!same)
    busy.set(
      key.key,
      lanes.map(({ lane, levels }) => ({ lane: Buffer.from(lane), levels })),
    )
}

function hintOf(hint: readonly BusyLane[], lane: Buffer): BusyLane | undefined {
  return hint.find(each => each.lane.equals(lane))
}

/** For each lane of the hint the position of its section, then those of the ids whose level it had. */
async function readHinted({ router }: StoreScope, { key, slot, hint = [], ids }: Wanted): Promise<(Buffer | null)[]> {
  const fields: Buffer[] = []
  for (const { lane, levels } of hint) {
    fields.push(lane)
    for (const id of ids ?? []) if (hasLevel(levels, id)) fields.push(blockField(lane, id))
  }
  const call = { slot, command: 'hmget', keys: 1, args: [blocksKey(key.key), ...fields] }
  return (await router.send(call)) as (Buffer | null)[]
}

/** False where the blocks are not those of the head. */
function takeHinted(one: Wanted, values: readonly (Buffer | null)[]): boolean {
  const { hint = [], stored, ids } = one
  const found = new Map<BusyLane, { readonly marker: Buffer | null; readonly blocks: Map<number, Uint8Array> }>()
  let next = 0
  for (const each of hint) {
    const marker = values[next] ?? null
    const count = (ids ?? []).filter(id => hasLevel(each.levels, id)).length
    found.set(each, { marker, blocks: blocksIn(each.levels, ids ?? [], values, next + 1) })
    next += 1 + count
  }
  const blocks: ReadonlyMap<number, Uint8Array>[] = []
  for (const section of stored) {
    if (section.levels === 0) {
      blocks.push(NO_BLOCKS)
      continue
    }
    const lane = hintOf(hint, section.lane)
    const own = lane === undefined ? undefined : found.get(lane)
    if (lane === undefined || own === undefined || !marks(own.marker, section)) return false
    if ((section.levels & ~lane.levels) !== 0) return false
    for (const id of own.blocks.keys()) if (!hasLevel(section.levels, id)) own.blocks.delete(id)
    blocks.push(own.blocks)
  }
  one.blocks = blocks
  return true
}

async function readHeads(scope: StoreScope, wanted: readonly Wanted[]): Promise<void> {
  if (wanted.length === 0) return
  if (!scope.router.clustered) return await readSlot(scope, wanted)
  await settleAll([...Map.groupBy(wanted, one => one.slot).values()].map(each => readSlot(scope, each)))
}

async function readSlot(scope: StoreScope, wanted: readonly Wanted[]): Promise<void> {
  const [first] = wanted
  if (first === undefined) return
  const args = wanted.map(one => one.key.key)
  let heads: readonly (Buffer | null)[]
  try {
    heads = (await scope.router.send({
      slot: first.slot,
      command: 'mget',
      keys: args.length,
      args,
      splits: true,
    })) as (Buffer | null)[]
  } catch (error) {
    if (!isTryAgain(error)) throw error
    // The slot is on its way to another node, key by key: each key alone is found where it is.
    scope.telemetry.count('online_store_retries', 1, { why: 'tryagain' })
    heads = (await settleAll(
      args.map(key => scope.router.send({ slot: first.slot, command: 'get', keys: 1, args: [key] })),
    )) as (Buffer | null)[]
  }
  for (const [index, one] of wanted.entries()) {
    const head = heads[index]
    if (head !== null && head !== undefined) one.stored = parseHead(head, one.key.key)
  }
}

async function readWithBlocks(scope: StoreScope, wanted: readonly Wanted[]): Promise<void> {
  const groups = scope.router.clustered ? [...Map.groupBy(wanted, one => one.slot).values()] : [wanted]
  await settleAll(groups.map(group => readGroup(scope, group)))
}

async function readGroup(scope: StoreScope, wanted: readonly Wanted[]): Promise<void> {
  const call = async (part: readonly Wanted[], splits: boolean): Promise<void> => {
    const names = part.flatMap(one => [one.key.key, blocksKey(one.key.key)])
    const replies = (await scope.router.send({
      slot: part[0]?.slot ?? 0,
      command: READ,
      keys: names.length,
      args: [...names, ...part.map(one => idBytes(one.ids ?? []))],
      splits,
    })) as (Buffer | null)[][]
    for (const [index, one] of part.entries()) {
      const [head, ...values] = replies[index] ?? []
      one.stored = head === null || head === undefined ? [] : parseHead(head, one.key.key)
      one.blocks = blocksBySection(one, values)
    }
  }
  try {
    await call(wanted, true)
  } catch (error) {
    if (!isTryAgain(error)) throw error
    scope.telemetry.count('online_store_retries', 1, { why: 'tryagain' })
    await settleAll(wanted.map(one => call([one], false)))
  }
}

/** Fetches the names of incarnations that this process has not met. Errors: nobody knows one of them. */
async function learnIncarnations(scope: StoreScope, wanted: readonly Wanted[]): Promise<void> {
  const tags = new Map<string, number>()
  for (const { key, slot, stored } of wanted) {
    if (stored.some(section => !scope.incarnations.has(section.incarnationId))) tags.set(hashTag(key.key), slot)
  }
  if (tags.size === 0) return
  scope.telemetry.count('online_store_incarnation_reads', 1)
  const found = await settleAll(
    [...tags].map(([tag, slot]) =>
      scope.router.send({ slot, command: 'hgetall', keys: 1, args: [scope.names.incarnations(tag)] }),
    ),
  )
  if (scope.incarnations.size >= MAX_INCARNATIONS) scope.incarnations.clear()
  for (const names of found as Readonly<Record<string, Buffer>>[]) {
    for (const [id, name] of Object.entries(names)) scope.incarnations.set(Number(id), name.toString())
  }
}

/** Sorts what the script answered for a key to its sections. */
function blocksBySection(
  { stored, ids }: Wanted,
  values: readonly (Buffer | null)[],
): ReadonlyMap<number, Uint8Array>[] {
  let next = 0
  return stored.map(({ levels }) => {
    if (levels === 0 || ids === null) return NO_BLOCKS
    const blocks = blocksIn(levels, ids, values, next)
    next += ids.filter(id => hasLevel(levels, id)).length
    return blocks
  })
}

function sectionsOf(scope: StoreScope, { key, stored, blocks }: Wanted, nowMs: number): readonly Section[] {
  const sections: Section[] = []
  for (const [index, section] of stored.entries()) {
    if (section.expiresMs > 0 && section.expiresMs <= nowMs) continue
    const incarnation = scope.incarnations.get(section.incarnationId)
    if (incarnation === undefined) {
      throw new PortError(
        'STORE_UNAVAILABLE',
        `${key.key} has a section of incarnation ${section.incarnationId}, which is not registered in this namespace`,
      )
    }
    sections.push(sectionOf(section, incarnation, blocks[index] ?? NO_BLOCKS))
  }
  return sections
}

function sectionOf(stored: StoredSection, incarnation: string, blocks: ReadonlyMap<number, Uint8Array>): Section {
  const { partition, position, bytes, levels } = stored
  return { incarnation, partition, position, bytes, levels, blocks }
}

/** Pairs the ids whose level is in the mask with the values from `first` on. */
function blocksIn(
  levels: number,
  ids: readonly number[],
  values: readonly (Buffer | null)[],
  first: number,
): Map<number, Uint8Array> {
  const blocks = new Map<number, Uint8Array>()
  let next = first
  for (const id of ids) {
    if (!hasLevel(levels, id)) continue
    const value = values[next]
    next += 1
    if (value !== null && value !== undefined) blocks.set(id, value)
  }
  return blocks
}

/** The level of a block is in the low four bits of its id, which may be negative. */
function hasLevel(levels: number, id: number): boolean {
  return ((levels >>> (((id % 16) + 16) % 16)) & 1) === 1
}
