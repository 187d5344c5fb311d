import type { Column } from './expressions.ts'
import type {
  BoundOptions,
  Feature,
  FeatureOptions,
  NullableBoundOptions,
  NullableOptions,
  QuantileOptions,
  SetOptions,
  SpreadOptions,
} from './features.ts'
import type { FieldKind } from './fields.ts'
import type { Duration } from './marks.ts'
import type { BoundedWindow, MeasuredWindow, WindowLength } from './windows.ts'

type NumericKind = 'int' | 'int64' | 'double' | 'decimal' | 'boolean'
type MeasureKind = 'int' | 'int64' | 'double' | 'decimal' | 'timestamp'
type CategoryKind = 'string' | 'boolean' | 'int' | 'int64'
type ScalarKind = Exclude<FieldKind, 'vector'>

/** What may replace the null of an empty window where the values have the type `V`. */
type Replacement<V> = Exclude<V, bigint | null> | null

/** How often each value was seen, by value. */
type Counts<V> = readonly (readonly [NonNullable<V>, number])[]

/** From a field that can be added up to a number, null where there are no values. */
interface NumberOf {
  <W extends number | null = null>(
    column: Column<NumericKind>,
    window: WindowLength,
    options?: NullableOptions<W>,
  ): Feature<number | W>
}

/** As `NumberOf`, of a population or of a sample. */
interface SpreadOf {
  <W extends number | null = null>(
    column: Column<NumericKind>,
    window: WindowLength,
    options?: SpreadOptions<W>,
  ): Feature<number | W>
}

/** One of the values of a field. */
interface ValueOf<K extends FieldKind> {
  <V, W extends Replacement<V> = null>(
    column: Column<K, V>,
    window: WindowLength,
    options?: NullableOptions<W>,
  ): Feature<NonNullable<V> | W>
}

/** Up to `n` of the values of a field. */
interface ValuesOf<K extends FieldKind> {
  <V>(
    column: Column<K, V>,
    n: number,
    window: WindowLength,
    options?: FeatureOptions,
  ): Feature<readonly NonNullable<V>[]>
}

/** The value of the event for which another field is extreme. */
interface ValueBy {
  <V, W extends Replacement<V> = null>(
    column: Column<FieldKind, V>,
    by: Column<ScalarKind>,
    window: WindowLength,
    options?: NullableOptions<W>,
  ): Feature<NonNullable<V> | W>
}

/** A time in milliseconds of the events, or of those whose field is not missing; null where there are too few. */
interface TimeOf {
  <W extends number | null = null>(window: WindowLength, options?: NullableOptions<W>): Feature<number | W>
  <W extends number | null = null>(
    column: Column,
    window: WindowLength,
    options?: NullableOptions<W>,
  ): Feature<number | W>
}

/** As `TimeOf`, of a population or of a sample. */
interface SpreadOfTime {
  <W extends number | null = null>(window: BoundedWindow, options?: SpreadOptions<W>): Feature<number | W>
  <W extends number | null = null>(
    column: Column,
    window: BoundedWindow,
    options?: SpreadOptions<W>,
  ): Feature<number | W>
}

