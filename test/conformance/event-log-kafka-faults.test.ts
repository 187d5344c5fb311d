import { afterEach, expect, it } from 'vitest'
import { brokerFactory, kafkajsCall } from '../../topology/adapters/event-log/kafka/internals.ts'
import { findCoordinator, openNodes } from '../../topology/adapters/event-log/kafka/nodes.ts'
import type { Batch, Consumer, ConsumerControl, EventLog } from '../../topology/ports/event-log.ts'
import { describeWithKafka } from '../servers.ts'
import { bytes, fresh, names, numbered, recorder, text } from './event-log-harness.ts'
import type { Call, Recorder } from './event-log-harness.ts'
import { countingTelemetry, openLog, withAdmin } from './event-log-kafka-harness.ts'

const LIMITS = { maxBatchRecords: 1_000, maxBatchBytes: 1_000_000 }
const SESSION_MS = 6_000

/** A gate that handlers wait at. */
function gate(): { readonly passed: Promise<void>; open(): void } {
  const { promise, resolve } = Promise.withResolvers<void>()
  return { passed: promise, open: resolve }
}

const kindsOf = (seen: Recorder, partition: number): string[] =>
  seen.calls.flatMap((call: Call) => {
    if (call.kind === 'idle') return []
    return (call.kind === 'batch' ? call.batch.partition : call.partition) === partition ? [call.kind] : []
  })

