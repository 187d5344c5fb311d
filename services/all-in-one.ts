import { once } from 'node:events'
import { Worker } from 'node:worker_threads'
import type { DriftFinding } from '../topology/monitoring/drift-assess.ts'
import { ownOfflineStore } from '../topology/runtime/offline.ts'
import type { BackgroundData, BackgroundMessage } from './background.ts'
import { createUnwind } from '../topology/runtime/unwind.ts'
import { claimDataFolder } from './data-folder.ts'
import { UsageError } from './load.ts'
import type { ProcessSetup, RunningProcess } from './process.ts'
import { startScorerProcess } from './scorer.ts'

/** The whole system in one process. */
export interface AllInOne extends RunningProcess {
  readonly port: number
  /** Drift of what was scored in the last half minute, as of at most a second ago. */
  driftFindings(): readonly DriftFinding[]
}

async function startBackground(data: BackgroundData) {
  const extension = import.meta.filename.endsWith('.ts') ? 'ts' : 'js'
  const worker = new Worker(new URL(`./background.${extension}`, import.meta.url), { workerData: data })
  let findings: readonly DriftFinding[] = []
  const first = await new Promise<BackgroundMessage>((resolve, reject) => {
    worker.once('error', reject)
    worker.once('exit', code => reject(new Error(`the background thread ended early with code ${code}`)))
    worker.once('message', resolve)
  })
  if (first.kind !== 'ready') {
    await worker.terminate()
    throw new UsageError(first.kind === 'failed' ? first.message : `the background thread answered ${first.kind}`)
  }
  worker.removeAllListeners('exit')
  worker.removeAllListeners('error')
  // A thread that dies takes the process with it: half a system that looks whole is worse than none.
  worker.on('error', error => {
    throw error
  })
  const stopped = Promise.withResolvers<void>()
  worker.on('message', (message: BackgroundMessage) => {
    if (message.kind === 'drift') findings = message.findings
    else if (message.kind === 'stopped') stopped.resolve()
  })
  return {
    about: first.about,
    findings: () => findings,
    stop: async () => {
      worker.postMessage('stop')
      await Promise.race([stopped.promise, once(worker, 'exit')])
      await worker.terminate()
    },
  }
}

/** Scoring on this thread, everything else on another, so that no flush or insert delays an answer. */
export async function startAllInOne(setup: ProcessSetup, level: BackgroundData['level']): Promise<AllInOne> {
  const { add, run: stop } = createUnwind()
  try {
    add(claimDataFolder(setup.config.dataDirectory, 'run all'))
    // The engine's thread must belong to the main thread; the background finds it by its address.
    const offline = await ownOfflineStore(setup.config)
    add(() => offline.close())
    const background = await startBackground({ config: setup.config, level })
    add(() => background.stop())
    const scorer = await startScorerProcess(setup)
    add(() => scorer.stop())
    return {
      about: [...background.about, scorer.about].join('; '),
      port: scorer.port,
      ...(scorer.failed === undefined ? {} : { failed: scorer.failed }),
      driftFindings: background.findings,
      stop,
    }
  } catch (error) {
    await stop().catch(() => undefined)
    throw error
  }
}
