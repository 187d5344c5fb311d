import { existsSync, mkdirSync } from 'node:fs'
import { join } from 'node:path'
import type { Clock } from '../ports/clock.ts'
import type { EventLog } from '../ports/event-log.ts'
import type { OnlineStore } from '../ports/online-store.ts'
import type { Config } from './config.ts'

/** Each client library is loaded only when the configuration asks for it. */
export async function openEventLog(config: Config, clock: Clock): Promise<EventLog> {
  mkdirSync(config.dataDirectory, { recursive: true })
  const { openEmbeddedEventLog } = await import('../adapters/event-log/embedded.ts')
  const path = join(config.dataDirectory, 'event-log.sqlite')
  return await openEmbeddedEventLog({ path, clock, maxRecordBytes: config.eventLog.maxRecordBytes })
}

function onlineStorePath(config: Config): string {
  return join(config.dataDirectory, `online-store.${config.namespace}.sqlite`)
}

/** Whether there is an online store that was used before. */
export function hasOnlineStore(config: Config): boolean {
  return existsSync(onlineStorePath(config))
}

/** Opens the online store of the configuration. */
export async function openOnlineStore(config: Config, clock: Clock): Promise<OnlineStore> {
  mkdirSync(config.dataDirectory, { recursive: true })
  const { openEmbeddedOnlineStore } = await import('../adapters/online-store/embedded.ts')
  return await openEmbeddedOnlineStore({
    path: onlineStorePath(config),
    clock,
  })
}
