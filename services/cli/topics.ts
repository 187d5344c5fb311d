import type { Command } from 'commander'
import type { EventLog, TopicInfo } from '../../topology/ports/event-log.ts'
import { checkTopic } from '../../topology/processors/topic-check.ts'
import type { TopicProblem } from '../../topology/processors/topic-check.ts'
import { openEventLog } from '../../topology/runtime/stores.ts'
import { topologyOf } from '../../topology/topology.ts'
import type { TopicNeed } from '../../topology/topology.ts'
import { systemClock } from '../clock.ts'
import { loadConfig, loadDefinitions } from '../load.ts'
import type { CommonFlags } from '../load.ts'
import { withConfigFlags } from './options.ts'

interface Flags extends CommonFlags {
  readonly create?: boolean
  readonly json?: boolean
}

interface Row {
  readonly need: TopicNeed
  readonly info: TopicInfo | null
  readonly made: boolean
}

/** Makes what is absent, one topic at a time, so that one that does not fit leaves the others alone. */
async function look(log: EventLog, needs: readonly TopicNeed[], create: boolean): Promise<readonly Row[]> {
  const rows: Row[] = []
  for (const need of needs) {
    const before = await log.describe(need.name)
    if (before !== null || !create) rows.push({ need, info: before, made: false })
    else {
      const [info] = await log.ensureTopics([need])
      rows.push({ need, info: info ?? null, made: true })
    }
  }
  return rows
}

function retention(info: TopicInfo): string {
  const time = info.retentionMs === 0 ? 'for ever' : `${Math.round(info.retentionMs / 360_000) / 10} h`
  return info.retentionBytes === 0 ? time : `${time}, ${info.retentionBytes} bytes`
}

function table(rows: readonly Row[]): string {
  const head = ['topic', 'partitions', 'retention', 'compaction', 'timestamps', 'replicas']
  const lines = rows.map(({ need, info, made }) => {
    if (info === null) return [need.name, '-', '-', '-', '-', '-']
    return [
      made ? `${need.name} (made)` : need.name,
      String(info.partitions),
      retention(info),
      info.compacted ? 'compacted' : 'none',
      info.appendTime ? 'append time' : 'producer',
      String(info.replicas),
    ]
  })
  const all = [head, ...lines]
  const widths = head.map((_, column) => Math.max(...all.map(cells => cells[column]?.length ?? 0)))
  return all
    .map(cells =>
      cells
        .map((cell, i) => cell.padEnd(widths[i] ?? 0))
        .join('  ')
        .trimEnd(),
    )
    .join('\n')
}

function describe(problems: readonly TopicProblem[]): string {
  return problems
    .map(({ topic, severity, message, remedy }) => `${severity} ${topic} ${message}\n  remedy: ${remedy}`)
    .join('\n')
}

/** `headwater topics`: the topics of the plan as they are, what is wrong with them, and with `--create` those absent. */
export function addTopicsCommand(program: Command): void {
  const command = program
    .command('topics')
    .description('show the topics that the definitions need, and what is wrong with them; exit code 1 on errors')
    .option('--create', 'make those that are absent')
    .option('--json', 'print topics and problems as JSON')
  withConfigFlags(command).action(async (flags: Flags) => {
    const { config } = await loadConfig(flags)
    const { plan } = await loadDefinitions(config)
    const log = await openEventLog(config, systemClock)
    try {
      const rows = await look(log, topologyOf(plan).topics, flags.create === true)
      const problems = rows.flatMap(({ need, info }) => checkTopic(need, info))
      if (flags.json === true) {
        const topics = rows.map(({ need, info }) => ({ need, info }))
        process.stdout.write(`${JSON.stringify({ topics, problems }, null, 2)}\n`)
      } else {
        process.stdout.write(`${table(rows)}\n`)
        if (problems.length > 0) process.stderr.write(`${describe(problems)}\n`)
      }
      if (problems.some(problem => problem.severity === 'error')) process.exitCode = 1
    } finally {
      await log.close()
    }
  })
}
