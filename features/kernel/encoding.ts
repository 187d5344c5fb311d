import type { ByteReader, ByteWriter, Cell, FieldType } from './types.ts'

const TWO_32 = 4294967296
const MAX_EXACT_ZIGZAG = 4503599627370495
const MAX_INLINE_STRING = 64
/** Forty-nine bits are seven groups of seven, and fit a number with room for a carry. */
const LIMB_BITS = 49n
const LIMB_MASK = (1n << LIMB_BITS) - 1n
const LIMB_GROUPS = 7
const LIMB_SIZE = 562949953421312

const utf8Encoder = new TextEncoder()
const utf8Decoder = new TextDecoder('utf-8', { fatal: true, ignoreBOM: true })

/**
 * A writer over a buffer that starts at `initialBytes` and doubles when full. Floats and fixed integers are
 * little-endian, NaN has one bit pattern, strings must be well-formed (`RangeError` for a lone surrogate), `varint` and
 * `int` take safe integers only (`RangeError` otherwise). The writer stays usable after `finish`.
 */
export function createWriter(initialBytes = 256): ByteWriter {
  return new GrowingWriter(initialBytes)
}

/**
 * A reader over `bytes`, which it does not copy. Every method throws `RangeError` past the end and for input that no
 * writer makes: an integer with superfluous zero groups, one too large for its method, or malformed UTF-8.
 */
export function createReader(bytes: Uint8Array): ByteReader {
  return new SliceReader(bytes)
}

class GrowingWriter implements ByteWriter {
  private buffer: Uint8Array<ArrayBuffer>
  private view: DataView
  private length: number

  constructor(initialBytes: number) {
    this.buffer = new Uint8Array(Math.max(16, initialBytes))
    this.view = new DataView(this.buffer.buffer)
    this.length = 0
  }

  private reserve(extra: number): void {
    const needed = this.length + extra
    if (needed <= this.buffer.length) return
    const grown = new Uint8Array(Math.max(needed, this.buffer.length * 2))
    grown.set(this.buffer.subarray(0, this.length))
    this.buffer = grown
    this.view = new DataView(grown.buffer)
  }

  u8(value: number): void {
    this.reserve(1)
    this.buffer[this.length++] = value
  }

  u32(value: number): void {
    this.reserve(4)
    this.view.setUint32(this.length, value, true)
    this.length += 4
  }

  f64(value: number): void {
    this.reserve(8)
    if (value === value) {
      this.view.setFloat64(this.length, value, true)
    } else {
      this.view.setUint32(this.length, 0, true)
      this.view.setUint32(this.length + 4, 0x7ff80000, true)
    }
    this.length += 8
  }

  varint(value: number): void {
    if (!(value >= 0 && Number.isSafeInteger(value))) {
      throw new RangeError(`varint takes a non-negative safe integer, not ${value}`)
    }
    this.reserve(8)
    this.groups(value)
  }

  /** Base-128 groups, lowest first, of an integer below 2^53; eight bytes must be reserved. */
  private groups(value: number): void {
    let rest = value
    while (rest >= TWO_32) {
      this.buffer[this.length++] = (rest % 128) | 0x80
      rest = Math.floor(rest / 128)
    }
    let low = rest >>> 0
    while (low >= 0x80) {
      this.buffer[this.length++] = (low & 0x7f) | 0x80
      low >>>= 7
    }
    this.buffer[this.length++] = low
  }

  int(value: number): void {
    if (!Number.isSafeInteger(value)) throw new RangeError(`int takes a safe integer, not ${value}`)
    if (value >= -MAX_EXACT_ZIGZAG && value <= MAX_EXACT_ZIGZAG) {
      this.reserve(8)
      this.groups(value < 0 ? -2 * value - 1 : 2 * value)
    } else {
      this.bigint(BigInt(value))
    }
  }

  bigint(value: bigint): void {
    if (value >= -MAX_EXACT_ZIGZAG && value <= MAX_EXACT_ZIGZAG) {
      const small = Number(value)
      this.reserve(8)
      this.groups(small < 0 ? -2 * small - 1 : 2 * small)
      return
    }
    let rest = value < 0n ? -2n * value - 1n : 2n * value
    while (rest > LIMB_MASK) {
      this.reserve(LIMB_GROUPS)
      let limb = Number(rest & LIMB_MASK)
      for (let group = 0; group < LIMB_GROUPS; group++) {
        this.buffer[this.length++] = (limb % 128) | 0x80
        limb = Math.floor(limb / 128)
      }
      rest >>= LIMB_BITS
    }
    this.reserve(8)
    this.groups(Number(rest))
  }

  string(value: string): void {
    const units = value.length
    if (units <= MAX_INLINE_STRING) {
      this.reserve(units + 1)
      const start = this.length
      const buffer = this.buffer
      buffer[start] = units
      let index = 0
      for (; index < units; index++) {
        const unit = value.charCodeAt(index)
        if (unit >= 0x80) break
        buffer[start + 1 + index] = unit
      }
      if (index === units) {
        this.length = start + 1 + units
        return
      }
    }
    if (!value.isWellFormed()) throw new RangeError('string holds a lone surrogate and has no UTF-8 form')
    const encoded = utf8Encoder.encode(value)
    this.varint(encoded.length)
    this.bytes(encoded)
  }

