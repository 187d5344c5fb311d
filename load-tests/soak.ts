import { mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { setTimeout as sleep } from 'node:timers/promises'
import { cacheFolder } from '../services/cache-folder.ts'
import { rawTableName } from '../topology/processors/offline-schema.ts'
import { endOffsets, startProduction, untilStored } from './faults/traffic.ts'
import { verifyOnline } from './faults/verify.ts'
import { startWorld } from './faults/world.ts'
import type { World } from './faults/world.ts'

/** Resident memory of one process over the run, in MiB, a sample every ten seconds. */
interface MemorySeries {
  readonly process: string
  readonly samplesMiB: readonly number[]
  /** Median of the last quarter against that of the second. */
  readonly growth: number
}

/** How a soak went. */
interface SoakResult {
  readonly minutes: number
  readonly capacityEventsPerSecond: number
  readonly eventsPerSecond: number
  readonly events: number
  readonly rebalances: number
  readonly memory: readonly MemorySeries[]
  readonly recoveryMs: number
  readonly wrong: readonly string[]
}

const SHARE = 0.7
const PROBE_EVENTS = 1_000_000
/** The same while capacity is measured and after: how many of them a worker's cache holds decides what it can do. */
const CARDS = 100_000
const SAMPLE_MS = 10_000
const REBALANCE_MS = 60_000
const MAX_CATCH_UP_MS = 10 * 60_000
const PARTITIONS = 12
const WORKERS = 3
const SCALE = { partitions: PARTITIONS, workers: WORKERS, pauseMs: 0, outageMs: 0, cards: CARDS }
/** Short enough that state stops growing within the run. */
const WINDOWS = ['30s', '2m'] as const
/** Of resident memory, from the second quarter of the run to the last. */
const MAX_GROWTH = 1.1

function residentMiB(pid: number): number | null {
  try {
    const line = /^VmRSS:\s+(\d+) kB$/m.exec(readFileSync(`/proc/${pid}/status`, 'utf8'))
    return line === null ? null : Math.round(Number(line[1]) / 1024)
  } catch {
    return null
  }
}

function median(values: readonly number[]): number {
  const sorted = values.toSorted((a, b) => a - b)
  return sorted[Math.floor(sorted.length / 2)] ?? Number.NaN
}

function growthOf(samples: readonly number[]): number {
  const quarter = Math.floor(samples.length / 4)
  return median(samples.slice(-quarter)) / median(samples.slice(quarter, 2 * quarter))
}

async function withWorld<T>(eventsPerSecond: number, events: number, work: (world: World) => Promise<T>): Promise<T> {
  const folder = mkdtempSync(join(tmpdir(), 'headwater-soak-'))
  const scale = { ...SCALE, events, eventsPerSecond }
  const world = await startWorld(folder, cacheFolder(), scale, { windows: WINDOWS })
  try {
    return await work(world)
  } finally {
    await world.close()
    rmSync(folder, { recursive: true, force: true, maxRetries: 5 })
  }
}

/** Events per second from the producer to Redis and ClickHouse, all on this machine, as fast as it goes. */
async function probeCapacity(): Promise<number> {
  return await withWorld(Infinity, PROBE_EVENTS, async world => {
    const started = performance.now()
    await startProduction(world, 1).done
    await untilStored(world, await endOffsets(world), MAX_CATCH_UP_MS)
    return Math.round((PROBE_EVENTS / (performance.now() - started)) * 1_000)
  })
}

/**
 * Runs the whole pipeline at 70 % of what this machine can do, with a worker replaced every minute, and watches the
 * memory of those that stay.
 */
async function soak(minutes: number): Promise<SoakResult> {
  const capacityEventsPerSecond = await probeCapacity()
  const eventsPerSecond = Math.round(capacityEventsPerSecond * SHARE)
  const events = eventsPerSecond * minutes * 60
  process.stderr.write(`soak: capacity ${capacityEventsPerSecond}/s; ${eventsPerSecond}/s for ${minutes} minutes\n`)
  return await withWorld(eventsPerSecond, events, async world => {
    const production = startProduction(world, 2)
    const samples = new Map<string, number[]>()
    let rebalances = 0
    let sinceRebalanceMs = 0
    while (production.running()) {
      await Promise.race([sleep(SAMPLE_MS), production.done])
      for (const { name, pid } of world.processes) {
        const mib = residentMiB(pid)
        if (mib === null) continue
        const series = samples.get(name)
        if (series === undefined) samples.set(name, [mib])
        else series.push(mib)
      }
      sinceRebalanceMs += SAMPLE_MS
      if (sinceRebalanceMs < REBALANCE_MS || !production.running()) continue
      sinceRebalanceMs = 0
      rebalances++
      // One worker comes and goes; the others keep what they hold from the first minute to the last.
      await world.processes[0]?.stop()
      await world.restart(0)
      process.stderr.write(`soak: ${production.written()} of ${events} events\n`)
    }
    await production.done
    const ended = performance.now()
    await untilStored(world, await endOffsets(world), MAX_CATCH_UP_MS)
    const recoveryMs = Math.round(performance.now() - ended)
    const memory = [...samples].map(([name, samplesMiB]) => ({
      process: name,
      samplesMiB,
      growth: growthOf(samplesMiB),
    }))
    const wrong = await differences(world)
    return { minutes, capacityEventsPerSecond, eventsPerSecond, events, rebalances, memory, recoveryMs, wrong }
  })
}

/** One partition online, section by section; the numbers of rows of all partitions offline. */
async function differences(world: World): Promise<readonly string[]> {
  const { log, store, bound, config, project } = world.context
  const [source] = project.plan.sources
  const info = await log.describe(world.topic)
  if (source === undefined || info === null) throw new Error('the plan has no source, or its topic is gone')
  const checked = { log, store, bound, namespace: config.namespace, topic: world.topic, partitions: [0] }
  const { differences: wrong } = await verifyOnline(checked)
  const rows = await world.offline.query<{ partition: number; rows: string; offsets: string }>(
    `SELECT _partition AS partition, toString(count()) AS rows, toString(uniqExact(_offset)) AS offsets
     FROM ${rawTableName(source)} FINAL WHERE _incarnation = {incarnation:String} GROUP BY partition`,
    { incarnation: info.incarnation },
  )
  const ends = await endOffsets(world)
  const miscounted = ends.flatMap((end, partition) => {
    const stored = rows.find(row => row.partition === partition)
    const right = Number(stored?.rows ?? 0) === end && Number(stored?.offsets ?? 0) === end
    return right ? [] : [`partition ${partition}: ${stored?.rows ?? 0} rows of ${end} records`]
  })
  return [...wrong, ...miscounted]
}

const minutes = Number(process.env['HEADWATER_SOAK_MINUTES'] ?? 20)
const file = process.env['HEADWATER_PROOF_REPORT']
const result = await soak(minutes)
const flat = result.memory.filter(each => !each.process.endsWith('-0')).every(each => each.growth < MAX_GROWTH)
if (file !== undefined) writeFileSync(file, JSON.stringify({ ...result, flat }))
process.stdout.write(`${JSON.stringify({ ...result, flat }, null, 2)}\n`)
process.exitCode = flat && result.wrong.length === 0 ? 0 : 1
