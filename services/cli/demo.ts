import { resolve } from 'node:path'
import type { Command } from 'commander'
import { emptyDemoFolder } from '../data-folder.ts'
import { runDemo } from '../demo/run.ts'
import { embeddedConfig } from '../../topology/runtime/config.ts'
import { SHIPPED_CONFIG, UsageError, loadConfig, loadDefinitions } from '../load.ts'
import { durationOption, wholeNumber } from './options.ts'
import { untilSignal } from './signals.ts'

interface Flags {
  readonly duration: number
  readonly rate: number
  readonly seed: number
  readonly data: string
}

const MINIMUM_DURATION_MS = 5_000

/** Where the command line was started from, for the steps that are shown at the end. */
function commandText(): string {
  const inCheckout = import.meta.filename.endsWith('.ts')
  return inCheckout ? 'npm run -s headwater --' : 'npx headwater'
}

/** `headwater demo`: everything at once, to be watched. */
export function addDemoCommand(program: Command): void {
  program
    .command('demo')
    .description('watch a seeded stream of card payments being scored, with fraud in it and a drift half-way')
    .addOption(durationOption('--duration <time>', 'how long the live part runs, at least 5s', '90s'))
    .option('--rate <n>', 'payments a second', wholeNumber(1, 5_000), 150)
    .option('--seed <n>', 'the same seed makes the same payments', wholeNumber(0, 0xffff_ffff), 7)
    .option('--data <folder>', 'data folder, made anew each time', '.headwater/demo')
    .action(async (flags: Flags) => {
      if (flags.duration < MINIMUM_DURATION_MS) throw new UsageError('--duration: give it at least 5s')
      const data = resolve(flags.data)
      emptyDemoFolder(data)
      const { config: base } = await loadConfig({ data, features: [SHIPPED_CONFIG.features[0] ?? ''] })
      const models = { directory: SHIPPED_CONFIG.models.directory }
      const embedded = embeddedConfig(base, base.dataDirectory, base.namespace)
      const config = { ...embedded, models, server: { ...base.server, port: 0 } }
      const project = await loadDefinitions(config)
      await runDemo({
        config,
        project,
        durationMs: flags.duration,
        rate: flags.rate,
        seed: flags.seed,
        command: commandText(),
        stopAsked: untilSignal(),
      })
    })
}
