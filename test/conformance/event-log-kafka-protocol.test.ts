import { createRequire } from 'node:module'
import { createServer } from 'node:net'
import fc from 'fast-check'
import { describe, expect, it } from 'vitest'
import {
  assignPartitions,
  decodeAssignment,
  decodeSubscription,
  encodeAssignment,
  encodeSubscription,
  partitionKey,
} from '../../topology/adapters/event-log/kafka/assign.ts'
import type { GroupMember, TopicPartition } from '../../topology/adapters/event-log/kafka/assign.ts'
import { CODEC_IDS } from '../../topology/adapters/event-log/kafka/codecs.ts'
import type { Compression } from '../../topology/adapters/event-log/kafka/codecs.ts'
import { crc32c } from '../../topology/adapters/event-log/kafka/crc32c.ts'
import { API } from '../../topology/adapters/event-log/kafka/internals.ts'
import { encodeBatch, splitBatches, unpackRecords } from '../../topology/adapters/event-log/kafka/record-batch.ts'
import { WireReader, WireWriter } from '../../topology/adapters/event-log/kafka/wire.ts'
import type { LogRecord } from '../../topology/ports/event-log.ts'

const load = createRequire(import.meta.url)

describe('wire types', () => {
  it('give back what was written', () => {
    const text = fc.string({ unit: 'binary', maxLength: 300 })
    fc.assert(
      fc.property(
        fc.maxSafeNat(),
        fc.nat(2 ** 31 - 1),
        fc.option(text),
        fc.array(text, { maxLength: 10 }),
        (long, int, some, many) => {
          const out = new WireWriter(1)
            .int64(long)
            .int64(-1)
            .int32(int)
            .unsignedVarint(int)
            .compactString(some)
            .string(some)
          out.compactArray(many, each => out.compactString(each).endOfStructure())
          const reader = new WireReader(out.bytes)
          expect([reader.int64(), reader.int64(), reader.int32(), reader.unsignedVarint()]).toEqual([
            long,
            -1,
            int,
            int,
          ])
          expect([reader.compactString(), reader.string()]).toEqual([some, some])
          const read = reader.compactArray(() => {
            const each = reader.compactString()
            reader.skipTaggedFields()
            return each
          })
          expect(read).toEqual(many)
          expect(reader.at).toBe(out.bytes.length)
        },
      ),
    )
  })

  it('end in an error where bytes are missing', () => {
    expect(() => new WireReader(Buffer.from([0, 0])).int32()).toThrow(RangeError)
  })
})

describe('CRC-32C', () => {
  it('is that of RFC 3720 and of kafkajs', () => {
    expect(crc32c(Buffer.from('123456789'))).toBe(0xe3069283)
    expect(crc32c(Buffer.alloc(32))).toBe(0x8a9136aa)
    const other = load('kafkajs/src/protocol/recordBatch/crc32C/index.js') as (bytes: Buffer) => number
    fc.assert(
      fc.property(fc.uint8Array({ maxLength: 100 }), fc.nat(20), (all, from) => {
        expect(crc32c(all, from)).toBe(other(Buffer.from(all.slice(from))))
      }),
    )
  })
})

