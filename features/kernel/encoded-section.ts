import { packedLength, unpackState } from './tiles.ts'
import type { Cell, TimeMs, UnitSpec } from './types.ts'

/*
 * Little-endian throughout. With n points and c columns:
 *
 *   0  u8  version          1  u8  0              2  u16 c            4  u32 length of the whole in bytes
 *   8  f64 newest (0 when n = 0)                 16  f64 points folded into base states
 *  24  u32 n               28  u32 tiles         32  u32 at of ids   36  u32 at of masks
 *  40  u32 at of base      44  u32 at of tiles   48  u32 at of each column, c times
 *
 * then n f64 times; ids as a string block; masks of 0, 1, 2 or 4 bytes each, the fewest that hold the unit's filters;
 * the columns; base states, packed, if any point was folded; for each tile u32 first row, u32 row after the last and
 * u32 at of its packed states, then those states.
 *
 * A column of booleans is a byte each (0 false, 1 true, 2 null). The others start with a byte that says whether a
 * bitmap of nulls follows the values (bit i mod 8 of byte i div 8); a null value is all zeros. Numbers are f64, int64
 * are i64, vectors are their f64 elements in a row. A string block is n + 1 u32 ends relative to the text, of which
 * the first is 0, then the UTF-8 text; in a column the bitmap stands between the two.
 */

/** The first byte of every encoded section; part of what a stored state depends on. */
export const SECTION_VERSION = 1

/** Bytes before the places of the columns. */
export const HEADER_BYTES = 48
const MAX_INLINE_TEXT = 64

const utf8Decoder = new TextDecoder('utf-8', { fatal: true, ignoreBOM: true })

/** The width of a stored mask: 0, 1, 2 or 4 bytes. */
export function maskBytesOf(spec: UnitSpec): number {
  return spec.filterCount === 0 ? 0 : spec.filterCount <= 8 ? 1 : spec.filterCount <= 16 ? 2 : 4
}

/** An encoded section read in place: nothing is decoded before it is asked for. Rows are points by (time, id). */
export class EncodedSection {
  readonly count: number
  readonly newest: TimeMs | null
  readonly folded: number
  readonly tileCount: number
  private readonly spec: UnitSpec
  private readonly bytes: Uint8Array
  private readonly view: DataView
  private readonly timesAt: number
  private readonly idsAt: number
  private readonly masksAt: number
  private readonly maskBytes: number
  private readonly tilesAt: number

  constructor(spec: UnitSpec, bytes: Uint8Array) {
    const view = new DataView(bytes.buffer, bytes.byteOffset, bytes.byteLength)
    const version = bytes[0]
    if (version !== SECTION_VERSION) {
      throw new RangeError(`section of version ${version ?? 'none (no bytes)'}; this build reads ${SECTION_VERSION}`)
    }
    if (bytes.length < HEADER_BYTES || view.getUint32(4, true) !== bytes.length) {
      throw new RangeError(`section of ${bytes.length} bytes is not as long as it says: it was cut or joined`)
    }
    if (view.getUint16(2, true) !== spec.columns.length) {
      throw new RangeError(`section of ${view.getUint16(2, true)} columns read as a unit of ${spec.columns.length}`)
    }
    this.spec = spec
    this.bytes = bytes
    this.view = view
    this.count = view.getUint32(24, true)
    this.newest = this.count === 0 ? null : view.getFloat64(8, true)
    this.folded = view.getFloat64(16, true)
    this.tileCount = view.getUint32(28, true)
    this.timesAt = HEADER_BYTES + 4 * spec.columns.length
    this.idsAt = view.getUint32(32, true)
    this.masksAt = view.getUint32(36, true)
    this.maskBytes = maskBytesOf(spec)
    this.tilesAt = view.getUint32(44, true)
  }

  time(row: number): TimeMs {
    return this.view.getFloat64(this.timesAt + 8 * row, true)
  }

  id(row: number): string {
    return this.text(this.idsAt, row, this.idsAt + 4 * (this.count + 1))
  }

  mask(row: number): number {
    if (this.maskBytes === 0) return 0
    if (this.maskBytes === 1) return this.view.getUint8(this.masksAt + row)
    if (this.maskBytes === 2) return this.view.getUint16(this.masksAt + 2 * row, true)
    return this.view.getUint32(this.masksAt + 4 * row, true)
  }

  cell(column: number, row: number): Cell {
    const at = this.view.getUint32(HEADER_BYTES + 4 * column, true)
    const type = this.spec.columns[column]!
    switch (type.kind) {
      case 'boolean': {
        const code = this.view.getUint8(at + row)
        return code === 2 ? null : code === 1
      }
      case 'string': {
        const tableEnd = at + 1 + 4 * (this.count + 1)
        if (this.view.getUint8(at) === 0) return this.text(at + 1, row, tableEnd)
        return this.isNull(tableEnd, row) ? null : this.text(at + 1, row, tableEnd + ((this.count + 7) >>> 3))
      }
      case 'int64':
        return this.absent(at, 8, row) ? null : this.view.getBigInt64(at + 1 + 8 * row, true)
      case 'vector': {
        if (this.absent(at, 8 * type.length, row)) return null
        const start = at + 1 + 8 * type.length * row
        return Array.from({ length: type.length }, (_, index) => this.view.getFloat64(start + 8 * index, true))
      }
      case 'int':
      case 'double':
      case 'decimal':
      case 'timestamp':
        return this.absent(at, 8, row) ? null : this.view.getFloat64(at + 1 + 8 * row, true)
    }
  }

  /** A fresh copy of a lifetime partial's state over the folded points, null when no point was folded. */
  base(partial: number): unknown {
    if (this.folded === 0) return null
    return unpackState(this.spec, partial, this.bytes, this.view, this.view.getUint32(40, true))
  }

  /** The first row of a tile. */
  tileFirst(tile: number): number {
    return this.view.getUint32(this.tilesAt + 12 * tile, true)
  }

  /** The row after the last one of a tile. */
  tileEnd(tile: number): number {
    return this.view.getUint32(this.tilesAt + 12 * tile + 4, true)
  }

  /** A fresh copy of a tile's state of a partial. */
  tileState(tile: number, partial: number): unknown {
    const at = this.view.getUint32(this.tilesAt + 12 * tile + 8, true)
    return unpackState(this.spec, partial, this.bytes, this.view, at)
  }

  /** A copy of the packed states of a tile. */
  tilePacked(tile: number): Uint8Array {
    const at = this.view.getUint32(this.tilesAt + 12 * tile + 8, true)
    return this.bytes.slice(at, at + packedLength(this.spec, this.view, at))
  }

  private absent(columnAt: number, width: number, row: number): boolean {
    return this.view.getUint8(columnAt) === 1 && this.isNull(columnAt + 1 + width * this.count, row)
  }

  private isNull(bitmapAt: number, row: number): boolean {
    return ((this.view.getUint8(bitmapAt + (row >>> 3)) >>> (row & 7)) & 1) === 1
  }

  private text(tableAt: number, row: number, textAt: number): string {
    const start = textAt + this.view.getUint32(tableAt + 4 * row, true)
    const end = textAt + this.view.getUint32(tableAt + 4 * row + 4, true)
    if (end - start <= MAX_INLINE_TEXT) {
      let text = ''
      let at = start
      for (; at < end; at++) {
        const byte = this.bytes[at]!
        if (byte >= 0x80) break
        text += String.fromCharCode(byte)
      }
      if (at === end) return text
    }
    return utf8Decoder.decode(this.bytes.subarray(start, end))
  }
}
