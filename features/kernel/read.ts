import type { Virtual } from './cut.ts'
import { DIRECTORY_BLOCK, blockIdAt } from './layout.ts'
import { emptyPacked, framesOf, type Frame } from './frames.ts'
import { readFrame } from './read-frame.ts'
import { holds, openSection, type SectionSource, type StoredSection } from './source.ts'
import type { FeatureRead, Point, TimeMs, UnitSpec, Value } from './types.ts'
import { isUnbounded, lowerEdge, reachOf, upperEdge } from './windows.ts'

/**
 * The answer to all reads of a unit, in their order. `newest` is the time of the entity's newest event in the sections
 * read, null without any. Out of range: the instant lies further back than the state is kept for.
 */
export type UnitAnswer =
  | { readonly outOfRange: true; readonly newest: TimeMs }
  | { readonly outOfRange: false; readonly newest: TimeMs | null; readonly values: Value[] }

/** Ids of blocks without which a read cannot be answered; read again with them and those given before. */
export interface MissingBlocks {
  readonly missing: readonly number[]
}

/** Reads of a unit with everything worked out that does not depend on the entity. */
export interface PreparedReads {
  /**
   * Answers at instant `t` from an entity's stored sections, one per source partition and incarnation; points of
   * different sections are different events even when time and id agree. `self` is the event being scored, null for
   * none. Sections may be those of several units that are alike but for the lateness, each fed by other events: then
   * `own` says of each section whether it is fed by events of the kind of `self`; without it all are. Throws
   * `RangeError` for bytes that are not of this unit or version, and where a concat partial would have to put more than
   * `MAX_ORDERED_POINTS` points of several sections in order.
   */
  fromBytes(
    sections: readonly StoredSection[],
    t: TimeMs,
    self: Point | null,
    own?: readonly boolean[],
  ): UnitAnswer | MissingBlocks
  /**
   * The directory and the blocks into which an edge of a read at `t` falls, where they exist, named from the instants of
   * the edges alone. They answer every read but one of concat partials whose points lie in several sections: that one
   * needs every block of its window as well, and names them as missing, level by level.
   */
  blocksFor(t: TimeMs, self: Point | null): readonly number[]
}

/**
 * Checks reads against their unit and works out which share edges and states. The instant of a read is out of range
 * when it is before newest − horizon of any section; so is an event being scored that may be among events whose ids are
 * no longer kept: older than newest − retention where a window without a lower edge is read, older than newest − raw
 * retention in a unit with an edge; in sections of other kinds of events only where such a read excludes its whole instant.
 * Throws `RangeError` for a read of a partial the unit lacks, a window the retention
 * or the edge does not cover, and a window without a lower edge over a partial not kept for it.
 */
export function prepareReads(spec: UnitSpec, reads: readonly FeatureRead[]): PreparedReads {
  reads.forEach((read, index) => checkRead(spec, read, index))
  const frames = framesOf(spec, reads)
  const empties = emptyPacked(spec)
  const unbounded = reads.some(read => isUnbounded(read.window))
  const cutsAll = reads.some(read => read.include === 'excludeInstant' && (spec.edgeMs > 0 || isUnbounded(read.window)))
  return {
    fromBytes: (sections, t, self, own) => {
      const missing = new Set<number>()
      const sources = sections.map(stored => openSection(spec, stored, missing))
      const { newest, outOfRange } = rangeOf(spec, sources, { unbounded, cutsAll }, t, self, own)
      if (newest !== null && outOfRange) return { outOfRange, newest }
      const virtual = self === null ? null : locate(sources, self, own)
      const values = new Array<Value>(reads.length).fill(null)
      for (const frame of frames) readFrame(spec, reads, frame, empties, sources, t, virtual, missing, values)
      return missing.size > 0 ? { missing: [...missing] } : { outOfRange: false, newest, values }
    },
    blocksFor: (t, self) => blocksFor(spec, frames, reads, t, self),
  }
}

