import { labelMapper, scoreMapper, sourceMapper } from '../processors/history.ts'
import type { RecordMapper } from '../processors/history.ts'
import { allTablesDdl, rawTableChanges, rawTableName } from '../processors/offline-schema.ts'
import type { StoredColumn } from '../processors/offline-schema.ts'
import type { Plan } from '../../features/plan/plan.ts'
import { PortError } from '../ports/errors.ts'
import type { OfflineStore } from '../ports/offline-store.ts'
import { LABELS_TOPIC, SCORES_TOPIC } from '../ports/score-record.ts'
import { consumerErrors } from './context.ts'
import type { Running, RuntimeContext } from './context.ts'
import { OFFLINE_WRITER_LIMITS, createOfflineWriter } from './offline-writer.ts'

/** Makes what is missing; refuses fields whose type no longer fits what is stored, all of them together. */
export async function prepareTables(plan: Plan, offline: OfflineStore): Promise<void> {
  const problems: string[] = []
  const statements: string[] = []
  for (const source of plan.sources) {
    const stored = await offline.query<StoredColumn>(
      'SELECT name, type FROM system.columns WHERE database = currentDatabase() AND table = {table:String}',
      { table: rawTableName(source) },
    )
    const changes = rawTableChanges(source, stored)
    problems.push(...changes.problems)
    statements.push(...changes.statements)
  }
  if (problems.length > 0) {
    throw new PortError('SCHEMA_MISMATCH', `the offline store does not fit the plan:\n- ${problems.join('\n- ')}`)
  }
  for (const statement of [...statements, ...allTablesDdl(plan)]) await offline.command(statement)
}

/** Makes the tables, then copies every topic of the plan into them. */
export async function startHistory(context: RuntimeContext, offline: OfflineStore): Promise<Running> {
  const { config, project, log, clock, telemetry } = context
  await prepareTables(project.plan, offline)
  const mappers = new Map<string, RecordMapper>(
    project.plan.sources.map(source => [source.topic, sourceMapper(source, config.eventLog.maxRecordBytes)]),
  )
  mappers.set(SCORES_TOPIC, scoreMapper(project.plan))
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
