import { startFeatureWorkers } from '../topology/runtime/feature-processes.ts'
import { startOn } from './process.ts'
import type { ProcessSetup, RunningProcess } from './process.ts'

/** Event log in, online state out. */
export async function startFeatureWorker(setup: ProcessSetup): Promise<RunningProcess> {
  return await startOn(setup, async context => {
    const workers = await startFeatureWorkers(context)
    return { about: `feature worker on ${context.bound.units.length} units`, stop: () => workers.stop() }
  })
}
