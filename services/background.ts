import { parentPort, workerData } from 'node:worker_threads'
import type { DriftFinding } from '../topology/monitoring/drift-assess.ts'
import type { Config } from '../topology/runtime/config.ts'
import { openOfflineStore } from '../topology/runtime/offline.ts'
import { startDriftMonitor } from './drift-monitor.ts'
import { startFeatureWorker } from './feature-worker.ts'
import { createUnwind } from '../topology/runtime/unwind.ts'
import { loadDefinitions } from './load.ts'
import { startOfflineWriter } from './offline-writer.ts'
import type { RunningProcess } from './process.ts'
import { createTelemetry } from './telemetry.ts'

/** What the all-in-one process sends its background thread at start. */
export interface BackgroundData {
  readonly config: Config
  readonly level: 'info' | 'warn' | 'error'
}

/** What the background thread answers. */
export type BackgroundMessage =
  | { readonly kind: 'ready'; readonly about: readonly string[] }
  | { readonly kind: 'failed'; readonly message: string }
  | { readonly kind: 'drift'; readonly findings: readonly DriftFinding[] }
  | { readonly kind: 'stopped' }

const DRIFT_INTERVAL_MS = 1_000

function messageOf(error: unknown): string {
  return error instanceof Error ? error.message : String(error)
}

/** Everything that must not share an event loop with scoring: workers, writers and the monitor. */
async function run(port: NonNullable<typeof parentPort>): Promise<void> {
  const { config, level } = workerData as BackgroundData
  const send = (message: BackgroundMessage) => port.postMessage(message)
  const telemetry = createTelemetry(level)
  const running: RunningProcess[] = []
  const { add, run: stop } = createUnwind()
  let monitor: Awaited<ReturnType<typeof startDriftMonitor>>
  try {
    const setup = { config, project: await loadDefinitions(config), telemetry }
    const started = (process: RunningProcess): void => {
      running.push(process)
      add(() => process.stop())
    }
    started(await startOfflineWriter(setup, openOfflineStore))
    started(await startFeatureWorker(setup))
    monitor = await startDriftMonitor(setup)
    started(monitor)
  } catch (error) {
    await stop().catch(() => undefined)
    send({ kind: 'failed', message: messageOf(error) })
    return
  }
  const timer = setInterval(() => send({ kind: 'drift', findings: monitor.findings() }), DRIFT_INTERVAL_MS)
  port.once('message', () => {
    clearInterval(timer)
    void stop()
      .catch((error: unknown) => telemetry.log('error', `background: ${messageOf(error)}`))
      .then(() => send({ kind: 'stopped' }))
  })
  send({ kind: 'ready', about: running.map(process => process.about) })
}

if (parentPort !== null) await run(parentPort)
