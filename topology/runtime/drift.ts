import { modelKey } from '../monitoring/drift-counts.ts'
import { createDriftMonitor } from '../monitoring/drift-monitor.ts'
import type { ModelManifest } from '../ports/model-repository.ts'
import type { OfflineStore } from '../ports/offline-store.ts'
import { consumerErrors } from './context.ts'
import type { Running, RuntimeContext } from './context.ts'
import { readManifests } from './models.ts'

const FLUSH_INTERVAL_MS = 1_000

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
): Promise<Running & { readonly models: number }> {
  const { config, clock, telemetry } = context
  const manifests = await manifestsByVersion(config, context.project.plan)
  const monitor = createDriftMonitor({ offline, manifests, clock, telemetry, flushIntervalMs: FLUSH_INTERVAL_MS })
  const consumer = await context.log.consume({
    group: `hw.${config.namespace}.drift`,
    topics: monitor.topics,
    maxBatchRecords: config.worker.maxBatchRecords,
    maxBatchBytes: config.worker.maxBatchBytes,
    handlers: monitor.handlers,
    onError: consumerErrors(telemetry, 'drift-monitor'),
  })
  return {
    models: manifests.size,
    stop: async () => {
      await consumer.stop()
      await monitor.flush()
    },
  }
}
