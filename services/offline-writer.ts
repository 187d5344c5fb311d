import { startHistory } from '../topology/runtime/history.ts'
import { ownOfflineStore } from '../topology/runtime/offline.ts'
import type { OfflineStore } from '../topology/ports/offline-store.ts'
import type { Config } from '../topology/runtime/config.ts'
import { startOn, stopAndClose } from './process.ts'
import type { ProcessSetup, RunningProcess } from './process.ts'

/**
 * Event log in, tables out. With the embedded engine it is the process that serves the data folder, unless `open` says
 * otherwise.
 */
export async function startOfflineWriter(
  setup: ProcessSetup,
  open: (config: Config) => Promise<OfflineStore> = ownOfflineStore,
): Promise<RunningProcess> {
  return await startOn(setup, async context => {
    const offline = await open(context.config)
    const history = await startHistory(context, offline)
    return {
      about: `offline store on ${offline.url}`,
      stop: () => stopAndClose(history, offline),
    }
  })
}
