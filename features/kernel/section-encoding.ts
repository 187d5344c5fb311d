import { HEADER_BYTES, NULLS_FLAG, SECTION_VERSION, TILE_BYTES } from './encoded-section.ts'
import { idForm, maskBytesOf, signedWidth, unsignedWidth, writeUuid, type NumberWidth } from './packed-values.ts'
import type { Bundle, Content } from './tiles.ts'
import type { Cell, FieldType, Point, TimeMs, UnitSpec } from './types.ts'

const NAN_HIGH = 0x7ff80000
const MAX_U16 = 0xffff
const MAX_U32 = 0xffffffff

const utf8Encoder = new TextEncoder()

/** What stands in the header of a value beside its content. */
export interface ValueHeader {
  readonly kind: 'head' | 'block'
  /** The section's newest time, null without any (head), or the start of the span (block). */
  readonly time: TimeMs | null
  readonly folded: number
  /** Packed base states; null where no point was folded. */
  readonly base: Uint8Array | null
  /** Of the blocks that are not below the value's own tiles: those of a head. */
  readonly levels: number
  /** Of the value's tiles, by their first. */
  readonly bundles: readonly Bundle[]
}

/**
 * The canonical bytes of a head or a block. Throws `RangeError` for a cell that its column's type cannot hold: an int64
 * beyond 64 bits, a vector of another length, text with a lone surrogate, a cell of another type.
 */
export function encodeValue(spec: UnitSpec, header: ValueHeader, { points, tiles }: Content): Uint8Array {
  const columns = spec.columns.length
  const out = new Sink(HEADER_BYTES + 4 * columns + 16 + points.length * (24 + 8 * columns) + 96 * tiles.length)
  out.skip(HEADER_BYTES + 4 * columns)
  encodeTimes(points, out)
  const idsAt = out.length
  encodeIds(points, out)
  const masksAt = out.length
  const maskBytes = maskBytesOf(spec)
  if (maskBytes > 0) for (const point of points) out.unsigned(maskBytes, point.mask)
  spec.columns.forEach((type, column) => {
    out.setU32(HEADER_BYTES + 4 * column, out.length)
    encodeColumn(type, points, column, out)
  })
  const baseAt = out.length
  if (header.base !== null) out.bytes(header.base)
  const tilesAt = out.length
  const levels = encodeTiles({ points, tiles }, header.bundles, out)
  out.setU8(0, SECTION_VERSION)
  out.setU8(1, header.kind === 'head' ? 0 : 1)
  out.setU16(2, columns)
  out.setU32(4, out.length)
  out.setF64(8, header.time ?? 0)
  out.setF64(16, header.folded)
  out.setU32(24, points.length)
  out.setU32(28, tiles.length)
  out.setU16(32, header.levels | levels)
  out.setU16(34, header.bundles.length)
  const places = [idsAt, masksAt, baseAt, tilesAt]
  places.forEach((value, index) => out.setU32(36 + 4 * index, value))
  return out.finish()
}

function encodeTimes(points: readonly Point[], out: Sink): void {
  const first = points.length === 0 ? 0 : points[0]!.time
  const width = points.length === 0 ? 1 : unsignedWidth(points[points.length - 1]!.time - first)
  out.u8(width)
  out.f64(first)
  for (const { time } of points) {
    if (width === 8) out.f64(time)
    else out.unsigned(width, time - first)
  }
}

function encodeIds(points: readonly Point[], out: Sink): void {
  const form = idForm(points.map(point => point.id))
  if (form === 'text') {
    out.u8(0)
    out.strings(points.length, index => points[index]!.id)
  } else if (form === 'uuid') {
    out.u8(1)
    for (const { id } of points) out.uuid(id)
  } else {
    out.u8(2)
    const ids = points.map(point => Number(point.id))
    const width = unsignedWidth(ids.reduce((most, id) => Math.max(most, id), 0))
    out.u8(width)
    for (const id of ids) {
      if (width === 8) out.f64(id)
      else out.unsigned(width, id)
    }
  }
}

function encodeTiles({ points, tiles }: Content, bundles: readonly Bundle[], out: Sink): number {
  let at = out.length + TILE_BYTES * (tiles.length + bundles.length)
  let row = 0
  let levels = 0
  for (const tile of tiles) {
    while (row < points.length && points[row]!.time < tile.startMs) row++
    out.f64(tile.startMs)
    out.unsigned(4, tile.count)
    out.unsigned(4, row)
    out.unsigned(4, at)
    out.u8(tile.level)
    out.u8(0)
    out.unsigned(2, tile.levels)
    at += tile.packed.length
    levels |= tile.levels
  }
  for (const { first, count, packed } of bundles) {
    out.f64(tiles[first]!.startMs)
    out.unsigned(4, count)
    out.unsigned(4, first)
    out.unsigned(4, at)
    out.skip(4)
    at += packed.length
  }
  for (const { packed } of tiles) out.bytes(packed)
  for (const { packed } of bundles) out.bytes(packed)
  return levels
}

