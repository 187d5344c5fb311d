import { afterEach, beforeAll, beforeEach, expect, it } from 'vitest'
import { SHARD_COUNT } from '../../topology/ports/online-store.ts'
import type { OnlineStore, ShardFlush } from '../../topology/ports/online-store.ts'
import { promote } from '../../topology/stack/redis-failover.ts'
import type { RedisServer } from '../../topology/stack/redis.ts'
import { describeWithRedis } from '../servers.ts'
import { at, bytes, entity, fresh, freshLane, loading, reading, start, write } from './online-store-harness.ts'
import { connectionTo, counting, eventually, inStep, openStore, startProxy } from './online-store-redis.ts'
import type { Counted, Proxy } from './online-store-redis.ts'

const addressOf = ({ host, port }: { host: string; port: number }): string => `${host}:${port}`
const unavailable = { name: 'PortError', code: 'STORE_UNAVAILABLE' }

describeWithRedis('the fence on Redis', servers => {
  let server: RedisServer
  let proxy: Proxy
  let telemetry: Counted
  let namespace: string
  let store: OnlineStore
  /** Another way to the same server. */
  let direct: OnlineStore
  const lane = freshLane()
  const { key, shard } = entity('x', 'a')
  const one = (expected: number, offset: number): ShardFlush[] => [
    { shard, expected: at(expected), next: at(offset), writes: [write(key, offset, bytes(offset))] },
  ]
  const positions = async (): Promise<unknown> =>
    (await direct.read(reading([key]))).map(sections => sections.map(section => section.position))

  beforeAll(async () => {
    server = await servers.start()
  })
  beforeEach(async () => {
    await server.command('FLUSHALL')
    proxy = await startProxy(server)
    telemetry = counting()
    namespace = fresh('faults')
    const connection = connectionTo([proxy.address], { commandTimeoutMs: 500 })
    store = await openStore(connection, namespace, telemetry)
    direct = await openStore(connectionTo([addressOf(server)]), namespace)
    await store.initialiseCanaries(lane, SHARD_COUNT, at(0))
    proxy.takeRequests()
  })
  afterEach(async () => {
    await store.close()
    await direct.close()
    await proxy.close()
  })

  it('loads its scripts where the server does not have them, in the middle of a run too', async () => {
    await server.command('SCRIPT', 'FLUSH')
    telemetry.counts.clear()
    for (let offset = 1; offset <= 20; offset++) {
      if (offset % 7 === 0) await server.command('SCRIPT', 'FLUSH')
      expect(await store.flush(lane, one(offset - 1, offset))).toEqual([{ ok: true, canary: at(offset), refused: 0 }])
      expect(await store.load(lane, shard, at(offset), loading([key]))).toMatchObject({ ok: true })
    }
    // Flush and load, at first and after each of two times that the scripts were taken away.
    expect(telemetry.counts.get('online_store_retries noscript')).toBe(6)
  })

  it('fails a flush whose answer was lost, has it done once, and never sends it again', async () => {
    expect(await store.flush(lane, one(0, 1))).toMatchObject([{ ok: true }])
    await server.command('CONFIG', 'RESETSTAT')
    proxy.takeRequests()
    proxy.mode = 'swallow replies'
    const flushing = store.flush(lane, one(1, 2))
    await eventually(async () => expect(await direct.readCanaries(lane, SHARD_COUNT)).toContainEqual(at(2)))
    proxy.cut()
    await expect(flushing).rejects.toMatchObject({ ...unavailable, message: expect.stringContaining(proxy.address) })
    proxy.mode = 'pass'
    await eventually(() => store.readDocument('any'))
    expect(proxy.takeRequests().split('evalsha')).toHaveLength(2)
    expect(String(await server.command('INFO', 'commandstats'))).toMatch(/cmdstat_evalsha:calls=1,/)
    // Who starts again from what it last saw acknowledged does no harm.
    expect(await store.flush(lane, one(1, 2))).toEqual([{ ok: true, canary: at(2), refused: 1 }])
  })

  it('fails a flush that never arrived, and does not send it later', async () => {
    expect(await store.flush(lane, one(0, 1))).toMatchObject([{ ok: true }])
    proxy.mode = 'swallow requests'
    const flushing = store.flush(lane, one(1, 2))
    flushing.catch(() => undefined)
    proxy.cut()
    await expect(flushing).rejects.toMatchObject(unavailable)
    proxy.mode = 'pass'
    await eventually(() => store.readDocument('any'))
    expect(await positions()).toEqual([[1]])
    expect((await direct.readCanaries(lane, SHARD_COUNT))[shard]).toEqual(at(1))
  })

  it('fails what a server that stopped does not answer, and goes on when it does', async () => {
    await store.flush(lane, one(0, 1))
    server.kill('SIGSTOP')
    try {
      await expect(store.flush(lane, one(1, 2))).rejects.toMatchObject({
        ...unavailable,
        message: expect.stringMatching(/timed out|timeout|connection was lost/i),
      })
    } finally {
      server.kill('SIGCONT')
    }
    const [outcome] = await eventually(() => store.flush(lane, one(1, 3)))
    expect(outcome).toMatchObject({ ok: true, canary: at(3) })
    expect(await positions()).toEqual([[3]])
  })

  it('fails what is asked for while there is no connection, at once, and counts the lost one', async () => {
    await proxy.close()
    await eventually(() => expect(store.read(reading([key]))).rejects.toMatchObject(unavailable))
    await expect(store.flush(lane, one(0, 1))).rejects.toMatchObject(unavailable)
    expect(telemetry.counts.get('online_store_lost_connections')).toBeGreaterThan(0)
    expect(await positions()).toEqual([[]])
  })

  it('refuses everything once the server was emptied, until canaries are made anew', async () => {
    await store.flush(lane, one(0, 1))
    await server.command('FLUSHALL')
    expect(await store.flush(lane, one(1, 2))).toEqual([{ ok: false, canary: null }])
    expect(await store.load(lane, shard, at(1), loading([key]))).toEqual({ ok: false, canary: null })
    expect(await store.load(lane, shard, start, loading([key]))).toEqual({ ok: false, canary: null })
    expect(await store.readCanaries(lane, 2)).toEqual([null, null])
    expect(await server.command('DBSIZE')).toBe(0)
    await store.initialiseCanaries(lane, SHARD_COUNT, start)
    expect(await store.flush(lane, one(-1, 5))).toMatchObject([{ ok: true, refused: 0 }])
    // The reader has met the incarnation before; one that has not learns it from the new store.
    expect(await positions()).toEqual([[5]])
  })

  it('refuses two incarnations whose numbers are the same', async () => {
    // Both have the number 0xe920869f.
    const [first, second] = ['life-15r6lgc-j1w6f0', 'life-nvi6b1-7diool']
    await store.initialiseCanaries({ ...lane, incarnation: first }, 4, start)
    await expect(store.initialiseCanaries({ ...lane, incarnation: second }, 4, start)).rejects.toMatchObject({
      ...unavailable,
      message: expect.stringContaining(`${second} has the same number as ${first}`),
    })
    expect(await store.readCanaries({ ...lane, incarnation: second }, 4)).toEqual([null, null, null, null])
  })

  it('names a value that something else wrote, and leaves it alone', async () => {
    await server.command('SET', key, 'text of another program, longer than a header is')
    await expect(store.read(reading([key]))).rejects.toMatchObject({ message: expect.stringContaining(key) })
    await expect(store.flush(lane, one(0, 1))).rejects.toMatchObject({ message: expect.stringContaining('format') })
    await server.command('DEL', key)
    await server.command('RPUSH', key, 'a list')
    const beside = write(`${key}:beside`, 1, bytes(1))
    const flushed = [{ shard, expected: at(0), next: at(1), writes: [beside, write(key, 1, bytes(1))] }]
    await expect(store.flush(lane, flushed)).rejects.toMatchObject(unavailable)
    // Nothing of the shard was written.
    expect(await store.read(reading([`${key}:beside`]))).toEqual([[]])
    expect((await store.readCanaries(lane, SHARD_COUNT))[shard]).toEqual(at(0))
  })

  it('is told apart from a password that is wrong, without showing it', async () => {
    const secured = await servers.start({ users: [{ name: 'app', password: 'right', rules: ['~*', '&*', '+@all'] }] })
    const wrong = connectionTo([addressOf(secured)], { username: 'app', password: 'wr0ng-secret' })
    const failure = openStore(wrong)
    await expect(failure).rejects.toMatchObject({
      ...unavailable,
      message: expect.stringMatching(/WRONGPASS.*onlineStore\.password/),
    })
    await failure.catch((error: unknown) => {
      expect(JSON.stringify(error) + String(error) + String((error as Error).cause)).not.toContain('wr0ng')
    })
  })

  it('names a server that is not there, and what to look at', async () => {
    await expect(openStore(connectionTo(['127.0.0.1:1']))).rejects.toMatchObject({
      ...unavailable,
      message: expect.stringMatching(/127\.0\.0\.1:1.*onlineStore\.addresses/),
    })
    await expect(openStore(connectionTo(['nowhere:port:x']))).rejects.toMatchObject(unavailable)
  })
})

