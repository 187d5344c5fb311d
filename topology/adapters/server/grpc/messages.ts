import type {
  GetFeaturesRequest as WireGetFeatures,
  GetFeaturesResponse as WireFeatures,
  GroupFeatures,
  PublishEventsResponse,
} from '../../../../protos/gen/headwater/features/v1/features.ts'
import { ScoreResponse } from '../../../../protos/gen/headwater/scoring/v1/scoring.ts'
import type {
  ScoreBatchResponse,
  ScoreRequest as WireScore,
} from '../../../../protos/gen/headwater/scoring/v1/scoring.ts'
import type { ItemError } from '../../../../protos/gen/headwater/types/v1/value.ts'
import { SERVER_ERRORS, ServerError } from '../../../ports/server.ts'
import type {
  EntityName,
  FeaturesAnswer,
  GetFeaturesRequest,
  ItemResult,
  PublishedPosition,
  ScoreAnswer,
  ScoreRequest,
  ServerErrorCode,
} from '../../../ports/server.ts'
import { fieldsFromWire, fieldsToWire, fromWire, statusesFromWire, statusesToWire } from './values.ts'

const UINT32_MAX = 0xffffffff
const NO_STATUSES: ScoreResponse['statuses'] = new Map()
const NO_VALUES: ScoreResponse['features'] = new Map()

/** A score request off the wire. */
export function scoreRequest(wire: WireScore, deadlineMs: number | null): ScoreRequest {
  if (wire.service === '') throw new ServerError('INVALID_REQUEST', 'service: name the service that is to score')
  return {
    service: wire.service,
    event: fieldsFromWire(wire.event),
    asOfMs: wire.asOfMs === undefined ? null : Number(wire.asOfMs),
    deadlineMs,
    includeFeatures: wire.includeFeatures,
  }
}

/** A score request for the wire; the deadline goes with the call. */
export function scoreRequestToWire(request: ScoreRequest): WireScore {
  return {
    service: request.service,
    event: fieldsToWire(request.event),
    asOfMs: wireInstant(request.asOfMs),
    includeFeatures: request.includeFeatures === true,
  }
}

function wireInstant(instantMs: number | null | undefined): bigint | undefined {
  return instantMs === null || instantMs === undefined ? undefined : BigInt(instantMs)
}

/** A `GetFeatures` request off the wire. */
export function featuresRequest(wire: WireGetFeatures, deadlineMs: number | null): GetFeaturesRequest {
  const asOfMs = wire.asOfMs === undefined ? null : Number(wire.asOfMs)
  switch (wire.of?.$case) {
    case 'groups': {
      const { groups } = wire.of.value
      return { of: { kind: 'groups', groups, entities: entitiesFromWire(wire.of.value) }, asOfMs, deadlineMs }
    }
    case 'service': {
      const { service, event } = wire.of.value
      return { of: { kind: 'service', service, event: fieldsFromWire(event) }, asOfMs, deadlineMs }
    }
    case undefined:
      throw new ServerError('INVALID_REQUEST', 'of: set `groups` with entity keys, or `service` with an event')
  }
}

function entitiesFromWire({ entities, entityKeys }: GroupFeatures): Readonly<Record<string, EntityName>> {
  const named = new Map<string, EntityName>(entities)
  for (const [entity, { parts }] of entityKeys) {
    if (named.has(entity)) {
      throw new ServerError('INVALID_REQUEST', `entity_keys: "${entity}" is in entities too; give its key once`)
    }
    named.set(entity, Object.fromEntries(parts))
  }
  return Object.fromEntries(named)
}

/** A `GetFeatures` request for the wire. */
export function featuresRequestToWire(request: GetFeaturesRequest): WireGetFeatures {
  const { of } = request
  const asOfMs = wireInstant(request.asOfMs)
  if (of.kind === 'service') {
    return { of: { $case: 'service', value: { service: of.service, event: fieldsToWire(of.event) } }, asOfMs }
  }
  const entities = new Map<string, string>()
  const entityKeys: GroupFeatures['entityKeys'] = new Map()
  for (const [entity, name] of Object.entries(of.entities)) {
    if (typeof name === 'string') entities.set(entity, name)
    else entityKeys.set(entity, { parts: new Map(Object.entries(name)) })
  }
  return { of: { $case: 'groups', value: { groups: [...of.groups], entities, entityKeys } }, asOfMs }
}

function scoreResponse(answer: ScoreAnswer, statuses: ScoreResponse['statuses']): ScoreResponse {
  const { latencyUs } = answer
  return {
    decisionId: answer.decisionId,
    decision: answer.decision,
    score: answer.score ?? undefined,
    model: answer.model ?? '',
    modelVersion: answer.modelVersion ?? '',
    planHash: answer.planHash,
    policyVersion: answer.policyVersion ?? '',
    matchedRules: answer.matchedRules as string[],
    statuses,
    degradedCause: answer.degraded ?? undefined,
    latency: {
      decodeUs: Math.min(latencyUs.decode, UINT32_MAX),
      readUs: Math.min(latencyUs.read, UINT32_MAX),
      featuresUs: Math.min(latencyUs.features, UINT32_MAX),
      modelUs: Math.min(latencyUs.model, UINT32_MAX),
      policyUs: Math.min(latencyUs.policy, UINT32_MAX),
      totalUs: Math.min(latencyUs.total, UINT32_MAX),
    },
    features: answer.features === null ? NO_VALUES : fieldsToWire(answer.features),
  }
}

