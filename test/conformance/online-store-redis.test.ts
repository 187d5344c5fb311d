import { beforeAll } from 'vitest'
import { describeWithRedis } from '../servers.ts'
import { connectionTo, redisSubject } from './online-store-redis.ts'
import { onlineStoreConformance } from './online-store.ts'

describeWithRedis('one Redis', servers => {
  let address: string
  beforeAll(async () => {
    const { host, port } = await servers.start()
    address = `${host}:${port}`
  })
  onlineStoreConformance('redis', () => redisSubject(connectionTo([address])))
})

describeWithRedis('a Redis Cluster of three', servers => {
  let addresses: readonly string[]
  beforeAll(async () => {
    ;({ addresses } = await servers.startCluster())
  })
  onlineStoreConformance('redis cluster', () => redisSubject(connectionTo(addresses, { mode: 'cluster' })))
})
