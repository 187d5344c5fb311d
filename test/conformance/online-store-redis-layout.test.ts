import { afterEach, beforeAll, beforeEach, expect, it } from 'vitest'
import { blocksKey } from '../../topology/adapters/online-store/redis/layout.ts'
import { onlineKey, shardOf } from '../../topology/ports/online-layout.ts'
import { SHARD_COUNT } from '../../topology/ports/online-store.ts'
import type { OnlineStore } from '../../topology/ports/online-store.ts'
import type { RedisServer } from '../../topology/stack/redis.ts'
import { describeWithRedis } from '../servers.ts'
import { at, block, blockId, bytes, entity, fresh, freshLane, reading, start, write } from './online-store-harness.ts'
import { connectionTo, counting, eventually, openStore, startProxy } from './online-store-redis.ts'
import type { Counted } from './online-store-redis.ts'

describeWithRedis('what the store makes of Redis', servers => {
  let server: RedisServer
  let telemetry: Counted
  let namespace: string
  let store: OnlineStore
  const lane = freshLane()
  beforeAll(async () => {
    server = await servers.start()
  })
  beforeEach(async () => {
    telemetry = counting()
    namespace = fresh('layout')
    store = await open()
    await store.initialiseCanaries(lane, SHARD_COUNT, start)
  })
  afterEach(async () => {
    await store.close()
  })

  const open = (): Promise<OnlineStore> =>
    openStore(connectionTo([`${server.host}:${server.port}`]), namespace, telemetry)

  /** Calls of each command that clients and scripts made while `work` ran. */
  async function callsOf(work: () => Promise<unknown>): Promise<Record<string, number>> {
    await server.command('CONFIG', 'RESETSTAT')
    await work()
    const stats = String(await server.command('INFO', 'commandstats'))
    const calls = [...stats.matchAll(/cmdstat_(\S+):calls=(\d+)/g)].map(match => [match[1], Number(match[2])])
    return Object.fromEntries(calls.filter(([name]) => name !== 'config|resetstat' && name !== 'info'))
  }

  async function flush(offset: number, writes: Parameters<typeof write>[]): Promise<void> {
    const made = writes.map(each => write(...each))
    const byShard = Map.groupBy(made, each => Number(/\{(\d+)\}/.exec(each.key)?.[1]))
    const shards = [...byShard].map(([shard, each]) => ({ shard, expected: start, next: at(offset), writes: each }))
    const outcomes = await store.flush(lane, shards)
    expect(outcomes.every(outcome => outcome.ok && outcome.refused === 0)).toBe(true)
  }

  it('reads six entities with one MGET, and six busy ones with their blocks in the same round trip once it knows them', async () => {
    const keys = Array.from({ length: 6 }, (_, i) => entity(namespace, `e${i}`).key)
    const busy = Array.from({ length: 6 }, (_, i) => entity(namespace, `b${i}`).key)
    await flush(
      1,
      keys.map(key => [key, 1, bytes(1)]),
    )
    const beside = { levels: 1, blocks: [block(0, 1, 1), block(0, 2, 2)] }
    await flush(
      2,
      busy.map(key => [key, 2, bytes(2), 0, beside]),
    )
    const ids = [blockId(0, 1), blockId(0, 2)]
    // The server has every script from here on.
    await store.read(reading(busy, ids))
    telemetry.counts.clear()
    const reader = await open()
    expect(await callsOf(() => reader.read(reading([...keys, ...busy], ids)))).toMatchObject({ mget: 1, evalsha: 1 })
    expect(telemetry.counts.get('online_store_unhinted_reads')).toBe(6)
    expect(telemetry.counts.get('online_store_incarnation_reads')).toBe(1)
    expect(await callsOf(() => reader.read(reading(keys, ids)))).toEqual({ mget: 1 })
    expect(await callsOf(() => reader.read(reading(busy, ids)))).toEqual({ mget: 1, hmget: 6 })
    expect(telemetry.counts.get('online_store_unhinted_reads')).toBe(6)
    await reader.close()
  })

  it('reads a busy entity again where a write came between its head and its blocks', async () => {
    const { key } = entity(namespace, 'a')
    const ids = [1, 2].map(index => blockId(0, index))
    const writeAt = (offset: number): Promise<void> =>
      flush(offset, [
        [key, offset, bytes(offset), 0, { levels: 1, blocks: ids.map(id => ({ id, bytes: bytes(offset) })) }],
      ])
    const proxy = await startProxy(server)
    const reader = await openStore(connectionTo([proxy.address]), namespace, telemetry)
    await writeAt(1)
    await reader.read(reading([key], ids))
    telemetry.counts.clear()
    await server.command('CONFIG', 'RESETSTAT')
    proxy.holdAt = 'hmget'
    const found = reader.read(reading([key], ids))
    await proxy.held()
    await eventually(async () => expect(String(await server.command('INFO', 'commandstats'))).toContain('cmdstat_mget'))
    await writeAt(2)
    proxy.release()
    const [section] = (await found)[0] ?? []
    expect(section?.position).toBe(2)
    expect([...(section?.blocks.values() ?? [])].map(value => [...value])).toEqual([[2], [2]])
    expect(telemetry.counts.get('online_store_repeated_reads')).toBe(1)
    await reader.close()
    await proxy.close()
  })

  it('flushes a shard with one script call that reads and writes each head once', async () => {
    const shard = 9
    const ids = Array.from({ length: 5000 }, (_, i) => `e${i}`).filter(id => shardOf('card', id) === shard)
    const keys = ids.slice(0, 10).map(id => onlineKey(namespace, 'card', id, 1))
    const calls = await callsOf(() =>
      flush(
        1,
        keys.map(key => [key, 1, bytes(1)]),
      ),
    )
    expect(calls).toEqual({ evalsha: 1, get: 11, set: 11 })
  })

  it('asks once for the blocks of a section that has none any more', async () => {
    const { key } = entity(namespace, 'a')
    await flush(1, [[key, 1, bytes(1), 0, { levels: 1, blocks: [block(0, 1, 1)] }]])
    await flush(2, [[key, 2, bytes(2)]])
    expect(telemetry.counts.get('online_store_retries blocks')).toBe(1)
    expect(await server.command('EXISTS', blocksKey(key))).toBe(0)
    await flush(3, [[key, 3, bytes(3)]])
    expect(telemetry.counts.get('online_store_retries blocks')).toBe(1)
    const another = await open()
    await another.flush(lane, [
      { shard: shardOf('card', 'a'), expected: start, next: at(4), writes: [write(key, 4, bytes(4))] },
    ])
    expect(telemetry.counts.get('online_store_retries blocks')).toBe(1)
    await another.close()
  })

  it('lets Redis remove an entity a while after its last section ended, with its blocks, and none that has no end', async () => {
    const [ends, stays] = [entity(namespace, 'ends').key, entity(namespace, 'stays').key]
    const beside = { levels: 1, blocks: [block(0, 1, 1)] }
    await flush(1, [
      [ends, 1, bytes(1), 5_000, beside],
      [stays, 1, bytes(1), 5_000, beside],
    ])
    const other = { ...lane, partition: 1 }
    await store.initialiseCanaries(other, SHARD_COUNT, start)
    const lasting = [write(stays, 1, bytes(1))]
    const longer = [write(ends, 1, bytes(1), 9_000, beside)]
    await store.flush(other, [
      { shard: shardOf('card', 'stays'), expected: start, next: at(1), writes: lasting },
      { shard: shardOf('card', 'ends'), expected: start, next: at(1), writes: longer },
    ])
    const left = async (key: string): Promise<number> => Number(await server.command('PTTL', key))
    for (const key of [ends, blocksKey(ends)]) {
      expect(await left(key)).toBeGreaterThan(9_000)
      expect(await left(key)).toBeLessThanOrEqual(9_000 + 60_000)
    }
    expect(await left(stays)).toBe(-1)
    await flush(2, [[stays, 2, bytes(2), 0, beside]])
    expect(await left(blocksKey(stays))).toBe(-1)
  })

  it('keeps an entity in little more than its section', async () => {
    const { key } = entity(namespace, 'card-0000001')
    await flush(1, [[key, 1, new Uint8Array(700)]])
    const used = Number(await server.command('MEMORY', 'USAGE', key, 'SAMPLES', 0))
    // Key, dictionary entry and the allocator's rounding; 21 bytes are the header's.
    expect(used).toBeLessThan(700 + 21 + key.length + 200)
    expect(await server.command('STRLEN', key)).toBe(721)
  })
})
