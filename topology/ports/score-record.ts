import type { Value } from '../../features/kernel/types.ts'

/**
 * What a feature's value is worth, in the order of the members: up to date, from a source that has fallen behind, null
 * with the model's default in its place, null, not answerable because the instant lies behind the read horizon.
 */
export type FeatureStatus = 'fresh' | 'stale' | 'default' | 'missing' | 'out_of_range'

/** One answered score as the log keeps it (JSON, int64 values as strings), on the topic `hw.scores`, keyed by decision id. */
export interface ScoreRecord {
  readonly decisionId: string
  readonly service: string
  readonly eventId: string
  readonly eventTimeMs: number
  /** The instant `t` of the windows. */
  readonly asOfMs: number
  readonly scoredAtMs: number
  readonly planHash: string
  readonly model: string | null
  readonly modelVersion: string | null
  readonly policyVersion: string | null
  readonly decision: string
  readonly score: number | null
  /** Cause of a degraded answer; null for none. */
  readonly degraded: string | null
  readonly matchedRules: readonly string[]
  /** The event as it was sent, by field name. */
  readonly request: Readonly<Record<string, Value>>
  /** `group.feature` and `derived.name` → value. */
  readonly features: Readonly<Record<string, Value>>
  readonly statuses: Readonly<Record<string, FeatureStatus>>
  /** What the model was given, by input name; null where the default stood in. */
  readonly inputs: Readonly<Record<string, number | null>>
  /** Log positions that the read state had seen. */
  readonly positions: readonly {
    readonly unit: number
    readonly incarnation: string
    readonly partition: number
    readonly offset: number
  }[]
  readonly latencyUs: {
    readonly decode: number
    readonly read: number
    readonly features: number
    readonly model: number
    readonly policy: number
    readonly total: number
  }
}

/** The topic of `ScoreRecord`. */
export const SCORES_TOPIC = 'hw.scores'
/** The topic of labels: what a scored event turned out to be. */
export const LABELS_TOPIC = 'hw.labels'
