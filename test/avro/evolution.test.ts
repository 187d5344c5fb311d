import avsc from 'avsc'
import { describe, expect, it } from 'vitest'
import { event, t } from '../../features/define/index.ts'
import type { Fields } from '../../features/define/index.ts'
import { avroSchemaText } from '../../features/plan/avro-schema.ts'
import { decodeFields } from '../../features/plan/event.ts'
import type { SourcePlan } from '../../features/plan/plan.ts'
import { bindSchema } from '../../topology/adapters/value-format/avro-binding.ts'
import { incompatibilities } from '../../topology/adapters/value-format/avro-compatibility.ts'
import { avroEncoder } from '../../topology/adapters/value-format/avro-writer.ts'
import { sourceOf } from '../plan/source.ts'

const AT = 1_750_000_000_000
const basics = { id: t.string(), at: t.timestamp() }

function version(fields: Fields): SourcePlan {
  const options = { topic: 'payments', id: 'id', time: 'at', lateness: '1h', format: 'avro', fields }
  return sourceOf(event('payment', options as unknown as Parameters<typeof event>[1]))
}

function eventOf(source: SourcePlan, values: Readonly<Record<string, unknown>>) {
  const decoded = decodeFields(source, values, null)
  if (!decoded.ok) throw new Error(decoded.reason)
  return decoded.event
}

const EACH = { id: 'a', at: AT }

/** A change of an event, an event as it was, and what the new definition reads of it; or why it cannot. */
interface Change {
  readonly name: string
  readonly before: Fields
  readonly after: Fields
  readonly written: Readonly<Record<string, unknown>>
  readonly read: Readonly<Record<string, unknown>> | string
  /** What Avro's own rules say where that is something else. */
  readonly byAvro?: string
}

const CHANGES: readonly Change[] = [
  {
    name: 'nothing',
    before: { ...basics, amount: t.decimal(2) },
    after: { ...basics, amount: t.decimal(2) },
    written: { amount: 12.34 },
    read: { amount: 12.34 },
  },
  {
    name: 'an optional field is added',
    before: basics,
    after: { ...basics, note: t.optional(t.string()) },
    written: {},
    read: { note: null },
  },
  {
    name: 'a field without a default is added',
    before: basics,
    after: { ...basics, note: t.string() },
    written: {},
    read: 'field "note" is missing; make it t.optional(…)',
    byAvro: 'missing',
  },
  {
    name: 'a field is removed',
    before: { ...basics, note: t.string(), flag: t.optional(t.boolean()), v: t.vector(2) },
    after: basics,
    written: { note: 'x', flag: true, v: [1, 2] },
    read: {},
  },
  {
    name: 'a field is renamed',
    before: { ...basics, amount: t.int() },
    after: { ...basics, cents: t.int() },
    written: { amount: 5 },
    read: 'field "cents" is missing',
    byAvro: 'missing',
  },
  {
    name: 'an optional field is renamed',
    before: { ...basics, amount: t.optional(t.int()) },
    after: { ...basics, cents: t.optional(t.int()) },
    written: { amount: 5 },
    read: { cents: null },
  },
  {
    name: 'int becomes int64',
    before: { ...basics, n: t.int() },
    after: { ...basics, n: t.int64() },
    written: { n: 2 ** 52 },
    read: { n: 2n ** 52n },
  },
  {
    name: 'int becomes double',
    before: { ...basics, n: t.int() },
    after: { ...basics, n: t.double() },
    written: { n: 7 },
    read: { n: 7 },
  },
  {
    name: 'double becomes int',
    before: { ...basics, n: t.double() },
    after: { ...basics, n: t.int() },
    written: { n: 7 },
    read: 'field "n" is double, expected int or long',
    byAvro: 'cannot read "double" as "long"',
  },
  {
    name: 'a field becomes optional',
    before: { ...basics, n: t.int() },
    after: { ...basics, n: t.optional(t.int()) },
    written: { n: 7 },
    read: { n: 7 },
  },
  {
    name: 'an optional field, present, becomes required',
    before: { ...basics, n: t.optional(t.int()) },
    after: { ...basics, n: t.int() },
    written: { n: 7 },
    read: { n: 7 },
    byAvro: 'cannot read "null" as "long"',
  },
  {
    name: 'a string becomes a number',
    before: { ...basics, n: t.string() },
    after: { ...basics, n: t.double() },
    written: { n: '7' },
    read: 'field "n" is string, expected double, float, int or long',
    byAvro: 'cannot read "string" as "double"',
  },
  {
    name: 'the scale of a decimal grows',
    before: { ...basics, n: t.decimal(2) },
    after: { ...basics, n: t.decimal(4) },
    written: { n: 12.34 },
    read: { n: 12.34 },
  },
  {
    name: 'the scale of a decimal shrinks, and the value still fits',
    before: { ...basics, n: t.decimal(4) },
    after: { ...basics, n: t.decimal(2) },
    written: { n: 12.34 },
    read: { n: 12.34 },
  },
  {
    name: 'fields change places',
    before: { id: t.string(), x: t.int(), y: t.string(), at: t.timestamp() },
    after: { y: t.string(), at: t.timestamp(), x: t.int(), id: t.string() },
    written: { x: 1, y: 'z' },
    read: { x: 1, y: 'z' },
  },
]

