import { createHash } from 'node:crypto'
import type { Clock } from '../ports/clock.ts'
import type { ConsumerControl, ConsumerHandlers, LogRecord } from '../ports/event-log.ts'
import type { OfflineStore } from '../ports/offline-store.ts'
import { SCORES_TOPIC } from '../ports/score-record.ts'
import type { Telemetry } from '../ports/telemetry.ts'
import { addCounts, checkReferences, countScore, listCounts, openCounts } from './drift-counts.ts'
import type { CountsByModel, FeatureCounts, Manifests, ScoredInputs } from './drift-counts.ts'
import { DRIFT_COUNTS_TABLE, readDriftReport, writeDriftStatistics } from './drift-report.ts'
import { driftCommitOffset, newDriftPartition, openMinuteRows, stepDrift } from './drift-step.ts'
import type { DriftCountRow, DriftPartition, ScoredRecord } from './drift-step.ts'

/** Closed rows kept per partition while the offline store does not answer; beyond it the partition waits. */
const MAX_PENDING_ROWS = 20_000
const STATISTICS_INTERVAL_MS = 60_000
const STATISTICS_WINDOW_MINUTES = 60

export interface DriftMonitorOptions {
  readonly offline: Pick<OfflineStore, 'insert' | 'query'>
  readonly manifests: Manifests
  readonly clock: Clock
  readonly telemetry: Telemetry
  /** How often counts are written and offsets committed, per partition. */
  readonly flushIntervalMs: number
  /** How often the statistics of the last hour are computed and written, while scores arrive; a minute by default. */
  readonly statisticsIntervalMs?: number
  /** Width of the slots of the rolling view; a minute by default. */
  readonly viewSlotMs?: number
  /** Slots in the rolling view; 10 by default, at most 1,440. */
  readonly viewSlots?: number
}

export interface DriftMonitor {
  /** Topics to consume and the handlers for `EventLog.consume`. */
  readonly topics: readonly string[]
  readonly handlers: ConsumerHandlers
  /** Counts of what arrived in the last `viewSlots` slots, the current one included. */
  view(): readonly FeatureCounts[]
  /** Writes everything counted so far, and the statistics; to be called after the consumer has stopped. */
  flush(): Promise<void>
}

interface Watched {
  state: DriftPartition
  pending: readonly DriftCountRow[]
  dirty: boolean
  flushedAtMs: number
  /** Rolling view: slot start → counts. */
  slots: Map<number, CountsByModel>
}

/**
 * Counts the scores topic against the models' frozen references, writes one row per (model version, feature, minute,
 * partition) and commits the first offset of the open minute. A crash, a redelivered batch or a second owner writes
 * the same rows again under the same keys. Memory is bounded by the manifests, the view's slots and 20,000 pending
 * rows a partition.
 */
export function createDriftMonitor(options: DriftMonitorOptions): DriftMonitor {
  const { manifests, clock, telemetry } = options
  const slotMs = options.viewSlotMs ?? 60_000
  const slotCount = options.viewSlots ?? 10
  checkReferences(manifests)
  if (!(slotMs > 0)) throw new RangeError(`viewSlotMs must be positive, not ${slotMs}`)
  if (!(slotCount >= 1 && slotCount <= 1440)) throw new RangeError(`viewSlots must be 1 to 1440, not ${slotCount}`)
  const partitions = new Map<number, Watched>()
  const store = createStoring(options)

  function watchedOf(partition: number): Watched {
    const present = partitions.get(partition)
    if (present !== undefined) return present
    const state = newDriftPartition(partition)
    const made = { state, pending: [], dirty: false, flushedAtMs: clock.monotonicMs(), slots: new Map() }
    partitions.set(partition, made)
    return made
  }

  const handlers: ConsumerHandlers = {
    async assigned(_topic, partition) {
      partitions.delete(partition)
      watchedOf(partition)
      return null
    },
    async batch(batch, control) {
      const watched = watchedOf(batch.partition)
      const fresh = batch.records.filter(record => record.offset >= watched.state.nextOffset).map(decodeRecord)
      const { state, effects } = stepDrift(watched.state, fresh, manifests)
      watched.slots = fillSlots(watched.slots, fresh, manifests, slotMs, slotCount)
      watched.state = state
      watched.pending = [...watched.pending, ...effects.closed]
      watched.dirty ||= fresh.length > 0
      telemetry.count('drift_records_counted_total', effects.counted)
      if (effects.undecodable > 0) telemetry.count('drift_records_undecodable_total', effects.undecodable)
      if (effects.unknownModel > 0) telemetry.count('drift_records_unknown_model_total', effects.unknownModel)
      await store.whenDue(watched, control)
    },
    async idle(_topic, partition, _endOffset, control) {
      const watched = partitions.get(partition)
      if (watched !== undefined) await store.whenDue(watched, control)
    },
    async revoked(_topic, partition) {
      const watched = partitions.get(partition)
      partitions.delete(partition)
      if (watched?.dirty === true) await store.counts(watched)
    },
  }

  return {
    topics: [SCORES_TOPIC],
    handlers,
    view() {
      const oldest = Math.floor(clock.nowMs() / slotMs) * slotMs - (slotCount - 1) * slotMs
      let sum: CountsByModel = new Map()
      for (const watched of partitions.values()) {
        for (const [slot, counts] of watched.slots) if (slot >= oldest) sum = addCounts(sum, counts)
      }
      return listCounts(sum, manifests)
    },
    async flush() {
      for (const watched of partitions.values()) if (watched.dirty) await store.counts(watched)
      await store.statistics()
    },
  }
}