  bytes(value: Uint8Array): void {
    this.reserve(value.length)
    this.buffer.set(value, this.length)
    this.length += value.length
  }

  finish(): Uint8Array {
    return this.buffer.slice(0, this.length)
  }
}

/** A reader of one stretch of its bytes at a time. */
export interface SeekingReader extends ByteReader {
  /** From here on reads `[from, to)`; throws `RangeError` where that is not within the bytes. */
  seek(from: number, to: number): void
  /** Where the next byte is read. */
  readonly at: number
}

/** As `createReader`, for a caller that reads many stretches of the same bytes. */
export function createSeekingReader(bytes: Uint8Array): SeekingReader {
  return new SliceReader(bytes)
}

function isAscii(text: string): boolean {
  for (let index = 0; index < text.length; index++) if (text.charCodeAt(index) >= 0x80) return false
  return true
}

class SliceReader implements SeekingReader {
  private readonly source: Uint8Array
  private readonly view: DataView
  private offset: number
  private limit: number

  constructor(source: Uint8Array) {
    this.source = source
    this.view = new DataView(source.buffer, source.byteOffset, source.byteLength)
    this.offset = 0
    this.limit = source.length
  }

  seek(from: number, to: number): void {
    if (!(from >= 0 && from <= to && to <= this.source.length)) {
      throw new RangeError(`bytes ${from} to ${to} wanted of ${this.source.length}`)
    }
    this.offset = from
    this.limit = to
  }

  get at(): number {
    return this.offset
  }

  get remaining(): number {
    return this.limit - this.offset
  }

  private take(count: number): number {
    const start = this.offset
    if (!(count >= 0 && count <= this.limit - start)) {
      throw new RangeError(`${count} bytes wanted at offset ${start} of ${this.limit}`)
    }
    this.offset = start + count
    return start
  }

  u8(): number {
    return this.view.getUint8(this.take(1))
  }

  u32(): number {
    return this.view.getUint32(this.take(4), true)
  }

  f64(): number {
    return this.view.getFloat64(this.take(8), true)
  }

  /**
   * The next groups of seven bits as a number of at most 49 bits, −1 with nothing read where there are more groups.
   * Throws `RangeError` past the end and for a superfluous zero group.
   */
  private groups(): number {
    const { source, limit } = this
    let at = this.offset
    let value = 0
    for (let shift = 0; shift < 28; shift += 7) {
      if (at >= limit) this.take(limit - this.offset + 1)
      const byte = source[at++]!
      value |= (byte & 0x7f) << shift
      if (byte < 0x80) return this.closed(at, byte, shift, value)
    }
    for (let scale = 2 ** 28; scale < LIMB_SIZE; scale *= 128) {
      if (at >= limit) this.take(limit - this.offset + 1)
      const byte = source[at++]!
      value += (byte & 0x7f) * scale
      if (byte < 0x80) return this.closed(at, byte, 1, value)
    }
    return -1
  }

  private closed(at: number, byte: number, shift: number, value: number): number {
    if (byte === 0 && shift > 0) throw new RangeError(`superfluous zero group before offset ${at}`)
    this.offset = at
    return value
  }

  varint(): number {
    const value = this.groups()
    if (value >= 0) return value
    const start = this.offset
    const low = this.low49()
    const high = this.u8()
    if (high === 0) throw new RangeError(`superfluous zero group before offset ${this.offset}`)
    if (high > 0x0f) throw new RangeError(`varint above 2^53 at offset ${start}`)
    return low + high * LIMB_SIZE
  }

  /** Seven groups that are followed by another one. */
  private low49(): number {
    let value = 0
    let scale = 1
    for (let group = 0; group < LIMB_GROUPS; group++) {
      value += (this.u8() & 0x7f) * scale
      scale *= 128
    }
    return value
  }

  int(): number {
    const value = this.integer()
    if (typeof value === 'number') return value
    throw new RangeError(`integer beyond 2^53 before offset ${this.offset}`)
  }

  integer(): number | bigint {
    const value = this.groups()
    if (value >= 0) return value % 2 === 0 ? value / 2 : -(value + 1) / 2
    const start = this.offset
    const low = this.low49()
    const high = this.u8()
    if (high > 0 && high < 0x20) {
      const sign = low % 2
      const half = (low - sign) / 2 + high * (LIMB_SIZE / 2)
      if (sign === 0) return half
      if (half < Number.MAX_SAFE_INTEGER) return -half - 1
    }
    this.offset = start
    const wide = this.bigint()
    const narrow = Number(wide)
    return Number.isSafeInteger(narrow) ? narrow : wide
  }

