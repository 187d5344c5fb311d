import type avsc from 'avsc'
import { branchesOf, fieldsOf, plainType } from './avro-types.ts'
import type { AvroType } from './avro-types.ts'

/** A place within a record's bytes. Nothing here reads at or beyond `end`, whatever the bytes say. */
export interface Cursor {
  readonly bytes: Buffer
  readonly end: number
  at: number
  /** Records within records that are being skipped. */
  depth: number
}

/** The bytes are no value of their schema; the message says why. */
export class NotAvro extends Error {}

const MAX_DEPTH = 256

function cutShort(): never {
  throw new NotAvro('the body ends before its last field')
}

function nextByte(cursor: Cursor): number {
  if (cursor.at >= cursor.end) cutShort()
  return cursor.bytes[cursor.at++] as number
}

/** Passes over so many bytes and returns where they begin. */
export function take(cursor: Cursor, count: number): number {
  const from = cursor.at
  if (count > cursor.end - from) cutShort()
  cursor.at = from + count
  return from
}

const BITS_28 = 2 ** 28

/**
 * An int or long: a number where that is exact, else a bigint. Variable-length zig-zag coding (Avro specification,
 * "Binary Encoding"); more than 64 bits are refused.
 */
export function readLong(cursor: Cursor): number | bigint {
  let byte = nextByte(cursor)
  let low = byte & 0x7f
  for (let shift = 7; byte >= 0x80; shift += 7) {
    if (shift === 28) return readFarLong(cursor, low)
    byte = nextByte(cursor)
    low |= (byte & 0x7f) << shift
  }
  return (low >>> 1) ^ -(low & 1)
}

/** The rest of a long that takes more than four bytes: up to 49 bits in a double, up to 64 in a bigint. */
function readFarLong(cursor: Cursor, low: number): number | bigint {
  let value = low
  let unit = BITS_28
  for (let count = 0; count < 3; count++) {
    const byte = nextByte(cursor)
    value += (byte & 0x7f) * unit
    unit *= 128
    if (byte < 0x80) return value % 2 === 0 ? value / 2 : -(value + 1) / 2
  }
  let wide = BigInt(value)
  for (let shift = 49n; ; shift += 7n) {
    const byte = nextByte(cursor)
    if (shift === 63n && byte > 1) throw new NotAvro('a whole number takes more than 64 bits')
    wide |= BigInt(byte & 0x7f) << shift
    if (byte >= 0x80) continue
    const signed = (wide >> 1n) ^ -(wide & 1n)
    const plain = Number(signed)
    return Number.isSafeInteger(plain) ? plain : signed
  }
}

/** An int, which has 32 bits. */
export function readInt(cursor: Cursor): number {
  const value = readLong(cursor)
  if (typeof value === 'number' && value === (value | 0)) return value
  throw new NotAvro('an int takes more than 32 bits')
}

export function readBoolean(cursor: Cursor): boolean {
  const byte = nextByte(cursor)
  if (byte > 1) throw new NotAvro(`a boolean is ${byte}, not 0 or 1`)
  return byte === 1
}

export function readFloat(cursor: Cursor): number {
  return cursor.bytes.readFloatLE(take(cursor, 4))
}

export function readDouble(cursor: Cursor): number {
  return cursor.bytes.readDoubleLE(take(cursor, 8))
}

/** The length of a string or of bytes, which the record must still hold. */
function readLength(cursor: Cursor): number {
  const length = readLong(cursor)
  if (length < 0) throw new NotAvro(`a length is ${length}`)
  const left = cursor.end - cursor.at
  if (length > left) throw new NotAvro(`a length is ${length}, but only ${left} bytes are left`)
  return Number(length)
}

const utf8 = new TextDecoder('utf-8', { fatal: true })

/** A string; bytes that are not UTF-8 are refused. */
export function readString(cursor: Cursor): string {
  const length = readLength(cursor)
  const from = take(cursor, length)
  const text = cursor.bytes.toString('utf8', from, from + length)
  // What stands for bytes that are not UTF-8 may also have been written.
  if (text.includes('\ufffd')) {
    try {
      return utf8.decode(cursor.bytes.subarray(from, from + length))
    } catch {
      throw new NotAvro('a string is not valid UTF-8')
    }
  }
  return text
}

