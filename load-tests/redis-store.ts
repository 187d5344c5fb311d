import { mkdtempSync, rmSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { Redis } from 'ioredis'
import { systemClock } from '../services/clock.ts'
import { createTelemetry } from '../services/telemetry.ts'
import { openRedisOnlineStore } from '../topology/adapters/online-store/redis/store.ts'
import { onlineKey, shardOf } from '../topology/ports/online-layout.ts'
import type { Canary, Lane, OnlineStore, SectionWrite } from '../topology/ports/online-store.ts'
import { SHARD_COUNT } from '../topology/ports/online-store.ts'
import { startRedis } from '../topology/stack/redis.ts'
import { bestRate, ratioRow } from './rows.ts'
import type { BenchRow } from './rows.ts'

const NAMESPACE = 'bench'
const CARDS = 10_000
const SECTION_BYTES = 700
const ENTITIES_PER_CALL = 50
const FLUSHES_PER_ROUND = 400
const READS_PER_ROUND = 20_000
const BUSY_READS_PER_ROUND = 6_000
const READ_ENTITIES = 6
const READS_IN_FLIGHT = 16
const ROUNDS = 5
const BLOCKS_PER_READ = 4
const LANE: Lane = { unit: 1, incarnation: '1f0c2a52-6c4b-4d0e-9d54-0a9d2c0e6a11', partition: 3 }

/** What one call of the store flushes, and the same entities as a pipeline of SETs would write them. */
interface Batch {
  readonly shard: number
  readonly keys: readonly string[]
}

/** Keys by shard, cut into calls of `ENTITIES_PER_CALL`. */
function batches(): readonly Batch[] {
  const byShard = Map.groupBy(
    Array.from({ length: CARDS * 2 }, (_, i) => `card-${String(i).padStart(7, '0')}`),
    id => shardOf('card', id),
  )
  return [...byShard].flatMap(([shard, ids]) => {
    const keys = ids.slice(0, ENTITIES_PER_CALL).map(id => onlineKey(NAMESPACE, 'card', id, LANE.unit))
    return keys.length === ENTITIES_PER_CALL ? [{ shard, keys }] : []
  })
}

function writeOf(key: string, position: number, bytes: Uint8Array): SectionWrite {
  return { key, position, bytes, levels: 0, blocks: [], base: -1, drops: [], ttlMs: 0 }
}

async function flushRound(
  store: OnlineStore,
  work: readonly Batch[],
  bytes: Uint8Array,
  canaries: Canary[],
): Promise<void> {
  for (let i = 0; i < FLUSHES_PER_ROUND; i++) {
    const { shard, keys } = work[i % work.length] ?? { shard: 0, keys: [] }
    const expected = canaries[shard] ?? { offset: -1, arrivalMs: 0 }
    const next = { offset: expected.offset + 1, arrivalMs: 1_700_000_000_000 }
    const writes = keys.map(key => writeOf(key, next.offset, bytes))
    const [outcome] = await store.flush(LANE, [{ shard, expected, next, writes }])
    if (outcome?.ok !== true || outcome.refused > 0) throw new Error('a flush of the benchmark was refused')
    canaries[shard] = outcome.canary
  }
}

async function setRound(client: Redis, work: readonly Batch[], bytes: Buffer): Promise<void> {
  for (let i = 0; i < FLUSHES_PER_ROUND; i++) {
    const pipeline = client.pipeline()
    for (const key of work[i % work.length]?.keys ?? []) pipeline.set(key, bytes)
    await pipeline.exec()
  }
}

/** Reads, `READS_IN_FLIGHT` at a time, so that neither side waits for the network alone. */
async function readRound(reads: number, read: (from: number) => Promise<unknown>): Promise<void> {
  let next = 0
  const one = async (): Promise<void> => {
    while (next < reads) {
      next += 1
      await read(next * READ_ENTITIES)
    }
  }
  await Promise.all(Array.from({ length: READS_IN_FLIGHT }, one))
}

/**
 * The online store on Redis against the bare client on the same server, in the same run: guarded flushes of fifty
 * entities against pipelines of plain SETs of the same bytes, and reads of six entities against a bare MGET.
 */
export async function benchRedisStore(): Promise<readonly BenchRow[]> {
  const folder = mkdtempSync(join(tmpdir(), 'headwater-bench-redis-'))
  const server = await startRedis({ folder })
  const client = new Redis({ host: server.host, port: server.port, protocol: 2 })
  const connection = {
    mode: 'single',
    addresses: [`${server.host}:${server.port}`],
    sentinelName: '',
    username: '',
    password: '',
    sentinelPassword: '',
    commandTimeoutMs: 10_000,
    tls: false,
    tlsCa: '',
    tlsCert: '',
    tlsKey: '',
  } as const
  const telemetry = createTelemetry('warn')
  const store = await openRedisOnlineStore({ connection, namespace: NAMESPACE, clock: systemClock, telemetry })
  try {
    return [...(await flushRows(store, client)), ...(await readRows(store, client)), ...(await sizeRows(store, client))]
  } finally {
    await store.close()
    client.disconnect()
    await server.stop()
    rmSync(folder, { recursive: true, force: true })
  }
}

async function flushRows(store: OnlineStore, client: Redis): Promise<readonly BenchRow[]> {
  const bytes = new Uint8Array(SECTION_BYTES).map((_, i) => i * 7)
  const work = batches()
  const canaries = [...(await store.initialiseCanaries(LANE, SHARD_COUNT, { offset: -1, arrivalMs: 0 }))]
  const entities = FLUSHES_PER_ROUND * ENTITIES_PER_CALL
  const flushed = await bestRate(ROUNDS, entities, () => flushRound(store, work, bytes, canaries))
  const plain = Buffer.alloc(SECTION_BYTES + 21, 7)
  const set = await bestRate(ROUNDS, entities, () => setRound(client, work, plain))
  // What the SETs wrote is no head; the reads that follow need heads again.
  await client.del(...work.flatMap(batch => batch.keys))
  await flushRound(store, work, bytes, canaries)
  return [ratioRow('redis: entities in guarded flushes of 50, against pipelines of SET', flushed, 'entities/s', set)]
}

async function readRows(store: OnlineStore, client: Redis): Promise<readonly BenchRow[]> {
  const keys = batches().flatMap(batch => batch.keys)
  const six = (from: number): string[] =>
    Array.from({ length: READ_ENTITIES }, (_, i) => keys[(from + i * 997) % keys.length] ?? '')
  const none: readonly number[] = []
  const read = (from: number): Promise<unknown> => store.read(six(from).map(key => ({ key, blocks: () => none })))
  const stored = await bestRate(ROUNDS, READS_PER_ROUND, () => readRound(READS_PER_ROUND, read))
  const bareRead = (from: number): Promise<unknown> => client.mgetBuffer(...six(from))
  const bare = await bestRate(ROUNDS, READS_PER_ROUND, () => readRound(READS_PER_ROUND, bareRead))
  const busy = await busyRow(store, client)
  return [ratioRow('redis: reads of 6 entities, against a bare MGET', stored, 'reads/s', bare), busy]
}

/** Six busy entities with four blocks each, against a bare MGET of as many keys and bytes. */
async function busyRow(store: OnlineStore, client: Redis): Promise<BenchRow> {
  const lane = { ...LANE, unit: 2 }
  await store.initialiseCanaries(lane, SHARD_COUNT, { offset: -1, arrivalMs: 0 })
  const ids = Array.from({ length: BLOCKS_PER_READ }, (_, i) => 16 * (1000 + i))
  const bytes = Buffer.alloc(SECTION_BYTES, 3)
  const keys: string[] = []
  const plain: string[] = []
  for (let i = 0; i < READ_ENTITIES; i++) {
    const key = onlineKey(NAMESPACE, 'card', `busy-${i}`, lane.unit)
    keys.push(key)
    const writes = [{ ...writeOf(key, 1, bytes), levels: 1, blocks: ids.map(id => ({ id, bytes })) }]
    const offsets = { expected: { offset: -1, arrivalMs: 0 }, next: { offset: -1, arrivalMs: 0 } }
    await store.flush(lane, [{ shard: shardOf('card', `busy-${i}`), ...offsets, writes }])
    for (let part = 0; part <= BLOCKS_PER_READ; part++) {
      plain.push(`bench:plain:${i}:${part}`)
      await client.set(`bench:plain:${i}:${part}`, bytes)
    }
  }
  const read = (): Promise<unknown> => store.read(keys.map(key => ({ key, blocks: () => ids })))
  const count = BUSY_READS_PER_ROUND
  const stored = await bestRate(ROUNDS, count, () => readRound(count, read))
  const bare = await bestRate(ROUNDS, count, () => readRound(count, () => client.mgetBuffer(...plain)))
  return ratioRow('redis: reads of 6 busy entities with 4 blocks each, against a bare MGET', stored, 'reads/s', bare)
}

async function sizeRows(store: OnlineStore, client: Redis): Promise<readonly BenchRow[]> {
  const used = async (): Promise<number> => Number(/used_memory:(\d+)/.exec(await client.info('memory'))?.[1])
  const lane = { ...LANE, unit: 3 }
  await store.initialiseCanaries(lane, SHARD_COUNT, { offset: -1, arrivalMs: 0 })
  const before = await used()
  const bytes = new Uint8Array(SECTION_BYTES)
  const ids = Array.from({ length: CARDS }, (_, i) => `card-${String(i).padStart(7, '0')}`)
  const start = { offset: -1, arrivalMs: 0 }
  const shards = [...Map.groupBy(ids, id => shardOf('card', id))].map(([shard, members]) => ({
    shard,
    expected: start,
    next: { offset: 1, arrivalMs: 1 },
    writes: members.map(id => writeOf(onlineKey(NAMESPACE, 'card', id, lane.unit), 1, bytes)),
  }))
  await store.flush(lane, shards)
  const each = ((await used()) - before) / CARDS
  return [ratioRow('redis: bytes per entity, against those of its section', each, 'bytes', SECTION_BYTES)]
}
