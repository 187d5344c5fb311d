import { afterEach, expect, it } from 'vitest'
import type { Consumer, EventLog } from '../../topology/ports/event-log.ts'
import type { KafkaBroker } from '../../topology/stack/kafka.ts'
import { describeWithKafka } from '../servers.ts'
import { bytes, fresh, names, numbered, recorder } from './event-log-harness.ts'
import type { Recorder } from './event-log-harness.ts'
import { openLog, withAdmin } from './event-log-kafka-harness.ts'

const LIMITS = { maxBatchRecords: 1_000, maxBatchBytes: 1_000_000 }
const WAIT = { timeout: 60_000, interval: 200 }

// Leadership is given back to the first replica as soon as it is there again.
const SETTINGS = {
  'auto.leader.rebalance.enable': 'true',
  'leader.imbalance.check.interval.seconds': 1,
  'leader.imbalance.per.broker.percentage': 0,
}

describeWithKafka('event log on Kafka: leaders that change', { brokers: 3, settings: SETTINGS }, servers => {
  const logs: EventLog[] = []
  const consumers: Consumer[] = []
  const down = new Set<number>()
  const open = async (): Promise<EventLog> => {
    const log = await openLog((await servers.start()).bootstrap, { sessionTimeoutMs: 6_000, maxBufferedBytes: 1 })
    logs.push(log)
    return log
  }
  const consume = async (log: EventLog, topic: string, seen: Recorder): Promise<void> => {
    const { handlers, onError } = seen
    const group = fresh('group')
    consumers.push(await log.consume({ group, topics: [topic], ...LIMITS, handlers, onError }))
  }
  const alive = async (): Promise<readonly string[]> => {
    const { brokers } = await servers.start()
    return brokers.filter(each => !down.has(each.id)).map(each => `${each.host}:${each.port}`)
  }
  const make = async (topic: string, replicas: readonly number[], unclean: boolean): Promise<void> => {
    const bootstrap = await alive()
    const configEntries = [
      { name: 'message.timestamp.type', value: 'LogAppendTime' },
      { name: 'unclean.leader.election.enable', value: String(unclean) },
      { name: 'min.insync.replicas', value: '1' },
    ]
    const replicaAssignment = [{ partition: 0, replicas: [...replicas] }]
    await withAdmin(bootstrap, admin => admin.createTopics({ topics: [{ topic, replicaAssignment, configEntries }] }))
  }
  const broker = async (id: number): Promise<KafkaBroker> => {
    const found = (await servers.start()).brokers.find(each => each.id === id)
    if (found === undefined) throw new Error(`no broker ${id}`)
    return found
  }
  const standing = async (topic: string): Promise<{ leader: number; inSync: number }> => {
    const bootstrap = await alive()
    return await withAdmin(bootstrap, async admin => {
      const { topics } = await admin.fetchTopicMetadata({ topics: [topic] })
      const [first] = topics[0]?.partitions ?? []
      return { leader: first?.leader ?? -1, inSync: first?.isr.length ?? 0 }
    })
  }
  const leaderOf = (topic: string): Promise<number> =>
    standing(topic).then(
      ({ leader }) => leader,
      () => -2,
    )
  const kill = async (id: number): Promise<void> => {
    const one = await broker(id)
    one.kill('SIGKILL')
    await one.exited
    down.add(id)
  }
  const held: (() => void)[] = []
  const restart = async (id: number): Promise<void> => {
    await (await broker(id)).restart()
    down.delete(id)
  }
  afterEach(async () => {
    for (const release of held.splice(0)) release()
    await Promise.all(consumers.splice(0).map(consumer => consumer.stop()))
    await Promise.all(logs.splice(0).map(log => log.close()))
  })

  it('tells a consumer that the log lost its tail, also when others have written past it meanwhile', async () => {
    const log = await open()
    const [cut, regrown] = [fresh('cut'), fresh('regrown')]
    await make(cut, [1, 2], true)
    await make(regrown, [1, 2], true)
    await expect.poll(() => leaderOf(regrown), WAIT).toBe(1)
    for (const topic of [cut, regrown]) await log.append(numbered(topic, 0, 5))
    await kill(2)
    await expect.poll(async () => (await standing(regrown)).inSync, WAIT).toBe(1)
    for (const topic of [cut, regrown]) await log.append(numbered(topic, 5, 10))
    const hold = Promise.withResolvers<void>()
    held.push(hold.resolve)
    const inside = Promise.withResolvers<void>()
    const one = recorder()
    const two = recorder({
      batch: async batch => {
        if (batch.nextOffset < 10) return
        inside.resolve()
        await hold.promise
      },
    })
    await consume(log, cut, one)
    await consume(log, regrown, two)
    await one.until(() => one.texts().length === 10)
    await inside.promise
    // Broker 1 alone has the last five records of each.
    await kill(1)
    await restart(2)
    await expect.poll(() => leaderOf(regrown), WAIT).toBe(2)
    const writer = await open()
    await writer.append(
      Array.from({ length: 20 }, (_, i) => ({ topic: regrown, key: null, partition: 0, value: bytes(`n${i}`) })),
    )
    expect((await writer.bounds(regrown, 0)).endOffset).toBe(25)
    const mismatch = (seen: Recorder): unknown =>
      seen.errors.find(error => 'code' in error && error.code === 'TOPIC_MISMATCH')
    await expect
      .poll(() => mismatch(one), WAIT)
      .toMatchObject({ message: expect.stringMatching(/offset 10 .*read from 5 on/) })
    hold.resolve()
    await expect
      .poll(() => mismatch(two), WAIT)
      .toMatchObject({ message: expect.stringMatching(/offset 10 .*read from 5 on/) })
    expect(two.texts()).toEqual(names(0, 10))
    expect(one.texts()).toEqual(names(0, 10))
  }, 240_000)

  it('fetches from the leader, not from a broker that has become its follower', async () => {
    const log = await open()
    const topic = fresh('moves')
    await make(topic, [1, 2], false)
    if (!down.has(1)) await kill(1)
    await expect.poll(() => leaderOf(topic), WAIT).toBe(2)
    const seen = recorder()
    await consume(log, topic, seen)
    await log.append(numbered(topic, 0, 1))
    await seen.until(() => seen.texts().length === 1)
    await restart(1)
    await expect.poll(() => leaderOf(topic), WAIT).toBe(1)
    await expect.poll(async () => (await standing(topic)).inSync, WAIT).toBe(2)
    await log.append(numbered(topic, 1, 2))
    await seen.until(() => seen.texts().length === 2)
    // A follower that stands still serves what it has; only the leader has what comes now.
    const follower = await broker(2)
    follower.kill('SIGSTOP')
    try {
      await log.append(numbered(topic, 2, 3))
      await expect.poll(() => seen.texts(), { timeout: 20_000, interval: 100 }).toEqual(names(0, 3))
    } finally {
      follower.kill('SIGCONT')
    }
  }, 240_000)
})