/** Bytes, as a view of the record's. */
export function readBytes(cursor: Cursor): Buffer {
  const length = readLength(cursor)
  const from = take(cursor, length)
  return cursor.bytes.subarray(from, from + length)
}

/** Which branch of a union follows. */
export function readBranch(cursor: Cursor, branches: number): number {
  const index = readLong(cursor)
  if (typeof index === 'number' && index >= 0 && index < branches) return index
  throw new NotAvro(`branch ${index} of a union of ${branches}`)
}

/** How many items the next block of an array or map has, and how many bytes; null bytes where it does not say. */
function readBlock(cursor: Cursor): { readonly items: number; readonly bytes: number | null } {
  const count = readLong(cursor)
  const bytes = count < 0 ? readLength(cursor) : null
  return { items: Math.abs(Number(count)), bytes }
}

/** The items of an array. Each takes at least one byte, so their number has a bound. */
export function readArray<T>(cursor: Cursor, item: (cursor: Cursor) => T): T[] {
  const items: T[] = []
  for (;;) {
    const block = readBlock(cursor)
    if (block.items === 0) return items
    if (block.items > cursor.end - cursor.at) {
      throw new NotAvro(`an array of ${block.items} items, but only ${cursor.end - cursor.at} bytes are left`)
    }
    for (let index = 0; index < block.items; index++) items.push(item(cursor))
  }
}

/** Passes over one value. */
export type Skip = (cursor: Cursor) => void

/** Whether values of the type take no bytes at all. */
function isEmptyType(type: AvroType, within: ReadonlySet<AvroType> = new Set()): boolean {
  const { plain } = plainType(type)
  if (plain.typeName === 'null') return true
  if (plain.typeName === 'fixed') return (plain as avsc.types.FixedType).size === 0
  const fields = fieldsOf(plain)
  if (fields === null || within.has(plain)) return false
  const inside = new Set([...within, plain])
  return fields.every(field => isEmptyType(field.type, inside))
}

/** Prepares passing over values of a type; `known` holds what was prepared, so that recursive types end. */
export function skipOf(type: AvroType, known: Map<AvroType, Skip> = new Map()): Skip {
  const { plain } = plainType(type)
  const before = known.get(plain)
  if (before !== undefined) return before
  const branches = branchesOf(plain)
  if (branches !== null) {
    const skips = branches.map(branch => skipOf(branch, known))
    return cursor => skips[readBranch(cursor, skips.length)]?.(cursor)
  }
  const fields = fieldsOf(plain)
  if (fields !== null) {
    const skips: Skip[] = []
    const skipRecord: Skip = cursor => {
      if (++cursor.depth > MAX_DEPTH) throw new NotAvro(`records are nested more than ${MAX_DEPTH} deep`)
      for (const skip of skips) skip(cursor)
      cursor.depth--
    }
    known.set(plain, skipRecord)
    for (const field of fields) skips.push(skipOf(field.type, known))
    return skipRecord
  }
  switch (plain.typeName) {
    case 'array': {
      const { itemsType } = plain as avsc.types.ArrayType
      return blocksSkip(isEmptyType(itemsType) ? null : skipOf(itemsType, known))
    }
    case 'map': {
      const skipValue = skipOf((plain as avsc.types.MapType).valuesType as AvroType, known)
      return blocksSkip(cursor => {
        readBytes(cursor)
        skipValue(cursor)
      })
    }
    default:
      return plainSkip(plain)
  }
}

/** @param item null for items that take no bytes */
function blocksSkip(item: Skip | null): Skip {
  return cursor => {
    for (;;) {
      const block = readBlock(cursor)
      if (block.items === 0) return
      if (block.bytes !== null) take(cursor, block.bytes)
      else if (item !== null) for (let index = 0; index < block.items; index++) item(cursor)
    }
  }
}

function plainSkip(type: AvroType): Skip {
  switch (type.typeName) {
    case 'null':
      return () => undefined
    case 'boolean':
      return readBoolean
    case 'int':
    case 'long':
    case 'enum':
      return readLong
    case 'float':
      return cursor => take(cursor, 4)
    case 'double':
      return cursor => take(cursor, 8)
    case 'fixed': {
      const { size } = type as unknown as { readonly size: number }
      return cursor => take(cursor, size)
    }
    default:
      return readBytes
  }
}
