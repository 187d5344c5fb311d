import { beforeEach, describe, expect, it } from 'vitest'
import type { ConsumerControl, EventLog } from '../../topology/ports/event-log.ts'
import { fresh, names, numbered, recorder, text } from './event-log-harness.ts'
import type { Call, EventLogContext, EventLogSubject, Recorder } from './event-log-harness.ts'

/** Consuming in groups. */
export function consumeConformance(context: EventLogContext): void {
  const { makeTopic, consume } = context
  let log: EventLog
  let subject: EventLogSubject
  beforeEach(() => {
    ;({ log, subject } = context)
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

    it('waits in stop for the handler that runs, revokes its partitions, and calls none after it', async () => {
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
      expect(seen.calls.at(-1)).toMatchObject({ kind: 'revoked', topic })
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
}