/** What the monitor writes, and when. */
function createStoring(options: DriftMonitorOptions) {
  const { offline, manifests, clock, telemetry, flushIntervalMs } = options
  const statisticsIntervalMs = options.statisticsIntervalMs ?? STATISTICS_INTERVAL_MS
  let statisticsAtMs = clock.monotonicMs()
  let newCounts = false

  function failed(counter: string, message: string, error: unknown, partition?: number): void {
    telemetry.count(counter, 1)
    const text = error instanceof Error ? error.message : String(error)
    telemetry.log('error', message, { error: text, ...(partition === undefined ? {} : { partition }) })
  }

  async function counts(watched: Watched): Promise<void> {
    const { state } = watched
    const rows = [...watched.pending, ...openMinuteRows(state, manifests)]
    if (rows.length > 0) {
      const written = rows.map(row => ({ ...row }))
      const content = createHash('sha256').update(JSON.stringify(written)).digest('hex').slice(0, 32)
      const token = `drift:${state.partition}:${state.open?.firstOffset ?? -1}:${state.nextOffset}:${content}`
      await offline.insert(DRIFT_COUNTS_TABLE, written, token)
      telemetry.count('drift_rows_written_total', rows.length)
      newCounts = true
    }
    watched.pending = []
    watched.dirty = false
  }

  async function statistics(): Promise<void> {
    if (!newCounts) return
    newCounts = false
    try {
      const nowMs = clock.nowMs()
      const report = await readDriftReport({ offline, manifests, nowMs, windowMinutes: STATISTICS_WINDOW_MINUTES })
      await writeDriftStatistics(offline, report)
      const alerts = report.findings.filter(finding => finding.verdict === 'alert').length
      telemetry.gauge('drift_alerting_features', alerts)
    } catch (error) {
      newCounts = true
      failed('drift_statistics_failures_total', 'drift statistics could not be written; they are tried again', error)
    }
  }

  async function whenDue(watched: Watched, control: ConsumerControl): Promise<void> {
    const nowMs = clock.monotonicMs()
    const full = watched.pending.length >= MAX_PENDING_ROWS
    if (!watched.dirty || (!full && nowMs - watched.flushedAtMs < flushIntervalMs)) return
    watched.flushedAtMs = nowMs
    const { partition } = watched.state
    try {
      await counts(watched)
    } catch (error) {
      const message = 'drift counts could not be written; they are kept and tried again'
      failed('drift_flush_failures_total', message, error, partition)
      if (full) throw error
      return
    }
    const offset = driftCommitOffset(watched.state)
    if (offset !== null) await control.commit(SCORES_TOPIC, partition, offset)
    if (nowMs - statisticsAtMs < statisticsIntervalMs) return
    statisticsAtMs = nowMs
    await statistics()
  }

  return { counts, statistics, whenDue }
}

/** Adds a batch to the rolling view and forgets the slots that fell out of it. */
function fillSlots(
  slots: ReadonlyMap<number, CountsByModel>,
  records: readonly ScoredRecord[],
  manifests: Manifests,
  slotMs: number,
  slotCount: number,
): Map<number, CountsByModel> {
  const next = new Map(slots)
  const bySlot = Map.groupBy(records, record => Math.floor(record.arrivalMs / slotMs) * slotMs)
  for (const [slot, members] of bySlot) {
    const counts = openCounts(next.get(slot) ?? new Map())
    for (const member of members) if (member.scored !== null) countScore(counts, manifests, member.scored)
    next.set(slot, counts)
  }
  const newest = Math.max(...next.keys())
  for (const slot of next.keys()) if (slot <= newest - slotCount * slotMs) next.delete(slot)
  return next
}

function decodeRecord(record: LogRecord): ScoredRecord {
  return { offset: record.offset, arrivalMs: record.arrivalMs, scored: decodeScoredInputs(record.value) }
}

const decoder = new TextDecoder('utf-8', { fatal: true })

/** What drift needs of a score record's JSON; null when the bytes are no such record. */
export function decodeScoredInputs(value: Uint8Array): ScoredInputs | null {
  try {
    const parsed: unknown = JSON.parse(decoder.decode(value))
    if (!isRecord(parsed) || !isRecord(parsed['inputs'])) return null
    const { model, modelVersion } = parsed
    const score = decodedNumber(parsed['score'])
    if (!isTextOrNull(model) || !isTextOrNull(modelVersion) || score === undefined) return null
    const inputs: Record<string, number | null> = Object.create(null) as Record<string, number | null>
    for (const [name, text] of Object.entries(parsed['inputs'])) {
      const input = decodedNumber(text)
      if (input === undefined) return null
      inputs[name] = input
    }
    return { model, modelVersion, score, inputs }
  } catch {
    return null
  }
}

function isRecord(value: unknown): value is Readonly<Record<string, unknown>> {
  return typeof value === 'object' && value !== null && !Array.isArray(value)
}

function isTextOrNull(value: unknown): value is string | null {
  return value === null || typeof value === 'string'
}

/** A number as score records carry it: NaN and the infinities as their names. undefined for anything else. */
function decodedNumber(value: unknown): number | null | undefined {
  if (value === null || typeof value === 'number') return value
  return value === 'NaN' || value === 'Infinity' || value === '-Infinity' ? Number(value) : undefined
}
