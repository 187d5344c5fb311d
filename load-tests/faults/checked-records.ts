import type { DecodedEvent } from '../../features/plan/event.ts'
import type { EventLog, LogRecord } from '../../topology/ports/event-log.ts'
import type { EventReader } from '../../topology/ports/value-format.ts'

/** A record of a log with what it says; `event` is null for one that is not valid. */
export interface CheckedRecord {
  readonly record: LogRecord
  readonly event: DecodedEvent | null
  /** Why it is not valid; empty for an event. */
  readonly code: string
}

const READ_RECORDS = 5_000

/** The records of one partition up to `endOffset`, decoded anew; at most 5,000 are held at a time. */
export async function* checkedRecords(
  log: EventLog,
  reader: EventReader,
  topic: string,
  partition: number,
  endOffset: number,
): AsyncGenerator<readonly CheckedRecord[]> {
  const { startOffset } = await log.bounds(topic, partition)
  if (startOffset > 0) {
    throw new Error(`${topic} partition ${partition} begins at ${startOffset}: what was counted cannot be recomputed`)
  }
  for (let from = 0; from < endOffset;) {
    const { records, nextOffset } = await log.read(topic, partition, from, READ_RECORDS)
    // Marks of transactions may stand behind the last record.
    if (nextOffset <= from) return
    await reader.prepare(records.map(record => record.value))
    yield records
      .filter(record => record.offset < endOffset)
      .map(record => {
        const decoded = reader.read(record.value, record.arrivalMs)
        return decoded.ok ? { record, event: decoded.event, code: '' } : { record, event: null, code: decoded.code }
      })
    from = nextOffset
  }
}
