import type { BoundUnit } from '../../features/plan/units.ts'
import type { Lane } from '../../topology/ports/online-store.ts'
import { SHARD_COUNT } from '../../topology/ports/online-store.ts'
import type { PartitionTask } from '../../topology/runtime/partition-task.ts'
import type { StoreServers, StoreWatch } from './simulated-store.ts'
import type { Topic } from './simulated-topic.ts'
import { sectionDifferences } from './simulation-oracle.ts'
import type { Truth } from './simulation-oracle.ts'

/** What must hold at every moment; `wrong` says where it did not. */
export interface Invariants extends StoreWatch {
  readonly wrong: string[]
  /** An offset was committed: everything below it must have been written. */
  committed(incarnation: string, partition: number, offset: number): void
  /** What a worker holds between batches or (`amid` one) within the next: within its bounds, plus a batch of records. */
  held(task: PartitionTask, limits: MemoryLimits, amid: boolean): void
}

/** Bounds of what a worker holds in memory. */
export interface MemoryLimits {
  readonly maxDirtySections: number
  readonly maxCachedBytes: number
  readonly maxBatchRecords: number
}

const MOST_SHOWN = 20

/**
 * Each stored section is what exactly the records up to its position make; it is not stored before the late records
 * among them are reported; below a shard's canary no section of it is missing or behind; commits stay below what was
 * written; memory stays within its bounds. Only what has just changed is looked at.
 */
export function createInvariants(
  truth: Truth,
  topic: Topic,
  units: readonly BoundUnit[],
  servers: () => StoreServers,
): Invariants {
  const wrong: string[] = []
  /** By section: late records up to this position are known to be reported. */
  const reported = new Map<string, number>()
  const note = (text: string): void => {
    if (wrong.length < MOST_SHOWN) wrong.push(text)
  }

  function behindCanary(name: string): void {
    const expected = truth.byName(name)
    if (expected === undefined) return
    const canary = servers().canaryOf(expected.lane, expected.shard)
    if (canary === null) return
    const last = expected.events.findLast(({ record }) => record.offset <= canary.offset)?.record.offset ?? -1
    const position = servers().sections().get(name)?.position ?? -1
    if (position < last) note(`${name}: at ${position}, but its shard is said to be written up to ${canary.offset}`)
  }

  function lateReported(name: string, position: number): void {
    const expected = truth.byName(name)
    const from = reported.get(name) ?? -1
    if (expected === undefined || from >= position) return
    for (const { record, late } of expected.events) {
      if (!late || record.offset <= from || record.offset > position) continue
      if (topic.reportedLate(record, expected.unit.entity)) continue
      note(`${name}: stored at ${position}, but the late record ${record.offset} was not reported`)
    }
    reported.set(name, position)
  }

  return {
    wrong,
    section: name => {
      const section = servers().sections().get(name)
      if (section !== undefined) {
        const expected = truth.byName(name)
        if (expected === undefined) note(`${name}: stored, but the log has no record of it`)
        else for (const text of sectionDifferences(expected, section, true)) note(text)
        lateReported(name, section.position)
      }
      behindCanary(name)
    },
    canary: (lane: Lane, shard) => {
      for (const { name } of truth.inShard(lane, shard)) behindCanary(name)
    },
    committed: (incarnation, partition, offset) => {
      for (const unit of units) {
        for (let shard = 0; shard < SHARD_COUNT; shard++) {
          const written = servers().everWritten({ unit: unit.id, incarnation, partition }, shard)
          if (written >= offset - 1) continue
          note(`partition ${partition} of ${incarnation}: ${offset} committed, shard ${shard} written up to ${written}`)
          return
        }
      }
    },
    held: (task, { maxDirtySections, maxCachedBytes, maxBatchRecords }, amid) => {
      const dirty = task.lanes.reduce((sum, lane) => sum + lane.dirty.size, 0)
      const mostDirty = maxDirtySections + (amid ? maxBatchRecords * task.lanes.length : -1)
      if (dirty > Math.max(0, mostDirty)) note(`partition ${task.partition}: ${dirty} sections are dirty`)
      for (const { cachedBytes, entries, unit } of task.lanes) {
        if (cachedBytes <= maxCachedBytes) continue
        const sizes = amid ? [...entries.values()].map(entry => entry.bytes).sort((a, b) => b - a) : []
        const ofBatch = sizes.slice(0, maxBatchRecords).reduce((sum, bytes) => sum + bytes, 0)
        if (cachedBytes - ofBatch > maxCachedBytes) {
          note(`partition ${task.partition}, unit ${unit.id}: ${cachedBytes} bytes are cached`)
        }
      }
    },
  }
}

/**
 * Why a partition must not be gone on with, judged by all that is stored and all that the log ever held; null where it
 * must be.
 * @param declared the first offset the units count from, in the life they were made in
 */
export function causeToRefuse(
  units: readonly BoundUnit[],
  servers: StoreServers,
  topic: Topic,
  declared: { readonly incarnation: string; readonly offsets: readonly number[] },
  partition: number,
): string | null {
  const { incarnation, partitions } = topic.current()
  const log = partitions[partition]
  if (log === undefined) return 'there is no such partition'
  const sameLife = incarnation === declared.incarnation
  const start = sameLife ? (declared.offsets[partition] ?? 0) : 0
  for (const unit of units) {
    const canaryOf = (of: Omit<Lane, 'unit'>) =>
      Array.from({ length: SHARD_COUNT }, (_, shard) => servers.canaryOf({ unit: unit.id, ...of }, shard))
    const found = canaryOf({ incarnation, partition }).filter(canary => canary !== null)
    if (found.every(canary => canary.offset === start - 1)) {
      if (log.startOffset > start) return `unit ${unit.id}: records from ${start} on are gone`
      const earlier = (_: number, each: number) => canaryOf({ incarnation: declared.incarnation, partition: each })
      const counted =
        sameLife || found.length > 0 || declared.offsets.some((_, each) => earlier(_, each).some(c => c !== null))
      if (!counted) return `unit ${unit.id}: what earlier lives of the topic counted is gone`
      continue
    }
    if (found.length < SHARD_COUNT) return `unit ${unit.id}: some canaries are gone`
    const lowest = Math.min(...found.map(canary => canary.offset))
    const highest = found.reduce((most, canary) => (canary.offset > most.offset ? canary : most))
    if (lowest + 1 < log.startOffset) return `unit ${unit.id}: records from ${lowest + 1} on are gone`
    if (highest.offset >= log.endOffset) return `unit ${unit.id}: the log ends below ${highest.offset}`
    const there = log.records.find(record => record.offset === highest.offset)
    if (there !== undefined && there.arrivalMs !== highest.arrivalMs) return `unit ${unit.id}: another log`
  }
  return null
}
