import avsc from 'avsc'

/** One thing that keeps a reader's schema from reading what was written under another. */
export interface Incompatibility {
  /** Of the reader; null for the record as a whole. */
  readonly field: string | null
  /** What is wrong, in words. */
  readonly what: string
}

type Json = Readonly<Record<string, unknown>>

function parse(text: string): avsc.Type {
  return avsc.Type.forSchema(JSON.parse(text) as avsc.Schema, { wrapUnions: true })
}

function recordOf(type: avsc.Type): avsc.types.RecordType | null {
  return type.typeName === 'record' ? (type as avsc.types.RecordType) : null
}

function unqualified(name: string | undefined): string {
  return (name ?? '').slice((name ?? '').lastIndexOf('.') + 1)
}

function readable(reader: avsc.Type, writer: avsc.Type): string | null {
  try {
    reader.createResolver(writer, { ignoreNamespaces: true })
    return null
  } catch (error) {
    return error instanceof Error ? error.message : String(error)
  }
}

/**
 * What keeps data of `writer` from being read under `reader`, by the rules of Avro's schema resolution: none when it is
 * compatible. Both are JSON texts. Throws `Error` for text that is no schema.
 */
export function incompatibilities(reader: string, writer: string): readonly Incompatibility[] {
  const [readerType, writerType] = [parse(reader), parse(writer)]
  const [readerRecord, writerRecord] = [recordOf(readerType), recordOf(writerType)]
  if (readerRecord === null || writerRecord === null) {
    const what = readable(readerType, writerType)
    return what === null ? [] : [{ field: null, what }]
  }
  const found: Incompatibility[] = []
  const named = unqualified(readerRecord.name) === unqualified(writerRecord.name)
  if (!named && !(readerRecord.aliases ?? []).includes(writerRecord.name ?? '')) {
    found.push({ field: null, what: `the record is named ${writerRecord.name}, not ${readerRecord.name}` })
  }
  const writerFields = new Map(writerRecord.fields.map(field => [field.name, field]))
  for (const field of readerRecord.fields) {
    const names = [field.name, ...field.aliases]
    const match = names.map(name => writerFields.get(name)).find(each => each !== undefined)
    if (match === undefined) {
      if (hasDefault(JSON.parse(reader) as Json, field.name)) continue
      found.push({ field: field.name, what: 'it is missing there and has no default' })
      continue
    }
    const what = readable(field.type, match.type)
    if (what !== null) found.push({ field: field.name, what })
  }
  return found
}

function hasDefault(schema: Json, name: string): boolean {
  const fields = schema['fields'] as readonly Json[]
  const field = fields.find(each => each['name'] === name)
  return field !== undefined && 'default' in field
}

/** The full name of a schema's record; null where it is none. Throws `Error` for text that is no schema. */
export function recordName(schema: string): string | null {
  return recordOf(parse(schema))?.name ?? null
}
