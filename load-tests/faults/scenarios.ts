import { setTimeout as sleep } from 'node:timers/promises'
import { createRandom } from '../../services/demo/random.ts'
import type { EventLog } from '../../topology/ports/event-log.ts'
import { topologyOf } from '../../topology/topology.ts'
import { growTopic } from './grow-topic.ts'
import { keepLife } from './lives.ts'
import type { RedisServer } from '../../topology/stack/redis.ts'
import type { Placement, Production } from './traffic.ts'
import { SESSION_TIMEOUT_MS } from './world.ts'
import type { World } from './world.ts'

/** One way in which things go wrong while events come in. */
export interface Scenario {
  readonly about: string
  readonly brokers?: 3
  readonly replica?: true
  readonly place?: (seed: number, partitions: number) => Placement
  /** Breaks things while events are produced; resolves when everything is there again. */
  readonly happen: (world: World, production: Production, seed: number) => Promise<void>
}

const RECREATE_POLL_MS = 100

async function replicationOffset(redis: RedisServer): Promise<number> {
  const info = String(await redis.command('INFO', 'replication'))
  return Number(/^master_repl_offset:(\d+)/m.exec(info)?.[1])
}

async function incarnationOf(log: EventLog, topic: string): Promise<string | null> {
  return (await log.describe(topic))?.incarnation ?? null
}

/** Runs a fault again and again while events are produced, at least once. */
async function whileProducing(production: Production, pauseMs: number, fault: (round: number) => Promise<void>) {
  for (let round = 0; round === 0 || production.running(); round++) {
    await sleep(pauseMs)
    await fault(round)
  }
}

/** Resolves when this share of the events is in the log. */
async function untilShare(world: World, production: Production, share: number): Promise<void> {
  while (production.written() < share * world.scale.events) await sleep(20)
}

export const SCENARIOS: Readonly<Record<string, Scenario>> = {
  'kill-workers': {
    about: 'kill -9 of a worker or writer every few seconds',
    happen: async (world, production, seed) => {
      const random = createRandom(seed)
      await whileProducing(production, world.scale.pauseMs, async () => {
        const index = random.whole(0, world.processes.length - 1)
        world.processes[index]?.signal('SIGKILL')
        await world.restart(index)
      })
    },
  },
  'rolling-restart': {
    about: 'every worker and the writer stopped and started, one after another',
    happen: async (world, production) => {
      await whileProducing(production, world.scale.pauseMs / 4, async round => {
        const index = round % world.processes.length
        const code = await world.processes[index]?.stop()
        if (code !== 0) throw new Error(`${world.processes[index]?.name} ended with ${code} when asked to stop`)
        await world.restart(index)
      })
    },
  },
  'frozen-worker': {
    about: 'a worker stopped with SIGSTOP past its session, then continued',
    happen: async (world, production) => {
      await whileProducing(production, world.scale.pauseMs, async round => {
        const worker = world.processes[round % world.scale.workers]
        worker?.signal('SIGSTOP')
        await sleep(SESSION_TIMEOUT_MS * 1.5)
        worker?.signal('SIGCONT')
      })
    },
  },
  'redis-failover': {
    about: 'Redis killed with replication paused, the replica promoted: acknowledged writes are lost',
    replica: true,
    happen: async (world, production) => {
      const { replica } = world
      if (replica === null) throw new Error('this run has no replica')
      await untilShare(world, production, 0.3)
      await replica.command('REPLICAOF', 'NO', 'ONE')
      const kept = await replicationOffset(replica)
      await untilShare(world, production, 0.6)
      const written = await replicationOffset(world.redis)
      if (written <= kept) throw new Error('nothing was written that the replica does not have')
      world.redis.kill('SIGKILL')
      await world.redis.exited
      world.redisProxy.lead(replica.port)
    },
  },
  'redis-emptied': {
    about: 'Redis killed and started again empty',
    happen: async (world, production) => {
      await untilShare(world, production, 0.5)
      world.redis.kill('SIGKILL')
      await world.redis.exited
      await world.redis.restart()
    },
  },
  'broker-restart': {
    about: 'one broker of three killed and started again, each in turn',
    brokers: 3,
    happen: async (world, production) => {
      await whileProducing(production, world.scale.pauseMs, async round => {
        const broker = world.kafka.brokers[round % world.kafka.brokers.length]
        broker?.kill('SIGKILL')
        await broker?.exited
        await sleep(world.scale.outageMs / 4)
        await broker?.restart()
      })
    },
  },
  'clickhouse-outage': {
    about: "ClickHouse's HTTP port refuses",
    happen: async (world, production) => {
      await untilShare(world, production, 0.2)
      world.clickhouseProxy.lead(null)
      await sleep(world.scale.outageMs)
      world.clickhouseProxy.lead(world.clickhousePort)
    },
  },
  'partitions-doubled': {
    about: 'the topic gets twice as many partitions while it is read and written',
    happen: async (world, production) => {
      await untilShare(world, production, 0.4)
      await growTopic(world.kafka.bootstrap, world.topic, world.scale.partitions * 2)
    },
  },
  'other-partitioner': {
    about: 'half of the events come from a producer that spreads keys otherwise',
    place: (seed, partitions) => {
      const random = createRandom(seed)
      return record => (random.chance(0.5) ? { ...record, partition: random.whole(0, partitions - 1) } : record)
    },
    happen: async () => undefined,
  },
  'topic-recreated': {
    about: 'the topic deleted and made anew',
    happen: async (world, production) => {
      const { log, project } = world.context
      await untilShare(world, production, 0.5)
      await production.pause()
      const life = await keepLife(log, world.topic)
      world.formerLives.push(life)
      await log.deleteTopic(world.topic)
      while ((await incarnationOf(log, world.topic)) === life.incarnation) await sleep(RECREATE_POLL_MS)
      await log.ensureTopics(topologyOf(project.plan).topics)
      production.resume()
    },
  },
}
