import { createSeekingReader, type SeekingReader } from './encoding.ts'
import { DIRECTORY_LEVEL } from './layout.ts'
import { maskBytesOf, readNumber, readUnsigned, readUuid } from './packed-values.ts'
import { absorbPacked } from './states.ts'
import type { Cell, TimeMs, UnitSpec } from './types.ts'

/*
 * A section's head and its blocks have one form; the head's tiles stand in a block of their own, the directory, which
 * has no points and whose bit is the highest of the head's levels. Little-endian throughout. With n points and c columns:
 *
 *   0  u8  version          1  u8  0 head, 1 block   2  u16 c          4  u32 length of the whole in bytes
 *   8  f64 newest of the section (head; 0 when it never held a point), or the start of the span (block)
 *  16  f64 how many points were folded into base states (head)
 *  24  u32 n               28  u32 tiles            32  u16 levels of the blocks below     34  u16 bundles
 *  36  u32 at of ids       40  u32 at of masks      44  u32 at of base  48  u32 at of tiles
 *  52  u32 at of each column, c times
 *
 * then times, ids, masks, columns, base states (packed, if any point was folded) and tiles.
 *
 * Times: u8 width, f64 first time, then n unsigned offsets from it of that width, or n f64 times at width 8. Ids: u8
 * form (0 text, 1 UUID, 2 whole numbers), then a string block, 16 bytes each, or u8 width and n numbers. Masks: 0, 1, 2
 * or 4 bytes each, the fewest that hold the unit's filters.
 *
 * A column starts with a byte: bit 7 says that a bitmap of nulls stands at its end (bit i mod 8 of byte i div 8; a null
 * value is all zeros), the rest is a width. Booleans are a byte each (0 false, 1 true). Numbers and int64 are signed
 * integers of 1, 2 or 4 bytes where all of a column fit, else f64 or i64. Vectors are their f64 elements in a row,
 * strings a string block. A string block is u8 width, n unsigned ends of that width, then the UTF-8 text.
 *
 * A tile is 24 bytes: f64 start, u32 points, u32 number of the value's own points before it, u32 at of its packed
 * states, u8 level, u8 0, u16 levels of the blocks at or below it; the packed states
 * follow all tiles and bundles. A bundle is the states of neighbouring tiles merged: it has the form of a tile, with how
 * many tiles it bundles in the place of the points and the number of the first in the place of the points before it.
 */

/** The first byte of every encoded section; part of what a stored state depends on. */
export const SECTION_VERSION = 2

/** Bytes before the places of the columns. */
export const HEADER_BYTES = 52
/** Bytes of a tile without its states. */
export const TILE_BYTES = 24
/** Bytes of the width and the first time before the offsets. */
export const TIMES_HEADER_BYTES = 9
/** Marks a column with a bitmap of nulls. */
export const NULLS_FLAG = 0x80

const MAX_INLINE_TEXT = 64

const utf8Decoder = new TextDecoder('utf-8', { fatal: true, ignoreBOM: true })

/** An encoded head or block read in place: nothing is decoded before it is asked for. Rows are points by (time, id). */
export class EncodedSection {
  readonly count: number
  readonly newest: TimeMs | null
  readonly startMs: TimeMs
  readonly folded: number
  readonly tileCount: number
  readonly bundleCount: number
  readonly levels: number
  private readonly spec: UnitSpec
  /** The whole value. */
  readonly bytes: Uint8Array
  private readonly view: DataView
  private readonly timesAt: number
  private readonly timeWidth: number
  private readonly firstTime: TimeMs
  private readonly idsAt: number
  private readonly masksAt: number
  private readonly maskBytes: number
  private readonly baseAt: number
  private readonly tilesAt: number
  private opened: SeekingReader | null = null

