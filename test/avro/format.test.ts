import avsc from 'avsc'
import * as fc from 'fast-check'
import { describe, expect, it } from 'vitest'
import { avroSchemaText } from '../../features/plan/avro-schema.ts'
import { encodeJsonEvent, eventDecoder, maxRecordBytes } from '../../features/plan/event.ts'
import type { DecodeResult } from '../../features/plan/event.ts'
import { createAvroReader } from '../../topology/adapters/value-format/avro.ts'
import { avroEncoder } from '../../topology/adapters/value-format/avro-writer.ts'
import { everyField, sourceOf } from '../plan/source.ts'
import { NOW, cellsOf, knownSchemas } from './events.ts'

const source = { ...sourceOf(everyField), format: 'avro' as const }
const decoder = eventDecoder(source)
const ID = 7
const reader = createAvroReader(source, knownSchemas(new Map([[ID, avroSchemaText(source)]])))
const encode = avroEncoder(source)

function under(schema: unknown): (body: readonly number[] | Uint8Array) => DecodeResult {
  const other = createAvroReader(source, knownSchemas(new Map([[ID, JSON.stringify(schema)]])))
  return body => other.read(Buffer.from([0, 0, 0, 0, ID, ...body]), NOW)
}

function refusal(result: DecodeResult): string {
  if (result.ok) throw new Error(`accepted: ${String(result.event.cells)}`)
  return `${result.code} ${result.reason}`
}

describe('an event in Avro', () => {
  it('is read as the same event in JSON is, for every kind of field', () => {
    fc.assert(
      fc.property(cellsOf(source), cells => {
        const fromAvro = reader.read(encode(ID, { cells }), NOW)
        expect(fromAvro).toEqual(reader.read(encodeJsonEvent(source, { cells }), NOW))
        if (!fromAvro.ok) throw new Error(fromAvro.reason)
        expect(fromAvro.event.cells).toEqual(cells)
      }),
      { numRuns: 5_000 },
    )
  })

  it('holds what avsc reads out of it', () => {
    const type = avsc.Type.forSchema(JSON.parse(avroSchemaText(source)) as avsc.Schema)
    fc.assert(
      fc.property(cellsOf(source), cells => {
        const whole = ['i', 'l', 'ri'].map(name => cells[source.fields.findIndex(field => field.name === name)])
        // avsc's own longs are not exact further out: it reads −(2^52 + 1) as 2^52.
        fc.pre(whole.every(value => value === null || Math.abs(Number(value)) < 2 ** 51))
        const record = type.fromBuffer(encode(ID, { cells }).subarray(5)) as Record<string, unknown>
        source.fields.forEach(({ name, type: { kind } }, index) => {
          const cell = cells[index] ?? null
          if (kind === 'decimal' && cell !== null) {
            const bytes = record[name] as Buffer
            const scaled = BigInt.asIntN(bytes.length * 8, BigInt(`0x${bytes.toString('hex')}`))
            expect(scaled).toBe(BigInt(cell as number))
          } else expect(record[name]).toEqual(kind === 'int64' && cell !== null ? Number(cell) : cell)
        })
      }),
      { numRuns: 500 },
    )
  })

  it('is refused above the bound of a record, and not written', () => {
    const large = new Uint8Array(maxRecordBytes + 1)
    expect(refusal(reader.read(large, NOW))).toContain('RECORD_TOO_LARGE')
    const wide = sourceOf({ ...everyField })
    const cells = wide.fields.map(({ name }) => (name === 's' ? 'x'.repeat(maxRecordBytes) : name === 'at' ? NOW : 'x'))
    const writable = { ...wide, fields: wide.fields.filter(({ type }) => type.kind === 'string') }
    const strings = cells.filter((_cell, index) => wide.fields[index]?.type.kind === 'string')
    expect(() => avroEncoder(writable)(ID, { cells: strings })).toThrow(RangeError)
  })

  it('passes the checks that an event in JSON passes', () => {
    const valid = fc.sample(cellsOf(source), { numRuns: 1, seed: 1 })[0] ?? []
    const withCell = (name: string, cell: unknown) =>
      encode(ID, { cells: valid.map((each, index) => (source.fields[index]?.name === name ? (cell as string) : each)) })
    expect(refusal(reader.read(withCell('id', ''), NOW))).toContain('MISSING_ID')
    expect(refusal(reader.read(withCell('at', 5_000), NOW))).toContain('LOOKS_LIKE_SECONDS')
    expect(refusal(reader.read(withCell('at', NOW + 1e9), NOW))).toContain('FUTURE')
    expect(refusal(reader.read(withCell('v', [1, 2]), NOW))).toContain('VECTOR_LENGTH')
    expect(refusal(reader.read(withCell('v', [1, 2, NaN]), NOW))).toContain('NOT_FINITE')
    expect(refusal(reader.read(withCell('s', 'x'.repeat(70_000)), NOW))).toContain('STRING_TOO_LONG')
    expect(refusal(reader.read(withCell('ri', 2n ** 60n), NOW))).toContain('OUT_OF_RANGE')
  })

  it('comes from JSON too, so that a topic whose format changed stays readable', () => {
    const json = new TextEncoder().encode(`{"id":"a","at":${NOW},"rs":"","ri":1,"rd":0,"rb":true}`)
    expect(reader.prepare([json])).toBeNull()
    expect(reader.read(json, NOW)).toEqual(decoder.decodeJson(json, NOW))
    expect(refusal(reader.read(new Uint8Array(), NOW))).toContain('NOT_JSON')
    expect(refusal(reader.read(Uint8Array.of(1, 0, 0, 0, ID), NOW))).toContain('NOT_JSON')
  })
})

