import { WireReader, WireWriter } from './wire.ts'

/** One partition of a topic. */
export interface TopicPartition {
  readonly topic: string
  readonly partition: number
}

/** A member of a group, as the member that was chosen to assign sees it. */
export interface GroupMember {
  readonly id: string
  readonly topics: readonly string[]
  /** What it holds now. */
  readonly owned: readonly TopicPartition[]
}

/** The name under which members agree on this way of assigning. */
export const PROTOCOL = 'headwater-sticky'

/**
 * Shares partitions evenly (members that want the same topics differ by one at most) and moves as few as possible. A
 * partition that is to move is taken from its owner first and given to nobody: the owner finishes with it and joins
 * again, and the next round gives it away (the two steps of Kafka's cooperative rebalancing, KIP-429), so that two
 * members that follow the rules never hold one at the same time.
 */
export function assignPartitions(
  members: readonly GroupMember[],
  partitionsOf: ReadonlyMap<string, number>,
): ReadonlyMap<string, readonly TopicPartition[]> {
  const ordered = [...members].sort((a, b) => (a.id < b.id ? -1 : 1))
  const held = new Map<string, TopicPartition[]>(ordered.map(member => [member.id, []]))
  const wants = new Map(ordered.map(member => [member.id, new Set(member.topics)]))
  const taken = new Set<string>()
  for (const { id, owned } of ordered) {
    for (const one of owned) {
      const exists = one.partition < (partitionsOf.get(one.topic) ?? 0)
      if (!exists || wants.get(id)?.has(one.topic) !== true || taken.has(partitionKey(one))) continue
      taken.add(partitionKey(one))
      held.get(id)?.push(one)
    }
  }
  const load = new Map(ordered.map(({ id }) => [id, held.get(id)?.length ?? 0]))
  const lightest = (topic: string): string | null => {
    let best: string | null = null
    for (const { id } of ordered) {
      if (wants.get(id)?.has(topic) !== true) continue
      if (best === null || (load.get(id) ?? 0) < (load.get(best) ?? 0)) best = id
    }
    return best
  }
  for (const one of freePartitions(partitionsOf, taken)) {
    const id = lightest(one.topic)
    if (id === null) continue
    held.get(id)?.push(one)
    load.set(id, (load.get(id) ?? 0) + 1)
    taken.add(partitionKey(one))
  }
  // A partition that nobody held before can change hands at once; any other is taken away and given in the next round.
  const before = new Map(ordered.map(({ id, owned }) => [id, new Set(owned.map(partitionKey))]))
  for (let moved = true; moved;) {
    const heaviestFirst = [...ordered].sort((a, b) => (load.get(b.id) ?? 0) - (load.get(a.id) ?? 0))
    moved = heaviestFirst.some(({ id }) => {
      const mine = held.get(id) ?? []
      const at = mine.findLastIndex(one => {
        const other = lightest(one.topic)
        return other !== null && (load.get(id) ?? 0) - (load.get(other) ?? 0) >= 2
      })
      const one = mine[at]
      const other = one === undefined ? null : lightest(one.topic)
      if (one === undefined || other === null) return false
      mine.splice(at, 1)
      load.set(id, (load.get(id) ?? 0) - 1)
      load.set(other, (load.get(other) ?? 0) + 1)
      if (before.get(id)?.has(partitionKey(one)) !== true) held.get(other)?.push(one)
      return true
    })
  }
  return held
}

function freePartitions(partitionsOf: ReadonlyMap<string, number>, taken: ReadonlySet<string>): TopicPartition[] {
  const free: TopicPartition[] = []
  for (const [topic, count] of [...partitionsOf].sort(([a], [b]) => (a < b ? -1 : 1))) {
    for (let partition = 0; partition < count; partition += 1) {
      if (!taken.has(partitionKey({ topic, partition }))) free.push({ topic, partition })
    }
  }
  return free
}

/** Names a partition within a log. */
export function partitionKey({ topic, partition }: TopicPartition): string {
  return `${topic}/${partition}`
}

/** What a member says of itself when it joins, as Kafka's tools read it (ConsumerProtocolSubscription, version 1). */
export function encodeSubscription(topics: readonly string[], owned: readonly TopicPartition[]): Buffer {
  const out = new WireWriter().int16(1)
  out.array(topics, topic => out.string(topic)).int32(-1)
  return writePartitions(out, owned).bytes
}

/** Reads what `encodeSubscription` wrote, and older forms without owned partitions. */
export function decodeSubscription(id: string, bytes: Buffer): GroupMember {
  const reader = new WireReader(bytes)
  const version = reader.int16()
  const topics = reader.array(() => reader.string() ?? '')
  reader.nullableBytes()
  return { id, topics, owned: version >= 1 && reader.at < bytes.length ? readPartitions(reader) : [] }
}

/** What a member is given (ConsumerProtocolAssignment, version 1). */
export function encodeAssignment(partitions: readonly TopicPartition[]): Buffer {
  return writePartitions(new WireWriter().int16(1), partitions).int32(-1).bytes
}

/** Reads what `encodeAssignment` wrote; a member that is given nothing may get no bytes at all. */
export function decodeAssignment(bytes: Buffer): readonly TopicPartition[] {
  if (bytes.length === 0) return []
  const reader = new WireReader(bytes)
  reader.int16()
  return readPartitions(reader)
}

function writePartitions(out: WireWriter, partitions: readonly TopicPartition[]): WireWriter {
  const byTopic = Map.groupBy(partitions, each => each.topic)
  return out.array([...byTopic], ([topic, some]) => {
    out.string(topic).array(some, ({ partition }) => out.int32(partition))
  })
}

function readPartitions(reader: WireReader): TopicPartition[] {
  const out: TopicPartition[] = []
  reader.array(() => {
    const topic = reader.string() ?? ''
    reader.array(() => out.push({ topic, partition: reader.int32() }))
  })
  return out
}
