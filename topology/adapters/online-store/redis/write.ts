import type { Canary, FlushOutcome, Lane, SectionWrite, ShardFlush } from '../../../ports/online-store.ts'
import { PortError } from '../../../ports/errors.ts'
import { settleAll } from '../../../settle.ts'
import { blockField, blocksKey, canaryBytes, incarnationId, laneBytes, parseCanary, sectionImage } from './layout.ts'
import { writeInt64 } from './layout.ts'
import { ADVANCE, FLUSH, INITIALISE } from './scripts.ts'
import type { StoreScope } from './scope.ts'

const EXTRA_BYTES = 28
const DROP_BYTES = 10

/** One run of the flush script. */
interface FlushCall {
  readonly keys: readonly string[]
  readonly args: readonly (string | Buffer | number)[]
}

/**
 * The canaries of all shards with one call in a store of one server, so that none or all are made; in a cluster with one
 * call for each shard.
 */
export async function initialiseCanaries(
  scope: StoreScope,
  lane: Lane,
  shardCount: number,
  start: Canary,
): Promise<readonly Canary[]> {
  const { router, names } = scope
  const shards = Array.from({ length: shardCount }, (_, shard) => shard)
  const calls = router.clustered ? shards.map(shard => [shard]) : shardCount > 0 ? [shards] : []
  const args = [canaryBytes(start), String(incarnationId(lane.incarnation)), lane.incarnation]
  const replies = await settleAll(
    calls.map(call => {
      const keys = call.flatMap(shard => [names.canary(lane, shard), names.incarnations(String(shard))])
      return router.send({
        slot: scope.shardSlot(call[0] ?? 0),
        command: INITIALISE,
        keys: keys.length,
        args: [...keys, ...args],
      })
    }),
  )
  return replies.flatMap(reply => {
    if (Array.isArray(reply)) return reply.map(each => parseCanary(each) ?? start)
    throw new PortError(
      'STORE_UNAVAILABLE',
      `incarnation ${lane.incarnation} has the same number as ${String(reply)}; create the topic again to get another`,
    )
  })
}

/**
 * One script call for each shard with writes and, on one server, one for all others, in one round trip. A shard that comes
 * twice waits for its first.
 */
export async function flush(
  scope: StoreScope,
  lane: Lane,
  shards: readonly ShardFlush[],
): Promise<readonly FlushOutcome[]> {
  const owner = laneBytes(lane)
  const nowMs = scope.clock.nowMs()
  if (new Set(shards.map(each => each.shard)).size === shards.length) {
    const outcomes = new Array<FlushOutcome>(shards.length)
    const bare = [...shards.entries()].filter(([, each]) => each.writes.length === 0 && !scope.router.clustered)
    const others = [...shards.entries()].filter(([, each]) => each.writes.length > 0 || scope.router.clustered)
    const advanced = async (): Promise<void> => {
      for (const [place, outcome] of await advance(scope, lane, bare)) outcomes[place] = outcome
    }
    const written = others.map(async ([place, each]) => {
      outcomes[place] = await flushShard(scope, lane, owner, each, nowMs)
    })
    await settleAll([advanced(), ...written])
    return outcomes
  }
  const outcomes: FlushOutcome[] = []
  for (const each of shards) outcomes.push(await flushShard(scope, lane, owner, each, nowMs))
  return outcomes
}

/** Brings the canaries of shards without writes forward; one server only, for they lie in different slots. */
async function advance(
  scope: StoreScope,
  lane: Lane,
  shards: readonly (readonly [place: number, flushed: ShardFlush])[],
): Promise<readonly (readonly [place: number, outcome: FlushOutcome])[]> {
  if (shards.length === 0) return []
  const keys = shards.map(([, { shard }]) => scope.names.canary(lane, shard))
  const asked = shards.map(([, { expected, next }]) => {
    const bytes = Buffer.allocUnsafe(8)
    writeInt64(bytes, expected.offset, 0)
    return Buffer.concat([bytes, canaryBytes(next)])
  })
  const call = { slot: 0, command: ADVANCE, keys: keys.length, args: [...keys, ...asked] }
  const replies = (await scope.router.send(call)) as [number, Buffer | undefined][]
  return shards.map(([place, { next }], index) => {
    const [written, bytes] = replies[index] ?? [0, undefined]
    const canary = parseCanary(bytes)
    return [place, written === 0 ? { ok: false, canary } : { ok: true, canary: canary ?? next, refused: 0 }]
  })
}

