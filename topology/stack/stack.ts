import { existsSync, mkdirSync, readFileSync, readdirSync, rmSync, writeFileSync } from 'node:fs'
import { join, resolve } from 'node:path'
import { PortError } from '../ports/errors.ts'
import { kafkaAnswers } from './kafka-client.ts'
import { ensureKafkaJars } from './kafka-jars.ts'
import { startKafka } from './kafka.ts'
import { withLock } from './lock.ts'
import { askRedis } from './redis-client.ts'
import { startRedisCluster } from './redis-cluster.ts'
import { startRedisSentinels } from './redis-failover.ts'
import { startRedis } from './redis.ts'
import { endRecorded, isAlive, launch, recordedServers } from './server-process.ts'
import type { ServerRecord } from './server-process.ts'

/** How Redis is laid out in a stack. */
export type RedisLayout = 'single' | 'cluster' | 'sentinel'

/** What a stack is made of. */
export interface StackShape {
  readonly brokers: 1 | 3
  readonly redis: RedisLayout
  readonly kafkaVersion: string
}

/** What `stack.json` says about a stack. */
export interface Stack extends StackShape {
  /** `host:port` of the brokers. */
  readonly bootstrap: readonly string[]
  /** `host:port` of the Redis server, of the sentinels, or of the nodes of the cluster. */
  readonly redisAddresses: readonly string[]
  /** The name under which the sentinels know the primary. */
  readonly sentinelName: string
}

/** Where and how a stack is started. */
export interface StackOptions {
  readonly folder: string
  /** Folder where jars of Kafka are kept between runs. */
  readonly cache: string
  readonly shape: StackShape
  /** Told a line at a time. */
  readonly onProgress: (line: string) => void
}

/** What one server of a stack does: it answers, it runs without answering, or it has ended. */
export interface ServerStatus {
  readonly record: ServerRecord
  readonly state: 'answers' | 'silent' | 'ended'
}

const STATE = 'stack.json'
const LOCK = 'stack.lock'
const SENTINEL_NAME = 'headwater'
const LOCK_MS = 1_000
const READY_MS = 90_000
const ANSWER_MS = 3_000
const GRACE_MS = 20_000

/** What is in a folder, or null when no stack was started there. */
export function readStack(folder: string): Stack | null {
  const file = join(folder, STATE)
  return existsSync(file) ? (JSON.parse(readFileSync(file, 'utf8')) as Stack) : null
}

/**
 * Starts the servers of a stack, which go on when this process ends. In a folder that has a stack, those of its servers
 * that have ended are started again, on the same ports and with the data they had.
 * @returns the stack, and the names of the servers that were started
 * @throws PortError SERVER_UNAVAILABLE when a program is not installed, SERVER_FAILED when a server does not start; what
 * this call had started is ended then
 */
export async function startStack(
  options: StackOptions,
): Promise<{ readonly stack: Stack; readonly started: readonly string[] }> {
  const folder = resolve(options.folder)
  return withLock(join(folder, LOCK), LOCK_MS, async () => {
    const stack = readStack(folder)
    if (stack !== null) return { stack, started: await startEnded(stack, options, folder) }
    await Promise.all(recordedServers(folder).map(record => endRecorded(record, GRACE_MS)))
    const made = await startNew(options, folder)
    writeFileSync(join(folder, STATE), `${JSON.stringify(made, null, 2)}\n`, { mode: 0o600 })
    return { stack: made, started: recordedServers(folder).map(record => record.name) }
  })
}

async function startNew(options: StackOptions, folder: string): Promise<Stack> {
  const { shape, cache, onProgress } = options
  const place = join(folder, 'kafka')
  for (const name of ['kafka', 'redis']) rmSync(join(folder, name), { recursive: true, force: true })
  mkdirSync(place, { recursive: true })
  const kafka = {
    folder: place,
    cache,
    brokers: shape.brokers,
    version: shape.kafkaVersion,
    detached: true,
    onProgress,
  }
  try {
    const [brokers, redis] = await Promise.allSettled([
      startKafka(kafka),
      startRedisIn(join(folder, 'redis'), shape.redis),
    ])
    if (brokers.status === 'rejected') throw brokers.reason
    if (redis.status === 'rejected') throw redis.reason
    return { ...shape, bootstrap: brokers.value.bootstrap, redisAddresses: redis.value, sentinelName: SENTINEL_NAME }
  } catch (error) {
    await Promise.all(recordedServers(folder).map(record => endRecorded(record, GRACE_MS)))
    throw error
  }
}

