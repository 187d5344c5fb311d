import type { Command } from 'commander'
import { pipeline } from 'node:stream/promises'
import { openOfflineStore } from '../../topology/runtime/offline.ts'
import { loadConfig } from '../load.ts'
import type { CommonFlags } from '../load.ts'
import { withConfigFlags } from './options.ts'

/** `headwater sql`: a query against the offline store, while the system runs or not. */
export function addSqlCommand(program: Command): void {
  const command = program
    .command('sql')
    .description('run a ClickHouse SQL query against the offline store')
    .argument('<query>', 'for example "SELECT decision, count() FROM scores GROUP BY decision"')
    .option(
      '--format <name>',
      "one of ClickHouse's formats, such as JSONEachRow, CSVWithNames or Parquet",
      'PrettyCompact',
    )
  withConfigFlags(command).action(async (query: string, flags: CommonFlags & { format: string }) => {
    const { config } = await loadConfig(flags)
    const offline = await openOfflineStore(config)
    try {
      await pipeline(await offline.export(query, flags.format), process.stdout, { end: false })
    } finally {
      await offline.close()
    }
  })
}