describe('record batches', () => {
  const record = fc.record({
    keyBytes: fc.option(fc.string().map(key => Buffer.from(key))),
    value: fc.uint8Array({ maxLength: 400 }),
    headers: fc
      .dictionary(fc.string(), fc.string(), { maxKeys: 3 })
      .map(headers => Object.entries(headers).filter(([name]) => name !== 'hw-arrival')),
  })

  it('give back their records, by every codec', () => {
    const codec = fc.constantFrom(...(Object.keys(CODEC_IDS) as Compression[]))
    fc.assert(
      fc.property(fc.array(record, { minLength: 1, maxLength: 20 }), codec, (records, compression) => {
        const bytes = encodeBatch(records, { producerId: 7, epoch: 1, sequence: 3 }, 1_700_000_000_123, compression)
        const { batches, nextOffset } = splitBatches(Buffer.concat([bytes, bytes.subarray(0, bytes.length - 1)]), [])
        expect(nextOffset).toBe(records.length)
        const out: LogRecord[] = []
        for (const batch of batches) unpackRecords(batch, 't', 2, 0, out)
        expect(out.map(each => each.offset)).toEqual(records.map((_, i) => i))
        for (const [i, each] of out.entries()) {
          expect(each.key).toBe(records[i]?.keyBytes?.toString('utf8') ?? null)
          expect(Buffer.from(each.value).equals(records[i]?.value as Uint8Array)).toBe(true)
          expect(Object.entries(each.headers)).toEqual(records[i]?.headers)
          expect(each).toMatchObject({ topic: 't', partition: 2, arrivalMs: 1_700_000_000_123 })
        }
      }),
    )
  })

  it('are refused when a bit of them was turned', () => {
    const producer = { producerId: -1, epoch: -1, sequence: -1 }
    const bytes = encodeBatch([{ keyBytes: null, value: Buffer.from('value'), headers: [] }], producer, 1, 'none')
    fc.assert(
      fc.property(fc.integer({ min: 21, max: bytes.length - 1 }), fc.nat(7), (at, bit) => {
        const damaged = Buffer.from(bytes)
        damaged[at] = (damaged[at] ?? 0) ^ (1 << bit)
        expect(() => splitBatches(damaged, [])).toThrow(/checksum/)
      }),
    )
  })

  it('of a format before Kafka 0.11 are named as such', () => {
    const bytes = encodeBatch([], { producerId: -1, epoch: -1, sequence: -1 }, 1, 'none')
    bytes.writeInt8(1, 16)
    expect(() => splitBatches(bytes, [])).toThrow(/message format 1/)
  })
})

describe('assignment of partitions', () => {
  const TOPICS = ['a', 'b']
  const all = (counts: ReadonlyMap<string, number>): TopicPartition[] =>
    [...counts].flatMap(([topic, count]) => Array.from({ length: count }, (_, partition) => ({ topic, partition })))
  /** Rounds of giving up and joining again, until nothing moves. */
  function settle(ids: readonly string[], owned: Map<string, readonly TopicPartition[]>, counts: Map<string, number>) {
    const held = new Map(owned)
    for (let round = 0; round < 4; round += 1) {
      const members: GroupMember[] = ids.map(id => ({ id, topics: TOPICS, owned: held.get(id) ?? [] }))
      const next = assignPartitions(members, counts)
      const seen = new Map<string, string>()
      for (const [id, some] of next) {
        for (const one of some) {
          const key = partitionKey(one)
          expect(seen.has(key)).toBe(false)
          seen.set(key, id)
          // Nobody gets what another member still holds.
          const owners = members.filter(member => member.owned.some(each => partitionKey(each) === key))
          expect(owners.every(owner => owner.id === id) || owners.length > 1).toBe(true)
        }
      }
      for (const id of ids) held.set(id, next.get(id) ?? [])
    }
    return held
  }

  it('gives each partition to one member, evenly, after members come, go and topics grow', () => {
    fc.assert(
      fc.property(
        fc.array(fc.tuple(fc.integer({ min: 1, max: 5 }), fc.nat(12), fc.nat(12)), { minLength: 1, maxLength: 5 }),
        changes => {
          let held = new Map<string, readonly TopicPartition[]>()
          for (const [memberCount, a, b] of changes) {
            const counts = new Map([
              ['a', a],
              ['b', b],
            ])
            const ids = Array.from({ length: memberCount }, (_, i) => `m${i}`)
            held = settle(ids, held, counts)
            const given = ids.flatMap(id => held.get(id) ?? [])
            expect(given.map(partitionKey).sort()).toEqual(all(counts).map(partitionKey).sort())
            const sizes = ids.map(id => held.get(id)?.length ?? 0)
            expect(Math.max(...sizes) - Math.min(...sizes)).toBeLessThanOrEqual(1)
          }
        },
      ),
    )
  })

  it('moves no more than it must', () => {
    const counts = new Map([['a', 12]])
    const three = settle(['m0', 'm1', 'm2'], new Map(), counts)
    const four = settle(['m0', 'm1', 'm2', 'm3'], three, counts)
    for (const id of ['m0', 'm1', 'm2']) {
      const before = new Set(three.get(id)?.map(partitionKey))
      expect(four.get(id)?.every(one => before.has(partitionKey(one)))).toBe(true)
    }
    expect(four.get('m3')).toHaveLength(3)
  })

  it('gives a member nothing of a topic that it does not want', () => {
    const members = [
      { id: 'x', topics: ['a'], owned: [] },
      { id: 'y', topics: ['b'], owned: [] },
    ]
    const shares = assignPartitions(
      members,
      new Map([
        ['a', 3],
        ['b', 1],
      ]),
    )
    expect(shares.get('x')?.every(one => one.topic === 'a')).toBe(true)
    expect(shares.get('x')).toHaveLength(3)
    expect(shares.get('y')).toEqual([{ topic: 'b', partition: 0 }])
  })

  it("speaks the consumer protocol's own forms", () => {
    const owned = [
      { topic: 'a', partition: 1 },
      { topic: 'b', partition: 0 },
      { topic: 'b', partition: 2 },
    ]
    expect(decodeSubscription('m', encodeSubscription(['a', 'b'], owned))).toEqual({
      id: 'm',
      topics: ['a', 'b'],
      owned,
    })
    expect(decodeAssignment(encodeAssignment(owned))).toEqual(owned)
    expect(decodeAssignment(Buffer.alloc(0))).toEqual([])
    const { AssignerProtocol } = load('kafkajs') as {
      AssignerProtocol: {
        MemberAssignment: { decode(bytes: Buffer): { assignment: unknown } }
        MemberMetadata: { decode(bytes: Buffer): { topics: unknown } }
      }
    }
    expect(AssignerProtocol.MemberAssignment.decode(encodeAssignment(owned)).assignment).toEqual({ a: [1], b: [0, 2] })
    expect(AssignerProtocol.MemberMetadata.decode(encodeSubscription(['a'], [])).topics).toEqual(['a'])
  })
})

