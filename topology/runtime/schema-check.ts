import { avroFingerprint, avroSchemaText } from '../../features/plan/avro-schema.ts'
import type { Plan, SourcePlan } from '../../features/plan/plan.ts'
import { PortError } from '../ports/errors.ts'
import type { RegisteredSchema, SchemaRegistry } from '../ports/schema-registry.ts'
import type { Config } from './config.ts'
import { openSchemaRegistry } from './event-formats.ts'

/** What a registry's schemas mean for a plan, one line each. */
export interface SchemaCheck {
  /** What was looked at. */
  readonly facts: readonly string[]
  /** Records that could not be read, or not all of them: the plan must not be deployed so. */
  readonly problems: readonly string[]
  /** What is only worth knowing, such as that nothing could be checked. */
  readonly warnings: readonly string[]
}

interface Findings {
  readonly facts: string[]
  readonly problems: string[]
  readonly warnings: string[]
}

const MAX_WARNED_FIELDS = 5

/**
 * Holds the schema of every source in Avro against all versions that are registered under its subject
 * (BACKWARD_TRANSITIVE): what is in the log must stay readable. A registry that does not answer is a warning.
 */
export async function checkSchemas(config: Config, plan: Plan): Promise<SchemaCheck> {
  const found: Findings = { facts: [], problems: [], warnings: [] }
  const inAvro = plan.sources.filter(source => source.format === 'avro')
  if (inAvro.length === 0) return found
  const names = inAvro.map(source => source.name).join(', ')
  let registry: SchemaRegistry | null = null
  try {
    registry = await openSchemaRegistry(config)
    if (registry === null) {
      found.warnings.push(`the format of ${names} is avro, but schemaRegistry.url is not set: nothing can run yet`)
      return found
    }
    for (const source of inAvro) await checkSource(source, registry, found)
  } catch (error) {
    if (!(error instanceof PortError) || error.code !== 'REGISTRY_UNAVAILABLE') throw error
    found.warnings.push(`the schemas of ${names} were not checked: ${error.message}`)
  } finally {
    await registry?.close()
  }
  return found
}

async function checkSource(source: SourcePlan, registry: SchemaRegistry, found: Findings): Promise<void> {
  const { subjectOf } = await import('../adapters/value-format/avro.ts')
  const { recordName } = await import('../adapters/value-format/avro-compatibility.ts')
  const subject = subjectOf(source)
  const versions = await registry.versions(subject)
  const aliases = new Set<string>()
  for (const { version, schema } of versions) {
    try {
      const name = recordName(schema)
      if (name !== null) aliases.add(name)
    } catch (error) {
      const why = error instanceof Error ? error.message : String(error)
      found.problems.push(`event ${source.name}: version ${version} of ${subject} is not an Avro schema: ${why}`)
    }
  }
  const reader = avroSchemaText(source, [...aliases].sort())
  for (const version of versions) await checkVersion(source, subject, reader, version, found)
  const how = versions.length === 0 ? 'not registered yet' : `held against ${versions.length} registered versions`
  found.facts.push(`  ${subject}  ${source.name}  fingerprint ${avroFingerprint(source).slice(0, 12)}  ${how}`)
}

async function checkVersion(
  source: SourcePlan,
  subject: string,
  reader: string,
  { version, schema }: RegisteredSchema,
  found: Findings,
): Promise<void> {
  const { bindSchema } = await import('../adapters/value-format/avro-binding.ts')
  const { incompatibilities } = await import('../adapters/value-format/avro-compatibility.ts')
  const where = `event ${source.name}: version ${version} of ${subject}`
  const binding = bindSchema(source, schema)
  if (!binding.ok) {
    if (binding.problems.some(problem => problem.startsWith('it is not an Avro schema'))) return
    const remedy = 'keep the field as it was, or give the new one another name and make it t.optional(…)'
    for (const problem of binding.problems) found.problems.push(`${where} cannot be read: ${problem}; ${remedy}`)
    return
  }
  for (const field of binding.mayBeNull) {
    const what = `records without field "${field}" would be refused, which that version allows`
    found.problems.push(`${where} is not read in full: ${what}; make the field t.optional(…)`)
  }
  const strict = incompatibilities(reader, schema).filter(
    ({ field }) => field === null || !binding.mayBeNull.includes(field),
  )
  if (strict.length === 0) return
  const listed = strict
    .slice(0, MAX_WARNED_FIELDS)
    .map(({ field, what }) => (field === null ? what : `field "${field}": ${what}`))
  const more = strict.length > MAX_WARNED_FIELDS ? ` and ${strict.length - MAX_WARNED_FIELDS} more` : ''
  found.warnings.push(
    `${where} is read, but the registry may refuse our own schema beside it when events are published here: ${listed.join('; ')}${more}`,
  )
}