async function flushShard(
  scope: StoreScope,
  lane: Lane,
  owner: Buffer,
  flushed: ShardFlush,
  nowMs: number,
): Promise<FlushOutcome> {
  const declared = (write: SectionWrite): boolean =>
    write.levels !== 0 || write.blocks.length > 0 || scope.leftovers.get(write.key) === true
  let call = flushCall(scope, lane, owner, flushed, nowMs, declared)
  for (let everything = false; ; everything = true) {
    const reply = (await scope.router.send({
      slot: scope.shardSlot(flushed.shard),
      command: FLUSH,
      keys: call.keys.length,
      args: [...call.keys, ...call.args],
    })) as [number, Buffer | number | undefined, number | undefined]
    if (reply[0] === 0) return { ok: false, canary: parseCanary(reply[1]) }
    if (reply[0] === 1) return { ok: true, canary: parseCanary(reply[1]) ?? flushed.next, refused: reply[2] ?? 0 }
    if (everything) throw new PortError('STORE_UNAVAILABLE', 'Redis asked twice for the keys of blocks')
    // A section without blocks follows one that had some: nothing was written, for their key was not declared.
    const write = flushed.writes[Number(reply[1]) - 1]
    if (write !== undefined) scope.leftovers.set(write.key, true)
    scope.telemetry.count('online_store_retries', 1, { why: 'blocks' })
    call = flushCall(scope, lane, owner, flushed, nowMs, () => true)
  }
}

function flushCall(
  scope: StoreScope,
  lane: Lane,
  owner: Buffer,
  { shard, expected, next, writes }: ShardFlush,
  nowMs: number,
  declares: (write: SectionWrite) => boolean,
): FlushCall {
  const keys = [scope.names.canary(lane, shard)]
  for (const { key } of writes) keys.push(key)
  const declared = new Set<string>()
  for (const write of writes) if (declares(write)) declared.add(write.key)
  const places = new Map<string, number>()
  for (const key of declared) {
    keys.push(blocksKey(key))
    places.set(key, keys.length)
  }
  const repeated = new Set(writes.map(write => write.key)).size < writes.length
  const images: Buffer[] = []
  const blocks: Buffer[] = []
  const extras: Buffer[] = []
  const firstBlock = 7 + writes.length + 1
  for (const [index, write] of writes.entries()) {
    const place = places.get(write.key) ?? 0
    images.push(sectionImage(owner, write, write.ttlMs > 0 ? nowMs + write.ttlMs : 0, place > 0))
    if (place === 0 && write.base < 0) continue
    extras.push(extraBytes(write, index + 1, place, firstBlock + blocks.length))
    for (const { id, bytes } of write.blocks) blocks.push(blockField(owner, id), asBuffer(bytes))
  }
  const head = [
    nowMs,
    expected.offset,
    canaryBytes(next),
    owner,
    writes.length,
    Buffer.concat(extras),
    repeated ? 1 : 0,
  ]
  return { keys, args: [...head, ...images, ...blocks] }
}

/** What the script must know of a write beside its image. */
function extraBytes(write: SectionWrite, number: number, place: number, firstBlock: number): Buffer {
  const { base, blocks, drops } = write
  const bytes = Buffer.allocUnsafe(EXTRA_BYTES + DROP_BYTES * drops.length)
  bytes.writeUInt32LE(number, 0)
  writeInt64(bytes, base, 4)
  bytes.writeUInt32LE(place, 12)
  bytes.writeUInt32LE(firstBlock, 16)
  bytes.writeUInt32LE(blocks.length, 20)
  bytes.writeUInt32LE(drops.length, 24)
  for (const [index, { level, belowIndex }] of drops.entries()) {
    bytes.writeUInt16LE(level, EXTRA_BYTES + DROP_BYTES * index)
    writeInt64(bytes, belowIndex, EXTRA_BYTES + DROP_BYTES * index + 2)
  }
  return bytes
}

function asBuffer(bytes: Uint8Array): Buffer {
  return Buffer.from(bytes.buffer, bytes.byteOffset, bytes.byteLength)
}
