import { encodeValue } from './section-encoding.ts'
import { DIRECTORY_BLOCK, DIRECTORY_LEVEL, blockIdAt, floorTo } from './layout.ts'
import { textBytesOf, type SectionState } from './section.ts'
import { packStates } from './states.ts'
import { bundlesOf, countOf, foldContent, suffixesOf, type Content, type Tile } from './tiles.ts'
import type { Point, TimeMs, UnitSpec } from './types.ts'

/** A part of a section that is stored beside its head. */
export interface EncodedBlock {
  /** `16 · index + level`, as in `blockIdAt`. */
  readonly id: number
  readonly bytes: Uint8Array
}

/** All that must be stored of a section, in one piece or not at all. */
export interface SectionImage {
  /** The head. */
  readonly bytes: Uint8Array
  /** Bit i is set when blocks of level i lie beside the head. */
  readonly levels: number
  /** Those that are new or changed. */
  readonly blocks: readonly EncodedBlock[]
  /** Blocks of a level whose index is below are no longer needed. */
  readonly drops: readonly { readonly level: number; readonly belowIndex: number }[]
}

/**
 * Cuts a section into its head and blocks. Canonical: which spans are stored apart depends on the set of accepted
 * points alone. A span of the widest level is stored apart when it holds `blockPoints` or more and not the newest
 * point; the one with the newest point, if it holds more than `leafPoints`, is cut into the spans of the level below,
 * to which the same applies, and so on. A block with more than `leafPoints` is cut in the same way. Only a span of the
 * narrowest level has no bound: it holds as many points as fall into one of its instants. Points of spans stored apart
 * leave the state's memory, so the image must be stored or the state forgotten. Throws `RangeError` for a cell that its
 * column's type cannot hold, and for a state whose blocks are not those that belong to its head.
 */
export function encodeSection(spec: UnitSpec, state: SectionState): SectionImage {
  const blocks: EncodedBlock[] = []
  if (state.head > 0) {
    state.points.splice(0, state.head)
    state.head = 0
  }
  const small = state.tiles.length === 0 && state.points.length < spec.layout.blockPoints
  if (!small) {
    const cut = new Cut(spec, state.newest ?? 0, state.sealedTo, blocks)
    cut.spans(spec.layout.levelsMs.length - 1, state)
    state.points = cut.points
    state.tiles = cut.tiles
    state.textBytes = textBytesOf(state.points)
    state.hadBlocks ||= blocks.length > 0
  }
  const base = state.folded > 0 ? packStates(spec, state.base) : null
  state.baseBytes = base?.length ?? 0
  const levels = levelsOf(state)
  const header = { kind: 'head', time: state.newest, folded: state.folded, base, levels, bundles: [] } as const
  const bytes = encodeValue(spec, header, { points: state.points, tiles: [] })
  return { bytes, levels, blocks, drops: [...dropsOf(spec, state), ...directoryOf(spec, state, blocks)] }
}

function levelsOf({ tiles }: Content): number {
  return tiles.reduce((all, tile) => all | tile.levels, tiles.length === 0 ? 0 : 1 << DIRECTORY_LEVEL)
}

/** Adds the directory to the blocks where it has changed, or drops it where it is no longer needed. */
function directoryOf(spec: UnitSpec, state: SectionState, blocks: EncodedBlock[]): SectionImage['drops'] {
  const { tiles, directory } = state
  if (tiles.length === directory.length && tiles.every((tile, index) => tile === directory[index])) return []
  state.directory = tiles.slice()
  if (tiles.length === 0) return [{ level: DIRECTORY_LEVEL, belowIndex: 1 }]
  const bundles = bundlesOf(spec, tiles)
  const header = { kind: 'block', time: 0, folded: 0, base: null, levels: 0, bundles } as const
  blocks.push({ id: DIRECTORY_BLOCK, bytes: encodeValue(spec, header, { points: [], tiles }) })
  return []
}

