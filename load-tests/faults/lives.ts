import type { EventLog, LogRecord } from '../../topology/ports/event-log.ts'

/** All records of one life of a topic, by partition. */
export interface TopicLife {
  readonly incarnation: string
  readonly partitions: readonly (readonly LogRecord[])[]
}

const READ_RECORDS = 5_000

/** Reads a topic as it stands, to be compared with after it is gone. */
export async function keepLife(log: EventLog, topic: string): Promise<TopicLife> {
  const info = await log.describe(topic)
  if (info === null) throw new Error(`topic ${topic} does not exist`)
  const partitions: LogRecord[][] = []
  for (let partition = 0; partition < info.partitions; partition++) {
    const { startOffset, endOffset } = await log.bounds(topic, partition)
    const records: LogRecord[] = []
    for (let from = startOffset; from < endOffset;) {
      const batch = await log.read(topic, partition, from, READ_RECORDS)
      records.push(...batch.records)
      from = batch.nextOffset
    }
    partitions.push(records)
  }
  return { incarnation: info.incarnation, partitions }
}
