import type { Plan } from '../../features/plan/plan.ts'
import type { Clock } from '../ports/clock.ts'
import type { EventLog } from '../ports/event-log.ts'
import type { Finding } from '../ports/finding.ts'
import type { OfflineStore } from '../ports/offline-store.ts'
import type { Config } from './config.ts'
import { openSchemaRegistry } from './event-formats.ts'
import { openOfflineStore } from './offline.ts'
import { checkOfflineStore } from './offline-check.ts'
import { pendingChanges } from './migrate.ts'
import { openEventLog } from './stores.ts'

/** The findings of one part of the system. */
export interface Examination {
  readonly part: 'event log' | 'schema registry' | 'online store' | 'offline store'
  readonly findings: readonly Finding[]
}

const STATUS = { ok: 'ok', warning: 'warn', error: 'fail' } as const

const ok = (check: string, message: string): Finding => ({ check, status: 'ok', message, remedy: '' })

function unreachable(error: unknown): readonly Finding[] {
  const message = error instanceof Error ? error.message : String(error)
  return [{ check: 'connection', status: 'fail', message, remedy: 'put this right first; the rest cannot be seen' }]
}

/**
 * Looks at every engine of the configuration; what is embedded is only named. Errors are findings. `plan` says which
 * topics there should be; null where the definitions cannot be loaded.
 */
export async function examine(config: Config, clock: Clock, plan: Plan | null): Promise<readonly Examination[]> {
  const [log, registry, online, offline] = await Promise.all([
    examineLog(config, clock, plan).catch(unreachable),
    examineRegistry(config).catch(unreachable),
    examineOnline(config, clock).catch(unreachable),
    examineOffline(config, plan).catch(unreachable),
  ])
  return [
    { part: 'event log', findings: log },
    { part: 'schema registry', findings: registry },
    { part: 'online store', findings: online },
    { part: 'offline store', findings: offline },
  ]
}

async function examineLog(config: Config, clock: Clock, plan: Plan | null): Promise<readonly Finding[]> {
  if (config.eventLog.kind === 'embedded') return [ok('kind', `embedded, in ${config.dataDirectory}`)]
  const log = await openEventLog(config, clock)
  try {
    const findings = [ok('connection', `brokers ${config.eventLog.brokers.join(', ')} answer`)]
    for (const source of plan?.sources ?? [])
      findings.push(...(await examineTopic(log, source.topic, source.partitions)))
    return findings
  } finally {
    await log.close()
  }
}

async function examineTopic(log: EventLog, name: string, partitions: number): Promise<readonly Finding[]> {
  const check = `topic ${name}`
  const topic = await log.describe(name)
  if (topic === null) {
    return [{ check, status: 'warn', message: 'does not exist yet', remedy: 'run "headwater topics --create"' }]
  }
  const findings: Finding[] = []
  if (topic.partitions < partitions) {
    const message = `has ${topic.partitions} partitions, the definitions ask for ${partitions}`
    findings.push({ check, status: 'fail', message, remedy: 'add partitions, or say as many in the definitions' })
  }
  if (topic.compacted) {
    const message = 'is compacted: records that were counted disappear from it, and state could not be made again'
    findings.push({ check, status: 'fail', message, remedy: 'set cleanup.policy to delete' })
  }
  if (!topic.appendTime) {
    const message = 'records carry the time that their producer says: a clock that is wrong moves what was known when'
    findings.push({ check, status: 'warn', message, remedy: 'set message.timestamp.type to LogAppendTime' })
  }
  return findings.length > 0 ? findings : [ok(check, `${topic.partitions} partitions, ${topic.replicas} copies`)]
}

async function examineRegistry(config: Config): Promise<readonly Finding[]> {
  const registry = await openSchemaRegistry(config)
  if (registry === null) return [ok('kind', 'none is configured')]
  try {
    await registry.versions('headwater-doctor')
    return [ok('connection', `${config.schemaRegistry.url} answers`)]
  } finally {
    await registry.close()
  }
}

async function examineOnline(config: Config, clock: Clock): Promise<readonly Finding[]> {
  if (config.onlineStore.kind === 'embedded') return [ok('kind', `embedded, in ${config.dataDirectory}`)]
  const { checkRedis } = await import('../adapters/online-store/redis/checks.ts')
  return await checkRedis({ connection: config.onlineStore, namespace: config.namespace, clock })
}

async function examineOffline(config: Config, plan: Plan | null): Promise<readonly Finding[]> {
  if (config.offlineStore.kind === 'chdb') return [ok('kind', `embedded, in ${config.dataDirectory}`)]
  const store = await openOfflineStore(config)
  try {
    const found = await checkOfflineStore(store)
    const findings = found.map(({ level, what, remedy }): Finding => {
      return { check: 'server', status: STATUS[level], message: what, remedy }
    })
    if (plan === null || findings.some(({ status }) => status === 'fail')) return findings
    return [...findings, ...(await examineTables(config, store, plan))]
  } finally {
    await store.close()
  }
}

async function examineTables(config: Config, store: OfflineStore, plan: Plan): Promise<readonly Finding[]> {
  const { migrations, problems } = await pendingChanges(plan, store, config.offlineStore.retentionDays)
  const findings = [
    ...problems.map(({ message, blocksWriting }) => ({ message, blocks: blocksWriting, remedy: '' })),
    ...migrations.map(({ object, name, needed }) => {
      return { message: `${object}: ${name}`, blocks: needed, remedy: 'run "headwater migrate"' }
    }),
  ].map(({ message, blocks, remedy }): Finding => {
    return { check: 'tables', status: blocks ? 'fail' : 'warn', message, remedy }
  })
  return findings.length > 0 ? findings : [ok('tables', `those of ${config.offlineStore.database} fit the definitions`)]
}
