import { ConfigResourceTypes } from 'kafkajs'
import { afterEach, expect, it } from 'vitest'
import type { EventLog } from '../../topology/ports/event-log.ts'
import { describeWithKafka } from '../servers.ts'
import { fresh, numbered, recorder, text } from './event-log-harness.ts'
import { countingTelemetry, openLog, withAdmin } from './event-log-kafka-harness.ts'

describeWithKafka('event log on Kafka: what others write', servers => {
  const logs: EventLog[] = []
  const open = async (options: Parameters<typeof openLog>[1] = {}): Promise<EventLog> => {
    const log = await openLog((await servers.start()).bootstrap, options)
    logs.push(log)
    return log
  }
  afterEach(async () => {
    await Promise.all(logs.splice(0).map(log => log.close()))
  })

  it('takes an arrival that a header states for what it is, unless the log had not the record yet', async () => {
    const { bootstrap } = await servers.start()
    const log = await open()
    const topic = fresh('stated')
    await log.ensureTopics([{ name: topic, partitions: 1, retentionMs: 0 }])
    const stating = (arrival: string | null) => ({
      value: arrival,
      ...(arrival === null ? {} : { headers: { 'hw-arrival': arrival } }),
    })
    await withAdmin(bootstrap, async (_admin, kafka) => {
      const producer = kafka.producer()
      await producer.connect()
      const later = [String(Date.now() + 86_400_000), '9007199254740991']
      await producer.send({ topic, messages: [null, '1000', ...later, 'soon', ''].map(stating) })
      await producer.disconnect()
    })
    const [plain, ...others] = (await log.read(topic, 0, 0, 10)).records
    const appendMs = plain?.arrivalMs
    expect(appendMs).toBeGreaterThan(1_000)
    expect(others.map(record => record.arrivalMs)).toEqual([1_000, appendMs, appendMs, appendMs, appendMs])
    expect(others.every(record => Object.keys(record.headers).length === 0)).toBe(true)
    // What is appended next is no earlier, whatever was stated.
    await log.append(numbered(topic, 0, 1))
    const last = (await log.read(topic, 0, 6, 1)).records[0]
    expect(last?.arrivalMs).toBeGreaterThanOrEqual(appendMs ?? NaN)
    expect(last?.headers).toEqual({})
  })

  it('comes to the end of a partition that ends with a transaction given up, and is not behind then', async () => {
    const { bootstrap } = await servers.start()
    const telemetry = countingTelemetry()
    const log = await open({ telemetry })
    const [topic, group] = [fresh('given-up'), fresh('group')]
    await log.ensureTopics([{ name: topic, partitions: 1, retentionMs: 0 }])
    await log.append(numbered(topic, 0, 3))
    await withAdmin(bootstrap, async (_admin, kafka) => {
      const producer = kafka.producer({ transactionalId: fresh('tx'), maxInFlightRequests: 1, idempotent: true })
      await producer.connect()
      const transaction = await producer.transaction()
      await transaction.send({ topic, messages: [{ value: 'given up' }] })
      await transaction.abort()
      await producer.disconnect()
    })
    // The end of a transaction is told before its marker is written.
    await expect.poll(() => log.bounds(topic, 0), { timeout: 10_000 }).toMatchObject({ endOffset: 5 })
    const whole = await log.read(topic, 0, 0, 100)
    expect(whole).toMatchObject({ nextOffset: 5, endOffset: 5 })
    expect(whole.records.map(text)).toEqual(['r0', 'r1', 'r2'])
    expect(await log.read(topic, 0, 0, 3)).toMatchObject({ nextOffset: 3, endOffset: 5 })
    expect(await log.read(topic, 0, 3, 3)).toMatchObject({ records: [], nextOffset: 5, endOffset: 5 })
    const { handlers, onError, ...seen } = recorder()
    const limits = { maxBatchRecords: 100, maxBatchBytes: 1_000_000 }
    const consumer = await log.consume({ group, topics: [topic], ...limits, handlers, onError })
    await seen.until(() => seen.calls.some(call => call.kind === 'idle'))
    const lag = () => telemetry.gauges.get(`event_log_lag_records ${JSON.stringify({ group, topic, partition: 0 })}`)
    await expect.poll(lag, { timeout: 10_000 }).toBe(0)
    await consumer.stop()
    expect(seen.errors).toEqual([])
  })

  it('knows what may lose records that were acknowledged', async () => {
    const { bootstrap } = await servers.start()
    const log = await open()
    const topic = fresh('unclean')
    await log.ensureTopics([{ name: topic, partitions: 1, retentionMs: 0 }])
    expect(await log.describe(topic)).toMatchObject({ replicas: 1, minInSyncReplicas: 1, uncleanElection: false })
    await withAdmin(bootstrap, admin =>
      admin.alterConfigs({
        validateOnly: false,
        resources: [
          {
            type: ConfigResourceTypes.TOPIC,
            name: topic,
            configEntries: [{ name: 'unclean.leader.election.enable', value: 'true' }],
          },
        ],
      }),
    )
    await expect.poll(async () => (await log.describe(topic))?.uncleanElection, { timeout: 10_000 }).toBe(true)
  })

  it('leaves no consumer behind that was starting when the log was closed', async () => {
    const log = await open()
    const topic = fresh('closing')
    await log.ensureTopics([{ name: topic, partitions: 1, retentionMs: 0 }])
    await log.append(numbered(topic, 0, 1))
    const seen = recorder()
    const { handlers, onError } = seen
    const limits = { maxBatchRecords: 100, maxBatchBytes: 1_000_000 }
    const starting = log.consume({ group: fresh('group'), topics: [topic], ...limits, handlers, onError })
    await Promise.all([expect(starting).rejects.toMatchObject({ code: 'CLOSED' }), log.close()])
    const { length } = seen.calls
    await new Promise(resolve => setTimeout(resolve, 500))
    expect(seen.calls).toHaveLength(length)
  })
})
