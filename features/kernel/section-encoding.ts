import { EncodedSection, HEADER_BYTES, SECTION_VERSION, maskBytesOf } from './encoded-section.ts'
import { closedBefore, packStates, type SectionState, type Tile } from './tiles.ts'
import type { Cell, FieldType, Point, UnitSpec } from './types.ts'

const NAN_HIGH = 0x7ff80000

const utf8Encoder = new TextEncoder()

/**
 * The canonical bytes of a section. Throws `RangeError` for a cell that its column's type cannot hold: an int64 beyond
 * 64 bits, a vector of another length, text with a lone surrogate, a cell of another type.
 */
export function encodeSection(spec: UnitSpec, state: SectionState): Uint8Array {
  const points = state.head === 0 ? state.points : state.points.slice(state.head)
  const columns = spec.columns.length
  const out = new Sink(HEADER_BYTES + 4 * columns + points.length * (48 + 9 * columns))
  out.skip(HEADER_BYTES + 4 * columns)
  for (const point of points) out.f64(point.time)
  const idsAt = out.length
  out.strings(points.length, index => points[index]!.id, null)
  const masksAt = out.length
  const maskBytes = maskBytesOf(spec)
  if (maskBytes > 0) for (const point of points) out.mask(maskBytes, point.mask)
  spec.columns.forEach((type, column) => {
    out.setU32(HEADER_BYTES + 4 * column, out.length)
    encodeColumn(type, points, column, out)
  })
  const baseAt = out.length
  if (state.folded > 0) out.bytes(packStates(spec, state.base))
  const tilesAt = out.length
  encodeTiles(state, out)
  out.setHeader([SECTION_VERSION, columns, state.newest ?? 0, state.folded])
  const places = [points.length, state.tiles.length, idsAt, masksAt, baseAt, tilesAt]
  places.forEach((value, index) => out.setU32(24 + 4 * index, value))
  out.setU32(4, out.length)
  return out.finish()
}

function encodeTiles(state: SectionState, out: Sink): void {
  const zero = state.shift + state.head
  let at = out.length + 12 * state.tiles.length
  for (const tile of state.tiles) {
    out.u32(tile.first - zero)
    out.u32(tile.end - zero)
    out.u32(at)
    at += tile.packed.length
  }
  for (const tile of state.tiles) out.bytes(tile.packed)
}

function encodeColumn(type: FieldType, points: readonly Point[], column: number, out: Sink): void {
  if (type.kind === 'boolean') {
    for (const point of points) out.u8(booleanCode(point.cells[column]!))
    return
  }
  const nulls = points.some(point => point.cells[column] === null)
  out.u8(nulls ? 1 : 0)
  const bitmap = nulls ? bitmapOf(points, column) : null
  if (type.kind === 'string') {
    out.strings(points.length, index => textOf(points[index]!.cells[column]!), bitmap)
    return
  }
  for (const point of points) encodeFixed(type, point.cells[column]!, out)
  if (bitmap !== null) out.bytes(bitmap)
}

function encodeFixed(type: Exclude<FieldType, { kind: 'string' | 'boolean' }>, cell: Cell, out: Sink): void {
  if (cell === null) {
    out.skip(type.kind === 'vector' ? 8 * type.length : 8)
  } else if (type.kind === 'int64') {
    if (typeof cell !== 'bigint' || BigInt.asIntN(64, cell) !== cell) throw mismatch('an int64', cell)
    out.i64(cell)
  } else if (type.kind === 'vector') {
    if (!Array.isArray(cell) || cell.length !== type.length) throw mismatch(`a vector of ${type.length}`, cell)
    for (const element of cell as readonly number[]) out.f64(element)
  } else {
    if (typeof cell !== 'number') throw mismatch(`a ${type.kind}`, cell)
    out.f64(cell)
  }
}

function booleanCode(cell: Cell): number {
  if (cell === null) return 2
  if (typeof cell !== 'boolean') throw mismatch('a boolean', cell)
  return cell ? 1 : 0
}

function textOf(cell: Cell): string {
  if (cell === null) return ''
  if (typeof cell !== 'string') throw mismatch('a string', cell)
  return cell
}

function mismatch(wanted: string, cell: Cell): RangeError {
  return new RangeError(`a column of a section holds ${wanted}, not ${typeof cell} ${String(cell)}`)
}

