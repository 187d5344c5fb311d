/** UTC milliseconds since the epoch, an integer. */
export type TimeMs = number

/** The closed set of field and column types. `scale` is the number of decimal digits, 0 to 9. */
export type FieldType =
  | { readonly kind: 'string' }
  | { readonly kind: 'boolean' }
  | { readonly kind: 'int' }
  | { readonly kind: 'int64' }
  | { readonly kind: 'double' }
  | { readonly kind: 'decimal'; readonly scale: number }
  | { readonly kind: 'timestamp' }
  | { readonly kind: 'vector'; readonly length: number }

/**
 * One value inside the kernel. By type: string → string, boolean → boolean, int and timestamp → a safe integer,
 * int64 → bigint, double → number (never −0), decimal → the *scaled* value as a safe integer (12.34 at scale 2 is
 * 1234), vector → an array of numbers. `null` is a missing value of any type.
 */
export type Cell = string | boolean | number | bigint | readonly number[] | null

/**
 * One value as authors, models and callers see it: as a cell, but a decimal is the plain number (12.34), and lists
 * hold such values.
 */
export type Value = string | boolean | number | bigint | readonly number[] | readonly Value[] | null

/** An event as a unit stores it. Points of an entity are totally ordered by (time, id), ids by their UTF-8 bytes. */
export interface Point {
  readonly time: TimeMs
  readonly id: string
  /** One cell per column of the unit, in the unit's column order. */
  readonly cells: readonly Cell[]
  /** Bit i is set when filter i of the unit (a `where`) holds for the event; at most 31 filters. */
  readonly mask: number
}

/** What an aggregator is given of one point. */
export interface Input {
  readonly cell: Cell
  readonly time: TimeMs
  readonly id: string
  /** The second input of aggregators that take two, such as what `argMax` orders by. */
  readonly by?: Cell
}

/** The instant for which a state is turned into a value. */
export interface ReadAt {
  /** The last instant that the window covers: its inclusive upper edge. */
  readonly t: TimeMs
  /** The window's declared length; null for windows that have none (session, lifetime, last events, decay). */
  readonly lengthMs: number | null
}

/**
 * Algebra without I/O. Laws, tested for every member: `merge` is associative and commutative with `empty()` as unit
 * and changes neither argument; `add(s, x)` equals `merge(s, add(empty(), x))`; `decode(encode(s))` equals `s`; equal
 * states encode to equal bytes. `add` may change and must return its first argument; its input may be another one
 * after it has returned, so it copies what it keeps.
 */
export interface Aggregator<S = unknown> {
  /** Canonical name with parameters, such as `distinct(1000)`; part of the state hash. */
  readonly name: string
  readonly kind: 'merge' | 'concat'
  /** Version of the byte encoding; part of the state hash. */
  readonly version: number
  empty(): S
  add(state: S, input: Input): S
  merge(left: S, right: S): S
  /** The value of the state as authors see it; documented per aggregator for the empty state. */
  result(state: S, at: ReadAt): Value
  encode(state: S, out: ByteWriter): void
  decode(input: ByteReader): S
  /** As `merge(state, decode(input))` but may change its first argument, which it returns: saves making a state. */
  absorb?(state: S, input: ByteReader): S
  /**
   * Set where of rows in total order, those with a null input left out, only the first or only the last can change a
   * state that holds none of them; the others need then not be looked at.
   */
  readonly decisive?: 'first' | 'last'
  /** Set where merging a state with itself changes nothing, so that an equal one need not be merged again. */
  readonly idempotent?: boolean
  /** For an aggregator that picks the rows of a window by itself (session, last events): what is computed over them. */
  readonly inner?: Aggregator
}

/** Appends to a growing buffer. Integers are little-endian; `varint` takes a non-negative safe integer. */
export interface ByteWriter {
  u8(value: number): void
  u32(value: number): void
  f64(value: number): void
  varint(value: number): void
  /** A safe integer, zigzag; the same bytes as `bigint(BigInt(value))`. */
  int(value: number): void
  /** Zigzag, any size. */
  bigint(value: bigint): void
  /** UTF-8 with a varint length in bytes. */
  string(value: string): void
  bytes(value: Uint8Array): void
  /** A copy of everything written so far. */
  finish(): Uint8Array
}

/** Reads what a ByteWriter wrote; throws `RangeError` past the end. */
export interface ByteReader {
  u8(): number
  u32(): number
  f64(): number
  varint(): number
  int(): number
  bigint(): bigint
  /** What `int` or `bigint` wrote: a number exactly when it is a safe integer. */
  integer(): number | bigint
  string(): string
  /** Moves past the next string if it is this one; otherwise does nothing and answers false. */
  skipString(text: string): boolean
  bytes(length: number): Uint8Array
  readonly remaining: number
}

