import { AVRO_NAMESPACE, avroSchemaText } from '../../../features/plan/avro-schema.ts'
import { eventDecoder, maxRecordBytes } from '../../../features/plan/event.ts'
import type { DecodeErrorCode, DecodeResult } from '../../../features/plan/event.ts'
import type { SourcePlan } from '../../../features/plan/plan.ts'
import { PortError } from '../../ports/errors.ts'
import type { SchemaRegistry } from '../../ports/schema-registry.ts'
import type { EventReader, EventWriter } from '../../ports/value-format.ts'
import { bindSchema } from './avro-binding.ts'
import type { Binding } from './avro-binding.ts'
import { recordName } from './avro-compatibility.ts'
import { NotAvro } from './avro-cursor.ts'
import { avroEncoder } from './avro-writer.ts'
import type { SchemaStore } from './schema-store.ts'

const HEADER_BYTES = 5

/** The subject of a source's records: Confluent's TopicNameStrategy. */
export function subjectOf(source: Pick<SourcePlan, 'topic'>): string {
  return `${source.topic}-value`
}

/** The number of the schema of a record in Confluent's wire format; null for other bytes. */
function schemaIdOf(value: Uint8Array): number | null {
  if (value.length < HEADER_BYTES || value[0] !== 0) return null
  return (
    ((value[1] as number) << 24) | ((value[2] as number) << 16) | ((value[3] as number) << 8) | (value[4] as number)
  )
}

function refused(code: DecodeErrorCode, reason: string): DecodeResult {
  return { ok: false, code, reason }
}

/** How many writers' schemas are kept ready for one source. */
const MAX_BINDINGS = 1_000

/**
 * Reads a source's events: values that begin with a zero byte in Confluent's wire format, all others as JSON. Values
 * under a schema that does not fit the event, or whose body does not fit its schema, are refused one by one.
 */
export function createAvroReader(source: SourcePlan, schemas: SchemaStore): EventReader {
  const decoder = eventDecoder(source)
  const bindings = new Map<string, Binding>()

  function bindingOf(text: string): Binding {
    let binding = bindings.get(text)
    if (binding === undefined) {
      binding = bindSchema(source, text)
      if (bindings.size >= MAX_BINDINGS) bindings.clear()
      bindings.set(text, binding)
    }
    return binding
  }

  function readAvro(value: Uint8Array, arrivalMs: number): DecodeResult {
    if (value.length > maxRecordBytes) {
      return refused('RECORD_TOO_LARGE', `the record has ${value.length} bytes, at most ${maxRecordBytes} are allowed`)
    }
    const id = schemaIdOf(value)
    if (id === null) return refused('NOT_AVRO', "the record ends inside its schema's number")
    const known = id > 0 ? schemas.get(id) : { text: null }
    if (known === undefined) {
      throw new PortError('REGISTRY_UNAVAILABLE', `schema ${id} was not fetched before its records were to be read`)
    }
    if (known.text === null) return refused('UNKNOWN_SCHEMA', `the registry has no schema ${id}`)
    const binding = bindingOf(known.text)
    if (!binding.ok) {
      const problems = binding.problems.join('; ')
      return refused('SCHEMA_NOT_READABLE', `schema ${id} does not fit event "${source.name}": ${problems}`)
    }
    const bytes = Buffer.from(value.buffer, value.byteOffset, value.byteLength)
    let fields: Readonly<Record<string, unknown>>
    try {
      fields = binding.read(bytes, HEADER_BYTES)
    } catch (error) {
      if (error instanceof NotAvro) return refused('NOT_AVRO', `schema ${id}: ${error.message}`)
      throw error
    }
    return decoder.decodeFields(fields, arrivalMs)
  }

  return {
    prepare: values => {
      let missing: Set<number> | null = null
      let last = 0
      for (const value of values) {
        const id = schemaIdOf(value)
        if (id === null || id <= 0 || id === last) continue
        last = id
        if (schemas.isMissing(id)) (missing ??= new Set()).add(id)
      }
      return missing === null ? null : schemas.fetch([...missing])
    },
    read: (value, arrivalMs) => (value[0] === 0 ? readAvro(value, arrivalMs) : decoder.decodeJson(value, arrivalMs)),
  }
}

/** Registers a source's schema under its subject, which is held to BACKWARD_TRANSITIVE where it is new. */
async function registerSchema(source: SourcePlan, registry: SchemaRegistry): Promise<number> {
  const subject = subjectOf(source)
  const versions = await registry.versions(subject)
  if (versions.length === 0) await registry.setCompatibility(subject, 'BACKWARD_TRANSITIVE')
  const own = `${AVRO_NAMESPACE}.${source.name}`
  const names = new Set(versions.map(version => recordName(version.schema)))
  const aliases = [...names].filter(name => name !== null && name !== own) as string[]
  return await registry.register(subject, avroSchemaText(source, aliases.sort()))
}

/**
 * Writes a source's events in Confluent's wire format. The schema is registered when it is first needed; records that
 * others registered under other names are named as aliases, so that Avro takes them for the same.
 */
export function createAvroWriter(source: SourcePlan, schemas: SchemaStore, registry: SchemaRegistry): EventWriter {
  const encode = avroEncoder(source)
  let id: number | null = null
  let flight: Promise<void> | null = null

  async function register(): Promise<void> {
    id = await schemas.idOf(subjectOf(source), avroSchemaText(source), () => registerSchema(source, registry))
  }

  return {
    prepare: () => {
      if (id !== null) return null
      flight ??= register().finally(() => (flight = null))
      return flight
    },
    write: event => {
      if (id === null) throw new Error(`the schema of event ${source.name} was not registered before it was written`)
      return encode(id, event)
    },
  }
}