  bigint(): bigint {
    let value = 0n
    let shift = 0n
    for (;;) {
      let limb = 0
      let scale = 1
      for (let group = 0; group < LIMB_GROUPS; group++) {
        const byte = this.u8()
        limb += (byte & 0x7f) * scale
        if (byte < 0x80) {
          if (byte === 0 && (group > 0 || shift > 0n)) {
            throw new RangeError(`superfluous zero group before offset ${this.offset}`)
          }
          if (shift === 0n) return BigInt(limb % 2 === 0 ? limb / 2 : -(limb + 1) / 2)
          value |= BigInt(limb) << shift
          return value & 1n ? -((value + 1n) >> 1n) : value >> 1n
        }
        scale *= 128
      }
      value |= BigInt(limb) << shift
      shift += LIMB_BITS
    }
  }

  string(): string {
    const length = this.varint()
    const start = this.take(length)
    if (length <= MAX_INLINE_STRING) {
      let text = ''
      let index = 0
      for (; index < length; index++) {
        const byte = this.source[start + index]!
        if (byte >= 0x80) break
        text += String.fromCharCode(byte)
      }
      if (index === length) return text
    }
    try {
      return utf8Decoder.decode(this.source.subarray(start, start + length))
    } catch {
      throw new RangeError(`malformed UTF-8 in the string at offset ${start}`)
    }
  }

  skipString(text: string): boolean {
    const before = this.offset
    const { length } = text
    if (length < 0x80 && this.source[before] === length && this.limit - before > length) {
      let index = 0
      while (index < length && this.source[before + 1 + index] === text.charCodeAt(index)) index++
      if (index === length && isAscii(text)) {
        this.offset = before + 1 + length
        return true
      }
    }
    if (isAscii(text) && length < 0x80) return false
    if (this.string() === text) return true
    this.offset = before
    return false
  }

  bytes(length: number): Uint8Array {
    const start = this.take(length)
    return this.source.slice(start, start + length)
  }
}

/**
 * Writes a cell, null included: one byte says null (0) or present (1) and `encodePresent` follows; a boolean is one
 * byte in all (0 null, 1 false, 2 true). Throws `RangeError` when the cell is not of the type.
 */
export function encodeCell(type: FieldType, cell: Cell, out: ByteWriter): void {
  if (cell === null) {
    out.u8(0)
  } else if (type.kind === 'boolean') {
    out.u8(cell === true ? 2 : cell === false ? 1 : mismatch(type, cell))
  } else {
    out.u8(1)
    encodePresent(type, cell, out)
  }
}

/** Reads what `encodeCell` wrote for the same type; throws `RangeError` for bytes it never writes. */
export function decodeCell(type: FieldType, input: ByteReader): Cell {
  const tag = input.u8()
  if (tag === 0) return null
  if (type.kind === 'boolean') {
    if (tag > 2) throw new RangeError(`no boolean cell has the tag ${tag}`)
    return tag === 2
  }
  if (tag !== 1) throw new RangeError(`no cell of type ${type.kind} has the tag ${tag}`)
  return decodePresent(type, input)
}

/**
 * Writes a cell that is not null, without a tag: for formats that keep nulls elsewhere, such as a bitmap. −0 is
 * written as 0. Throws `RangeError` when the cell is not of the type.
 */
export function encodePresent(type: FieldType, cell: Cell, out: ByteWriter): void {
  switch (type.kind) {
    case 'string':
      return out.string(typeof cell === 'string' ? cell : mismatch(type, cell))
    case 'boolean':
      return out.u8(typeof cell === 'boolean' ? Number(cell) : mismatch(type, cell))
    case 'int':
    case 'timestamp':
    case 'decimal':
      return out.int(typeof cell === 'number' ? cell : mismatch(type, cell))
    case 'int64':
      return out.bigint(typeof cell === 'bigint' ? cell : mismatch(type, cell))
    case 'double':
      return out.f64(typeof cell === 'number' ? cell + 0 : mismatch(type, cell))
    case 'vector': {
      if (!Array.isArray(cell) || cell.length !== type.length) return mismatch(type, cell)
      for (const element of cell as readonly number[]) out.f64(element + 0)
    }
  }
}

/** Reads what `encodePresent` wrote for the same type. */
export function decodePresent(type: FieldType, input: ByteReader): Exclude<Cell, null> {
  switch (type.kind) {
    case 'string':
      return input.string()
    case 'boolean': {
      const value = input.u8()
      if (value > 1) throw new RangeError(`no boolean is written as ${value}`)
      return value === 1
    }
    case 'int':
    case 'timestamp':
    case 'decimal':
      return input.int()
    case 'int64':
      return input.bigint()
    case 'double':
      return input.f64()
    case 'vector': {
      const elements: number[] = []
      for (let index = 0; index < type.length; index++) elements.push(input.f64())
      return elements
    }
  }
}

function mismatch(type: FieldType, cell: Cell): never {
  const shown = Array.isArray(cell) ? `a vector of length ${cell.length}` : `${typeof cell} ${String(cell)}`
  throw new RangeError(`${shown} is no cell of type ${typeText(type)}`)
}

/** A type as authors write it: `string`, `decimal(2)`, `vector(8)`. */
export function typeText(type: FieldType): string {
  if (type.kind === 'decimal') return `decimal(${type.scale})`
  return type.kind === 'vector' ? `vector(${type.length})` : type.kind
}
