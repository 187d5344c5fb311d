import { createSeekingReader } from './encoding.ts'
import { floorTo } from './layout.ts'
import { absorbPacked, addPoint, emptyStates, packStates } from './states.ts'
import type { Point, TimeMs, UnitSpec } from './types.ts'

/** The folded partials of all points of a span that is stored apart, in a block. */
export interface Tile {
  readonly startMs: TimeMs
  /** Index into the layout's levels. */
  readonly level: number
  /** How many points, 1 or more. */
  readonly count: number
  /** Bit i is set when blocks of level i lie at or below this one. */
  readonly levels: number
  /** What `packStates` makes. */
  readonly packed: Uint8Array
}

/** Points and tiles of different spans, each ascending. */
export interface Content {
  readonly points: readonly Point[]
  readonly tiles: readonly Tile[]
}

/** The states of neighbouring tiles merged, so that a long window takes fewer steps. */
export interface Bundle {
  /** Number of its first tile, and how many there are. */
  readonly first: number
  readonly count: number
  readonly packed: Uint8Array
}

const BUNDLE_SPANS = 8
const MIN_BUNDLE_TILES = 4
/** States larger than this are not stored a second time for the sake of speed. */
export const MAX_BUNDLE_BYTES = 1024

/** Bundles of tiles of one level in aligned spans of eight of its widths: of four tiles or more, and of 1 KiB at most. */
export function bundlesOf(spec: UnitSpec, tiles: readonly Tile[]): readonly Bundle[] {
  const bundles: Bundle[] = []
  for (let first = 0; first < tiles.length;) {
    const { level, startMs } = tiles[first]!
    const end =
      floorTo(startMs, BUNDLE_SPANS * spec.layout.levelsMs[level]!) + BUNDLE_SPANS * spec.layout.levelsMs[level]!
    let next = first + 1
    while (next < tiles.length && tiles[next]!.level === level && tiles[next]!.startMs < end) next++
    if (next - first >= MIN_BUNDLE_TILES) {
      const packed = foldContent(spec, { points: [], tiles: tiles.slice(first, next) })
      if (packed.length <= MAX_BUNDLE_BYTES) bundles.push({ first, count: next - first, packed })
    }
    first = next
  }
  return bundles
}

/**
 * Every two or more last tiles, by the first of them, as long as their states are 1 KiB at most: what a window takes
 * whose lower edge falls into the one before.
 */
export function suffixesOf(spec: UnitSpec, tiles: readonly Tile[]): readonly Bundle[] {
  const bundles: Bundle[] = []
  for (let first = tiles.length - 2; first >= 0; first--) {
    const rest = bundles[0]?.packed ?? tiles[first + 1]!.packed
    const packed = foldContent(spec, { points: [], tiles: [tiles[first]!, { ...tiles[first + 1]!, packed: rest }] })
    if (packed.length > MAX_BUNDLE_BYTES) break
    bundles.unshift({ first, count: tiles.length - first, packed })
  }
  return bundles
}

/** Folds points and tiles in order of time and packs the states. */
export function foldContent(spec: UnitSpec, { points, tiles }: Content): Uint8Array {
  const states = emptyStates(spec)
  let next = 0
  for (const tile of tiles) {
    while (next < points.length && points[next]!.time < tile.startMs) addToAll(spec, states, points[next++]!)
    const reader = createSeekingReader(tile.packed)
    absorbPacked(spec, states, reader, tile.packed.length)
  }
  while (next < points.length) addToAll(spec, states, points[next++]!)
  return packStates(spec, states)
}

function addToAll(spec: UnitSpec, states: unknown[], point: Point): void {
  for (let index = 0; index < states.length; index++) {
    states[index] = addPoint(spec.partials[index]!, states[index], point)
  }
}

/** How many points are in memory or in tiles. */
export function countOf({ points, tiles }: Content): number {
  let count = points.length
  for (const tile of tiles) count += tile.count
  return count
}
