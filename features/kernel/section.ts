import { EncodedSection } from './encoded-section.ts'
import { createSeekingReader } from './encoding.ts'
import { DIRECTORY_BLOCK, blockIdAt, floorTo, spanOfBlock } from './layout.ts'
import { comparePoints } from './order.ts'
import { absorbPacked, addPoint, emptyStates } from './states.ts'
import type { Tile } from './tiles.ts'
import type { Cell, Point, TimeMs, UnitSpec } from './types.ts'

/**
 * The state of one entity in one unit from one source partition, in memory: the points of spans that are not stored
 * apart, and tiles for those that are. What is encoded of it is a pure function of the set of accepted points: neither
 * batch edges nor arrival order show. Fields are the kernel's own.
 */
export interface SectionState {
  /** Time of the newest accepted point. */
  newest: TimeMs | null
  /** Points in memory by (time, id), from index `head` on. */
  points: Point[]
  head: number
  /** In order of time; no point in memory lies in the span of one. */
  tiles: Tile[]
  /** How many points have been folded into `base`; stays 0 without a lifetime partial. */
  folded: number
  /** One state per partial, empty where it is not kept for lifetime windows: all points before `keptFrom`. */
  base: unknown[]
  /** Points before it are folded or gone. */
  keptFrom: TimeMs
  /** With an edge: blocks of spans that divide it are forgotten where they end before this. */
  sealedTo: TimeMs
  /** The tiles as they were last encoded or decoded. */
  directory: readonly Tile[]
  /** Whether a block was ever stored beside the head, as far as this state knows. */
  hadBlocks: boolean
  /** Blocks before these were dropped by an earlier encoding. */
  dropped: { keptFrom: TimeMs; sealedTo: TimeMs }
  /** Bytes of the base states when they were last encoded or decoded. */
  baseBytes: number
  /** Bytes of the texts and vectors of the points in memory, and of some that have left since they were counted. */
  textBytes: number
}

/** What became of a point that was applied. */
export type Applied = 'added' | 'late' | 'duplicate' | 'conflict'

const COMPACT_AT_POINTS = 64

/** The state before any record. */
export function emptySection(spec: UnitSpec): SectionState {
  return {
    newest: null,
    points: [],
    head: 0,
    tiles: [],
    folded: 0,
    base: emptyStates(spec),
    keptFrom: -Infinity,
    sealedTo: -Infinity,
    directory: [],
    hadBlocks: false,
    dropped: { keptFrom: -Infinity, sealedTo: -Infinity },
    baseBytes: 0,
    textBytes: 0,
  }
}

/**
 * The state whose encoding the bytes of a head and of its directory are; other blocks stay where they are. It shares
 * nothing with the bytes. Throws `RangeError` for another version, for bytes that were cut, for a unit with another
 * number of columns, and for a head whose directory is not given.
 * @param directory the block `DIRECTORY_BLOCK`; null or undefined where there is none
 */
export function decodeSection(spec: UnitSpec, bytes: Uint8Array, directory?: Uint8Array | null): SectionState {
  const encoded = new EncodedSection(spec, bytes, 'head')
  const state = emptySection(spec)
  state.points = pointsOf(spec, encoded)
  state.textBytes = textBytesOf(state.points)
  if (encoded.hasDirectory) {
    if (!directory) throw new RangeError(`the head of a section was read without its block ${DIRECTORY_BLOCK}`)
    state.tiles = tilesOf(new EncodedSection(spec, directory, 'block'))
    state.directory = state.tiles.slice()
  }
  state.folded = encoded.folded
  encoded.absorbBase(state.base)
  state.baseBytes = encoded.baseBytes
  state.hadBlocks = encoded.levels !== 0
  state.newest = encoded.newest
  if (state.newest !== null) {
    state.keptFrom = keptFrom(spec, state.newest)
    state.sealedTo = sealedTo(spec, state.newest)
  }
  return state
}

