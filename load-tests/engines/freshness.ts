import { setTimeout as sleep } from 'node:timers/promises'
import { join } from 'node:path'
import { onlineKey } from '../../topology/ports/online-layout.ts'
import type { RuntimeContext } from '../../topology/runtime/context.ts'
import { startClickHouse, startHeadwater } from '../faults/processes.ts'
import { startProxy } from '../faults/proxy.ts'
import { plainRow, ratioRow } from '../rows.ts'
import type { BenchRow } from '../rows.ts'
import { benchRecord, untilWritten } from './setup.ts'
import type { Engines } from './setup.ts'
import { startMeasured } from './usage.ts'

const EVENTS_PER_SECOND = 5_000
const TICK_MS = 10
const SECONDS = 20
const WARM_UP_SECONDS = 5
const POLL_MS = 1
const CARDS = 50_000

/** How long after it was handed to the log an event shows in a read of its card. */
export async function freshnessRows(engines: Engines): Promise<readonly BenchRow[]> {
  const context = await engines.open('fresh')
  const worker = startMeasured('worker-process.ts', [], engines.environment('fresh'))
  try {
    await worker.ready
    await untilWritten(context)
    const alone = await visibleAfter(context, 'alone')
    const [quick, slow] = await besideWriter(engines, context)
    return [
      plainRow('engines: event to visible at 5,000 events/s, p50', percentile(alone, 0.5), 'ms'),
      plainRow('engines: event to visible at 5,000 events/s, p99', percentile(alone, 0.99), 'ms'),
      ratioRow(
        'engines: the same p99 while ClickHouse does not answer; against one that does',
        percentile(slow, 0.99),
        'ms',
        percentile(quick, 0.99),
      ),
    ]
  } finally {
    await worker.stop()
    await context.close()
  }
}

function percentile(values: readonly number[], share: number): number {
  const sorted = values.toSorted((a, b) => a - b)
  return sorted[Math.min(sorted.length - 1, Math.floor(sorted.length * share))] ?? Number.NaN
}

/** With an offline writer beside the worker: its ClickHouse answering, and hanging. */
async function besideWriter(engines: Engines, context: RuntimeContext): Promise<readonly [number[], number[]]> {
  const { folder } = engines
  const clickhouse = startClickHouse(folder, 0)
  await clickhouse.ready
  const proxy = await startProxy(Number(new URL(clickhouse.output().slice('ready: '.length).trim()).port))
  const environment = {
    ...engines.environment('fresh'),
    HEADWATER_DATA_DIRECTORY: join(folder, 'writer'),
    HEADWATER_OFFLINE_STORE_KIND: 'clickhouse',
    HEADWATER_OFFLINE_STORE_URL: `http://127.0.0.1:${proxy.port}`,
  }
  const migrated = await startHeadwater({ args: ['migrate'], name: 'migrate', environment, folder }).exited
  if (migrated !== 0) throw new Error(`headwater migrate ended with ${migrated}`)
  const writer = startHeadwater({ args: ['run', 'offline-writer'], name: 'offline-writer', environment, folder })
  try {
    await writer.ready
    const quick = await visibleAfter(context, 'quick')
    proxy.lead(null)
    const slow = await visibleAfter(context, 'slow')
    return [quick, slow]
  } finally {
    await writer.stop()
    await proxy.close()
    await clickhouse.stop()
  }
}

/** Produces at the rate and watches one event of each tick, of a card that no other event names. */
async function visibleAfter(context: RuntimeContext, run: string): Promise<number[]> {
  const [unit] = context.bound.units
  if (unit === undefined) throw new Error('the plan has no units')
  const make = benchRecord(23, CARDS)
  const waiting = new Map<string, number>()
  const latenciesMs: number[] = []
  let producing = true
  const warmUntil = performance.now() + WARM_UP_SECONDS * 1_000
  const until = warmUntil + SECONDS * 1_000

  async function watch(): Promise<void> {
    while (producing || waiting.size > 0) {
      const keys = [...waiting.keys()]
      const found = await context.store.read(keys.map(key => ({ key, blocks: () => [] })))
      const now = performance.now()
      keys.forEach((key, index) => {
        if ((found[index]?.length ?? 0) === 0) return
        const since = waiting.get(key) ?? now
        waiting.delete(key)
        if (since >= warmUntil) latenciesMs.push(now - since)
      })
      await sleep(POLL_MS)
    }
  }

  const watching = watch()
  const appends: Promise<unknown>[] = []
  let made = 0
  const started = performance.now()
  while (performance.now() < until) {
    const due = Math.floor(((performance.now() - started) / 1_000) * EVENTS_PER_SECOND)
    const now = Date.now()
    const records = []
    while (made < due) records.push(make(now, `${run}-${made++}`))
    if (records.length > 0) {
      const marker = `${run}-marker-${made}`
      records[records.length - 1] = make(now, marker, marker)
      waiting.set(onlineKey(context.config.namespace, unit.entity, marker, unit.id), performance.now())
      appends.push(context.log.append(records))
    }
    await sleep(TICK_MS)
  }
  await Promise.all(appends)
  producing = false
  await watching
  return latenciesMs
}
