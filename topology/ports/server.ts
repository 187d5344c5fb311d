import type { Value } from '../../features/kernel/types.ts'
import type { FeatureStatus, ScoreRecord } from './score-record.ts'

/** What a code means to a caller. */
export interface ServerErrorRow {
  readonly grpcStatus:
    | 'INVALID_ARGUMENT'
    | 'NOT_FOUND'
    | 'OUT_OF_RANGE'
    | 'RESOURCE_EXHAUSTED'
    | 'DEADLINE_EXCEEDED'
    | 'UNAVAILABLE'
    | 'INTERNAL'
  readonly retryable: boolean
  readonly meaning: string
}

/** The closed set of errors that a server answers with; `protos/README.md` shows the same table. */
export const SERVER_ERRORS = {
  INVALID_REQUEST: {
    grpcStatus: 'INVALID_ARGUMENT',
    retryable: false,
    meaning: 'A field of the request is missing or malformed; the message names it.',
  },
  INVALID_EVENT: {
    grpcStatus: 'INVALID_ARGUMENT',
    retryable: false,
    meaning: 'The event does not fit its source; the message names the field.',
  },
  BATCH_TOO_LARGE: {
    grpcStatus: 'INVALID_ARGUMENT',
    retryable: false,
    meaning: 'More items than one call may carry; send them in several calls.',
  },
  UNKNOWN_SERVICE: {
    grpcStatus: 'NOT_FOUND',
    retryable: false,
    meaning: 'The plan that is served has no service of this name.',
  },
  UNKNOWN_GROUP: {
    grpcStatus: 'NOT_FOUND',
    retryable: false,
    meaning: 'The plan that is served has no group of this name.',
  },
  UNKNOWN_SOURCE: {
    grpcStatus: 'NOT_FOUND',
    retryable: false,
    meaning: 'The plan that is served has no event source of this name.',
  },
  OUT_OF_RANGE: {
    grpcStatus: 'OUT_OF_RANGE',
    retryable: false,
    meaning:
      'The instant, or the event being scored, lies further back than state is kept for; build a dataset from the offline store instead.',
  },
  OVERLOADED: {
    grpcStatus: 'RESOURCE_EXHAUSTED',
    retryable: true,
    meaning: 'The queue is full, or the call could not finish before its deadline; try again after the given wait.',
  },
  DEADLINE_EXCEEDED: {
    grpcStatus: 'DEADLINE_EXCEEDED',
    retryable: true,
    meaning: 'The deadline of the call passed before it was answered.',
  },
  STORE_UNAVAILABLE: {
    grpcStatus: 'UNAVAILABLE',
    retryable: true,
    meaning: 'The online store does not answer; Score is degraded instead, GetFeatures fails.',
  },
  LOG_UNAVAILABLE: {
    grpcStatus: 'UNAVAILABLE',
    retryable: true,
    meaning: 'The event log does not answer; nothing is known to be written.',
  },
  SHUTTING_DOWN: {
    grpcStatus: 'UNAVAILABLE',
    retryable: true,
    meaning: 'The server is going away; try another one.',
  },
  INTERNAL: {
    grpcStatus: 'INTERNAL',
    retryable: false,
    meaning: 'A defect of the server; the log has the details.',
  },
} as const satisfies Readonly<Record<string, ServerErrorRow>>

/** A key of `SERVER_ERRORS`. */
export type ServerErrorCode = keyof typeof SERVER_ERRORS

/** An answer that is an error: `code` from the closed set, a message that names what was wrong and the remedy. */
export class ServerError extends Error {
  readonly code: ServerErrorCode
  /** How long to wait before another try; null where no wait helps. */
  readonly retryAfterMs: number | null
  constructor(code: ServerErrorCode, message: string, options?: { cause?: unknown; retryAfterMs?: number }) {
    super(message, options?.cause === undefined ? undefined : { cause: options.cause })
    this.name = 'ServerError'
    this.code = code
    this.retryAfterMs = options?.retryAfterMs ?? null
  }
}

/** Values by field name, as a caller sends an event. */
export type Fields = Readonly<Record<string, Value>>

/** One event to be scored by a service. */
export interface ScoreRequest {
  readonly service: string
  readonly event: Fields
  /** Instant of the windows in UTC milliseconds; absent: the event's own time. */
  readonly asOfMs?: number | null
  /** UTC milliseconds; absent: none. */
  readonly deadlineMs?: number | null
  readonly includeFeatures?: boolean
}

/**
 * The answer to one `ScoreRequest`; `score` is null where no model answered, `degraded` the cause where one should
 * have.
 */
export interface ScoreAnswer {
  readonly decisionId: string
  /** An outcome of the policy; `none` for a service without one. */
  readonly decision: string
  readonly score: number | null
  readonly model: string | null
  readonly modelVersion: string | null
  readonly planHash: string
  readonly policyVersion: string | null
  readonly matchedRules: readonly string[]
  /** By `group.feature` and `derived.name`. Answers with equal statuses share one object. */
  readonly statuses: Readonly<Record<string, FeatureStatus>>
  readonly degraded: string | null
  readonly latencyUs: ScoreRecord['latencyUs']
  /** By `group.feature` and `derived.name`; null unless asked for. */
  readonly features: Readonly<Record<string, Value>> | null
}

/** One item of a batch: its answer, or the error that it alone met. */
export type ItemResult<T> =
  { readonly ok: true; readonly answer: T } | { readonly ok: false; readonly error: ServerError }

/**
 * The key of an entity as a caller gives it: its text, or by the names of the entity's key fields the text of each
 * part, which is the only way where there are several.
 */
export type EntityName = string | Readonly<Record<string, string>>

/** Features asked for without a score: of groups for named entities, or of a service for an event. */
export interface GetFeaturesRequest {
  readonly of:
    | {
        readonly kind: 'groups'
        readonly groups: readonly string[]
        /** Entity type → key. */
        readonly entities: Readonly<Record<string, EntityName>>
      }
    | { readonly kind: 'service'; readonly service: string; readonly event: Fields }
  /** Absent: the server's clock. */
  readonly asOfMs?: number | null
  readonly deadlineMs?: number | null
}

/** Values and statuses by `group.feature` and `derived.name`, as of `asOfMs` (UTC milliseconds). */
export interface FeaturesAnswer {
  readonly features: Readonly<Record<string, Value>>
  readonly statuses: Readonly<Record<string, FeatureStatus>>
  readonly asOfMs: number
  readonly planHash: string
}

/** Events of one source to append to its topic. */
export interface PublishRequest {
  readonly source: string
  readonly events: readonly Fields[]
}

/** Where a published event lies in the log. */
export interface PublishedPosition {
  readonly topic: string
  readonly partition: number
  readonly offset: number
}

/** What a server calls; each rejects with `ServerError`, anything else is answered as `INTERNAL`. */
export interface ServerHandlers {
  score(request: ScoreRequest): Promise<ScoreAnswer>
  /** One result per request, in order: a bad one fails alone. */
  scoreBatch(requests: readonly ScoreRequest[]): Promise<readonly ItemResult<ScoreAnswer>[]>
  getFeatures(request: GetFeaturesRequest): Promise<FeaturesAnswer>
  /** One result per event, in order; durable when resolved. */
  publishEvents(request: PublishRequest): Promise<readonly ItemResult<PublishedPosition>[]>
}
