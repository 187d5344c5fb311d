import { EncodedSection } from './encoded-section.ts'
import { DIRECTORY_BLOCK, blockIdAt } from './layout.ts'
import { comparePoints } from './order.ts'
import type { Cell, Input, Point, TimeMs, UnitSpec } from './types.ts'

/** A section as it is stored: its head and those of its blocks that were read with it. */
export interface StoredSection {
  readonly bytes: Uint8Array
  /** By block id. */
  readonly blocks: ReadonlyMap<number, Uint8Array>
}

/** A section being read: its head, and its blocks as they are needed. */
export interface SectionSource {
  readonly head: EncodedSection
  /** The value that holds the head's tiles; null where it has none, or where they were not read. */
  readonly directory: EncodedSection | null
  /** null, and noted in `missing`, for a block that was not read. */
  block(level: number, startMs: TimeMs): EncodedSection | null
}

/** Opens a section; ids of blocks that turn out to be needed and were not read are added to `missing`. */
export function openSection(spec: UnitSpec, stored: StoredSection, missing: Set<number>): SectionSource {
  const opened = new Map<number, EncodedSection>()
  const head = new EncodedSection(spec, stored.bytes, 'head')
  const tiles = head.hasDirectory ? stored.blocks.get(DIRECTORY_BLOCK) : undefined
  if (head.hasDirectory && tiles === undefined) missing.add(DIRECTORY_BLOCK)
  return {
    head,
    directory: tiles === undefined ? null : new EncodedSection(spec, tiles, 'block'),
    block: (level, startMs) => {
      const id = blockIdAt(spec.layout, level, startMs)
      const known = opened.get(id)
      if (known !== undefined) return known
      const bytes = stored.blocks.get(id)
      if (bytes === undefined) {
        missing.add(id)
        return null
      }
      const block = new EncodedSection(spec, bytes, 'block')
      if (block.startMs !== startMs) throw new RangeError(`block ${id} starts at ${block.startMs}, not at ${startMs}`)
      opened.set(id, block)
      return block
    },
  }
}

/** A point in place in an encoded value, as an aggregator sees it; moved from row to row. */
export class RowInput implements Input {
  cell: Cell = null
  by: Cell = null
  private view: EncodedSection | null = null
  private row = 0

  at(view: EncodedSection, row: number): void {
    this.view = view
    this.row = row
  }

  get time(): TimeMs {
    return this.view === null ? 0 : this.view.time(this.row)
  }

  get id(): string {
    return this.view === null ? '' : this.view.id(this.row)
  }
}

/** What a walk over a stretch of time comes upon, in order of time. */
export interface Visitor {
  /** Points `[from, to)` of a value. */
  rows(view: EncodedSection, from: number, to: number): void
  /** A tile that lies wholly inside, or a bundle of such tiles, by the number of its states. */
  tile(view: EncodedSection, tile: number): void
}

/**
 * Walks over the events with `low < time ≤ high`; `raw` asks for points also where a tile would do. Blocks that were
 * not read are passed over and noted.
 */
export function walk(
  source: SectionSource,
  view: EncodedSection,
  low: TimeMs,
  high: TimeMs,
  raw: boolean,
  visitor: Visitor,
): void {
  let row = view.rowAfter(low)
  const end = view.rowAfter(high)
  const tiles = view === source.head ? source.directory : view
  if (tiles !== null && tiles.tileCount > 0) {
    let bundle = 0
    for (let tile = tiles.tileAfter(low); tile < tiles.tileCount; tile++) {
      const startMs = tiles.tileStart(tile)
      if (startMs > high) break
      if (row < end) {
        const before = tiles === view ? Math.min(view.tileRow(tile), end) : view.rowAfter(startMs - 1)
        if (row < before) visitor.rows(view, row, before)
        row = Math.max(row, before)
      }
      while (bundle < tiles.bundleCount && tiles.bundleFirst(bundle) < tile) bundle++
      if (!raw && startMs > low && fits(tiles, bundle, tile, high, row < end ? view.time(row) : Infinity)) {
        visitor.tile(tiles, tiles.tileCount + bundle)
        tile = tiles.bundleLast(bundle)
      } else step(source, tiles, tile, startMs, low, high, raw, visitor)
    }
  }
  if (row < end) visitor.rows(view, row, end)
}

/** Whether a bundle starts at the tile, ends before the upper edge, and has no point of the head inside. */
function fits(tiles: EncodedSection, bundle: number, tile: number, high: TimeMs, nextRow: TimeMs): boolean {
  if (bundle >= tiles.bundleCount || tiles.bundleFirst(bundle) !== tile) return false
  const last = tiles.tileLast(tiles.bundleLast(bundle))
  return last <= high && last < nextRow
}

function step(
  source: SectionSource,
  tiles: EncodedSection,
  tile: number,
  startMs: TimeMs,
  low: TimeMs,
  high: TimeMs,
  raw: boolean,
  visitor: Visitor,
): void {
  if (!raw && startMs > low && tiles.tileLast(tile) <= high) return visitor.tile(tiles, tile)
  const block = source.block(tiles.tileLevel(tile), startMs)
  if (block !== null) walk(source, block, low, high, raw, visitor)
}

/** Whether an event of this time and id is stored; false as long as a block that may hold it was not read. */
export function holds(source: SectionSource, point: Point): boolean {
  let found = false
  const at = { time: 0, id: '' }
  walk(source, source.head, point.time - 1, point.time, true, {
    rows: (view, from, to) => {
      for (let row = from; row < to && !found; row++) {
        at.time = view.time(row)
        at.id = view.id(row)
        found = comparePoints(at, point) === 0
      }
    },
    tile: () => undefined,
  })
  return found
}