  constructor(spec: UnitSpec, bytes: Uint8Array, what: 'head' | 'block') {
    const view = new DataView(bytes.buffer, bytes.byteOffset, bytes.byteLength)
    const version = bytes[0]
    if (version !== SECTION_VERSION) {
      throw new RangeError(`section of version ${version ?? 'none (no bytes)'}; this build reads ${SECTION_VERSION}`)
    }
    if (bytes.length < HEADER_BYTES || view.getUint32(4, true) !== bytes.length) {
      throw new RangeError(`section of ${bytes.length} bytes is not as long as it says: it was cut or joined`)
    }
    if ((bytes[1] === 0) !== (what === 'head')) throw new RangeError(`the bytes are not those of a ${what}`)
    if (view.getUint16(2, true) !== spec.columns.length) {
      throw new RangeError(`section of ${view.getUint16(2, true)} columns read as a unit of ${spec.columns.length}`)
    }
    this.spec = spec
    this.bytes = bytes
    this.view = view
    this.count = view.getUint32(24, true)
    this.tileCount = view.getUint32(28, true)
    this.startMs = view.getFloat64(8, true)
    this.newest = what === 'block' || this.count === 0 ? null : this.startMs
    this.folded = view.getFloat64(16, true)
    this.levels = view.getUint16(32, true)
    this.bundleCount = view.getUint16(34, true)
    this.timesAt = HEADER_BYTES + 4 * spec.columns.length
    this.timeWidth = view.getUint8(this.timesAt)
    this.firstTime = view.getFloat64(this.timesAt + 1, true)
    this.idsAt = view.getUint32(36, true)
    this.masksAt = view.getUint32(40, true)
    this.maskBytes = maskBytesOf(spec)
    this.baseAt = view.getUint32(44, true)
    this.tilesAt = view.getUint32(48, true)
  }

  time(row: number): TimeMs {
    const { view, timeWidth } = this
    const at = this.timesAt + TIMES_HEADER_BYTES + timeWidth * row
    return timeWidth === 8 ? view.getFloat64(at, true) : this.firstTime + readUnsigned(view, at, timeWidth)
  }

  id(row: number): string {
    const { idsAt, bytes, view, count } = this
    const form = bytes[idsAt]
    if (form === 1) return readUuid(bytes, idsAt + 1 + 16 * row)
    if (form === 0) return this.text(idsAt + 1, row)
    const width = bytes[idsAt + 1]!
    if (row >= count) throw new RangeError(`row ${row} of ${count}`)
    return String(
      width === 8 ? view.getFloat64(idsAt + 2 + 8 * row, true) : readUnsigned(view, idsAt + 2 + width * row, width),
    )
  }

  mask(row: number): number {
    return this.maskBytes === 0 ? 0 : readUnsigned(this.view, this.masksAt + this.maskBytes * row, this.maskBytes)
  }

  cell(column: number, row: number): Cell {
    const at = this.view.getUint32(HEADER_BYTES + 4 * column, true)
    const type = this.spec.columns[column]!
    const head = this.bytes[at]!
    if (type.kind === 'string') {
      const bitmapBytes = head === 0 ? 0 : (this.count + 7) >>> 3
      if (head !== 0 && this.isNull(at + 1, row)) return null
      return this.text(at + 1 + bitmapBytes, row)
    }
    const bytesEach = type.kind === 'vector' ? 8 * type.length : head & 0x7f
    if (head >= NULLS_FLAG && this.isNull(at + 1 + bytesEach * this.count, row)) return null
    const start = at + 1 + bytesEach * row
    switch (type.kind) {
      case 'boolean':
        return this.bytes[start] === 1
      case 'int64':
        return bytesEach === 8 ? this.view.getBigInt64(start, true) : BigInt(readNumber(this.view, start, bytesEach))
      case 'vector':
        return Array.from({ length: type.length }, (_, index) => this.view.getFloat64(start + 8 * index, true))
      case 'int':
      case 'double':
      case 'decimal':
      case 'timestamp':
        return readNumber(this.view, start, bytesEach)
    }
  }

  /** Whether a cell is not null. */
  has(column: number, row: number): boolean {
    const at = this.view.getUint32(HEADER_BYTES + 4 * column, true)
    const head = this.bytes[at]!
    if (head < NULLS_FLAG) return true
    const type = this.spec.columns[column]!
    const bytesEach = type.kind === 'string' ? 0 : type.kind === 'vector' ? 8 * type.length : head & 0x7f
    return !this.isNull(at + 1 + bytesEach * this.count, row)
  }

  /** Whether a head's tiles stand in a directory beside it. */
  get hasDirectory(): boolean {
    return this.levels >= 1 << DIRECTORY_LEVEL
  }

