import { unpackState, type SectionState } from './tiles.ts'
import type { Cell, Point, TimeMs, UnitSpec } from './types.ts'

/** A section in memory, seen as rows: its retained points by (time, id). Good until the next point is applied. */
export class StateView {
  readonly count: number
  readonly newest: TimeMs | null
  readonly tileCount: number
  private readonly spec: UnitSpec
  private readonly state: SectionState

  constructor(spec: UnitSpec, state: SectionState) {
    this.spec = spec
    this.state = state
    this.count = state.points.length - state.head
    this.newest = state.newest
    this.tileCount = state.tiles.length
  }

  time(row: number): TimeMs {
    return this.point(row).time
  }

  id(row: number): string {
    return this.point(row).id
  }

  mask(row: number): number {
    return this.point(row).mask
  }

  cell(column: number, row: number): Cell {
    return this.point(row).cells[column]!
  }

  /** A lifetime partial's state over the folded points, not to be changed; null when no point was folded. */
  base(partial: number): unknown {
    return this.state.folded === 0 ? null : this.state.base[partial]
  }

  /** The first row of a tile. */
  tileFirst(tile: number): number {
    return this.state.tiles[tile]!.first - this.state.shift - this.state.head
  }

  /** The row after the last one of a tile. */
  tileEnd(tile: number): number {
    return this.state.tiles[tile]!.end - this.state.shift - this.state.head
  }

  /** A fresh copy of a tile's state of a partial. */
  tileState(tile: number, partial: number): unknown {
    const { packed } = this.state.tiles[tile]!
    const view = new DataView(packed.buffer, packed.byteOffset, packed.byteLength)
    return unpackState(this.spec, partial, packed, view, 0)
  }

  private point(row: number): Point {
    return this.state.points[this.state.head + row]!
  }
}
