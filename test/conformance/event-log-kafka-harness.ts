import { Kafka, logLevel } from 'kafkajs'
import type { Admin } from 'kafkajs'
import { systemClock } from '../../services/clock.ts'
import { openKafkaEventLog } from '../../topology/adapters/event-log/kafka/kafka.ts'
import type { KafkaEventLogOptions } from '../../topology/adapters/event-log/kafka/kafka.ts'
import type { EventLog } from '../../topology/ports/event-log.ts'
import type { Labels, Telemetry } from '../../topology/ports/telemetry.ts'
import type { KafkaServers } from '../servers.ts'
import type { EventLogSubject } from './event-log-harness.ts'

const MAX_RECORD_BYTES = 200_000

/** Opens a log on brokers in the clear, with what a test wants otherwise. */
export function openLog(brokers: readonly string[], options: Partial<KafkaEventLogOptions> = {}): Promise<EventLog> {
  return openKafkaEventLog({
    brokers,
    clientId: 'headwater-test',
    clock: systemClock,
    maxRecordBytes: MAX_RECORD_BYTES,
    ...options,
  })
}

/** A log on the block's cluster, for the conformance suite. */
export async function kafkaSubject(servers: KafkaServers): Promise<EventLogSubject> {
  const { bootstrap } = await servers.start()
  const handles: EventLog[] = []
  const open = async (): Promise<EventLog> => {
    const opened = await openLog(bootstrap)
    handles.push(opened)
    return opened
  }
  const log = await open()
  return {
    log,
    maxRecordBytes: MAX_RECORD_BYTES,
    nowMs: null,
    second: open,
    reopen: async () => {
      await log.close()
      return open()
    },
    cleanup: async () => {
      for (const handle of handles) await handle.close()
    },
  }
}

/** Orders that the port does not have, through kafkajs itself. */
export async function withAdmin<T>(
  brokers: readonly string[],
  act: (admin: Admin, kafka: Kafka) => Promise<T>,
): Promise<T> {
  const kafka = new Kafka({ brokers: [...brokers], clientId: 'headwater-test-admin', logLevel: logLevel.NOTHING })
  const admin = kafka.admin()
  await admin.connect()
  try {
    return await act(admin, kafka)
  } finally {
    await admin.disconnect()
  }
}

/** Telemetry that adds up counters by name. */
export function countingTelemetry(): Telemetry & { total(name: string): number; gauges: Map<string, number> } {
  const counters = new Map<string, number>()
  const gauges = new Map<string, number>()
  const series = (name: string, labels?: Labels): string => `${name} ${JSON.stringify(labels ?? {})}`
  return {
    count: (name, by) => void counters.set(name, (counters.get(name) ?? 0) + by),
    gauge: (name, value, labels) => void gauges.set(series(name, labels), value),
    observeMs: () => {},
    log: () => {},
    total: name => counters.get(name) ?? 0,
    gauges,
  }
}
