import type { NameRule } from './marks.ts'
import { DEFINITION } from './marks.ts'
import type { Value } from '../kernel/types.ts'
import type { DerivedValue, View } from './services.ts'
import type { Event, Group } from './sources.ts'

/** A condition with an outcome. Null (unknown) does not match; a rule that throws is reported and does not match. */
export interface Rule<V = never, O extends string = string> {
  readonly name: string
  readonly when: (v: V) => boolean | null
  readonly outcome: O
}

/** How a score and rules become an outcome. `V` is what its rules look at. */
export interface Policy<V = never, O extends string = string> {
  readonly [DEFINITION]: 'policy'
  readonly name: string
  /** As the author numbered it; null for none, then the code's hash takes its place. */
  readonly version: string | null
  /** From best to worst. */
  readonly outcomes: readonly O[]
  readonly rules: readonly Rule<V, O>[]
  /** A score of at least the threshold gives its outcome. */
  readonly thresholds: Readonly<Partial<Record<O, number>>>
  /** What no score at all amounts to. */
  readonly fallback: O
  /** Names of the groups and derived features that the rules look at. */
  readonly groups: readonly string[]
  readonly derived: readonly string[]
}

/** What rules see: as derived features, and `derived` itself. */
export type PolicyView<R extends Event, G extends readonly Group[], D> = View<R, G> & { readonly derived: D }

/**
 * What `policy` is given. `R`, `G` and `D` are the request, groups and derived features that its rules see, `O` its
 * outcomes.
 */
export interface PolicyOptions<R extends Event, G extends readonly Group[], D, O extends string> {
  readonly version?: string
  /** What the rules look at, for its types; a service with this policy must have all of it. */
  readonly request?: R
  readonly groups?: G
  readonly derived?: { readonly [N in keyof D]: (v: never) => D[N] }
  /** From best to worst, such as `['approve', 'review', 'decline']`. */
  readonly outcomes: readonly O[]
  /** All are looked at; the worst outcome of those that match and of the score wins. */
  readonly rules?: readonly Rule<PolicyView<R, G, NoInfer<D>>, NoInfer<O>>[]
  /** The least score of an outcome; rising from better to worse, none for the best. */
  readonly thresholds?: Readonly<Partial<Record<NoInfer<O>, number>>>
  /** What no score at all amounts to. */
  readonly fallback: NoInfer<O>
}

/** A group of which nothing is known: its features have any values. */
type AnyGroup = Group<string, string, string, Readonly<Record<string, Value>>>

/**
 * Rules and thresholds that turn a score into an outcome. With `request`, `groups` and `derived` the rules see exactly
 * typed values; what is left out they see as any name with any value.
 */
export function policy<
  const N extends string,
  const O extends string,
  R extends Event = Event,
  const G extends readonly Group[] = readonly AnyGroup[],
  D extends Readonly<Record<string, DerivedValue>> = Readonly<Record<string, DerivedValue>>,
>(
  name: N & NameRule<N>,
  options: PolicyOptions<R, G, D, O>,
): Policy<PolicyView<NoInfer<R>, NoInfer<G>, NoInfer<D>>, O> {
  const noThresholds: Readonly<Partial<Record<O, number>>> = Object.freeze({}) as never
  return {
    [DEFINITION]: 'policy',
    name,
    version: options.version ?? null,
    outcomes: options.outcomes,
    rules: options.rules ?? [],
    thresholds: options.thresholds ?? noThresholds,
    fallback: options.fallback,
    groups: Array.isArray(options.groups) ? options.groups.map((each: Group) => each?.name) : [],
    derived: Object.keys(options.derived ?? {}),
  }
}
