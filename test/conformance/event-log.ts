import { afterEach, beforeEach, describe, expect, it } from 'vitest'
import type {
  Batch,
  Consumer,
  ConsumerControl,
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

type Call =
  | { readonly kind: 'assigned'; readonly topic: string; readonly partition: number; readonly bounds: PartitionBounds }
  | { readonly kind: 'batch'; readonly batch: Batch }
  | { readonly kind: 'idle'; readonly partition: number; readonly endOffset: number }
  | { readonly kind: 'revoked'; readonly topic: string; readonly partition: number }

interface Recorder {
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

const bytes = (text: string): Uint8Array => new TextEncoder().encode(text)
const text = (record: LogRecord): string => new TextDecoder().decode(record.value)
const numbered = (topic: string, from: number, until: number, partition = 0): NewRecord[] =>
  Array.from({ length: until - from }, (_, i) => ({ topic, key: null, partition, value: bytes(`r${from + i}`) }))
const names = (from: number, until: number): string[] => Array.from({ length: until - from }, (_, i) => `r${from + i}`)

let counter = 0
function fresh(prefix: string): string {
  counter += 1
  return `${prefix}-${process.pid}-${Math.random().toString(36).slice(2, 10)}-${counter}`
}

function recorder(overrides: Partial<ConsumerHandlers> = {}): Recorder {
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

/** Everything the event-log port promises, for any adapter. */
export function eventLogConformance(name: string, factory: () => Promise<EventLogSubject>): void {
  describe(`event log: ${name}`, () => {
    let subject: EventLogSubject
    let log: EventLog
    let consumers: Consumer[]

    beforeEach(async () => {
      subject = await factory()
      log = subject.log
      consumers = []
    })
    afterEach(async () => {
      for (const consumer of consumers) await consumer.stop()
      await subject.cleanup()
    })

    const makeTopic = async (partitions = 1): Promise<string> => {
      const topic = fresh('topic')
      await log.ensureTopics([{ name: topic, partitions, retentionMs: 0 }])
      return topic
    }
    const consume = async (
      topics: readonly string[],
      seen: Recorder,
      options: { group?: string; maxBatchRecords?: number; maxBatchBytes?: number; on?: EventLog } = {},
    ): Promise<Consumer> => {
      const consumer = await (options.on ?? log).consume({
        group: options.group ?? fresh('group'),
        topics,
        maxBatchRecords: options.maxBatchRecords ?? 1000,
        maxBatchBytes: options.maxBatchBytes ?? 1_000_000,
        handlers: seen.handlers,
        onError: seen.onError,
      })
      consumers.push(consumer)
      return consumer
    }

    describe('topics', () => {
      it('makes absent topics, leaves present ones, and answers in argument order', async () => {
        const [a, b] = [fresh('topic'), fresh('topic')]
        const [first] = await log.ensureTopics([{ name: a, partitions: 3, retentionMs: 0 }])
        const both = await log.ensureTopics([
          { name: b, partitions: 1, retentionMs: 0 },
          { name: a, partitions: 3, retentionMs: 0 },
        ])
        expect(both.map(topic => [topic.name, topic.partitions])).toEqual([
          [b, 1],
          [a, 3],
        ])
        expect(both[1]).toEqual(first)
        expect(both[0]?.incarnation).not.toBe(first?.incarnation)
        expect(await log.describe(a)).toEqual(first)
      })

      it('refuses a topic that exists with another number of partitions, naming both numbers', async () => {
        const topic = await makeTopic(2)
        const refused = log.ensureTopics([{ name: topic, partitions: 5, retentionMs: 0 }])
        await expect(refused).rejects.toMatchObject({ name: 'PortError', code: 'TOPIC_MISMATCH' })
        await expect(refused).rejects.toThrow(new RegExp(`${topic}.*2.*5`))
        expect((await log.describe(topic))?.partitions).toBe(2)
      })

      it('describes an absent topic as null', async () => {
        expect(await log.describe(fresh('absent'))).toBeNull()
      })

      it('gives a topic made again another incarnation, offsets from 0 and no commits', async () => {
        const topic = await makeTopic()
        const group = fresh('group')
        await log.append(numbered(topic, 0, 5))
        const seen = recorder({ batch: async (batch, control) => control.commit(topic, 0, batch.nextOffset) })
        const consumer = await consume([topic], seen, { group })
        await seen.until(() => seen.texts().length === 5)
        await consumer.stop()
        expect(await log.committed(group, topic, 0)).toBe(5)
        const before = await log.bounds(topic, 0)
        await log.deleteTopic(topic)
        expect(await log.describe(topic)).toBeNull()
        await log.ensureTopics([{ name: topic, partitions: 1, retentionMs: 0 }])
        const after = await log.bounds(topic, 0)
        expect(after).toMatchObject({ startOffset: 0, endOffset: 0 })
        expect(after.incarnation).not.toBe(before.incarnation)
        expect(await log.committed(group, topic, 0)).toBeNull()
        expect((await log.read(topic, 0, 0, 10)).records).toEqual([])
        expect(await log.append(numbered(topic, 0, 1))).toEqual([{ partition: 0, offset: 0 }])
      })
    })

    describe('append and read', () => {
      it('numbers each partition from 0 without gaps and answers positions in argument order', async () => {
        const topic = await makeTopic(2)
        const mixed = [...numbered(topic, 0, 2, 1), ...numbered(topic, 2, 3, 0), ...numbered(topic, 3, 5, 1)]
        expect(await log.append(mixed)).toEqual([
          { partition: 1, offset: 0 },
          { partition: 1, offset: 1 },
          { partition: 0, offset: 0 },
          { partition: 1, offset: 2 },
          { partition: 1, offset: 3 },
        ])
        expect(await log.append(numbered(topic, 5, 6, 1))).toEqual([{ partition: 1, offset: 4 }])
        const batch = await log.read(topic, 1, 0, 100)
        expect(batch.records.map(record => record.offset)).toEqual([0, 1, 2, 3, 4])
        expect(batch.records.map(text)).toEqual(['r0', 'r1', 'r3', 'r4', 'r5'])
        expect(batch).toMatchObject({ topic, partition: 1, nextOffset: 5, endOffset: 5 })
        expect(batch.incarnation).toBe((await log.describe(topic))?.incarnation)
        expect(await log.bounds(topic, 1)).toEqual({ incarnation: batch.incarnation, startOffset: 0, endOffset: 5 })
      })

      it('keeps the order of appends that are under way at the same time', async () => {
        const topic = await makeTopic()
        const positions = await Promise.all(names(0, 50).map((_, i) => log.append(numbered(topic, i, i + 1))))
        expect(positions.flat().map(position => position.offset)).toEqual(names(0, 50).map((_, i) => i))
        expect((await log.read(topic, 0, 0, 100)).records.map(text)).toEqual(names(0, 50))
      })

      it('answers an empty append with no positions', async () => {
        expect(await log.append([])).toEqual([])
      })

      it("places keys as Kafka's default partitioner does", async () => {
        const topic = await makeTopic(7)
        // murmur2 as published by Kafka's own tests (UtilsTest.testMurmur2) and by the Java-compatible partitioner of kafkajs 2.
        const vectors: Readonly<Record<string, number>> = {
          '21': -973932308,
          foobar: -790332482,
          'a-little-bit-long-string': -985981536,
          'a-little-bit-longer-string': -1486304829,
          lkjh234lh9fiuh90y23oiuhsafujhadof229phr9h19h89h8: -58897971,
          abc: 479470107,
          '0': 971027396,
          '128': -326012175,
          '78125': -1654490814,
        }
        const keys = Object.keys(vectors)
        const positions = await log.append(keys.map(key => ({ topic, key, value: bytes(key) })))
        expect(positions.map(position => position.partition)).toEqual(
          keys.map(key => ((vectors[key] ?? 0) & 0x7fffffff) % 7),
        )
      })

      it('keeps one key in one partition, also a key of many scripts and an empty one', async () => {
        const topic = await makeTopic(5)
        for (const key of ['', 'ключ', '鍵🔑', 'e\u0301', 'a\u0000b', '\ufeffbom']) {
          const [first, again] = await log.append([
            { topic, key, value: bytes('1') },
            { topic, key, value: bytes('2') },
          ])
          expect(again?.partition).toBe(first?.partition)
          const batch = await log.read(topic, first?.partition ?? 0, first?.offset ?? 0, 2)
          expect(batch.records.map(record => record.key)).toEqual([key, key])
        }
      })

      it('lets a stated partition win over the key, and tells a null key from an empty one', async () => {
        const topic = await makeTopic(4)
        await log.append([
          { topic, key: 'abc', partition: 2, value: bytes('a') },
          { topic, key: null, partition: 2, value: bytes('b') },
          { topic, key: '', partition: 2, value: bytes('c') },
        ])
        expect((await log.read(topic, 2, 0, 10)).records.map(record => record.key)).toEqual(['abc', null, ''])
      })

      it('refuses a record with neither key nor partition and one for a partition that is not there', async () => {
        const topic = await makeTopic(2)
        await expect(log.append([{ topic, key: null, value: bytes('x') }])).rejects.toThrow(topic)
        await expect(log.append(numbered(topic, 0, 1, 2))).rejects.toMatchObject({ code: 'TOPIC_MISMATCH' })
        await expect(log.read(topic, 2, 0, 1)).rejects.toMatchObject({ code: 'TOPIC_MISMATCH' })
        expect(await log.bounds(topic, 0)).toMatchObject({ endOffset: 0 })
      })

      it('keeps values and headers byte for byte, empty ones too', async () => {
        const topic = await makeTopic()
        const all = Uint8Array.from({ length: 256 }, (_, i) => i)
        const headers = { arrival: '12', name: 'Zoë 🔑', empty: '' }
        await log.append([
          { topic, key: 'k', partition: 0, value: all, headers },
          { topic, key: 'k', partition: 0, value: new Uint8Array(0) },
        ])
        const [first, second] = (await log.read(topic, 0, 0, 10)).records
        expect(Buffer.from(first?.value ?? []).equals(all)).toBe(true)
        expect(first?.headers).toEqual(headers)
        expect(second?.value.length).toBe(0)
        expect(second?.headers).toEqual({})
      })

      it('gives records without an arrival the time of the append', async () => {
        const topic = await makeTopic()
        await log.append(numbered(topic, 0, 2))
        const arrivals = (await log.read(topic, 0, 0, 10)).records.map(record => record.arrivalMs)
        if (subject.nowMs !== null) expect(arrivals).toEqual([subject.nowMs(), subject.nowMs()])
        expect(arrivals.every(arrivalMs => Number.isSafeInteger(arrivalMs))).toBe(true)
        expect(arrivals[1]).toBeGreaterThanOrEqual(arrivals[0] ?? NaN)
      })

      it('stores the running maximum of stated arrivals, per partition and across appends', async () => {
        const topic = await makeTopic(2)
        const arriving = (partition: number, arrivalMs: number): NewRecord => ({
          topic,
          key: null,
          partition,
          value: bytes(String(arrivalMs)),
          arrivalMs,
        })
        await log.append([arriving(0, 100), arriving(0, 50), arriving(1, 70), arriving(0, 200)])
        await log.append([arriving(0, 150), arriving(1, 60), arriving(0, 201)])
        const arrivals = async (partition: number): Promise<number[]> =>
          (await log.read(topic, partition, 0, 10)).records.map(record => record.arrivalMs)
        expect(await arrivals(0)).toEqual([100, 100, 200, 200, 201])
        expect(await arrivals(1)).toEqual([70, 70])
      })

      it('reads from any offset, bounded, and past the end as empty', async () => {
        const topic = await makeTopic()
        await log.append(numbered(topic, 0, 2500))
        const part = await log.read(topic, 0, 1234, 3)
        expect(part.records.map(text)).toEqual(names(1234, 1237))
        expect(part).toMatchObject({ nextOffset: 1237, endOffset: 2500 })
        const last = await log.read(topic, 0, 2499, 10)
        expect(last.records.map(text)).toEqual(['r2499'])
        expect(await log.read(topic, 0, 2500, 10)).toMatchObject({ records: [], nextOffset: 2500, endOffset: 2500 })
      })

      it('accepts a record of exactly the largest size and refuses one byte more, naming size and limit', async () => {
        const topic = await makeTopic()
        const largest = new Uint8Array(subject.maxRecordBytes).fill(7)
        await log.append([{ topic, key: null, partition: 0, value: largest }])
        const tooLarge = log.append([{ topic, key: 'k', partition: 0, value: largest }])
        await expect(tooLarge).rejects.toMatchObject({ name: 'PortError', code: 'RECORD_TOO_LARGE' })
        await expect(tooLarge).rejects.toThrow(new RegExp(`${subject.maxRecordBytes + 1}.*${subject.maxRecordBytes}`))
        const { records, endOffset } = await log.read(topic, 0, 0, 10)
        expect(endOffset).toBe(1)
        expect(records[0]?.value.every(byte => byte === 7)).toBe(true)
      })

      it('fails for unknown topics with UNKNOWN_TOPIC and leaves appends beside it alone', async () => {
        const topic = await makeTopic()
        const absent = fresh('absent')
        const [refused, accepted] = await Promise.allSettled([
          log.append(numbered(absent, 0, 1)),
          log.append(numbered(topic, 0, 1)),
        ])
        expect(refused).toMatchObject({ status: 'rejected', reason: { name: 'PortError', code: 'UNKNOWN_TOPIC' } })
        expect(accepted).toMatchObject({ status: 'fulfilled', value: [{ partition: 0, offset: 0 }] })
        await expect(log.bounds(absent, 0)).rejects.toMatchObject({ code: 'UNKNOWN_TOPIC' })
        await expect(log.read(absent, 0, 0, 1)).rejects.toMatchObject({ code: 'UNKNOWN_TOPIC' })
        await expect(consume([absent], recorder())).rejects.toMatchObject({ code: 'UNKNOWN_TOPIC' })
      })

      it('is one log through two handles', async () => {
        const topic = await makeTopic(2)
        const other = await subject.second()
        await Promise.all([
          ...names(0, 20).map((_, i) => log.append(numbered(topic, i, i + 1))),
          ...names(0, 20).map((_, i) => other.append(numbered(topic, 100 + i, 101 + i))),
        ])
        const records = (await other.read(topic, 0, 0, 100)).records
        expect(records.map(record => record.offset)).toEqual(names(0, 40).map((_, i) => i))
        const texts = records.map(text)
        expect(texts.filter(one => one.length < 4)).toEqual(names(0, 20))
        expect(texts.filter(one => one.length === 4)).toEqual(names(100, 120))
        expect(await other.describe(topic)).toEqual(await log.describe(topic))
      })
    })

    describe('consume', () => {
      it('assigns every partition before its first batch and hands over each record once, in order', async () => {
        const topic = await makeTopic(3)
        for (let partition = 0; partition < 3; partition += 1) await log.append(numbered(topic, 0, 30, partition))
        const seen = recorder()
        await consume([topic], seen, { maxBatchRecords: 7 })
        await seen.until(() => seen.texts().length === 90)
        for (let partition = 0; partition < 3; partition += 1) {
          const mine = seen.calls.filter(
            call =>
              (call.kind === 'assigned' && call.partition === partition) ||
              (call.kind === 'batch' && call.batch.partition === partition),
          )
          expect(mine[0]?.kind).toBe('assigned')
          expect(mine.filter(call => call.kind === 'assigned')).toHaveLength(1)
          const records = seen.batches().flatMap(batch => (batch.partition === partition ? batch.records : []))
          expect(records.map(record => record.offset)).toEqual(names(0, 30).map((_, i) => i))
          expect(records.map(text)).toEqual(names(0, 30))
        }
        expect(seen.errors).toEqual([])
        const assigned = seen.calls.find(call => call.kind === 'assigned')
        expect(assigned?.bounds).toEqual(await log.bounds(topic, assigned?.partition ?? 0))
      })

      it('consumes several topics and says which one a batch is from', async () => {
        const [a, b] = [await makeTopic(), await makeTopic()]
        await log.append([...numbered(a, 0, 3), ...numbered(b, 10, 13)])
        const seen = recorder()
        await consume([a, b], seen)
        await seen.until(() => seen.texts().length === 6)
        const of = (topic: string): string[] =>
          seen.batches().flatMap(batch => (batch.topic === topic ? batch.records.map(text) : []))
        expect(of(a)).toEqual(names(0, 3))
        expect(of(b)).toEqual(names(10, 13))
      })

      it('bounds batches by records', async () => {
        const topic = await makeTopic()
        await log.append(numbered(topic, 0, 25))
        const seen = recorder()
        await consume([topic], seen, { maxBatchRecords: 10 })
        await seen.until(() => seen.texts().length === 25)
        for (const batch of seen.batches()) {
          expect(batch.records.length).toBeGreaterThan(0)
          expect(batch.records.length).toBeLessThanOrEqual(10)
          expect(batch.nextOffset).toBe((batch.records.at(-1)?.offset ?? NaN) + 1)
          expect(batch.endOffset).toBe(25)
        }
      })

      it('bounds batches by bytes, with at least one record', async () => {
        const topic = await makeTopic()
        const sizes = [400, 400, 400, 5000, 100, 100, 3000, 900]
        await log.append(sizes.map(size => ({ topic, key: null, partition: 0, value: new Uint8Array(size) })))
        const seen = recorder()
        await consume([topic], seen, { maxBatchBytes: 1000 })
        await seen.until(() => seen.texts().length === sizes.length)
        expect(seen.batches().flatMap(batch => batch.records.map(record => record.value.length))).toEqual(sizes)
        for (const { records } of seen.batches()) {
          const total = records.reduce((sum, record) => sum + record.value.length, 0)
          expect(records.length === 1 || total <= 1000).toBe(true)
        }
      })

      it('hands over records appended while it waits, also those of another handle', async () => {
        const topic = await makeTopic()
        const seen = recorder()
        await consume([topic], seen)
        await seen.until(() => seen.calls.some(call => call.kind === 'idle'))
        await log.append(numbered(topic, 0, 2))
        await seen.until(() => seen.texts().length === 2)
        const other = await subject.second()
        await other.append(numbered(topic, 2, 4))
        await seen.until(() => seen.texts().length === 4)
        expect(seen.texts()).toEqual(names(0, 4))
      })

      it('calls idle again and again only where nothing is left, with the end offset', async () => {
        const topic = await makeTopic(2)
        await log.append(numbered(topic, 0, 3, 1))
        const seen = recorder()
        await consume([topic], seen)
        const idles = (partition: number): Call[] =>
          seen.calls.filter(call => call.kind === 'idle' && call.partition === partition)
        await seen.until(() => idles(0).length >= 2 && idles(1).length >= 2)
        expect(idles(0)[0]).toMatchObject({ endOffset: 0 })
        expect(idles(1)[0]).toMatchObject({ endOffset: 3 })
        const firstIdle = seen.calls.findIndex(call => call.kind === 'idle' && call.partition === 1)
        const batchAt = seen.calls.findIndex(call => call.kind === 'batch')
        expect(batchAt).toBeGreaterThanOrEqual(0)
        expect(firstIdle).toBeGreaterThan(batchAt)
      })

      it('never runs two handlers of one partition at a time', async () => {
        const topic = await makeTopic(2)
        await log.append([...numbered(topic, 0, 20, 0), ...numbered(topic, 0, 20, 1)])
        const running = new Map<number, number>()
        let overlaps = 0
        const alone = async (partition: number): Promise<void> => {
          running.set(partition, (running.get(partition) ?? 0) + 1)
          if ((running.get(partition) ?? 0) > 1) overlaps += 1
          await new Promise(resolve => setTimeout(resolve, 2))
          running.set(partition, (running.get(partition) ?? 0) - 1)
        }
        const seen = recorder({
          batch: async batch => alone(batch.partition),
          idle: async (_topic, partition) => alone(partition),
        })
        await consume([topic], seen, { maxBatchRecords: 3 })
        await seen.until(() => seen.texts().length === 40 && seen.calls.some(call => call.kind === 'idle'))
        expect(overlaps).toBe(0)
      })

      it('starts where `assigned` says', async () => {
        const topic = await makeTopic()
        await log.append(numbered(topic, 0, 10))
        const seen = recorder({ assigned: async () => 6 })
        await consume([topic], seen)
        await seen.until(() => seen.texts().length === 4)
        expect(seen.texts()).toEqual(names(6, 10))
      })

      it('resumes at the committed offset, by group and partition', async () => {
        const topic = await makeTopic(2)
        await log.append([...numbered(topic, 0, 10, 0), ...numbered(topic, 0, 10, 1)])
        const group = fresh('group')
        expect(await log.committed(group, topic, 0)).toBeNull()
        const first = recorder({
          batch: async (batch, control) => {
            if (batch.partition === 0) await control.commit(topic, 0, 4)
          },
        })
        const consumer = await consume([topic], first, { group })
        await first.until(() => first.texts().length === 20)
        await consumer.stop()
        expect(await log.committed(group, topic, 0)).toBe(4)
        expect(await log.committed(group, topic, 1)).toBeNull()
        expect(await log.committed(fresh('group'), topic, 0)).toBeNull()
        const second = recorder()
        await consume([topic], second, { group })
        await second.until(() => second.texts().length === 16)
        const of = (partition: number): string[] =>
          second.batches().flatMap(batch => (batch.partition === partition ? batch.records.map(text) : []))
        expect(of(0)).toEqual(names(4, 10))
        expect(of(1)).toEqual(names(0, 10))
      })

      it('commits nothing by itself', async () => {
        const topic = await makeTopic()
        await log.append(numbered(topic, 0, 3))
        const group = fresh('group')
        const seen = recorder()
        const consumer = await consume([topic], seen, { group })
        await seen.until(() => seen.texts().length === 3)
        await consumer.stop()
        expect(await log.committed(group, topic, 0)).toBeNull()
      })

      it('lets a commit stand lower than the one before it', async () => {
        const topic = await makeTopic()
        await log.append(numbered(topic, 0, 3))
        const group = fresh('group')
        const seen = recorder({
          batch: async (_batch, control) => {
            await control.commit(topic, 0, 3)
            await control.commit(topic, 0, 1)
          },
        })
        await consume([topic], seen, { group })
        await seen.until(() => seen.texts().length === 3)
        expect(await log.committed(group, topic, 0)).toBe(1)
      })

      it('obeys a seek with the next batch, back and forth', async () => {
        const topic = await makeTopic()
        await log.append(numbered(topic, 0, 10))
        let batches = 0
        const seen = recorder({
          batch: async (_batch, control) => {
            batches += 1
            if (batches === 1) control.seek(topic, 0, 7)
            if (batches === 2) control.seek(topic, 0, 1)
            if (batches === 3) control.seek(topic, 0, 9)
          },
        })
        await consume([topic], seen, { maxBatchRecords: 2 })
        await seen.until(() => seen.batches().length === 4)
        expect(seen.texts()).toEqual(['r0', 'r1', 'r7', 'r8', 'r1', 'r2', 'r9'])
      })

      it('obeys a seek made while it is idle', async () => {
        const topic = await makeTopic()
        await log.append(numbered(topic, 0, 4))
        let sought = false
        const seen = recorder({
          idle: async (_topic, _partition, _end, control) => {
            if (!sought) control.seek(topic, 0, 2)
            sought = true
          },
        })
        await consume([topic], seen)
        await seen.until(() => seen.texts().length === 6)
        expect(seen.texts()).toEqual([...names(0, 4), 'r2', 'r3'])
      })

      it('holds a paused partition back while others go on, and continues without loss', async () => {
        const topic = await makeTopic(2)
        await log.append([...numbered(topic, 0, 6, 0), ...numbered(topic, 0, 6, 1)])
        let control: ConsumerControl | undefined
        const seen = recorder({
          batch: async (batch, given) => {
            control = given
            if (batch.partition === 0 && batch.nextOffset === 2) given.pause(topic, 0)
          },
        })
        await consume([topic], seen, { maxBatchRecords: 2 })
        const of = (partition: number): string[] =>
          seen.batches().flatMap(batch => (batch.partition === partition ? batch.records.map(text) : []))
        const idleHere = (): number => seen.calls.filter(call => call.kind === 'idle' && call.partition === 1).length
        await seen.until(() => of(1).length === 6 && of(0).length === 2 && idleHere() >= 3)
        expect(of(0)).toEqual(names(0, 2))
        expect(seen.calls.some(call => call.kind === 'idle' && call.partition === 0)).toBe(false)
        control?.resume(topic, 0)
        await seen.until(() => of(0).length === 6)
        expect(of(0)).toEqual(names(0, 6))
      })

      it('reports a handler that throws and retries the batch, in order, skipping nothing', async () => {
        const topic = await makeTopic(2)
        await log.append([...numbered(topic, 0, 9, 0), ...numbered(topic, 100, 103, 1)])
        const attempts: string[][] = []
        const seen = recorder({
          batch: async batch => {
            if (batch.partition !== 0) return
            attempts.push(batch.records.map(text))
            if (attempts.length >= 2 && attempts.length <= 4) throw new Error(`refused ${attempts.length}`)
          },
        })
        await consume([topic], seen, { maxBatchRecords: 3 })
        await seen.until(() => seen.texts().length === 12)
        const of = (partition: number): string[] =>
          seen.batches().flatMap(batch => (batch.partition === partition ? batch.records.map(text) : []))
        expect(of(0)).toEqual(names(0, 9))
        expect(of(1)).toEqual(names(100, 103))
        expect(attempts.map(texts => texts[0])).toEqual(['r0', 'r3', 'r3', 'r3', 'r3', 'r6'])
        expect(seen.errors.map(error => error.message)).toEqual(['refused 2', 'refused 3', 'refused 4'])
      })

      it('retries an `assigned` that throws before any batch', async () => {
        const topic = await makeTopic()
        await log.append(numbered(topic, 0, 2))
        let tries = 0
        const seen = recorder({
          assigned: async () => {
            tries += 1
            if (tries < 3) throw new Error(`not yet ${tries}`)
            return 1
          },
        })
        await consume([topic], seen)
        await seen.until(() => seen.texts().length === 1)
        expect(seen.texts()).toEqual(['r1'])
        expect(seen.errors.map(error => error.message)).toEqual(['not yet 1', 'not yet 2'])
      })

      it('waits in stop for the handler that runs, and calls none after it', async () => {
        const topic = await makeTopic()
        await log.append(numbered(topic, 0, 10))
        let entered = (): void => {}
        const inside = new Promise<void>(resolve => (entered = resolve))
        let leave = (): void => {}
        const gate = new Promise<void>(resolve => (leave = resolve))
        let left = false
        const seen = recorder({
          batch: async () => {
            entered()
            await gate
            left = true
          },
        })
        const consumer = await consume([topic], seen, { maxBatchRecords: 1 })
        await inside
        let stopped = false
        const stopping = consumer.stop().then(() => (stopped = true))
        await new Promise(resolve => setTimeout(resolve, 30))
        expect(stopped).toBe(false)
        leave()
        await stopping
        expect(left).toBe(true)
        const calls = seen.calls.length
        expect(seen.texts()).toEqual(['r0'])
        await log.append(numbered(topic, 10, 12))
        await new Promise(resolve => setTimeout(resolve, 60))
        expect(seen.calls.length).toBe(calls)
        await consumer.stop()
      })

      it('revokes the partitions of a topic that was deleted and assigns those of its next life', async () => {
        const topic = await makeTopic()
        await log.append(numbered(topic, 0, 5))
        const group = fresh('group')
        const seen = recorder({ batch: async (batch, control) => control.commit(topic, 0, batch.nextOffset) })
        await consume([topic], seen, { group })
        await seen.until(() => seen.texts().length === 5)
        const before = await log.describe(topic)
        await log.deleteTopic(topic)
        await log.ensureTopics([{ name: topic, partitions: 2, retentionMs: 0 }])
        await log.append([...numbered(topic, 50, 52, 0), ...numbered(topic, 60, 62, 1)])
        await seen.until(() => seen.texts().length === 9)
        const after = await log.describe(topic)
        const kinds = seen.calls.flatMap(call => (call.kind === 'idle' ? [] : [call.kind]))
        expect(kinds.indexOf('revoked')).toBeGreaterThan(kinds.indexOf('batch'))
        expect(kinds.indexOf('revoked')).toBeLessThan(kinds.lastIndexOf('assigned'))
        expect(kinds.filter(kind => kind === 'revoked')).toHaveLength(1)
        const lives = seen.calls.flatMap(call => (call.kind === 'assigned' ? [call.bounds.incarnation] : []))
        expect(lives).toEqual([before?.incarnation, after?.incarnation, after?.incarnation])
        expect(seen.texts().slice(5).sort()).toEqual(['r50', 'r51', 'r60', 'r61'])
        expect(seen.batches().at(-1)?.incarnation).toBe(after?.incarnation)
        expect(await log.committed(group, topic, 0)).toBe(2)
      })

      it('shares or does not share partitions within a group, as it declares', async () => {
        const topic = await makeTopic(4)
        const group = fresh('group')
        const [one, two] = [recorder(), recorder()]
        await consume([topic], one, { group })
        await consume([topic], two, { group, on: await subject.second() })
        const parts = (seen: Recorder): number[] => [...new Set(seen.batches().map(batch => batch.partition))].sort()
        const settled = (): boolean =>
          log.capabilities.groupBalancing
            ? parts(one).length > 0 && parts(two).length > 0 && parts(one).length + parts(two).length === 4
            : parts(one).length === 4 && parts(two).length === 4
        for (let round = 0; round < 200 && !settled(); round += 1) {
          await log.append([0, 1, 2, 3].flatMap(partition => numbered(topic, round, round + 1, partition)))
          await new Promise(resolve => setTimeout(resolve, 50))
          if (log.capabilities.groupBalancing && !settled() && round % 20 === 19) {
            one.calls.length = 0
            two.calls.length = 0
          }
        }
        expect(settled()).toBe(true)
      })

      it('gives different groups all records each', async () => {
        const topic = await makeTopic()
        await log.append(numbered(topic, 0, 5))
        const [one, two] = [recorder(), recorder()]
        await consume([topic], one)
        await consume([topic], two)
        await one.until(() => one.texts().length === 5)
        await two.until(() => two.texts().length === 5)
        expect(one.texts()).toEqual(two.texts())
      })
    })

    describe('life', () => {
      it('keeps topics, records, arrivals and commits when opened again, where it declares so', async () => {
        const topic = await makeTopic()
        const group = fresh('group')
        await log.append([{ topic, key: 'k', value: bytes('v'), headers: { a: 'b' }, arrivalMs: 5_000_000_000_000 }])
        const seen = recorder({ batch: async (_batch, control) => control.commit(topic, 0, 1) })
        const consumer = await consume([topic], seen, { group })
        await seen.until(() => seen.texts().length === 1)
        await consumer.stop()
        const before = await log.describe(topic)
        const again = await subject.reopen()
        if (!again.capabilities.survivesProcess) {
          expect(await again.describe(topic)).toBeNull()
          return
        }
        expect(await again.describe(topic)).toEqual(before)
        expect(await again.committed(group, topic, 0)).toBe(1)
        await again.append(numbered(topic, 1, 2))
        const { records } = await again.read(topic, 0, 0, 10)
        expect(records.map(record => [record.offset, record.key, text(record), record.arrivalMs])).toEqual([
          [0, 'k', 'v', 5_000_000_000_000],
          [1, null, 'r1', 5_000_000_000_000],
        ])
        expect(records[0]?.headers).toEqual({ a: 'b' })
      })

      it('refuses every call after close with CLOSED, and closes twice', async () => {
        const topic = await makeTopic()
        const seen = recorder()
        await consume([topic], seen)
        await log.close()
        await log.close()
        const closed = { name: 'PortError', code: 'CLOSED' }
        await expect(log.append(numbered(topic, 0, 1))).rejects.toMatchObject(closed)
        await expect(log.append([])).rejects.toMatchObject(closed)
        await expect(log.read(topic, 0, 0, 1)).rejects.toMatchObject(closed)
        await expect(log.bounds(topic, 0)).rejects.toMatchObject(closed)
        await expect(log.describe(topic)).rejects.toMatchObject(closed)
        await expect(log.committed('g', topic, 0)).rejects.toMatchObject(closed)
        await expect(log.ensureTopics([])).rejects.toMatchObject(closed)
        await expect(log.deleteTopic(topic)).rejects.toMatchObject(closed)
        await expect(consume([topic], recorder())).rejects.toMatchObject(closed)
      })

      it('writes what was appended before close', async () => {
        const topic = await makeTopic()
        const appending = log.append(numbered(topic, 0, 3))
        await log.close()
        expect(await appending).toHaveLength(3)
      })
    })
  })
}
