import { authorValues } from '../../features/plan/event.ts'
import { ServerError } from '../ports/server.ts'
import type { Fields, GetFeaturesRequest, ItemResult, ScoreRequest, ServerHandlers } from '../ports/server.ts'
import { DEFAULT_SCORING_LIMITS } from './options.ts'
import type { ScoringLimits, ScoringOptions } from './options.ts'
import { createTurnQueue } from './queue.ts'
import type { TurnQueue } from './queue.ts'
import { entityIds } from './named-entities.ts'
import { NO_FEATURES, selectGroups, unitKeys } from './selection.ts'
import type { Selection } from './selection.ts'
import { prepareService } from './service-runtime.ts'
import type { CheckedEvent, ServiceRuntime } from './service-runtime.ts'
import { watchStaleness } from './staleness.ts'
import type { Row, RowGoal } from './turn.ts'

/** What is served, for people and for the command line. */
export interface ScoringDescription {
  readonly planHash: string
  readonly services: readonly {
    readonly name: string
    readonly request: string
    readonly model: string | null
    /** null for a service without a model, or whose model is not loaded. */
    readonly modelVersion: string | null
    readonly provider: string | null
    readonly policy: string | null
    readonly policyVersion: string | null
    readonly features: readonly string[]
    /** Entities read by one score. */
    readonly reads: number
  }[]
  readonly queuedRows: number
  readonly limits: ScoringLimits
}

/** Joins events with features, a model and a policy; knows nothing of the wire. */
export interface ScoringEngine extends Pick<ServerHandlers, 'score' | 'scoreBatch' | 'getFeatures'> {
  describe(): ScoringDescription
  /** Reads the progress of the sources now, instead of at the next poll. */
  refreshStaleness(): Promise<void>
  /** Refuses new calls, answers those admitted, emits their records. */
  close(): Promise<void>
}

/** What the steps from a request to a row share. */
interface RowMaker {
  readonly options: ScoringOptions
  readonly queue: TurnQueue
  readonly services: ReadonlyMap<string, ServiceRuntime>
  /** By group names; bounded by `MAX_SELECTIONS`. */
  readonly selections: Map<string, Selection>
}

type Reject = Row['reject']

const MAX_SELECTIONS = 256

/**
 * Starts an engine. Whatever was asked in one event-loop turn is one read of the online store and one run per model;
 * nothing ever waits for company. Calls reject with `ServerError`. Throws RangeError when services, models and plan do
 * not fit each other.
 */
export function createScoringEngine(options: ScoringOptions): ScoringEngine {
  const { bound, store, clock, telemetry, emit } = options
  const limits: ScoringLimits = { ...DEFAULT_SCORING_LIMITS, ...options.limits }
  const services = new Map(bound.plan.services.map(plan => [plan.name, prepareService(options, plan)]))
  const staleness = watchStaleness({ bound, store, clock, telemetry, pollMs: limits.progressPollMs })
  const queue = createTurnQueue({ store, clock, telemetry, emit, limits, staleness, planHash: bound.plan.hash })
  const maker: RowMaker = { options, queue, services, selections: new Map() }
  const score: ScoringEngine['score'] = request =>
    new Promise((resolve, reject) => {
      const includeFeatures = request.includeFeatures === true
      queue.enqueue(scoreRow(maker, request, { kind: 'score', includeFeatures, sent: request.event, resolve }, reject))
    })
  return {
    score,
    getFeatures: request =>
      new Promise((resolve, reject) => {
        queue.enqueue(featuresRow(maker, request, { kind: 'features', resolve }, reject))
      }),
    scoreBatch: requests => {
      if (requests.length > limits.maxBatchItems) {
        const message = `items: ${requests.length} are more than the ${limits.maxBatchItems} of one call; send several`
        return Promise.reject(new ServerError('BATCH_TOO_LARGE', message))
      }
      return Promise.all(requests.map(request => settled(score(request), telemetry)))
    },
    describe: () => ({
      planHash: bound.plan.hash,
      services: [...services.values()].map(describeService),
      queuedRows: queue.queuedRows,
      limits,
    }),
    refreshStaleness: () => staleness.refresh(),
    close: async () => {
      staleness.close()
      await queue.close()
    },
  }
}

function describeService(service: ServiceRuntime): ScoringDescription['services'][number] {
  const { plan, served, selection } = service
  return {
    name: plan.name,
    request: plan.request,
    model: plan.model,
    modelVersion: served?.manifest.version ?? null,
    provider: served?.model.provider ?? null,
    policy: plan.policy?.name ?? null,
    policyVersion: plan.policy?.version ?? null,
    features: selection.names,
    reads: selection.units.reduce((sum, read) => sum + read.units.length, 0),
  }
}

