import { labelMapper, scoreMapper, sourceMapper } from '../processors/history.ts'
import type { RecordMapper } from '../processors/history.ts'
import type { OfflineStore } from '../ports/offline-store.ts'
import { LABELS_TOPIC, SCORES_TOPIC } from '../ports/score-record.ts'
import { consumerErrors } from './context.ts'
import type { Running, RuntimeContext } from './context.ts'
import { prepareOfflineStore } from './migrate.ts'
import { OFFLINE_WRITER_LIMITS, createOfflineWriter } from './offline-writer.ts'

/** Makes or checks the tables, then copies every topic of the plan into them. */
export async function startHistory(context: RuntimeContext, offline: OfflineStore): Promise<Running> {
  const { config, project, log, formats, clock, telemetry } = context
  await prepareOfflineStore(config, project.plan, offline, telemetry)
  const mappers = new Map<string, RecordMapper>(
    project.plan.sources.map(source => {
      const mapper = sourceMapper(source, config.eventLog.maxRecordBytes, formats.reader(source))
      return [source.topic, mapper]
    }),
  )
  const readers = new Map(project.plan.sources.map(source => [source.topic, formats.reader(source)]))
  mappers.set(SCORES_TOPIC, scoreMapper(project.plan))
  mappers.set(LABELS_TOPIC, labelMapper)
  const group = `hw.${config.namespace}.history`
  const consumer = await log.consume({
    group,
    topics: [...mappers.keys()],
    maxBatchRecords: config.worker.maxBatchRecords,
    maxBatchBytes: config.worker.maxBatchBytes,
    handlers: createOfflineWriter({
      ...{ mappers, readers, group, log, offline, clock, telemetry },
      limits: OFFLINE_WRITER_LIMITS,
    }),
    onError: consumerErrors(context, 'offline-writer'),
  })
  return { stop: () => consumer.stop() }
}
