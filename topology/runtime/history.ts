import { labelMapper, scoreMapper, sourceMapper } from '../processors/history.ts'
import type { RecordMapper } from '../processors/history.ts'
import { allTablesDdl } from '../processors/offline-schema.ts'
import type { OfflineStore } from '../ports/offline-store.ts'
import { LABELS_TOPIC, SCORES_TOPIC } from '../ports/score-record.ts'
import { consumerErrors } from './context.ts'
import type { Running, RuntimeContext } from './context.ts'
import { OFFLINE_WRITER_LIMITS, createOfflineWriter } from './offline-writer.ts'

/** Makes the tables, then copies every topic of the plan into them. */
export async function startHistory(context: RuntimeContext, offline: OfflineStore): Promise<Running> {
  const { config, project, log, clock, telemetry } = context
  for (const statement of allTablesDdl(project.plan)) await offline.command(statement)
  const mappers = new Map<string, RecordMapper>(
    project.plan.sources.map(source => [source.topic, sourceMapper(source, config.eventLog.maxRecordBytes)]),
  )
  mappers.set(SCORES_TOPIC, scoreMapper)
  mappers.set(LABELS_TOPIC, labelMapper)
  const consumer = await log.consume({
    group: `hw.${config.namespace}.history`,
    topics: [...mappers.keys()],
    maxBatchRecords: config.worker.maxBatchRecords,
    maxBatchBytes: config.worker.maxBatchBytes,
    handlers: createOfflineWriter({ mappers, log, offline, clock, telemetry, limits: OFFLINE_WRITER_LIMITS }),
    onError: consumerErrors(telemetry, 'offline-writer'),
  })
  return { stop: () => consumer.stop() }
}
