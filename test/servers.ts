import { appendFileSync, mkdtempSync, rmSync } from 'node:fs'
import { join } from 'node:path'
import { afterAll, describe, expect, inject, it } from 'vitest'
import { cacheFolder } from '../services/cache-folder.ts'
import { startRedisCluster } from '../topology/stack/redis-cluster.ts'
import type { RedisCluster, RedisClusterOptions } from '../topology/stack/redis-cluster.ts'
import { startRedisPair, startRedisSentinels } from '../topology/stack/redis-failover.ts'
import type {
  RedisPair,
  RedisPairOptions,
  RedisSentinelOptions,
  RedisSentinels,
} from '../topology/stack/redis-failover.ts'
import { redisProblem, startRedis } from '../topology/stack/redis.ts'
import type { RedisOptions, RedisServer } from '../topology/stack/redis.ts'
import { DEFAULT_KAFKA_VERSION, ensureKafkaJars } from '../topology/stack/kafka-jars.ts'
import { javaProblem, startKafka } from '../topology/stack/kafka.ts'
import type { KafkaCluster, KafkaOptions } from '../topology/stack/kafka.ts'

/** Starts real Redis servers in folders of their own; they end with the block. */
export interface RedisServers {
  start(options?: Omit<RedisOptions, 'folder'>): Promise<RedisServer>
  startPair(options?: Omit<RedisPairOptions, 'folder'>): Promise<RedisPair>
  startSentinels(options?: Omit<RedisSentinelOptions, 'folder'>): Promise<RedisSentinels>
  startCluster(options?: Omit<RedisClusterOptions, 'folder'>): Promise<RedisCluster>
}

/** What a block asks of its Kafka cluster. */
export type KafkaWishes = Pick<KafkaOptions, 'brokers' | 'version' | 'security' | 'settings'>

/** The block's Kafka cluster; a single broker without settings is shared by all blocks of a file that ask for the same. */
export interface KafkaServers {
  /** Starts it at the first call, and is the same cluster afterwards. */
  start(): Promise<KafkaCluster>
  /** A cluster of the same kind that nothing else uses. */
  startAnother(): Promise<KafkaCluster>
}

interface Killable {
  kill(signal: NodeJS.Signals): boolean
  readonly exited: Promise<unknown>
}

/** Servers of this test process; what a test left running is killed when the process ends. */
const running = new Set<Killable>()
process.on('exit', () => {
  for (const server of running) server.kill('SIGKILL')
})

/** A folder that goes with the run, also when this process is killed. */
function temporaryFolder(): string {
  return mkdtempSync(join(inject('serversFolder'), 'servers-'))
}

async function endServers(servers: Set<Killable>, folders: readonly string[]): Promise<void> {
  for (const server of servers) server.kill('SIGKILL')
  await Promise.all([...servers].map(server => server.exited))
  for (const server of servers) running.delete(server)
  servers.clear()
  for (const folder of folders) rmSync(folder, { recursive: true, force: true, maxRetries: 5 })
}

function redisServers(): RedisServers & { end(): Promise<void> } {
  const mine = new Set<Killable>()
  const folders: string[] = []
  const folder = (): string => {
    const path = temporaryFolder()
    folders.push(path)
    return path
  }
  const hold = (...servers: readonly Killable[]): void => {
    for (const server of servers) {
      running.add(server)
      mine.add(server)
    }
  }
  return {
    start: async options => {
      const server = await startRedis({ ...options, folder: folder() })
      hold(server)
      return server
    },
    startPair: async options => {
      const pair = await startRedisPair({ ...options, folder: folder() })
      hold(pair.primary, pair.replica)
      return pair
    },
    startSentinels: async options => {
      const watched = await startRedisSentinels({ ...options, folder: folder() })
      hold(watched.primary, watched.replica, ...watched.sentinels)
      return watched
    },
    startCluster: async options => {
      const cluster = await startRedisCluster({ ...options, folder: folder() })
      hold(...cluster.nodes)
      return cluster
    },
    end: () => endServers(mine, folders),
  }
}

interface StartedKafka {
  readonly cluster: Promise<KafkaCluster>
  readonly servers: Set<Killable>
  readonly folder: string
}

