import { existsSync } from 'node:fs'
import { dirname, resolve } from 'node:path'
import { InvalidArgumentError } from 'commander'
import type { Command } from 'commander'
import type { BacktestSummary } from '../../topology/jobs/backtest.ts'
import { runBacktest } from '../../topology/runtime/backtest.ts'
import type { BacktestTarget } from '../../topology/runtime/backtest.ts'
import { systemClock } from '../clock.ts'
import { UsageError, loadConfig, loadDefinitions } from '../load.ts'
import type { CommonFlags } from '../load.ts'
import { createTelemetry } from '../telemetry.ts'
import { progressPrinter, withConfigFlags } from './options.ts'

/** `1/100` → 100. */
function sample(text: string): number {
  const match = /^1\/([1-9]\d{0,8})$/.exec(text)
  if (match === null) throw new InvalidArgumentError('must be written as 1/N, for example 1/100')
  return Number(match[1])
}

interface Flags extends CommonFlags {
  readonly service?: string
  readonly groups?: string
  readonly events: string
  readonly sample: number
  readonly out: string
}

function targetOf(flags: Flags): BacktestTarget {
  if (flags.service !== undefined && flags.groups === undefined) return { kind: 'service', name: flags.service }
  if (flags.groups !== undefined && flags.service === undefined) {
    return { kind: 'groups', names: flags.groups.split(',').map(name => name.trim()) }
  }
  throw new UsageError('give either --service NAME or --groups NAME,NAME')
}

function describeSummary(flags: Flags, summary: BacktestSummary): string {
  const lines = [`${flags.out}: ${summary.vectors} vectors from ${summary.rows} rows of ${flags.events}`]
  if (summary.outOfOrder > 0) {
    lines.push(
      `${summary.outOfOrder} rows are dated before an earlier row; they became known at their place in the file`,
    )
  }
  if (summary.outOfRange > 0) {
    lines.push(
      `${summary.outOfRange} rows are older than what was known by more than the read horizon, and were left out`,
    )
  }
  if (summary.refused > 0) {
    lines.push(`${summary.refused} rows are no valid events and were left out, among them:`)
    lines.push(...summary.firstRefusals.map(reason => `  ${reason}`))
  }
  return lines.join('\n')
}

/** `headwater backtest`: the vectors that a service would have read, event by event. */
export function addBacktestCommand(program: Command): void {
  const command = program
    .command('backtest')
    .description("replay a file of events and write each event's vector, read online at its own time")
    .option('--service <name>', 'the service whose whole vector is read')
    .option('--groups <names>', 'or the groups whose features are read, separated by commas')
    .requiredOption('--events <file>', 'the events: .parquet, .csv or .ndjson')
    .option('--sample <1/N>', 'write about one event in N; all are replayed', sample, 1)
    .requiredOption('--out <file>', 'the vectors: .parquet, .csv or .ndjson')
  withConfigFlags(command).action(async (flags: Flags) => {
    if (!existsSync(flags.events)) throw new UsageError(`--events ${flags.events}: there is no such file`)
    if (resolve(flags.events) === resolve(flags.out))
      throw new UsageError('--out would overwrite the events; name another file')
    if (!existsSync(dirname(resolve(flags.out)))) throw new UsageError(`--out ${flags.out}: there is no such folder`)
    const target = targetOf(flags)
    const { config } = await loadConfig(flags)
    const project = await loadDefinitions(config)
    const progress = progressPrinter('backtest')
    const summary = await runBacktest({
      config,
      project,
      target,
      eventsPath: flags.events,
      outPath: flags.out,
      sampleOneIn: flags.sample,
      clock: systemClock,
      telemetry: createTelemetry('warn'),
      onProgress: (done, total) => progress.update(done.rows, total),
    })
    progress.end()
    process.stdout.write(`${describeSummary(flags, summary)}\n`)
  })
}
