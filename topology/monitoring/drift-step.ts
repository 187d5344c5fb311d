import { countScore, listCounts, openCounts } from './drift-counts.ts'
import type { CountsByModel, Manifests, ScoredInputs } from './drift-counts.ts'

/** Width of the minutes that counts are kept by, in milliseconds; aligned to the epoch. */
export const MINUTE_MS = 60_000

/** One record of a partition of `hw.scores`, decoded; null where its bytes were no score record. */
export interface ScoredRecord {
  readonly offset: number
  /** Monotone within the partition. */
  readonly arrivalMs: number
  readonly scored: ScoredInputs | null
}

/**
 * One row of `drift_counts`: a feature's counts over what arrived in one minute in one partition. Of rows with one key
 * (model, model_version, feature, minute_ms, partition) the one with the largest `last_offset` stands, so that a
 * minute written again replaces itself.
 */
export interface DriftCountRow {
  readonly model: string
  readonly model_version: string
  readonly feature: string
  /** Start of the minute of arrival, UTC milliseconds. */
  readonly minute_ms: number
  readonly partition: number
  readonly bins: readonly number[]
  readonly missing: number
  readonly last_offset: number
}

interface OpenMinute {
  readonly minuteMs: number
  readonly firstOffset: number
  readonly lastOffset: number
  readonly counts: CountsByModel
}

/** What is known of one partition: the minute still being filled and the next offset expected. */
export interface DriftPartition {
  readonly partition: number
  /** −1 before the first record. */
  readonly nextOffset: number
  readonly open: OpenMinute | null
}

/** What one batch led to: rows to store, and numbers of records for the counters. */
export interface DriftEffects {
  /** Rows of the minutes that this batch closed. */
  readonly closed: readonly DriftCountRow[]
  /** Records counted, records that were no score record, and records without a model or of one without a manifest. */
  readonly counted: number
  readonly undecodable: number
  readonly unknownModel: number
}

/** A partition of which nothing has been counted yet. */
export function newDriftPartition(partition: number): DriftPartition {
  return { partition, nextOffset: -1, open: null }
}

/**
 * Counts one batch, records in offset order. Arrival time is monotone in a partition, so a minute is a contiguous range
 * of offsets: it is closed by the first record of a later one. Records below `nextOffset` were counted before and are
 * skipped. Changes no argument.
 */
export function stepDrift(
  state: DriftPartition,
  records: readonly ScoredRecord[],
  manifests: Manifests,
): { readonly state: DriftPartition; readonly effects: DriftEffects } {
  const closed: DriftCountRow[] = []
  let { nextOffset, open } = state
  let counts = openCounts(open?.counts ?? new Map())
  let counted = 0
  let undecodable = 0
  let unknownModel = 0
  for (const record of records) {
    if (record.offset < nextOffset) continue
    nextOffset = record.offset + 1
    const minuteMs = Math.floor(record.arrivalMs / MINUTE_MS) * MINUTE_MS
    if (open !== null && minuteMs > open.minuteMs) {
      closed.push(...minuteRows(state.partition, { ...open, counts }, manifests))
      open = null
      counts = new Map()
    }
    open =
      open === null
        ? { minuteMs, firstOffset: record.offset, lastOffset: record.offset, counts }
        : { ...open, lastOffset: record.offset, counts }
    if (record.scored === null) undecodable += 1
    else if (countScore(counts, manifests, record.scored)) counted += 1
    else unknownModel += 1
  }
  return {
    state: { partition: state.partition, nextOffset, open: open === null ? null : { ...open, counts } },
    effects: { closed, counted, undecodable, unknownModel },
  }
}

/** The rows of the minute still open, as far as it is counted. */
export function openMinuteRows(state: DriftPartition, manifests: Manifests): readonly DriftCountRow[] {
  return state.open === null ? [] : minuteRows(state.partition, state.open, manifests)
}

/** The offset to commit once all closed rows are stored: the open minute's first, so that a restart recounts it whole. */
export function driftCommitOffset(state: DriftPartition): number | null {
  if (state.open !== null) return state.open.firstOffset
  return state.nextOffset < 0 ? null : state.nextOffset
}

function minuteRows(partition: number, minute: OpenMinute, manifests: Manifests): readonly DriftCountRow[] {
  return listCounts(minute.counts, manifests).map(each => ({
    model: each.model,
    model_version: each.version,
    feature: each.feature,
    minute_ms: minute.minuteMs,
    partition,
    bins: [...each.bins],
    missing: each.missing,
    last_offset: minute.lastOffset,
  }))
}
