import {
  applyPoint,
  emptySection,
  encodeSection,
  oracleRead,
  oracleVerdicts,
  prepareReads,
} from '../../features/kernel/index.ts'
import type { FeatureRead, Point, Value, Window } from '../../features/kernel/types.ts'
import { eventDecoder } from '../../features/plan/event.ts'
import type { BoundUnit } from '../../features/plan/units.ts'
import type { LogRecord } from '../../topology/ports/event-log.ts'
import { onlineKey } from '../../topology/ports/online-layout.ts'
import { withBlocks } from './simulated-ports.ts'
import type { StoredSection } from './simulated-ports.ts'

/** One entity's records of the log, in order. */
interface Entity {
  readonly key: string
  readonly unit: BoundUnit
  readonly events: { readonly offset: number; readonly point: Point }[]
}

/**
 * In what the stored sections differ from what they must be by the definition: a fold over the records up to their
 * position, cut into a head and blocks, no block missing, changed or left over. With `pick` every entity must be there,
 * with all its records, and reads of it, at instants that are picked, must answer as a plain loop over its events does.
 */
export function differences(
  namespace: string,
  units: readonly BoundUnit[],
  records: readonly LogRecord[],
  stored: ReadonlyMap<string, StoredSection>,
  pick: ((bound: number) => number) | null,
): readonly string[] {
  const wrong: string[] = []
  for (const { key, unit, events } of units.flatMap(each => entitiesOf(namespace, each, records))) {
    const section = stored.get(key)
    const last = events.at(-1)?.offset ?? -1
    if (section === undefined) {
      if (pick !== null) wrong.push(`${key}: missing`)
      continue
    }
    if (pick !== null && section.position !== last) wrong.push(`${key}: at ${section.position}, not at ${last}`)
    const state = emptySection(unit.spec)
    for (const { offset, point } of events) if (offset <= section.position) applyPoint(unit.spec, state, point)
    const { bytes, levels, blocks } = encodeSection(unit.spec, state)
    if (!same(section.bytes, bytes) || section.levels !== levels) wrong.push(`${key}: another head`)
    for (const block of blocks) {
      if (!same(section.blocks.get(block.id), block.bytes)) wrong.push(`${key}: block ${block.id} missing or changed`)
    }
    if (pick === null) continue
    const known = new Set(blocks.map(block => block.id))
    for (const id of section.blocks.keys()) if (!known.has(id)) wrong.push(`${key}: block ${id} left over`)
    if (pick !== null)
      wrong.push(
        ...readDifferences(
          unit,
          events.map(({ point }) => point),
          section,
          pick,
        ).map(text => `${key}: ${text}`),
      )
  }
  return wrong
}

function same(a: Uint8Array | undefined, b: Uint8Array): boolean {
  return a !== undefined && Buffer.compare(a, b) === 0
}

function entitiesOf(namespace: string, unit: BoundUnit, records: readonly LogRecord[]): readonly Entity[] {
  const decoder = eventDecoder(unit.source)
  const entities = new Map<string, Entity>()
  for (const record of records) {
    const decoded = decoder.decodeJson(record.value, record.arrivalMs)
    const id = decoded.ok ? unit.entityId(decoded.event) : null
    if (!decoded.ok || id === null) continue
    const key = `${onlineKey(namespace, unit.entity, id, unit.id)}|life-1|0`
    const entity = entities.get(id) ?? { key, unit, events: [] }
    entities.set(id, entity)
    entity.events.push({ offset: record.offset, point: unit.project(decoded.event) })
  }
  return [...entities.values()]
}

/** Windows that the unit's retention covers, short and long, with edges and delays. */
function readsOf({ spec }: BoundUnit): readonly FeatureRead[] {
  const reach = spec.retentionMs - spec.horizonMs
  const { edgeMs } = spec
  const edged = (ms: number): number => Math.max(edgeMs, Math.floor(ms / edgeMs) * edgeMs)
  const windows: Window[] =
    edgeMs === 0
      ? [
          { kind: 'sliding', lengthMs: reach, delayMs: 0, edgeMs: 0 },
          { kind: 'sliding', lengthMs: Math.floor(reach / 2), delayMs: Math.floor(reach / 3), edgeMs: 0 },
          { kind: 'tumbling', lengthMs: Math.floor(reach / 2), lookback: 1, delayMs: 0 },
        ]
      : [
          { kind: 'sliding', lengthMs: edged(reach - edgeMs), delayMs: 0, edgeMs },
          {
            kind: 'sliding',
            lengthMs: edged(reach / 2),
            delayMs: Math.floor(spec.rawMs - spec.horizonMs) >> 1,
            edgeMs,
          },
          { kind: 'tumbling', lengthMs: edged(reach / 3), lookback: 1, delayMs: 0 },
        ]
  return spec.partials.flatMap((partial, index) => {
    const all = partial.lifetime ? [...windows, { kind: 'lifetime', delayMs: 0 } as const] : windows
    return all.map((window): FeatureRead => ({ partial: index, window, include: 'current', whenEmpty: null }))
  })
}

const MAX_ROUNDS = 16

function readDifferences(
  unit: BoundUnit,
  points: readonly Point[],
  section: StoredSection,
  pick: (bound: number) => number,
): readonly string[] {
  const { spec } = unit
  const reads = readsOf(unit)
  const prepared = prepareReads(spec, reads)
  const log = points.map(point => ({ partition: 0, point }))
  const verdicts = oracleVerdicts(spec, log)
  const accepted = log.filter((_, index) => verdicts[index] === 'added')
  const newest = accepted.reduce((most, { point }) => Math.max(most, point.time), 0)
  const instants = [newest, newest - spec.horizonMs, newest + pick(2 * spec.retentionMs)]
  return instants.flatMap(t => {
    const self = pick(2) === 0 ? null : (points[pick(points.length)] ?? null)
    const found = answerOf(prepared, section, t, self)
    const expected = oracleRead(spec, reads, accepted, t, self)
    return shown(found) === shown(expected) ? [] : [`read at ${t}: ${shown(found)}, not ${shown(expected)}`]
  })
}

/** Reads as a scorer does: with the blocks that the instant names, then with those that were missing. */
function answerOf(
  prepared: ReturnType<typeof prepareReads>,
  section: StoredSection,
  t: number,
  self: Point | null,
): readonly Value[] | string | null {
  const ids = new Set(prepared.blocksFor(t, self))
  for (let round = 0; round < MAX_ROUNDS; round++) {
    const answer = prepared.fromBytes([withBlocks(section, [...ids])], t, self)
    if (!('missing' in answer)) return answer.outOfRange ? null : answer.values
    if (answer.missing.some(id => ids.has(id))) return `blocks ${answer.missing.join(', ')} are named but not stored`
    for (const id of answer.missing) ids.add(id)
  }
  return 'it never has all the blocks it needs'
}

function shown(value: unknown): string {
  return JSON.stringify(value, (_, each: unknown) => (typeof each === 'bigint' ? `${each}n` : each))
}
