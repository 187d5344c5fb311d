import { comparePoints } from './order.ts'
import { TILE_MIN_POINTS, addPoint, closedBefore, makeTile, type SectionState } from './tiles.ts'
import type { Cell, Point, TimeMs, UnitSpec } from './types.ts'

export { decodeSection, encodeSection } from './section-encoding.ts'
export type { SectionState } from './tiles.ts'

/** What became of a point that was applied. */
export type Applied = 'added' | 'late' | 'duplicate' | 'conflict'

const COMPACT_AT_POINTS = 64

/** The state before any record. */
export function emptySection(spec: UnitSpec): SectionState {
  return {
    newest: null,
    points: [],
    head: 0,
    shift: 0,
    folded: 0,
    base: spec.partials.map(partial => (partial.lifetime ? partial.aggregator.empty() : null)),
    tiles: [],
    closedTo: -Infinity,
  }
}

/** Time of the newest accepted point, null without any. */
export function newestTime(state: SectionState): TimeMs | null {
  return state.newest
}

/** How many raw points are held: those with time ≥ newest − retention. */
export function pointCount(state: SectionState): number {
  return state.points.length - state.head
}

/**
 * Applies the next record of the partition. `late`: older than newest − lateness; `duplicate`: a point of the same
 * time and id with the same payload is held; `conflict`: one with another payload is held and stays; in these cases
 * nothing changes. `added`: it is held now (the object itself, which must not be changed afterwards), and points that
 * fell out of the retention were folded into base states or dropped. Throws `RangeError` for a point that is not of
 * the unit's shape: time no safe integer, wrong number of cells, mask bits beyond the filters.
 */
export function applyPoint(spec: UnitSpec, state: SectionState, point: Point): Applied {
  checkShape(spec, point)
  const { newest, points } = state
  if (newest === null) {
    points.push(point)
  } else {
    if (point.time < newest - spec.latenessMs) return 'late'
    if (comparePoints(points[points.length - 1]!, point) < 0) {
      points.push(point)
    } else {
      const place = lowerBound(points, state.head, other => comparePoints(other, point) < 0)
      const held = points[place]!
      if (comparePoints(held, point) === 0) return samePayload(held, point) ? 'duplicate' : 'conflict'
      points.splice(place, 0, point)
    }
  }
  if (newest === null || point.time > newest) {
    state.newest = point.time
    retire(spec, state, point.time - spec.retentionMs)
    if (spec.tileMs > 0) closeTiles(spec, state, point.time)
  }
  return 'added'
}

function checkShape(spec: UnitSpec, point: Point): void {
  if (!Number.isSafeInteger(point.time)) {
    throw new RangeError(`point ${point.id}: time ${point.time} is no integer of milliseconds`)
  }
  if (point.cells.length !== spec.columns.length) {
    throw new RangeError(`point ${point.id}: ${point.cells.length} cells for a unit of ${spec.columns.length} columns`)
  }
  if (point.mask >>> spec.filterCount !== 0) {
    throw new RangeError(`point ${point.id}: mask ${point.mask} for a unit of ${spec.filterCount} filters`)
  }
}

/** Moves points older than `oldest` out of the raw points and into the base states. */
function retire(spec: UnitSpec, state: SectionState, oldest: TimeMs): void {
  const { points } = state
  while (points[state.head]!.time < oldest) {
    const point = points[state.head]!
    let folded = 0
    for (let index = 0; index < spec.partials.length; index++) {
      const partial = spec.partials[index]!
      if (!partial.lifetime) continue
      state.base[index] = addPoint(partial, state.base[index], point)
      folded = 1
    }
    state.folded += folded
    state.head++
  }
  if (state.head >= COMPACT_AT_POINTS && state.head * 2 >= points.length) {
    points.splice(0, state.head)
    state.shift += state.head
    state.head = 0
  }
}

/** Drops tiles that are no longer wholly retained and makes those whose spans have closed. */
function closeTiles(spec: UnitSpec, state: SectionState, newest: TimeMs): void {
  const { points, tiles } = state
  const oldest = newest - spec.retentionMs
  while (tiles.length > 0 && tiles[0]!.startMs < oldest) tiles.shift()
  const closedTo = closedBefore(spec, newest)
  if (closedTo <= state.closedTo) return
  const start = Math.max(state.closedTo, Math.ceil(oldest / spec.tileMs) * spec.tileMs)
  let from = lowerBound(points, state.head, point => point.time < start)
  while (from < points.length && points[from]!.time < closedTo) {
    const end = (Math.floor(points[from]!.time / spec.tileMs) + 1) * spec.tileMs
    let to = from + 1
    while (to < points.length && points[to]!.time < end) to++
    if (to - from >= TILE_MIN_POINTS) tiles.push(makeTile(spec, points, from, to, state.shift + from))
    from = to
  }
  state.closedTo = closedTo
}

/** The first index from `from` on whose point is not before, where all points before come first. */
function lowerBound(points: readonly Point[], from: number, before: (point: Point) => boolean): number {
  let low = from
  let high = points.length
  while (low < high) {
    const middle = (low + high) >>> 1
    if (before(points[middle]!)) low = middle + 1
    else high = middle
  }
  return low
}

function samePayload(a: Point, b: Point): boolean {
  return a.mask === b.mask && a.cells.every((cell, index) => sameCell(cell, b.cells[index]!))
}

/** Equality in which NaN equals itself and, as everywhere in the kernel, there is one zero. */
function sameCell(a: Cell, b: Cell): boolean {
  if (a === b) return true
  if (typeof a === 'number') return a !== a && b !== b
  if (!Array.isArray(a) || !Array.isArray(b)) return false
  return a.length === b.length && (a as readonly number[]).every((x, index) => sameCell(x, b[index] as number))
}