function rangeOf(
  spec: UnitSpec,
  sources: readonly SectionSource[],
  { unbounded, cutsAll }: { readonly unbounded: boolean; readonly cutsAll: boolean },
  t: TimeMs,
  self: Point | null,
  own: readonly boolean[] | undefined,
): { readonly newest: TimeMs | null; readonly outOfRange: boolean } {
  let newest: TimeMs | null = null
  let outOfRange = false
  for (const [index, { head }] of sources.entries()) {
    if (head.newest === null) continue
    if (newest === null || head.newest > newest) newest = head.newest
    if (t < head.newest - spec.horizonMs) outOfRange = true
    if (self === null || (own?.[index] === false && !cutsAll)) continue
    if (unbounded && self.time < head.newest - spec.retentionMs) outOfRange = true
    if (spec.edgeMs > 0 && self.time < head.newest - spec.rawMs) outOfRange = true
  }
  return { newest, outOfRange }
}

function locate(sources: readonly SectionSource[], point: Point, own: readonly boolean[] | undefined): Virtual {
  const storedIn = sources.map((source, index) => own?.[index] !== false && holds(source, point))
  return { point, storedIn, stored: storedIn.includes(true) }
}

/** The directory, and every span of any level that an edge may cut in two. */
function blocksFor(
  spec: UnitSpec,
  frames: readonly Frame[],
  reads: readonly FeatureRead[],
  t: TimeMs,
  self: Point | null,
): readonly number[] {
  const instants = new Set<TimeMs>()
  for (const frame of frames) {
    instants.add(upperEdge(frame.window, t))
    for (const { window } of frame.lows) instants.add(lowerEdge(window, t))
  }
  if (self !== null || reads.some(read => read.include === 'excludeInstant')) {
    const instant = self === null ? t : self.time
    instants.add(instant)
    instants.add(instant - 1)
  }
  const ids = new Set<number>([DIRECTORY_BLOCK])
  const { layout } = spec
  for (const instant of instants) {
    if (instant === -Infinity) continue
    for (let level = 0; level < layout.levelsMs.length; level++) {
      const id = blockIdAt(layout, level, instant)
      if (id === blockIdAt(layout, level, instant + 1) || instant === self?.time) ids.add(id)
    }
  }
  return [...ids]
}

function checkRead(spec: UnitSpec, read: FeatureRead, index: number): void {
  const { window } = read
  const partial = spec.partials[read.partial]
  if (partial === undefined) {
    throw new RangeError(`read ${index}: partial ${read.partial} of a unit that has ${spec.partials.length}`)
  }
  if (isUnbounded(window)) {
    const what = window.kind === 'lastEvents' ? 'last-events' : window.kind
    if (partial.aggregator.kind === 'concat') {
      throw new RangeError(`read ${index}: ${partial.aggregator.name} has no ${what} window, its points must be kept`)
    }
    if (!partial.lifetime) {
      throw new RangeError(`read ${index}: partial ${read.partial} is not kept for ${what} windows`)
    }
  }
  const reach = reachOf(window)
  if (!(reach >= 0 && window.delayMs >= 0 && reach + spec.horizonMs <= spec.retentionMs)) {
    throw new RangeError(
      `read ${index}: a window that reaches ${reach} ms back and a horizon of ${spec.horizonMs} ms do not fit the ` +
        `unit's retention of ${spec.retentionMs} ms`,
    )
  }
  if (spec.edgeMs > 0 && !fitsEdge(spec, read)) {
    throw new RangeError(`read ${index}: its edges do not fall on multiples of the unit's edge of ${spec.edgeMs} ms`)
  }
}

function fitsEdge(spec: UnitSpec, { window }: FeatureRead): boolean {
  if (window.delayMs + spec.horizonMs > spec.rawMs) return false
  if (isUnbounded(window)) return true
  if (window.kind === 'tumbling') return window.lengthMs % spec.edgeMs === 0
  if (window.kind === 'sliding' && window.edgeMs > 0) return window.edgeMs % spec.edgeMs === 0
  return reachOf(window) + spec.horizonMs <= spec.rawMs
}
