import { startHistory } from '../topology/runtime/history.ts'
import { openOfflineStore } from '../topology/runtime/offline.ts'
import { startOn } from './process.ts'
import type { ProcessSetup, RunningProcess } from './process.ts'

/** Event log in, tables out. With the embedded engine it is the process that serves the data folder. */
export async function startOfflineWriter(setup: ProcessSetup): Promise<RunningProcess> {
  return await startOn(setup, async context => {
    const offline = await openOfflineStore(context.config)
    const history = await startHistory(context, offline)
    return {
      about: `offline store on ${offline.url}`,
      stop: async () => {
        await history.stop()
        await offline.close()
      },
    }
  })
}
