import { startDriftMonitoring } from '../topology/runtime/drift.ts'
import type { RunningDriftMonitor } from '../topology/runtime/drift.ts'
import { awaitOfflineStore } from '../topology/runtime/offline.ts'
import { startOn, stopAndClose } from './process.ts'
import type { ProcessSetup, RunningProcess } from './process.ts'

const MAX_WAIT_MS = 30_000

/** Scores in, drift counts and statistics out. */
export async function startDriftMonitor(
  setup: ProcessSetup,
): Promise<RunningProcess & Pick<RunningDriftMonitor, 'findings'>> {
  let findings: RunningDriftMonitor['findings'] = () => []
  const running = await startOn(setup, async context => {
    setup.telemetry.log('info', 'drift monitor: looking for the offline store')
    const offline = await awaitOfflineStore(context.config, MAX_WAIT_MS)
    const monitor = await startDriftMonitoring(context, offline)
    findings = () => monitor.findings()
    return {
      about: `drift monitor of ${monitor.models} models`,
      stop: () => stopAndClose(monitor, offline),
    }
  })
  return { ...running, findings }
}
