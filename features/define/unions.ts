import type { Field, Fields } from './fields.ts'
import type { FED_BY, NameRule } from './marks.ts'
import { DEFINITION } from './marks.ts'
import type { Event } from './sources.ts'

/** The scale of a decimal, the length of a vector; `number` where it is not known or there is none. */
type Parameter<T> = T extends { readonly kind: 'decimal'; readonly scale: infer S }
  ? S
  : T extends { readonly kind: 'vector'; readonly length: infer L }
    ? L
    : number

type SameParameter<A, B> = number extends A ? true : number extends B ? true : A extends B ? true : false

/** Whether values of an event's field `H` can stand in a union's field `W`. */
type Fits<H extends Field, W extends Field> = H['kind'] extends W['kind']
  ? SameParameter<Parameter<H['type']>, Parameter<W['type']>> extends true
    ? W['optional'] extends true
      ? true
      : H['optional'] extends false
        ? true
        : false
    : false
  : false

/** Names of the event's fields that can stand in a union's field. */
type FittingNames<F extends Fields, W extends Field> = {
  [N in keyof F]: Fits<F[N], W> extends true ? N : never
}[keyof F] &
  string

/** Fields of the union for which the event has none of the same name that fits. */
type Unnamed<U extends Fields, F extends Fields> = {
  [N in keyof U]: N extends keyof F ? (Fits<F[N], U[N]> extends true ? never : N) : N
}[keyof U]

/** Which field of the event stands in each field of the union; the one of the same name where nothing is said. */
type FieldMap<U extends Fields, F extends Fields> = {
  readonly [N in Unnamed<U, F>]: FittingNames<F, U[N]>
} & { readonly [N in Exclude<keyof U, Unnamed<U, F>>]?: FittingNames<F, U[N]> }

/** One event of a union. `map` must be given where a field of the union has another name in the event. */
export type UnionMember<U extends Fields, E extends Event> = { readonly source: E } & ([
  Unnamed<U, E['fields']>,
] extends [never]
  ? { readonly map?: FieldMap<U, E['fields']> }
  : { readonly map: FieldMap<U, E['fields']> })

/** What `union` is given. */
export interface UnionOptions<U extends Fields, E extends readonly Event[]> {
  /** What groups over the union see of each event. A field is optional where it is in one of the events. */
  readonly fields: U
  readonly from: { readonly [I in keyof E]: UnionMember<U, E[I]> }
  readonly description?: string
}

/** Events of several kinds under one shape. `S` are the names of the events. */
export interface Union<N extends string = string, F extends Fields = Fields, S extends string = string> {
  readonly [DEFINITION]: 'union'
  readonly [FED_BY]: S
  readonly name: N
  readonly fields: F
  readonly options: Readonly<Record<string, unknown>>
}

/**
 * Several kinds of events as one source of groups, such as payments and refunds as movements:
 *
 *     union('movement', {
 *       fields: { cardId: t.string(), amount: t.decimal(2) },
 *       from: [{ source: payment }, { source: refund, map: { cardId: 'card', amount: 'value' } }],
 *     })
 *
 * Id and time of an event stay those of its own kind, and so do lateness and duplicates.
 */
export function union<const N extends string, const U extends Fields, const E extends readonly Event[]>(
  name: N & NameRule<N>,
  options: UnionOptions<U, E>,
): Union<N, U, E[number]['name']> {
  const made = { [DEFINITION]: 'union', name, fields: options.fields, options: { ...options } }
  return made as unknown as Union<N, U, E[number]['name']>
}