/** Element by element; null where there are no values. */
interface VectorOf {
  <W extends readonly number[] | null = null>(
    column: Column<'vector'>,
    window: WindowLength,
    options?: NullableOptions<W>,
  ): Feature<readonly number[] | Extract<W, null>>
}

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
  /** Sum of x²; 0 where there are no values. */
  sumOfSquares<K extends NumericKind>(
    column: Column<K>,
    window: WindowLength,
    options?: FeatureOptions,
  ): Feature<K extends 'int64' ? bigint : number>
  mean: NumberOf
  /** Population variance, or of a sample. */
  variance: SpreadOf
  /** Population standard deviation, or of a sample. */
  std: SpreadOf
  /** Asymmetry, the third standardised moment; null too where all values are equal. */
  skew: SpreadOf
  /** Weight of the tails, the fourth standardised moment less 3; null too where all values are equal. */
  kurtosis: SpreadOf
  min: ValueOf<ScalarKind>
  max: ValueOf<ScalarKind>
  /** The value of the oldest event, by (event time, event id). */
  first: ValueOf<FieldKind>
  /** The value of the newest event, by (event time, event id). */
  last: ValueOf<FieldKind>
  /** The values of the `n` oldest events, oldest first; fewer when there are fewer. */
  firstN: ValuesOf<FieldKind>
  /** The values of the `n` newest events, newest first; fewer when there are fewer. */
  lastN: ValuesOf<FieldKind>
  /** The value of the event for which `by` is least; the newest of those where several are. */
  argMin: ValueBy
  /** The value of the event for which `by` is greatest; the newest of those where several are. */
  argMax: ValueBy
  /** The `n` greatest values, greatest first; equal ones as often as they occur. */
  topN: ValuesOf<ScalarKind>
  /** The `n` least values, least first; equal ones as often as they occur. */
  bottomN: ValuesOf<ScalarKind>
  /** Number of different values, exact up to `bound` and estimated beyond; 0 where there are none. */
  distinct(column: Column<ScalarKind>, window: WindowLength, options?: BoundOptions): Feature<number>
  /** The different values in order, the `bound` least of them. */
  distinctSet<V>(
    column: Column<ScalarKind, V>,
    window: WindowLength,
    options: SetOptions,
  ): Feature<readonly NonNullable<V>[]>
  /** The `n` different values that were seen last, the newest first. */
  lastNDistinct: ValuesOf<ScalarKind>
  /** Shannon's entropy of the values in bits; those beyond `bound` different ones are taken for one. */
  entropy<W extends number | null = null>(
    column: Column<ScalarKind>,
    window: WindowLength,
    options?: NullableBoundOptions<W>,
  ): Feature<number | W>
  /** The `k` most frequent values with how often each was seen, the most frequent first; exact up to `bound` values. */
  topK<V>(column: Column<ScalarKind, V>, k: number, window: WindowLength, options?: BoundOptions): Feature<Counts<V>>
  /** How many values lie below the first edge, from each edge up to the next, and from the last edge on. */
  histogram(
    column: Column<MeasureKind>,
    edges: readonly number[],
    window: WindowLength,
    options?: FeatureOptions,
  ): Feature<readonly number[]>
  /** How often each of these values, written as text, was seen, and last how often any other. */
  categoryHistogram(
    column: Column<CategoryKind>,
    categories: readonly string[],
    window: WindowLength,
    options?: FeatureOptions,
  ): Feature<readonly number[]>
  /** How often each value was seen, by value; the `bound` least values where there are more. */
  countPerCategory<V>(column: Column<ScalarKind, V>, window: WindowLength, options?: BoundOptions): Feature<Counts<V>>
  /** The share of the most frequent value among all; values beyond `bound` different ones are taken for one. */
  topCategoryRatio<W extends number | null = null>(
    column: Column<ScalarKind>,
    window: WindowLength,
    options?: NullableBoundOptions<W>,
  ): Feature<number | W>
  /** The value at the place `q` of the values in order, 0 the least and 1 the greatest, within a stated error. */
  quantile<W extends number | null = null>(
    column: Column<NumericKind>,
    q: number,
    window: WindowLength,
    options?: QuantileOptions<W>,
  ): Feature<number | W>
  /** The value in the middle, exact up to `bound` values. */
  median<W extends number | null = null>(
    column: Column<NumericKind>,
    window: WindowLength,
    options?: NullableBoundOptions<W>,
  ): Feature<number | W>
  /** Milliseconds from the oldest event to the end of the window. */
  timeSinceFirst: TimeOf
  /** Milliseconds from the newest event to the end of the window. */
  timeSinceLast: TimeOf
  /** Mean of the milliseconds between neighbouring events. */
  gapMean: TimeOf
  /** Standard deviation of the milliseconds between neighbouring events, of a population or of a sample. */
  gapStd: SpreadOfTime
  /** Events per second of the window's length; 0 where there are none. */
  rate(window: MeasuredWindow, options?: FeatureOptions): Feature<number>
  /** As above, of events whose field is not missing. */
  rate(column: Column, window: MeasuredWindow, options?: FeatureOptions): Feature<number>
  /** Length of the longest run of events for which the field is true; 0 where there are none. */
  longestStreak(column: Column<'boolean'>, window: BoundedWindow, options?: FeatureOptions): Feature<number>
  /** Number of events, each weighted by 2^(−age / half-life). */
  decayedCount(halfLife: Duration, options?: FeatureOptions): Feature<number>
  /** As above, of events whose field is not missing. */
  decayedCount(column: Column, halfLife: Duration, options?: FeatureOptions): Feature<number>
  /** Sum of the values, each weighted by 2^(−age / half-life); 0 where there are none. */
  decayedSum(column: Column<NumericKind>, halfLife: Duration, options?: FeatureOptions): Feature<number>
  /** Mean of the values, each weighted by 2^(−age / half-life). */
  decayedMean<W extends number | null = null>(
    column: Column<NumericKind>,
    halfLife: Duration,
    options?: NullableOptions<W>,
  ): Feature<number | W>
  /** Element by element; zeros where there are no values. */
  vectorSum(column: Column<'vector'>, window: WindowLength, options?: FeatureOptions): Feature<readonly number[]>
  vectorMean: VectorOf
  vectorMin: VectorOf
  vectorMax: VectorOf
}