function encodeColumn(type: FieldType, points: readonly Point[], column: number, out: Sink): void {
  const nulls = points.some(point => point.cells[column] === null)
  const bitmap = nulls ? bitmapOf(points, column) : null
  if (type.kind === 'string') {
    out.u8(nulls ? NULLS_FLAG : 0)
    if (bitmap !== null) out.bytes(bitmap)
    out.strings(points.length, index => textOf(points[index]!.cells[column]!))
    return
  }
  const width = widthOf(type, points, column)
  out.u8(width | (nulls ? NULLS_FLAG : 0))
  for (const point of points) encodeFixed(type, width, point.cells[column]!, out)
  if (bitmap !== null) out.bytes(bitmap)
}

type FixedType = Exclude<FieldType, { kind: 'string' }>

function widthOf(type: FixedType, points: readonly Point[], column: number): NumberWidth {
  if (type.kind === 'boolean') return 1
  if (type.kind === 'vector') return 8
  if (type.kind === 'int64') {
    return signedWidth(points.map(point => (point.cells[column] === null ? 0 : smallNumber(point.cells[column]!))))
  }
  return signedWidth(points.map(point => (point.cells[column] === null ? 0 : numberOf(type, point.cells[column]!))))
}

/** An int64 as a number where it is small enough to be stored narrowly, NaN otherwise. */
function smallNumber(cell: Cell): number {
  if (typeof cell !== 'bigint' || BigInt.asIntN(64, cell) !== cell) throw mismatch('an int64', cell)
  return BigInt.asIntN(32, cell) === cell ? Number(cell) : NaN
}

function numberOf(type: FieldType, cell: Cell): number {
  if (typeof cell !== 'number') throw mismatch(`a ${type.kind}`, cell)
  return cell
}

function encodeFixed(type: FixedType, width: NumberWidth, cell: Cell, out: Sink): void {
  if (cell === null) {
    out.skip(type.kind === 'vector' ? 8 * type.length : width)
  } else if (type.kind === 'boolean') {
    if (typeof cell !== 'boolean') throw mismatch('a boolean', cell)
    out.u8(cell ? 1 : 0)
  } else if (type.kind === 'int64') {
    if (width === 8) out.i64(cell as bigint)
    else out.signed(width, Number(cell))
  } else if (type.kind === 'vector') {
    if (!Array.isArray(cell) || cell.length !== type.length) throw mismatch(`a vector of ${type.length}`, cell)
    for (const element of cell as readonly number[]) out.f64(element)
  } else if (width === 8) {
    out.f64(cell as number)
  } else {
    out.signed(width, cell as number)
  }
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

  setU8(at: number, value: number): void {
    this.view.setUint8(at, value)
  }

  setU16(at: number, value: number): void {
    if (value > MAX_U16) throw new RangeError(`${value} in a place for at most ${MAX_U16}`)
    this.view.setUint16(at, value, true)
  }

  setU32(at: number, value: number): void {
    if (value > MAX_U32) throw new RangeError(`a section of ${value} bytes: the bound is ${MAX_U32}`)
    this.view.setUint32(at, value, true)
  }

  setF64(at: number, value: number): void {
    this.view.setFloat64(at, value + 0, true)
  }

  u8(value: number): void {
    const at = this.skip(1)
    this.buffer[at] = value
  }

  unsigned(width: number, value: number): void {
    const at = this.skip(width)
    if (width === 1) this.view.setUint8(at, value)
    else if (width === 2) this.view.setUint16(at, value, true)
    else this.view.setUint32(at, value, true)
  }

  signed(width: number, value: number): void {
    const at = this.skip(width)
    if (width === 1) this.view.setInt8(at, value)
    else if (width === 2) this.view.setInt16(at, value, true)
    else this.view.setInt32(at, value, true)
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

  uuid(text: string): void {
    const at = this.skip(16)
    writeUuid(text, this.buffer, at)
  }

  /** The width of the ends, the ends, then the text. */
  strings(count: number, text: (index: number) => string): void {
    const ends = new Uint32Array(count)
    const widthAt = this.skip(1)
    const textAt = this.length
    for (let index = 0; index < count; index++) {
      this.utf8(text(index))
      ends[index] = this.length - textAt
    }
    const width = unsignedWidth(this.length - textAt)
    const tableBytes = width * count
    this.skip(tableBytes)
    this.buffer.copyWithin(textAt + tableBytes, textAt, this.length - tableBytes)
    this.setU8(widthAt, width)
    const end = this.length
    this.length = textAt
    for (const value of ends) this.unsigned(width, value)
    this.length = end
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
