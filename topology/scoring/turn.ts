import { hash } from 'node:crypto'
import type { UnitAnswer } from '../../features/kernel/index.ts'
import type { Value } from '../../features/kernel/types.ts'
import { decide } from '../../features/policy/index.ts'
import { ServerError } from '../ports/server.ts'
import type { FeaturesAnswer, Fields, ScoreAnswer } from '../ports/server.ts'
import type { Section } from '../ports/online-store.ts'
import type { ScoreRecord } from '../ports/score-record.ts'
import type { Telemetry } from '../ports/telemetry.ts'
import type { CheckedEvent, ServiceRuntime, View } from './service-runtime.ts'
import { derive, namedInputs, viewOf, writeInputs } from './service-runtime.ts'
import { emptyRow, namedValues, takeAnswer } from './selection.ts'
import type { FeatureRow, Selection } from './selection.ts'

/** What an answered row resolves to, by what was asked. */
export type RowGoal =
  | {
      readonly kind: 'score'
      readonly includeFeatures: boolean
      readonly sent: Fields
      resolve(answer: ScoreAnswer): void
    }
  | { readonly kind: 'features'; resolve(answer: FeaturesAnswer): void }

/** One admitted request on its way to its answer. */
export interface Row {
  readonly goal: RowGoal
  readonly service: ServiceRuntime | null
  readonly selection: Selection
  readonly checked: CheckedEvent | null
  readonly t: number
  readonly deadlineMs: number
  /** Monotonic milliseconds. */
  readonly admittedAt: number
  readonly decodedAt: number
  /** By read of the selection: a key for each of its units; null where the entity is unknown. */
  readonly keys: readonly (readonly string[] | null)[]
  features: FeatureRow
  /** By read of the selection and by its units: what was read for it. */
  readonly sections: (readonly (readonly Section[])[])[]
  /** By read of the selection: null where there is none, for want of an entity or because it could not be read. */
  readonly answers: (UnitAnswer | null)[]
  view: View | null
  degraded: string | null
  score: number | null
  reject(error: ServerError): void
  settled: boolean
}

/** Monotonic instants that the rows of a turn share. */
export interface TurnTimes {
  readAt: number
  featuresAt: number
  modelAt: number
}

/** What the steps of a turn need from the engine. */
export interface TurnContext {
  readonly planHash: string
  readonly telemetry: Telemetry
  readonly maxModelRows: number
  monotonicMs(): number
  nowMs(): number
}

/** Adds a cause to a row's degradation; the causes are joined by commas in the order of the ladder. */
export function degrade(row: Row, cause: string): void {
  row.degraded = row.degraded === null ? cause : `${row.degraded},${cause}`
}

/** Refuses a row once. */
export function refuse(row: Row, error: ServerError): void {
  if (row.settled) return
  row.settled = true
  row.reject(error)
}

/** First 32 hexadecimal digits of sha256(service, NUL, event id). */
export function decisionIdOf(service: string, eventId: string): string {
  return hash('sha256', `${service}\0${eventId}`, 'hex').slice(0, 32)
}

/** Fills the features of a row from its answers. Which groups are stale comes by the selection's group index. */
export function fillFeatures(context: TurnContext, row: Row, staleGroups: readonly boolean[]): void {
  const { selection, service } = row
  row.features = emptyRow(selection)
  for (let index = 0; index < selection.units.length; index++) {
    const read = selection.units[index]
    const answer = row.answers[index] ?? null
    if (read !== undefined && answer !== null) takeAnswer(row.features, selection, read, answer, staleGroups)
  }
  if (service !== null && row.checked !== null) {
    row.view = viewOf(selection, row.checked.values, row.features)
    derive(service, row.view, row.features, staleGroups.includes(true), context)
  }
}

/** Answers a `GetFeatures` row, or refuses it where `Score` would only mark a feature. */
export function answerFeatures(context: TurnContext, row: Row): void {
  if (row.settled || row.goal.kind !== 'features') return
  if (row.degraded !== null) {
    const message = `the features cannot be read: ${row.degraded}; try again`
    return refuse(row, new ServerError('STORE_UNAVAILABLE', message, { retryAfterMs: 1000 }))
  }
  const { outOfRange } = row.features
  if (outOfRange !== null) {
    const { read, newestMs } = outOfRange
    const { entity, spec } = read.unit
    const events = read.units.map(unit => `"${unit.source.name}"`).join(', ')
    const newest = newestMs === null ? '' : `; the entity's newest event is of ${newestMs}`
    const byInstant = newestMs === null || row.t < newestMs - spec.horizonMs
    const behind = byInstant
      ? `as_of_ms ${row.t} lies further back than the read horizon`
      : `the event lies further back than its place in the windows is known for, with a read horizon`
    return refuse(
      row,
      new ServerError(
        'OUT_OF_RANGE',
        `${behind} of ${spec.horizonMs} ms of entity "${entity}" in source ${events}${newest}: read it offline with \`headwater backtest\` over the source's events`,
      ),
    )
  }
  row.settled = true
  row.goal.resolve({
    features: namedValues(row.selection, row.features.values),
    statuses: row.selection.statuses.get(row.features.codes),
    asOfMs: row.t,
    planHash: context.planHash,
  })
}

