import type { ColumnOf, Field, FieldKind } from '../define/index.ts'
import type { FieldType } from '../kernel/types.ts'

type OperatorsOf<K extends FieldKind> = Readonly<Record<Exclude<keyof ColumnOf<Field<K>>, symbol | 'draft'>, true>>

const PRESENCE = { isNull: true, isNotNull: true } as const
const EQUALITY = { eq: true, ne: true, in: true } as const
const ORDERED = { ...EQUALITY, lt: true, le: true, gt: true, ge: true, ...PRESENCE } as const

/** The compiler holds this against the columns' types: each kind has all of its operators and no other. */
const OPERATORS: { readonly [K in FieldKind]: OperatorsOf<K> } = {
  string: { ...ORDERED, startsWith: true },
  boolean: { isTrue: true, isFalse: true, ...EQUALITY, ...PRESENCE },
  int: ORDERED,
  int64: ORDERED,
  double: ORDERED,
  decimal: ORDERED,
  timestamp: ORDERED,
  vector: PRESENCE,
}

/** What a column of this kind of field offers for `where`, in the order in which it is documented. */
export function operatorsOf(kind: FieldKind): readonly string[] {
  return Object.keys(OPERATORS[kind])
}

/** A type of every kind, to ask an aggregator which it takes. */
export const TYPE_OF_EVERY_KIND: readonly FieldType[] = [
  { kind: 'int' },
  { kind: 'int64' },
  { kind: 'double' },
  { kind: 'decimal', scale: 0 },
  { kind: 'boolean' },
  { kind: 'string' },
  { kind: 'timestamp' },
  { kind: 'vector', length: 1 },
]
