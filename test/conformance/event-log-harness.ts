import { afterEach, beforeEach } from 'vitest'
import type {
  Batch,
  Consumer,
  ConsumerHandlers,
  EventLog,
  LogRecord,
  NewRecord,
  PartitionBounds,
} from '../../topology/ports/event-log.ts'

/** One log under test. Topics and groups get fresh names, so one server can serve every test. */
export interface EventLogSubject {
  readonly log: EventLog
  /** The largest record, key and headers included, that the log under test accepts. */
  readonly maxRecordBytes: number
  /** What the log takes for the time of an append; null where it has a clock of its own. */
  readonly nowMs: (() => number) | null
  /** Another handle on the same log; closed by `cleanup`. */
  second(): Promise<EventLog>
  /** Closes `log` and opens the same log again, as a new process would; closed by `cleanup`. */
  reopen(): Promise<EventLog>
  cleanup(): Promise<void>
}

/** One call of a handler, recorded after it returned. */
export type Call =
  | { readonly kind: 'assigned'; readonly topic: string; readonly partition: number; readonly bounds: PartitionBounds }
  | { readonly kind: 'batch'; readonly batch: Batch }
  | { readonly kind: 'idle'; readonly partition: number; readonly endOffset: number }
  | { readonly kind: 'revoked'; readonly topic: string; readonly partition: number }

/** Handlers that record their calls. */
export interface Recorder {
  readonly calls: Call[]
  readonly errors: Error[]
  readonly handlers: ConsumerHandlers
  /** Resolves as soon as the condition holds after some call. */
  until(condition: () => boolean): Promise<void>
  /** Texts of all records handed over, in order of the calls. */
  texts(): string[]
  batches(): Batch[]
  readonly onError: (error: Error) => void
  changed(): void
}

/** Bytes of a text, and back; records `r0`, `r1`, … and their texts. */
export const bytes = (text: string): Uint8Array => new TextEncoder().encode(text)
export const text = (record: LogRecord): string => new TextDecoder().decode(record.value)
export const numbered = (topic: string, from: number, until: number, partition = 0): NewRecord[] =>
  Array.from({ length: until - from }, (_, i) => ({ topic, key: null, partition, value: bytes(`r${from + i}`) }))
export const names = (from: number, until: number): string[] =>
  Array.from({ length: until - from }, (_, i) => `r${from + i}`)

let counter = 0
/** A name that no other test of the run uses. */
export function fresh(prefix: string): string {
  counter += 1
  return `${prefix}-${process.pid}-${counter}`
}

/** Makes recording handlers; `overrides` run first and may throw. */
export function recorder(overrides: Partial<ConsumerHandlers> = {}): Recorder {
  const calls: Call[] = []
  const errors: Error[] = []
  const waiters = new Set<() => void>()
  const changed = (): void => {
    for (const waiter of waiters) waiter()
  }
  const record = (call: Call): void => {
    calls.push(call)
    changed()
  }
  const batches = (): Batch[] => calls.flatMap(call => (call.kind === 'batch' ? [call.batch] : []))
  return {
    calls,
    errors,
    batches,
    changed,
    texts: () => batches().flatMap(batch => batch.records.map(text)),
    onError: error => {
      errors.push(error)
      changed()
    },
    until: condition =>
      new Promise(resolve => {
        const check = (): void => {
          if (!condition()) return
          waiters.delete(check)
          resolve()
        }
        waiters.add(check)
        check()
      }),
    handlers: {
      assigned: async (topic, partition, bounds) => {
        const start = (await overrides.assigned?.(topic, partition, bounds)) ?? null
        record({ kind: 'assigned', topic, partition, bounds })
        return start
      },
      batch: async (batch, control) => {
        await overrides.batch?.(batch, control)
        record({ kind: 'batch', batch })
      },
      idle: async (topic, partition, endOffset, control) => {
        await overrides.idle?.(topic, partition, endOffset, control)
        record({ kind: 'idle', partition, endOffset })
      },
      revoked: async (topic, partition) => {
        await overrides.revoked?.(topic, partition)
        record({ kind: 'revoked', topic, partition })
      },
    },
  }
}

/** What every test starts from: a fresh subject, and consumers that are stopped at its end. */
export interface EventLogContext {
  readonly subject: EventLogSubject
  readonly log: EventLog
  makeTopic(partitions?: number): Promise<string>
  consume(
    topics: readonly string[],
    seen: Recorder,
    options?: { group?: string; maxBatchRecords?: number; maxBatchBytes?: number; on?: EventLog },
  ): Promise<Consumer>
}

/** Registers the set-up and tear-down of the surrounding `describe`. */
export function eventLogContext(factory: () => Promise<EventLogSubject>): EventLogContext {
  let subject: EventLogSubject
  let consumers: Consumer[] = []
  beforeEach(async () => {
    subject = await factory()
    consumers = []
  })
  afterEach(async () => {
    for (const consumer of consumers) await consumer.stop()
    await subject.cleanup()
  })
  return {
    get subject() {
      return subject
    },
    get log() {
      return subject.log
    },
    makeTopic: async (partitions = 1) => {
      const topic = fresh('topic')
      await subject.log.ensureTopics([{ name: topic, partitions, retentionMs: 0 }])
      return topic
    },
    consume: async (topics, seen, options = {}) => {
      const consumer = await (options.on ?? subject.log).consume({
        group: options.group ?? fresh('group'),
        topics,
        maxBatchRecords: options.maxBatchRecords ?? 1000,
        maxBatchBytes: options.maxBatchBytes ?? 1_000_000,
        handlers: seen.handlers,
        onError: seen.onError,
      })
      consumers.push(consumer)
      return consumer
    },
  }
}
