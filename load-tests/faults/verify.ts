import { applyPoint, emptySection, encodeSection } from '../../features/kernel/index.ts'
import type { SectionState } from '../../features/kernel/index.ts'
import type { Point } from '../../features/kernel/types.ts'
import type { BoundPlan, BoundUnit } from '../../features/plan/units.ts'
import { jsonFormats } from '../../topology/event-record.ts'
import type { EventLog } from '../../topology/ports/event-log.ts'
import { hash32, onlineKey } from '../../topology/ports/online-layout.ts'
import type { OnlineStore, Section } from '../../topology/ports/online-store.ts'
import type { EventFormats, EventReader } from '../../topology/ports/value-format.ts'
import { checkedRecords } from './checked-records.ts'
import { imageDifferences, readDifferences } from './section-oracle.ts'

export { verifyOffline } from './verify-offline.ts'
export type { OfflineVerification } from './verify-offline.ts'

export interface VerifyOnlineOptions {
  readonly log: EventLog
  readonly store: OnlineStore
  /** The units whose state is checked are those fed by the source of `topic`. */
  readonly bound: Pick<BoundPlan, 'units'>
  readonly namespace: string
  readonly topic: string
  /** Those that are checked; all by default. */
  readonly partitions?: readonly number[]
  readonly formats?: EventFormats
  /** The log is read so many times, each for another share of the entities; memory shrinks with it. 1 by default. */
  readonly passes?: number
  /** Differences that are told in words; 20 by default. */
  readonly maxDifferences?: number
  /** Of so many entities one is also read as a scorer reads, against a plain loop; 50 by default, 0 for none. */
  readonly readOneIn?: number
  /** Every key that is stored, where it can be listed: finds state of entities that no record names. */
  readonly storedKeys?: AsyncIterable<string> | null
}

/** What an online check found; all counts are of (entity, unit, partition) unless they say otherwise. */
export interface OnlineVerification {
  readonly records: number
  readonly invalid: number
  /** (entity, unit) pairs that records name. */
  readonly entities: number
  readonly sections: number
  /** Sections also read as a scorer does. */
  readonly readSections: number
  readonly wrong: number
  readonly missing: number
  /** Stored although no record of this life of the topic makes them. */
  readonly extra: number
  /** Sections of earlier lives of the topic; they keep counting and are not checked. */
  readonly ofOtherLives: number
  readonly differences: readonly string[]
}

/** What one partition says of one entity. */
interface Expected {
  readonly unit: BoundUnit
  readonly key: string
  readonly state: SectionState
  position: number
  /** Kept for entities that are also read, up to a bound; null for others. */
  points: Point[] | null
}

const STORE_KEYS = 200
/** A plain loop over more points takes too long. */
const MAX_READ_POINTS = 400

interface OnlineCounts {
  records: number
  invalid: number
  sections: number
  readSections: number
  wrong: number
  missing: number
  extra: number
  ofOtherLives: number
}

/**
 * Recomputes the state of every entity from the log alone and compares it with what is stored: the bytes of every head
 * and block, the position, and for a share of the entities the answers at several instants against a plain loop. It
 * must run when the workers have read the log to its end. One partition's entities are held at a time.
 */
export async function verifyOnline(options: VerifyOnlineOptions): Promise<OnlineVerification> {
  const { log, bound, topic, passes = 1, maxDifferences = 20 } = options
  const units = bound.units.filter(unit => unit.source.topic === topic)
  const [first] = units
  if (first === undefined) throw new Error(`no unit is fed by ${topic}`)
  const reader = (options.formats ?? jsonFormats).reader(first.source)
  const info = await log.describe(topic)
  if (info === null) throw new Error(`there is no topic ${topic}`)
  const partitions = options.partitions ?? Array.from({ length: info.partitions }, (_, partition) => partition)
  const counts: OnlineCounts = {
    records: 0,
    invalid: 0,
    sections: 0,
    readSections: 0,
    wrong: 0,
    missing: 0,
    extra: 0,
    ofOtherLives: 0,
  }
  const differences: string[] = []
  const tell = (text: string): void => void (differences.length < maxDifferences && differences.push(text))
  let entities = 0
  const unnamed = new Set<string>()
  if (options.storedKeys) for await (const key of options.storedKeys) unnamed.add(key)
  for (let pass = 0; pass < passes; pass++) {
    const inPass = (key: string): boolean => passes === 1 || hash32(key) % passes === pass
    const perKey = new Map<string, { expected: number; stored: number }>()
    for (const partition of partitions) {
      const scope = { ...options, units, reader, incarnation: info.incarnation, partition, partitions, inPass }
      const expected = await expectedSections(scope, pass === 0 ? counts : null)
      await compareSections(scope, expected, counts, tell, perKey)
    }
    entities += perKey.size
    for (const [key, { expected, stored }] of perKey) {
      unnamed.delete(key)
      if (stored <= expected) continue
      counts.extra += stored - expected
      tell(`${key}: ${stored} sections are stored, ${expected} partitions name it`)
    }
  }
  for (const key of unnamed) tell(`${key}: stored, but no record names it`)
  counts.extra += unnamed.size
  return { ...counts, entities, differences }
}

