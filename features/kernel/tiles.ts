import { createReader, createWriter } from './encoding.ts'
import type { PartialSpec, Point, TimeMs, UnitSpec } from './types.ts'

/**
 * The folded partials of all points of a section with `startMs ≤ time < startMs + tileMs`. A section stores the tile
 * of an aligned span exactly when the span is closed (its end is at or before newest − lateness, so that nothing
 * accepted can fall in it any more), lies wholly inside the retained range, and holds `TILE_MIN_POINTS` points or more.
 */
export interface Tile {
  readonly startMs: TimeMs
  /** Number of the first point, counted from the first one the section ever held in memory. */
  readonly first: number
  /** Number after that of the last point. */
  readonly end: number
  /** What `packStates` makes. */
  readonly packed: Uint8Array
}

/**
 * The state of one entity in one unit from one source partition, in memory. What is encoded of it is a pure function
 * of the set of accepted points: neither batch edges nor arrival order show. Fields are the kernel's own.
 */
export interface SectionState {
  /** Time of the newest accepted point; that point is always among `points`. */
  newest: TimeMs | null
  /** Retained points by (time, id), from index `head` on. */
  points: Point[]
  head: number
  /** Number of the point at `points[0]`, in the numbering of tiles. */
  shift: number
  /** How many points have left `points` for `base`; stays 0 without a lifetime partial. */
  folded: number
  /** One state per lifetime partial, null for the others: all accepted points with time < newest − retention. */
  base: unknown[]
  /** In order of time. */
  tiles: Tile[]
  /** Spans that end at or before this time have been looked at for tiles. */
  closedTo: TimeMs
}

/** Fewer points than this are folded as fast as a tile is decoded and merged. */
export const TILE_MIN_POINTS = 16

/** About how many tiles the longest window of a unit spans. */
const TILES_PER_WINDOW = 64

const SECOND = 1000
const MINUTE = 60 * SECOND
const HOUR = 60 * MINUTE

/** Every width divides the next day, so that tiles never straddle an aligned day. */
const WIDTHS: readonly number[] = [
  ...[1, 2, 5, 10, 15, 30].map(seconds => seconds * SECOND),
  ...[1, 2, 5, 10, 15, 30].map(minutes => minutes * MINUTE),
  ...[1, 2, 3, 6, 12, 24].map(hours => hours * HOUR),
]

/**
 * The tile width in milliseconds for a unit whose sliding windows have these lengths (0 for a lifetime window): the
 * widest of a fixed list, one second to one day, that fits 64 times in the longest; 0, for no tiles, when the longest
 * is shorter than 64 seconds. Part of the stored state's shape: equal windows must give equal widths for ever.
 */
export function tileMsFor(windowsMs: readonly number[]): number {
  const longest = windowsMs.reduce((most, length) => Math.max(most, length), 0)
  return WIDTHS.findLast(width => width * TILES_PER_WINDOW <= longest) ?? 0
}

/** The end of the last closed span, aligned to the epoch; −Infinity without tiles or points. */
export function closedBefore(spec: UnitSpec, newest: TimeMs | null): TimeMs {
  if (spec.tileMs <= 0 || newest === null) return -Infinity
  return Math.floor((newest - spec.latenessMs) / spec.tileMs) * spec.tileMs
}

/** The tile of `points[from..to)`, of which the first has the number `first`. */
export function makeTile(spec: UnitSpec, points: readonly Point[], from: number, to: number, first: number): Tile {
  const states = spec.partials.map(partial => {
    if (partial.aggregator.kind === 'concat') return null
    let state = partial.aggregator.empty()
    for (let index = from; index < to; index++) state = addPoint(partial, state, points[index]!)
    return state
  })
  const startMs = Math.floor(points[from]!.time / spec.tileMs) * spec.tileMs
  return { startMs, first, end: first + to - from, packed: packStates(spec, states) }
}

/** The state with the point added if the point passes the partial's filter; may change and returns its state. */
export function addPoint(partial: PartialSpec, state: unknown, point: Point): unknown {
  if (partial.filter >= 0 && ((point.mask >>> partial.filter) & 1) === 0) return state
  const cell = partial.column < 0 ? null : point.cells[partial.column]!
  return partial.aggregator.add(state, { cell, time: point.time, id: point.id })
}

/**
 * States of all partials in one piece: u32 ends of each, relative to the end of this table, then the aggregators' own
 * encodings. A null state takes no bytes.
 */
export function packStates(spec: UnitSpec, states: readonly unknown[]): Uint8Array {
  const table = createWriter(4 * states.length)
  const body = createWriter(16 * states.length)
  let end = 0
  states.forEach((state, index) => {
    if (state !== null) {
      const one = createWriter(32)
      spec.partials[index]!.aggregator.encode(state, one)
      const bytes = one.finish()
      body.bytes(bytes)
      end += bytes.length
    }
    table.u32(end)
  })
  table.bytes(body.finish())
  return table.finish()
}

/** Decodes one partial's state, which must have been present, from packed bytes that start at `at` of `bytes`. */
export function unpackState(spec: UnitSpec, partial: number, bytes: Uint8Array, view: DataView, at: number): unknown {
  const body = at + 4 * spec.partials.length
  const start = partial === 0 ? 0 : view.getUint32(at + 4 * (partial - 1), true)
  const end = view.getUint32(at + 4 * partial, true)
  return spec.partials[partial]!.aggregator.decode(createReader(bytes.subarray(body + start, body + end)))
}

/** The length in bytes of the packed states that start at `at`. */
export function packedLength(spec: UnitSpec, view: DataView, at: number): number {
  const count = spec.partials.length
  return count === 0 ? 0 : 4 * count + view.getUint32(at + 4 * (count - 1), true)
}
