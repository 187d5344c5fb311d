import { existsSync, mkdirSync } from 'node:fs'
import { join } from 'node:path'
import type { Clock } from '../ports/clock.ts'
import type { EventLog } from '../ports/event-log.ts'
import type { OnlineStore } from '../ports/online-store.ts'
import type { Telemetry } from '../ports/telemetry.ts'
import type { Config } from './config.ts'
import { readPemFiles } from './pem-files.ts'

async function openKafka(config: Config, clock: Clock, telemetry: Telemetry): Promise<EventLog> {
  const { openKafkaEventLog } = await import('../adapters/event-log/kafka/kafka.ts')
  const { tls, saslMechanism: mechanism, username, password, ...rest } = config.eventLog
  const files = readPemFiles('eventLog', config.eventLog, 'LOG_UNAVAILABLE')
  return await openKafkaEventLog({
    ...rest,
    clock,
    telemetry,
    ...(mechanism === 'none' ? {} : { sasl: { mechanism, username, password } }),
    ...(tls ? { tls: files } : {}),
  })
}

/** Opens the event log of the configuration. Each client library is loaded only when it is asked for. */
export async function openEventLog(config: Config, clock: Clock, telemetry: Telemetry = SILENT): Promise<EventLog> {
  if (config.eventLog.kind === 'kafka') return await openKafka(config, clock, telemetry)
  mkdirSync(config.dataDirectory, { recursive: true })
  const { openEmbeddedEventLog } = await import('../adapters/event-log/embedded.ts')
  const path = join(config.dataDirectory, 'event-log.sqlite')
  return await openEmbeddedEventLog({ path, clock, maxRecordBytes: config.eventLog.maxRecordBytes })
}

function onlineStorePath(config: Config): string {
  return join(config.dataDirectory, `online-store.${config.namespace}.sqlite`)
}

/** Whether there is an online store that was used before; one on Redis may be empty. */
export function hasOnlineStore(config: Config): boolean {
  return config.onlineStore.kind === 'redis' || existsSync(onlineStorePath(config))
}

const SILENT: Telemetry = { count: () => {}, gauge: () => {}, observeMs: () => {}, log: () => {} }

/** Opens the online store of the configuration. */
export async function openOnlineStore(
  config: Config,
  clock: Clock,
  telemetry: Telemetry = SILENT,
): Promise<OnlineStore> {
  if (config.onlineStore.kind === 'redis') {
    const { openRedisOnlineStore } = await import('../adapters/online-store/redis/store.ts')
    return await openRedisOnlineStore({
      connection: config.onlineStore,
      namespace: config.namespace,
      clock,
      telemetry,
    })
  }
  mkdirSync(config.dataDirectory, { recursive: true })
  const { openEmbeddedOnlineStore } = await import('../adapters/online-store/embedded.ts')
  return await openEmbeddedOnlineStore({
    path: onlineStorePath(config),
    clock,
  })
}
