import { expect, it } from 'vitest'
import { clusterIsOk, moveSlot } from '../../topology/stack/redis-cluster.ts'
import { promote } from '../../topology/stack/redis-failover.ts'
import { until } from '../../topology/stack/server-process.ts'
import { describeWithRedis } from '../servers.ts'

describeWithRedis('Redis of the stack', servers => {
  it('keeps its port and, with an append-only file, its data over kill -9', async () => {
    const redis = await servers.start({ appendonly: 'always' })
    await redis.command('SET', 'k', 'v')
    const before = redis.pid
    redis.kill('SIGKILL')
    expect((await redis.exited).signal).toBe('SIGKILL')
    await redis.restart()
    expect(redis.pid).not.toBe(before)
    expect(await redis.command('GET', 'k')).toBe('v')
  })

  it('is encrypted and asks for a user when told to', async () => {
    const users = [{ name: 'app', password: 'a "quoted\\ secret', rules: ['~app:*', '&*', '+@all'] }]
    const redis = await servers.start({ tls: true, users })
    expect(await redis.command('SET', 'app:k', 'v')).toBe('OK')
    await expect(redis.command('SET', 'other', 'v')).rejects.toThrow('NOPERM')
  })

  it('promotes a replica, which goes on with what it copied', async () => {
    const { primary, replica } = await servers.startPair()
    await primary.command('SET', 'k', 'v')
    expect(await until(10_000, async () => (await replica.command('GET', 'k')) === 'v')).toBe(true)
    await expect(replica.command('SET', 'k', 'w')).rejects.toThrow('READONLY')
    primary.kill('SIGKILL')
    await promote(replica)
    expect(await replica.command('SET', 'k', 'w')).toBe('OK')
  })

  it('sentinels promote the replica of a dead primary', async () => {
    const watched = await servers.startSentinels({ downAfterMs: 500 })
    expect(await watched.primaryPort()).toBe(watched.primary.port)
    watched.primary.kill('SIGKILL')
    const moved = async (): Promise<boolean> => (await watched.primaryPort()) === watched.replica.port
    expect(await until(30_000, moved)).toBe(true)
    expect(await watched.replica.command('SET', 'k', 'v')).toBe('OK')
  })

  it('a cluster serves all slots and moves one, key by key', async () => {
    const cluster = await servers.startCluster()
    for (const node of cluster.nodes) expect(await clusterIsOk(node)).toBe(true)
    const slot = Number(await cluster.nodes[0]!.command('CLUSTER', 'KEYSLOT', '{7}'))
    const owner = Math.floor((slot * 3) / 16_384)
    const [from, to] = [cluster.nodes[owner]!, cluster.nodes[(owner + 1) % 3]!]
    for (let i = 0; i < 250; i++) await from.command('SET', `{7}:${i}`, i)
    const steps: number[] = []
    expect(await moveSlot(cluster, slot, from, to, async moved => void steps.push(moved))).toBe(250)
    expect(steps).toEqual([100, 200, 250])
    expect(await to.command('GET', '{7}:249')).toBe('249')
    await expect(from.command('GET', '{7}:0')).rejects.toThrow(`MOVED ${slot} 127.0.0.1:${to.port}`)
  })
})