describeWithKafka('event log on Kafka: what a group and a topic go through', servers => {
  const logs: EventLog[] = []
  const consumers: Consumer[] = []
  const open = async (options: Parameters<typeof openLog>[1] = {}): Promise<EventLog> => {
    const log = await openLog((await servers.start()).bootstrap, options)
    logs.push(log)
    return log
  }
  const consume = async (
    log: EventLog,
    group: string,
    topic: string,
    seen: Recorder,
    limits = {},
  ): Promise<Consumer> => {
    const { handlers, onError } = seen
    const consumer = await log.consume({ group, topics: [topic], ...LIMITS, ...limits, handlers, onError })
    consumers.push(consumer)
    return consumer
  }
  afterEach(async () => {
    await Promise.all(consumers.splice(0).map(consumer => consumer.stop()))
    await Promise.all(logs.splice(0).map(log => log.close()))
  })

  it('moves partitions to a member that joins in mid-batch, each after its owner has finished with it', async () => {
    const log = await open()
    const [topic, group] = [fresh('shared'), fresh('group')]
    await log.ensureTopics([{ name: topic, partitions: 4, retentionMs: 0 }])
    await log.append([0, 1, 2, 3].flatMap(partition => numbered(topic, 0, 20, partition)))
    const events: string[] = []
    const [inside, hold] = [gate(), gate()]
    const one = recorder({
      batch: async (batch, control) => {
        inside.open()
        await hold.passed
        await control.commit(topic, batch.partition, batch.nextOffset)
      },
      revoked: async (_topic, partition) => void events.push(`one gives up ${partition}`),
    })
    const two = recorder({
      assigned: async (_topic, partition) => {
        events.push(`two takes ${partition}`)
        return null
      },
    })
    await consume(log, group, topic, one)
    await inside.passed
    await consume(await open(), group, topic, two)
    // The group knows of both members while every handler of the first is still inside its batch.
    await expect.poll(() => memberCount(group), { timeout: 20_000 }).toBe(2)
    expect(events).toEqual([])
    hold.open()
    await two.until(() => two.calls.filter(call => call.kind === 'assigned').length === 2)
    const moved = two.calls.flatMap(call => (call.kind === 'assigned' ? [call.partition] : []))
    for (const partition of moved) {
      expect(events.indexOf(`one gives up ${partition}`)).toBeLessThan(events.indexOf(`two takes ${partition}`))
      expect(await log.committed(group, topic, partition)).toBe(20)
    }
    await log.append([0, 1, 2, 3].flatMap(partition => numbered(topic, 20, 30, partition)))
    await Promise.all([one.until(() => one.texts().length === 80 + 20), two.until(() => two.texts().length === 20)])
    expect(two.batches().every(batch => moved.includes(batch.partition) && batch.fetchedOffset >= 20)).toBe(true)
    expect([...one.errors, ...two.errors]).toEqual([])
  })

  async function memberCount(group: string): Promise<number> {
    const { bootstrap } = await servers.start()
    return await withAdmin(
      bootstrap,
      async admin => (await admin.describeGroups([group])).groups[0]?.members.length ?? 0,
    )
  }

  it('takes the partitions of a member that leaves, from what it committed', async () => {
    const log = await open()
    const [topic, group] = [fresh('left'), fresh('group')]
    await log.ensureTopics([{ name: topic, partitions: 2, retentionMs: 0 }])
    const commit = (batch: Batch, control: ConsumerControl): Promise<void> =>
      control.commit(batch.topic, batch.partition, batch.nextOffset)
    const [one, two] = [recorder({ batch: commit }), recorder({ batch: commit })]
    const first = await consume(log, group, topic, one)
    await one.until(() => one.calls.filter(call => call.kind === 'assigned').length === 2)
    await consume(await open(), group, topic, two)
    await two.until(() => two.calls.some(call => call.kind === 'assigned'))
    await log.append([...numbered(topic, 0, 5, 0), ...numbered(topic, 0, 5, 1)])
    await two.until(() => two.texts().length === 5)
    await one.until(() => one.texts().length === 5)
    await first.stop()
    await two.until(() => two.calls.filter(call => call.kind === 'assigned').length === 2)
    await log.append([...numbered(topic, 5, 9, 0), ...numbered(topic, 5, 9, 1)])
    await two.until(() => two.texts().length === 5 + 8)
    expect(two.texts().slice(5).sort()).toEqual([...names(5, 9), ...names(5, 9)].sort())
  })

  it('keeps a partition whose handler takes longer than the session', async () => {
    const log = await open({ sessionTimeoutMs: SESSION_MS })
    const [topic, group] = [fresh('slow'), fresh('group')]
    await log.ensureTopics([{ name: topic, partitions: 1, retentionMs: 0 }])
    await log.append(numbered(topic, 0, 3))
    const seen = recorder({
      batch: async (batch, control) => {
        await new Promise(resolve => setTimeout(resolve, SESSION_MS + 2_500))
        await control.commit(topic, 0, batch.nextOffset)
      },
    })
    const other = recorder()
    await consume(log, group, topic, seen)
    await seen.until(() => seen.calls.some(call => call.kind === 'assigned'))
    await consume(await open({ sessionTimeoutMs: SESSION_MS }), group, topic, other)
    await seen.until(() => seen.texts().length === 3)
    expect(await log.committed(group, topic, 0)).toBe(3)
    expect(kindsOf(seen, 0)).toEqual(['assigned', 'batch'])
    expect(other.calls).toEqual([])
    expect(seen.errors).toEqual([])
  })

  it('gives up what it holds when the group counts it out, refuses its late commit, and joins again', async () => {
    const { bootstrap } = await servers.start()
    const log = await open()
    const [topic, group] = [fresh('lost'), fresh('group')]
    await log.ensureTopics([{ name: topic, partitions: 1, retentionMs: 0 }])
    await log.append(numbered(topic, 0, 2))
    const [inside, hold] = [gate(), gate()]
    const refusals: unknown[] = []
    const seen = recorder({
      batch: async (batch, control) => {
        inside.open()
        await hold.passed
        if (refusals.length === 0) await control.commit(topic, 0, batch.nextOffset).catch(error => refusals.push(error))
      },
    })
    await consume(log, group, topic, seen)
    await inside.passed
    await expel(bootstrap, group)
    // It is back as a new member before the handler returns.
    await expect.poll(() => memberCount(group), { timeout: 20_000 }).toBe(1)
    hold.open()
    await seen.until(() => kindsOf(seen, 0).length >= 5)
    expect(kindsOf(seen, 0).slice(0, 5)).toEqual(['assigned', 'batch', 'revoked', 'assigned', 'batch'])
    expect(refusals).toMatchObject([{ code: 'UNKNOWN_TOPIC' }])
    expect(await log.committed(group, topic, 0)).toBeNull()
  })

  /** Takes every member out of a group, as an operator's tool does. */
  async function expel(bootstrap: readonly string[], group: string): Promise<void> {
    const members = await withAdmin(
      bootstrap,
      async admin => (await admin.describeGroups([group])).groups[0]?.members ?? [],
    )
    const [host = '', port = ''] = (bootstrap[0] ?? '').split(':')
    const connection = { clientId: 'operator', tls: null, sasl: null, telemetry: null }
    const makeBroker = brokerFactory({ ...connection, connectTimeoutMs: 5_000, requestTimeoutMs: 30_000 })
    const nodes = openNodes({ bootstrap: [{ host, port: Number(port) }], makeBroker })
    const node = await nodes.node(await findCoordinator(nodes, group))
    for (const { memberId } of members) {
      await node.send(0, broker => kafkajsCall(broker, 'LeaveGroup', { groupId: group, memberId }))
    }
    await nodes.close()
  }

  it('never mixes two lives of a topic, also with records of the first still waiting', async () => {
    const log = await open()
    const [topic, group] = [fresh('lives'), fresh('group')]
    await log.ensureTopics([{ name: topic, partitions: 1, retentionMs: 0 }])
    await log.append(numbered(topic, 0, 50))
    const [inside, hold] = [gate(), gate()]
    const seen = recorder({
      batch: async () => {
        inside.open()
        await hold.passed
      },
    })
    await consume(log, group, topic, seen, { maxBatchRecords: 10 })
    await inside.passed
    const first = (await log.describe(topic))?.incarnation
    await log.deleteTopic(topic)
    await log.ensureTopics([{ name: topic, partitions: 1, retentionMs: 0 }])
    await log.append(numbered(topic, 100, 160))
    const second = (await log.describe(topic))?.incarnation
    hold.open()
    await seen.until(() => seen.texts().includes('r159'))
    expect(second).not.toBe(first)
    for (const batch of seen.batches()) {
      const old = batch.records.map(text).every(one => Number(one.slice(1)) < 100)
      expect(batch.incarnation).toBe(old ? first : second)
    }
    const lives = seen.calls.flatMap(call => (call.kind === 'assigned' ? [call.bounds.incarnation] : []))
    expect(lives).toEqual([first, second])
    expect(seen.texts().filter(one => Number(one.slice(1)) >= 100)).toEqual(names(100, 160))
  })

  it('consumes the partitions that a topic grows, and places keys by their new number', async () => {
    const { bootstrap } = await servers.start()
    const log = await open({ metadataIntervalMs: 200 })
    const [topic, group] = [fresh('grows'), fresh('group')]
    await log.ensureTopics([{ name: topic, partitions: 1, retentionMs: 0 }])
    const seen = recorder()
    await consume(log, group, topic, seen)
    await seen.until(() => seen.calls.some(call => call.kind === 'idle'))
    await withAdmin(bootstrap, admin => admin.createPartitions({ topicPartitions: [{ topic, count: 3 }] }))
    await log.append([...numbered(topic, 0, 2, 1), ...numbered(topic, 2, 4, 2), ...numbered(topic, 4, 6, 0)])
    await seen.until(() => seen.texts().length === 6)
    expect(seen.texts().sort()).toEqual(names(0, 6))
    expect(kindsOf(seen, 0).filter(kind => kind !== 'batch')).toEqual(['assigned'])
    // murmur2('21') is -973932308: without its sign bit 2 modulo 3.
    expect(await log.append([{ topic, key: '21', value: bytes('k') }])).toMatchObject([
      { partition: (-973932308 & 0x7fffffff) % 3 },
    ])
    const [info] = await log.ensureTopics([{ name: topic, partitions: 1, retentionMs: 0 }])
    expect(info?.partitions).toBe(3)
  })

  it('holds no more of a partition than it may, however slow its handler is', async () => {
    const telemetry = countingTelemetry()
    const log = await open({ telemetry, maxBufferedBytes: 300_000, compression: 'none' })
    const topic = fresh('pressure')
    await log.ensureTopics([{ name: topic, partitions: 1, retentionMs: 0 }])
    const value = new Uint8Array(50_000).fill(1)
    for (let i = 0; i < 10; i += 1) {
      await log.append(Array.from({ length: 16 }, () => ({ topic, key: null, partition: 0, value })))
    }
    const hold = gate()
    let fetchedWhileHeld = 0
    const seen = recorder({ batch: () => hold.passed })
    await consume(log, fresh('group'), topic, seen, { maxBatchRecords: 4 })
    await expect.poll(() => telemetry.total('event_log_pauses')).toBeGreaterThan(0)
    // Several long polls' time: a consumer without a limit would have fetched everything.
    await new Promise(resolve => setTimeout(resolve, 600))
    fetchedWhileHeld = telemetry.total('event_log_fetched_bytes')
    expect(fetchedWhileHeld).toBeLessThan(300_000 + 2 * 1_048_576)
    hold.open()
    await seen.until(() => seen.batches().reduce((sum, batch) => sum + batch.records.length, 0) === 160)
    expect(telemetry.total('event_log_fetched_bytes')).toBeGreaterThan(160 * 50_000)
    expect(seen.batches().flatMap(batch => batch.records.map(record => record.offset))).toEqual(
      Array.from({ length: 160 }, (_, i) => i),
    )
  })

  it('goes on above a start that retention moved, and stops beyond an end, saying so', async () => {
    const { bootstrap } = await servers.start()
    const log = await open()
    const topic = fresh('range')
    await log.ensureTopics([{ name: topic, partitions: 1, retentionMs: 0 }])
    await log.append(numbered(topic, 0, 10))
    await withAdmin(bootstrap, async admin => {
      // kafkajs looks a topic up here, and not in deleteTopicRecords.
      await admin.fetchTopicOffsets(topic)
      await admin.deleteTopicRecords({ topic, partitions: [{ partition: 0, offset: '4' }] })
    })
    expect(await log.bounds(topic, 0)).toMatchObject({ startOffset: 4, endOffset: 10 })
    expect((await log.read(topic, 0, 0, 2)).records.map(text)).toEqual(['r4', 'r5'])
    const group = fresh('group')
    const below = recorder({ assigned: async () => 1 })
    await consume(log, group, topic, below)
    await below.until(() => below.texts().length === 6)
    expect(below.errors).toMatchObject([
      { code: 'TOPIC_MISMATCH', message: expect.stringMatching(/offset 1 .*below 4/) },
    ])
    expect(below.batches()[0]?.fetchedOffset).toBe(4)
    expect(await log.committed(group, topic, 0)).toBeNull()
    const beyond = recorder({ assigned: async () => 12 })
    await consume(log, fresh('group'), topic, beyond)
    await beyond.until(() => beyond.errors.length === 1)
    expect(beyond.errors).toMatchObject([
      { code: 'TOPIC_MISMATCH', message: expect.stringMatching(/offset 12 .*ends at 10/) },
    ])
    await new Promise(resolve => setTimeout(resolve, 300))
    expect(beyond.errors).toHaveLength(1)
    expect(beyond.calls.map(call => call.kind)).toEqual(['assigned'])
  })

  it('shows committed transactions alone, and passes their markers', async () => {
    const { bootstrap } = await servers.start()
    const log = await open()
    const topic = fresh('transactions')
    await log.ensureTopics([{ name: topic, partitions: 1, retentionMs: 0 }])
    await log.append(numbered(topic, 0, 1))
    await withAdmin(bootstrap, async (_admin, kafka) => {
      const producer = kafka.producer({ transactionalId: fresh('tx'), maxInFlightRequests: 1, idempotent: true })
      await producer.connect()
      for (const [value, end] of [
        ['given up', 'abort'],
        ['kept', 'commit'],
        ['given up too', 'abort'],
      ] as const) {
        const transaction = await producer.transaction()
        await transaction.send({
          topic,
          messages: [
            { key: 'k', value },
            { key: 'k', value },
          ],
        })
        await transaction[end]()
      }
      await producer.disconnect()
    })
    const seen = recorder()
    await consume(log, fresh('group'), topic, seen)
    await seen.until(() => seen.texts().length === 3 && seen.calls.some(call => call.kind === 'idle'))
    expect(seen.texts()).toEqual(['r0', 'kept', 'kept'])
    expect((await log.read(topic, 0, 0, 100)).records.map(text)).toEqual(['r0', 'kept', 'kept'])
    // One record, then three transactions of two records and a marker.
    expect(await log.bounds(topic, 0)).toMatchObject({ startOffset: 0, endOffset: 10 })
    expect(seen.calls.find(call => call.kind === 'idle')).toMatchObject({ endOffset: 10 })
    await log.append(numbered(topic, 9, 10))
    await seen.until(() => seen.texts().length === 4)
    const steps = seen.batches().map(batch => [batch.fetchedOffset, batch.nextOffset])
    for (const [i, step] of steps.entries()) expect(step[0]).toBe(i === 0 ? 0 : steps[i - 1]?.[1])
  })

  it('measures how far behind each partition is', async () => {
    const telemetry = countingTelemetry()
    const log = await open({ telemetry })
    const [topic, group] = [fresh('lag'), fresh('group')]
    await log.ensureTopics([{ name: topic, partitions: 1, retentionMs: 0 }])
    await log.append(numbered(topic, 0, 40))
    const hold = gate()
    const seen = recorder({ batch: () => hold.passed })
    await consume(log, group, topic, seen, { maxBatchRecords: 10 })
    const lag = (): number | undefined =>
      telemetry.gauges.get(`event_log_lag_records ${JSON.stringify({ group, topic, partition: 0 })}`)
    await expect.poll(lag, { timeout: 10_000 }).toBe(40)
    hold.open()
    await expect.poll(lag, { timeout: 10_000 }).toBe(0)
  })
})

