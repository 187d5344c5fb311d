import { PortError } from '../../../ports/errors.ts'
import { hash32 } from '../../../ports/online-layout.ts'
import type { Canary, Lane, SectionWrite } from '../../../ports/online-store.ts'

/*
 * A head is one string: a format byte, then sections one after another, each a header and its bytes. All integers are
 * little-endian; those of eight bytes are signed and stay below 2^53, so that Lua's doubles hold them exactly.
 *
 *   incarnation u32 · partition u16 · position i64 · levels u16 · flags and length u32 · [expires at, ms, i64] · bytes
 *
 * The first six bytes name the section's lane; they also begin its fields in the hash of blocks: lane · block id i64,
 * and the lane alone for the position of the section that the blocks belong to, where the section has levels.
 */

/** First byte of every head. */
export const HEAD_FORMAT = 1
const SECTION_HEADER_BYTES = 20
/** Set in the length where the time at which the section ends follows. */
const EXPIRES_FLAG = 0x8000_0000
/** Set in the length where the hash of blocks may hold fields of this section. */
const BESIDE_FLAG = 0x4000_0000
const LENGTH_MASK = 0x3fff_ffff
const TWO_32 = 0x1_0000_0000
const MAX_PARTITION = 0xffff

/** A section as it lies in a head; `bytes` is a view into the head. */
export interface StoredSection {
  /** The six bytes that name its lane. */
  readonly lane: Buffer
  readonly incarnationId: number
  readonly partition: number
  readonly position: number
  readonly levels: number
  /** 0 for never. */
  readonly expiresMs: number
  readonly bytes: Uint8Array
}

/** The number that stands for an incarnation in sections; the same wherever and whenever it is asked for. */
export function incarnationId(name: string): number {
  return hash32(name)
}

/** The six bytes that name a lane's sections. Errors: a partition beyond 65,535 is refused. */
export function laneBytes(lane: Lane): Buffer {
  if (lane.partition > MAX_PARTITION) {
    throw new PortError('STORE_UNAVAILABLE', `partition ${lane.partition}: Redis keeps sections of 65,536 partitions`)
  }
  const bytes = Buffer.allocUnsafe(6)
  bytes.writeUInt32LE(incarnationId(lane.incarnation), 0)
  bytes.writeUInt16LE(lane.partition, 4)
  return bytes
}

/** A head with this section alone; `beside` where the hash of blocks may hold fields of it. */
export function sectionImage(lane: Buffer, write: SectionWrite, expiresMs: number, beside: boolean): Buffer {
  const { position, levels, bytes } = write
  const header = SECTION_HEADER_BYTES + (expiresMs > 0 ? 8 : 0)
  const image = Buffer.allocUnsafe(1 + header + bytes.length)
  image[0] = HEAD_FORMAT
  lane.copy(image, 1)
  writeInt64(image, position, 7)
  image.writeUInt16LE(levels, 15)
  image.writeUInt32LE(bytes.length + (expiresMs > 0 ? EXPIRES_FLAG : 0) + (beside ? BESIDE_FLAG : 0), 17)
  if (expiresMs > 0) writeInt64(image, expiresMs, 21)
  image.set(bytes, 1 + header)
  return image
}

/** All sections of a head, in its order, expired ones included. Errors: another format, or a head cut short. */
export function parseHead(head: Buffer, key: string): StoredSection[] {
  if (head[0] !== HEAD_FORMAT)
    throw unreadable(key, `has format ${head[0] ?? 'none'}, this program reads ${HEAD_FORMAT}`)
  const sections: StoredSection[] = []
  for (let at = 1; at < head.length;) {
    const section = parseSection(head, at, key)
    sections.push(section)
    at = section.bytes.byteOffset + section.bytes.byteLength - head.byteOffset
  }
  return sections
}

