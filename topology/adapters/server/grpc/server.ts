import { BinaryReader } from '@bufbuild/protobuf/wire'
import { Metadata, Server, ServerCredentials, status } from '@grpc/grpc-js'
import type { MethodDefinition, ServerUnaryCall, UntypedHandleCall, handleUnaryCall } from '@grpc/grpc-js'
import { ReflectionService } from '@grpc/reflection'
import { HealthImplementation } from 'grpc-health-check'
import { descriptorSet } from '../../../../protos/gen/descriptors.ts'
import { FeatureServiceDefinition } from '../../../../protos/gen/headwater/features/v1/features.ts'
import { ScoringServiceDefinition } from '../../../../protos/gen/headwater/scoring/v1/scoring.ts'
import type { ScoreRequest } from '../../../../protos/gen/headwater/scoring/v1/scoring.ts'
import { PortError } from '../../../ports/errors.ts'
import { SERVER_ERRORS, ServerError } from '../../../ports/server.ts'
import type { Clock } from '../../../ports/clock.ts'
import type { ServerHandlers } from '../../../ports/server.ts'
import type { Telemetry } from '../../../ports/telemetry.ts'
import {
  encodeScoreAnswer,
  featuresRequest,
  featuresResponse,
  publishResponse,
  scoreBatchResponse,
  scoreRequest,
} from './messages.ts'
import { fieldsFromWire } from './values.ts'

/** What a server listens on and serves. */
export interface GrpcServerOptions {
  readonly handlers: ServerHandlers
  readonly telemetry: Telemetry
  readonly clock: Clock
  /** Default 127.0.0.1. */
  readonly host?: string
  /** 0 takes a free one. */
  readonly port: number
  /** Larger messages are refused with RESOURCE_EXHAUSTED; default 4 MiB. */
  readonly maxMessageBytes?: number
  /** Calls at a time on one connection; default 4096. */
  readonly maxStreamsPerConnection?: number
}

/** A server that listens. */
export interface GrpcServer {
  readonly port: number
  /** `host:port`. */
  readonly address: string
  /** Answers health checks with NOT_SERVING, takes no new calls, ends those still open after `graceMs`. */
  close(graceMs: number): Promise<void>
}

/** Metadata key of an error's code, a key of `SERVER_ERRORS`. */
export const ERROR_CODE_KEY = 'headwater-code'
/** Metadata key of the wait before another try, in milliseconds; absent where no wait helps. */
export const RETRY_AFTER_KEY = 'grpc-retry-pushback-ms'

const DEFAULT_MAX_MESSAGE_BYTES = 4 * 1024 * 1024
const SERVICES = [ScoringServiceDefinition.fullName, FeatureServiceDefinition.fullName]

/**
 * Serves the scoring and feature services with `grpc.health.v1` and reflection (v1 and v1alpha) over plain gRPC.
 * Rejects with an Error that names the address when it cannot be bound.
 */
export async function startGrpcServer(options: GrpcServerOptions): Promise<GrpcServer> {
  const { handlers, host = '127.0.0.1' } = options
  const maxMessageBytes = options.maxMessageBytes ?? DEFAULT_MAX_MESSAGE_BYTES
  const server = new Server({
    'grpc.max_receive_message_length': maxMessageBytes,
    // What was computed is sent: the bound is on what comes in.
    'grpc.max_send_message_length': -1,
    'grpc.max_concurrent_streams': options.maxStreamsPerConnection ?? 4096,
  })
  addScoring(server, handlers, options)
  addFeatures(server, handlers, options)
  const health = new HealthImplementation()
  for (const name of ['', ...SERVICES]) health.setStatus(name, 'SERVING')
  health.addToServer(server)
  const reflected = [...SERVICES, 'grpc.health.v1.Health', 'grpc.reflection.v1.ServerReflection']
  new ReflectionService(reflectedPackage(), { services: reflected }).addToServer(server)
  const port = await bind(server, `${host}:${options.port}`)
  return {
    port,
    address: `${host}:${port}`,
    close: graceMs => {
      for (const name of ['', ...SERVICES]) health.setStatus(name, 'NOT_SERVING')
      return drain(server, graceMs)
    },
  }
}

