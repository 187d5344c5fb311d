import type { ParamValue } from '../kernel/aggregators/index.ts'
import type { FieldType, Include, Value, Window } from '../kernel/types.ts'

/**
 * The frozen outcome of compiling definitions: plain JSON, keys sorted, content-hashed. A state hash covers what is
 * stored, a definition hash what is answered; names and descriptions are in neither.
 */
export interface Plan {
  readonly format: 1
  readonly hash: string
  readonly sources: readonly SourcePlan[]
  readonly unions: readonly UnionPlan[]
  readonly entities: readonly EntityPlan[]
  readonly groups: readonly GroupPlan[]
  readonly services: readonly ServicePlan[]
}

/** One field of a source. The order of a source's fields is that of a decoded event's cells. */
export interface FieldPlan {
  readonly name: string
  readonly type: FieldType
  readonly optional: boolean
  readonly description: string
}

/** Something whose fields groups and expressions look at by name: an event, or a union of events. */
export interface FieldOwner {
  readonly name: string
  readonly fields: readonly FieldPlan[]
}

/** An event as compiled: its topic and how its records are read. Durations in milliseconds. */
export interface SourcePlan {
  readonly name: string
  readonly topic: string
  readonly partitions: number
  readonly idField: string
  readonly timeField: string
  /** The field whose value is the record key; decides the partition. */
  readonly keyField: string
  readonly latenessMs: number
  readonly readBackMs: number
  readonly clockSkewMs: number
  readonly unknownFields: 'refuse' | 'ignore'
  /** How records are written; how they are read follows from their first byte where it is `avro`. */
  readonly format: 'json' | 'avro'
  readonly fields: readonly FieldPlan[]
  readonly description: string
}

/** Events of several kinds under one shape. Its name is not that of an event. */
export interface UnionPlan {
  readonly name: string
  readonly fields: readonly FieldPlan[]
  /** In the order of their names. */
  readonly members: readonly UnionMemberPlan[]
  readonly description: string
}

/** One kind of events in a union. */
export interface UnionMemberPlan {
  readonly source: string
  /** By field of the union: the event's field, of the same type. */
  readonly fields: Readonly<Record<string, string>>
}

/** An entity as compiled. */
export interface EntityPlan {
  readonly name: string
  /** The default key fields of events that name this entity, in the order in which the parts stand in its id. */
  readonly keyFields: readonly string[]
  readonly description: string
}

/** A group as compiled; `entity` and `source`, an event or a union, are names within the same plan. */
export interface GroupPlan {
  readonly name: string
  readonly entity: string
  readonly source: string
  /** The source's fields that hold the parts of this entity's key, in the entity's order. */
  readonly keyFields: readonly string[]
  readonly maxAgeMs: number
  /** The rate of the busiest entity, which estimates of stored bytes are made for. */
  readonly eventsPerEntityPerDay: number
  /** What the state of that entity may take. */
  readonly maxBytesPerEntity: number
  readonly features: readonly FeaturePlan[]
  readonly description: string
}

/** An aggregator by family and parameters; the kernel makes it from these and the inputs' types. */
export interface AggregatorRef {
  readonly family: string
  readonly params: Readonly<Record<string, ParamValue>>
}

/**
 * One windowed feature as compiled. `valueType` is TypeScript text; a null `whenEmpty` leaves the aggregator's own
 * empty value.
 */
export interface FeaturePlan {
  readonly name: string
  readonly aggregator: AggregatorRef
  /** The source field aggregated; null for `count()`. */
  readonly input: string | null
  /** The second field, such as what `argMax` orders by; null for aggregators that take one or none. */
  readonly by: string | null
  readonly where: Expression | null
  readonly window: Window
  readonly include: Include
  readonly whenEmpty: Value
  readonly valueType: string
  readonly stateHash: string
  readonly definitionHash: string
  readonly description: string
}

/**
 * A service as compiled; `request`, `groups` and `model` are names. Its code stays outside the plan, in a project's
 * `services`.
 */
export interface ServicePlan {
  readonly name: string
  readonly request: string
  readonly groups: readonly string[]
  /** Names of derived features, in the order in which the service lists them. */
  readonly derived: readonly string[]
  readonly model: string | null
  readonly policy: { readonly name: string; readonly version: string; readonly outcomes: readonly string[] } | null
  /** Hash of the bundled code of derived functions and policy with all they import. */
  readonly bundleHash: string
  readonly definitionHash: string
  readonly description: string
}

/**
 * A row expression. Comparison with null gives null (three-valued), `and`/`or`/`not` follow SQL, a filter passes rows
 * whose value is true. Literals of decimals are scaled integers, of int64 decimal strings.
 */
export type Expression =
  | { readonly op: 'field'; readonly name: string }
  | { readonly op: 'literal'; readonly type: FieldType; readonly value: string | number | boolean | null }
  | {
      readonly op: 'eq' | 'ne' | 'lt' | 'le' | 'gt' | 'ge'
      readonly left: Expression
      readonly right: Expression
    }
  | { readonly op: 'and' | 'or'; readonly terms: readonly Expression[] }
  | { readonly op: 'not'; readonly term: Expression }
  | { readonly op: 'isNull'; readonly term: Expression }
  | { readonly op: 'in'; readonly term: Expression; readonly values: readonly Expression[] }
  | { readonly op: 'startsWith'; readonly term: Expression; readonly prefix: string }

/** One finding about the definitions, an error or a warning (codes HW09xx). */
export interface Problem {
  /** Such as `HW0103`; the table is in `features/plan/problems.ts`. */
  readonly code: string
  readonly file: string
  /** Where in the definitions: `group card_activity, feature spend_24h`. */
  readonly where: string
  readonly message: string
  readonly remedy: string
}
