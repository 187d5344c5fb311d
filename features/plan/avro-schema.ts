import { createHash } from 'node:crypto'
import type { FieldType } from '../kernel/types.ts'
import type { FieldPlan, SourcePlan } from './plan.ts'

/** The namespace of the records that are made from definitions. */
export const AVRO_NAMESPACE = 'headwater'

/** As many digits as every scaled integer of a decimal cell has at most: 2^53 − 1 has 16. */
export const DECIMAL_PRECISION = 16

/** A type of the schemas that are made here. */
export type AvroFieldType =
  | 'string'
  | 'boolean'
  | 'long'
  | 'double'
  | { readonly type: 'bytes'; readonly logicalType: 'decimal'; readonly precision: number; readonly scale: number }
  | { readonly type: 'long'; readonly logicalType: 'timestamp-millis' }
  | { readonly type: 'array'; readonly items: 'double' }

/** A field of such a schema: one that may be missing is a union with null, which is its default. */
export interface AvroField {
  readonly name: string
  readonly type: AvroFieldType | readonly ['null', AvroFieldType]
  readonly doc?: string
  readonly default?: null
}

/** The schema of an event's records. */
export interface AvroRecord {
  readonly type: 'record'
  readonly name: string
  readonly namespace: string
  readonly aliases?: readonly string[]
  readonly doc?: string
  readonly fields: readonly AvroField[]
}

/**
 * The Avro schema of a source, its fields in the plan's order. int and int64 are both long, so that one may become the
 * other; decimals are bytes with precision 16; the length of a vector is in its doc, because Avro has no word for it.
 * @param aliases full names under which records of this event are registered by others
 */
export function avroSchema(source: SourcePlan, aliases: readonly string[] = []): AvroRecord {
  return {
    type: 'record',
    name: source.name,
    namespace: AVRO_NAMESPACE,
    ...(aliases.length === 0 ? {} : { aliases }),
    ...(source.description === '' ? {} : { doc: source.description }),
    fields: source.fields.map(avroField),
  }
}

/** The schema as text: the same text for the same source. */
export function avroSchemaText(source: SourcePlan, aliases: readonly string[] = []): string {
  return JSON.stringify(avroSchema(source, aliases))
}

function avroField(field: FieldPlan): AvroField {
  const type = avroType(field.type)
  const length = field.type.kind === 'vector' ? `exactly ${field.type.length} numbers` : ''
  const doc = [field.description, length].filter(part => part !== '').join('; ')
  const documented = doc === '' ? {} : { doc }
  if (!field.optional) return { name: field.name, type, ...documented }
  return { name: field.name, type: ['null', type], ...documented, default: null }
}

function avroType(type: FieldType): AvroFieldType {
  switch (type.kind) {
    case 'string':
    case 'boolean':
    case 'double':
      return type.kind
    case 'int':
    case 'int64':
      return 'long'
    case 'decimal':
      return { type: 'bytes', logicalType: 'decimal', precision: DECIMAL_PRECISION, scale: type.scale }
    case 'timestamp':
      return { type: 'long', logicalType: 'timestamp-millis' }
    case 'vector':
      return { type: 'array', items: 'double' }
  }
}

/**
 * Avro's Parsing Canonical Form of a source's schema: names in full, nothing that does not change how bytes are read
 * (Avro specification, "Transforming into Parsing Canonical Form").
 */
export function avroCanonicalForm(source: SourcePlan): string {
  const fields = avroSchema(source).fields.map(({ name, type }) => ({ name, type: canonicalType(type) }))
  return JSON.stringify({ name: `${AVRO_NAMESPACE}.${source.name}`, type: 'record', fields })
}

function canonicalType(type: AvroField['type'] | 'null'): unknown {
  if (typeof type === 'string') return type
  if ('items' in type) return { type: 'array', items: type.items }
  if ('logicalType' in type) return type.type
  return type.map(canonicalType)
}

/** SHA-256 of the canonical form, as 64 hex digits: equal for schemas that read the same bytes alike. */
export function avroFingerprint(source: SourcePlan): string {
  return createHash('sha256').update(avroCanonicalForm(source)).digest('hex')
}