function pointsOf(spec: UnitSpec, encoded: EncodedSection): Point[] {
  const points: Point[] = []
  for (let row = 0; row < encoded.count; row++) {
    const cells = spec.columns.map((_, column) => encoded.cell(column, row))
    points.push({ time: encoded.time(row), id: encoded.id(row), cells, mask: encoded.mask(row) })
  }
  return points
}

function tilesOf(encoded: EncodedSection): Tile[] {
  return Array.from({ length: encoded.tileCount }, (_, tile) => ({
    startMs: encoded.tileStart(tile),
    level: encoded.tileLevel(tile),
    count: encoded.tilePoints(tile),
    levels: encoded.tileLevels(tile),
    packed: encoded.tilePacked(tile),
  }))
}

/** Time of the newest accepted point, null without any. */
export function newestTime(state: SectionState): TimeMs | null {
  return state.newest
}

/** How many points a section stands for: those in memory, in tiles, and folded into base states. */
export function pointCount(state: SectionState): number {
  return state.tiles.reduce((count, tile) => count + tile.count, state.points.length - state.head) + state.folded
}

const POINT_BYTES = 144
const CELL_BYTES = 24
const TILE_OBJECT_BYTES = 120
const SECTION_OBJECT_BYTES = 320

/** About how many bytes of memory a state takes. */
export function stateBytes(state: SectionState): number {
  const { points, tiles } = state
  const cells = points[points.length - 1]?.cells.length ?? 0
  const pointBytes = points.length * (POINT_BYTES + CELL_BYTES * cells)
  let bytes = SECTION_OBJECT_BYTES + 4 * state.baseBytes + pointBytes + state.textBytes
  for (const tile of tiles) bytes += TILE_OBJECT_BYTES + tile.packed.length
  return bytes
}

/** Bytes of memory of the texts and vectors of points, beside their cells. */
export function textBytesOf(points: readonly Point[]): number {
  let bytes = 0
  for (const { id, cells } of points) {
    bytes += id.length
    for (const cell of cells) {
      if (typeof cell === 'string') bytes += cell.length
      else if (Array.isArray(cell)) bytes += 8 * cell.length
    }
  }
  return bytes
}

/**
 * Applies the next record of the partition. `late`: older than newest − lateness; `duplicate`: a point of the same
 * time and id with the same payload is held; `conflict`: one with another payload is held and stays; in these cases
 * nothing changes. `added`: it is held now (the object itself, which must not be changed afterwards), and points that
 * fell out of the retention were folded into base states or dropped. Throws `RangeError` for a point that is not of
 * the unit's shape: time no safe integer, wrong number of cells, mask bits beyond the filters; and for one whose place
 * is in a block that is not in memory, which `blocksForPoint` names.
 */
export function applyPoint(spec: UnitSpec, state: SectionState, point: Point): Applied {
  checkShape(spec, point)
  const { newest, points } = state
  if (newest === null) {
    points.push(point)
  } else {
    if (point.time < newest - spec.latenessMs) return 'late'
    const tile = tileAt(spec, state, point.time)
    if (tile !== null) {
      const id = blockIdAt(spec.layout, tile.level, tile.startMs)
      throw new RangeError(`point ${point.id}: its block ${id} is not in memory`)
    }
    if (points.length === state.head || comparePoints(points[points.length - 1]!, point) < 0) {
      points.push(point)
    } else {
      const place = lowerBound(points, state.head, other => comparePoints(other, point) < 0)
      const held = points[place]!
      if (comparePoints(held, point) === 0) return samePayload(held, point) ? 'duplicate' : 'conflict'
      points.splice(place, 0, point)
    }
  }
  state.textBytes += textBytesOf([point])
  if (newest === null || point.time > newest) {
    state.newest = point.time
    state.sealedTo = sealedTo(spec, point.time)
    retire(spec, state, point.time)
  }
  return 'added'
}

/**
 * The blocks that must be brought into memory before a point of this time may be applied; none for one that would be
 * late. Blocks lie within blocks: after `addBlock` ask again until none is named.
 */