/** What was forgotten since the last encoding, by level. */
function dropsOf(spec: UnitSpec, state: SectionState): SectionImage['drops'] {
  const { dropped, keptFrom, sealedTo } = state
  if (!state.hadBlocks || (keptFrom === dropped.keptFrom && sealedTo === dropped.sealedTo)) return []
  state.dropped = { keptFrom, sealedTo }
  return spec.layout.levelsMs.flatMap((width, level) => {
    const from = isSealable(spec, width) ? Math.max(keptFrom, sealedTo) : keptFrom
    return from === -Infinity ? [] : [{ level, belowIndex: Math.floor(from / width) }]
  })
}

/** Whether no edge of an older window can fall inside a span of this width. */
function isSealable(spec: UnitSpec, widthMs: number): boolean {
  return spec.edgeMs > 0 && spec.edgeMs % widthMs === 0
}

/** Collects the content of one value while spans are stored apart. */
class Cut {
  readonly points: Point[] = []
  readonly tiles: Tile[] = []
  private readonly spec: UnitSpec
  private readonly newest: TimeMs
  private readonly sealedTo: TimeMs
  private readonly blocks: EncodedBlock[]

  constructor(spec: UnitSpec, newest: TimeMs, sealedTo: TimeMs, blocks: EncodedBlock[]) {
    this.spec = spec
    this.newest = newest
    this.sealedTo = sealedTo
    this.blocks = blocks
  }

  /** Takes in content as spans of a level. */
  spans(level: number, { points, tiles }: Content): void {
    const { layout } = this.spec
    const width = layout.levelsMs[level]!
    let point = 0
    let tile = 0
    while (point < points.length || tile < tiles.length) {
      const next = Math.min(points[point]?.time ?? Infinity, tiles[tile]?.startMs ?? Infinity)
      const startMs = floorTo(next, width)
      const [fromPoint, fromTile] = [point, tile]
      while (point < points.length && points[point]!.time < startMs + width) point++
      while (tile < tiles.length && tiles[tile]!.startMs < startMs + width) tile++
      const content = { points: points.slice(fromPoint, point), tiles: tiles.slice(fromTile, tile) }
      const count = countOf(content)
      const hasNewest = this.newest >= startMs && this.newest < startMs + width
      if (hasNewest) this.open(level, content, count)
      else if (count < layout.blockPoints) this.take(content.points)
      else this.tiles.push(this.apart(level, startMs, content, count))
    }
  }

  /** The content of a span that stays in this value. */
  private open(level: number, content: Content, count: number): void {
    if (level > 0 && count > this.spec.layout.leafPoints) return this.spans(level - 1, content)
    if (content.tiles.length > 0)
      throw new RangeError(`a span of ${count} points has blocks: not all that was stored of it came back`)
    this.take(content.points)
  }

  private take(points: readonly Point[]): void {
    for (const point of points) this.points.push(point)
  }

  /** The tile of a span that is stored apart: as it is when nothing of it is in memory, else with a new block. */
  private apart(level: number, startMs: TimeMs, content: Content, count: number): Tile {
    const [first] = content.tiles
    if (content.points.length === 0 && content.tiles.length === 1 && first!.level === level) return first!
    const inner = new Cut(this.spec, -Infinity, this.sealedTo, this.blocks)
    inner.open(level, content, count)
    return this.block(level, startMs, inner)
  }

  private block(level: number, startMs: TimeMs, content: Content): Tile {
    const { spec } = this
    const { layout } = spec
    const width = layout.levelsMs[level]!
    if (!isSealable(spec, width) || startMs >= this.sealedTo) {
      const bundles = suffixesOf(spec, content.tiles)
      const header = { kind: 'block', time: startMs, folded: 0, base: null, levels: 0, bundles } as const
      this.blocks.push({ id: blockIdAt(layout, level, startMs), bytes: encodeValue(spec, header, content) })
    }
    const levels = content.tiles.reduce((all, tile) => all | tile.levels, 1 << level)
    return { startMs, level, count: countOf(content), levels, packed: foldContent(spec, content) }
  }
}
