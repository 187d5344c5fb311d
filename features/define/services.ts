import type { FED_BY, KEYED_BY, NameRule, VALUE } from './marks.ts'
import { DEFINITION } from './marks.ts'
import type { Policy } from './policies.ts'
import type { Event, Group } from './sources.ts'

/** What a derived feature may be. */
export type DerivedValue = number | string | boolean | bigint | null

/** An event without fields, where a definition asks for no request. */
export type NoEvent = Event<string, Readonly<Record<never, never>>>

/** The fields of the event being scored, as authors see values: a missing optional field is null. */
export type RequestOf<E extends Event> = {
  readonly [N in keyof E['fields']]: E['fields'][N][typeof VALUE]
}

/** What a derived feature sees: `request` and, by name, the features of each group. */
export type View<R extends Event, G extends readonly Group[]> = { readonly request: RequestOf<R> } & {
  readonly [X in G[number] as X['name']]: X[typeof VALUE]
}

/** Any derived feature, whatever it looks at. */
type AnyDerived = Derived<never, DerivedValue>

/** Derived features that another one looks at, by the names under which it sees them. */
type Needed = Readonly<Record<string, AnyDerived>>

/** Everything that the features of `D` look at, together; `unknown` for none. */
type LookedAt<D> = {
  [N in keyof D]: D[N] extends (view: infer V) => unknown ? (view: V) => void : never
}[keyof D] extends (view: infer I) => void
  ? I
  : unknown

/** The features of `D` under `derived`; `unknown` for none and, while `D` is still being inferred, for `never`. */
type Answers<D> = [D] extends [never]
  ? unknown
  : keyof D extends never
    ? unknown
    : { readonly derived: { readonly [N in keyof D]: D[N] extends (view: never) => infer T ? T : never } }

/** What the function of a derived feature sees: as `View`, and under `derived` the features of `D` if there are any. */
export type DerivedView<R extends Event, G extends readonly Group[], D> = View<R, G> & Answers<D>

/**
 * A derived feature that several services can use: a function with what it needs written beside it. Called with a
 * view, it first computes the derived features it looks at; a service computes each of those once per view.
 */
export interface Derived<V, T extends DerivedValue> {
  (view: V): T
  readonly [DEFINITION]: 'derived'
  readonly request: Event | null
  readonly groups: readonly Group[]
  /** The derived features it looks at, by the names under which it sees them. */
  readonly derived: Readonly<Record<string, Derived<never, DerivedValue>>>
  readonly description: string
  /** The author's function. */
  readonly source: (view: never) => T
}

/**
 * A feature computed from the request and other features when they are read. Must be a pure function.
 * @param needs the event and the groups it looks at, which a service that uses it must have, and other derived
 * features, which it sees as `v.derived` by the names given here; the service need not list those. When one of them
 * throws, this one fails with the same error
 */
export function derived<
  T extends DerivedValue,
  R extends Event = NoEvent,
  const G extends readonly Group[] = readonly [],
  const D extends Needed = Readonly<Record<never, never>>,
>(
  needs: { readonly request?: R; readonly groups?: G; readonly derived?: D; readonly description?: string },
  evaluate: (v: DerivedView<R, G, D>) => T,
): Derived<View<R, G> & LookedAt<D>, T> {
  const needed = Object.entries(needs.derived ?? {})
  const copy = (view: View<R, G>): T => {
    if (needed.length === 0) return evaluate(view as DerivedView<R, G, D>)
    const values = Object.fromEntries(needed.map(([name, each]) => [name, each(view as never)]))
    return evaluate({ ...view, derived: values } as unknown as DerivedView<R, G, D>)
  }
  return Object.assign(copy, {
    [DEFINITION]: 'derived',
    request: needs.request ?? null,
    groups: needs.groups ?? [],
    derived: needs.derived ?? {},
    description: needs.description ?? '',
    source: evaluate,
  } as const)
}

/** `unknown` where the request names the group's entity, otherwise what is wrong, as a type that no group satisfies. */
type Resolvable<R extends Event, X extends Group> =
  Feeds<R['name'], X[typeof FED_BY]> extends true
    ? unknown
    : X[typeof KEYED_BY] extends keyof R['fields']
      ? unknown
      : {
          readonly error: `the request event has no field ${Exclude<X[typeof KEYED_BY], keyof R['fields']>}, which group ${X['name']} needs`
        }

/** Whether the event of this name is among those that feed a group; of names that are not known only all others. */
type Feeds<N extends string, S extends string> = string extends S
  ? string extends N
    ? true
    : false
  : [N] extends [S]
    ? true
    : false

type ResolvableGroups<R extends Event, G extends readonly Group[]> = {
  readonly groups: { readonly [I in keyof G]: Resolvable<R, G[I]> }
}

/** While the derived functions are still being inferred, `D` is its constraint; a policy is judged only after that. */
type Settled<D> = string extends keyof D ? never : D

/** What `service` is given. `D` maps the names of its own derived features to the types of their values. */
export interface ServiceOptions<R extends Event, G extends readonly Group[], D> {
  /** The event that a caller sends to be scored. */
  readonly request: R
  readonly groups: G
  /** Features computed at request time, by name. */
  readonly derived?: { readonly [N in keyof D]: (v: View<R, G>) => D[N] }
  /** The name of the model; none for a service that answers features and rules only. */
  readonly model?: string
  readonly policy?: Policy<View<R, G> & { readonly derived: Settled<NoInfer<D>> }>
  readonly description?: string
}

/** A service as it was defined. `V` is what its derived features see, `D` the types of their values by name. */
export interface Service<N extends string = string, V = unknown, D = unknown> {
  readonly [DEFINITION]: 'service'
  readonly [VALUE]: V & { readonly derived: D }
  readonly name: N
  readonly request: Event
  readonly groups: readonly Group[]
  readonly derived: Readonly<Record<string, unknown>>
  readonly model: string | null
  readonly policy: Policy | null
  readonly description: string
}

/** What callers ask for: the features of some groups for one event, derived ones, a model's score and a decision. */
export function service<
  const N extends string,
  R extends Event,
  const G extends readonly Group[],
  D extends Readonly<Record<string, DerivedValue>> = Readonly<Record<never, never>>,
>(
  name: N & NameRule<N>,
  options: ServiceOptions<R, G, D> & ResolvableGroups<NoInfer<R>, NoInfer<G>>,
): Service<N, View<R, G>, D> {
  const made = {
    [DEFINITION]: 'service',
    name,
    request: options.request,
    groups: options.groups,
    derived: options.derived ?? {},
    model: options.model ?? null,
    policy: options.policy ?? null,
    description: options.description ?? '',
  }
  return made as unknown as Service<N, View<R, G>, D>
}
