import { PortError } from '../../../ports/errors.ts'
import type { LogRecord } from '../../../ports/event-log.ts'
import { CODEC_IDS, pack, unpack } from './codecs.ts'
import type { Compression } from './codecs.ts'
import { crc32c } from './crc32c.ts'
import { WireWriter } from './wire.ts'

/**
 * Kafka's record batch, version 2 (Kafka 0.11 and newer): base offset i64, length i32, leader epoch i32, version i8,
 * CRC-32C u32 of all that follows, attributes i16, last offset delta i32, base and greatest time i64, producer id i64
 * and epoch i16, base sequence i32, number of records i32; then the records, packed together.
 */
const HEAD_BYTES = 61
const LENGTH_FROM = 12
const VERSION_AT = 16
const CRC_AT = 17
const CRC_FROM = 21
const CODEC_MASK = 0x07
const APPEND_TIME_FLAG = 0x08
const TRANSACTIONAL_FLAG = 0x10
const CONTROL_FLAG = 0x20
const ABORT_MARKER = 0

/**
 * States when a record became known, in UTC milliseconds; written by imports, read in place of the append time unless it
 * is later: nothing is known before it is in the log, and anyone who may append could state it.
 */
export const ARRIVAL_HEADER = 'hw-arrival'

const NO_HEADERS: Readonly<Record<string, string>> = Object.freeze({})
const NO_BYTES = Buffer.alloc(0)

/** One batch of a partition, still packed. */
export interface PackedBatch {
  readonly bytes: Buffer
  readonly baseOffset: number
  readonly lastOffset: number
}

/** A transaction that was given up: its producer's records from `firstOffset` up to the marker do not count. */
export interface AbortedTransaction {
  readonly producerId: number
  readonly firstOffset: number
}

/** What a fetch of one partition holds. */
export interface FetchedBatches {
  /** Those with records that count. */
  readonly batches: readonly PackedBatch[]
  /** The offset after the last whole batch, markers and given-up ones included; null where there was none. */
  readonly nextOffset: number | null
  /** The epoch of the leader that wrote the last whole batch; -1 where there was none. */
  readonly lastEpoch: number
}

/**
 * Cuts a fetch into its whole batches (the last may be cut short by the broker's limit), without unpacking them. Throws
 * `PortError` with code `LOG_UNAVAILABLE` for a batch whose checksum does not fit and for formats older than version 2.
 */
export function splitBatches(bytes: Buffer, aborted: readonly AbortedTransaction[]): FetchedBatches {
  const batches: PackedBatch[] = []
  const starting = [...aborted].sort((a, b) => a.firstOffset - b.firstOffset)
  const givenUp = new Set<number>()
  let nextOffset: number | null = null
  let lastEpoch = -1
  for (let at = 0; at + HEAD_BYTES <= bytes.length;) {
    const end = at + LENGTH_FROM + bytes.readInt32BE(at + 8)
    if (end > bytes.length) break
    const batch = bytes.subarray(at, end)
    checkBatch(batch)
    at = end
    const baseOffset = readOffset(batch, 0)
    const lastOffset = baseOffset + batch.readInt32BE(23)
    nextOffset = lastOffset + 1
    lastEpoch = batch.readInt32BE(LENGTH_FROM)
    const attributes = batch.readInt16BE(CRC_FROM)
    const producerId = readOffset(batch, 43)
    while (starting[0] !== undefined && starting[0].firstOffset <= lastOffset) {
      givenUp.add((starting.shift() as AbortedTransaction).producerId)
    }
    if ((attributes & CONTROL_FLAG) !== 0) {
      if (markerType(batch, attributes) === ABORT_MARKER) givenUp.delete(producerId)
    } else if ((attributes & TRANSACTIONAL_FLAG) === 0 || !givenUp.has(producerId)) {
      if (batch.readInt32BE(57) > 0) batches.push({ bytes: batch, baseOffset, lastOffset })
    }
  }
  return { batches, nextOffset, lastEpoch }
}

function checkBatch(batch: Buffer): void {
  const version = batch.readInt8(VERSION_AT)
  if (version !== 2) {
    throw new PortError(
      'LOG_UNAVAILABLE',
      `A batch at offset ${readOffset(batch, 0)} has message format ${version}, from before Kafka 0.11: ` +
        'copy the topic into a new one with a current producer.',
    )
  }
  if (crc32c(batch, CRC_FROM) !== batch.readUInt32BE(CRC_AT)) {
    throw new PortError(
      'LOG_UNAVAILABLE',
      `The checksum of the batch at offset ${readOffset(batch, 0)} is wrong: it was damaged on its way or on disk.`,
    )
  }
}

function markerType(batch: Buffer, attributes: number): number {
  const records = unpack(attributes & CODEC_MASK, batch.subarray(HEAD_BYTES))
  const cursor = { bytes: records, at: 0 }
  readVarint(cursor)
  cursor.at += 1
  readVarint(cursor)
  readVarint(cursor)
  readVarint(cursor)
  return records.readInt16BE(cursor.at + 2)
}

