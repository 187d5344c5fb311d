/**
 * Kafka's primitive types, as its protocol guide names them. `compact` ones belong to flexible versions: lengths are
 * unsigned varints, raised by one so that 0 means null, and structures end in tagged fields.
 */

/** Reads one message from front to back. Throws `RangeError` where bytes are missing. */
export class WireReader {
  readonly bytes: Buffer
  at = 0

  constructor(bytes: Buffer) {
    this.bytes = bytes
  }

  int8(): number {
    return this.bytes.readInt8(this.advance(1))
  }

  int16(): number {
    return this.bytes.readInt16BE(this.advance(2))
  }

  int32(): number {
    return this.bytes.readInt32BE(this.advance(4))
  }

  /** Exact up to 2^53: offsets, times and producer ids are far below. */
  int64(): number {
    const at = this.advance(8)
    return this.bytes.readInt32BE(at) * 4_294_967_296 + this.bytes.readUInt32BE(at + 4)
  }

  unsignedVarint(): number {
    let value = 0
    for (let shift = 0; shift < 35; shift += 7) {
      const byte = this.bytes.readUInt8(this.advance(1))
      value += (byte & 0x7f) * 2 ** shift
      if (byte < 0x80) return value
    }
    throw new RangeError('A varint of more than five bytes')
  }

  /** A topic id as Kafka's tools print it: base64url of its 16 bytes. */
  uuid(): string {
    const at = this.advance(16)
    return this.bytes.toString('base64url', at, at + 16)
  }

  compactString(): string | null {
    const length = this.unsignedVarint()
    if (length === 0) return null
    const at = this.advance(length - 1)
    return this.bytes.toString('utf8', at, at + length - 1)
  }

  string(): string | null {
    const length = this.int16()
    if (length < 0) return null
    const at = this.advance(length)
    return this.bytes.toString('utf8', at, at + length)
  }

  /** A view of the message, or null. */
  compactBytes(): Buffer | null {
    const length = this.unsignedVarint()
    if (length === 0) return null
    const at = this.advance(length - 1)
    return this.bytes.subarray(at, at + length - 1)
  }

  /** A view of the message, or null. */
  nullableBytes(): Buffer | null {
    const length = this.int32()
    if (length < 0) return null
    const at = this.advance(length)
    return this.bytes.subarray(at, at + length)
  }

  compactArray<T>(read: () => T): T[] {
    return Array.from({ length: Math.max(0, this.unsignedVarint() - 1) }, read)
  }

  array<T>(read: () => T): T[] {
    return Array.from({ length: Math.max(0, this.int32()) }, read)
  }

  skipTaggedFields(): void {
    this.taggedFields(() => {})
  }

  /** Gives each field to `read`, which may leave some of it, or all. */
  taggedFields(read: (tag: number, field: WireReader) => void): void {
    for (let left = this.unsignedVarint(); left > 0; left -= 1) {
      const tag = this.unsignedVarint()
      const length = this.unsignedVarint()
      const at = this.advance(length)
      read(tag, new WireReader(this.bytes.subarray(at, at + length)))
    }
  }

  private advance(bytes: number): number {
    const at = this.at
    if (at + bytes > this.bytes.length) throw new RangeError(`${at + bytes - this.bytes.length} bytes are missing`)
    this.at = at + bytes
    return at
  }
}

/** Writes one message; `bytes` is what was written so far. */
export class WireWriter {
  private buffer: Buffer
  private length = 0

  constructor(initialBytes = 256) {
    this.buffer = Buffer.allocUnsafe(initialBytes)
  }

  get bytes(): Buffer {
    return this.buffer.subarray(0, this.length)
  }

  int8(value: number): this {
    const at = this.reserve(1)
    this.buffer.writeInt8(value, at)
    return this
  }

  int16(value: number): this {
    const at = this.reserve(2)
    this.buffer.writeInt16BE(value, at)
    return this
  }

  int32(value: number): this {
    const at = this.reserve(4)
    this.buffer.writeInt32BE(value, at)
    return this
  }

  int64(value: number): this {
    const at = this.reserve(8)
    this.buffer.writeBigInt64BE(BigInt(value), at)
    return this
  }

  unsignedVarint(value: number): this {
    let rest = value
    for (; rest >= 0x80; rest = Math.floor(rest / 0x80)) {
      const at = this.reserve(1)
      this.buffer.writeUInt8((rest % 0x80) + 0x80, at)
    }
    const at = this.reserve(1)
    this.buffer.writeUInt8(rest, at)
    return this
  }

  /** Zigzag, as in records; exact up to 2^52. */
  varint(value: number): this {
    return this.unsignedVarint(value >= 0 ? value * 2 : -value * 2 - 1)
  }

  raw(bytes: Uint8Array): this {
    const at = this.reserve(bytes.length)
    this.buffer.set(bytes, at)
    return this
  }

  uuid(text: string): this {
    return this.raw(Buffer.from(text, 'base64url'))
  }

  string(text: string | null): this {
    if (text === null) return this.int16(-1)
    const bytes = Buffer.from(text, 'utf8')
    return this.int16(bytes.length).raw(bytes)
  }

  compactString(text: string | null): this {
    if (text === null) return this.unsignedVarint(0)
    const bytes = Buffer.from(text, 'utf8')
    return this.unsignedVarint(bytes.length + 1).raw(bytes)
  }

  array<T>(items: readonly T[], write: (item: T) => void): this {
    this.int32(items.length)
    for (const item of items) write(item)
    return this
  }

  compactArray<T>(items: readonly T[], write: (item: T) => void): this {
    this.unsignedVarint(items.length + 1)
    for (const item of items) write(item)
    return this
  }

  /** No tagged fields. */
  endOfStructure(): this {
    return this.unsignedVarint(0)
  }

  /** May replace the buffer, so it comes before the write. */
  private reserve(bytes: number): number {
    const at = this.length
    const needed = at + bytes
    if (needed > this.buffer.length) {
      const larger = Buffer.allocUnsafe(Math.max(needed, this.buffer.length * 2))
      this.buffer.copy(larger, 0, 0, at)
      this.buffer = larger
    }
    this.length = needed
    return at
  }
}