async function startRedisIn(folder: string, layout: RedisLayout): Promise<readonly string[]> {
  const options = { folder, appendonly: 'everysec', detached: true } as const
  switch (layout) {
    case 'single': {
      const { host, port } = await startRedis({ ...options, name: 'redis' })
      return [`${host}:${port}`]
    }
    case 'cluster':
      return (await startRedisCluster(options)).addresses
    case 'sentinel':
      return (await startRedisSentinels({ ...options, name: SENTINEL_NAME })).addresses
  }
}

async function startEnded(stack: Stack, options: StackOptions, folder: string): Promise<readonly string[]> {
  const { shape } = options
  const differs = (['brokers', 'redis', 'kafkaVersion'] as const).filter(key => stack[key] !== shape[key])
  if (differs.length > 0) {
    const has = differs.map(key => `${key} ${stack[key]}, not ${shape[key]}`).join('; ')
    throw new PortError('SERVER_FAILED', `the stack in ${folder} has ${has}; remove it with "stack down --purge" first`)
  }
  const ended = recordedServers(folder).filter(record => !isAlive(record))
  if (ended.some(record => record.kind === 'kafka')) {
    await ensureKafkaJars(options.cache, stack.kafkaVersion, options.onProgress)
  }
  const launched = await Promise.allSettled(ended.map(record => launch(record, { detached: true, readyMs: READY_MS })))
  const failed = launched.find(each => each.status === 'rejected')
  if (failed !== undefined) {
    const left = recordedServers(folder).filter(record => ended.some(each => each.name === record.name))
    await Promise.all(left.map(record => endRecorded(record, GRACE_MS)))
    throw failed.reason
  }
  return ended.map(record => record.name)
}

async function answers(record: ServerRecord): Promise<boolean> {
  const { kind, host, port } = record
  if (kind === 'kafka') return kafkaAnswers(host, port, ANSWER_MS)
  try {
    return (await askRedis({ host, port, timeoutMs: ANSWER_MS }, 'PING')) === 'PONG'
  } catch {
    return false
  }
}

/** Asks every server of a stack, each in its own protocol. */
export async function stackStatus(folder: string): Promise<readonly ServerStatus[]> {
  return Promise.all(
    recordedServers(resolve(folder)).map(async (record): Promise<ServerStatus> => {
      if (!isAlive(record)) return { record, state: 'ended' }
      return { record, state: (await answers(record)) ? 'answers' : 'silent' }
    }),
  )
}

/**
 * Ends the servers of a stack, the sentinels first.
 * @param purge removes their data and everything else that the stack wrote
 * @returns how each ended
 */
export async function stopStack(
  folder: string,
  purge: boolean,
): Promise<readonly { readonly name: string; readonly how: 'gone' | 'ended' | 'killed' }[]> {
  const place = resolve(folder)
  if (!existsSync(place)) return []
  return withLock(join(place, LOCK), LOCK_MS, async () => {
    const records = recordedServers(place)
    // Sentinels would take the end of their primary for a failure.
    const groups = [records.filter(each => each.kind === 'sentinel'), records.filter(each => each.kind !== 'sentinel')]
    const ended: { readonly name: string; readonly how: 'gone' | 'ended' | 'killed' }[] = []
    for (const group of groups) {
      const hows = await Promise.all(group.map(record => endRecorded(record, GRACE_MS)))
      ended.push(...group.map((record, i) => ({ name: record.name, how: hows[i] ?? 'gone' })))
    }
    if (purge) {
      for (const name of ['kafka', 'redis', STATE, 'stack.env'])
        rmSync(join(place, name), { recursive: true, force: true })
    }
    return ended
  }).finally(() => {
    if (purge && readdirSync(place).length === 0) rmSync(place, { recursive: true, force: true })
  })
}
