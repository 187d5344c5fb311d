import { startScorer } from '../topology/runtime/scorer.ts'
import { startOn } from './process.ts'
import type { ProcessSetup, RunningProcess } from './process.ts'

/** Serves scores and features over gRPC. */
export async function startScorerProcess(setup: ProcessSetup): Promise<RunningProcess & { readonly port: number }> {
  let port = 0
  const running = await startOn(setup, async context => {
    const scorer = await startScorer(context)
    port = scorer.port
    return { about: `gRPC on ${scorer.host}:${scorer.port}`, stop: () => scorer.stop() }
  })
  return { ...running, port }
}
