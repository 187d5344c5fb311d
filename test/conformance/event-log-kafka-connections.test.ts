import { createServer } from 'node:net'
import type { Socket } from 'node:net'
import { describe, expect, it } from 'vitest'
import { systemClock } from '../../services/clock.ts'
import { createSender } from '../../topology/adapters/event-log/kafka/append-sender.ts'
import { prepareRecord } from '../../topology/adapters/event-log/kafka/append-lane.ts'
import type { AppendCall } from '../../topology/adapters/event-log/kafka/append-lane.ts'
import { brokerFactory } from '../../topology/adapters/event-log/kafka/internals.ts'
import type { Broker, ProtocolCall } from '../../topology/adapters/event-log/kafka/internals.ts'
import { openNode } from '../../topology/adapters/event-log/kafka/node.ts'
import type { Node } from '../../topology/adapters/event-log/kafka/node.ts'
import { openNodes } from '../../topology/adapters/event-log/kafka/nodes.ts'
import type { Nodes, TopicState } from '../../topology/adapters/event-log/kafka/nodes.ts'
import { newPartition, consumed, nextBatch } from '../../topology/adapters/event-log/kafka/partition-state.ts'
import type { PartitionScope } from '../../topology/adapters/event-log/kafka/partition-state.ts'
import { encodeBatch, splitBatches } from '../../topology/adapters/event-log/kafka/record-batch.ts'
import { metadataCall } from '../../topology/adapters/event-log/kafka/requests.ts'
import type { ProducedPartition } from '../../topology/adapters/event-log/kafka/requests.ts'
import { WireReader, WireWriter } from '../../topology/adapters/event-log/kafka/wire.ts'

const API_VERSIONS = 18
const METADATA = 3
const SASL_HANDSHAKE = 17
const SASL_AUTHENTICATE = 36

interface Asked {
  readonly apiKey: number
  readonly connection: number
}

/** A broker that answers what `answer` gives; nothing for null. */
async function fakeBroker(answer: (asked: Asked) => Buffer | null) {
  const sockets: Socket[] = []
  const server = createServer(socket => {
    const connection = sockets.push(socket)
    socket.on('error', () => {})
    let held = Buffer.alloc(0)
    socket.on('data', data => {
      held = Buffer.concat([held, data])
      while (held.length >= 4 && held.length >= 4 + held.readInt32BE(0)) {
        const request = held.subarray(4, 4 + held.readInt32BE(0))
        held = held.subarray(4 + request.length)
        const body = answer({ apiKey: request.readInt16BE(0), connection })
        if (body === null) continue
        const head = Buffer.alloc(8)
        head.writeInt32BE(4 + body.length, 0)
        request.copy(head, 4, 4, 8)
        socket.write(Buffer.concat([head, body]))
      }
    })
  })
  await new Promise<void>(resolve => server.listen(0, '127.0.0.1', resolve))
  const { port } = server.address() as { port: number }
  const end = async (): Promise<void> => {
    for (const socket of sockets) socket.destroy()
    await new Promise(resolve => server.close(resolve))
  }
  return { port, end }
}

/** Kafka's answer to ApiVersions, version 2. */
function versions(): Buffer {
  const out = new WireWriter().int16(0)
  const known: readonly (readonly [key: number, newest: number])[] = [
    [1, 13],
    [METADATA, 12],
    [SASL_HANDSHAKE, 1],
    [API_VERSIONS, 2],
    [SASL_AUTHENTICATE, 1],
  ]
  return out.array(known, ([key, newest]) => out.int16(key).int16(0).int16(newest)).int32(0).bytes
}

interface Described {
  readonly name: string
  readonly errorCode: number
  readonly leader?: number
  readonly epoch?: number
}

/** Kafka's answer to Metadata, version 12: topics of one partition. */
function metadata(topics: readonly Described[], port: number): Buffer {
  const out = new WireWriter().endOfStructure().int32(0)
  out.compactArray([port], each =>
    out.int32(1).compactString('127.0.0.1').int32(each).compactString(null).endOfStructure(),
  )
  out.compactString(null).int32(1)
  out.compactArray(topics, ({ name, errorCode, leader = 1, epoch = 5 }) => {
    out.int16(errorCode).compactString(name).uuid('AAAAAAAAAAAAAAAAAAAAAQ').int8(0)
    out.compactArray(errorCode === 0 ? [0] : [], partition => {
      out.int16(0).int32(partition).int32(leader).int32(epoch)
      for (const replicas of [[1], [1], []]) out.compactArray(replicas, replica => out.int32(replica))
      out.endOfStructure()
    })
    out.int32(-1).endOfStructure()
  })
  return out.endOfStructure().bytes
}