/** The section that begins at `at`. Errors: it is cut short. */
export function parseSection(head: Buffer, at: number, key: string): StoredSection {
  if (at + SECTION_HEADER_BYTES > head.length) throw unreadable(key, 'is cut short')
  const flags = head.readUInt32LE(at + 16)
  const expires = flags >= EXPIRES_FLAG
  const from = at + SECTION_HEADER_BYTES + (expires ? 8 : 0)
  const length = flags & LENGTH_MASK
  if (from + length > head.length) throw unreadable(key, 'is cut short')
  return {
    lane: head.subarray(at, at + 6),
    incarnationId: head.readUInt32LE(at),
    partition: head.readUInt16LE(at + 4),
    position: readInt64(head, at + 6),
    levels: head.readUInt16LE(at + 14),
    expiresMs: expires ? readInt64(head, at + SECTION_HEADER_BYTES) : 0,
    bytes: head.subarray(from, from + length),
  }
}

function unreadable(key: string, what: string): PortError {
  return new PortError('STORE_UNAVAILABLE', `the value of ${key} ${what}; it was not written by this program`)
}

/** Offset and arrival time, eight bytes each. */
export function canaryBytes(canary: Canary): Buffer {
  const bytes = Buffer.allocUnsafe(16)
  writeInt64(bytes, canary.offset, 0)
  writeInt64(bytes, canary.arrivalMs, 8)
  return bytes
}

/** null where nothing is stored. */
export function parseCanary(bytes: unknown): Canary | null {
  return bytes instanceof Buffer ? { offset: readInt64(bytes, 0), arrivalMs: readInt64(bytes, 8) } : null
}

/** Field of a block in the hash of its key. */
export function blockField(lane: Buffer, id: number): Buffer {
  const field = Buffer.allocUnsafe(14)
  lane.copy(field, 0)
  writeInt64(field, id, 6)
  return field
}

/** Block ids, eight bytes each. */
export function idBytes(ids: readonly number[]): Buffer {
  const bytes = Buffer.allocUnsafe(8 * ids.length)
  for (let i = 0; i < ids.length; i++) writeInt64(bytes, ids[i] ?? 0, 8 * i)
  return bytes
}

/** Writes a safe integer as a signed integer of eight bytes. */
export function writeInt64(into: Buffer, value: number, at: number): void {
  const high = Math.floor(value / TWO_32)
  into.writeUInt32LE(value - high * TWO_32, at)
  into.writeInt32LE(high, at + 4)
}

/** Whether the hash of blocks is that of the section: `marker` is the position found under its lane. */
export function marks(marker: Buffer | null | undefined, section: StoredSection): boolean {
  return marker !== null && marker !== undefined && readInt64(marker, 0) === section.position
}

function readInt64(from: Buffer, at: number): number {
  return from.readInt32LE(at + 4) * TWO_32 + from.readUInt32LE(at)
}

/** Names of the keys beside the heads. `!` begins no entity type, so none of them is ever a head. */
export interface KeyNames {
  canary(lane: Lane, shard: number): string
  /** Incarnation names by id, of the sections of one shard: beside them, so that both are lost or kept together. */
  incarnations(tag: string): string
  document(name: string): string
  readonly progress: string
}

/** The keys of a namespace. */
export function keyNames(namespace: string): KeyNames {
  return {
    canary: (lane, shard) => `hw:${namespace}:{${shard}}:!canary:${lane.unit}:${lane.partition}:${lane.incarnation}`,
    incarnations: tag => `hw:${namespace}:{${tag}}:!incarnations`,
    document: name => `hw:${namespace}:!document:${name}`,
    progress: `hw:${namespace}:!progress`,
  }
}

/** The hash with the blocks of a head. */
export function blocksKey(head: string): string {
  return `${head}:b`
}

/** What is hashed of a key for its slot: the text in the first pair of braces, or all of it. */
export function hashTag(key: string): string {
  const open = key.indexOf('{')
  const close = open < 0 ? -1 : key.indexOf('}', open + 1)
  return close > open + 1 ? key.slice(open + 1, close) : key
}

/** Slots of a Redis Cluster. */
export const SLOT_COUNT = 16_384

/** CRC-16 (XMODEM) of the tag's UTF-8 bytes, modulo the slots, as the Redis Cluster specification has it. */
export function slotOf(key: string): number {
  let crc = 0
  for (const byte of Buffer.from(hashTag(key))) {
    crc ^= byte << 8
    for (let bit = 0; bit < 8; bit++) crc = crc & 0x8000 ? (crc << 1) ^ 0x1021 : crc << 1
    crc &= 0xffff
  }
  return crc % SLOT_COUNT
}
