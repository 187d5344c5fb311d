import type { Batch, EventLog, LogRecord, PartitionBounds } from '../../topology/ports/event-log.ts'
import type { Network } from './simulated-network.ts'
import { Lost } from './simulated-scheduler.ts'
import type { Process } from './simulated-scheduler.ts'

/** One partition of one life of a topic. */
export interface PartitionLog {
  /** In offset order; those below `startOffset` are no longer in the log. */
  records: LogRecord[]
  startOffset: number
  endOffset: number
}

/** From when a topic is made to when it is deleted. */
export interface Life {
  readonly incarnation: string
  readonly partitions: PartitionLog[]
}

/** A topic in memory that grows, is cut at both ends, gets partitions, and is deleted and made again. */
export type Topic = ReturnType<typeof createTopic>

/** @param startOffsets by partition: where its log begins, what came before having been removed long ago */
export function createTopic(name: string, startOffsets: readonly number[]) {
  const lives: Life[] = []
  const late = new Map<string, Set<string>>()
  const emptyPartition = (at = 0): PartitionLog => ({ records: [], startOffset: at, endOffset: at })

  function recreate(count: number): void {
    const partitions = Array.from({ length: count }, () => emptyPartition())
    lives.push({ incarnation: `life-${lives.length + 1}`, partitions })
  }
  lives.push({ incarnation: 'life-1', partitions: startOffsets.map(emptyPartition) })

  function current(): Life {
    const life = lives.at(-1)
    if (life === undefined) throw new Error('the topic was never made')
    return life
  }
  function logOf(partition: number): PartitionLog {
    const log = current().partitions[partition]
    if (log === undefined) throw new Lost(`partition ${partition} does not exist`)
    return log
  }

  /** Appends after a gap of `gap` offsets, as transactions leave them; arrival never goes back within the partition. */
  function append(partition: number, key: string, value: Uint8Array, arrivalMs: number, gap: number): LogRecord {
    const log = logOf(partition)
    const offset = log.endOffset + gap
    const monotone = Math.max(arrivalMs, log.records.at(-1)?.arrivalMs ?? 0)
    const record = { topic: name, partition, offset, key, value, headers: {}, arrivalMs: monotone }
    log.records.push(record)
    log.endOffset = offset + 1
    return record
  }

  function bounds(partition: number): PartitionBounds {
    const { startOffset, endOffset } = logOf(partition)
    return { incarnation: current().incarnation, startOffset, endOffset }
  }

  /** A fetch as a consumer makes it: below the first retained record it begins there. */
  function batchAt(partition: number, from: number, count: number): Batch {
    const { records, startOffset, endOffset } = logOf(partition)
    const fetchedOffset = Math.max(from, startOffset)
    const first = records.findIndex(record => record.offset >= fetchedOffset)
    const part = first < 0 ? [] : records.slice(first, first + count)
    return {
      topic: name,
      incarnation: current().incarnation,
      partition,
      records: part,
      fetchedOffset,
      nextOffset: (part.at(-1)?.offset ?? fetchedOffset - 1) + 1,
      endOffset,
    }
  }

  const reportName = (partition: number | string, offset: number | string, value: Uint8Array): string =>
    `${partition}/${offset}/${Buffer.from(value).toString('latin1')}`

  /** The log as one process reaches it. */
  function port(network: Network, process: Process): EventLog {
    return {
      capabilities: { groupBalancing: true, survivesProcess: true },
      ensureTopics: () => Promise.reject(new Error('the simulation makes its topics itself')),
      deleteTopic: () => Promise.reject(new Error('the simulation deletes its topics itself')),
      describe: () => Promise.reject(new Error('nothing of the worker asks for it')),
      bounds: (_topic, partition) => network.call(process, 'bounds', () => bounds(partition)),
      append: list =>
        network.call(process, 'append', () => {
          for (const { headers = {}, value } of list) {
            const report = reportName(headers['hw-partition'] ?? '', headers['hw-offset'] ?? '', value)
            const named = late.get(report) ?? new Set()
            for (const entity of (headers['hw-late-for'] ?? '').split(',')) named.add(entity)
            late.set(report, named)
          }
          return list.map((_, offset) => ({ partition: 0, offset }))
        }),
      read: (_topic, partition, from, count) =>
        network.call(process, 'read log', () => batchAt(partition, from, count)),
      committed: () => Promise.resolve(null),
      consume: () => Promise.reject(new Error('the simulation drives its workers itself')),
      close: () => Promise.resolve(),
    }
  }

  return {
    name,
    lives,
    current,
    bounds,
    batchAt,
    append,
    port,
    /** Deletes the topic and makes it again. */
    recreate,
    grow: (): void => void current().partitions.push(emptyPartition()),
    /** Retention removes records up to and including an offset. */
    cutHead: (partition: number, upTo: number): void => {
      const log = logOf(partition)
      log.startOffset = Math.max(log.startOffset, upTo + 1)
    },
    /** The log loses its records from an offset on. */
    cutTail: (partition: number, from: number): void => {
      const log = logOf(partition)
      log.records = log.records.filter(record => record.offset < from)
      log.endOffset = Math.max(log.startOffset, (log.records.at(-1)?.offset ?? -1) + 1)
    },
    /** Whether a record was reported as late for entities of a type. */
    reportedLate: ({ partition, offset, value }: LogRecord, entity: string): boolean =>
      late.get(reportName(partition, offset, value))?.has(entity) === true,
  }
}