describeWithRedis('failovers of Redis', servers => {
  const lane = freshLane()
  const { key, shard } = entity('x', 'a')

  it('fences a writer whose replica was promoted without its last writes', async () => {
    const { primary, replica } = await servers.startPair()
    const proxy = await startProxy(primary)
    const telemetry = counting()
    const store = await openStore(connectionTo([proxy.address]), fresh('failover'), telemetry)
    const flush = async (expected: number, offset: number): Promise<unknown> =>
      (
        await store.flush(lane, [
          { shard, expected: at(expected), next: at(offset), writes: [write(key, offset, bytes(offset))] },
        ])
      )[0]
    await store.initialiseCanaries(lane, SHARD_COUNT, at(0))
    await flush(0, 5)
    await inStep(primary, replica)
    // From here on the replica follows no more: what is acknowledged now is lost with the primary.
    await promote(replica)
    expect(await flush(5, 9)).toMatchObject({ ok: true, canary: at(9) })
    proxy.target = replica
    proxy.cut()
    expect(await eventually(() => flush(9, 12))).toEqual({ ok: false, canary: at(5) })
    expect(await store.load(lane, shard, at(9), loading([key]))).toEqual({ ok: false, canary: at(5) })
    expect(await store.read(reading([key]))).toMatchObject([[{ position: 5 }]])
    expect(await flush(5, 12)).toEqual({ ok: true, canary: at(12), refused: 0 })
    await eventually(async () => expect(telemetry.counts.get('online_store_failovers')).toBe(1))
    await store.close()
    await proxy.close()
  })

  it('does not write to a replica', async () => {
    const { replica } = await servers.startPair()
    const store = await openStore(connectionTo([addressOf(replica)]), fresh('replica'))
    await expect(store.initialiseCanaries(lane, 4, start)).rejects.toMatchObject({
      ...unavailable,
      message: expect.stringMatching(/READONLY.*replica/),
    })
    await store.close()
  })

  it('follows the sentinels to the new primary, and is fenced there', async () => {
    const watched = await servers.startSentinels({ downAfterMs: 300 })
    const connection = connectionTo(watched.addresses, { mode: 'sentinel', commandTimeoutMs: 2_000 })
    const store = await openStore(connection, fresh('sentinel'))
    const flush = async (expected: number, offset: number): Promise<unknown> =>
      (
        await store.flush(lane, [
          { shard, expected: at(expected), next: at(offset), writes: [write(key, offset, bytes(offset))] },
        ])
      )[0]
    await store.initialiseCanaries(lane, SHARD_COUNT, at(0))
    expect(await flush(0, 5)).toMatchObject({ ok: true })
    await inStep(watched.primary, watched.replica)
    watched.primary.kill('SIGKILL')
    await expect(flush(5, 6)).rejects.toMatchObject(unavailable)
    const found = await eventually(async () => await store.load(lane, shard, at(5), loading([key])), 1_200)
    expect(found).toMatchObject({ ok: true, sections: [{ position: 5 }] })
    expect(await eventually(() => flush(5, 8))).toEqual({ ok: true, canary: at(8), refused: 0 })
    expect(await watched.primaryPort()).toBe(watched.replica.port)
    await store.close()
  })
})
