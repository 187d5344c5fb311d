import type { Command } from 'commander'
import {
  driftJson,
  readDriftReport,
  renderDrift,
  writeDriftStatistics,
} from '../../topology/monitoring/drift-report.ts'
import { manifestsByVersion } from '../../topology/runtime/drift.ts'
import { openOfflineStore } from '../../topology/runtime/offline.ts'
import { requireHistory } from '../data-folder.ts'
import { systemClock } from '../clock.ts'
import { loadConfig, loadDefinitions } from '../load.ts'
import type { CommonFlags } from '../load.ts'
import { durationOption, withConfigFlags } from './options.ts'

/** `headwater drift`: how far what is scored now lies from what the models were trained on. */
export function addDriftCommand(program: Command): void {
  const command = program
    .command('drift')
    .description(
      'compare what was scored lately with what the models were trained on, and keep the result in drift_statistics',
    )
    .addOption(durationOption('--window <duration>', 'how far back to look, such as 30m or 24h', '1h'))
    .option('--json', 'print the report as JSON')
  withConfigFlags(command).action(async (flags: CommonFlags & { window: number; json?: boolean }) => {
    const { config } = await loadConfig(flags)
    const { plan } = await loadDefinitions(config)
    const manifests = await manifestsByVersion(config, plan)
    requireHistory(config)
    const offline = await openOfflineStore(config)
    try {
      const windowMinutes = Math.max(1, Math.ceil(flags.window / 60_000))
      const report = await readDriftReport({ offline, manifests, nowMs: systemClock.nowMs(), windowMinutes })
      await writeDriftStatistics(offline, report)
      process.stdout.write(flags.json === true ? driftJson(report) : renderDrift(report))
    } finally {
      await offline.close()
    }
  })
}
