import { settleAll } from '../../../settle.ts'
import type { Clock } from '../../../ports/clock.ts'
import { PortError } from '../../../ports/errors.ts'
import type { Canary, Lane, OnlineStore, Progress } from '../../../ports/online-store.ts'
import type { Telemetry } from '../../../ports/telemetry.ts'
import type { RedisConnectionOptions } from './connection.ts'
import { keyNames, parseCanary, slotOf } from './layout.ts'
import { load, read } from './read.ts'
import { openRouter } from './router.ts'
import { storeScope } from './scope.ts'
import type { StoreScope } from './scope.ts'
import { DOCUMENT } from './scripts.ts'
import { flush, initialiseCanaries } from './write.ts'

/** Options of `openRedisOnlineStore`. */
export interface RedisOnlineStoreOptions {
  readonly connection: RedisConnectionOptions
  /** Begins the name of every key; the keys that are read and written must have it, too. */
  readonly namespace: string
  /** Decides when sections end. */
  readonly clock: Clock
  readonly telemetry: Telemetry
}

/**
 * The online store in Redis 7 or later: one server, one behind sentinels, or a cluster. An entity's sections in a unit
 * are one string, their blocks one hash beside it, and a shard's keys have one hash tag; so a flush is one script call
 * for each shard, and a read one `MGET`. Nothing that may have been executed is sent twice. Errors: `STORE_UNAVAILABLE`
 * where no server can be reached and used, here and in every call; a write may then have been done.
 */
export async function openRedisOnlineStore(options: RedisOnlineStoreOptions): Promise<OnlineStore> {
  const { connection, namespace, clock, telemetry } = options
  const router = await openRouter(connection, telemetry)
  const scope = storeScope(router, keyNames(namespace), clock, telemetry)
  let closing: Promise<void> | null = null
  const open = (): void => {
    if (closing !== null) throw new PortError('CLOSED', 'the online store is closed')
  }
  return {
    capabilities: { survivesProcess: true, timeToLive: true },
    initialiseCanaries: async (lane, shardCount, start) => {
      open()
      return await initialiseCanaries(scope, lane, shardCount, start)
    },
    readCanaries: async (lane, shardCount) => {
      open()
      return await readCanaries(scope, lane, shardCount)
    },
    flush: async (lane, shards) => {
      open()
      return await flush(scope, lane, shards)
    },
    load: async (lane, shard, expected, keys) => {
      open()
      return await load(scope, lane, shard, expected, keys)
    },
    read: async keys => {
      open()
      return await read(scope, keys)
    },
    readDocument: async name => {
      open()
      return await readDocument(scope, name)
    },
    writeDocument: async (name, expected, next) => {
      open()
      return await writeDocument(scope, name, expected, next)
    },
    publishProgress: async progress => {
      open()
      await publishProgress(scope, progress)
    },
    readProgress: async () => {
      open()
      return await readProgress(scope)
    },
    close: async () => {
      closing ??= router.close()
      await closing
    },
  }
}

async function readCanaries(scope: StoreScope, lane: Lane, shardCount: number): Promise<readonly (Canary | null)[]> {
  const { router, names } = scope
  const keys = Array.from({ length: shardCount }, (_, shard) => names.canary(lane, shard))
  if (keys.length === 0) return []
  const found = router.clustered
    ? await settleAll(
        keys.map((key, shard) => router.send({ slot: scope.shardSlot(shard), command: 'get', keys: 1, args: [key] })),
      )
    : ((await router.send({ slot: 0, command: 'mget', keys: keys.length, args: keys })) as unknown[])
  return found.map(parseCanary)
}

async function readDocument({ router, names }: StoreScope, name: string): Promise<string | null> {
  const key = names.document(name)
  const text = await router.send({ slot: slotOf(key), command: 'get', keys: 1, args: [key] })
  return text instanceof Buffer ? text.toString() : null
}

async function writeDocument(
  { router, names }: StoreScope,
  name: string,
  expected: string | null,
  next: string,
): Promise<boolean> {
  const key = names.document(name)
  const args = [key, expected === null ? '0' : '1', expected ?? '', next]
  return (await router.send({ slot: slotOf(key), command: DOCUMENT, keys: 1, args })) === 1
}

async function publishProgress({ router, names }: StoreScope, progress: readonly Progress[]): Promise<void> {
  if (progress.length === 0) return
  const pairs = progress.flatMap(one => [JSON.stringify([one.feed, one.partition]), JSON.stringify(one)])
  const args = [names.progress, ...pairs]
  await router.send({ slot: slotOf(names.progress), command: 'hset', keys: 1, args })
}

async function readProgress({ router, names }: StoreScope): Promise<readonly Progress[]> {
  const values = await router.send({ slot: slotOf(names.progress), command: 'hvals', keys: 1, args: [names.progress] })
  return (values as Buffer[]).map(value => JSON.parse(value.toString()) as Progress)
}
