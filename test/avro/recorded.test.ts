import { readFileSync } from 'node:fs'
import { join } from 'node:path'
import { describe, expect, it } from 'vitest'
import { avroCanonicalForm, avroFingerprint, avroSchema } from '../../features/plan/avro-schema.ts'
import { eventDecoder } from '../../features/plan/event.ts'
import { bindSchema } from '../../topology/adapters/value-format/avro-binding.ts'
import { avroEncoder } from '../../topology/adapters/value-format/avro-writer.ts'
import { everyField, sourceOf } from '../plan/source.ts'

interface Row {
  readonly values: Readonly<Record<string, unknown>>
  readonly body: string
}
interface Recorded {
  readonly canonicalForm: string
  readonly fingerprint: string
  readonly own: readonly Row[]
  readonly foreignSchema: unknown
  readonly foreign: readonly Row[]
}

const read = (name: string): string => readFileSync(join(import.meta.dirname, 'recorded', name), 'utf8')
const recorded = JSON.parse(read('fastavro.json')) as Recorded
const source = sourceOf(everyField)
const decoder = eventDecoder(source)
const NOW = 4_000_000_000_000

/** The event as the same values in a JSON record are read. */
function fromJson(row: Row) {
  const decoded = decoder.decodeJson(new TextEncoder().encode(JSON.stringify(row.values)), NOW)
  if (!decoded.ok) throw new Error(`${decoded.code}: ${decoded.reason}`)
  return decoded.event
}

function fromAvro(schema: string, row: Row) {
  const binding = bindSchema(source, schema)
  if (!binding.ok) throw new Error(binding.problems.join('; '))
  const decoded = decoder.decodeFields(binding.read(Buffer.from(row.body, 'hex'), 0), NOW)
  if (!decoded.ok) throw new Error(`${decoded.code}: ${decoded.reason}`)
  return decoded.event
}

describe('what fastavro wrote', () => {
  it('is under the schema that the event has now, whose canonical form and fingerprint it agrees on', () => {
    expect(avroSchema(source)).toEqual(JSON.parse(read('every.avsc')))
    expect(avroCanonicalForm(source)).toBe(recorded.canonicalForm)
    expect(avroFingerprint(source)).toBe(recorded.fingerprint)
  })

  it('is read as the same values in JSON are', () => {
    expect(recorded.own.length).toBeGreaterThan(100)
    for (const row of recorded.own) expect(fromAvro(read('every.avsc'), row)).toEqual(fromJson(row))
  })

  it('is byte by byte what we write for the same event', () => {
    const encode = avroEncoder(source)
    for (const row of recorded.own) {
      const event = fromJson(row)
      // −0 is stored as 0, so a double of that sign is the one value that cannot come back.
      if (row.values['d'] === 0 || row.values['rd'] === 0) continue
      expect(encode(66_051, event).toString('hex')).toBe(`0000010203${row.body}`)
    }
  })

  it('is read under the schema of another producer, with other types, names, records, maps and unions', () => {
    const schema = JSON.stringify(recorded.foreignSchema)
    expect(recorded.foreign.length).toBeGreaterThan(100)
    for (const row of recorded.foreign) expect(fromAvro(schema, row)).toEqual(fromJson(row))
  })
})
