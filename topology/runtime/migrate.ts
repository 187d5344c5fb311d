import type { Plan } from '../../features/plan/plan.ts'
import { migrate, readSchema, schemaMismatch } from '../jobs/migrate.ts'
import type { FoundSchema, Migration, SchemaChanges } from '../offline-changes.ts'
import { clickHouseCode } from '../offline-changes.ts'
import { PortError } from '../ports/errors.ts'
import type { OfflineStore } from '../ports/offline-store.ts'
import type { Telemetry } from '../ports/telemetry.ts'
import { schemaChanges } from '../processors/migrations.ts'
import type { Config } from './config.ts'

const REMEDY = 'run "headwater migrate" with a user that may change tables'

const UNKNOWN_DATABASE = 81
const EMPTY: FoundSchema = { tables: [], columns: [], applied: [] }

/** What lies between the offline store and a plan; changes nothing. A database that is not there holds nothing. */
export async function pendingChanges(
  plan: Plan,
  offline: Pick<OfflineStore, 'query'>,
  retentionDays: number,
): Promise<SchemaChanges> {
  const found = await readSchema(offline).catch((error: unknown) => {
    if (clickHouseCode(error) === UNKNOWN_DATABASE) return EMPTY
    throw error
  })
  return schemaChanges(plan, retentionDays, found)
}

/** Makes and changes tables and views until they fit the plan; see `migrate`. */
export async function migrateOfflineStore(
  plan: Plan,
  offline: OfflineStore,
  retentionDays: number,
): Promise<readonly Migration[]> {
  return await migrate(offline, found => schemaChanges(plan, retentionDays, found))
}

/**
 * Refuses a store that rows of the plan cannot be written to, with what is missing. What is only worth knowing (a
 * description, a view or the retention that would change) is returned, one line each.
 */
export async function requireMigrated(
  plan: Plan,
  offline: Pick<OfflineStore, 'query' | 'url'>,
  retentionDays: number,
): Promise<readonly string[]> {
  const found = await readSchema(offline).catch((error: unknown) => {
    if (clickHouseCode(error) !== UNKNOWN_DATABASE) throw error
    const message = `the database of the offline store at ${offline.url} is not there yet: ${REMEDY}`
    throw new PortError('SCHEMA_MISMATCH', message, { cause: error })
  })
  const { migrations, problems } = schemaChanges(plan, retentionDays, found)
  const blocking = problems.filter(problem => problem.blocksWriting).map(problem => problem.message)
  if (blocking.length > 0) throw schemaMismatch(blocking)
  const missing = migrations.filter(migration => migration.needed)
  const described = (list: readonly Migration[]) => list.map(each => `${each.object}: ${each.name}`)
  if (missing.length > 0) throw schemaMismatch([...described(missing), `to make these changes, ${REMEDY}`])
  return [...problems.map(problem => problem.message), ...described(migrations)]
}

/**
 * What every process that writes to the offline store does first. The embedded engine belongs to this system alone, so
 * its tables are made and changed here. A ClickHouse server is only checked: the user that writes rows needs no right to
 * change tables, no two versions that roll out side by side change the tables back and forth, and a change is made when
 * somebody asks for it.
 */
export async function prepareOfflineStore(
  config: Pick<Config, 'offlineStore'>,
  plan: Plan,
  offline: OfflineStore,
  telemetry: Telemetry,
): Promise<void> {
  const { kind, retentionDays } = config.offlineStore
  if (kind === 'chdb') {
    const done = await migrateOfflineStore(plan, offline, retentionDays)
    for (const { object, name } of done) telemetry.log('info', `offline store, ${object}: ${name}`)
    return
  }
  const notes = await requireMigrated(plan, offline, retentionDays)
  for (const note of notes) telemetry.log('warn', `offline store: ${note}; ${REMEDY}`)
}
