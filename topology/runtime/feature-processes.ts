import { feedName } from '../../features/plan/units.ts'
import type { CatalogueRevision } from '../../features/plan/units.ts'
import type { Consumer } from '../ports/event-log.ts'
import { confirmCatalogue } from './catalogue.ts'
import { consumerErrors } from './context.ts'
import type { Running, RuntimeContext } from './context.ts'
import { FEATURE_WORKER_LIMITS, createFeatureWorker } from './feature-worker.ts'

/** The worker that feeds the units of one catalogue revision; null when the plan needs none of them any more. */
export function workerOf(context: RuntimeContext, revision: CatalogueRevision) {
  const ids = new Set(revision.units.map(unit => unit.id))
  const units = context.bound.units.filter(unit => ids.has(unit.id))
  const source = context.project.plan.sources.find(s => s.name === revision.source)
  if (units.length === 0 || source === undefined) return null
  const earlier = context.bound.units.filter(
    unit => unit.source.name === source.name && unit.revision < revision.revision,
  )
  const reported = new Set(earlier.map(unit => unit.entity))
  const handlers = createFeatureWorker({
    source,
    units,
    feed: feedName(source.name, revision.revision),
    reportsLateFor: new Set(units.map(unit => unit.entity).filter(entity => !reported.has(entity))),
    start: { incarnation: revision.incarnation, offsets: revision.start },
    liveFrom: revision.liveFrom,
    namespace: context.config.namespace,
    log: context.log,
    store: context.store,
    reader: context.formats.reader(source),
    clock: context.clock,
    telemetry: context.telemetry,
    confirmUnits: () => confirmCatalogue(context.store, context.catalogue),
    limits: {
      ...FEATURE_WORKER_LIMITS,
      maxCachedBytes: context.config.worker.maxCachedBytes,
      maxRecordBytes: context.config.eventLog.maxRecordBytes,
    },
  })
  return { source, handlers }
}

/** One consumer per catalogue revision: units created later catch up beside those that are live. */
export async function startFeatureWorkers(context: RuntimeContext): Promise<Running> {
  const consumers: Consumer[] = []
  for (const revision of context.catalogue.revisions) {
    const worker = workerOf(context, revision)
    if (worker === null) continue
    consumers.push(
      await context.log.consume({
        group: `hw.${context.config.namespace}.features.${revision.source}.r${revision.revision}`,
        topics: [worker.source.topic],
        maxBatchRecords: context.config.worker.maxBatchRecords,
        maxBatchBytes: context.config.worker.maxBatchBytes,
        handlers: worker.handlers,
        onError: consumerErrors(context, 'feature-worker'),
      }),
    )
  }
  return { stop: async () => void (await Promise.all(consumers.map(consumer => consumer.stop()))) }
}
