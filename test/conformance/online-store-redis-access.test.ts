import { beforeAll, describe, expect, it } from 'vitest'
import { STORE_COMMANDS, aclRules } from '../../topology/adapters/online-store/redis/access.ts'
import { onlineKey } from '../../topology/ports/online-layout.ts'
import { SHARD_COUNT } from '../../topology/ports/online-store.ts'
import type { RedisCluster } from '../../topology/stack/redis-cluster.ts'
import type { RedisServer } from '../../topology/stack/redis.ts'
import { describeWithRedis } from '../servers.ts'
import { block, bytes, entity, fresh, freshLane, reading, start, write } from './online-store-harness.ts'
import { connectionTo, openStore, redisSubject } from './online-store-redis.ts'
import { onlineStoreConformance } from './online-store.ts'

/** The rules of a user that may touch every namespace of the suite, otherwise the least. */
const leastRights = (): readonly string[] => aclRules('*', false).map(rule => (rule === '~hw:*:*' ? '~hw:*' : rule))

describeWithRedis('Redis with TLS, a client certificate and a user of the least rights', servers => {
  let server: RedisServer
  const user = { name: 'headwater', password: 'a password' }
  beforeAll(async () => {
    const admin = { name: 'admin', password: 'admin', rules: ['~*', '&*', '+@all'] }
    const users = [admin, { ...user, rules: leastRights() }]
    server = await servers.start({ tls: true, users, args: ['--tls-auth-clients', 'yes'] })
  })
  const secured = () => {
    const { ca, clientCert, clientKey } = server.certificates ?? { ca: '', clientCert: '', clientKey: '' }
    const login = { username: user.name, password: user.password }
    return connectionTo([`${server.host}:${server.port}`], {
      ...login,
      tls: true,
      tlsCa: ca,
      tlsCert: clientCert,
      tlsKey: clientKey,
    })
  }

  onlineStoreConformance('redis with TLS and ACL', () => redisSubject(secured()))

  describe('rights and certificates', () => {
    it('asks for no right that it does not use', async () => {
      // A section whose blocks had an end, then none, and that then has no blocks.
      const store = await openStore(secured())
      const lane = freshLane()
      const { key, shard } = entity('rights', 'a')
      await store.initialiseCanaries(lane, SHARD_COUNT, start)
      const beside = { levels: 1, blocks: [block(0, 1, 1)] }
      const writes = [
        write(key, 1, bytes(1), 5_000, beside),
        write(key, 2, bytes(2), 0, beside),
        write(key, 3, bytes(3)),
      ]
      for (const each of writes) await store.flush(lane, [{ shard, expected: start, next: start, writes: [each] }])
      await store.close()
      const stats = String(await server.command('INFO', 'commandstats'))
      for (const command of STORE_COMMANDS) expect(stats, command).toContain(`cmdstat_${command}:calls=`)
    })

    it('names the files that are missing and the authority that is not trusted', async () => {
      const connection = secured()
      await expect(openStore({ ...connection, tlsCa: '' })).rejects.toMatchObject({
        code: 'STORE_UNAVAILABLE',
        message: expect.stringMatching(/onlineStore\.tls/),
      })
      await expect(openStore({ ...connection, tlsCa: '/nowhere/ca.pem' })).rejects.toMatchObject({
        code: 'STORE_UNAVAILABLE',
        message: expect.stringContaining('onlineStore.tlsCa: /nowhere/ca.pem cannot be read'),
      })
      await expect(openStore({ ...connection, tlsCert: '', tlsKey: '' })).rejects.toMatchObject({
        code: 'STORE_UNAVAILABLE',
      })
      await expect(openStore({ ...connection, tls: false })).rejects.toMatchObject({ code: 'STORE_UNAVAILABLE' })
    })

    it('says what a user may not do', async () => {
      const rules = ['resetkeys', '~hw:mine:*', '-@all', '+get', '+mget', '+info']
      await server.command('ACL', 'SETUSER', 'reader', 'on', '>reader', ...rules)
      const store = await openStore({ ...secured(), username: 'reader', password: 'reader' }, 'mine')
      expect(await store.read(reading([onlineKey('mine', 'card', 'a', 1)]))).toEqual([[]])
      const refused = { code: 'STORE_UNAVAILABLE', message: expect.stringMatching(/NOPERM.*headwater doctor/) }
      await expect(store.read(reading([onlineKey('other', 'card', 'a', 1)]))).rejects.toMatchObject(refused)
      await expect(store.initialiseCanaries(freshLane(), 4, start)).rejects.toMatchObject(refused)
      await store.close()
    })
  })
})

describeWithRedis('a Redis Cluster with a user of the least rights', servers => {
  let cluster: RedisCluster
  beforeAll(async () => {
    cluster = await servers.startCluster()
    const rules = aclRules('owned', true)
    for (const node of cluster.nodes) await node.command('ACL', 'SETUSER', 'app', 'on', '>secret', ...rules)
  })

  it('is enough for writes and reads in every slot', async () => {
    const login = { mode: 'cluster', username: 'app', password: 'secret' } as const
    const store = await openStore(connectionTo(cluster.addresses, login), 'owned')
    const lane = freshLane()
    await store.initialiseCanaries(lane, SHARD_COUNT, start)
    const ids = Array.from({ length: 60 }, () => entity('owned', fresh('e')))
    for (const { key, shard } of ids) {
      const writes = [write(key, 1, bytes(1))]
      expect(await store.flush(lane, [{ shard, expected: start, next: start, writes }])).toMatchObject([{ ok: true }])
    }
    const found = await store.read(reading(ids.map(({ key }) => key)))
    expect(found.map(sections => sections.map(section => section.position))).toEqual(ids.map(() => [1]))
    expect(await store.readCanaries(lane, 1)).toEqual([start])
    await store.close()
  })
})