function bind(server: Server, address: string): Promise<number> {
  return new Promise((resolve, reject) => {
    server.bindAsync(address, ServerCredentials.createInsecure(), (error, port) => {
      if (error === null) resolve(port)
      else
        reject(
          new PortError(
            'SERVER_UNAVAILABLE',
            `cannot listen on ${address}; free the port, or set server.port to another`,
            { cause: error },
          ),
        )
    })
  })
}

/** Needs channelz, which is on by default: without it grpc-js 1.14 ends no session when it is forced to. */
function drain(server: Server, graceMs: number): Promise<void> {
  return new Promise(resolve => {
    const timer = setTimeout(() => server.forceShutdown(), graceMs)
    server.tryShutdown(() => {
      clearTimeout(timer)
      resolve()
    })
  })
}

/** The shape in which reflection takes descriptors: anything that carries the bytes of the proto files. */
function reflectedPackage(): ConstructorParameters<typeof ReflectionService>[0] {
  const reader = new BinaryReader(Buffer.from(descriptorSet, 'base64'))
  const fileDescriptorProtos: Buffer[] = []
  while (reader.pos < reader.len) {
    reader.uint32()
    fileDescriptorProtos.push(Buffer.from(reader.bytes()))
  }
  return { headwater: { format: 'Protocol Buffer 3 DescriptorProto', type: {}, fileDescriptorProtos } }
}

/** A generated method, as ts-proto describes it. */
interface UnaryMethod<Request> {
  readonly name: string
  readonly requestType: Codec<Request>
}

interface Codec<T> {
  encode(message: T): { finish(): Uint8Array }
  decode(bytes: Uint8Array): T
}

/** A message that could not be decoded, kept so that the call is answered with INVALID_ARGUMENT. */
class Malformed {
  readonly reason: string
  constructor(reason: string) {
    this.reason = reason
  }
}

function decodeWith<T>(codec: Codec<T>): (bytes: Buffer) => T | Malformed {
  return bytes => {
    try {
      return codec.decode(bytes)
    } catch (error) {
      return new Malformed(error instanceof Error ? error.message : String(error))
    }
  }
}

function definition<Request, Answer>(
  service: string,
  method: UnaryMethod<Request>,
  serialize: (answer: Answer) => Buffer,
): MethodDefinition<Request | Malformed, Answer> {
  return {
    path: `/${service}/${method.name}`,
    requestStream: false,
    responseStream: false,
    requestSerialize: message => {
      if (message instanceof Malformed) throw new TypeError(message.reason)
      return Buffer.from(method.requestType.encode(message).finish())
    },
    requestDeserialize: decodeWith(method.requestType),
    responseSerialize: serialize,
    responseDeserialize: () => {
      throw new TypeError('a server reads no responses')
    },
  }
}

function encoder<T>(codec: Codec<T>): (message: T) => Buffer {
  return message => asBuffer(codec.encode(message).finish())
}

function asBuffer(bytes: Uint8Array): Buffer {
  return Buffer.from(bytes.buffer, bytes.byteOffset, bytes.byteLength)
}

/** Where calls are timed and defects are logged. */
type Meter = Pick<GrpcServerOptions, 'clock' | 'telemetry'>

function unary<Request, Answer>(
  { clock, telemetry }: Meter,
  name: string,
  answer: (request: Request, deadlineMs: number | null) => Promise<Answer>,
): handleUnaryCall<Request | Malformed, Answer> {
  const labels = { method: name }
  return (call, callback) => {
    const startedAt = clock.monotonicMs()
    const fail = (error: unknown): void => {
      telemetry.observeMs('grpc_call_ms', clock.monotonicMs() - startedAt, labels)
      callback(wireError(error, telemetry))
    }
    const succeed = (value: Answer): void => {
      telemetry.observeMs('grpc_call_ms', clock.monotonicMs() - startedAt, labels)
      callback(null, value)
    }
    if (call.request instanceof Malformed) {
      fail(new ServerError('INVALID_REQUEST', `the message is not readable: ${call.request.reason}`))
      return
    }
    try {
      answer(call.request, deadlineOf(call)).then(succeed, fail)
    } catch (error) {
      fail(error)
    }
  }
}

function deadlineOf(call: ServerUnaryCall<unknown, unknown>): number | null {
  const deadline = call.getDeadline()
  const deadlineMs = typeof deadline === 'number' ? deadline : deadline.getTime()
  return Number.isFinite(deadlineMs) ? deadlineMs : null
}