export function blocksForPoint(spec: UnitSpec, state: SectionState, time: TimeMs): readonly number[] {
  if (state.newest === null || time < state.newest - spec.latenessMs) return []
  const tile = tileAt(spec, state, time)
  return tile === null ? [] : [blockIdAt(spec.layout, tile.level, tile.startMs)]
}

/**
 * Brings the content of a block into memory in the place of its tile. Does nothing for one that is in memory already.
 * Throws `RangeError` for bytes that are not of this block.
 */
export function addBlock(spec: UnitSpec, state: SectionState, id: number, bytes: Uint8Array): void {
  const { level, startMs } = spanOfBlock(spec.layout, id)
  const place = state.tiles.findIndex(tile => tile.level === level && tile.startMs === startMs)
  if (place < 0) return
  const block = new EncodedSection(spec, bytes, 'block')
  if (block.startMs !== startMs) throw new RangeError(`block ${id} starts at ${block.startMs}, not at ${startMs}`)
  state.tiles = [...state.tiles.slice(0, place), ...tilesOf(block), ...state.tiles.slice(place + 1)]
  const at = lowerBound(state.points, state.head, point => point.time < startMs)
  state.points = state.points.slice(state.head, at).concat(pointsOf(spec, block), state.points.slice(at))
  state.head = 0
  state.textBytes = textBytesOf(state.points)
}

/** The tile whose span holds `time`, null when there is none. */
function tileAt(spec: UnitSpec, { tiles }: SectionState, time: TimeMs): Tile | null {
  for (let index = tiles.length - 1; index >= 0; index--) {
    const tile = tiles[index]!
    if (time < tile.startMs) continue
    return time < tile.startMs + spec.layout.levelsMs[tile.level]! ? tile : null
  }
  return null
}

/** The first instant that is kept: aligned to the widest level, so that whole spans are folded or dropped. */
function keptFrom(spec: UnitSpec, newest: TimeMs): TimeMs {
  const { levelsMs } = spec.layout
  return floorTo(newest - spec.retentionMs, levelsMs[levelsMs.length - 1]!)
}

/** Before it no edge falls inside a span whose width divides the unit's edge. */
function sealedTo(spec: UnitSpec, newest: TimeMs): TimeMs {
  return spec.edgeMs === 0 ? -Infinity : floorTo(newest - spec.rawMs, spec.edgeMs)
}

/** Folds what is older than the retention into the base states, or drops it. */
function retire(spec: UnitSpec, state: SectionState, newest: TimeMs): void {
  const from = keptFrom(spec, newest)
  if (from <= state.keptFrom) return
  state.keptFrom = from
  const { points, tiles } = state
  const kept = spec.partials.some(partial => partial.lifetime)
  while (state.head < points.length && points[state.head]!.time < from) {
    const point = points[state.head++]!
    if (!kept) continue
    state.folded++
    for (let index = 0; index < spec.partials.length; index++) {
      const partial = spec.partials[index]!
      if (partial.lifetime) state.base[index] = addPoint(partial, state.base[index], point)
    }
  }
  const expired = tiles.findIndex(tile => tile.startMs >= from)
  for (const tile of tiles.splice(0, expired < 0 ? tiles.length : expired)) {
    if (!kept) continue
    state.folded += tile.count
    const states = spec.partials.map((partial, index) => (partial.lifetime ? state.base[index] : null))
    absorbPacked(spec, states, createSeekingReader(tile.packed), tile.packed.length)
    state.base = states.map((merged, index) => (spec.partials[index]!.lifetime ? merged : state.base[index]))
  }
  if (state.head >= COMPACT_AT_POINTS && state.head * 2 >= points.length) {
    points.splice(0, state.head)
    state.head = 0
  }
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

/** The first index from `from` on whose point is not before, where all points before come first. */
export function lowerBound(points: readonly Point[], from: number, before: (point: Point) => boolean): number {
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
