import type { Command } from 'commander'
import { pipeline } from 'node:stream/promises'
import { openOfflineStore } from '../../topology/runtime/offline.ts'
import { requireHistory } from '../data-folder.ts'
import { UsageError, loadConfig } from '../load.ts'
import type { CommonFlags } from '../load.ts'
import { withConfigFlags } from './options.ts'

interface Flags extends CommonFlags {
  readonly format?: string
  readonly write?: boolean
}

const DEFAULT_FORMAT = 'PrettyCompact'
const READING = /^\s*(?:--[^\n]*\n\s*|\/\*[^]*?\*\/\s*)*\(*\s*(select|with|show|describe|desc|explain|exists)\b/i
/** `… FORMAT JSON` at the end, but not `… ORDER BY format DESC`. */
const TRAILING_FORMAT = /(?<!\bby|,|\.)\s+format\s+(?!asc\b|desc\b)([a-z]\w*)\s*$/i

/** The statement without its end mark and without the format it names, and that format. */
function statementOf(text: string, flags: Flags): { readonly sql: string; readonly format: string } {
  const plain = text.trim().replace(/;\s*$/, '').trimEnd()
  if (plain === '') throw new UsageError('the query is empty; try "SHOW TABLES"')
  if (flags.write !== true && !READING.test(plain)) {
    const verb = /^\S+/.exec(plain)?.[0] ?? plain
    throw new UsageError(
      `${verb} is no reading statement (SELECT, SHOW, DESCRIBE, …); give --write if you mean to run it`,
    )
  }
  const named = TRAILING_FORMAT.exec(plain)
  const sql = named === null ? plain : plain.slice(0, named.index).trimEnd()
  return { sql, format: flags.format ?? named?.[1] ?? DEFAULT_FORMAT }
}

/** `headwater sql`: a query against the offline store, while the system runs or not. */
export function addSqlCommand(program: Command): void {
  const command = program
    .command('sql')
    .description('run a ClickHouse SQL query against the offline store')
    .argument('<query>', 'for example "SELECT decision, count() FROM decisions GROUP BY decision", or "SHOW TABLES"')
    .option('--format <name>', `one of ClickHouse's formats, such as JSONEachRow or CSVWithNames (${DEFAULT_FORMAT})`)
    .option('--write', 'also run statements that change tables')
  withConfigFlags(command).action(async (query: string, flags: Flags) => {
    const { sql, format } = statementOf(query, flags)
    const { config } = await loadConfig(flags)
    requireHistory(config)
    const offline = await openOfflineStore(config)
    try {
      if (flags.write === true && !READING.test(sql)) {
        await offline.command(sql)
        return
      }
      const color = process.stdout.isTTY && process.env['NO_COLOR'] === undefined
      await pipeline(await offline.export(sql, format, { color, readOnly: flags.write !== true }), process.stdout, {
        end: false,
      })
    } finally {
      await offline.close()
    }
  })
}
