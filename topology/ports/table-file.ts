/** A table file open for reading. */
export interface TableFile {
  readonly columns: readonly { readonly name: string; /** ClickHouse's type name. */ readonly type: string }[]
  /** null when it cannot be known without reading. */
  readonly rowCount: number | null
  /** Rows in file order, in chunks of bounded size; 64-bit integers as strings, other numbers as numbers. */
  rows(): AsyncIterable<readonly Readonly<Record<string, unknown>>[]>
  close(): Promise<void>
}

/** Reading and writing table files (Parquet, CSV, NDJSON by extension: .parquet, .csv, .ndjson/.jsonl), streaming. */
export interface TableFiles {
  /** Errors carry code `QUERY_FAILED` and name the file: absent, empty, truncated, unknown extension. */
  open(path: string): Promise<TableFile>
  /** Writes atomically: the file appears complete or not at all. Column types are ClickHouse's. */
  write(
    path: string,
    columns: readonly { readonly name: string; readonly type: string }[],
    rows: AsyncIterable<readonly Readonly<Record<string, unknown>>[]>,
  ): Promise<{ readonly rows: number }>
  close(): Promise<void>
}