const settings = {
  clientId: 'x',
  tls: null,
  sasl: null,
  telemetry: null,
  connectTimeoutMs: 5_000,
  requestTimeoutMs: 500,
}

describe('connections to brokers', () => {
  it('are made anew after one on which the login hung, or a request had no answer', async () => {
    const asked: Asked[] = []
    const fake = await fakeBroker(each => {
      asked.push(each)
      if (each.apiKey === API_VERSIONS) return versions()
      // The first connection falls silent at the login, the second after it.
      if (each.apiKey === SASL_HANDSHAKE && each.connection > 1) {
        const out = new WireWriter().int16(0)
        return out.array(['PLAIN'], name => out.string(name)).bytes
      }
      if (each.apiKey === SASL_AUTHENTICATE) return new WireWriter().int16(0).string(null).int32(0).int64(0).bytes
      return each.apiKey === METADATA && each.connection > 2 ? metadata([], fake.port) : null
    })
    const sasl = { mechanism: 'plain', username: 'u', password: 'p' } as const
    const makeBroker = brokerFactory({ ...settings, sasl })
    const node = openNode({ nodeId: 1, host: '127.0.0.1', port: fake.port }, await makeBroker('127.0.0.1', fake.port))
    const ask = () => node.send(0, () => metadataCall([]))
    await expect(ask()).rejects.toThrow(/timed out/i)
    await expect(ask()).rejects.toThrow(/timed out/i)
    expect(await ask()).toMatchObject({ controller: 1 })
    expect(new Set(asked.map(each => each.connection))).toEqual(new Set([1, 2, 3]))
    await node.close()
    await fake.end()
  }, 60_000)

  it('tell of the topics beside one that may not be described, and never of an older leadership', async () => {
    let leading = { leader: 1, epoch: 5 }
    const fake = await fakeBroker(({ apiKey }) => {
      if (apiKey === API_VERSIONS) return versions()
      return metadata(
        [
          { name: 'denied', errorCode: 29 },
          { name: 'fine', errorCode: 0, ...leading },
        ],
        fake.port,
      )
    })
    const nodes = openNodes({
      bootstrap: [{ host: '127.0.0.1', port: fake.port }],
      makeBroker: brokerFactory(settings),
    })
    await expect(nodes.refresh(['denied', 'fine'])).rejects.toMatchObject({ code: 29 })
    expect(nodes.cached('fine')?.partitions).toEqual([{ leader: 1, epoch: 5, replicas: 1 }])
    for (const next of [
      { leader: 2, epoch: 6 },
      { leader: 1, epoch: 5 },
    ]) {
      leading = next
      await expect(nodes.refresh(['fine'])).rejects.toMatchObject({ code: 29 })
      expect(nodes.cached('fine')?.partitions).toMatchObject([{ leader: 2, epoch: 6 }])
    }
    await nodes.close()
    await fake.end()
  })
})

