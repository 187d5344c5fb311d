import type { FieldKind, Field } from './fields.ts'
import type { KIND, VALUE } from './marks.ts'

/** A row expression as an author wrote it; the plan checks it and gives literals the type of the field beside them. */
export type DraftExpression =
  | { readonly op: 'field'; readonly name: string }
  | { readonly op: 'literal'; readonly value: unknown }
  | {
      readonly op: 'eq' | 'ne' | 'lt' | 'le' | 'gt' | 'ge'
      readonly left: DraftExpression
      readonly right: DraftExpression
    }
  | { readonly op: 'and' | 'or'; readonly terms: readonly DraftExpression[] }
  | { readonly op: 'not'; readonly term: DraftExpression }
  | { readonly op: 'isNull'; readonly term: DraftExpression }
  | { readonly op: 'in'; readonly term: DraftExpression; readonly values: readonly DraftExpression[] }
  | { readonly op: 'startsWith'; readonly term: DraftExpression; readonly prefix: unknown }

/** A yes-or-no expression over one event. A comparison with a missing value is unknown, and unknown does not pass. */
export interface Condition {
  readonly draft: DraftExpression
  and(...others: readonly Condition[]): Condition
  or(...others: readonly Condition[]): Condition
  not(): Condition
}

/** A field of the event, as an aggregator takes it. */
export interface Column<K extends FieldKind = FieldKind, V = unknown> {
  readonly [KIND]: K
  readonly [VALUE]: V
  readonly draft: DraftExpression
  /** True for a missing value; never unknown. */
  isNull(): Condition
  isNotNull(): Condition
}

interface ComparableColumn<K extends FieldKind, V, T> extends Column<K, V> {
  eq(other: T | Column<K>): Condition
  ne(other: T | Column<K>): Condition
  in(values: readonly T[]): Condition
}

interface OrderedColumn<K extends FieldKind, V, T> extends ComparableColumn<K, V, T> {
  lt(other: T | Column<K>): Condition
  le(other: T | Column<K>): Condition
  gt(other: T | Column<K>): Condition
  ge(other: T | Column<K>): Condition
}

/** Strings are ordered by their UTF-8 bytes. */
interface StringColumn<V> extends OrderedColumn<'string', V, string> {
  startsWith(prefix: string): Condition
}

interface BooleanColumn<V> extends ComparableColumn<'boolean', V, boolean> {
  isTrue(): Condition
  isFalse(): Condition
}

interface ColumnsByKind<V> {
  readonly string: StringColumn<V>
  readonly boolean: BooleanColumn<V>
  readonly int: OrderedColumn<'int', V, number>
  readonly int64: OrderedColumn<'int64', V, bigint>
  readonly double: OrderedColumn<'double', V, number>
  readonly decimal: OrderedColumn<'decimal', V, number>
  readonly timestamp: OrderedColumn<'timestamp', V, number>
  readonly vector: Column<'vector', V>
}

/** The column of a field, with the operators that its kind has. */
export type ColumnOf<F extends Field> = ColumnsByKind<F[typeof VALUE]>[F['kind']]

/** Everything a column of any kind can do; the types above show each kind its part. */
interface EveryColumn {
  readonly draft: DraftExpression
  readonly isNull: () => Condition
  readonly isNotNull: () => Condition
  readonly in: (values: readonly unknown[]) => Condition
  readonly startsWith: (prefix: unknown) => Condition
  readonly isTrue: () => Condition
  readonly isFalse: () => Condition
  readonly eq: (other: unknown) => Condition
  readonly ne: (other: unknown) => Condition
  readonly lt: (other: unknown) => Condition
  readonly le: (other: unknown) => Condition
  readonly gt: (other: unknown) => Condition
  readonly ge: (other: unknown) => Condition
}

function condition(draft: DraftExpression): Condition {
  return {
    draft,
    and: (...others) => condition({ op: 'and', terms: [draft, ...others.map(draftOf)] }),
    or: (...others) => condition({ op: 'or', terms: [draft, ...others.map(draftOf)] }),
    not: () => condition({ op: 'not', term: draft }),
  }
}

/** The expression of a condition or column; anything else becomes a literal, which the plan then checks. */
export function draftOf(value: unknown): DraftExpression {
  if (typeof value === 'object' && value !== null && 'draft' in value) return value.draft as DraftExpression
  return { op: 'literal', value }
}

/** The column of the field with this name, whether or not there is such a field. */
export function column(name: string): EveryColumn {
  const draft: DraftExpression = { op: 'field', name }
  const compare = (op: 'eq' | 'ne' | 'lt' | 'le' | 'gt' | 'ge') => (other: unknown) =>
    condition({ op, left: draft, right: draftOf(other) })
  const isNull = condition({ op: 'isNull', term: draft })
  return {
    draft,
    isNull: () => isNull,
    isNotNull: () => isNull.not(),
    in: values => condition({ op: 'in', term: draft, values: Array.isArray(values) ? values.map(draftOf) : [] }),
    startsWith: prefix => condition({ op: 'startsWith', term: draft, prefix }),
    isTrue: () => compare('eq')(true),
    isFalse: () => compare('eq')(false),
    eq: compare('eq'),
    ne: compare('ne'),
    lt: compare('lt'),
    le: compare('le'),
    gt: compare('gt'),
    ge: compare('ge'),
  }
}
