/** A schema as the registry keeps it. Ids and versions never change their meaning, so both may be kept for ever. */
export interface RegisteredSchema {
  readonly id: number
  /** Within its subject, from 1. */
  readonly version: number
  /** Avro, as JSON text. */
  readonly schema: string
}

/** The rule that a subject's new versions are held to. */
export type Compatibility =
  'NONE' | 'BACKWARD' | 'BACKWARD_TRANSITIVE' | 'FORWARD' | 'FORWARD_TRANSITIVE' | 'FULL' | 'FULL_TRANSITIVE'

/**
 * A schema registry with Confluent's contract. Errors: `REGISTRY_UNAVAILABLE` when it gave no answer, so that nothing
 * may be concluded; `SCHEMA_MISMATCH` when it refused a schema, with its own words.
 */
export interface SchemaRegistry {
  /** The text of a schema; null when the registry says that there is none of this id. */
  schemaById(id: number): Promise<string | null>
  /** The versions of a subject in order; none when there is no such subject. */
  versions(subject: string): Promise<readonly RegisteredSchema[]>
  /** Gives a schema an id, the same one when it was registered before. */
  register(subject: string, schema: string): Promise<number>
  /** Of the subject, or the registry's own rule where it has none. */
  compatibility(subject: string): Promise<Compatibility>
  setCompatibility(subject: string, compatibility: Compatibility): Promise<void>
  close(): Promise<void>
}
