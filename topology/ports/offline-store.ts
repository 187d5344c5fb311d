import type { Readable } from 'node:stream'

/** The offline store speaks ClickHouse SQL and ClickHouse's formats; errors carry ClickHouse's own text and code. */
export interface OfflineStore {
  /** The address of the HTTP interface, such as `http://127.0.0.1:8123`. */
  readonly url: string
  /** A statement without a result. */
  command(sql: string, params?: Readonly<Record<string, unknown>>): Promise<void>
  /** All rows of a query, as objects; 64-bit integers come as strings. `params` fill `{name:Type}` placeholders. */
  query<Row>(sql: string, params?: Readonly<Record<string, unknown>>): Promise<readonly Row[]>
  /** Rows in chunks, with bounded memory. */
  stream<Row>(sql: string, params?: Readonly<Record<string, unknown>>): AsyncIterable<readonly Row[]>
  /** Rows as objects whose keys are column names. Durable when resolved; retried with the same `token` it is cheap. */
  insert(table: string, rows: readonly Readonly<Record<string, unknown>>[], token?: string): Promise<void>
  /**
   * The raw bytes of a query in a format of ClickHouse's, such as `Parquet` or `PrettyCompact`; `color` for terminals.
   * With `readOnly` (false by default) ClickHouse itself refuses, as `QUERY_FAILED`, a query that changes anything.
   */
  export(
    sql: string,
    format: string,
    options?: { readonly color?: boolean; readonly readOnly?: boolean },
  ): Promise<Readable>
  close(): Promise<void>
}
