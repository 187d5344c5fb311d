import type { Value } from '../../features/kernel/types.ts'
import type { DriftFinding } from '../../topology/monitoring/drift-assess.ts'
import { FRAUD_PATTERNS } from './generator.ts'
import type { FraudPattern, LabelledPayment } from './generator.ts'

/** What is happening: history is being imported, payments come as they always did, they have shifted, it is over. */
export type DemoPhase = 'history' | 'steady' | 'shifted' | 'ended'

/** How one pattern of fraud fared. */
export interface PatternTally {
  readonly pattern: FraudPattern
  readonly seen: number
  /** Answered with anything but the best outcome. */
  readonly caught: number
}

/** One feature of the watched card: its last values, oldest first; null where it was missing. */
export interface WatchedFeature {
  readonly name: string
  readonly values: readonly (number | null)[]
}

/** The card on show: its last payment's decision and score, and the recent values of its features. */
export interface WatchedCard {
  readonly cardId: string
  /** What is being done with it; null for honest use. */
  readonly pattern: FraudPattern | null
  readonly features: readonly WatchedFeature[]
  readonly decision: string
  readonly score: number | null
}

/** All that the terminal shows, as plain data. */
export interface DemoState {
  readonly phase: DemoPhase
  readonly elapsedMs: number
  /** 0 for no end. */
  readonly durationMs: number
  readonly seed: number
  readonly cards: number
  readonly history: { readonly done: number; readonly total: number }
  readonly events: number
  readonly scores: number
  readonly failures: number
  readonly eventsPerSecond: number
  readonly scoresPerSecond: number
  /** As the caller saw it, over all scores; null before the first. */
  readonly latency: { readonly p50Ms: number; readonly p99Ms: number } | null
  readonly decisions: readonly { readonly outcome: string; readonly count: number }[]
  readonly patterns: readonly PatternTally[]
  readonly honest: number
  /** Honest payments answered with anything but the best outcome. */
  readonly falseAlarms: number
  readonly card: WatchedCard | null
  /** Strongest first. */
  readonly drift: readonly DriftFinding[]
}

/** What the tally takes from one answered score; `latencyMs` as the caller measured it. */
export interface ScoreAnswer {
  readonly decision: string
  readonly score: number | null
  readonly latencyMs: number
  /** `group.feature` and `derived.name` → value. */
  readonly features: Readonly<Record<string, Value>>
}

/** What stays the same for the whole demonstration; `durationMs` 0 for no end. */
export interface TallyOptions {
  readonly seed: number
  readonly cards: number
  readonly durationMs: number
  /** The policy's outcomes, best first. */
  readonly outcomes: readonly string[]
  /** Features shown of the watched card. */
  readonly watched?: readonly string[]
}

/** Collects what happens in the demonstration. Times are milliseconds since the live part began. */
export interface Tally {
  setPhase(phase: DemoPhase): void
  setHistory(done: number, total: number): void
  setDrift(findings: readonly DriftFinding[]): void
  published(events: number, atMs: number): void
  scored(payment: LabelledPayment, answer: ScoreAnswer, atMs: number): void
  failed(): void
  state(atMs: number): DemoState
}

const WATCHED = [
  'card_activity.payments_5m',
  'card_activity.payments_1h',
  'card_activity.declined_1h',
  'card_activity.spend_24h',
  'card_activity.countries_24h',
  'derived.amount_over_mean',
]
const WATCHED_VALUES = 24
const WATCH_FOR_MS = 6000
const RATE_SECONDS = 5

/** Counts, rates over the last 5 s, latency quantiles to 2 %, and one card to look at; memory does not grow. */
export function createTally(options: TallyOptions): Tally {
  const outcomes = createOutcomes(options.outcomes)
  const watched = createWatch(options.watched ?? WATCHED)
  const latency = createLatency()
  const eventRate = createRate()
  const scoreRate = createRate()
  const { seed, cards, durationMs } = options
  let phase: DemoPhase = 'history'
  let history = { done: 0, total: 0 }
  let drift: readonly DriftFinding[] = []
  let events = 0
  let scores = 0
  let failures = 0
  return {
    setPhase: next => void (phase = next),
    setHistory: (done, total) => void (history = { done, total }),
    setDrift: findings => void (drift = findings),
    published(count, atMs) {
      events += count
      eventRate.add(count, atMs)
    },
    scored(payment, answer, atMs) {
      scores += 1
      scoreRate.add(1, atMs)
      latency.add(answer.latencyMs)
      outcomes.add(payment, answer)
      watched.add(payment, answer, atMs)
    },
    failed: () => void (failures += 1),
    state: atMs => ({
      ...{ phase, elapsedMs: atMs, durationMs, seed, cards, history, events, scores, failures, drift },
      ...outcomes.state(),
      eventsPerSecond: eventRate.perSecond(atMs),
      scoresPerSecond: scoreRate.perSecond(atMs),
      latency: scores === 0 ? null : { p50Ms: latency.quantile(0.5), p99Ms: latency.quantile(0.99) },
      card: watched.card(),
    }),
  }
}