describe('kafkajs', () => {
  it('is the version whose inside was looked at, with the parts that are used', () => {
    expect((load('kafkajs/package.json') as { version: string }).version).toBe('2.2.4')
    const apiKeys = load('kafkajs/src/protocol/requests/apiKeys.js') as Record<string, number>
    for (const [name, key] of Object.entries(API)) expect(apiKeys[name]).toBe(key)
    const { requests } = load('kafkajs/src/protocol/requests/index.js') as {
      requests: Record<string, { protocol(version: { version: string }): unknown; versions: string[] }>
    }
    for (const name of Object.keys(API)) {
      expect(
        requests[name]?.versions.every(version => typeof requests[name]?.protocol({ version }) === 'function'),
      ).toBe(true)
    }
  })

  it('sets no timer in the past', async () => {
    const { brokerFactory } = await import('../../topology/adapters/event-log/kafka/internals.ts')
    const warnings: string[] = []
    const listen = (warning: Error): void => void warnings.push(warning.name)
    process.on('warning', listen)
    // Answers every request with its own correlation id and nothing else.
    const server = createServer(socket => {
      socket.on('data', data => {
        const answer = Buffer.alloc(8)
        answer.writeInt32BE(4, 0)
        data.copy(answer, 4, 8, 12)
        socket.write(answer)
      })
    })
    await new Promise<void>(resolve => server.listen(0, '127.0.0.1', resolve))
    const { port } = server.address() as { port: number }
    const settings = { clientId: 'x', tls: null, sasl: null, telemetry: null }
    const broker = await brokerFactory({ ...settings, connectTimeoutMs: 1_000, requestTimeoutMs: 1_000 })(
      '127.0.0.1',
      port,
    )
    const [connection] = broker.connectionPool.pool
    await connection.connect()
    const body = Buffer.alloc(0)
    const request = { apiKey: 3, apiVersion: 1, apiName: 'Any', encode: async () => ({ buf: body, buffer: body }) }
    const response = { decode: async () => ({}), parse: async () => 'answered' }
    for (let i = 0; i < 3; i += 1) expect(await connection.send({ request, response })).toBe('answered')
    await new Promise(resolve => setImmediate(resolve))
    await connection.disconnect()
    await new Promise(resolve => server.close(resolve))
    process.off('warning', listen)
    expect(warnings).toEqual([])
  })
})
