import { createScoringEngine } from '../scoring/engine.ts'
import type { ScoringEngine } from '../scoring/engine.ts'
import { createPublisher } from '../scoring/publish.ts'
import { createScoreLogBuffer } from '../scoring/score-log.ts'
import type { Running, RuntimeContext } from './context.ts'
import { loadModels } from './models.ts'
import { createUnwind } from './unwind.ts'

/** A scorer that is served. */
export interface RunningScorer extends Running {
  readonly host: string
  readonly port: number
  readonly engine: ScoringEngine
}

/** What the log counts of a record beside its value: key and headers. */
const RECORD_OVERHEAD_BYTES = 512

/** Loads the models, joins them with the online store and serves gRPC. */
export async function startScorer(context: RuntimeContext): Promise<RunningScorer> {
  const { config, project, bound, clock, telemetry } = context
  const { add, run: stop } = createUnwind()
  try {
    const models = await loadModels(config, project.plan)
    add(async () => {
      for (const { model } of models.values()) await model.close()
    })
    const scoreLog = createScoreLogBuffer({
      log: context.log,
      telemetry,
      maxRecordBytes: config.eventLog.maxRecordBytes - RECORD_OVERHEAD_BYTES,
    })
    add(() => scoreLog.close())
    const engine = createScoringEngine({
      bound,
      services: project.services,
      namespace: config.namespace,
      store: context.store,
      models,
      clock,
      telemetry,
      emit: record => scoreLog.add(record),
      limits: { maxQueuedRows: config.server.maxQueuedRows },
    })
    add(() => engine.close())
    await engine.refreshStaleness()
    const { startGrpcServer } = await import('../adapters/server/grpc/server.ts')
    const { score, scoreBatch, getFeatures } = engine
    const { publishEvents } = createPublisher(project.plan, context.log, clock, context.formats)
    const { host, port, maxMessageBytes, drainMs } = config.server
    const handlers = { score, scoreBatch, getFeatures, publishEvents }
    const server = await startGrpcServer({ handlers, host, port, maxMessageBytes, clock, telemetry })
    add(() => server.close(drainMs))
    return { host, port: server.port, engine, stop }
  } catch (error) {
    await stop().catch(() => undefined)
    throw error
  }
}
