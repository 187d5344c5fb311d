import { plainRow, ratioRow } from '../rows.ts'
import type { BenchRow } from '../rows.ts'
import { freshnessRows } from './freshness.ts'
import { TOPIC, fillTopic, startEngines, untilWritten } from './setup.ts'
import type { Engines } from './setup.ts'
import { startMeasured } from './usage.ts'

const EVENTS = 400_000
const CARDS = 50_000

interface Rate {
  readonly eventsPerSecond: number
  /** Of the processor time of the measured processes alone. */
  readonly eventsPerCoreSecond: number
}

/** Kafka to Redis, each engine real and on this machine, beside the bare clients in the same run. */
export async function benchEngines(): Promise<readonly BenchRow[]> {
  const engines = await startEngines()
  try {
    const context = await engines.open('one')
    const appendStarted = performance.now()
    await fillTopic(context, EVENTS, CARDS)
    const appendRate = (EVENTS / (performance.now() - appendStarted)) * 1_000
    await context.close()
    const plain = await plainRate(engines)
    const one = await workerRate(engines, 'one', 1)
    const bytes = await bytesPerEntity(engines)
    const two = await workerRate(engines, 'two', 2)
    return [
      ratioRow(
        'engines: worker, Kafka to Redis, 12 features × 3 windows, of a core; against a bare kafkajs consumer',
        one.eventsPerCoreSecond,
        'events/s',
        plain.eventsPerCoreSecond,
      ),
      ratioRow(
        'engines: the same by the clock, Kafka and Redis on the same two cores',
        one.eventsPerSecond,
        'events/s',
        plain.eventsPerSecond,
      ),
      ratioRow('engines: two workers by the clock, against one', two.eventsPerSecond, 'events/s', one.eventsPerSecond),
      plainRow('engines: events appended to Kafka', appendRate, 'events/s'),
      ...bytes,
      ...(await freshnessRows(engines)),
    ]
  } finally {
    await engines.close()
  }
}

async function plainRate(engines: Engines): Promise<Rate> {
  const started = performance.now()
  const consumer = startMeasured('plain-consumer.ts', [engines.brokers.join(','), TOPIC, String(EVENTS)], {})
  await consumer.ready
  const readyAt = performance.now()
  await consumer.finished
  const seconds = (performance.now() - readyAt) / 1_000
  const { cpuSeconds } = await consumer.usage()
  await consumer.stop()
  process.stderr.write(`engines: bare consumer ready after ${Math.round(readyAt - started)} ms\n`)
  return { eventsPerSecond: EVENTS / seconds, eventsPerCoreSecond: EVENTS / cpuSeconds }
}

async function workerRate(engines: Engines, namespace: string, count: number): Promise<Rate> {
  const context = await engines.open(namespace)
  try {
    const workers = Array.from({ length: count }, () =>
      startMeasured('worker-process.ts', [], engines.environment(namespace)),
    )
    await Promise.all(workers.map(worker => worker.ready))
    const started = performance.now()
    await untilWritten(context)
    const seconds = (performance.now() - started) / 1_000
    const usages = await Promise.all(workers.map(worker => worker.usage()))
    await Promise.all(workers.map(worker => worker.stop()))
    const cpuSeconds = usages.reduce((sum, usage) => sum + usage.cpuSeconds, 0)
    return { eventsPerSecond: EVENTS / seconds, eventsPerCoreSecond: EVENTS / cpuSeconds }
  } finally {
    await context.close()
  }
}

/** Memory of Redis for a card, beside the bytes of the fields that its exact windows must keep. */
async function bytesPerEntity(engines: Engines): Promise<readonly BenchRow[]> {
  const stored = await engines.redis.command('MEMORY', 'STATS')
  if (!Array.isArray(stored)) throw new Error('Redis does not tell its memory')
  const at = stored.indexOf('dataset.bytes')
  const keys = Number(await engines.redis.command('DBSIZE'))
  // Of each event: time 8, id about 8, country 2, amount 4, declined 1.
  const lowerBound = (EVENTS / CARDS) * 23
  return [
    ratioRow(
      `engines: bytes of a card in Redis, ${EVENTS / CARDS} events each; against their fields alone`,
      Number(stored[at + 1]) / Math.min(keys, CARDS),
      'bytes',
      lowerBound,
    ),
  ]
}