describe('an event that changed', () => {
  it.each(CHANGES)('$name', ({ before, after, written, read, byAvro }) => {
    const [old, now] = [version(before), version(after)]
    const [oldSchema, newSchema] = [avroSchemaText(old), avroSchemaText(now)]
    const found = incompatibilities(newSchema, oldSchema)
    if (byAvro === undefined) expect(found).toEqual([])
    else expect(found.map(each => each.what).join()).toContain(byAvro)
    const binding = bindSchema(now, oldSchema)
    if (typeof read === 'string') {
      expect(binding.ok ? '' : binding.problems.join()).toContain(read)
      return
    }
    if (!binding.ok) throw new Error(binding.problems.join())
    const body = avroEncoder(old)(1, eventOf(old, { ...EACH, ...written })).subarray(5)
    expect(eventOf(now, binding.read(body, 0))).toEqual(eventOf(now, { ...EACH, ...read }))
    if (byAvro !== undefined) return
    const newType = avsc.Type.forSchema(JSON.parse(newSchema) as avsc.Schema)
    const resolver = newType.createResolver(avsc.Type.forSchema(JSON.parse(oldSchema) as avsc.Schema))
    const resolved = newType.fromBuffer(body, resolver) as Readonly<Record<string, unknown>>
    for (const { name, type } of now.fields) {
      if (type.kind !== 'decimal') expect(resolved[name]).toEqual(eventless(read, name))
    }
  })

  it('refuses records that lack a field which was optional when they were written, one by one', () => {
    const [old, now] = [version({ ...basics, n: t.optional(t.int()) }), version({ ...basics, n: t.int() })]
    const binding = bindSchema(now, avroSchemaText(old))
    if (!binding.ok) throw new Error(binding.problems.join())
    expect(binding.mayBeNull).toEqual(['n'])
    const body = avroEncoder(old)(1, eventOf(old, EACH)).subarray(5)
    expect(decodeFields(now, binding.read(body, 0), null)).toMatchObject({ ok: false, code: 'MISSING_FIELD' })
  })

  it('refuses a decimal that has too many digits for a scale that shrank', () => {
    const [old, now] = [version({ ...basics, n: t.decimal(4) }), version({ ...basics, n: t.decimal(2) })]
    const binding = bindSchema(now, avroSchemaText(old))
    if (!binding.ok) throw new Error(binding.problems.join())
    const body = avroEncoder(old)(1, eventOf(old, { ...EACH, n: 0.1234 })).subarray(5)
    expect(decodeFields(now, binding.read(body, 0), null)).toMatchObject({ ok: false, code: 'TOO_MANY_DECIMALS' })
  })
})

function eventless(read: Readonly<Record<string, unknown>>, name: string): unknown {
  const value = name in read ? read[name] : (EACH as Readonly<Record<string, unknown>>)[name]
  return typeof value === 'bigint' ? Number(value) : value
}

describe('what other producers write', () => {
  const source = version({ ...basics, s: t.string(), n: t.int64(), m: t.decimal(2), flag: t.boolean(), v: t.vector(1) })
  const schemaWith = (name: string, type: unknown): string => {
    const schema = JSON.parse(avroSchemaText(source)) as { fields: { name: string; type: unknown }[] }
    const fields = schema.fields.map(field => (field.name === name ? { name, type } : field))
    return JSON.stringify({ ...schema, fields })
  }
  const problems = (name: string, type: unknown): string => {
    const binding = bindSchema(source, schemaWith(name, type))
    return binding.ok ? '' : binding.problems.join('; ')
  }

  it.each<[string, unknown]>([
    ['at', 'long'],
    ['at', 'string'],
    ['at', { type: 'long', logicalType: 'timestamp-nanos' }],
    ['s', { type: 'enum', name: 'e', symbols: ['A'] }],
    ['s', { type: 'string', logicalType: 'uuid' }],
    ['n', 'string'],
    ['n', ['int', 'null', 'long']],
    ['m', 'double'],
    ['m', { type: 'bytes', logicalType: 'decimal', precision: 38, scale: 20 }],
    ['v', { type: 'array', items: 'int' }],
  ])('%s as %j is read', (name, type) => expect(problems(name, type)).toBe(''))

  it.each<[string, unknown, string]>([
    ['at', { type: 'long', logicalType: 'local-timestamp-millis' }, 'field "at" is long (local-timestamp-millis)'],
    ['at', { type: 'int', logicalType: 'date' }, 'field "at" is int (date)'],
    ['at', 'double', 'field "at" is double'],
    ['s', 'bytes', 'field "s" is bytes, expected string or enum'],
    ['s', ['null', 'string', 'int'], 'field "s" is null or string or int, expected string or enum'],
    ['m', 'bytes', 'field "m" is bytes, expected bytes or fixed with the logical type decimal'],
    ['m', { type: 'long', logicalType: 'timestamp-millis' }, 'field "m" is long (timestamp-millis)'],
    ['flag', 'int', 'field "flag" is int, expected boolean'],
    ['v', { type: 'array', items: 'string' }, 'field "v" is array of string'],
    ['n', 'null', 'field "n" is null'],
    ['n', { type: 'record', name: 'inner', fields: [] }, 'field "n" is record headwater.inner'],
  ])('%s as %j is not, and the reason names both', (name, type, reason) => {
    expect(problems(name, type)).toContain(reason)
  })
})