function scoreRow(maker: RowMaker, request: ScoreRequest, goal: RowGoal, reject: Reject): Row {
  const service = serviceOf(maker, request.service)
  return eventRow(maker, service, request.event, {
    goal,
    t: instantOf(request),
    deadlineMs: request.deadlineMs,
    reject,
  })
}

function featuresRow(maker: RowMaker, request: GetFeaturesRequest, goal: RowGoal, reject: Reject): Row {
  const { options, queue } = maker
  const { of, deadlineMs } = request
  const t = instantOf(request) ?? options.clock.nowMs()
  if (of.kind === 'service')
    return eventRow(maker, serviceOf(maker, of.service), of.event, { goal, t, deadlineMs, reject })
  const admittedAt = options.clock.monotonicMs()
  if (of.groups.length === 0) throw new ServerError('INVALID_REQUEST', 'groups: name at least one group')
  queue.admit(deadlineMs ?? Infinity)
  const selection = selectionOf(maker, of.groups)
  const ids = entityIds(options.bound.plan.entities, selection.groups, of.entities)
  const keys = selection.units.map(read => unitKeys(options.namespace, read, ids.get(read.unit.entity) ?? ''))
  const made = {
    goal,
    service: null,
    selection,
    checked: null,
    t,
    deadlineMs: deadlineMs ?? Infinity,
    admittedAt,
    keys,
  }
  return { ...made, ...unanswered(admittedAt, reject) }
}

function eventRow(
  { options, queue }: RowMaker,
  service: ServiceRuntime,
  event: Fields,
  asked: {
    readonly goal: RowGoal
    readonly t: number | null
    readonly deadlineMs: number | null | undefined
    readonly reject: Reject
  },
): Row {
  const admittedAt = options.clock.monotonicMs()
  const deadlineMs = asked.deadlineMs ?? Infinity
  queue.admit(deadlineMs)
  const checked = checkEvent(service, event)
  const { selection } = service
  const keys = selection.units.map(read => {
    const entity = read.entityId(checked.event)
    return entity === null ? null : unitKeys(options.namespace, read, entity)
  })
  const t = asked.t ?? checked.event.time
  const decodedAt = options.clock.monotonicMs()
  const made = { goal: asked.goal, service, selection, checked, t, deadlineMs, admittedAt, keys }
  return { ...made, ...unanswered(decodedAt, asked.reject) }
}

function unanswered(
  decodedAt: number,
  reject: Reject,
): Pick<Row, 'decodedAt' | 'features' | 'sections' | 'answers' | 'view' | 'degraded' | 'score' | 'settled' | 'reject'> {
  return {
    decodedAt,
    features: NO_FEATURES,
    sections: [],
    answers: [],
    view: null,
    degraded: null,
    score: null,
    settled: false,
    reject,
  }
}

function serviceOf({ services }: RowMaker, name: string): ServiceRuntime {
  const service = services.get(name)
  if (service !== undefined) return service
  const known = [...services.keys()].join(', ') || 'none'
  throw new ServerError('UNKNOWN_SERVICE', `service: there is no "${name}"; the plan has ${known}`)
}

function selectionOf({ options, selections }: RowMaker, names: readonly string[]): Selection {
  const key = names.join('\0')
  const known = selections.get(key)
  if (known !== undefined) return known
  const { bound } = options
  const groups = [...new Set(names)].map(name => {
    const group = bound.groups.get(name)
    if (group !== undefined) return group
    const found = [...bound.groups.keys()].join(', ') || 'none'
    throw new ServerError('UNKNOWN_GROUP', `groups: there is no "${name}"; the plan has ${found}`)
  })
  if (selections.size >= MAX_SELECTIONS) selections.clear()
  const selection = selectGroups(bound, groups, null, [])
  selections.set(key, selection)
  return selection
}

function instantOf({ asOfMs }: { readonly asOfMs?: number | null }): number | null {
  if (asOfMs === undefined || asOfMs === null) return null
  if (Number.isSafeInteger(asOfMs) && asOfMs >= 0) return asOfMs
  throw new ServerError('INVALID_REQUEST', `as_of_ms: ${asOfMs} is not a time in UTC milliseconds`)
}

function checkEvent({ source, decoder }: ServiceRuntime, fields: Fields): CheckedEvent {
  const decoded = decoder.decodeFields(fields, null)
  if (!decoded.ok) throw new ServerError('INVALID_EVENT', `event: ${decoded.reason} (${decoded.code})`)
  return { event: decoded.event, values: authorValues(source, decoded.event) }
}

async function settled<T>(answer: Promise<T>, telemetry: ScoringOptions['telemetry']): Promise<ItemResult<T>> {
  try {
    return { ok: true, answer: await answer }
  } catch (error) {
    if (error instanceof ServerError) return { ok: false, error }
    telemetry.log('error', 'an item of a batch failed', { error: String(error) })
    return { ok: false, error: new ServerError('INTERNAL', 'the server failed on this item; its log has the details') }
  }
}