function wireError(error: unknown, telemetry: Telemetry): { code: number; details: string; metadata: Metadata } {
  const known = error instanceof ServerError ? error : unknownError(error, telemetry)
  const metadata = new Metadata()
  metadata.set(ERROR_CODE_KEY, known.code)
  if (known.retryAfterMs !== null) metadata.set(RETRY_AFTER_KEY, String(known.retryAfterMs))
  return { code: status[SERVER_ERRORS[known.code].grpcStatus], details: known.message, metadata }
}

function unknownError(error: unknown, telemetry: Telemetry): ServerError {
  telemetry.count('server_internal_errors', 1)
  const stack = error instanceof Error ? error.stack : String(error)
  telemetry.log('error', 'a call failed', { error: stack })
  return new ServerError('INTERNAL', 'the server failed; its log has the details')
}

/** One method and its handler, with the message types forgotten as `addService` wants it. */
interface Served {
  readonly definition: MethodDefinition<object, object>
  readonly handle: UntypedHandleCall
}

function add(server: Server, methods: Readonly<Record<string, Served>>): void {
  const names = Object.keys(methods)
  server.addService(
    Object.fromEntries(names.flatMap(name => (methods[name] ? [[name, methods[name].definition]] : []))),
    Object.fromEntries(names.flatMap(name => (methods[name] ? [[name, methods[name].handle]] : []))),
  )
}

function method<Request, Answer>(
  definition: MethodDefinition<Request | Malformed, Answer>,
  handle: handleUnaryCall<Request | Malformed, Answer>,
): Served {
  return { definition: definition as unknown as Served['definition'], handle: handle as UntypedHandleCall }
}

function addScoring(server: Server, handlers: ServerHandlers, meter: Meter): void {
  const { fullName, methods } = ScoringServiceDefinition
  const { score, scoreBatch } = methods
  add(server, {
    score: method(
      definition(fullName, score, encodeScoreAnswer),
      unary(meter, 'Score', (request: ScoreRequest, deadlineMs) => handlers.score(scoreRequest(request, deadlineMs))),
    ),
    scoreBatch: method(
      definition(fullName, scoreBatch, encoder(scoreBatch.responseType)),
      unary(meter, 'ScoreBatch', async ({ items }, deadlineMs) => {
        if (items.length === 0) throw new ServerError('INVALID_REQUEST', 'items: send at least one')
        return scoreBatchResponse(await scoreItems(handlers, items, deadlineMs))
      }),
    ),
  })
}

/** Items that cannot be read fail alone; the others keep their places. */
async function scoreItems(
  handlers: ServerHandlers,
  items: readonly ScoreRequest[],
  deadlineMs: number | null,
): ReturnType<ServerHandlers['scoreBatch']> {
  const readable: ReturnType<typeof scoreRequest>[] = []
  const read = items.map(item => {
    try {
      return readable.push(scoreRequest(item, deadlineMs)) - 1
    } catch (error) {
      if (error instanceof ServerError) return error
      throw error
    }
  })
  const answers = await handlers.scoreBatch(readable)
  return read.map(item => {
    if (typeof item !== 'number') return { ok: false, error: item }
    return answers[item] ?? { ok: false, error: new ServerError('INTERNAL', 'the item was not answered') }
  })
}

function addFeatures(server: Server, handlers: ServerHandlers, meter: Meter): void {
  const { fullName, methods } = FeatureServiceDefinition
  const { getFeatures, publishEvents } = methods
  add(server, {
    getFeatures: method(
      definition(fullName, getFeatures, encoder(getFeatures.responseType)),
      unary(meter, 'GetFeatures', async (request, deadlineMs) =>
        featuresResponse(await handlers.getFeatures(featuresRequest(request, deadlineMs))),
      ),
    ),
    publishEvents: method(
      definition(fullName, publishEvents, encoder(publishEvents.responseType)),
      unary(meter, 'PublishEvents', async ({ source, events }) => {
        if (source === '') throw new ServerError('INVALID_REQUEST', 'source: name the source of the events')
        if (events.length === 0) throw new ServerError('INVALID_REQUEST', 'events: send at least one')
        const fields = events.map(event => fieldsFromWire(event.fields))
        return publishResponse(await handlers.publishEvents({ source, events: fields }))
      }),
    ),
  })
}
