import { sqlIdentifier, sqlString } from '../../features/plan/expression-sql.ts'

/** A column: stored as it was inserted, computed when it is inserted, or computed when it is read. */
export interface ColumnSpec {
  readonly name: string
  readonly type: string
  readonly kind: 'stored' | 'materialized' | 'alias'
  /** Empty for a stored column. */
  readonly expression: string
  readonly comment: string
}

/** A table of the offline store, as data: `ReplacingMergeTree` over the place that its rows come from. */
export interface TableSpec {
  readonly kind: 'table'
  readonly name: string
  readonly columns: readonly ColumnSpec[]
  /** Of rows of the same order the one with the greatest value here is kept; empty where they are all the same. */
  readonly versionColumn: string
  /** An expression; empty for one partition. */
  readonly partitionBy: string
  /** Columns that tell rows apart. */
  readonly orderBy: readonly string[]
  readonly nullableKey: boolean
  /** The column of UTC milliseconds that retention goes by; empty where rows are kept for ever. */
  readonly arrivalColumn: string
  readonly comment: string
  /** The event whose records it keeps; empty for a table of our own. */
  readonly event: string
}

/** A view, made anew whenever its text or the table that it reads is another. */
export interface ViewSpec {
  readonly kind: 'view'
  readonly name: string
  readonly over: string
  readonly sql: string
}

const DURABLE = ['fsync_after_insert = 1', 'fsync_part_directory = 1', 'non_replicated_deduplication_window = 1000']

/** A column as it is declared, in CREATE TABLE and in ALTER TABLE. */
export function columnSql(column: ColumnSpec): string {
  const computed = column.kind === 'stored' ? '' : ` ${column.kind.toUpperCase()} ${column.expression}`
  const text = column.comment === '' ? '' : ` COMMENT ${sqlString(column.comment)}`
  return `${sqlIdentifier(column.name)} ${column.type}${computed}${text}`
}

/**
 * When a table's rows are deleted: so many days after they arrived; empty for never.
 * @param retentionDays 0 keeps them for ever
 */
export function ttlSql(table: TableSpec, retentionDays: number): string {
  if (retentionDays === 0 || table.arrivalColumn === '') return ''
  return `toDateTime(intDiv(${table.arrivalColumn}, 1000), 'UTC') + toIntervalDay(${retentionDays})`
}

/** Makes a table where there is none. */
export function createTableSql(table: TableSpec, retentionDays: number): string {
  const ttl = ttlSql(table, retentionDays)
  const settings = [...DURABLE, ...(table.nullableKey ? ['allow_nullable_key = 1'] : [])]
  return [
    `CREATE TABLE IF NOT EXISTS ${sqlIdentifier(table.name)} (`,
    table.columns.map(column => `  ${columnSql(column)}`).join(',\n'),
    `) ENGINE = ReplacingMergeTree${table.versionColumn === '' ? '' : `(${table.versionColumn})`}`,
    ...(table.partitionBy === '' ? [] : [`PARTITION BY ${table.partitionBy}`]),
    `ORDER BY (${table.orderBy.map(sqlIdentifier).join(', ')})`,
    ...(ttl === '' ? [] : [`TTL ${ttl}`]),
    `SETTINGS ${settings.join(', ')}`,
    `COMMENT ${sqlString(table.comment)}`,
  ].join('\n')
}

/** Adds what a table that is there already lacks of these columns; null for none. */
export function addColumnsSql(table: string, columns: readonly ColumnSpec[]): string | null {
  if (columns.length === 0) return null
  const added = columns.map(column => `ADD COLUMN IF NOT EXISTS ${columnSql(column)}`)
  return `ALTER TABLE ${sqlIdentifier(table)} ${added.join(', ')}`
}
