import type { LogRecord, NewRecord } from '../../ports/event-log.ts'

/**
 * Records are stored in chunks: one row holds a run of consecutive records of one partition. A record is 20 bytes of
 * little-endian head (u32 key length + 1, 0 for no key; u32 headers length, 0 for none; u32 value length; f64 arrival)
 * followed by the key (UTF-8), the headers (JSON) and the value.
 */
const HEAD_BYTES = 20
const NO_HEADERS: Readonly<Record<string, string>> = Object.freeze({})

/** A record made ready to be stored; sizes are in bytes. */
export interface PreparedRecord {
  readonly record: NewRecord
  readonly keyBytes: Uint8Array | null
  readonly headerBytes: Uint8Array | null
  /** Key, headers and value together. */
  readonly payloadBytes: number
}

/** A record with its place in a partition. */
export interface PlacedRecord {
  readonly prepared: PreparedRecord
  readonly arrivalMs: number
}

/**
 * Encodes key and headers. Throws `TypeError` for a key that has no UTF-8 form (a lone surrogate) or a header that is
 * not a string.
 */
export function prepareRecord(record: NewRecord): PreparedRecord {
  const keyBytes = record.key === null ? null : encodeKey(record.topic, record.key)
  const headerBytes = encodeHeaders(record)
  return {
    record,
    keyBytes,
    headerBytes,
    payloadBytes: (keyBytes?.length ?? 0) + (headerBytes?.length ?? 0) + record.value.length,
  }
}

function encodeKey(topic: string, key: string): Uint8Array {
  if (!key.isWellFormed()) {
    throw new TypeError(`A record key for topic ${topic} holds a lone surrogate and has no UTF-8 form: repair the key.`)
  }
  return Buffer.from(key, 'utf8')
}

function encodeHeaders(record: NewRecord): Uint8Array | null {
  const headers = record.headers
  if (headers === undefined) return null
  const entries = Object.entries(headers)
  if (entries.length === 0) return null
  for (const [name, value] of entries) {
    if (typeof value !== 'string') {
      throw new TypeError(`Header ${name} of a record for topic ${record.topic} is not a string: convert it first.`)
    }
  }
  return Buffer.from(JSON.stringify(headers), 'utf8')
}

/** The bytes that a record takes inside a chunk. */
export function storedBytes(prepared: PreparedRecord): number {
  return HEAD_BYTES + prepared.payloadBytes
}

/** Encodes consecutive records into one chunk. */
export function encodeChunk(records: readonly PlacedRecord[], totalBytes: number): Uint8Array {
  const bytes = new Uint8Array(totalBytes)
  const view = new DataView(bytes.buffer)
  let at = 0
  for (const { prepared, arrivalMs } of records) {
    const { keyBytes, headerBytes, record } = prepared
    view.setUint32(at, keyBytes === null ? 0 : keyBytes.length + 1, true)
    view.setUint32(at + 4, headerBytes === null ? 0 : headerBytes.length, true)
    view.setUint32(at + 8, record.value.length, true)
    view.setFloat64(at + 12, arrivalMs, true)
    at += HEAD_BYTES
    if (keyBytes !== null) {
      bytes.set(keyBytes, at)
      at += keyBytes.length
    }
    if (headerBytes !== null) {
      bytes.set(headerBytes, at)
      at += headerBytes.length
    }
    bytes.set(record.value, at)
    at += record.value.length
  }
  return bytes
}

/** How much a read may take; changed by `decodeChunk` as records are taken. */
export interface ReadBudget {
  records: number
  bytes: number
  /** True until the first record, which is taken whatever its size. */
  first: boolean
}

/** Which part of a partition a chunk is read for. */
export interface ChunkRange {
  readonly topic: string
  readonly partition: number
  /** Offset of the chunk's first record. */
  readonly baseOffset: number
  readonly fromOffset: number
  /** Exclusive. */
  readonly untilOffset: number
}

/**
 * Decodes the wanted records of a chunk into `out`, within the budget. Values are views of the chunk's bytes. Returns
 * false when the budget or the range is used up.
 */
export function decodeChunk(chunk: Uint8Array, range: ChunkRange, budget: ReadBudget, out: LogRecord[]): boolean {
  const buffer = Buffer.from(chunk.buffer, chunk.byteOffset, chunk.byteLength)
  const view = new DataView(chunk.buffer, chunk.byteOffset, chunk.byteLength)
  let at = 0
  for (let offset = range.baseOffset; at < chunk.byteLength; offset += 1) {
    if (offset >= range.untilOffset) return false
    const keyLength = view.getUint32(at, true)
    const headerLength = view.getUint32(at + 4, true)
    const valueLength = view.getUint32(at + 8, true)
    const keyStart = at + HEAD_BYTES
    const headerStart = keyStart + Math.max(0, keyLength - 1)
    const valueStart = headerStart + headerLength
    const end = valueStart + valueLength
    if (offset >= range.fromOffset) {
      const payloadBytes = end - keyStart
      if (budget.records <= 0 || (payloadBytes > budget.bytes && !budget.first)) return false
      budget.first = false
      budget.records -= 1
      budget.bytes -= payloadBytes
      out.push({
        topic: range.topic,
        partition: range.partition,
        offset,
        key: keyLength === 0 ? null : buffer.toString('utf8', keyStart, headerStart),
        value: chunk.subarray(valueStart, end),
        headers: headerLength === 0 ? NO_HEADERS : parseHeaders(buffer.toString('utf8', headerStart, valueStart)),
        arrivalMs: view.getFloat64(at + 12, true),
      })
    }
    at = end
  }
  return budget.records > 0 && budget.bytes > 0
}

function parseHeaders(text: string): Readonly<Record<string, string>> {
  return JSON.parse(text) as Record<string, string>
}
