import { mkdtempSync, rmSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { setTimeout as sleep } from 'node:timers/promises'
import { cacheFolder } from '../../services/cache-folder.ts'
import { systemClock } from '../../services/clock.ts'
import { createRandom } from '../../services/demo/random.ts'
import { createTelemetry } from '../../services/telemetry.ts'
import type { NewRecord } from '../../topology/ports/event-log.ts'
import { parseConfig } from '../../topology/runtime/config.ts'
import { openContext } from '../../topology/runtime/context.ts'
import type { RuntimeContext } from '../../topology/runtime/context.ts'
import { loadProject } from '../../topology/runtime/project.ts'
import { createUnwind } from '../../topology/runtime/unwind.ts'
import { startKafka } from '../../topology/stack/kafka.ts'
import { startRedis } from '../../topology/stack/redis.ts'
import type { RedisServer } from '../../topology/stack/redis.ts'
import { endsOf, isWritten } from '../written.ts'

export const TOPIC = 'payments'
const DAY = 86_400_000
const ENCODER = new TextEncoder()
const APPEND_RECORDS = 2_000
const POLL_MS = 50

/** A Kafka broker and a Redis of this run's own. */
export interface Engines {
  readonly folder: string
  readonly brokers: readonly string[]
  readonly redis: RedisServer
  /** Settings of a system of its own over them. */
  environment(namespace: string): Readonly<Record<string, string>>
  /** A view of that system. */
  open(namespace: string): Promise<RuntimeContext>
  close(): Promise<void>
}

/** Starts them on free ports in a temporary folder. */
export async function startEngines(): Promise<Engines> {
  const { add, run: close } = createUnwind()
  const folder = mkdtempSync(join(tmpdir(), 'headwater-bench-'))
  add(() => rmSync(folder, { recursive: true, force: true, maxRetries: 5 }))
  try {
    const kafka = await startKafka({ folder: join(folder, 'kafka'), cache: cacheFolder() })
    add(() => kafka.stop())
    const redis = await startRedis({ folder: join(folder, 'redis') })
    add(() => redis.stop())
    const environment = (namespace: string): Readonly<Record<string, string>> => ({
      HEADWATER_FEATURES: join(import.meta.dirname, 'definitions.ts'),
      HEADWATER_DATA_DIRECTORY: join(folder, 'data'),
      HEADWATER_NAMESPACE: namespace,
      HEADWATER_EVENT_LOG_KIND: 'kafka',
      HEADWATER_EVENT_LOG_BROKERS: kafka.bootstrap.join(','),
      HEADWATER_ONLINE_STORE_KIND: 'redis',
      HEADWATER_ONLINE_STORE_ADDRESSES: `${redis.host}:${redis.port}`,
    })
    const open = async (namespace: string): Promise<RuntimeContext> => {
      const parsed = parseConfig({ file: null, environment: environment(namespace), flags: {} })
      if (!parsed.ok) throw new Error(JSON.stringify(parsed.problems))
      const loaded = await loadProject(parsed.config.features)
      if (!loaded.ok) throw new Error(JSON.stringify(loaded.problems))
      return await openContext(parsed.config, loaded.project, systemClock, createTelemetry('error'))
    }
    return { folder, brokers: kafka.bootstrap, redis, environment, open, close }
  } catch (error) {
    await close()
    throw error
  }
}

/** Card payments, seeded; `at` is what their time is. */
export function benchRecord(seed: number, cards: number): (at: number, id: string, card?: string) => NewRecord {
  const random = createRandom(seed)
  return (at, id, card = `card-${random.whole(0, cards - 1)}`) => ({
    topic: TOPIC,
    key: card,
    value: ENCODER.encode(
      JSON.stringify({
        id,
        at,
        card,
        merchant: `m-${random.whole(0, 4_999)}`,
        country: random.pick(['DE', 'FR', 'ES', 'IT', 'NL', 'PL', 'US', 'GB']),
        amount: random.whole(100, 50_000) / 100,
        declined: random.chance(0.05),
      }),
    ),
  })
}

/** Fills the topic with payments of the last day. */
export async function fillTopic(context: RuntimeContext, events: number, cards: number): Promise<void> {
  const make = benchRecord(11, cards)
  const start = Date.now() - DAY
  for (let at = 0; at < events; at += APPEND_RECORDS) {
    const count = Math.min(APPEND_RECORDS, events - at)
    await context.log.append(
      Array.from({ length: count }, (_, i) => make(start + Math.floor(((at + i) / events) * DAY), `p${at + i}`)),
    )
  }
}

/** Waits until every shard is written up to the end of the topic as it is now. */
export async function untilWritten(context: RuntimeContext): Promise<void> {
  const ends = await endsOf(context, TOPIC)
  while (!(await isWritten(context, TOPIC, ends))) await sleep(POLL_MS)
}
