import { assessDrift } from '../monitoring/drift-assess.ts'
import type { DriftFinding } from '../monitoring/drift-assess.ts'
import { modelKey } from '../monitoring/drift-counts.ts'
import { createDriftMonitor } from '../monitoring/drift-monitor.ts'
import type { ModelManifest } from '../ports/model-repository.ts'
import type { OfflineStore } from '../ports/offline-store.ts'
import { consumerErrors } from './context.ts'
import type { Running, RuntimeContext } from './context.ts'
import { prepareOfflineStore } from './migrate.ts'
import { readManifests } from './models.ts'

const FLUSH_INTERVAL_MS = 1_000
/** The rolling view: six slots of five seconds, so that a change shows within half a minute. */
const VIEW = { viewSlotMs: 5_000, viewSlots: 6 }

/** A monitor at work. */
export interface RunningDriftMonitor extends Running {
  readonly models: number
  /** Drift of what was scored in the last half minute. */
  findings(): readonly DriftFinding[]
}

/** Manifests by `model@version`, as the monitor and the report want them. */
export async function manifestsByVersion(
  config: RuntimeContext['config'],
  plan: RuntimeContext['project']['plan'],
): Promise<ReadonlyMap<string, ModelManifest>> {
  const manifests = await readManifests(config, plan)
  return new Map([...manifests.values()].map(({ manifest }) => [modelKey(manifest.name, manifest.version), manifest]))
}

/** Counts the scores topic against the models' references. */
export async function startDriftMonitoring(
  context: RuntimeContext,
  offline: OfflineStore,
): Promise<RunningDriftMonitor> {
  const { config, project, clock, telemetry } = context
  await prepareOfflineStore(config, project.plan, offline, telemetry)
  const manifests = await manifestsByVersion(config, project.plan)
  const monitor = createDriftMonitor({
    offline,
    manifests,
    clock,
    telemetry,
    flushIntervalMs: FLUSH_INTERVAL_MS,
    ...VIEW,
  })
  const consumer = await context.log.consume({
    group: `hw.${config.namespace}.drift`,
    topics: monitor.topics,
    maxBatchRecords: config.worker.maxBatchRecords,
    maxBatchBytes: config.worker.maxBatchBytes,
    handlers: monitor.handlers,
    onError: consumerErrors(context, 'drift-monitor'),
  })
  return {
    models: manifests.size,
    findings: () => assessDrift(monitor.view(), manifests),
    stop: async () => {
      await consumer.stop()
      await monitor.flush()
    },
  }
}