/** Runs a service's model over rows, in as few runs as the bound allows; rows it fails for are degraded. */
export async function runModel(context: TurnContext, service: ServiceRuntime, rows: readonly Row[]): Promise<void> {
  const { served } = service
  if (service.plan.model === null) return
  if (served === null) {
    for (const row of rows) degrade(row, 'model_unavailable')
    return
  }
  for (let start = 0; start < rows.length; start += context.maxModelRows) {
    await runRows(context, service, rows.slice(start, start + context.maxModelRows))
  }
}

async function runRows(context: TurnContext, service: ServiceRuntime, rows: readonly Row[]): Promise<void> {
  const { served } = service
  if (served === null) return
  const width = served.model.inputWidth
  const inputs = new Float32Array(rows.length * width)
  for (let index = 0; index < rows.length; index++) {
    const row = rows[index]
    if (row?.checked) writeInputs(service, row.checked.values, row.features, inputs, index * width)
  }
  const startedAt = context.monotonicMs()
  try {
    const scores = await served.model.run(inputs, rows.length)
    for (let index = 0; index < rows.length; index++) {
      const row = rows[index]
      const score = scores[index] ?? NaN
      if (row === undefined) continue
      if (Number.isNaN(score)) degrade(row, 'model_failed')
      else row.score = score
    }
  } catch (error) {
    context.telemetry.count('model_failures', 1, { model: served.manifest.name })
    context.telemetry.log('error', 'a model run failed', { rows: rows.length, error: String(error) })
    if (rows.length > 1) for (const row of rows) await runRows(context, service, [row])
    else for (const row of rows) degrade(row, 'model_failed')
  }
  context.telemetry.observeMs('model_run_ms', context.monotonicMs() - startedAt, { model: served.manifest.name })
}

/**
 * Decides a row and resolves its answer. Returns the record to log, built only when it is called: after the answer has
 * left. Without a score the policy decides by its rules and its fallback.
 */
export function answerScore(context: TurnContext, row: Row, times: TurnTimes): (() => ScoreRecord) | null {
  const { service, checked, goal } = row
  if (row.settled || service === null || checked === null || goal.kind !== 'score') return null
  const { plan, served, code } = service
  let decision = 'none'
  let matchedRules: readonly string[] = []
  if (code.policy !== null && row.view !== null) {
    const outcome = decide(code.policy, row.view, row.score)
    decision = outcome.outcome
    matchedRules = outcome.matchedRules
    for (const rule of outcome.failedRules)
      context.telemetry.count('policy_rule_failures', 1, { service: plan.name, rule })
  }
  const endedAt = context.monotonicMs()
  const latencyUs = {
    decode: microseconds(row.admittedAt, row.decodedAt),
    read: microseconds(row.decodedAt, times.readAt),
    features: microseconds(times.readAt, times.featuresAt),
    model: microseconds(times.featuresAt, times.modelAt),
    policy: microseconds(times.modelAt, endedAt),
    total: microseconds(row.admittedAt, endedAt),
  }
  const answer: ScoreAnswer = {
    decisionId: decisionIdOf(plan.name, checked.event.id),
    decision,
    score: row.score,
    model: plan.model,
    modelVersion: served?.manifest.version ?? null,
    planHash: context.planHash,
    policyVersion: plan.policy?.version ?? null,
    matchedRules,
    statuses: row.selection.statuses.get(row.features.codes),
    degraded: row.degraded,
    latencyUs,
    features: goal.includeFeatures ? namedValues(row.selection, row.features.values) : null,
  }
  row.settled = true
  goal.resolve(answer)
  return () => scoreRecord(row, service, checked, goal.sent, answer, context.nowMs())
}

function microseconds(from: number, to: number): number {
  return Math.max(0, Math.round((to - from) * 1000))
}

function scoreRecord(
  row: Row,
  service: ServiceRuntime,
  checked: CheckedEvent,
  request: Readonly<Record<string, Value>>,
  answer: ScoreAnswer,
  scoredAtMs: number,
): ScoreRecord {
  const { selection } = row
  const positions: { unit: number; incarnation: string; partition: number; offset: number }[] = []
  for (let index = 0; index < row.sections.length; index++) {
    for (const [at, sections] of (row.sections[index] ?? []).entries()) {
      const unit = selection.units[index]?.units[at]?.id ?? -1
      for (const { incarnation, partition, position } of sections) {
        positions.push({ unit, incarnation, partition, offset: position })
      }
    }
  }
  return {
    decisionId: answer.decisionId,
    service: service.plan.name,
    eventId: checked.event.id,
    eventTimeMs: checked.event.time,
    asOfMs: row.t,
    scoredAtMs,
    planHash: answer.planHash,
    model: answer.model,
    modelVersion: answer.modelVersion,
    policyVersion: answer.policyVersion,
    decision: answer.decision,
    score: answer.score,
    degraded: answer.degraded,
    matchedRules: answer.matchedRules,
    request,
    features: answer.features ?? namedValues(selection, row.features.values),
    statuses: answer.statuses,
    inputs: namedInputs(service, checked.values, row.features),
    positions,
    latencyUs: answer.latencyUs,
  }
}
