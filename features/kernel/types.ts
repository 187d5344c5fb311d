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
}

/**
 * Algebra without I/O. Laws, tested for every member: `merge` is associative and commutative with `empty()` as unit
 * and changes neither argument; `add(s, x)` equals `merge(s, add(empty(), x))`; `decode(encode(s))` equals `s`; equal
 * states encode to equal bytes. `add` may change and must return its first argument.
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
  result(state: S): Value
  encode(state: S, out: ByteWriter): void
  decode(input: ByteReader): S
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
  string(): string
  bytes(length: number): Uint8Array
  readonly remaining: number
}

/** Which events a read at instant `t` covers. Lower edges are exclusive, upper edges inclusive. */
export type Window =
  | { readonly kind: 'sliding'; readonly lengthMs: number; readonly delayMs: number }
  | { readonly kind: 'lifetime'; readonly delayMs: number }

/** Whether the event being scored is part of its own windows; `excludeInstant` leaves out every event of its time. */
export type Include = 'current' | 'excludeSelf' | 'excludeInstant'

/** One stored aggregation: an aggregator over one column of the rows that pass one filter. */
export interface PartialSpec {
  readonly aggregator: Aggregator
  /** Index into the unit's columns; −1 for an aggregator without input, such as `count()`. */
  readonly column: number
  /** Index of the filter bit; −1 for none. */
  readonly filter: number
  /** True when a lifetime window reads it, so that events older than the retention are folded into a base state. */
  readonly lifetime: boolean
}

/** All the kernel knows of a unit: the groups of one entity type fed by one source that advance together. */
export interface UnitSpec {
  readonly columns: readonly FieldType[]
  readonly filterCount: number
  readonly partials: readonly PartialSpec[]
  readonly latenessMs: number
  /** `max(lateness, readBack)`: how far behind an entity's newest event a read may stand. */
  readonly horizonMs: number
  /** `max over windows (length + delay) + horizon`: points older than newest − retention are folded or dropped. */
  readonly retentionMs: number
  /** Width of the tiles that serve the middle of long windows of busy entities. */
  readonly tileMs: number
}

/** How one feature is answered from a unit. */
export interface FeatureRead {
  readonly partial: number
  readonly window: Window
  readonly include: Include
  /** Takes the place of a null result; null for none. */
  readonly whenEmpty: Value
}