interface PartitionScope extends VerifyOnlineOptions {
  readonly units: readonly BoundUnit[]
  readonly reader: EventReader
  readonly incarnation: string
  readonly partition: number
  readonly partitions: readonly number[]
  readonly inPass: (key: string) => boolean
}

async function expectedSections(scope: PartitionScope, counts: OnlineCounts | null): Promise<Map<string, Expected>> {
  const { log, topic, partition, units, reader, namespace, readOneIn = 50 } = scope
  const sections = new Map<string, Expected>()
  const { endOffset } = await log.bounds(topic, partition)
  for await (const chunk of checkedRecords(log, reader, topic, partition, endOffset)) {
    for (const { record, event } of chunk) {
      if (counts !== null) counts[event === null ? 'invalid' : 'records']++
      if (event === null) continue
      for (const unit of units) {
        const id = unit.entityId(event)
        if (id === null) continue
        const key = onlineKey(namespace, unit.entity, id, unit.id)
        if (!scope.inPass(key)) continue
        let section = sections.get(key)
        if (section === undefined) {
          const isRead = readOneIn > 0 && hash32(`${key} read`) % readOneIn === 0
          section = { unit, key, state: emptySection(unit.spec), position: -1, points: isRead ? [] : null }
          sections.set(key, section)
        }
        const point = unit.project(event)
        applyPoint(unit.spec, section.state, point)
        section.position = record.offset
        section.points?.push(point)
        if ((section.points?.length ?? 0) > MAX_READ_POINTS) section.points = null
      }
    }
  }
  return sections
}

async function compareSections(
  scope: PartitionScope,
  sections: ReadonlyMap<string, Expected>,
  counts: OnlineCounts,
  tell: (text: string) => void,
  perKey: Map<string, { expected: number; stored: number }>,
): Promise<void> {
  const all = [...sections.values()]
  for (let start = 0; start < all.length; start += STORE_KEYS) {
    const part = all.slice(start, start + STORE_KEYS)
    const images = part.map(({ unit, state }) => encodeSection(unit.spec, state))
    const found = await scope.store.read(
      part.map(({ key }, index) => ({ key, blocks: () => (images[index]?.blocks ?? []).map(block => block.id) })),
    )
    for (const [index, expected] of part.entries()) {
      const { key, unit, points } = expected
      const stored = found[index] ?? []
      const alive = stored.filter(section => section.incarnation === scope.incarnation)
      const checked = alive.filter(section => scope.partitions.includes(section.partition))
      const before = perKey.get(key)
      if (before === undefined) counts.ofOtherLives += stored.length - alive.length
      perKey.set(key, { expected: (before?.expected ?? 0) + 1, stored: checked.length })
      counts.sections++
      const section = alive.find(each => each.partition === scope.partition)
      if (section === undefined) {
        counts.missing++
        tell(`${key} partition ${scope.partition}: missing`)
        continue
      }
      const image = images[index]
      const wrong =
        image === undefined ? [] : [...positionDifference(section, expected), ...imageDifferences(image, section)]
      if (points !== null && wrong.length === 0) {
        counts.readSections++
        wrong.push(...readDifferences(unit, points, blocks => withBlocks(section, blocks), seeded(key)))
      }
      if (wrong.length === 0) continue
      counts.wrong++
      tell(`${key} partition ${scope.partition}: ${wrong.slice(0, 3).join('; ')}`)
    }
  }
}

function positionDifference(section: Section, { position }: Expected): readonly string[] {
  return section.position === position ? [] : [`at ${section.position}, not at ${position}`]
}

function withBlocks(section: Section, ids: readonly number[]): Section {
  return { ...section, blocks: new Map([...section.blocks].filter(([id]) => ids.includes(id))) }
}

/** The same instants for the same key, each time. */
function seeded(key: string): (bound: number) => number {
  let state = hash32(key)
  return bound => {
    state = hash32(`${state}`)
    return state % Math.max(1, bound)
  }
}