describeWithKafka('event log on Kafka: a broker that goes away', servers => {
  it('writes each record once and reads all of them through a broker that is killed and comes back', async () => {
    const cluster = await servers.startAnother()
    const [broker] = cluster.brokers
    if (broker === undefined) throw new Error('no broker')
    const telemetry = countingTelemetry()
    const log = await openLog(cluster.bootstrap, { telemetry, sessionTimeoutMs: SESSION_MS })
    const topic = fresh('restart')
    await log.ensureTopics([{ name: topic, partitions: 3, retentionMs: 0 }])
    const seen = recorder({
      batch: async (batch, control) => control.commit(topic, batch.partition, batch.nextOffset),
    })
    const { handlers, onError } = seen
    const consumer = await log.consume({ group: fresh('group'), topics: [topic], ...LIMITS, handlers, onError })
    const total = 300
    let appended = 0
    const appending = (async () => {
      for (let i = 0; i < total; i += 10) {
        await log.append(
          Array.from({ length: 10 }, (_, j) => ({ topic, key: `key-${i + j}`, value: bytes(`r${i + j}`) })),
        )
        appended += 10
        await new Promise(resolve => setTimeout(resolve, 20))
      }
    })()
    await expect.poll(() => appended, { timeout: 20_000 }).toBeGreaterThanOrEqual(100)
    broker.kill('SIGKILL')
    await broker.exited
    await broker.restart()
    await appending
    await seen.until(() => new Set(seen.texts()).size === total)
    const stored: string[] = []
    for (let partition = 0; partition < 3; partition += 1) {
      stored.push(...(await log.read(topic, partition, 0, 10_000)).records.map(text))
    }
    expect(stored.sort()).toEqual(names(0, total).sort())
    expect(telemetry.total('event_log_append_retries')).toBeGreaterThan(0)
    await consumer.stop()
    await log.close()
  }, 120_000)

  it('says what is wrong where nobody answers', async () => {
    await expect(openLog(['127.0.0.1:1'], { openTimeoutMs: 300 })).rejects.toMatchObject({
      name: 'PortError',
      code: 'LOG_UNAVAILABLE',
      message: expect.stringContaining('127.0.0.1:1'),
    })
    await expect(openLog(['nowhere'])).rejects.toThrow(/host:port/)
  })
})
