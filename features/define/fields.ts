import type { FieldType, Value } from '../kernel/types.ts'
import type { KIND } from './marks.ts'
import { DEFINITION } from './marks.ts'
import type { VALUE } from './marks.ts'

/** The kinds of field types, one per member of `t` but `optional`. */
export type FieldKind = FieldType['kind']

/**
 * A field of an event. `V` is the type of its values as authors see them, with null when it is optional; `T` is the
 * field's type with a scale or length where that is known.
 */
export interface Field<
  K extends FieldKind = FieldKind,
  V = Value,
  O extends boolean = boolean,
  T extends FieldType = FieldType,
> {
  readonly [DEFINITION]: 'field'
  readonly [VALUE]: V
  readonly [KIND]: K
  readonly kind: K
  readonly type: T
  readonly optional: O
  readonly description: string
}

/** The fields of an event by name. */
export type Fields = Readonly<Record<string, Field>>

/** What a field may be declared with beside its type. */
export interface FieldOptions {
  readonly description?: string
}

/** A decimal with its scale. */
export interface DecimalType<S extends number> {
  readonly kind: 'decimal'
  readonly scale: S
}

/** A vector with its length. */
export interface VectorType<L extends number> {
  readonly kind: 'vector'
  readonly length: L
}

function field<K extends FieldKind, V, T extends FieldType = FieldType>(
  type: T & { readonly kind: K },
  options?: FieldOptions,
): Field<K, V, false, T> {
  const made = {
    [DEFINITION]: 'field',
    kind: type.kind,
    type,
    optional: false,
    description: options?.description ?? '',
  }
  return made as unknown as Field<K, V, false, T>
}

/** The field types. Values: `int64` is a bigint, `decimal` a number, `timestamp` UTC milliseconds, `vector` an array. */
export const t = {
  /** Well-formed text of at most 64 KiB. */
  string: (options?: FieldOptions): Field<'string', string, false> => field({ kind: 'string' }, options),
  boolean: (options?: FieldOptions): Field<'boolean', boolean, false> => field({ kind: 'boolean' }, options),
  /** A whole number between −(2^53 − 1) and 2^53 − 1. */
  int: (options?: FieldOptions): Field<'int', number, false> => field({ kind: 'int' }, options),
  /** A whole number of 64 bits, as a bigint. */
  int64: (options?: FieldOptions): Field<'int64', bigint, false> => field({ kind: 'int64' }, options),
  double: (options?: FieldOptions): Field<'double', number, false> => field({ kind: 'double' }, options),
  /** A number with at most `scale` digits (0 to 9) behind the point, kept exactly. */
  decimal: <const S extends number>(
    scale: S,
    options?: FieldOptions,
  ): Field<'decimal', number, false, DecimalType<S>> => field({ kind: 'decimal', scale }, options),
  /** UTC milliseconds, or ISO 8601 with a zone. */
  timestamp: (options?: FieldOptions): Field<'timestamp', number, false> => field({ kind: 'timestamp' }, options),
  /** An array of exactly `length` finite numbers. */
  vector: <const L extends number>(
    length: L,
    options?: FieldOptions,
  ): Field<'vector', readonly number[], false, VectorType<L>> => field({ kind: 'vector', length }, options),
  /** The same field, which may be missing or null. */
  optional: <K extends FieldKind, V, T extends FieldType>(
    inner: Field<K, V, boolean, T>,
    options?: FieldOptions,
  ): Field<K, V | null, true, T> => {
    const description = options?.description ?? inner?.description ?? ''
    return { ...inner, optional: true, description } as unknown as Field<K, V | null, true, T>
  },
} as const
