import { mkdirSync } from 'node:fs'
import { dirname, resolve } from 'node:path'
import { DatabaseSync } from 'node:sqlite'
import type { SQLInputValue, StatementSync } from 'node:sqlite'
import { setTimeout as delay } from 'node:timers/promises'
import { PortError } from '../ports/errors.ts'
import type { PortErrorCode } from '../ports/errors.ts'

/**
 * How hard a commit is. `normal`: it survives the death of the process at any instant (`kill -9`), a loss of power may
 * take the newest commits back. `full`: each commit waits for the disk and survives a loss of power too.
 */
export type Durability = 'normal' | 'full'

/** What `openSqliteFile` needs to know of a file. */
export interface SqliteFileOptions {
  readonly path: string
  /** How messages name the file, such as `event log`. */
  readonly what: string
  /** The code of every error but `CLOSED`. */
  readonly errorCode: PortErrorCode
  /** Marks the file as one of this kind; another kind is refused. */
  readonly applicationId: number
  /** Version of the tables; a file of another version is refused. */
  readonly formatVersion: number
  /** Statements that make the tables of an empty file. */
  readonly schema: string
  readonly durability: Durability
  /** How long a call may wait for another writer of the same file. */
  readonly busyTimeoutMs: number
  readonly cacheKiB: number
  /** Pages of 4 KiB that the write-ahead log gathers before they are copied into the file; more means fewer copies. */
  readonly checkpointPages: number
}

/** A statement whose rows come as arrays in column order. */
export interface RowsStatement {
  all(...values: SQLInputValue[]): unknown[][]
  get(...values: SQLInputValue[]): unknown[] | undefined
  iterate(...values: SQLInputValue[]): IterableIterator<unknown[]>
}

/** One open SQLite file in WAL mode. Every call is synchronous and fails with a `PortError` that names the file. */
export interface SqliteFile {
  /** Absolute path. */
  readonly path: string
  readonly closed: boolean
  /** Fails with `CLOSED` after `close`. */
  requireOpen(): void
  /** Prepares a statement that changes rows. */
  statement(sql: string): StatementSync
  /** Prepares a statement that returns rows. */
  rows(sql: string): RowsStatement
  /** Runs `body` outside a transaction, with this file's error mapping. */
  run<T>(body: () => T): T
  /** Runs `body` in one read transaction: all its statements see the same snapshot. */
  read<T>(body: () => T): T
  /** Runs `body` holding the file's write lock; all of it is committed, or none when it throws. */
  write<T>(body: () => T): T
  close(): void
}

const SQLITE_BUSY = 5
const OPEN_RETRY_MS = 10
const remedies: Readonly<Record<number, string>> = {
  5: 'Another process held the write lock for too long: look for one that is stopped inside a transaction, or raise busyTimeoutMs.',
  8: 'The file or its folder is read-only: give this process write access.',
  10: 'The disk reported an error: check it and the free space.',
  11: 'The file is damaged: restore it, or remove it together with its -wal and -shm files and rebuild.',
  13: 'The disk is full: free some space and retry.',
  14: 'The file cannot be opened: check that its folder exists and is writable.',
  26: 'The path holds something that is not an SQLite file: name another path.',
}

/**
 * Opens (or makes, with its folder) one SQLite file in WAL mode, which several threads and processes may have open at
 * once. Errors: `errorCode` for a file that cannot be opened, is of another kind or of another format version.
 */
export async function openSqliteFile(options: SqliteFileOptions): Promise<SqliteFile> {
  const path = resolve(options.path)
  let db: DatabaseSync
  try {
    mkdirSync(dirname(path), { recursive: true })
    db = new DatabaseSync(path, { timeout: options.busyTimeoutMs })
  } catch (error) {
    throw failure(options, path, error)
  }
  try {
    await enterWal(db, options.busyTimeoutMs)
    db.exec(`PRAGMA synchronous = ${options.durability === 'full' ? 'FULL' : 'NORMAL'}`)
    db.exec(`PRAGMA cache_size = -${options.cacheKiB}`)
    db.exec(`PRAGMA wal_autocheckpoint = ${options.checkpointPages}`)
    db.exec('PRAGMA journal_size_limit = 67108864')
    db.exec('PRAGMA temp_store = MEMORY')
    prepareTables(db, options, path)
  } catch (error) {
    db.close()
    throw error instanceof PortError ? error : failure(options, path, error)
  }
  return sqliteFile(db, options, path)
}

