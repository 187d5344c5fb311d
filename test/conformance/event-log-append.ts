import { beforeEach, describe, expect, it } from 'vitest'
import type { EventLog, NewRecord } from '../../topology/ports/event-log.ts'
import { bytes, fresh, names, numbered, recorder, text } from './event-log-harness.ts'
import type { EventLogContext, EventLogSubject } from './event-log-harness.ts'

/** Topics, appending and reading. */
export function appendConformance(context: EventLogContext): void {
  const { makeTopic, consume } = context
  let log: EventLog
  let subject: EventLogSubject
  beforeEach(() => {
    ;({ log, subject } = context)
  })

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

    it('refuses a topic that exists with fewer partitions, naming both numbers; one that grew is left as it is', async () => {
      const topic = await makeTopic(2)
      const refused = log.ensureTopics([{ name: topic, partitions: 5, retentionMs: 0 }])
      await expect(refused).rejects.toMatchObject({ name: 'PortError', code: 'TOPIC_MISMATCH' })
      await expect(refused).rejects.toThrow(new RegExp(`${topic}.*2.*5`))
      expect((await log.describe(topic))?.partitions).toBe(2)
      const [grown] = await log.ensureTopics([{ name: topic, partitions: 1, retentionMs: 0 }])
      expect(grown?.partitions).toBe(2)
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
}
