import { beforeAll, expect, it } from 'vitest'
import { slotOf } from '../../topology/adapters/online-store/redis/layout.ts'
import { onlineKey, shardOf } from '../../topology/ports/online-layout.ts'
import { SHARD_COUNT } from '../../topology/ports/online-store.ts'
import type { OnlineStore, Section } from '../../topology/ports/online-store.ts'
import { freePorts } from '../../topology/stack/ports.ts'
import { moveSlot } from '../../topology/stack/redis-cluster.ts'
import type { RedisCluster } from '../../topology/stack/redis-cluster.ts'
import type { RedisServer } from '../../topology/stack/redis.ts'
import { describeWithRedis } from '../servers.ts'
import { at, block, blockId, bytes, fresh, freshLane, loading, reading, start, write } from './online-store-harness.ts'
import { connectionTo, counting, eventually, inStep, openStore } from './online-store-redis.ts'

const SLOTS = 16_384
const BLOCKS = [blockId(0, 1), blockId(0, 2)]

/** The node that a cluster was started with for a slot. */
function ownerOf(cluster: RedisCluster, slot: number): number {
  return cluster.nodes.findIndex((_, i) => slot < Math.floor(((i + 1) * SLOTS) / cluster.nodes.length))
}

/** Entities of a shard. */
function idsOf(shard: number, count: number, prefix: string): string[] {
  const ids: string[] = []
  for (let i = 0; ids.length < count; i++) if (shardOf('card', `${prefix}${i}`) === shard) ids.push(`${prefix}${i}`)
  return ids
}

describeWithRedis('a Redis Cluster whose slots move', servers => {
  let cluster: RedisCluster
  beforeAll(async () => {
    cluster = await servers.startCluster()
  })

  it('spreads shards over slots as Redis itself does', async () => {
    const [node] = cluster.nodes
    for (const key of ['{0}', '{255}', 'hw:default:{17}:card:c1:3', 'hw:ns:!progress', 'a{}b', 'é{ключ}x', '{a}{b}']) {
      expect(await node?.command('CLUSTER', 'KEYSLOT', key)).toBe(slotOf(key))
    }
  })

  it('loses, repeats and tears nothing while slots move back and forth under writes and reads', async () => {
    const telemetry = counting()
    const namespace = fresh('moving')
    const connection = connectionTo(cluster.addresses, { mode: 'cluster' })
    const store = await openStore(connection, namespace, telemetry)
    const reader = await openStore(connection, namespace, telemetry)
    const lane = freshLane()
    await store.initialiseCanaries(lane, SHARD_COUNT, start)
    const shards = [3, 4]
    const quiet = shards.map(shard => idsOf(shard, 150, 'quiet'))
    const busy = shards.map(shard => idsOf(shard, 20, 'busy'))
    const keyOf = (id: string): string => onlineKey(namespace, 'card', id, lane.unit)
    const offsets = shards.map(() => -1)

    /** One flush of a shard: some quiet entities, and one busy one whose blocks all say the offset. */
    async function flushNext(index: number): Promise<void> {
      const shard = shards[index] ?? 0
      const before = offsets[index] ?? -1
      const offset = before + 1
      const value = bytes(offset & 255)
      const ids = Array.from({ length: 10 }, (_, i) => quiet[index]?.[(offset * 7 + i * 13) % 150] ?? '')
      const writes = [...new Set(ids)].map(id => write(keyOf(id), offset, value))
      const blocks = [1, 2].map(i => block(0, i, offset & 255))
      writes.push(write(keyOf(busy[index]?.[offset % 20] ?? ''), offset, value, 0, { levels: 1, blocks }))
      const [outcome] = await store.flush(lane, [{ shard, expected: at(before), next: at(offset), writes }])
      expect(outcome).toEqual({ ok: true, canary: at(offset), refused: 0 })
      offsets[index] = offset
    }

    /** No section goes back, and none is torn. */
    const seen = new Map<string, number>()
    async function readAll(from: OnlineStore): Promise<number> {
      const keys = [...quiet.flat(), ...busy.flat()].map(keyOf)
      const before = new Map(seen)
      const found = await from.read(reading(keys, BLOCKS))
      let sections = 0
      for (const [i, key] of keys.entries()) {
        const [section] = found[i] ?? []
        sections += section === undefined ? 0 : 1
        expect(section?.position ?? -1, key).toBeGreaterThanOrEqual(before.get(key) ?? -1)
        if (section !== undefined) {
          seen.set(key, Math.max(section.position, seen.get(key) ?? -1))
          expectWhole(section)
        }
      }
      return sections
    }
    function expectWhole(section: Section): void {
      const parts = [section.bytes, ...section.blocks.values()].map(part => [...part])
      expect(parts).toEqual(Array.from({ length: section.levels === 0 ? 1 : 3 }, () => [section.position & 255]))
    }

    for (let i = 0; i < 60; i++) await Promise.all(shards.map((_, index) => flushNext(index)))
    await readAll(reader)
    telemetry.counts.clear()

    let moving = true
    let flushes = 0
    let reads = 0
    const writers = shards.map(async (_, index) => {
      while (moving) {
        await flushNext(index)
        flushes++
      }
    })
    const readers = [reader, store].map(async each => {
      while (moving) {
        await readAll(each)
        reads++
      }
    })
    const loader = (async () => {
      while (moving) {
        const key = keyOf(busy[0]?.[0] ?? '')
        const loaded = await store.load(lane, shards[0] ?? 0, at(50), loading([key], BLOCKS))
        expect(loaded.ok).toBe(true)
        if (loaded.ok && loaded.sections[0]) expectWhole(loaded.sections[0])
      }
    })()
    const moved: number[] = []
    const mover = (async () => {
      for (let round = 0; round < 4; round++) {
        for (const shard of shards) {
          const slot = slotOf(`{${shard}}`)
          const home = ownerOf(cluster, slot)
          const [from, to] = [cluster.nodes[(home + round) % 3], cluster.nodes[(home + round + 1) % 3]]
          if (from === undefined || to === undefined) throw new Error('a cluster has three nodes')
          moved.push(await moveSlowly(cluster, slot, from, to))
        }
      }
    })().finally(() => (moving = false))
    await Promise.all([mover, loader, ...writers, ...readers])

    expect(Math.min(...moved)).toBeGreaterThan(100)
    expect(flushes).toBeGreaterThan(20)
    expect(reads).toBeGreaterThan(5)
    for (const why of ['moved', 'ask', 'tryagain']) {
      expect(telemetry.counts.get(`online_store_retries ${why}`), why).toBeGreaterThan(0)
    }
    const canaries = await store.readCanaries(lane, SHARD_COUNT)
    expect(shards.map(shard => canaries[shard])).toEqual(offsets.map(at))
    const last = await readAll(await freshReader())
    expect(last).toBe(quiet.flat().length + busy.flat().length)
    await expectNewest()
    await store.close()
    await reader.close()

    async function freshReader(): Promise<OnlineStore> {
      await reader.close()
      const another = await openStore(connection, namespace, telemetry)
      closing.push(another)
      return another
    }
    /** Every section is the one of the last flush that wrote it. */
    async function expectNewest(): Promise<void> {
      for (const [index, end] of offsets.entries()) {
        const newest = new Map<string, number>()
        for (let offset = 0; offset <= end; offset++) {
          for (let i = 0; i < 10; i++) newest.set(quiet[index]?.[(offset * 7 + i * 13) % 150] ?? '', offset)
          newest.set(busy[index]?.[offset % 20] ?? '', offset)
        }
        const ids = [...newest.keys()]
        const found = await store.read(reading(ids.map(keyOf), BLOCKS))
        expect(found.map(sections => sections.map(section => section.position))).toEqual(
          ids.map(id => [newest.get(id)]),
        )
      }
      for (const each of closing) await each.close()
    }
  })
})

