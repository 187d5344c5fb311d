import { join } from 'node:path'
import { decodeJsonEvent } from '../../features/plan/event.ts'
import type { Project } from '../../features/plan/compile.ts'
import { expectedImage, imageDifferences } from '../../load-tests/faults/section-oracle.ts'
import { systemClock } from '../../services/clock.ts'
import { createTelemetry } from '../../services/telemetry.ts'
import type { EventLog, LogRecord, NewRecord, Position } from '../../topology/ports/event-log.ts'
import { onlineKey } from '../../topology/ports/online-layout.ts'
import type { OfflineStore } from '../../topology/ports/offline-store.ts'
import { parseConfig } from '../../topology/runtime/config.ts'
import { openContext } from '../../topology/runtime/context.ts'
import type { RuntimeContext } from '../../topology/runtime/context.ts'
import { startFeatureWorkers } from '../../topology/runtime/feature-processes.ts'
import { startHistory } from '../../topology/runtime/history.ts'
import { ownOfflineStore } from '../../topology/runtime/offline.ts'
import { loadProject } from '../../topology/runtime/project.ts'
import { createUnwind } from '../../topology/runtime/unwind.ts'
import { ROOT } from './headwater.ts'
import type { Transfer } from './poison-records.ts'

export const TRANSFERS = join(ROOT, 'test', 'system', 'definitions', 'transfers.ts')

/** A feature worker and an offline writer at work in this process, over the engines that `settings` name. */
export interface PoisonWorld {
  readonly context: RuntimeContext
  readonly offline: OfflineStore
  /** Resolves when both have taken every record that the topic holds now. */
  caughtUp(): Promise<void>
  stop(): Promise<void>
}

async function loadTransfers(): Promise<Project> {
  const loaded = await loadProject([TRANSFERS])
  if (!loaded.ok) throw new Error(JSON.stringify(loaded.problems))
  return loaded.project
}

const WAIT_MS = 50

/** Starts the world; the offline store is the embedded one in `folder`. */
export async function startPoisonWorld(
  folder: string,
  settings: Readonly<Record<string, string>> = {},
): Promise<PoisonWorld> {
  const parsed = parseConfig({ file: null, environment: {}, flags: { dataDirectory: folder, ...settings } })
  if (!parsed.ok) throw new Error(JSON.stringify(parsed.problems))
  const { config } = parsed
  const { add, run: stop } = createUnwind()
  try {
    const context = await openContext(config, await loadTransfers(), systemClock, createTelemetry('error'))
    add(() => context.close())
    const offline = await ownOfflineStore(config)
    add(() => offline.close())
    const history = await startHistory(context, offline)
    add(() => history.stop())
    const workers = await startFeatureWorkers(context)
    add(() => workers.stop())
    const caughtUp = async (): Promise<void> => {
      while (!(await hasCaughtUp(context))) await new Promise(done => setTimeout(done, WAIT_MS))
    }
    return { context, offline, caughtUp, stop }
  } catch (error) {
    await stop()
    throw error
  }
}

async function hasCaughtUp({ log, config, catalogue }: RuntimeContext): Promise<boolean> {
  const partitions = (await log.describe('transfers'))?.partitions ?? 0
  const groups = [
    `hw.${config.namespace}.history`,
    ...catalogue.revisions.map(({ source, revision }) => `hw.${config.namespace}.features.${source}.r${revision}`),
  ]
  for (let partition = 0; partition < partitions; partition++) {
    const { endOffset } = await log.bounds('transfers', partition)
    for (const group of groups) {
      if (endOffset > 0 && ((await log.committed(group, 'transfers', partition)) ?? 0) < endOffset) return false
    }
  }
  return true
}

/** A good transfer, with the place that the log gave it. */
export interface Placed {
  readonly transfer: Transfer
  readonly position: Position
  readonly arrivalMs: number
}

/** Good transfers in the order in which they are produced. */
export function makeTransfers(pick: (bound: number) => number, count: number, startMs: number): readonly Transfer[] {
  let now = startMs
  return Array.from({ length: count }, (_, index) => {
    now += pick(200)
    return {
      transfer_id: `g${index}`,
      at: now - (pick(10) === 0 ? pick(60_000) : 0),
      card: `c${pick(60)}`,
      shop: `s${pick(12)}`,
      amount: (1 + pick(100_000)) / 100,
      units: pick(9),
      serial: String(9_007_199_254_740_993n + BigInt(index)),
      rate: pick(1_000) / 7,
      vip: pick(2) === 0,
      place: [pick(90), -pick(90)],
    }
  })
}

/** A good transfer as a record. */
export function transferRecord(transfer: Transfer): NewRecord {
  return { topic: 'transfers', key: transfer.card, value: new TextEncoder().encode(JSON.stringify(transfer)) }
}

/** Every record of a topic, by partition. */
export async function allRecords(log: EventLog, topic: string): Promise<LogRecord[]> {
  const partitions = (await log.describe(topic))?.partitions ?? 0
  const records: LogRecord[] = []
  for (let partition = 0; partition < partitions; partition++) {
    const { startOffset, endOffset } = await log.bounds(topic, partition)
    for (let from = startOffset; from < endOffset;) {
      const batch = await log.read(topic, partition, from, 1_000)
      records.push(...batch.records)
      from = batch.nextOffset
    }
  }
  return records
}

/**
 * In what the stored state of every entity differs from that of a stream that holds the good transfers alone, in the
 * same order within each partition.
 */
export async function onlineDifferences({ context }: PoisonWorld, good: readonly Placed[]): Promise<readonly string[]> {
  const { bound, config, store } = context
  const wrong: string[] = []
  const [source] = bound.plan.sources
  if (source === undefined) throw new Error('the plan has no source')
  const events = good.map(({ transfer, position, arrivalMs }) => {
    const decoded = decodeJsonEvent(source, new TextEncoder().encode(JSON.stringify(transfer)), arrivalMs)
    if (!decoded.ok) throw new Error(`${transfer.transfer_id}: ${decoded.reason}`)
    return { ...position, event: decoded.event }
  })
  for (const unit of bound.units) {
    for (const id of new Set(events.map(({ event }) => unit.entityId(event) ?? ''))) {
      const mine = events.filter(({ event }) => unit.entityId(event) === id).toSorted((a, b) => a.offset - b.offset)
      const partitions = [...new Set(mine.map(({ partition }) => partition))]
      const images = new Map(
        partitions.map(partition => {
          const points = mine.filter(each => each.partition === partition).map(({ event }) => unit.project(event))
          return [partition, expectedImage(unit, points)]
        }),
      )
      const key = onlineKey(config.namespace, unit.entity, id, unit.id)
      const blocks = [...images.values()].flatMap(image => image.blocks.map(block => block.id))
      const [sections = []] = await store.read([{ key, blocks: () => blocks }])
      if (sections.length !== partitions.length)
        wrong.push(`${key}: ${sections.length} sections, not ${partitions.length}`)
      for (const section of sections) {
        const image = images.get(section.partition)
        if (image === undefined) wrong.push(`${key}: a section of partition ${section.partition}`)
        else wrong.push(...imageDifferences(image, section).map(text => `${key}: ${text}`))
      }
    }
  }
  return wrong
}