/** Changing the journal mode does not wait for other connections, so two openers of a new file retry here. */
async function enterWal(db: DatabaseSync, busyTimeoutMs: number): Promise<void> {
  for (let attempt = Math.max(1, Math.ceil(busyTimeoutMs / OPEN_RETRY_MS)); ; attempt -= 1) {
    try {
      db.exec('PRAGMA journal_mode = WAL')
      return
    } catch (error) {
      if (sqliteCode(error) !== SQLITE_BUSY || attempt <= 1) throw error
      await delay(OPEN_RETRY_MS)
    }
  }
}

function prepareTables(db: DatabaseSync, options: SqliteFileOptions, path: string): void {
  db.exec('BEGIN IMMEDIATE')
  try {
    const [applicationId] = Object.values(db.prepare('PRAGMA application_id').get() ?? {})
    const [version] = Object.values(db.prepare('PRAGMA user_version').get() ?? {})
    const [tables] = Object.values(db.prepare('SELECT count(*) FROM sqlite_schema').get() ?? {})
    if (tables === 0) {
      db.exec(options.schema)
      db.exec(`PRAGMA application_id = ${options.applicationId}`)
      db.exec(`PRAGMA user_version = ${options.formatVersion}`)
    } else if (applicationId !== options.applicationId) {
      throw new PortError(options.errorCode, `${path} is an SQLite file but not an ${options.what}: name another path.`)
    } else if (version !== options.formatVersion) {
      throw new PortError(
        options.errorCode,
        `${options.what} ${path} has format version ${String(version)}, this program reads version ` +
          `${options.formatVersion}: use the program version that wrote it, or name another path.`,
      )
    }
    db.exec('COMMIT')
  } catch (error) {
    if (db.isTransaction) db.exec('ROLLBACK')
    throw error
  }
}

function sqliteFile(db: DatabaseSync, options: SqliteFileOptions, path: string): SqliteFile {
  const begin = db.prepare('BEGIN')
  const beginImmediate = db.prepare('BEGIN IMMEDIATE')
  const commit = db.prepare('COMMIT')
  let closed = false
  const requireOpen = (): void => {
    if (closed) throw new PortError('CLOSED', `The ${options.what} ${path} is closed: open it again before using it.`)
  }
  const run = <T>(body: () => T): T => {
    requireOpen()
    try {
      return body()
    } catch (error) {
      throw isSqliteError(error) ? failure(options, path, error) : error
    }
  }
  const transaction = <T>(start: StatementSync, body: () => T): T =>
    run(() => {
      start.run()
      try {
        const result = body()
        commit.run()
        return result
      } catch (error) {
        if (db.isTransaction) db.exec('ROLLBACK')
        throw error
      }
    })
  return {
    path,
    get closed() {
      return closed
    },
    requireOpen,
    statement: sql => db.prepare(sql),
    rows: sql => db.prepare(sql, { returnArrays: true }) as unknown as RowsStatement,
    run,
    read: body => transaction(begin, body),
    write: body => transaction(beginImmediate, body),
    close: () => {
      if (closed) return
      closed = true
      db.close()
    },
  }
}

function isSqliteError(error: unknown): error is Error & { errcode: number } {
  return error instanceof Error && 'errcode' in error && typeof error.errcode === 'number'
}

/** The primary result code, 0 for an error that is not SQLite's. */
function sqliteCode(error: unknown): number {
  return isSqliteError(error) ? error.errcode & 0xff : 0
}

function failure(options: SqliteFileOptions, path: string, error: unknown): PortError {
  const text = error instanceof Error ? error.message : String(error)
  const remedy = remedies[sqliteCode(error)]
  const message = `The ${options.what} ${path} failed: ${text}.${remedy === undefined ? '' : ` ${remedy}`}`
  return new PortError(options.errorCode, message, { cause: error })
}