describe('an append whose partition moves while it is under way', () => {
  it('takes the answer of the leader it was last sent to, and no other', async () => {
    const requests: { readonly leader: number; answer(offset: number): void }[] = []
    const node = (leader: number): Node => ({
      address: { nodeId: leader, host: 'x', port: 1 },
      connected: () => true,
      close: async () => {},
      send: async <T>(_socket: 0 | 1, call: (broker: Broker) => ProtocolCall<T>) => {
        call({} as Broker)
        const { promise, resolve } = Promise.withResolvers<readonly ProducedPartition[]>()
        const rest = { topic: 't', partition: 0, errorCode: 0, appendMs: 1 }
        requests.push({ leader, answer: baseOffset => resolve([{ ...rest, baseOffset }]) })
        return (await promise) as T
      },
    })
    const nodes = { where: 'x', node: async (leader: number) => node(leader), known: () => [] } as unknown as Nodes
    let topic: TopicState = { name: 't', id: 'life', partitions: [{ leader: 1, epoch: 1, replicas: 2 }] }
    const settled: AppendCall[] = []
    const sender = createSender({
      ...{ nodes, clock: systemClock, telemetry: null, compression: 'none', deliveryTimeoutMs: 60_000 },
      stateOf: () => topic,
      refresh: async () => {},
      settle: (call, error) => {
        expect(error).toBeNull()
        settled.push(call)
      },
    })
    const lane = sender.lane(topic, 0)
    lane.producer = { producerId: 7, epoch: 0, sequence: 0 }
    lane.arrivalMs = 0
    const append = (text: string): AppendCall => {
      const record = { topic: 't', key: null, partition: 0, value: Buffer.from(text) }
      const prepared = prepareRecord(record, 0, 1_000)
      const untilMs = systemClock.monotonicMs() + 60_000
      const call: AppendCall = {
        ...{ records: [prepared], positions: [], left: 1, bytes: 1, settled: false },
        resolve: () => {},
        reject: () => {},
      }
      lane.queue.push({ call, index: 0, prepared, untilMs })
      sender.schedule()
      return call
    }
    const sent = (count: number) => expect.poll(() => requests.map(each => each.leader)).toHaveLength(count)
    const a = append('a')
    await sent(1)
    topic = { ...topic, partitions: [{ leader: 2, epoch: 2, replicas: 2 }] }
    const b = append('b')
    await sent(2)
    requests[1]?.answer(10)
    await sent(3)
    expect(requests.map(each => each.leader)).toEqual([1, 2, 2])
    // The first leader's word on "a" comes late, while "b" is under way.
    requests[0]?.answer(10)
    await new Promise(resolve => setImmediate(resolve))
    expect(settled).toEqual([a])
    requests[2]?.answer(11)
    await expect.poll(() => settled).toEqual([a, b])
    expect([a.positions, b.positions]).toEqual([[{ partition: 0, offset: 10 }], [{ partition: 0, offset: 11 }]])
  })
})

describe('what a partition holds in memory', () => {
  const scope = (limits: { maxBatchRecords: number; maxBatchBytes: number }): PartitionScope =>
    ({ options: limits, maxBufferedBytes: 1e9, wakeFetching: () => {} }) as unknown as PartitionScope
  const packed = (baseOffset: number, count: number, valueBytes: number) => {
    const one = { keyBytes: null, value: Buffer.alloc(valueBytes), headers: [] }
    const producer = { producerId: -1, epoch: -1, sequence: -1 }
    const batch = encodeBatch(
      Array.from({ length: count }, () => one),
      producer,
      1,
      'lz4',
    )
    batch.writeBigInt64BE(BigInt(baseOffset), 0)
    return splitBatches(batch, []).batches
  }

  it('lets go of what was handled, also when the backlog never ends', () => {
    const state = newPartition({ topic: 't', partition: 0 })
    let next = 0
    let most = 0
    for (let i = 0; i < 200; i += 1) {
      while (state.queue.length < 5) {
        state.queue.push(...packed(next, 7, 10))
        next += 7
      }
      const batch = nextBatch(scope({ maxBatchRecords: 10, maxBatchBytes: 1e6 }), state)
      if (batch === null) throw new Error('no batch')
      expect(batch.records.map(record => record.offset)).toEqual(Array.from({ length: 10 }, (_, j) => 10 * i + j))
      consumed(state, batch)
      most = Math.max(most, state.ready.length)
    }
    expect(most).toBeLessThanOrEqual(20)
  })

  it('unpacks no more than a batch may hold, however well records were packed', () => {
    const state = newPartition({ topic: 't', partition: 0 })
    for (let i = 0; i < 50; i += 1) state.queue.push(...packed(2 * i, 2, 50_000))
    const limits = scope({ maxBatchRecords: 1_000, maxBatchBytes: 200_000 })
    for (let i = 0; i < 5; i += 1) {
      const batch = nextBatch(limits, state)
      if (batch === null) throw new Error('no batch')
      expect(batch.records).toHaveLength(4)
      consumed(state, batch)
      expect(state.ready.length).toBeLessThanOrEqual(6)
    }
  })
})

describe('tagged fields', () => {
  it('are read by those who know them', () => {
    const out = new WireWriter().unsignedVarint(2)
    out.unsignedVarint(0).unsignedVarint(4).int32(17).unsignedVarint(9).unsignedVarint(1).int8(1).int8(5)
    const reader = new WireReader(out.bytes)
    const seen: number[] = []
    reader.taggedFields((tag, field) => void seen.push(tag, tag === 0 ? field.int32() : -1))
    expect(seen).toEqual([0, 17, 9, -1])
    expect(reader.int8()).toBe(5)
  })
})