/**
 * Which events a read at instant `t` covers, with `u = t − delayMs` and `floor(x, r)` the greatest multiple of r (since
 * the epoch) that is not above x:
 *
 * - sliding: `u − lengthMs < time ≤ u`; with `edgeMs` r > 0, `floor(u − lengthMs, r) ≤ time ≤ u`;
 * - tumbling: `floor(u, lengthMs) ≤ time ≤ u` when `lookback` is 0, otherwise the whole aligned interval `lookback`
 *   intervals before that one;
 * - session: of the rows that pass the feature's filter, those whose input is null among them, the run that ends at the
 *   last one ≤ u, no two neighbours further apart than `gapMs`; none when `u − last > gapMs`. Only rows of
 *   `(u − maxLengthMs, u]` are looked at, so a longer run is cut there;
 * - lifetime: `time ≤ u`;
 * - last events: of the rows that pass the feature's filter, the `count` greatest by (time, id) with `time ≤ u`, and
 *   `time > u − withinMs` where that is not null;
 * - decay: `time ≤ u`, each event weighted by `2^(−(u − time) / halfLifeMs)`.
 */
export type Window =
  | { readonly kind: 'sliding'; readonly lengthMs: number; readonly delayMs: number; readonly edgeMs: number }
  | { readonly kind: 'tumbling'; readonly lengthMs: number; readonly lookback: number; readonly delayMs: number }
  | { readonly kind: 'session'; readonly gapMs: number; readonly maxLengthMs: number; readonly delayMs: number }
  | { readonly kind: 'lifetime'; readonly delayMs: number }
  | {
      readonly kind: 'lastEvents'
      readonly count: number
      readonly withinMs: number | null
      readonly delayMs: number
    }
  | { readonly kind: 'decay'; readonly halfLifeMs: number; readonly delayMs: number }

/** Whether the event being scored is part of its own windows; `excludeInstant` leaves out every event of its time. */
export type Include = 'current' | 'excludeSelf' | 'excludeInstant'

/** One stored aggregation: an aggregator over one column, or two, of the rows that pass one filter. */
export interface PartialSpec {
  /** For windows that pick rows by themselves the wrapped aggregator, as `windowed` makes it. */
  readonly aggregator: Aggregator
  /** Index into the unit's columns; −1 for an aggregator without input, such as `count()`. */
  readonly column: number
  /** Index of the column of the second input; −1 for none. */
  readonly by: number
  /** Index of the filter bit; −1 for none. */
  readonly filter: number
  /** True when a window without a lower edge reads it, so that expired events are folded into a base state. */
  readonly lifetime: boolean
}

/**
 * How a section is cut into spans of time. A span that holds more than `leafPoints` points is split into the spans of
 * the level below; one of at least `blockPoints` that does not hold the newest event is stored apart, as a block.
 */
export interface SectionLayout {
  /** Widths in milliseconds of spans aligned to the epoch, ascending, each dividing the next; 1 to 15 of them. */
  readonly levelsMs: readonly number[]
  readonly leafPoints: number
  readonly blockPoints: number
}

/** All the kernel knows of a unit: the groups of one entity type fed by one source that advance together. */
export interface UnitSpec {
  readonly columns: readonly FieldType[]
  readonly filterCount: number
  readonly partials: readonly PartialSpec[]
  readonly latenessMs: number
  /** `max(lateness, readBack)`: how far behind an entity's newest event a read may stand. */
  readonly horizonMs: number
  /** `max over windows (length + delay) + horizon`: what is older than newest − retention is folded or dropped. */
  readonly retentionMs: number
  /**
   * 0 where an edge may fall on any instant. Otherwise the lower edges of all windows, and the upper ones of closed
   * intervals, fall on multiples of it: blocks of spans whose width divides it are then forgotten, and only their tiles
   * kept, once they are older than newest − `rawMs`. Concat partials need their points and have no place in such a unit.
   */
  readonly edgeMs: number
  /** How long such blocks are kept: horizon + greatest delay. Where `edgeMs` is 0, the retention. */
  readonly rawMs: number
  readonly layout: SectionLayout
}

/** How one feature is answered from a unit. */
export interface FeatureRead {
  readonly partial: number
  readonly window: Window
  readonly include: Include
  /** Takes the place of a null result; null for none. */
  readonly whenEmpty: Value
}
