import type { Command } from 'commander'
import type { Migration, SchemaChanges } from '../../topology/offline-changes.ts'
import { openOfflineStore } from '../../topology/runtime/offline.ts'
import { migrateOfflineStore, pendingChanges } from '../../topology/runtime/migrate.ts'
import { UsageError, loadConfig, loadDefinitions } from '../load.ts'
import type { CommonFlags } from '../load.ts'
import { withConfigFlags } from './options.ts'

interface Flags extends CommonFlags {
  readonly dryRun?: boolean
}

function describeMigration(migration: Migration): string {
  return `${migration.object} ${migration.version}: ${migration.name}`
}

/** What would be run, as SQL with the reason of each part as a comment. */
function describeDryRun({ migrations, problems }: SchemaChanges): string {
  if (problems.length > 0) {
    const list = problems.map(problem => `- ${problem.message}`).join('\n')
    throw new UsageError(`the offline store cannot be migrated to this plan:\n${list}`)
  }
  if (migrations.length === 0) return 'nothing to do: the offline store fits the plan'
  const parts = migrations.map(migration => {
    return [`-- ${describeMigration(migration)}`, ...migration.statements.map(sql => `${sql};`)].join('\n')
  })
  return parts.join('\n\n')
}

/** `headwater migrate`: makes and changes the tables of the offline store, and never loses anything by it. */
export function addMigrateCommand(program: Command): void {
  const command = program
    .command('migrate')
    .description('make the tables of the offline store, or change them to fit the definitions; loses nothing')
    .option('--dry-run', 'print the statements and run none')
  withConfigFlags(command).action(async (flags: Flags) => {
    const { config } = await loadConfig(flags)
    const { plan } = await loadDefinitions(config)
    const { retentionDays } = config.offlineStore
    const offline = await openOfflineStore(config, flags.dryRun !== true)
    try {
      if (flags.dryRun === true) {
        process.stdout.write(`${describeDryRun(await pendingChanges(plan, offline, retentionDays))}\n`)
        return
      }
      const done = await migrateOfflineStore(plan, offline, retentionDays)
      const lines = done.length === 0 ? ['nothing to do: the offline store fits the plan'] : done.map(describeMigration)
      process.stdout.write(`${lines.join('\n')}\n`)
    } finally {
      await offline.close()
    }
  })
}
