import { readFileSync } from 'node:fs'
import { afterEach, describe, expect, it } from 'vitest'
import { CODEC_IDS, pack, unpack } from '../../topology/adapters/event-log/kafka/codecs.ts'
import type { Compression } from '../../topology/adapters/event-log/kafka/codecs.ts'
import type { KafkaEventLogOptions } from '../../topology/adapters/event-log/kafka/kafka.ts'
import type { EventLog, NewRecord } from '../../topology/ports/event-log.ts'
import { describeWithKafka } from '../servers.ts'
import { bytes, fresh, numbered, recorder, text } from './event-log-harness.ts'
import { openLog, withAdmin } from './event-log-kafka-harness.ts'

const CODECS = Object.keys(CODEC_IDS) as Compression[]

describe('codecs', () => {
  it.each(CODECS)('%s gives back what it packed, empty and large alike', codec => {
    for (const plain of [
      Buffer.alloc(0),
      Buffer.from('a'),
      Buffer.alloc(1_000_000, 'abcdefghij'),
      randomish(300_000),
    ]) {
      expect(unpack(CODEC_IDS[codec], pack(codec, plain)).equals(plain)).toBe(true)
    }
  })

  it('reads snappy without framing, as librdkafka writes it', () => {
    const raw = Buffer.from([5, 0x10, ...bytes('hello')])
    expect(unpack(CODEC_IDS.snappy, raw).toString()).toBe('hello')
  })

  it('refuses a codec that Kafka does not have', () => {
    expect(() => unpack(7, Buffer.alloc(1))).toThrow(/Codec 7/)
  })
})

/** Bytes that do not compress, the same each time. */
function randomish(length: number): Buffer {
  const out = Buffer.alloc(length)
  let state = 1
  for (let i = 0; i < length; i += 1) {
    state = (Math.imul(state, 1_103_515_245) + 12_345) >>> 0
    out[i] = state >>> 24
  }
  return out
}

const logs: EventLog[] = []
afterEach(async () => {
  await Promise.all(logs.splice(0).map(log => log.close()))
})

async function open(brokers: readonly string[], options: Partial<KafkaEventLogOptions>): Promise<EventLog> {
  const log = await openLog(brokers, options)
  logs.push(log)
  return log
}

describeWithKafka('event log on Kafka: codecs', servers => {
  // A topic with a codec of its own makes the broker unpack what it gets and pack it again: Kafka's Java code reads
  // what this adapter wrote with one codec, and this adapter reads what the Java code wrote with the other.
  it.each(CODECS)('what is written with %s is read by Kafka, and what Kafka packs anew is read here', async codec => {
    const { bootstrap } = await servers.start()
    const log = await open(bootstrap, { compression: codec })
    for (const stored of ['uncompressed', 'gzip', 'snappy', 'lz4', 'zstd', 'producer']) {
      const topic = fresh(`${codec}-${stored}`)
      await withAdmin(bootstrap, admin =>
        admin.createTopics({
          topics: [{ topic, numPartitions: 1, configEntries: [{ name: 'compression.type', value: stored }] }],
        }),
      )
      const values = [...numbered(topic, 0, 300), ...large(topic)]
      await log.append(values.slice(0, 100))
      await log.append(values.slice(100))
      const { records } = await log.read(topic, 0, 0, 1_000)
      expect(records.map(record => record.offset)).toEqual(values.map((_, i) => i))
      expect(records.every((record, i) => Buffer.from(record.value).equals(values[i]?.value as Uint8Array))).toBe(true)
    }
  })

  it('reads what other clients write: keys and values of any kind, headers more than once, no value at all', async () => {
    const { bootstrap } = await servers.start()
    const log = await open(bootstrap, {})
    const topic = fresh('foreign')
    await log.ensureTopics([{ name: topic, partitions: 1, retentionMs: 0 }])
    await withAdmin(bootstrap, async (_admin, kafka) => {
      const producer = kafka.producer({ createPartitioner: () => () => 0 })
      await producer.connect()
      await producer.send({
        topic,
        messages: [
          { key: Buffer.from([0xff, 0xfe]), value: Buffer.from([0, 255]), headers: { twice: ['a', 'b'] } },
          { key: null, value: null },
          { key: 'k', value: 'v', headers: { ['__proto__']: 'plain', 'hw-arrival': 'soon' } },
        ],
      })
      await producer.disconnect()
    })
    const { records } = await log.read(topic, 0, 0, 10)
    expect(records.map(record => [...record.value])).toEqual([[0, 255], [], [118]])
    expect(records.map(record => record.key)).toEqual(['\ufffd\ufffd', null, 'k'])
    expect(Object.keys(records[0]?.headers ?? {})).toEqual(['twice'])
    expect(Object.entries(records[2]?.headers ?? {})).toEqual([['__proto__', 'plain']])
    // An arrival that is no number is nobody's statement: the append time counts.
    expect(records[2]?.arrivalMs).toBeGreaterThan(1_600_000_000_000)
  })

  it('halves batches that a topic finds too large, and names the topic for a record that is', async () => {
    const { bootstrap } = await servers.start()
    const log = await open(bootstrap, { compression: 'none' })
    const topic = fresh('small')
    const configEntries = [{ name: 'max.message.bytes', value: '20000' }]
    await withAdmin(bootstrap, admin => admin.createTopics({ topics: [{ topic, numPartitions: 1, configEntries }] }))
    const record = (size: number): NewRecord => ({ topic, key: null, partition: 0, value: randomish(size) })
    const positions = await log.append(Array.from({ length: 40 }, () => record(3_000)))
    expect(positions.map(({ offset }) => offset)).toEqual(Array.from({ length: 40 }, (_, i) => i))
    await expect(log.append([record(30_000)])).rejects.toMatchObject({
      code: 'RECORD_TOO_LARGE',
      message: expect.stringContaining('max.message.bytes'),
    })
    expect(await log.append([record(10)])).toEqual([{ partition: 0, offset: 40 }])
  })
})