const statusBytes = new WeakMap<ScoreAnswer['statuses'], Uint8Array>()

/** The bytes of a message that has statuses and nothing else; encoded once per status object. */
function encodedStatuses(statuses: ScoreAnswer['statuses']): Uint8Array {
  let bytes = statusBytes.get(statuses)
  if (bytes === undefined) {
    bytes = ScoreResponse.encode({
      decisionId: '',
      decision: '',
      model: '',
      modelVersion: '',
      planHash: '',
      policyVersion: '',
      matchedRules: [],
      statuses: statusesToWire(statuses),
      features: NO_VALUES,
    }).finish()
    statusBytes.set(statuses, bytes)
  }
  return bytes
}

/**
 * An answer as wire bytes. Statuses are the bulk of it and hardly ever change, and encoded messages may be joined end
 * to end: so the statuses' bytes are appended instead of encoded again.
 */
export function encodeScoreAnswer(answer: ScoreAnswer): Buffer {
  const head = ScoreResponse.encode(scoreResponse(answer, NO_STATUSES)).finish()
  return Buffer.concat([head, encodedStatuses(answer.statuses)])
}

/** A score answer off the wire. */
export function scoreAnswer(wire: ScoreResponse): ScoreAnswer {
  const { latency } = wire
  return {
    decisionId: wire.decisionId,
    decision: wire.decision,
    score: wire.score ?? null,
    model: wire.model || null,
    modelVersion: wire.modelVersion || null,
    planHash: wire.planHash,
    policyVersion: wire.policyVersion || null,
    matchedRules: wire.matchedRules,
    statuses: statusesFromWire(wire.statuses),
    degraded: wire.degradedCause ?? null,
    latencyUs: {
      decode: latency?.decodeUs ?? 0,
      read: latency?.readUs ?? 0,
      features: latency?.featuresUs ?? 0,
      model: latency?.modelUs ?? 0,
      policy: latency?.policyUs ?? 0,
      total: latency?.totalUs ?? 0,
    },
    features: wire.features.size === 0 ? null : valuesOf(wire.features),
  }
}

function valuesOf(values: ScoreResponse['features']): FeaturesAnswer['features'] {
  return Object.fromEntries([...values].map(([name, value]) => [name, fromWire(value)]))
}

/** An error of one item for the wire. */
function itemError(error: ServerError): ItemError {
  return {
    code: error.code,
    message: error.message,
    retryable: SERVER_ERRORS[error.code].retryable,
    retryAfterMs: error.retryAfterMs ?? undefined,
  }
}

/** Whether a text is a code of the closed set. */
export function isServerErrorCode(code: string): code is ServerErrorCode {
  return Object.hasOwn(SERVER_ERRORS, code)
}

function errorOfItem(wire: ItemError): ServerError {
  const options = wire.retryAfterMs === undefined ? {} : { retryAfterMs: wire.retryAfterMs }
  return new ServerError(isServerErrorCode(wire.code) ? wire.code : 'INTERNAL', wire.message, options)
}

/** Batch results for the wire. */
export function scoreBatchResponse(results: readonly ItemResult<ScoreAnswer>[]): ScoreBatchResponse {
  return {
    results: results.map(result =>
      result.ok
        ? {
            outcome: {
              $case: 'response' as const,
              value: scoreResponse(result.answer, statusesToWire(result.answer.statuses)),
            },
          }
        : { outcome: { $case: 'error' as const, value: itemError(result.error) } },
    ),
  }
}

/** Batch results off the wire. */
export function scoreBatchResults(wire: ScoreBatchResponse): ItemResult<ScoreAnswer>[] {
  return wire.results.map(({ outcome }) => {
    if (outcome?.$case === 'response') return { ok: true, answer: scoreAnswer(outcome.value) }
    if (outcome?.$case === 'error') return { ok: false, error: errorOfItem(outcome.value) }
    return { ok: false, error: new ServerError('INTERNAL', 'the server answered an item with nothing') }
  })
}

/** Features for the wire. */
export function featuresResponse(answer: FeaturesAnswer): WireFeatures {
  return {
    features: fieldsToWire(answer.features),
    statuses: statusesToWire(answer.statuses),
    asOfMs: BigInt(answer.asOfMs),
    planHash: answer.planHash,
  }
}

/** Features off the wire. */
export function featuresAnswer(wire: WireFeatures): FeaturesAnswer {
  return {
    features: valuesOf(wire.features),
    statuses: statusesFromWire(wire.statuses),
    asOfMs: Number(wire.asOfMs),
    planHash: wire.planHash,
  }
}

/** Publish results for the wire. */
export function publishResponse(results: readonly ItemResult<PublishedPosition>[]): PublishEventsResponse {
  return {
    results: results.map(result => {
      if (!result.ok) return { outcome: { $case: 'error' as const, value: itemError(result.error) } }
      const { topic, partition, offset } = result.answer
      return { outcome: { $case: 'position' as const, value: { topic, partition, offset: BigInt(offset) } } }
    }),
  }
}

/** Publish results off the wire. */
export function publishResults(wire: PublishEventsResponse): ItemResult<PublishedPosition>[] {
  return wire.results.map(({ outcome }) => {
    if (outcome?.$case === 'position') {
      const { topic, partition, offset } = outcome.value
      return { ok: true, answer: { topic, partition, offset: Number(offset) } }
    }
    if (outcome?.$case === 'error') return { ok: false, error: errorOfItem(outcome.value) }
    return { ok: false, error: new ServerError('INTERNAL', 'the server answered an event with nothing') }
  })
}
