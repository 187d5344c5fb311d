import { Argument } from 'commander'
import type { Command } from 'commander'
import { startAllInOne } from '../all-in-one.ts'
import { startDriftMonitor } from '../drift-monitor.ts'
import { startFeatureWorker } from '../feature-worker.ts'
import { loadConfig, loadDefinitions } from '../load.ts'
import type { CommonFlags } from '../load.ts'
import { startOfflineWriter } from '../offline-writer.ts'
import type { ProcessSetup, RunningProcess } from '../process.ts'
import { startScorerProcess } from '../scorer.ts'
import { createTelemetry } from '../telemetry.ts'
import { withConfigFlags } from './options.ts'
import { untilSignal } from './signals.ts'

const PROCESSES: Readonly<Record<string, (setup: ProcessSetup) => Promise<RunningProcess>>> = {
  'feature-worker': startFeatureWorker,
  'offline-writer': startOfflineWriter,
  scorer: startScorerProcess,
  'drift-monitor': startDriftMonitor,
  all: setup => startAllInOne(setup, 'info'),
}

/** How long a start that is told to stop may still wait for an engine. */
const MAX_START_WAIT_MS = 10_000

/** Ends a start that hangs on an engine which takes connections and does not answer; it has done no work yet. */
function giveUp(): never {
  process.stderr.write('headwater: the start still waited for an engine and was given up\n')
  process.exit(1)
}

/** `headwater run <process>`: until it is told to stop. */
export function addRunCommand(program: Command): void {
  const command = program
    .command('run')
    .description('start a process of the system, or all of them in one; stops at Ctrl-C with nothing lost')
    .addArgument(new Argument('<process>', 'what to start').choices(Object.keys(PROCESSES)))
  withConfigFlags(command).action(async (name: string, flags: CommonFlags) => {
    const stopAsked = untilSignal()
    const { config, shipped } = await loadConfig(flags)
    if (shipped) process.stderr.write('no headwater.config.ts here: running the shipped definitions\n')
    const project = await loadDefinitions(config)
    const start = PROCESSES[name]
    if (start === undefined) throw new Error(`no process ${name}`)
    const starting = start({ config, project, telemetry: createTelemetry('info') })
    const begun = await Promise.race([starting, stopAsked])
    if (typeof begun === 'string') {
      process.stdout.write(`${begun}: finishing\n`)
      const late = setTimeout(giveUp, MAX_START_WAIT_MS)
      const running = await starting.finally(() => clearTimeout(late))
      await running.stop()
      process.stdout.write('stopped\n')
      return
    }
    const running = begun
    process.stdout.write(`ready: ${running.about}; plan ${project.plan.hash.slice(0, 12)}\n`)
    const ended = await Promise.race([stopAsked, ...(running.failed === undefined ? [] : [running.failed])])
    process.stdout.write(`${ended instanceof Error ? ended.message : ended}: finishing\n`)
    await running.stop()
    if (ended instanceof Error) throw ended
    process.stdout.write('stopped\n')
  })
}