  /** Length of the packed base states. */
  get baseBytes(): number {
    return this.tilesAt - this.baseAt
  }

  /** Merges the base states into `states`, whose null entries are passed over; of partials not kept they are empty. */
  absorbBase(states: unknown[]): void {
    if (this.folded === 0) return
    this.reader.seek(this.baseAt, this.bytes.length)
    absorbPacked(this.spec, states, this.reader, this.bytes.length)
  }

  /** First instant of a tile's span. */
  tileStart(tile: number): TimeMs {
    return this.view.getFloat64(this.tilesAt + TILE_BYTES * tile, true)
  }

  /** How many points a tile stands for. */
  tilePoints(tile: number): number {
    return this.view.getUint32(this.tilesAt + TILE_BYTES * tile + 8, true)
  }

  /** How many of this value's own points come before a tile. */
  tileRow(tile: number): number {
    return this.view.getUint32(this.tilesAt + TILE_BYTES * tile + 12, true)
  }

  tileLevel(tile: number): number {
    return this.bytes[this.tilesAt + TILE_BYTES * tile + 20]!
  }

  /** Levels of the blocks at or below a tile. */
  tileLevels(tile: number): number {
    return this.view.getUint16(this.tilesAt + TILE_BYTES * tile + 22, true)
  }

  /** The last instant of a tile's span. */
  tileLast(tile: number): TimeMs {
    return this.tileStart(tile) + this.spec.layout.levelsMs[this.tileLevel(tile)]! - 1
  }

  /** The first of the tiles that a bundle stands for. */
  bundleFirst(bundle: number): number {
    return this.tileRow(this.tileCount + bundle)
  }

  /** The last of the tiles that a bundle stands for. */
  bundleLast(bundle: number): number {
    return this.bundleFirst(bundle) + this.tilePoints(this.tileCount + bundle) - 1
  }

  /** Where the packed states of a tile start; of bundle i those of tile `tileCount + i`. */
  tileStatesAt(tile: number): number {
    return this.view.getUint32(this.tilesAt + TILE_BYTES * tile + 16, true)
  }

  /** A copy of the packed states of a tile. */
  tilePacked(tile: number): Uint8Array {
    const last = tile + 1 === this.tileCount + this.bundleCount
    return this.bytes.slice(this.tileStatesAt(tile), last ? this.bytes.length : this.tileStatesAt(tile + 1))
  }

  /** How many rows have a time at or before `time`. */
  rowAfter(time: TimeMs): number {
    let low = 0
    let high = this.count
    if (high === 0 || this.time(high - 1) <= time) return high
    while (low < high) {
      const middle = (low + high) >>> 1
      if (this.time(middle) <= time) low = middle + 1
      else high = middle
    }
    return low
  }

  /** The first tile whose span does not end at or before `time`. */
  tileAfter(time: TimeMs): number {
    let low = 0
    let high = this.tileCount
    while (low < high) {
      const middle = (low + high) >>> 1
      if (this.tileLast(middle) <= time) low = middle + 1
      else high = middle
    }
    return low
  }

  /** A reader over the whole value; every user seeks first. */
  get reader(): SeekingReader {
    return (this.opened ??= createSeekingReader(this.bytes))
  }

  private isNull(bitmapAt: number, row: number): boolean {
    return ((this.bytes[bitmapAt + (row >>> 3)]! >>> (row & 7)) & 1) === 1
  }

  private text(blockAt: number, row: number): string {
    const { view, bytes, count } = this
    const width = bytes[blockAt]!
    const endsAt = blockAt + 1
    const textAt = endsAt + width * count
    const start = textAt + (row === 0 ? 0 : readUnsigned(view, endsAt + width * (row - 1), width))
    const end = textAt + readUnsigned(view, endsAt + width * row, width)
    if (end - start <= MAX_INLINE_TEXT) {
      let text = ''
      let at = start
      for (; at < end; at++) {
        const byte = bytes[at]!
        if (byte >= 0x80) break
        text += String.fromCharCode(byte)
      }
      if (at === end) return text
    }
    return utf8Decoder.decode(bytes.subarray(start, end))
  }
}
