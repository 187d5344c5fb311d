import {
  applyPoint,
  emptySection,
  encodeSection,
  oracleRead,
  oracleVerdicts,
  prepareReads,
} from '../../features/kernel/index.ts'
import type { SectionImage } from '../../features/kernel/index.ts'
import type { FeatureRead, Point, Value, Window } from '../../features/kernel/types.ts'
import type { BoundUnit } from '../../features/plan/units.ts'
import type { Section } from '../../topology/ports/online-store.ts'

/** What must be stored of an entity whose partition holds these points, in the order of the log. */
export function expectedImage({ spec }: Pick<BoundUnit, 'spec'>, points: readonly Point[]): SectionImage {
  const state = emptySection(spec)
  for (const point of points) applyPoint(spec, state, point)
  return encodeSection(spec, state)
}

/** In what a stored section differs from what must be stored: its head, and each block missing or changed. */
export function imageDifferences(
  expected: Pick<SectionImage, 'bytes' | 'levels' | 'blocks'>,
  stored: Pick<Section, 'bytes' | 'levels' | 'blocks'>,
): readonly string[] {
  const wrong: string[] = []
  if (!same(stored.bytes, expected.bytes) || stored.levels !== expected.levels) wrong.push('another head')
  for (const block of expected.blocks) {
    if (!same(stored.blocks.get(block.id), block.bytes)) wrong.push(`block ${block.id} missing or changed`)
  }
  return wrong
}

function same(a: Uint8Array | undefined, b: Uint8Array): boolean {
  return a !== undefined && Buffer.compare(a, b) === 0
}

/** Windows that the unit's retention covers, short and long, with edges and delays. */
export function readsOf({ spec }: Pick<BoundUnit, 'spec'>): readonly FeatureRead[] {
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

/**
 * In what the answers from a stored section differ from those of a plain loop over the points, at instants that are
 * picked, with and without an event being scored. Quadratic in the number of points.
 * @param read the stored section with those of the asked blocks that it has
 */
export function readDifferences(
  unit: Pick<BoundUnit, 'spec'>,
  points: readonly Point[],
  read: (blocks: readonly number[]) => Section,
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
    const found = answerOf(prepared, read, t, self)
    const expected = oracleRead(spec, reads, accepted, t, self)
    return shown(found) === shown(expected) ? [] : [`read at ${t}: ${shown(found)}, not ${shown(expected)}`]
  })
}

/** Reads as a scorer does: with the blocks that the instant names, then with those that were missing. */
function answerOf(
  prepared: ReturnType<typeof prepareReads>,
  read: (blocks: readonly number[]) => Section,
  t: number,
  self: Point | null,
): readonly Value[] | string | null {
  const ids = new Set(prepared.blocksFor(t, self))
  for (let round = 0; round < MAX_ROUNDS; round++) {
    const answer = prepared.fromBytes([read([...ids])], t, self)
    if (!('missing' in answer)) return answer.outOfRange ? null : answer.values
    if (answer.missing.some(id => ids.has(id))) return `blocks ${answer.missing.join(', ')} are named but not stored`
    for (const id of answer.missing) ids.add(id)
  }
  return 'it never has all the blocks it needs'
}

function shown(value: unknown): string {
  return JSON.stringify(value, (_, each: unknown) => (typeof each === 'bigint' ? `${each}n` : each))
}
