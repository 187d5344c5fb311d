/** A table or view of the offline store's database, as `system.tables` lists it. */
export interface FoundTable {
  readonly name: string
  readonly engine: string
  /** The engine with all its clauses, TTL included. */
  readonly engine_full: string
  readonly sorting_key: string
  readonly comment: string
}

/** A column as `system.columns` lists it; `default_kind` is empty, `DEFAULT`, `MATERIALIZED`, `ALIAS` or `EPHEMERAL`. */
export interface FoundColumn {
  readonly table: string
  readonly name: string
  readonly type: string
  readonly default_kind: string
  readonly comment: string
}

/** The newest migration of one table or view that was recorded. */
export interface AppliedMigration {
  readonly object: string
  readonly version: number
  readonly checksum: string
}

/** What a database holds now. */
export interface FoundSchema {
  readonly tables: readonly FoundTable[]
  readonly columns: readonly FoundColumn[]
  readonly applied: readonly AppliedMigration[]
}

/** A change of one table or view that loses nothing and may be run again at any time. */
export interface Migration {
  /** The table or view. */
  readonly object: string
  /** Counted for each table and view, from 1. */
  readonly version: number
  /** What it does, in words. */
  readonly name: string
  /** SHA-256 of the definition that it leads to, in hexadecimal. */
  readonly checksum: string
  readonly statements: readonly string[]
  /** Whether rows cannot be written without it; comments, retention and views are not needed for that. */
  readonly needed: boolean
}

/** Why what is stored cannot become what the plan needs without losing something, and what to do about it. */
export interface SchemaProblem {
  readonly message: string
  /** Whether rows of this plan would be refused, or would not be told apart, by the table as it is. */
  readonly blocksWriting: boolean
}

/** What lies between a database and a plan. */
export interface SchemaChanges {
  /** In the order in which they must run. */
  readonly migrations: readonly Migration[]
  readonly problems: readonly SchemaProblem[]
}

/** ClickHouse's number for what an error of the offline store says, such as 60 for an unknown table; null for none. */
export function clickHouseCode(error: unknown): number | null {
  const code = error instanceof Error ? /Code: (\d+)\./.exec(error.message)?.[1] : undefined
  return code === undefined ? null : Number(code)
}
