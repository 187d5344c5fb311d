import { Client, Metadata, credentials, status } from '@grpc/grpc-js'
import type { ServiceError } from '@grpc/grpc-js'
import { HealthCheckRequest, HealthCheckResponse } from '../../../../protos/gen/grpc/health/v1/health.ts'
import { HealthCheckResponse_ServingStatus as ServingStatus } from '../../../../protos/gen/grpc/health/v1/health.ts'
import { FeatureServiceDefinition } from '../../../../protos/gen/headwater/features/v1/features.ts'
import { ScoringServiceDefinition } from '../../../../protos/gen/headwater/scoring/v1/scoring.ts'
import { ServerError } from '../../../ports/server.ts'
import type { ServerErrorCode, ServerHandlers } from '../../../ports/server.ts'
import {
  featuresAnswer,
  featuresRequestToWire,
  isServerErrorCode,
  publishResults,
  scoreAnswer,
  scoreBatchResults,
  scoreRequestToWire,
} from './messages.ts'
import { ERROR_CODE_KEY, RETRY_AFTER_KEY } from './server.ts'
import { fieldsToWire } from './values.ts'

/** The server's handlers, over the wire; errors come back as the `ServerError` that the server threw. */
export interface GrpcClient extends ServerHandlers {
  /** The answer of `grpc.health.v1`; the empty name asks for the whole server. */
  health(service: string): Promise<'SERVING' | 'NOT_SERVING' | 'UNKNOWN'>
  /** Resolves when connected; rejects after `deadlineMs` (UTC). */
  ready(deadlineMs: number): Promise<void>
  close(): void
}

interface Codec<T> {
  encode(message: T): { finish(): Uint8Array }
  decode(bytes: Uint8Array): T
}

/** Connects to `host:port` over plain gRPC, on a connection of its own. Deadlines are those of the requests. */
export function createGrpcClient(options: {
  readonly address: string
  /** Default 4 MiB. */
  readonly maxMessageBytes?: number
}): GrpcClient {
  const maxMessageBytes = options.maxMessageBytes ?? 4 * 1024 * 1024
  const client = new Client(options.address, credentials.createInsecure(), {
    'grpc.max_receive_message_length': maxMessageBytes,
    'grpc.max_send_message_length': -1,
    'grpc.use_local_subchannel_pool': 1,
    'grpc.enable_channelz': 0,
  })
  const call = <Request, Response>(
    path: string,
    codecs: { readonly requestType: Codec<Request>; readonly responseType: Codec<Response> },
    request: Request,
    deadlineMs?: number | null,
  ): Promise<Response> =>
    new Promise((resolve, reject) => {
      client.makeUnaryRequest(
        path,
        (message: Request) => Buffer.from(codecs.requestType.encode(message).finish()),
        (bytes: Buffer) => codecs.responseType.decode(bytes),
        request,
        new Metadata(),
        deadlineMs === undefined || deadlineMs === null ? {} : { deadline: deadlineMs },
        (error, response) => {
          if (error !== null) reject(serverError(error))
          else if (response === undefined) reject(new ServerError('INTERNAL', `${path} was answered with nothing`))
          else resolve(response)
        },
      )
    })
  const scoring = ScoringServiceDefinition
  const { score, scoreBatch } = scoring.methods
  const features = FeatureServiceDefinition
  const { getFeatures, publishEvents } = features.methods
  return {
    score: async request =>
      scoreAnswer(await call(`/${scoring.fullName}/Score`, score, scoreRequestToWire(request), request.deadlineMs)),
    scoreBatch: async requests => {
      const deadlines = requests.flatMap(request => request.deadlineMs ?? [])
      const deadlineMs = deadlines.length === 0 ? null : Math.min(...deadlines)
      const message = { items: requests.map(scoreRequestToWire) }
      return scoreBatchResults(await call(`/${scoring.fullName}/ScoreBatch`, scoreBatch, message, deadlineMs))
    },
    getFeatures: async request => {
      const message = featuresRequestToWire(request)
      return featuresAnswer(await call(`/${features.fullName}/GetFeatures`, getFeatures, message, request.deadlineMs))
    },
    publishEvents: async ({ source, events }) => {
      const message = { source, events: events.map(event => ({ fields: fieldsToWire(event) })) }
      return publishResults(await call(`/${features.fullName}/PublishEvents`, publishEvents, message))
    },
    health: async service => {
      const codecs = { requestType: HealthCheckRequest, responseType: HealthCheckResponse }
      const answer = await call('/grpc.health.v1.Health/Check', codecs, { service })
      if (answer.status === ServingStatus.SERVING) return 'SERVING'
      return answer.status === ServingStatus.NOT_SERVING ? 'NOT_SERVING' : 'UNKNOWN'
    },
    ready: deadlineMs =>
      new Promise((resolve, reject) => {
        client.waitForReady(deadlineMs, error => {
          if (error === undefined) resolve()
          else reject(new Error(`${options.address} cannot be reached: ${error.message}`, { cause: error }))
        })
      }),
    close: () => client.close(),
  }
}

const CODE_OF_STATUS: Readonly<Partial<Record<number, ServerErrorCode>>> = {
  [status.INVALID_ARGUMENT]: 'INVALID_REQUEST',
  [status.RESOURCE_EXHAUSTED]: 'INVALID_REQUEST',
  [status.DEADLINE_EXCEEDED]: 'DEADLINE_EXCEEDED',
  [status.UNAVAILABLE]: 'SHUTTING_DOWN',
  [status.CANCELLED]: 'SHUTTING_DOWN',
}

/** An error without our code comes from gRPC itself, such as one for a message that is too large. */
function serverError(error: ServiceError): ServerError {
  const [code] = error.metadata?.get(ERROR_CODE_KEY) ?? []
  const [retryAfter] = error.metadata?.get(RETRY_AFTER_KEY) ?? []
  const known = typeof code === 'string' && isServerErrorCode(code) ? code : (CODE_OF_STATUS[error.code] ?? 'INTERNAL')
  const retryAfterMs = typeof retryAfter === 'string' ? Number(retryAfter) : NaN
  return new ServerError(known, error.details, {
    cause: error,
    ...(Number.isFinite(retryAfterMs) ? { retryAfterMs } : {}),
  })
}
