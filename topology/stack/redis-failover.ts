import { mkdirSync, writeFileSync } from 'node:fs'
import { join, resolve } from 'node:path'
import { PortError } from '../ports/errors.ts'
import { freePorts } from './ports.ts'
import { askRedis } from './redis-client.ts'
import { startRedis } from './redis.ts'
import type { RedisOptions, RedisServer } from './redis.ts'
import { startServer, until, withFreshPorts } from './server-process.ts'
import type { Server } from './server-process.ts'

const HOST = '127.0.0.1'
const SENTINELS = 3
const READY_MS = 20_000
const GRACE_MS = 5_000
const LINK_MS = 30_000

/** A primary and the replica that copies it. */
export interface RedisPair {
  readonly primary: RedisServer
  readonly replica: RedisServer
  stop(): Promise<void>
}

/** What both servers of a pair are started with. */
export type RedisPairOptions = Pick<RedisOptions, 'folder' | 'args' | 'appendonly' | 'detached'>

async function linkIsUp(replica: RedisServer): Promise<boolean> {
  const info = String(await replica.command('INFO', 'replication'))
  return info.includes('master_link_status:up')
}

/** Starts a primary and a replica; resolves when the replica has copied the primary and follows it. */
export async function startRedisPair(options: RedisPairOptions): Promise<RedisPair> {
  const folder = resolve(options.folder)
  const primary = await startRedis({ ...options, name: 'redis-1', folder: join(folder, 'redis-1') })
  try {
    const replica = await startRedis({
      ...options,
      name: 'redis-2',
      folder: join(folder, 'redis-2'),
      replicaOf: { host: primary.host, port: primary.port },
    })
    const stop = async (): Promise<void> => {
      await Promise.all([primary.stop(), replica.stop()])
    }
    if (await until(LINK_MS, () => linkIsUp(replica))) return { primary, replica, stop }
    await stop()
    throw new PortError('SERVER_FAILED', `the replica does not follow its primary after ${LINK_MS} ms`)
  } catch (error) {
    await primary.stop()
    throw error
  }
}

/** Makes a replica a primary of its own, with what it has copied so far. */
export async function promote(replica: RedisServer): Promise<void> {
  await replica.command('REPLICAOF', 'NO', 'ONE')
}

/** Three sentinels that watch a pair and promote the replica when two of them agree that the primary is gone. */
export interface RedisSentinels extends RedisPair {
  readonly sentinels: readonly Server[]
  /** `host:port` of each sentinel. */
  readonly addresses: readonly string[]
  /** The name under which the sentinels know the primary. */
  readonly name: string
  /** Port of the primary by what most sentinels say, or null while they disagree. */
  primaryPort(): Promise<number | null>
}

/** How a pair with sentinels is started. */
export interface RedisSentinelOptions extends RedisPairOptions {
  /** `headwater` when absent. */
  readonly name?: string
  /** How long the primary must be silent before it counts as gone; 1,000 when absent. */
  readonly downAfterMs?: number
}

function sentinelConfiguration(name: string, port: number, primaryPort: number, downAfterMs: number): string {
  return [
    `port ${port}`,
    `bind ${HOST}`,
    'daemonize no',
    `sentinel monitor ${name} ${HOST} ${primaryPort} 2`,
    `sentinel down-after-milliseconds ${name} ${downAfterMs}`,
    `sentinel failover-timeout ${name} ${10 * downAfterMs}`,
    `sentinel parallel-syncs ${name} 1`,
    '',
  ].join('\n')
}

/** Starts a pair and three sentinels; resolves when each sentinel knows the replica and the other two. */
export async function startRedisSentinels(options: RedisSentinelOptions): Promise<RedisSentinels> {
  const name = options.name ?? 'headwater'
  const pair = await startRedisPair(options)
  const sentinels: Server[] = []
  const stop = async (): Promise<void> => {
    await Promise.all(sentinels.map(sentinel => sentinel.stop()))
    await pair.stop()
  }
  const ask = async (sentinel: Server, what: string): Promise<unknown> =>
    askRedis({ host: HOST, port: sentinel.spec.port }, 'SENTINEL', what, name)
  const knowsAll = async (): Promise<boolean> => {
    for (const sentinel of sentinels) {
      const [replicas, others] = [await ask(sentinel, 'REPLICAS'), await ask(sentinel, 'SENTINELS')]
      if (!Array.isArray(replicas) || !Array.isArray(others)) return false
      if (replicas.length !== 1 || others.length !== SENTINELS - 1) return false
    }
    return true
  }
  try {
    for (let i = 1; i <= SENTINELS; i++) sentinels.push(await startSentinel(options, name, i, pair.primary.port))
    if (!(await until(LINK_MS, knowsAll))) {
      throw new PortError('SERVER_FAILED', `the sentinels did not find each other within ${LINK_MS} ms`)
    }
  } catch (error) {
    await stop()
    throw error
  }
  return {
    ...pair,
    name,
    sentinels,
    addresses: sentinels.map(({ spec }) => `${spec.host}:${spec.port}`),
    stop,
    primaryPort: async () => {
      const answers = await Promise.all(sentinels.map(each => ask(each, 'GET-MASTER-ADDR-BY-NAME').catch(() => null)))
      const ports = answers.flatMap(answer => (Array.isArray(answer) ? [Number(answer[1])] : []))
      return ports.find(port => ports.filter(other => other === port).length > SENTINELS / 2) ?? null
    },
  }
}

function startSentinel(
  options: RedisSentinelOptions,
  name: string,
  index: number,
  primaryPort: number,
): Promise<Server> {
  return withFreshPorts(async () => {
    const [port = 0] = await freePorts(1)
    const folder = join(resolve(options.folder), `sentinel-${index}`)
    mkdirSync(folder, { recursive: true })
    const file = join(folder, 'sentinel.conf')
    writeFileSync(file, sentinelConfiguration(name, port, primaryPort, options.downAfterMs ?? 1_000), { mode: 0o600 })
    return startServer(
      {
        name: `sentinel-${index}`,
        kind: 'sentinel',
        host: HOST,
        port,
        folder,
        command: 'redis-server',
        args: [file, '--sentinel'],
        readyLine: 'Sentinel ID is',
      },
      { detached: options.detached ?? false, readyMs: READY_MS, graceMs: GRACE_MS },
    )
  })
}
