import { createScoringEngine } from '../scoring/engine.ts'
import type { ScoringEngine } from '../scoring/engine.ts'
import { createPublisher } from '../scoring/publish.ts'
import { createScoreLogBuffer } from '../scoring/score-log.ts'
import type { Running, RuntimeContext } from './context.ts'
import { loadModels } from './models.ts'

/** A scorer that is served. */
export interface RunningScorer extends Running {
  readonly host: string
  readonly port: number
  readonly engine: ScoringEngine
}

/** Loads the models, joins them with the online store and serves gRPC. */
export async function startScorer(context: RuntimeContext): Promise<RunningScorer> {
  const { config, project, bound, clock, telemetry } = context
  const models = await loadModels(config, project.plan)
  const scoreLog = createScoreLogBuffer({ log: context.log, telemetry })
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
  await engine.refreshStaleness()
  const { startGrpcServer } = await import('../adapters/server/grpc/server.ts')
  const { host, port, maxMessageBytes } = config.server
  const { publishEvents } = createPublisher(project.plan, context.log, clock)
  const server = await startGrpcServer({
    handlers: {
      score: engine.score,
      scoreBatch: engine.scoreBatch,
      getFeatures: engine.getFeatures,
      publishEvents,
    },
    host,
    port,
    maxMessageBytes,
    clock,
    telemetry,
  })
  return {
    host,
    port: server.port,
    engine,
    stop: async () => {
      await server.close(config.server.drainMs)
      await engine.close()
      await scoreLog.close()
      for (const { model } of models.values()) await model.close()
    },
  }
}
