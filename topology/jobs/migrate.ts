import { clickHouseCode } from '../offline-changes.ts'
import type {
  AppliedMigration,
  FoundColumn,
  FoundSchema,
  FoundTable,
  Migration,
  SchemaChanges,
} from '../offline-changes.ts'
import { PortError } from '../ports/errors.ts'
import type { OfflineStore } from '../ports/offline-store.ts'

/** The table that every migration is written to, once for each table or view that it changed. */
export const MIGRATIONS_TABLE = 'schema_migrations'

const MIGRATIONS_DDL = `CREATE TABLE IF NOT EXISTS ${MIGRATIONS_TABLE} (
  version UInt32 COMMENT 'Counted for each table and view, from 1',
  name String COMMENT 'What was done, in words',
  object String COMMENT 'The table or view that was changed',
  checksum String COMMENT 'SHA-256 of the definition that it led to, in hexadecimal',
  statements Array(String) COMMENT 'What was run',
  applied_at DateTime64(3, 'UTC') DEFAULT now64(3, 'UTC') COMMENT 'When, by the clock of the server'
) ENGINE = ReplacingMergeTree
ORDER BY (object, version, checksum)
SETTINGS fsync_after_insert = 1, fsync_part_directory = 1
COMMENT 'Changes of the tables and views of this database, as headwater migrate made them'`

const MAX_ROUNDS = 8
const FIRST_WAIT_MS = 50
const MAX_WAIT_MS = 2_000

/**
 * Codes after which trying again is of no use: syntax, refused types, statements that are not allowed, and rights. All
 * others may come of another process that makes the same changes at the same time.
 */
const FINAL_CODES: ReadonlySet<number> = new Set([43, 48, 50, 62, 164, 192, 194, 344, 392, 450, 497, 516, 524])

type Store = Pick<OfflineStore, 'query' | 'command' | 'insert'>

/** Reads what the database of a store holds. */
export async function readSchema(offline: Pick<OfflineStore, 'query'>): Promise<FoundSchema> {
  const tables = await offline.query<FoundTable>(
    'SELECT name, engine, engine_full, sorting_key, comment FROM system.tables WHERE database = currentDatabase()',
  )
  const columns = await offline.query<FoundColumn>(
    'SELECT table, name, type, default_kind, comment FROM system.columns WHERE database = currentDatabase() ORDER BY table, position',
  )
  if (!tables.some(table => table.name === MIGRATIONS_TABLE)) return { tables, columns, applied: [] }
  const applied = await offline.query<AppliedMigration>(
    `SELECT m.object AS object, max(m.version) AS version, argMax(m.checksum, (m.version, m.applied_at)) AS checksum
FROM ${MIGRATIONS_TABLE} AS m FINAL GROUP BY m.object`,
  )
  return { tables, columns, applied }
}

/** The error for what cannot be migrated, all problems in one. */
export function schemaMismatch(messages: readonly string[]): PortError {
  return new PortError('SCHEMA_MISMATCH', `the offline store does not fit the plan:\n- ${messages.join('\n- ')}`)
}

async function record(offline: Store, done: readonly Migration[]): Promise<void> {
  if (done.length === 0) return
  const rows = done.map(({ object, version, name, checksum, statements }) => {
    return { object, version, name, checksum, statements }
  })
  const token = `migrations:${done.map(each => `${each.object}:${each.version}:${each.checksum}`).join(',')}`
  await offline.insert(MIGRATIONS_TABLE, rows, token)
}

/** Runs migrations in order up to the first that fails; those before it are recorded. */
async function apply(offline: Store, migrations: readonly Migration[], done: Migration[]): Promise<void> {
  await offline.command(MIGRATIONS_DDL)
  const finished: Migration[] = []
  try {
    for (const migration of migrations) {
      for (const statement of migration.statements) await offline.command(statement)
      finished.push(migration)
    }
  } finally {
    await record(offline, finished)
    done.push(...finished)
  }
}

/**
 * Brings a database to what `changesOf` asks for and returns what was done, in order; nothing where it fits already.
 * Every statement may be run twice, and what is there is read again after each round, so that two processes at once,
 * a lost acknowledgement or a crash between two statements end in the same place.
 *
 * Throws `SCHEMA_MISMATCH`, before anything is changed, for changes that would lose something; and the store's own
 * error when the same statement failed in eight rounds, or at once where another try is of no use, such as a missing right.
 */
export async function migrate(
  offline: Store,
  changesOf: (found: FoundSchema) => SchemaChanges,
): Promise<readonly Migration[]> {
  const done: Migration[] = []
  let failure: Error | null = null
  for (let round = 0; round < MAX_ROUNDS; round += 1) {
    const { migrations, problems } = changesOf(await readSchema(offline))
    if (problems.length > 0) throw schemaMismatch(problems.map(problem => problem.message))
    if (migrations.length === 0) return done
    try {
      await apply(offline, migrations, done)
      failure = null
    } catch (error) {
      const code = clickHouseCode(error)
      if (code !== null && FINAL_CODES.has(code)) throw error
      failure = error instanceof Error ? error : new Error(String(error))
      await new Promise(resolve => setTimeout(resolve, Math.min(FIRST_WAIT_MS * 2 ** round, MAX_WAIT_MS)))
    }
  }
  if (failure !== null) throw failure
  const left = changesOf(await readSchema(offline)).migrations
  if (left.length === 0) return done
  const text = left.map(each => `${each.object}: ${each.name}`).join('; ')
  throw new PortError(
    'SCHEMA_MISMATCH',
    `the offline store still lacks what was migrated ${MAX_ROUNDS} times (${text}); something else changes the same tables`,
  )
}