function bitmapOf(points: readonly Point[], column: number): Uint8Array {
  const bitmap = new Uint8Array((points.length + 7) >>> 3)
  points.forEach((point, index) => {
    if (point.cells[column] === null) bitmap[index >>> 3]! |= 1 << (index & 7)
  })
  return bitmap
}

/**
 * The state whose encoding the bytes are; it shares nothing with them. Throws `RangeError` for another version, for
 * bytes that were cut, and for a unit with another number of columns.
 */
export function decodeSection(spec: UnitSpec, bytes: Uint8Array): SectionState {
  const encoded = new EncodedSection(spec, bytes)
  const points: Point[] = []
  for (let row = 0; row < encoded.count; row++) {
    const cells = spec.columns.map((_, column) => encoded.cell(column, row))
    points.push({ time: encoded.time(row), id: encoded.id(row), cells, mask: encoded.mask(row) })
  }
  const tiles: Tile[] = []
  for (let tile = 0; tile < encoded.tileCount; tile++) {
    const first = encoded.tileFirst(tile)
    const startMs = Math.floor(points[first]!.time / spec.tileMs) * spec.tileMs
    tiles.push({ startMs, first, end: encoded.tileEnd(tile), packed: encoded.tilePacked(tile) })
  }
  const base = spec.partials.map((partial, index) => {
    if (!partial.lifetime) return null
    return encoded.folded > 0 ? encoded.base(index) : partial.aggregator.empty()
  })
  const newest = encoded.newest
  const closedTo = closedBefore(spec, newest)
  return { newest, points, head: 0, shift: 0, folded: encoded.folded, base, tiles, closedTo }
}

/** A buffer that grows at its end and can be written behind it. */
class Sink {
  length: number
  private buffer: Uint8Array<ArrayBuffer>
  private view: DataView

  constructor(bytes: number) {
    this.length = 0
    this.buffer = new Uint8Array(bytes)
    this.view = new DataView(this.buffer.buffer)
  }

  /** Makes room for `count` zero bytes and returns where they start. */
  skip(count: number): number {
    const start = this.length
    this.length = start + count
    if (this.length > this.buffer.length) {
      const grown = new Uint8Array(Math.max(this.length, 2 * this.buffer.length))
      grown.set(this.buffer)
      this.buffer = grown
      this.view = new DataView(grown.buffer)
    }
    return start
  }

  setHeader([version, columns, newest, folded]: readonly [number, number, number, number]): void {
    this.view.setUint8(0, version)
    this.view.setUint16(2, columns, true)
    this.view.setFloat64(8, newest, true)
    this.view.setFloat64(16, folded, true)
  }

  setU32(at: number, value: number): void {
    this.view.setUint32(at, value, true)
  }

  u8(value: number): void {
    const at = this.skip(1)
    this.buffer[at] = value
  }

  u32(value: number): void {
    const at = this.skip(4)
    this.view.setUint32(at, value, true)
  }

  mask(width: number, value: number): void {
    const at = this.skip(width)
    if (width === 1) this.view.setUint8(at, value)
    else if (width === 2) this.view.setUint16(at, value, true)
    else this.view.setUint32(at, value, true)
  }

  i64(value: bigint): void {
    const at = this.skip(8)
    this.view.setBigInt64(at, value, true)
  }

  /** One bit pattern for NaN, one zero. */
  f64(value: number): void {
    const at = this.skip(8)
    if (value === value) this.view.setFloat64(at, value + 0, true)
    else this.view.setUint32(at + 4, NAN_HIGH, true)
  }

  bytes(value: Uint8Array): void {
    const at = this.skip(value.length)
    this.buffer.set(value, at)
  }

  /** The table of ends, then `between` if there is one, then the text. */
  strings(count: number, text: (index: number) => string, between: Uint8Array | null): void {
    const table = this.skip(4 * (count + 1))
    if (between !== null) this.bytes(between)
    const textAt = this.length
    for (let index = 0; index < count; index++) {
      this.utf8(text(index))
      this.setU32(table + 4 * (index + 1), this.length - textAt)
    }
  }

  private utf8(text: string): void {
    const units = text.length
    const at = this.skip(units)
    for (let index = 0; index < units; index++) {
      const unit = text.charCodeAt(index)
      if (unit >= 0x80) {
        if (!text.isWellFormed()) throw new RangeError('text with a lone surrogate has no UTF-8 form')
        this.length = at
        this.bytes(utf8Encoder.encode(text))
        return
      }
      this.buffer[at + index] = unit
    }
  }

  finish(): Uint8Array {
    return this.buffer.slice(0, this.length)
  }
}
