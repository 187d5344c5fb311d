import type { Include } from '../kernel/types.ts'
import type { Column, ColumnOf, Condition } from './expressions.ts'
import { column, draftOf } from './expressions.ts'
import type { FieldKind, Fields } from './fields.ts'
import { DEFINITION } from './marks.ts'
import type { Duration, VALUE } from './marks.ts'

/** How far back a feature looks: a sliding window `(t − W, t]`, or everything. */
export type WindowLength = Duration | 'lifetime'

/** What every aggregator may be given. */
export interface FeatureOptions {
  /** Only events for which this holds. */
  readonly where?: Condition
  /** Moves the window back: `(t − delay − W, t − delay]`. For values that become known late, such as labels. */
  readonly delay?: Duration
  /** Whether the event being scored is part of its own window; `'current'` (yes) by default. */
  readonly include?: Include
  readonly description?: string
}

/** Options of an aggregator that is null where the window is empty; `W` is the type of what replaces that null. */
export interface NullableOptions<W> extends FeatureOptions {
  /** The value where the window is empty, instead of null; not for int64. */
  readonly whenEmpty?: W
}

/** Options of `variance` and `std`. */
export interface SpreadOptions<W> extends NullableOptions<W> {
  /** Divide by n − 1 instead of n. */
  readonly sample?: boolean
}

/** Options of `distinct`. */
export interface DistinctOptions extends FeatureOptions {
  /** The largest count that is told apart; 1000 by default. */
  readonly bound?: number
}

/** What an author asked for, before it is checked. */
export interface FeatureDraft {
  readonly family: string
  readonly params: Readonly<Record<string, unknown>>
  /** An expression that must be a field; null for an aggregator without input. */
  readonly input: unknown
  readonly window: unknown
  readonly options: Readonly<Record<string, unknown>>
}

/** A windowed feature whose values have the type `V`. */
export interface Feature<V = unknown> {
  readonly [DEFINITION]: 'feature'
  readonly [VALUE]: V
  readonly draft: FeatureDraft
}

type NumericKind = 'int' | 'int64' | 'double' | 'decimal' | 'boolean'
type ScalarKind = Exclude<FieldKind, 'vector'>

/** The aggregators. Missing values are skipped; a boolean counts as 0 or 1. */
export interface Operators {
  /** Number of events; 0 where there are none. */
  count(window: WindowLength, options?: FeatureOptions): Feature<number>
  /** Number of events whose field is not missing. */
  count(column: Column, window: WindowLength, options?: FeatureOptions): Feature<number>
  /** 0 where there are no values. */
  sum<K extends NumericKind>(
    column: Column<K>,
    window: WindowLength,
    options?: FeatureOptions,
  ): Feature<K extends 'int64' ? bigint : number>
  mean<W extends number | null = null>(
    column: Column<NumericKind>,
    window: WindowLength,
    options?: NullableOptions<W>,
  ): Feature<number | W>
  min<V, W extends Exclude<V, bigint | null> | null = null>(
    column: Column<ScalarKind, V>,
    window: WindowLength,
    options?: NullableOptions<W>,
  ): Feature<NonNullable<V> | W>
  max<V, W extends Exclude<V, bigint | null> | null = null>(
    column: Column<ScalarKind, V>,
    window: WindowLength,
    options?: NullableOptions<W>,
  ): Feature<NonNullable<V> | W>
  /** Population variance, or of a sample. */
  variance<W extends number | null = null>(
    column: Column<NumericKind>,
    window: WindowLength,
    options?: SpreadOptions<W>,
  ): Feature<number | W>
  /** Population standard deviation, or of a sample. */
  std<W extends number | null = null>(
    column: Column<NumericKind>,
    window: WindowLength,
    options?: SpreadOptions<W>,
  ): Feature<number | W>
  /** The value of the oldest event, by (event time, event id). */
  first<V, W extends Exclude<V, bigint | null> | null = null>(
    column: Column<FieldKind, V>,
    window: WindowLength,
    options?: NullableOptions<W>,
  ): Feature<NonNullable<V> | W>
  /** The value of the newest event, by (event time, event id). */
  last<V, W extends Exclude<V, bigint | null> | null = null>(
    column: Column<FieldKind, V>,
    window: WindowLength,
    options?: NullableOptions<W>,
  ): Feature<NonNullable<V> | W>
  /** The values of the `n` newest events, newest first; fewer when there are fewer. */
  lastN<V>(
    column: Column<FieldKind, V>,
    n: number,
    window: WindowLength,
    options?: FeatureOptions,
  ): Feature<readonly NonNullable<V>[]>
  /** Number of different values, exact up to `bound`; 0 where there are none. */
  distinct(column: Column<ScalarKind>, window: WindowLength, options?: DistinctOptions): Feature<number>
}

/** The events of a source: a column per field, and the aggregators. A field named as one of these is `field('name')`. */
export type Rows<F extends Fields> = Operators & {
  field<const N extends keyof F>(name: N): ColumnOf<F[N]>
} & { readonly [N in Exclude<keyof F, keyof Operators | 'field'>]: ColumnOf<F[N]> }

const OWN_OPTIONS: readonly string[] = ['sample', 'bound']

function feature(family: string, input: unknown, window: unknown, options: unknown, params = {}): Feature<never> {
  const given = typeof options === 'object' && options !== null ? (options as Record<string, unknown>) : {}
  const own = Object.entries(given).filter(([name, value]) => OWN_OPTIONS.includes(name) && value !== undefined)
  const rest = Object.entries(given).filter(([name, value]) => !OWN_OPTIONS.includes(name) && value !== undefined)
  const draft: FeatureDraft = {
    family,
    params: { ...params, ...Object.fromEntries(own) },
    input: input === null ? null : draftOf(input),
    window,
    options: Object.fromEntries(rest),
  }
  return { [DEFINITION]: 'feature', draft } as unknown as Feature<never>
}

function overColumn(family: string): (input: unknown, window: unknown, options?: unknown) => Feature<never> {
  return (input, window, options) => feature(family, input, window, options)
}

const OPERATORS: Readonly<Record<keyof Operators, (...args: readonly unknown[]) => Feature<never>>> = {
  count: (...args) =>
    typeof args[0] === 'string'
      ? feature('count', null, args[0], args[1])
      : overColumn('count')(args[0], args[1], args[2]),
  sum: overColumn('sum'),
  mean: overColumn('mean'),
  min: overColumn('min'),
  max: overColumn('max'),
  variance: overColumn('variance'),
  std: overColumn('std'),
  first: overColumn('first'),
  last: overColumn('last'),
  lastN: (input, n, window, options) => feature('lastN', input, window, options, { n }),
  distinct: overColumn('distinct'),
}

/** Any name that is not an aggregator gives a column; the plan says which names are no fields. */
export function rows<F extends Fields>(): Rows<F> {
  const target = { ...OPERATORS, field: column } as unknown as Rows<F>
  return new Proxy(target, {
    get: (operators, name) => {
      if (typeof name === 'symbol' || Object.hasOwn(operators, name)) return Reflect.get(operators, name) as unknown
      return column(name)
    },
  })
}
