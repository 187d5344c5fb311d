import { parentPort, workerData } from 'node:worker_threads'
import type { Config } from '../topology/runtime/config.ts'
import { startDriftMonitor } from './drift-monitor.ts'
import { startFeatureWorker } from './feature-worker.ts'
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
  | { readonly kind: 'counters'; readonly counters: readonly (readonly [string, number])[] }
  | { readonly kind: 'stopped' }

const COUNTERS_INTERVAL_MS = 250

/** Everything that must not share an event loop with scoring: workers, writers and the monitor. */
async function run(port: NonNullable<typeof parentPort>): Promise<void> {
  const { config, level } = workerData as BackgroundData
  const send = (message: BackgroundMessage) => port.postMessage(message)
  const telemetry = createTelemetry(level)
  const running: RunningProcess[] = []
  const stop = async () => {
    for (const process of running.reverse()) await process.stop()
  }
  try {
    const setup = { config, project: await loadDefinitions(config), telemetry }
    running.push(await startOfflineWriter(setup))
    running.push(await startFeatureWorker(setup))
    running.push(await startDriftMonitor(setup))
  } catch (error) {
    await stop()
    send({ kind: 'failed', message: error instanceof Error ? error.message : String(error) })
    return
  }
  const timer = setInterval(() => send({ kind: 'counters', counters: [...telemetry.counters()] }), COUNTERS_INTERVAL_MS)
  port.once('message', () => {
    clearInterval(timer)
    void stop().then(() => send({ kind: 'stopped' }))
  })
  send({ kind: 'ready', about: running.map(process => process.about) })
}

if (parentPort !== null) await run(parentPort)
