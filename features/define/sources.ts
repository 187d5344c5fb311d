import type { Feature } from './features.ts'
import type { FieldKind, Fields } from './fields.ts'
import type { Duration, FED_BY, KEYED_BY, NameRule, VALUE } from './marks.ts'
import { DEFINITION } from './marks.ts'
import type { Rows } from './rows.ts'
import { rows } from './rows.ts'
import type { Union } from './unions.ts'

type KeyKind = 'string' | 'int' | 'int64'

/** Names of the fields of some kinds; with `O` false only of those that are always present. */
type FieldNames<F extends Fields, K extends FieldKind, O extends boolean> = {
  [N in keyof F]: F[N] extends { readonly kind: K; readonly optional: O } ? N : never
}[keyof F] &
  string

/** What `event` is given. Durations are bounded by the plan, which also checks the named fields. */
export interface EventOptions<F extends Fields> {
  readonly topic: string
  /** The field that identifies an event: the same id and time again is a duplicate. */
  readonly id: FieldNames<F, KeyKind, false>
  /** The field with the time at which it happened. */
  readonly time: FieldNames<F, 'timestamp', false>
  /** The field that is the record key and so decides the partition; the id by default. */
  readonly key?: FieldNames<F, KeyKind, false>
  /** How far behind an entity's newest event an event still counts. */
  readonly lateness: Duration
  /** How far back in time features can be read; 5 minutes by default. */
  readonly readBack?: Duration
  /** How far ahead of the log's clock an event may be dated; 5 minutes by default. */
  readonly clockSkew?: Duration
  /** Of the topic, when it is made; 4 by default. */
  readonly partitions?: number
  /** What becomes of an event with a field that is not listed; refused by default. */
  readonly unknownFields?: 'refuse' | 'ignore'
  /**
   * How records are written to the topic; JSON by default. With `avro` they are written in Confluent's wire format, under
   * a schema made from the fields, and read in that or as JSON. Fields that only the writer's schema has are left out,
   * whatever `unknownFields` says.
   */
  readonly format?: 'json' | 'avro'
  readonly fields: F
  readonly description?: string
}

/** A source of events as it was defined; its options stay unchecked until the plan is compiled. */
export interface Event<N extends string = string, F extends Fields = Fields> {
  readonly [DEFINITION]: 'event'
  readonly name: N
  readonly fields: F
  readonly options: Readonly<Record<string, unknown>>
}

/** A stream of events: a topic and the fields of its records. */
export function event<const N extends string, const F extends Fields>(
  name: N & NameRule<N>,
  options: EventOptions<F>,
): Event<N, F> {
  return { [DEFINITION]: 'event', name, fields: options.fields, options: { ...options } }
}

/** The name of the field that holds an entity's key, or of the fields that hold its parts, in a fixed order. */
export type EntityKey = string | readonly [string, ...string[]]

/** The names of the fields of a key. */
type KeyNames<K extends EntityKey> = K extends readonly string[] ? K[number] : K & string

/** An entity as it was defined. `K` names the field that holds its key, or lists those that hold its parts. */
export interface Entity<N extends string = string, K extends EntityKey = EntityKey> {
  readonly [DEFINITION]: 'entity'
  readonly name: N
  readonly key: K
  readonly description: string
}

/**
 * Something that features are kept for, named by a key field of events, or by several together:
 * `entity('card_at_merchant', { key: ['cardId', 'merchantId'] })`. An event in which a part is missing does not concern
 * the entity.
 */
export function entity<const N extends string, const K extends EntityKey>(
  name: N & NameRule<N>,
  options: { readonly key: K; readonly description?: string },
): Entity<N, K> {
  return { [DEFINITION]: 'entity', name, key: options.key, description: options.description ?? '' }
}

interface GroupBasics<E extends Entity, S extends Event | Union> {
  readonly entity: E
  /** The events that are counted: of one kind, or of several under one shape. */
  readonly source: S
  /** The oldest that the source's progress may be before a value counts as stale; 1 minute by default. */
  readonly maxAge?: Duration
  /** How many events a day the busiest entity has, for the estimate of its stored bytes; 10 by default. */
  readonly eventsPerEntityPerDay?: number
  /** What the state of that entity may take; 16 MiB by default. An exact window that would take more is refused. */
  readonly maxBytesPerEntity?: number
  readonly description?: string
}

/** A field for each part of the entity's key. */
type KeyFields<K extends EntityKey, F extends Fields> = K extends readonly string[]
  ? { readonly [I in keyof K]: FieldNames<F, KeyKind, boolean> }
  : FieldNames<F, KeyKind, boolean>

/** Which fields hold the entity's key; must be said where the source lacks a field with the name of one. */
type GroupKey<E extends Entity, S extends Event | Union> =
  KeyNames<E['key']> extends keyof S['fields']
    ? { readonly key?: KeyFields<E['key'], S['fields']> }
    : { readonly key: KeyFields<E['key'], S['fields']> }

/** The names of the events behind a source. */
type FedBy<S extends Event | Union> = S extends Union<string, Fields, infer M> ? M : S['name']

type FeatureMap = Readonly<Record<string, Feature>>
type FeatureValues<M extends FeatureMap> = { readonly [N in keyof M]: M[N][typeof VALUE] }

/**
 * Features of one entity from one source. `S` are the names of the events that feed it, `K` those of the entity's key
 * fields, `V` the features' values.
 */
export interface Group<N extends string = string, S extends string = string, K extends string = string, V = unknown> {
  readonly [DEFINITION]: 'group'
  readonly [VALUE]: V
  readonly [FED_BY]: S
  readonly [KEYED_BY]: K
  readonly name: N
  readonly entity: Entity
  readonly source: Event | Union
  readonly options: Readonly<Record<string, unknown>>
  readonly features: Readonly<Record<string, unknown>>
  /** What the function that lists the features threw; null for nothing. */
  readonly failure: string | null
}

/**
 * Windowed features of one entity from one source of events, or from several as a union.
 * @param build is given a column per field and the aggregators, and returns the features by name
 */
export function group<const N extends string, E extends Entity, S extends Event | Union, const M extends FeatureMap>(
  name: N & NameRule<N>,
  options: GroupBasics<E, S> & GroupKey<E, S>,
  build: (e: Rows<S['fields']>) => M,
): Group<N, FedBy<S>, KeyNames<E['key']>, FeatureValues<M>> {
  let features: unknown = {}
  let failure: string | null = null
  try {
    features = build(rows<S['fields']>())
  } catch (error) {
    failure = error instanceof Error ? error.message : String(error)
  }
  const { entity: of, source } = options
  return {
    [DEFINITION]: 'group',
    name,
    entity: of,
    source,
    options: { ...options },
    features: typeof features === 'object' && features !== null ? features : {},
    failure,
  } as unknown as Group<N, FedBy<S>, KeyNames<E['key']>, FeatureValues<M>>
}
