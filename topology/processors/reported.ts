import type { LogRecord, NewRecord } from '../ports/event-log.ts'

/** What the headers of a report may take beside those of its record. */
const HEADER_BYTES = 4_096

function sizeOf(key: string | null, headers: Readonly<Record<string, string>>): number {
  let size = key === null ? 0 : Buffer.byteLength(key)
  for (const [name, value] of Object.entries(headers)) size += Buffer.byteLength(name) + Buffer.byteLength(value)
  return size
}

/**
 * A record that is passed on to another topic with headers of its own: in the same partition, with all that it had. One
 * that would no longer fit is cut, and says from how many bytes.
 * @param maxRecordBytes the most that the log takes in one record
 */
export function reportedRecord(
  record: LogRecord,
  topic: string,
  headers: Readonly<Record<string, string>>,
  maxRecordBytes: number,
): NewRecord {
  const kept = Math.max(0, maxRecordBytes - HEADER_BYTES - sizeOf(record.key, record.headers))
  const cut = record.value.length > kept
  return {
    topic,
    key: record.key,
    partition: record.partition,
    value: cut ? record.value.subarray(0, kept) : record.value,
    headers: {
      ...record.headers,
      ...(cut ? { 'hw-cut-from-bytes': String(record.value.length) } : {}),
      'hw-topic': record.topic,
      'hw-partition': String(record.partition),
      'hw-offset': String(record.offset),
      ...headers,
    },
  }
}
