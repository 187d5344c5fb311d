import { appendFileSync, cpSync, existsSync, mkdirSync, readFileSync, rmSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import { Kafka, logLevel } from 'kafkajs'
import type { KafkaConfig } from 'kafkajs'
import { afterAll, beforeAll, expect, it } from 'vitest'
import { cacheFolder } from '../../services/cache-folder.ts'
import { DEFAULT_KAFKA_VERSION, ensureKafkaJars, kafkaJarFolder } from '../../topology/stack/kafka-jars.ts'
import type { KafkaCluster } from '../../topology/stack/kafka.ts'
import { describeWithKafka } from '../servers.ts'
import { temporaryFolder } from '../system/headwater.ts'

function client(kafka: KafkaCluster, more: Partial<KafkaConfig> = {}): Kafka {
  return new Kafka({ brokers: [...kafka.bootstrap], logLevel: logLevel.NOTHING, ...more })
}

/** Makes a topic, writes texts to it with all acknowledgements, and reads as many back. */
async function roundTrip(kafka: Kafka, topic: string, texts: readonly string[]): Promise<readonly string[]> {
  const admin = kafka.admin()
  await admin.connect()
  await admin.createTopics({ waitForLeaders: true, topics: [{ topic, numPartitions: 1 }] })
  await admin.disconnect()
  const producer = kafka.producer()
  await producer.connect()
  await producer.send({ topic, acks: -1, messages: texts.map(value => ({ value })) })
  await producer.disconnect()
  return readAll(kafka, topic, texts.length)
}

let groups = 0

async function readAll(kafka: Kafka, topic: string, count: number): Promise<readonly string[]> {
  const consumer = kafka.consumer({ groupId: `${topic}-${++groups}`, maxWaitTimeInMs: 100 })
  await consumer.connect()
  await consumer.subscribe({ topic, fromBeginning: true })
  const got: string[] = []
  await new Promise<void>((done, fail) => {
    consumer
      .run({
        eachMessage: async ({ message }) => {
          got.push(String(message.value))
          if (got.length === count) done()
        },
      })
      .catch(fail)
  })
  await consumer.disconnect()
  return got
}

describeWithKafka('Kafka 4', servers => {
  it('carries records, and keeps them over kill -9', async () => {
    const kafka = await servers.start()
    expect(kafka.version).toBe(DEFAULT_KAFKA_VERSION)
    expect(await roundTrip(client(kafka), 'stack-kept', ['a', 'b'])).toEqual(['a', 'b'])
    const [broker] = kafka.brokers
    const { pid, port } = broker!
    broker!.kill('SIGKILL')
    await broker!.exited
    await broker!.restart()
    expect(broker!.pid).not.toBe(pid)
    expect(broker!.port).toBe(port)
    expect(await readAll(client(kafka), 'stack-kept', 2)).toEqual(['a', 'b'])
  })

  it('makes no topic by itself', async () => {
    const producer = client(await servers.start(), { retry: { retries: 1 } }).producer({ allowAutoTopicCreation: true })
    await producer.connect()
    await expect(producer.send({ topic: 'stack-unknown', messages: [{ value: 'a' }] })).rejects.toThrow(
      /does not host this topic-partition/,
    )
    await producer.disconnect()
  })
})

describeWithKafka('Kafka 3.7', { version: '3.7.2' }, servers => {
  it('carries records', async () => {
    const kafka = await servers.start()
    expect(await roundTrip(client(kafka), 'stack-older', ['a', 'b'])).toEqual(['a', 'b'])
  })
})

describeWithKafka('Kafka with logins and encryption', { security: 'sasl-tls' }, servers => {
  it('takes PLAIN and SCRAM over TLS, and refuses a wrong password', async () => {
    const kafka = await servers.start()
    const { user, certificates } = kafka
    const ssl = { ca: [readFileSync(certificates!.ca, 'utf8')] }
    const login = (mechanism: 'plain' | 'scram-sha-256' | 'scram-sha-512', password = user.password): Kafka =>
      client(kafka, { ssl, sasl: { mechanism, username: user.username, password } as KafkaConfig['sasl'] & object })
    for (const mechanism of ['plain', 'scram-sha-256', 'scram-sha-512'] as const) {
      expect(await roundTrip(login(mechanism), `stack-${mechanism}`, ['a'])).toEqual(['a'])
      const stranger = login(mechanism, 'wrong').admin({ retry: { retries: 0 } })
      await expect(stranger.connect()).rejects.toThrow(/[Aa]uthentication failed|credentials/)
      await stranger.disconnect()
    }
  })
})

describeWithKafka('three brokers', { brokers: 3 }, servers => {
  it('go on, with every acknowledged record, when one of them is killed', async () => {
    const kafka = await servers.start()
    const texts = ['a', 'b', 'c']
    expect(await roundTrip(client(kafka), 'stack-three', texts)).toEqual(texts)
    const admin = client(kafka).admin()
    await admin.connect()
    const [topic] = (await admin.fetchTopicMetadata({ topics: ['stack-three'] })).topics
    const [partition] = topic!.partitions
    expect(partition!.replicas).toHaveLength(3)
    await admin.disconnect()
    kafka.brokers.find(broker => broker.id === partition!.leader)!.kill('SIGKILL')
    const producer = client(kafka, { retry: { retries: 30, maxRetryTime: 500 } }).producer()
    await producer.connect()
    await producer.send({ topic: 'stack-three', acks: -1, messages: [{ value: 'd' }] })
    await producer.disconnect()
    expect(await readAll(client(kafka), 'stack-three', 4)).toEqual([...texts, 'd'])
  })
})

describeWithKafka('jars of Kafka', () => {
  const folder = temporaryFolder()
  let jars = ''

  beforeAll(async () => {
    const present = await ensureKafkaJars(cacheFolder(), DEFAULT_KAFKA_VERSION)
    jars = kafkaJarFolder(folder.path, DEFAULT_KAFKA_VERSION)
    cpSync(present, jars, { recursive: true })
  })
  afterAll(() => folder.remove())

  it('are used as they lie there while they are whole', async () => {
    const lines: string[] = []
    await ensureKafkaJars(folder.path, DEFAULT_KAFKA_VERSION, line => lines.push(line))
    expect(lines).toEqual([])
  })

  it('are refused when one is damaged or unknown, and fetched again, once for two that ask', async () => {
    appendFileSync(join(jars, 'lz4-java-1.11.2.jar'), 'x')
    writeFileSync(join(jars, 'stranger.jar'), 'x')
    const lines: string[] = []
    const ask = (): Promise<string> => ensureKafkaJars(folder.path, DEFAULT_KAFKA_VERSION, line => lines.push(line))
    await Promise.all([ask(), ask()])
    expect(lines.filter(line => line.includes('damaged'))).toEqual([
      `${jars} is damaged (lz4-java-1.11.2.jar, stranger.jar)`,
    ])
    expect(lines.filter(line => line.startsWith('fetching'))).toHaveLength(1)
    expect(existsSync(join(jars, 'stranger.jar'))).toBe(false)
    lines.length = 0
    await ask()
    expect(lines).toEqual([])
  })

  it('of a version without known checksums are not fetched', async () => {
    await expect(ensureKafkaJars(folder.path, '4.0.99')).rejects.toThrow(
      'Kafka 4.0.99 is not among the versions whose jars are checked: 3.7.2, 4.4.0',
    )
  })

  it('wait for another that fetches them, and for nobody when that one is gone', async () => {
    rmSync(jars, { recursive: true })
    mkdirSync(folder.path, { recursive: true })
    const lock = join(folder.path, `kafka-${DEFAULT_KAFKA_VERSION}.lock`)
    writeFileSync(lock, JSON.stringify({ pid: process.pid, identity: 'of an earlier process with this number' }))
    await ensureKafkaJars(folder.path, DEFAULT_KAFKA_VERSION)
    expect(existsSync(lock)).toBe(false)
    expect(existsSync(jars)).toBe(true)
  })
})