describeWithRedis('a Redis Cluster that loses a primary', servers => {
  it('goes on with the replica that takes its place, which fences a writer that it does not know of', async () => {
    const cluster = await servers.startCluster()
    const [port = 0, clusterBusPort = 0] = await freePorts(2)
    // However long a slow machine keeps it stopped, it is to take its primary's place.
    const args = ['--cluster-replica-validity-factor', '0']
    const replica = await servers.start({ port, clusterBusPort, args })
    const [first] = cluster.nodes
    if (first === undefined) throw new Error('a cluster has nodes')
    await replica.command('CLUSTER', 'MEET', first.host, first.port, busPort(await first.command('CLUSTER', 'NODES')))
    const id = String(await first.command('CLUSTER', 'MYID'))
    await eventually(async () => expect(await replica.command('CLUSTER', 'REPLICATE', id)).toBe('OK'))
    await eventually(async () => {
      expect(await replica.command('INFO', 'replication')).toContain('master_link_status:up')
      const last = cluster.nodes.at(-1)
      expect(await last?.command('CLUSTER', 'NODES')).toMatch(new RegExp(`:${port}@.*slave ${id}`))
    })

    const telemetry = counting()
    const connection = connectionTo(cluster.addresses, { mode: 'cluster', commandTimeoutMs: 3_000 })
    const store = await openStore(connection, fresh('lost'), telemetry)
    const lane = freshLane()
    await store.initialiseCanaries(lane, SHARD_COUNT, at(0))
    const shard =
      Array.from({ length: SHARD_COUNT }, (_, i) => i).find(i => ownerOf(cluster, slotOf(`{${i}}`)) === 0) ?? 0
    const key = `hw:lost:{${shard}}:card:a:1`
    const flush = async (expected: number, offset: number): Promise<unknown> => {
      const writes = [write(key, offset, bytes(offset))]
      return (await store.flush(lane, [{ shard, expected: at(expected), next: at(offset), writes }]))[0]
    }
    expect(await flush(0, 5)).toMatchObject({ ok: true })
    await inStep(first, replica)
    // What is acknowledged while the replica is cut off is lost with the primary.
    replica.kill('SIGSTOP')
    await first.command('CLIENT', 'KILL', 'TYPE', 'replica')
    expect(await flush(5, 9)).toMatchObject({ ok: true, canary: at(9) })
    first.kill('SIGKILL')
    await first.exited
    replica.kill('SIGCONT')
    await expect(flush(9, 10)).rejects.toMatchObject({ code: 'STORE_UNAVAILABLE' })
    const [section] = await eventually(async () => {
      const [found] = await store.read(reading([key]))
      return found ?? []
    }, 1_200)
    expect(section?.position).toBe(5)
    expect(await flush(9, 10)).toEqual({ ok: false, canary: at(5) })
    expect(await flush(5, 10)).toEqual({ ok: true, canary: at(10), refused: 0 })
    expect(telemetry.counts.get('online_store_lost_connections')).toBeGreaterThan(0)
    await store.close()
  })
})

/** The port at which a node talks to its peers, by its own list. */
function busPort(nodes: unknown): number {
  return Number(/@(\d+)[^\n]* myself,/.exec(String(nodes))?.[1])
}

const closing: OnlineStore[] = []

/** Moves a slot with pauses in which part of its keys are on either side. */
async function moveSlowly(cluster: RedisCluster, slot: number, from: RedisServer, to: RedisServer): Promise<number> {
  return await moveSlot(cluster, slot, from, to, () => new Promise(resolve => setTimeout(resolve, 15)))
}
