import { PortError } from '../../ports/errors.ts'

/** That a schema uses the named type that another one defines. */
export interface SchemaReference {
  /** The full name of the type. */
  readonly name: string
  readonly subject: string
  readonly version: number
}

/** A schema with what it refers to. */
export interface ReferringSchema {
  readonly schema: string
  readonly references: readonly SchemaReference[]
}

type Json = null | boolean | number | string | readonly Json[] | { readonly [name: string]: Json }

const MAX_REFERENCES = 256

/**
 * The schema with the types that it refers to written out where each is first used, so that it stands for itself.
 * `fetch` gets the schema behind a reference. Rejects with what `fetch` rejects with, and with `SCHEMA_MISMATCH` for more
 * than 256 references.
 */
export async function inlineReferences(
  schema: string,
  references: readonly SchemaReference[],
  fetch: (reference: SchemaReference) => Promise<ReferringSchema>,
): Promise<string> {
  const definitions = new Map<string, Json>()
  async function collect(list: readonly SchemaReference[]): Promise<void> {
    for (const reference of list) {
      if (definitions.has(reference.name)) continue
      if (definitions.size >= MAX_REFERENCES) {
        throw new PortError('SCHEMA_MISMATCH', `a schema refers to more than ${MAX_REFERENCES} others`)
      }
      const found = await fetch(reference)
      definitions.set(reference.name, JSON.parse(found.schema) as Json)
      await collect(found.references)
    }
  }
  await collect(references)
  return JSON.stringify(written(JSON.parse(schema) as Json, '', definitions))
}

function qualified(name: string, namespace: string): string {
  return name.includes('.') || namespace === '' ? name : `${namespace}.${name}`
}

/** A type with definitions in place of the names that stand for them; each is taken out of `left` when it is used. */
function written(type: Json, namespace: string, left: Map<string, Json>): Json {
  if (typeof type === 'string') {
    const name = left.has(type) ? type : qualified(type, namespace)
    const definition = left.get(name)
    if (definition === undefined) return type
    left.delete(name)
    return written(definition, '', left)
  }
  if (Array.isArray(type)) return type.map(branch => written(branch as Json, namespace, left))
  if (typeof type !== 'object' || type === null) return type
  const own = type as { readonly [name: string]: Json }
  const { name, fields } = own
  const dotted = typeof name === 'string' && name.includes('.') ? name.slice(0, name.lastIndexOf('.')) : undefined
  const inner = dotted ?? (typeof own['namespace'] === 'string' ? own['namespace'] : namespace)
  const result: Record<string, Json> = { ...own }
  for (const part of ['type', 'items', 'values'] as const) {
    const value = own[part]
    if (value !== undefined) result[part] = written(value, inner, left)
  }
  if (Array.isArray(fields)) {
    result['fields'] = fields.map((field: Json) => {
      const each = field as { readonly [name: string]: Json }
      return { ...each, type: written(each['type'] ?? null, inner, left) }
    })
  }
  // A definition that was put in place keeps its own namespace, whatever surrounds it.
  if (typeof name === 'string' && dotted === undefined) result['namespace'] = inner
  return result
}
