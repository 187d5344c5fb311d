import type { Clock } from '../../../ports/clock.ts'
import { PortError } from '../../../ports/errors.ts'
import type { NewRecord, Position } from '../../../ports/event-log.ts'
import type { Compression } from './codecs.ts'
import { ARRIVAL_HEADER, encodeBatch } from './record-batch.ts'
import type { BatchRecord } from './record-batch.ts'

const BATCH_MAX_BYTES = 512 * 1024
const FIRST_RETRY_MS = 20
const MAX_RETRY_MS = 1_000
const FRAMING_BYTES = 16

/** A record made ready; `bytes` is key, headers and value together. */
export interface PreparedRecord extends BatchRecord {
  readonly record: NewRecord
  readonly bytes: number
}

/** One `append` under way. */
export interface AppendCall {
  readonly records: readonly PreparedRecord[]
  readonly positions: Position[]
  /** Records without a position yet. */
  left: number
  /** What it takes of the queue. */
  readonly bytes: number
  settled: boolean
  resolve(positions: readonly Position[]): void
  reject(error: unknown): void
}

/** One record of a call, in the queue of its partition. */
export interface Entry {
  readonly call: AppendCall
  readonly index: number
  readonly prepared: PreparedRecord
  /** On the monotonic clock; it fails when it has no acknowledgement by then. */
  readonly untilMs: number
}

/** Entries that are sent together, byte for byte the same at each try, so that the broker knows them again. */
export interface Sending {
  readonly entries: readonly Entry[]
  readonly batch: Buffer
  readonly firstSequence: number
  /** Some record carries no arrival: it gets the time at which the broker appends it. */
  readonly timed: boolean
}

/** One partition of one life of a topic. */
export interface Lane {
  readonly topic: string
  readonly topicId: string
  readonly partition: number
  queue: Entry[]
  sending: Sending | null
  /** Raised with each request that carries `sending`: of the answers, only that to the last counts. */
  tries: number
  /** Known to the broker by id and sequence; null until one was given, and after a batch was given up. */
  producer: { readonly producerId: number; readonly epoch: number; sequence: number } | null
  /** The greatest arrival in the partition as far as known; null until its last record was read. */
  arrivalMs: number | null
  /** The greatest that a header may state: records that the broker's clock would put before it need one too. */
  statedMs: number
  /** Its producer and arrival are being asked for. */
  priming: boolean
  /** On the monotonic clock. */
  waitUntilMs: number
  retryMs: number
  maxBatchBytes: number
}

/** A partition that nothing was written to yet. */
export function newLane(topic: string, topicId: string, partition: number): Lane {
  return {
    topic,
    topicId,
    partition,
    queue: [],
    sending: null,
    tries: 0,
    producer: null,
    arrivalMs: null,
    statedMs: -Infinity,
    priming: false,
    waitUntilMs: 0,
    retryMs: FIRST_RETRY_MS,
    maxBatchBytes: BATCH_MAX_BYTES,
  }
}

/** Whether nothing waits or is under way. */
export function isEmpty(lane: Lane): boolean {
  return lane.sending === null && lane.queue.length === 0
}

/** Lets a lane wait, longer each time. */
export function holdBack(lane: Lane, nowMs: number): void {
  lane.waitUntilMs = nowMs + lane.retryMs
  lane.retryMs = Math.min(lane.retryMs * 2, MAX_RETRY_MS)
}

/** A batch was taken: the next may go at once, under the sequence after it (31 bits, then again from 0). */
export function moveOn(lane: Lane, sent: Sending): void {
  lane.sending = null
  lane.retryMs = FIRST_RETRY_MS
  if (lane.producer !== null) lane.producer.sequence = (sent.firstSequence + sent.entries.length) % 2_147_483_648
}

/** Puts entries that were sent in vain back to the front of the queue. */
export function putBack(lane: Lane, sent: Sending): void {
  lane.queue = [...sent.entries, ...lane.queue]
  lane.sending = null
}

/** Takes entries off the queue of a lane that has a producer; arrivals that were stated, or must be, become headers. */
export function nextBatch(lane: Lane, clock: Clock, compression: Compression): Sending {
  const { producer } = lane
  if (producer === null) throw new Error(`Topic ${lane.topic} partition ${lane.partition} has no producer yet`)
  const entries: Entry[] = []
  const records: BatchRecord[] = []
  const nowMs = clock.nowMs()
  let bytes = 0
  let timed = false
  let arrivalMs = lane.arrivalMs ?? -Infinity
  for (const entry of lane.queue) {
    const { prepared } = entry
    if (entries.length > 0 && bytes + prepared.bytes > lane.maxBatchBytes) break
    bytes += prepared.bytes + FRAMING_BYTES
    const stated = prepared.record.arrivalMs
    arrivalMs = Math.max(arrivalMs, stated ?? nowMs)
    if (stated === undefined && lane.statedMs <= nowMs) {
      timed = true
      records.push(prepared)
    } else {
      lane.statedMs = arrivalMs
      records.push({ ...prepared, headers: [...prepared.headers, [ARRIVAL_HEADER, String(arrivalMs)]] })
    }
    entries.push(entry)
  }
  const batch = encodeBatch(records, producer, nowMs, compression)
  lane.queue = lane.queue.slice(entries.length)
  lane.arrivalMs = arrivalMs
  return { entries, batch, firstSequence: producer.sequence, timed }
}

/** Checks and encodes a record; `RECORD_TOO_LARGE` above `maxRecordBytes`, `TypeError` for one that cannot be stored. */
export function prepareRecord(record: NewRecord, index: number, maxRecordBytes: number): PreparedRecord {
  const { topic, key, partition, value, arrivalMs } = record
  const which = `Record ${index} of an append to topic ${topic}`
  if (key === null && partition === undefined) {
    throw new TypeError(`${which} has neither a key nor a partition: set one.`)
  }
  if (key !== null && !key.isWellFormed()) {
    throw new TypeError(`${which} has a key with a lone surrogate, which has no UTF-8 form: repair the key.`)
  }
  if (arrivalMs !== undefined && !Number.isSafeInteger(arrivalMs)) {
    throw new TypeError(`${which} has arrivalMs ${arrivalMs}: give whole milliseconds.`)
  }
  const headers = Object.entries(record.headers ?? {})
  let headerBytes = 0
  for (const [name, text] of headers) {
    if (typeof text !== 'string') throw new TypeError(`Header ${name} of ${which} is not a string: convert it first.`)
    if (name === ARRIVAL_HEADER) {
      throw new TypeError(`Header ${ARRIVAL_HEADER} of ${which} is the log's own: state arrivalMs instead.`)
    }
    headerBytes += Buffer.byteLength(name) + Buffer.byteLength(text)
  }
  const keyBytes = key === null ? null : Buffer.from(key, 'utf8')
  const bytes = (keyBytes?.length ?? 0) + headerBytes + value.length
  if (bytes > maxRecordBytes) {
    throw new PortError(
      'RECORD_TOO_LARGE',
      `${which} has ${bytes} bytes, more than maxRecordBytes ${maxRecordBytes}: send less, or raise the limit.`,
    )
  }
  return { record, keyBytes, value, headers, bytes }
}

/** What the records of a call take of the queue. */
export function queuedBytes(records: readonly PreparedRecord[]): number {
  return records.reduce((sum, each) => sum + each.bytes + FRAMING_BYTES, 0)
}