function large(topic: string): NewRecord[] {
  return [70_000, 150_000].map(size => ({ topic, key: null, partition: 0, value: randomish(size) }))
}

describeWithKafka('event log on Kafka: TLS and SASL', { security: 'sasl-tls' }, servers => {
  async function tls(withCa = true): Promise<NonNullable<KafkaEventLogOptions['tls']>> {
    const { certificates } = await servers.start()
    if (certificates === null) throw new Error('the cluster has no certificates')
    const pem = (path: string): string => readFileSync(path, 'utf8')
    const own = { cert: pem(certificates.clientCert), key: pem(certificates.clientKey) }
    return withCa ? { ...own, ca: pem(certificates.ca) } : own
  }

  it.each(['plain', 'scram-sha-256', 'scram-sha-512'] as const)(
    'writes and consumes with %s over TLS',
    async mechanism => {
      const { bootstrap, user } = await servers.start()
      const log = await open(bootstrap, { tls: await tls(), sasl: { mechanism, ...user } })
      const topic = fresh('secure')
      await log.ensureTopics([{ name: topic, partitions: 2, retentionMs: 0 }])
      await log.append([...numbered(topic, 0, 3, 0), ...numbered(topic, 3, 6, 1)])
      const seen = recorder({
        batch: async (batch, control) => control.commit(topic, batch.partition, batch.nextOffset),
      })
      const { handlers, onError } = seen
      const limits = { maxBatchRecords: 100, maxBatchBytes: 100_000 }
      await log.consume({ group: fresh('group'), topics: [topic], ...limits, handlers, onError })
      await seen.until(() => seen.texts().length === 6)
      expect((await log.read(topic, 1, 0, 10)).records.map(text)).toEqual(['r3', 'r4', 'r5'])
      expect(seen.errors).toEqual([])
    },
  )

  it('says at once that it is not let in, without the password', async () => {
    const { bootstrap, user } = await servers.start()
    const sasl = { mechanism: 'plain', username: user.username, password: 'hunter2-wrong' } as const
    const refused = openLog(bootstrap, { tls: await tls(), sasl })
    await expect(refused).rejects.toMatchObject({ name: 'PortError', code: 'LOG_UNAVAILABLE' })
    await expect(refused).rejects.toThrow(/user/)
    await expect(refused).rejects.not.toThrow(/hunter2/)
  })

  it('refuses a broker whose authority it does not know', async () => {
    const { bootstrap, user } = await servers.start()
    const refused = openLog(bootstrap, { tls: await tls(false), sasl: { mechanism: 'plain', ...user } })
    await expect(refused).rejects.toMatchObject({
      code: 'LOG_UNAVAILABLE',
      message: expect.stringMatching(/certificate/),
    })
  })
})