/** Decisions against the truth. */
function createOutcomes(names: readonly string[]) {
  const [best] = names
  const decisions = new Map(names.map(outcome => [outcome, 0]))
  const patterns = new Map(FRAUD_PATTERNS.map(pattern => [pattern, { seen: 0, caught: 0 }]))
  let honest = 0
  let falseAlarms = 0
  return {
    add({ pattern }: LabelledPayment, { decision }: ScoreAnswer): void {
      decisions.set(decision, (decisions.get(decision) ?? 0) + 1)
      const flagged = Number(decision !== best)
      const tally = pattern === null ? undefined : patterns.get(pattern)
      if (tally === undefined) {
        honest += 1
        falseAlarms += flagged
      } else {
        tally.seen += 1
        tally.caught += flagged
      }
    },
    state: () => ({
      decisions: [...decisions].map(([outcome, count]) => ({ outcome, count })),
      patterns: [...patterns].map(([pattern, tally]) => ({ pattern, ...tally })),
      honest,
      falseAlarms,
    }),
  }
}

/** The card to look at: one that is being misused, until nothing has happened to it for 6 s. */
function createWatch(names: readonly string[]) {
  let card: WatchedCard | null = null
  let seenAtMs = 0
  return {
    card: () => card,
    add(payment: LabelledPayment, answer: ScoreAnswer, atMs: number): void {
      const { cardId } = payment.event
      const telling = payment.pattern === 'card_testing' || payment.pattern === 'account_takeover'
      const replaceable = card === null || card.pattern === null || atMs - seenAtMs > WATCH_FOR_MS
      if (card !== null && card.cardId !== cardId && !(telling && replaceable)) return
      const before = card?.cardId === cardId ? card : null
      seenAtMs = atMs
      card = {
        cardId,
        pattern: payment.pattern ?? before?.pattern ?? null,
        decision: answer.decision,
        score: answer.score,
        features: names.map((name, index) => {
          const value = answer.features[name]
          const values = [...(before?.features[index]?.values ?? []), typeof value === 'number' ? value : null]
          return { name, values: values.slice(-WATCHED_VALUES) }
        }),
      }
    },
  }
}

const LATENCY_STEP = Math.log(1.02)
const LATENCY_FLOOR_MS = 0.01
const LATENCY_BUCKETS = 1000

/** Buckets that are 2 % wide, from 10 µs to over an hour. */
function createLatency() {
  const buckets = new Uint32Array(LATENCY_BUCKETS)
  let total = 0
  return {
    add(ms: number): void {
      const bucket = Math.ceil(Math.log(Math.max(ms, LATENCY_FLOOR_MS) / LATENCY_FLOOR_MS) / LATENCY_STEP)
      const at = Math.min(LATENCY_BUCKETS - 1, Math.max(0, bucket))
      buckets[at] = (buckets[at] ?? 0) + 1
      total += 1
    },
    /** The upper end of the bucket of the value that `share` of all values do not exceed. */
    quantile(share: number): number {
      let left = Math.ceil(total * share)
      for (const [bucket, count] of buckets.entries()) {
        left -= count
        if (left <= 0) return LATENCY_FLOOR_MS * Math.exp(bucket * LATENCY_STEP)
      }
      return 0
    },
  }
}

/** Counts per second of the clock, kept for the last few. */
function createRate() {
  const seconds = new Map<number, number>()
  return {
    add(count: number, atMs: number): void {
      const second = Math.floor(atMs / 1000)
      seconds.set(second, (seconds.get(second) ?? 0) + count)
      for (const key of seconds.keys()) if (key <= second - RATE_SECONDS - 1) seconds.delete(key)
    },
    /** Over the last whole seconds; over the time so far in the first one. */
    perSecond(atMs: number): number {
      const now = Math.floor(atMs / 1000)
      if (now === 0) return atMs <= 0 ? 0 : ((seconds.get(0) ?? 0) * 1000) / atMs
      const span = Math.min(RATE_SECONDS, now)
      let sum = 0
      for (let second = now - span; second < now; second += 1) sum += seconds.get(second) ?? 0
      return sum / span
    },
  }
}
