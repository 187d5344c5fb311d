import { join, resolve } from 'node:path'
import { PortError } from '../ports/errors.ts'
import { freePorts } from './ports.ts'
import { connectRedis } from './redis-client.ts'
import { startRedis } from './redis.ts'
import type { RedisOptions, RedisServer } from './redis.ts'
import { until, withFreshPorts } from './server-process.ts'

const SLOTS = 16_384
const PRIMARIES = 3
const JOIN_MS = 30_000
const MIGRATED_KEYS_PER_CALL = 100
const MIGRATE_MS = 5_000

/** How a Redis Cluster is started; `args`, `appendonly` and `detached` as for one Redis. */
export interface RedisClusterOptions {
  /** Of its own; each node has a folder in it. */
  readonly folder: string
  readonly args?: readonly string[]
  readonly appendonly?: 'always' | 'everysec'
  readonly detached?: boolean
}

/** A running Redis Cluster of three primaries. */
export interface RedisCluster {
  readonly nodes: readonly RedisServer[]
  /** `host:port` of each node. */
  readonly addresses: readonly string[]
  stop(): Promise<void>
}

/** Whether a node sees every slot served and every node. */
export async function clusterIsOk(node: RedisServer): Promise<boolean> {
  try {
    const info = String(await node.command('CLUSTER', 'INFO'))
    const field = (name: string): string | undefined => new RegExp(`^${name}:(.*)\r?$`, 'm').exec(info)?.[1]?.trim()
    return (
      field('cluster_state') === 'ok' &&
      field('cluster_slots_ok') === String(SLOTS) &&
      field('cluster_known_nodes') === String(PRIMARIES)
    )
  } catch {
    return false
  }
}

/**
 * Starts a Redis Cluster of three primaries, each with a third of the slots; resolves when all agree that it is whole.
 * @throws PortError as `startRedis`
 */
export async function startRedisCluster(options: RedisClusterOptions): Promise<RedisCluster> {
  return withFreshPorts(async () => {
    const ports = await freePorts(2 * PRIMARIES)
    const nodes: RedisServer[] = []
    try {
      for (let i = 0; i < PRIMARIES; i++) nodes.push(await startRedis(nodeOptions(options, i, ports)))
      await formCluster(nodes, ports)
    } catch (error) {
      await Promise.all(nodes.map(node => node.stop()))
      throw error
    }
    return {
      nodes,
      addresses: nodes.map(node => `${node.host}:${node.port}`),
      stop: async () => {
        await Promise.all(nodes.map(node => node.stop()))
      },
    }
  })
}

function nodeOptions(options: RedisClusterOptions, index: number, ports: readonly number[]): RedisOptions {
  const [port = 0, clusterBusPort = 0] = ports.slice(2 * index, 2 * index + 2)
  const name = `redis-${index + 1}`
  return { ...options, name, folder: join(resolve(options.folder), name), port, clusterBusPort }
}

async function formCluster(nodes: readonly RedisServer[], ports: readonly number[]): Promise<void> {
  for (const [i, node] of nodes.entries()) {
    const from = Math.floor((i * SLOTS) / nodes.length)
    const to = Math.floor(((i + 1) * SLOTS) / nodes.length) - 1
    await node.command('CLUSTER', 'SET-CONFIG-EPOCH', i + 1)
    await node.command('CLUSTER', 'ADDSLOTSRANGE', from, to)
  }
  const [first, ...others] = nodes
  for (const [i, node] of others.entries()) {
    await first?.command('CLUSTER', 'MEET', node.host, node.port, ports[2 * (i + 1) + 1] ?? 0)
  }
  const whole = async (): Promise<boolean> => (await Promise.all(nodes.map(clusterIsOk))).every(Boolean)
  if (!(await until(JOIN_MS, whole))) {
    throw new PortError('SERVER_FAILED', `the nodes of the Redis Cluster did not agree within ${JOIN_MS} ms`)
  }
}

/**
 * Moves a slot from one primary to another, key by key, while clients read and write: the old owner answers ASK for
 * what has left it, and MOVED once all nodes were told.
 * @param between called after each call that moved keys, with how many have moved so far
 * @returns how many keys were moved
 */
export async function moveSlot(
  cluster: RedisCluster,
  slot: number,
  from: RedisServer,
  to: RedisServer,
  between: (movedKeys: number) => Promise<void> = async () => {},
): Promise<number> {
  const [source, target] = await Promise.all([connectRedis(from.address), connectRedis(to.address)])
  try {
    const fromId = await source.command('CLUSTER', 'MYID')
    const toId = await target.command('CLUSTER', 'MYID')
    await target.command('CLUSTER', 'SETSLOT', slot, 'IMPORTING', String(fromId))
    await source.command('CLUSTER', 'SETSLOT', slot, 'MIGRATING', String(toId))
    let moved = 0
    for (;;) {
      const keys = await source.command('CLUSTER', 'GETKEYSINSLOT', slot, MIGRATED_KEYS_PER_CALL)
      if (!Array.isArray(keys) || keys.length === 0) break
      await source.command('MIGRATE', to.host, to.port, '', 0, MIGRATE_MS, 'KEYS', ...keys.map(String))
      moved += keys.length
      await between(moved)
    }
    // The new owner first: should this end in between, the old one still sends clients there.
    await target.command('CLUSTER', 'SETSLOT', slot, 'NODE', String(toId))
    await source.command('CLUSTER', 'SETSLOT', slot, 'NODE', String(toId))
    for (const node of cluster.nodes) {
      if (node !== from && node !== to) await node.command('CLUSTER', 'SETSLOT', slot, 'NODE', String(toId))
    }
    return moved
  } finally {
    source.close()
    target.close()
  }
}