/** Appends the records of a batch from `fromOffset` on to `out`. Values are views of the unpacked batch. */
export function unpackRecords(
  batch: PackedBatch,
  topic: string,
  partition: number,
  fromOffset: number,
  out: LogRecord[],
): void {
  const { bytes } = batch
  const attributes = bytes.readInt16BE(CRC_FROM)
  const appendTime = (attributes & APPEND_TIME_FLAG) !== 0
  const baseMs = readOffset(bytes, 27)
  const greatestMs = readOffset(bytes, 35)
  const count = bytes.readInt32BE(57)
  const cursor: Cursor = { bytes: unpack(attributes & CODEC_MASK, bytes.subarray(HEAD_BYTES)), at: 0 }
  for (let i = 0; i < count; i += 1) {
    const length = readVarint(cursor)
    const end = cursor.at + length
    if (length < 0 || end > cursor.bytes.length) throw new RangeError(`Record ${i} of a batch is cut short`)
    cursor.at += 1
    const timeDelta = readVarint(cursor)
    const offset = batch.baseOffset + readVarint(cursor)
    if (offset < fromOffset) {
      cursor.at = end
      continue
    }
    const key = readBytes(cursor)
    const value = readBytes(cursor)
    const stated = { arrivalMs: appendTime ? greatestMs : baseMs + timeDelta }
    const headers = readHeaders(cursor, stated)
    out.push({
      topic,
      partition,
      offset,
      key: key === null ? null : key.toString('utf8'),
      value: value ?? NO_BYTES,
      headers,
      arrivalMs: stated.arrivalMs,
    })
    cursor.at = end
  }
}

interface Cursor {
  readonly bytes: Buffer
  at: number
}

function readHeaders(cursor: Cursor, stated: { arrivalMs: number }): Readonly<Record<string, string>> {
  const count = readVarint(cursor)
  if (count === 0) return NO_HEADERS
  const headers: Record<string, string> = {}
  let kept = 0
  for (let i = 0; i < count; i += 1) {
    const name = readBytes(cursor)?.toString('utf8') ?? ''
    const value = readBytes(cursor)?.toString('utf8') ?? ''
    if (name === ARRIVAL_HEADER) {
      const arrivalMs = Number(value)
      if (value !== '' && Number.isSafeInteger(arrivalMs)) stated.arrivalMs = Math.min(stated.arrivalMs, arrivalMs)
    } else {
      Object.defineProperty(headers, name, { value, enumerable: true, configurable: true, writable: true })
      kept += 1
    }
  }
  return kept === 0 ? NO_HEADERS : headers
}

function readBytes(cursor: Cursor): Buffer | null {
  const length = readVarint(cursor)
  if (length < 0) return null
  const { at } = cursor
  cursor.at = at + length
  return cursor.bytes.subarray(at, at + length)
}

/** A zigzag varint or varlong; exact up to 2^52. */
function readVarint(cursor: Cursor): number {
  const { bytes } = cursor
  let byte = bytes[cursor.at++] ?? 0
  if (byte < 0x80) return (byte >>> 1) ^ -(byte & 1)
  let value = byte & 0x7f
  let scale = 0x80
  do {
    byte = bytes[cursor.at++] ?? 0
    value += (byte & 0x7f) * scale
    scale *= 0x80
  } while (byte >= 0x80 && scale < 2 ** 70)
  return value % 2 === 0 ? value / 2 : -(value + 1) / 2
}

function readOffset(bytes: Buffer, at: number): number {
  return bytes.readInt32BE(at) * 4_294_967_296 + bytes.readUInt32BE(at + 4)
}

/** A record as it is put into a batch; headers in order. */
export interface BatchRecord {
  readonly keyBytes: Uint8Array | null
  readonly value: Uint8Array
  readonly headers: readonly (readonly [name: string, value: string])[]
}

/** Who wrote a batch, so that the broker recognises one that is sent again. */
export interface BatchProducer {
  readonly producerId: number
  readonly epoch: number
  readonly sequence: number
}

/** Encodes a batch; it stays unpacked where packing would not make it smaller. `timeMs` is the time of every record. */
export function encodeBatch(
  records: readonly BatchRecord[],
  producer: BatchProducer,
  timeMs: number,
  compression: Compression,
): Buffer {
  const body = new WireWriter(1024)
  for (const [i, record] of records.entries()) writeRecord(body, record, i)
  const packed = compression === 'none' ? body.bytes : pack(compression, body.bytes)
  const smaller = packed.length < body.bytes.length
  const content = smaller ? packed : body.bytes
  const batch = Buffer.allocUnsafe(HEAD_BYTES + content.length)
  batch.writeBigInt64BE(0n, 0)
  batch.writeInt32BE(batch.length - LENGTH_FROM, 8)
  batch.writeInt32BE(-1, LENGTH_FROM)
  batch.writeInt8(2, VERSION_AT)
  batch.writeInt16BE(smaller ? CODEC_IDS[compression] : 0, CRC_FROM)
  batch.writeInt32BE(records.length - 1, 23)
  batch.writeBigInt64BE(BigInt(timeMs), 27)
  batch.writeBigInt64BE(BigInt(timeMs), 35)
  batch.writeBigInt64BE(BigInt(producer.producerId), 43)
  batch.writeInt16BE(producer.epoch, 51)
  batch.writeInt32BE(producer.sequence, 53)
  batch.writeInt32BE(records.length, 57)
  batch.set(content, HEAD_BYTES)
  batch.writeUInt32BE(crc32c(batch, CRC_FROM), CRC_AT)
  return batch
}

function writeRecord(into: WireWriter, record: BatchRecord, index: number): void {
  const { keyBytes, value, headers } = record
  const head = new WireWriter(32).int8(0).varint(0).varint(index)
  if (keyBytes === null) head.varint(-1)
  else head.varint(keyBytes.length).raw(keyBytes)
  head.varint(value.length)
  const tail = new WireWriter(16).varint(headers.length)
  for (const [name, text] of headers) {
    for (const part of [name, text]) {
      const bytes = Buffer.from(part, 'utf8')
      tail.varint(bytes.length).raw(bytes)
    }
  }
  const total = head.bytes.length + value.length + tail.bytes.length
  into.varint(total).raw(head.bytes).raw(value).raw(tail.bytes)
}
