import { mkdirSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import { systemClock } from '../../services/clock.ts'
import { createTelemetry } from '../../services/telemetry.ts'
import type { OfflineStore } from '../../topology/ports/offline-store.ts'
import type { Config } from '../../topology/runtime/config.ts'
import { parseConfig } from '../../topology/runtime/config.ts'
import { openContext } from '../../topology/runtime/context.ts'
import type { RuntimeContext } from '../../topology/runtime/context.ts'
import { awaitOfflineStore } from '../../topology/runtime/offline.ts'
import { loadProject } from '../../topology/runtime/project.ts'
import { createUnwind } from '../../topology/runtime/unwind.ts'
import { startKafka } from '../../topology/stack/kafka.ts'
import type { KafkaCluster } from '../../topology/stack/kafka.ts'
import { startRedis } from '../../topology/stack/redis.ts'
import type { RedisServer } from '../../topology/stack/redis.ts'
import type { TopicLife } from './lives.ts'
import { definitionsText } from './payments.ts'
import { startClickHouse, startHeadwater } from './processes.ts'
import type { SystemProcess } from './processes.ts'
import { startProxy } from './proxy.ts'
import type { Proxy } from './proxy.ts'

/** How large a run is. */
export interface Scale {
  readonly events: number
  readonly eventsPerSecond: number
  /** Different cards; one for fifty events where absent. */
  readonly cards?: number
  readonly partitions: number
  readonly workers: number
  /** Between one fault and the next. */
  readonly pauseMs: number
  /** How long something stays away. */
  readonly outageMs: number
}

/** Kafka's session timeout of the workers under test: the shortest that brokers take. */
export const SESSION_TIMEOUT_MS = 6_000

/** Real servers, real worker processes and a hand on each of them. */
export interface World {
  readonly topic: string
  readonly scale: Scale
  readonly kafka: KafkaCluster
  readonly redis: RedisServer
  /** Follows `redis`; null where the run asked for none. */
  readonly replica: RedisServer | null
  /** Through which everyone reaches Redis and ClickHouse. */
  readonly redisProxy: Proxy
  readonly clickhouseProxy: Proxy
  readonly clickhousePort: number
  /** Lives of the topic that were ended. */
  readonly formerLives: TopicLife[]
  /** The system's own view: plan, log and store, through the same adapters and proxies. */
  readonly context: RuntimeContext
  readonly offline: OfflineStore
  readonly processes: SystemProcess[]
  /** Starts the process at this place of `processes` again, once it has ended. */
  restart(index: number): Promise<void>
  close(): Promise<void>
}

interface Needs {
  readonly brokers?: 1 | 3
  readonly replica?: boolean
  readonly windows?: readonly [short: string, long: string]
}

/** Settings as the environment names them. */
function environmentOf(world: {
  readonly folder: string
  readonly kafka: KafkaCluster
  readonly redisPort: number
  readonly clickhousePort: number
}): Readonly<Record<string, string>> {
  return {
    HEADWATER_FEATURES: join(world.folder, 'definitions.ts'),
    HEADWATER_DATA_DIRECTORY: join(world.folder, 'data'),
    HEADWATER_NAMESPACE: 'faults',
    HEADWATER_EVENT_LOG_KIND: 'kafka',
    HEADWATER_EVENT_LOG_BROKERS: world.kafka.bootstrap.join(','),
    HEADWATER_EVENT_LOG_SESSION_TIMEOUT_MS: String(SESSION_TIMEOUT_MS),
    HEADWATER_ONLINE_STORE_KIND: 'redis',
    HEADWATER_ONLINE_STORE_ADDRESSES: `127.0.0.1:${world.redisPort}`,
    HEADWATER_OFFLINE_STORE_KIND: 'clickhouse',
    HEADWATER_OFFLINE_STORE_URL: `http://127.0.0.1:${world.clickhousePort}`,
  }
}

function configOf(environment: Readonly<Record<string, string>>): Config {
  const parsed = parseConfig({ file: null, environment, flags: {} })
  if (!parsed.ok) throw new Error(JSON.stringify(parsed.problems))
  return parsed.config
}

/** Starts servers, workers and an offline writer; what was started ends when something of it fails. */
export async function startWorld(folder: string, cache: string, scale: Scale, needs: Needs): Promise<World> {
  const { add, run: close } = createUnwind()
  try {
    const topic = 'payments'
    mkdirSync(folder, { recursive: true })
    const { windows = ['5m', '1h'] } = needs
    writeFileSync(join(folder, 'definitions.ts'), definitionsText({ topic, partitions: scale.partitions, windows }))
    const kafka = await startKafka({ folder: join(folder, 'kafka'), cache, brokers: needs.brokers ?? 1 })
    add(() => kafka.stop())
    const redis = await startRedis({ folder: join(folder, 'redis') })
    add(() => redis.stop())
    const replicaOf = ['--replicaof', redis.host, String(redis.port)]
    const replica =
      needs.replica === true ? await startRedis({ folder: join(folder, 'replica'), args: replicaOf }) : null
    if (replica !== null) add(() => replica.stop())
    const redisProxy = await startProxy(redis.port)
    add(() => redisProxy.close())
    const clickhouse = startClickHouse(folder, 0)
    add(async () => void (await clickhouse.stop()))
    await clickhouse.ready
    const clickhousePort = Number(new URL(clickhouse.output().slice('ready: '.length).trim()).port)
    const clickhouseProxy = await startProxy(clickhousePort)
    add(() => clickhouseProxy.close())
    const environment = environmentOf({
      folder,
      kafka,
      redisPort: redisProxy.port,
      clickhousePort: clickhouseProxy.port,
    })
    const config = configOf(environment)
    const loaded = await loadProject(config.features)
    if (!loaded.ok) throw new Error(JSON.stringify(loaded.problems))
    const context = await openContext(config, loaded.project, systemClock, createTelemetry('error'))
    add(() => context.close())
    const commands = [...Array.from({ length: scale.workers }, () => 'feature-worker'), 'offline-writer']
    const start = (index: number): SystemProcess =>
      startHeadwater({
        args: ['run', commands[index] ?? ''],
        name: `${commands[index]}-${index}`,
        environment,
        folder,
      })
    await migrate(environment, folder)
    const processes = commands.map((_, index) => start(index))
    add(async () => void (await Promise.all(processes.map(each => each.stop()))))
    await Promise.all(processes.map(each => each.ready))
    const offline = await awaitOfflineStore(config, 0)
    add(() => offline.close())
    const restart = async (index: number): Promise<void> => {
      await processes[index]?.exited
      const started = start(index)
      processes[index] = started
      await started.ready
    }
    return {
      topic,
      scale,
      kafka,
      redis,
      replica,
      redisProxy,
      clickhouseProxy,
      clickhousePort,
      formerLives: [],
      context,
      offline,
      processes,
      restart,
      close,
    }
  } catch (error) {
    await close()
    throw error
  }
}

/** `headwater migrate`, as an operator runs it before the processes. */
async function migrate(environment: Readonly<Record<string, string>>, folder: string): Promise<void> {
  const run = startHeadwater({ args: ['migrate'], name: 'migrate', environment, folder })
  const code = await run.exited
  if (code !== 0) throw new Error(`headwater migrate ended with ${code}:\n${run.output()}`)
}
