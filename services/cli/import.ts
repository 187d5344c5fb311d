import { existsSync } from 'node:fs'
import type { Command } from 'commander'
import { importFile } from '../../topology/jobs/import.ts'
import type { Arrival, ImportSummary } from '../../topology/jobs/import.ts'
import { openTableFiles } from '../../topology/runtime/offline.ts'
import { createEventFormats } from '../../topology/runtime/event-formats.ts'
import { openEventLog } from '../../topology/runtime/stores.ts'
import { topologyOf } from '../../topology/topology.ts'
import { systemClock } from '../clock.ts'
import { createTelemetry } from '../telemetry.ts'
import { UsageError, loadConfig, loadDefinitions } from '../load.ts'
import type { CommonFlags } from '../load.ts'
import { progressPrinter, withConfigFlags } from './options.ts'

function parseArrival(text: string): Arrival {
  if (text === 'event' || text === 'now') return { kind: text }
  return { kind: 'column', name: text }
}

function describeSummary(path: string, source: string, summary: ImportSummary): string {
  const lines = [`${path}: ${summary.appended} of ${summary.rows} rows appended to ${source}`]
  if (summary.outOfOrder > 0) lines.push(`${summary.outOfOrder} rows are dated before an earlier row of the file`)
  if (summary.refused > 0) {
    lines.push(`${summary.refused} rows are no valid events and went to the dead-letter topic, among them:`)
    lines.push(...summary.firstRefusals.map(reason => `  ${reason}`))
  }
  return lines.join('\n')
}

/** `headwater import`: a table file into the event log. */
export function addImportCommand(program: Command): void {
  const command = program
    .command('import')
    .description('read a Parquet, CSV or NDJSON file into the event log')
    .argument('<file>', 'a .parquet, .csv, .ndjson or .jsonl file')
    .requiredOption('--source <event>', 'the event whose fields the columns are')
    .option(
      '--arrival <when>',
      'when rows became known: event (their own time), now, or a column of milliseconds',
      'event',
    )
    .option('--snapshot', "write a table's rows as events; id and time are filled in where the file has none")
  type Flags = CommonFlags & { source: string; arrival: string; snapshot?: boolean }
  withConfigFlags(command).action(async (path: string, flags: Flags) => {
    if (!existsSync(path)) throw new UsageError(`${path}: there is no such file`)
    const { config } = await loadConfig(flags)
    const { plan } = await loadDefinitions(config)
    const source = plan.sources.find(s => s.name === flags.source)
    if (source === undefined) {
      const known = plan.sources.map(s => s.name).join(', ')
      throw new UsageError(`--source ${flags.source}: there is no such event; the definitions have ${known}`)
    }
    const formats = await createEventFormats(config, plan, systemClock, createTelemetry('warn'))
    const log = await openEventLog(config, systemClock)
    const files = await openTableFiles()
    const progress = progressPrinter('import')
    try {
      await log.ensureTopics(topologyOf(plan).topics)
      const summary = await importFile({
        source,
        path,
        arrival: parseArrival(flags.arrival),
        snapshot: flags.snapshot === true,
        log,
        formats,
        files,
        clock: systemClock,
        onProgress: (done, total) => progress.update(done.rows, total),
      })
      progress.end()
      process.stdout.write(`${describeSummary(path, source.name, summary)}\n`)
      if (summary.appended === 0) process.exitCode = 1
    } finally {
      await files.close()
      await log.close()
      await formats.close()
    }
  })
}
