import type { LogRecord, NewRecord } from '../ports/event-log.ts'
import { REPLAY_HEADERS, ownHeaders } from '../report-headers.ts'

/** What a log may add to a record beside its key, headers and value. */
const OVERHEAD_BYTES = 256

type Headers = Readonly<Record<string, string>>

/** Headers as a log stores them: as JSON, which takes no less than Kafka's own form. */
function headerBytes(headers: Headers): number {
  return Buffer.byteLength(JSON.stringify(headers))
}

/** Of a record whose headers are too large: where it was replayed from, so that this is never forgotten. */
function replayMarks(headers: Headers): Headers {
  const marks = Object.values(REPLAY_HEADERS).flatMap(name => {
    const value = headers[name]
    return value === undefined || value.length > OVERHEAD_BYTES ? [] : [[name, value] as const]
  })
  return Object.fromEntries(marks)
}

/** The topic that a record is passed on to. */
export interface ReportTarget {
  readonly topic: string
  /** As many as it was asked to have at least; the topic that the record comes from may have grown since. */
  readonly partitions: number
}

/**
 * A record that is passed on to another topic with headers of its own: in the same partition, or where that one has none
 * such in one that follows from it, with all that it had. A record that would no longer fit loses what is too large, first the end of its value, then its headers, then its key, and says
 * so: `hw-cut-from-bytes` is the length of the whole value, `hw-dropped-headers` and `hw-dropped-key-bytes` what is gone.
 * @param maxRecordBytes the most that the log takes in one record
 */
export function reportedRecord(
  record: LogRecord,
  { topic, partitions }: ReportTarget,
  headers: Headers,
  maxRecordBytes: number,
): NewRecord {
  const about: Record<string, string> = {
    'hw-topic': record.topic,
    'hw-partition': String(record.partition),
    'hw-offset': String(record.offset),
    'hw-arrival-ms': String(record.arrivalMs),
    ...headers,
  }
  const room = maxRecordBytes - OVERHEAD_BYTES - headerBytes(about)
  let passed = ownHeaders(record.headers)
  let key = record.key
  const keyBytes = key === null ? 0 : Buffer.byteLength(key)
  if (headerBytes(passed) + keyBytes > room) {
    about['hw-dropped-headers'] = String(Object.keys(passed).length)
    passed = replayMarks(passed)
  }
  let left = room - headerBytes(passed) - OVERHEAD_BYTES
  if (keyBytes > left) {
    about['hw-dropped-key-bytes'] = String(keyBytes)
    key = null
  } else {
    left -= keyBytes
  }
  const cut = record.value.length > left
  if (cut) about['hw-cut-from-bytes'] = String(record.value.length)
  return {
    topic,
    key,
    partition: record.partition % partitions,
    value: cut ? record.value.subarray(0, Math.max(0, left)) : record.value,
    headers: { ...passed, ...about },
  }
}
