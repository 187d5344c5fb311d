import { Kafka, logLevel } from 'kafkajs'
import { afterAll, expect, it } from 'vitest'
import { describeWithKafka, describeWithRedis } from '../servers.ts'
import { headwater, temporaryFolder } from './headwater.ts'
import { MAX_RECORD_BYTES, expectPoisonIsSetApart } from './poison-check.ts'
import type { SentPoison } from './poison-check.ts'
import type { Poison } from './poison-records.ts'
import { TRANSFERS, allRecords, startPoisonWorld } from './poison-world.ts'

interface ForeignRecord {
  readonly name: string
  readonly key: Buffer | null
  readonly value: Buffer | null
  readonly headers?: Readonly<Record<string, Buffer | Buffer[] | string>>
}

const NOT_TEXT = Buffer.from([0xff, 0x00, 0xc3, 0x28])

/** What a Kafka producer may write and the port has no words for. */
const FOREIGN: readonly ForeignRecord[] = [
  { name: 'a tombstone', key: Buffer.from('c1'), value: null },
  { name: 'a tombstone without a key', key: null, value: null },
  { name: 'an empty key', key: Buffer.alloc(0), value: Buffer.from('{') },
  { name: 'a key that is no text', key: NOT_TEXT, value: Buffer.from('[') },
  {
    name: 'headers that are no text',
    key: Buffer.from('c2'),
    value: Buffer.from('}'),
    headers: { trace: NOT_TEXT, empty: Buffer.alloc(0) },
  },
  {
    name: 'a header many times',
    key: Buffer.from('c3'),
    value: Buffer.from(']'),
    headers: { x: [Buffer.from('1'), Buffer.from('2')] },
  },
  {
    name: 'headers of our own',
    key: Buffer.from('c4'),
    value: Buffer.from('!'),
    headers: { 'hw-code': 'NONE', 'hw-offset': '7', 'hw-cut-from-bytes': '1' },
  },
]

async function sendForeign(brokers: string[]): Promise<readonly SentPoison[]> {
  const kafka = new Kafka({ clientId: 'foreign', brokers, logLevel: logLevel.NOTHING })
  const producer = kafka.producer()
  await producer.connect()
  try {
    const sent: SentPoison[] = []
    for (const [index, { name, key, value, headers }] of FOREIGN.entries()) {
      const message = { key, value, partition: index % 3, headers: { ...headers } }
      const [answer] = await producer.send({ topic: 'transfers', messages: [message] })
      const poison: Poison = { name, code: 'NOT_JSON', value: value ?? Buffer.alloc(0) }
      const offset = Number(answer?.baseOffset)
      const asText = key === null ? null : key.toString('utf8')
      sent.push({ poison, sent: { key: asText, value: poison.value }, partition: index % 3, offset })
    }
    return sent
  } finally {
    await producer.disconnect()
  }
}

describeWithKafka('poison records', { settings: { 'message.max.bytes': '4000000' } }, kafka => {
  describeWithRedis('over real engines', redis => {
    const folder = temporaryFolder()
    afterAll(() => folder.remove())
    it('go to the dead letters, each once with its reason, and leave their neighbours alone', async () => {
      const [cluster, server] = await Promise.all([kafka.start(), redis.start()])
      const settings = {
        'eventLog.kind': 'kafka',
        'eventLog.brokers': cluster.bootstrap.join(','),
        'eventLog.maxRecordBytes': String(MAX_RECORD_BYTES),
        'onlineStore.kind': 'redis',
        'onlineStore.addresses': `${server.host}:${server.port}`,
      }
      const world = await startPoisonWorld(folder.path, settings)
      const flags = ['--data', folder.path, '--features', TRANSFERS].concat(
        Object.entries(settings).flatMap(([key, value]) => ['--set', `${key}=${value}`]),
      )
      try {
        await expectPoisonIsSetApart(world, () => sendForeign([...cluster.bootstrap]))
        const { log } = world.context
        const letters = await allRecords(log, 'transfers.dead-letter')
        const list = await headwater(['dlq', 'list', '--limit', '3', ...flags])
        expect(list.stdout, list.stderr).toContain(`\n${letters.length} dead letters\n`)
        const vectors = letters.filter(each => each.headers['hw-code'] === 'VECTOR_LENGTH').length
        const replay = ['dlq', 'replay', '--yes', '--even-invalid', '--code', 'VECTOR_LENGTH', ...flags]
        const first = await headwater(replay)
        expect(first.stdout, first.stderr).toContain(`${vectors} dead letters: ${vectors} were written back`)
        await world.caughtUp()
        const after = await allRecords(log, 'transfers.dead-letter')
        expect(after.filter(each => each.headers['hw-replays'] === '1').length).toBe(vectors)
        const second = await headwater(replay)
        expect(second.stdout).toContain(`${2 * vectors} dead letters: 0 were written back`)
      } finally {
        await world.stop()
      }
    }, 240_000)
  })
})
