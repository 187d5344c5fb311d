import type { MissingBlocks, UnitAnswer } from '../../features/kernel/index.ts'
import type { Point } from '../../features/kernel/types.ts'
import type { ReadKey, Section } from '../ports/online-store.ts'
import type { ScoringLimits, ScoringOptions } from './options.ts'
import { logSeldom } from './seldom.ts'
import { selfOf } from './selection.ts'
import type { UnitRead } from './selection.ts'
import { degrade } from './turn.ts'
import type { Row, TurnContext } from './turn.ts'

interface ReadOptions extends Pick<ScoringOptions, 'store' | 'clock' | 'telemetry'> {
  readonly limits: Pick<ScoringLimits, 'maxReadMs'>
}

/** Blocks lie within blocks, at most this deep, and a busy entity's state may move on between two reads. */
const MAX_FOLLOW_UP_READS = 16

/** One read of one row, until it is answered. */
interface Want {
  readonly row: Row
  readonly index: number
  readonly read: UnitRead
  /** One for each of its units. */
  readonly keys: readonly string[]
  /** Ids of blocks that an answer turned out to need, beside those that the instant names. */
  needed: readonly number[]
}

/** What one read of the store found of one key. */
interface Found {
  readonly sections: readonly Section[]
  /** Ids of the blocks that it was asked for. */
  readonly asked: ReadonlySet<number>
}

/**
 * Reads the stored state of the rows and answers their units from it: `row.answers` and `row.sections`. All rows share
 * one read of each different key; rows of busy entities that need blocks nobody could name beforehand share another
 * read, which is counted. Where the store does not answer, or what it holds is not readable, the row is degraded.
 * After each read `refuseLate` may settle rows, which are then left alone. Returns the monotonic instant of the store's
 * last answer.
 */
export async function readAnswers(
  context: TurnContext,
  options: ReadOptions,
  rows: readonly Row[],
  refuseLate: () => void,
): Promise<number> {
  const { clock, telemetry } = options
  let wants = wantsOf(rows)
  for (let followUps = 0; ; followUps++) {
    const found = wants.length === 0 ? new Map<string, Found>() : await readWants(options, wants)
    const readAt = clock.monotonicMs()
    refuseLate()
    if (found === null) {
      for (const row of new Set(wants.map(want => want.row))) degrade(row, 'online_store_unavailable')
      return readAt
    }
    wants = wants.filter(want => !want.row.settled && !answered(context, want, found))
    if (wants.length === 0) return readAt
    if (followUps === MAX_FOLLOW_UP_READS) {
      const error = new Error(`the state named new blocks in each of ${MAX_FOLLOW_UP_READS + 1} reads`)
      for (const want of wants) unreadable(context, want, error)
      return readAt
    }
    telemetry.count('online_second_reads', 1)
  }
}

function wantsOf(rows: readonly Row[]): Want[] {
  const wants: Want[] = []
  for (const row of rows) {
    const { units } = row.selection
    for (let index = 0; index < units.length; index++) {
      const read = units[index]
      const keys = row.keys[index] ?? null
      row.answers[index] = null
      row.sections[index] = []
      if (read !== undefined && keys !== null) wants.push({ row, index, read, keys, needed: [] })
    }
  }
  return wants
}

/** One read of each different key; null when the store does not answer. */
async function readWants(
  { store, clock, telemetry, limits }: ReadOptions,
  wants: readonly Want[],
): Promise<ReadonlyMap<string, Found> | null> {
  const byKey = new Map<string, Want[]>()
  for (const want of wants) {
    for (const key of want.keys) {
      const list = byKey.get(key)
      if (list === undefined) byKey.set(key, [want])
      else list.push(want)
    }
  }
  const asked: Set<number>[] = []
  const keys = [...byKey].map(([key, list], index): ReadKey => {
    const ids = (asked[index] = new Set<number>())
    return { key, blocks: () => blocksOf(list, ids) }
  })
  const startedAt = clock.monotonicMs()
  try {
    const sections = await withTimeout(store.read(keys), limits.maxReadMs)
    telemetry.observeMs('online_read_ms', clock.monotonicMs() - startedAt)
    return new Map(
      keys.map(({ key }, index) => [key, { sections: sections[index] ?? [], asked: asked[index] ?? new Set() }]),
    )
  } catch (error) {
    telemetry.count('online_read_failures', 1)
    telemetry.log('error', 'the online store did not answer', { keys: keys.length, error: String(error) })
    return null
  }
}

/** The blocks that any of the wants can need, gathered into `ids`. */
function blocksOf(wants: readonly Want[], ids: Set<number>): readonly number[] {
  for (const { row, read, needed } of wants) {
    for (const id of read.reads.blocksFor(row.t, selfOf(read, row.checked?.event ?? null))) ids.add(id)
    for (const id of needed) ids.add(id)
  }
  return [...ids]
}

/** Answers a read of a row from what was found; false when it needs blocks that were not asked for. */
function answered(context: TurnContext, want: Want, found: ReadonlyMap<string, Found>): boolean {
  const { row, index, read, keys } = want
  const sections = keys.map(key => found.get(key)?.sections ?? [])
  row.sections[index] = sections
  try {
    const answer = answerOf(read, sections, row.t, selfOf(read, row.checked?.event ?? null))
    if (!('missing' in answer)) {
      row.answers[index] = answer
      return true
    }
    const lost = answer.missing.find(id => keys.every(key => found.get(key)?.asked.has(id) === true))
    if (lost !== undefined) throw new Error(`block ${lost} is named by the stored state but is not stored`)
    want.needed = [...want.needed, ...answer.missing]
    return false
  } catch (error) {
    unreadable(context, want, error)
    return true
  }
}

/** @param sections by unit of the read */
function answerOf(
  { reads, units, self: own }: UnitRead,
  sections: readonly (readonly Section[])[],
  t: number,
  self: Point | null,
): UnitAnswer | MissingBlocks {
  const [first = []] = sections
  if (sections.length === 1 || own === null)
    return reads.fromBytes(sections.length === 1 ? first : sections.flat(), t, self)
  const isOwn = sections.flatMap((list, index) => list.map(() => units[index] === own))
  return reads.fromBytes(sections.flat(), t, self, isOwn)
}

function unreadable(context: TurnContext, { row, read, keys }: Want, error: unknown): void {
  const { service } = row
  degrade(row, 'online_state_unreadable')
  context.telemetry.count('unit_read_failures', 1, { unit: read.unit.id })
  const fields = { service: service?.plan.name ?? null, unit: read.unit.id, key: keys.join(' ') }
  const warning = { level: 'error', message: 'stored state is not readable', fields, error } as const
  logSeldom(context, service ?? read.unit, `unit ${read.unit.id}`, warning)
}

function withTimeout<T>(work: Promise<T>, timeoutMs: number): Promise<T> {
  return new Promise((resolve, reject) => {
    const timer = setTimeout(() => reject(new Error(`no answer within ${timeoutMs} ms`)), timeoutMs)
    void work.then(resolve, reject).finally(() => clearTimeout(timer))
  })
}
