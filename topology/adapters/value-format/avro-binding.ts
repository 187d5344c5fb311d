import type { SourcePlan } from '../../../features/plan/plan.ts'
import { NotAvro, skipOf } from './avro-cursor.ts'
import type { Cursor } from './avro-cursor.ts'
import { fieldRead } from './avro-fields.ts'
import { fieldsOf, parseSchema, typeText } from './avro-types.ts'
import type { AvroType } from './avro-types.ts'

/** How bodies under one writer's schema are read as one event, or everything that keeps them from being. */
export type Binding =
  | {
      readonly ok: true
      /** The values of the event's fields by name, unchecked. Throws `NotAvro` for a body that is no value of the schema. */
      readonly read: (bytes: Buffer, from: number) => Readonly<Record<string, unknown>>
      /** Fields that the event needs and the writer may leave out: such records are refused one by one. */
      readonly mayBeNull: readonly string[]
    }
  | { readonly ok: false; readonly problems: readonly string[] }

type Step =
  | { readonly name: string; readonly read: (cursor: Cursor) => unknown }
  | { readonly name: null; readonly skip: (cursor: Cursor) => void }

/**
 * Resolves a writer's schema to an event, field by field and by name: fields that only the writer has are passed over,
 * optional fields that it lacks are null. The name of the record does not matter.
 */
export function bindSchema(source: SourcePlan, schema: string): Binding {
  let type: AvroType
  try {
    type = parseSchema(schema)
  } catch (error) {
    return {
      ok: false,
      problems: [`it is not an Avro schema: ${error instanceof Error ? error.message : String(error)}`],
    }
  }
  const written = fieldsOf(type)
  if (written === null) return { ok: false, problems: [`it is ${typeText(type)}, not a record`] }
  const fields = new Map(source.fields.map(field => [field.name, field]))
  const problems: string[] = []
  const mayBeNull: string[] = []
  const known = new Map()
  const steps = written.map(({ name, type: fieldType }): Step => {
    const field = fields.get(name)
    if (field === undefined) return { name: null, skip: skipOf(fieldType, known) }
    const found = fieldRead(field, fieldType)
    if (!found.ok) {
      problems.push(`field "${name}" is ${found.found}, expected ${found.expected}`)
      return { name: null, skip: () => undefined }
    }
    if (found.mayBeNull && !field.optional) mayBeNull.push(name)
    return { name, read: found.read }
  })
  const names = new Set(written.map(field => field.name))
  for (const field of source.fields) {
    if (!field.optional && !names.has(field.name)) {
      problems.push(`field "${field.name}" is missing; make it t.optional(…) if records without it are to be read`)
    }
  }
  if (problems.length > 0) return { ok: false, problems }
  return { ok: true, mayBeNull, read: (bytes, from) => readBody(steps, bytes, from) }
}

function readBody(steps: readonly Step[], bytes: Buffer, from: number): Readonly<Record<string, unknown>> {
  const cursor: Cursor = { bytes, end: bytes.length, at: from, depth: 0 }
  const values: Record<string, unknown> = {}
  for (const step of steps) {
    if (step.name === null) step.skip(cursor)
    else values[step.name] = step.read(cursor)
  }
  if (cursor.at < cursor.end) throw new NotAvro(`${cursor.end - cursor.at} bytes follow the last field`)
  return values
}