describe('a record in Avro that is no event', () => {
  const field = (type: unknown) => ({
    type: 'record',
    name: 'r',
    fields: [
      { name: 'junk', type },
      { name: 'id', type: 'string' },
    ],
  })

  it('is refused for its header or its schema', () => {
    expect(refusal(reader.read(Uint8Array.of(0, 0, 0), NOW))).toBe(
      "NOT_AVRO the record ends inside its schema's number",
    )
    expect(refusal(reader.read(Uint8Array.of(0, 0, 0, 0, 9), NOW))).toBe('UNKNOWN_SCHEMA the registry has no schema 9')
    expect(refusal(reader.read(Uint8Array.of(0, 255, 0, 0, 9), NOW))).toContain('UNKNOWN_SCHEMA')
    expect(refusal(under('string')([2, 65]))).toBe(
      'SCHEMA_NOT_READABLE schema 7 does not fit event "every": it is string, not a record',
    )
    expect(refusal(under({ type: 'object' })([]))).toMatch(/SCHEMA_NOT_READABLE .*it is not an Avro schema/)
    expect(refusal(under(field('int'))([]))).toMatch(/SCHEMA_NOT_READABLE .*field "at" is missing; make it t\.optional/)
  })

  /** Under a schema whose first field is of the given type, with all that the event needs behind it. */
  const behind = (type: unknown) => {
    const schema = JSON.parse(avroSchemaText(source)) as { fields: { name: string }[] }
    schema.fields.unshift({ name: 'junk', type } as unknown as { name: string })
    return under(schema)
  }
  const long = (value: bigint): number[] => {
    let rest = BigInt.asUintN(64, (value << 1n) ^ (value >> 63n))
    const bytes: number[] = []
    for (; rest > 127n; rest >>= 7n) bytes.push(Number(rest & 127n) | 128)
    return [...bytes, Number(rest)]
  }
  const nested = {
    type: 'record',
    name: 'node',
    fields: [{ name: 'next', type: ['null', 'node'] }],
  }

  it.each<[string, unknown, number[], string]>([
    ['an array of 2^40 items', { type: 'array', items: 'long' }, long(2n ** 40n), 'ends before'],
    ['an array of 2^62 items that take nothing', { type: 'array', items: 'null' }, long(2n ** 62n), 'ends before'],
    ['a block that goes back', { type: 'array', items: 'long' }, [...long(-1n), ...long(-3n)], 'a length is -3'],
    ['a block that goes too far', { type: 'array', items: 'long' }, [...long(-1n), ...long(99n)], 'a length is 99'],
    ['a map of 2^40 entries', { type: 'map', values: 'null' }, long(2n ** 40n), 'ends before'],
    ['a string of 2^50 bytes', 'string', long(2n ** 50n), 'a length is 1125899906842624'],
    ['a string of a negative length', 'string', long(-1n), 'a length is -1'],
    ['bytes of 2^63 − 1', 'bytes', long(2n ** 63n - 1n), 'a length is 9223372036854775807'],
    ['a branch that there is not', ['null', 'int'], long(2n), 'branch 2 of a union of 2'],
    ['a negative branch', ['null', 'int'], long(-1n), 'branch -1'],
    ['a boolean of 2', 'boolean', [2], 'a boolean is 2'],
    ['a long of eleven bytes', 'long', Array<number>(11).fill(0x80), 'more than 64 bits'],
    ['a long of 65 bits', 'long', [...Array<number>(9).fill(0xff), 2], 'more than 64 bits'],
    ['a fixed beyond the end', { type: 'fixed', name: 'f', size: 1 << 20 }, [1], 'ends before'],
    ['records nested without end', nested, Array<number>(400).fill(2), 'nested more than 256 deep'],
    ['nothing at all', 'long', [], 'ends before'],
  ])('is refused for %s', (_what, type, bytes, reason) => {
    const result = refusal(behind(type)(bytes))
    expect(result).toMatch(/^NOT_AVRO schema 7: /)
    expect(result).toContain(reason)
  })

  it('is refused for a string that is not UTF-8, and for bytes that follow', () => {
    const cells = fc.sample(cellsOf(source), { numRuns: 1, seed: 2 })[0] ?? []
    const whole = encode(ID, { cells })
    expect(refusal(reader.read(Buffer.concat([whole, Buffer.of(0)]), NOW))).toContain('1 bytes follow the last field')
    expect(refusal(reader.read(Buffer.of(0, 0, 0, 0, ID, 4, 0xff, 0xfe), NOW))).toContain('not valid UTF-8')
  })

  it('never ends the reader: cut, changed and random bytes are an event or have a code', () => {
    const sample = fc.sample(cellsOf(source), { numRuns: 200, seed: 3 }).map(cells => encode(ID, { cells }))
    for (const whole of sample) {
      for (let length = 5; length < whole.length; length++) {
        expect(reader.read(whole.subarray(0, length), NOW)).toMatchObject({ ok: false, code: 'NOT_AVRO' })
      }
    }
    const changed = fc.tuple(fc.constantFrom(...sample), fc.array(fc.tuple(fc.nat(500), fc.nat(255)), { maxLength: 4 }))
    fc.assert(
      fc.property(changed, ([whole, changes]) => {
        const bytes = Uint8Array.from(whole)
        for (const [at, byte] of changes) bytes[5 + (at % (bytes.length - 5))] = byte
        const result = reader.read(bytes, NOW)
        expect(result.ok || result.code.length > 0).toBe(true)
      }),
      { numRuns: 5_000 },
    )
    const wild = behind({
      type: 'array',
      items: [
        'null',
        nested,
        { type: 'map', values: { type: 'array', items: 'node' } },
        { type: 'enum', name: 'e', symbols: ['A'] },
        'double',
      ],
    })
    fc.assert(
      fc.property(fc.uint8Array({ maxLength: 300 }), bytes => {
        const result = wild(bytes)
        expect(result.ok || result.code.length > 0).toBe(true)
      }),
      { numRuns: 5_000 },
    )
  })
})
