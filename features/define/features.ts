import type { Include } from '../kernel/types.ts'
import type { Condition } from './expressions.ts'
import type { DEFINITION, Duration, VALUE } from './marks.ts'

/** What every aggregator may be given. */
export interface FeatureOptions {
  /** Only events for which this holds. */
  readonly where?: Condition
  /** Moves the window back: `(t − delay − W, t − delay]`. For values that become known late, such as labels. */
  readonly delay?: Duration
  /**
   * Declares that the lower edge of a sliding window falls on multiples of this since the epoch: the window begins at
   * the last one that is not after `t − delay − W`. Long windows of busy entities are stored as tiles for it.
   */
  readonly edge?: Duration
  /** Whether the event being scored is part of its own window; `'current'` (yes) by default. */
  readonly include?: Include
  readonly description?: string
}

/** Options of an aggregator that is null where the window is empty; `W` is the type of what replaces that null. */
export interface NullableOptions<W> extends FeatureOptions {
  /** The value where the window is empty, instead of null; not for int64. */
  readonly whenEmpty?: W
}

/** Options of aggregators that divide by the number of values: `variance`, `std` and others of their kind. */
export interface SpreadOptions<W> extends NullableOptions<W> {
  /** Divide by n − 1 instead of n. */
  readonly sample?: boolean
}

/** Options of aggregators that keep different values, up to a number of them. */
export interface BoundOptions extends FeatureOptions {
  /** How many different values are told apart. */
  readonly bound?: number
}

/** Options of `distinctSet`. */
export interface SetOptions extends FeatureOptions {
  /** How many different values are kept. */
  readonly bound: number
}

/** Options of aggregators that keep values up to a number of them and are null where there are none. */
export interface NullableBoundOptions<W> extends NullableOptions<W> {
  /** How many values are told apart. */
  readonly bound?: number
}

/** Options of `quantile`. */
export interface QuantileOptions<W> extends NullableOptions<W> {
  /** The greatest relative error of the answer, such as 0.01. */
  readonly error?: number
  /** How many buckets may be filled before the error grows. */
  readonly buckets?: number
}

/** What an author asked for, before it is checked. */
export interface FeatureDraft {
  readonly family: string
  /** Parameters that have a place among the arguments. */
  readonly params: Readonly<Record<string, unknown>>
  /** An expression that must be a field; null for an aggregator without input. */
  readonly input: unknown
  /** The second input, as the first. */
  readonly by: unknown
  readonly window: unknown
  /** As they were written: those of every feature and those that are parameters of the aggregator. */
  readonly options: Readonly<Record<string, unknown>>
}

/** A windowed feature whose values have the type `V`. */
export interface Feature<V = unknown> {
  readonly [DEFINITION]: 'feature'
  readonly [VALUE]: V
  readonly draft: FeatureDraft
}
