import type { ServiceCode } from '../../features/plan/compile.ts'
import type { BoundPlan } from '../../features/plan/units.ts'
import type { Clock } from '../ports/clock.ts'
import type { ModelManifest } from '../ports/model-repository.ts'
import type { LoadedModel } from '../ports/model-runtime.ts'
import type { OnlineStore } from '../ports/online-store.ts'
import type { ScoreRecord } from '../ports/score-record.ts'
import type { Telemetry } from '../ports/telemetry.ts'

/** Bounds of the engine. */
export interface ScoringLimits {
  /** Rows that are admitted and not yet answered; one more is refused as `OVERLOADED`. */
  readonly maxQueuedRows: number
  /** Rows of one turn: they share one store read. */
  readonly maxTurnRows: number
  /** Rows of one model run. */
  readonly maxModelRows: number
  /** Items of one `scoreBatch`. */
  readonly maxBatchItems: number
  /** A store read that takes longer counts as failed. */
  readonly maxReadMs: number
  /** How often the progress of the sources is read in the background. */
  readonly progressPollMs: number
}

/** What stands for each limit that `ScoringOptions.limits` leaves out. */
export const DEFAULT_SCORING_LIMITS: ScoringLimits = {
  maxQueuedRows: 4096,
  maxTurnRows: 256,
  maxModelRows: 256,
  maxBatchItems: 1000,
  maxReadMs: 1000,
  progressPollMs: 1000,
}

/** A model that is ready to run. */
export interface ServedModel {
  readonly manifest: ModelManifest
  readonly model: LoadedModel
}

/** All that the engine needs; it owns none of it and closes none of it. */
export interface ScoringOptions {
  readonly bound: BoundPlan
  /** By service name: derived functions and policy. */
  readonly services: ReadonlyMap<string, ServiceCode>
  readonly namespace: string
  readonly store: OnlineStore
  /** By model name. A service whose model is absent answers from rules only. */
  readonly models: ReadonlyMap<string, ServedModel>
  readonly clock: Clock
  readonly telemetry: Telemetry
  /** Given each answered score, after the answer; must not throw and must not wait. */
  emit(record: ScoreRecord): void
  readonly limits?: Partial<ScoringLimits>
}