function openKafka(wishes: KafkaWishes): StartedKafka {
  const folder = temporaryFolder()
  const servers = new Set<Killable>()
  const cluster = startKafka({ ...wishes, folder, cache: cacheFolder() }).then(started => {
    for (const broker of started.brokers) {
      running.add(broker)
      servers.add(broker)
    }
    return started
  })
  return { cluster, servers, folder }
}

async function endKafka(kafka: StartedKafka): Promise<void> {
  await kafka.cluster.catch(() => null)
  await endServers(kafka.servers, [kafka.folder])
}

/** Clusters shared by the blocks of this file, by what was asked for. */
const shared = new Map<string, StartedKafka>()

function kafkaServers(wishes: KafkaWishes): KafkaServers & { end(): Promise<void> } {
  const own: StartedKafka[] = []
  const sharable = (wishes.brokers ?? 1) === 1 && wishes.settings === undefined
  const key = sharable ? JSON.stringify([wishes.version, wishes.security]) : JSON.stringify([shared.size, wishes])
  return {
    start: () => {
      const held = shared.get(key) ?? openKafka(wishes)
      shared.set(key, held)
      return held.cluster
    },
    startAnother: () => {
      const kafka = openKafka(wishes)
      own.push(kafka)
      return kafka.cluster
    },
    end: async () => {
      const mine = own.splice(0)
      const block = sharable ? undefined : shared.get(key)
      if (block !== undefined) {
        shared.delete(key)
        mine.push(block)
      }
      await Promise.all(mine.map(endKafka))
    },
  }
}

/** Where a server cannot be had: in CI a failed test, elsewhere a skipped block that is named at the end of the run. */
function notRun(what: string, why: string, block: () => void): void {
  if (process.env['CI'] !== undefined && process.env['CI'] !== '') {
    it(`${what} can be started`, () => {
      expect.fail(why)
    })
    return
  }
  const line = `NOT RUN: ${what}, because ${why.split('\n')[0]}`
  appendFileSync(join(inject('serversFolder'), 'not-run'), `${line}\n`)
  describe.skipIf(true)(`not run: ${why}`, () => {
    block()
  })
}

/**
 * A block of tests against real Redis servers. They are started when a test or a hook asks for them, and killed after the
 * block. Where no Redis can be had the block is reported as not run; in CI it fails.
 */
export function describeWithRedis(name: string, block: (servers: RedisServers) => void): void {
  describe(`${name} (Redis)`, () => {
    const servers = redisServers()
    const problem = redisProblem()
    if (problem !== null) return notRun(`${name} (Redis)`, problem, () => block(servers))
    afterAll(() => servers.end())
    block(servers)
  })
}

let sharedEnds = false

/**
 * A block of tests against a real Kafka cluster, started when a test or a hook asks for it. Blocks of one file share a
 * single broker, which ends with the file: tests use topics and groups of their own. Where no Kafka can be had the block
 * is reported as not run; in CI it fails.
 */
export function describeWithKafka(name: string, block: (servers: KafkaServers) => void): void
export function describeWithKafka(name: string, wishes: KafkaWishes, block: (servers: KafkaServers) => void): void
export function describeWithKafka(
  name: string,
  ...rest: readonly [(servers: KafkaServers) => void] | readonly [KafkaWishes, (servers: KafkaServers) => void]
): void {
  const wishes = rest.length === 1 ? {} : rest[0]
  const block = rest.length === 1 ? rest[0] : rest[1]
  if (!sharedEnds) {
    sharedEnds = true
    afterAll(async () => {
      await Promise.all([...shared.values()].map(endKafka))
      shared.clear()
    })
  }
  describe(`${name} (Kafka)`, async () => {
    const servers = kafkaServers(wishes)
    const problem = await kafkaProblem(wishes.version ?? DEFAULT_KAFKA_VERSION)
    if (problem !== null) return notRun(`${name} (Kafka)`, problem, () => block(servers))
    afterAll(() => servers.end())
    block(servers)
  })
}

async function kafkaProblem(version: string): Promise<string | null> {
  const java = javaProblem()
  if (java !== null) return java
  try {
    await ensureKafkaJars(cacheFolder(), version, line => process.stderr.write(`${line}\n`))
    return null
  } catch (error) {
    return error instanceof Error ? error.message : String(error)
  }
}
