import { Client, credentials, status } from '@grpc/grpc-js'
import fc from 'fast-check'
import { afterAll, beforeAll, describe, expect, it } from 'vitest'
import type { Value } from '../../features/kernel/types.ts'
import { HealthCheckRequest, HealthCheckResponse } from '../../protos/gen/grpc/health/v1/health.ts'
import { ServerReflectionRequest, ServerReflectionResponse } from '../../protos/gen/grpc/reflection/v1/reflection.ts'
import { createGrpcClient } from '../../topology/adapters/server/grpc/client.ts'
import type { GrpcClient } from '../../topology/adapters/server/grpc/client.ts'
import { startGrpcServer } from '../../topology/adapters/server/grpc/server.ts'
import type { GrpcServer } from '../../topology/adapters/server/grpc/server.ts'
import { SERVER_ERRORS, ServerError } from '../../topology/ports/server.ts'
import type { ScoreAnswer, ServerErrorCode, ServerHandlers } from '../../topology/ports/server.ts'
import { collectTelemetry, systemClock } from './harness.ts'

const MAX_MESSAGE_BYTES = 64 * 1024

const answer: ScoreAnswer = {
  decisionId: 'd1',
  decision: 'review',
  score: 0.125,
  model: 'fraud',
  modelVersion: '3',
  planHash: 'p',
  policyVersion: '7',
  matchedRules: ['burst', 'abroad'],
  statuses: { 'card.count': 'fresh', 'card.mean': 'stale', 'shop.risk': 'out_of_range', 'derived.x': 'default' },
  degraded: null,
  latencyUs: { decode: 1, read: 2, features: 3, model: 4, policy: 5, total: 15 },
  features: null,
}

/** Handlers whose answers say what they were given. */
const handlers: ServerHandlers = {
  score: async request => {
    if (request.service === 'echo') return { ...answer, features: request.event }
    if (request.service === 'deadline') return { ...answer, decision: String(request.deadlineMs !== null) }
    if (request.service === 'instant') return { ...answer, score: request.asOfMs ?? null }
    if (request.service === 'hang') return new Promise(() => {})
    if (request.service === 'defect') throw new Error('secret details')
    if (request.service in SERVER_ERRORS) {
      throw new ServerError(request.service as ServerErrorCode, `it was ${request.service}`, { retryAfterMs: 17 })
    }
    return { ...answer, score: null, model: null, modelVersion: null, policyVersion: null, degraded: 'model_failed' }
  },
  scoreBatch: async requests =>
    requests.map(({ service }) =>
      service === 'bad'
        ? { ok: false, error: new ServerError('INVALID_EVENT', 'event: bad', { retryAfterMs: 3 }) }
        : { ok: true, answer },
    ),
  getFeatures: async request => ({
    features:
      request.of.kind === 'groups'
        ? Object.fromEntries(
            Object.entries(request.of.entities).map(([entity, name]) => [
              entity,
              typeof name === 'string' ? name : Object.entries(name).flat(),
            ]),
          )
        : request.of.event,
    statuses: request.of.kind === 'groups' ? Object.fromEntries(request.of.groups.map(g => [g, 'fresh' as const])) : {},
    asOfMs: request.asOfMs ?? -1,
    planHash: request.of.kind,
  }),
  publishEvents: async ({ source, events }) =>
    events.map((event, index) =>
      Object.keys(event).length > 0
        ? { ok: true, answer: { topic: source, partition: index, offset: 2 ** 40 + index } }
        : { ok: false, error: new ServerError('INVALID_EVENT', 'empty') },
    ),
}

const telemetry = collectTelemetry()
let server: GrpcServer
let client: GrpcClient

beforeAll(async () => {
  server = await startGrpcServer({
    handlers,
    telemetry,
    clock: systemClock,
    port: 0,
    maxMessageBytes: MAX_MESSAGE_BYTES,
  })
  client = createGrpcClient({ address: server.address })
})
afterAll(async () => {
  client.close()
  await server.close(1000)
})

function failure(work: Promise<unknown>): Promise<ServerError> {
  return work.then(
    () => Promise.reject(new Error('it did not fail')),
    (error: unknown) => error as ServerError,
  )
}

const scalar = fc.oneof(
  fc.string({ unit: 'grapheme' }),
  fc.boolean(),
  fc.double().filter(value => !Object.is(value, -0)),
  fc.bigInt({ min: 2n ** 53n, max: 2n ** 63n - 1n }),
  fc.bigInt({ min: -(2n ** 63n), max: -(2n ** 53n) }),
  fc.constant(null),
)
const value: fc.Arbitrary<Value> = fc.oneof(scalar, fc.array(scalar), fc.array(fc.array(scalar)))

describe('values', () => {
  it('come back as they were sent, whatever their names', async () => {
    const names = fc.string({ unit: 'grapheme', minLength: 1 })
    await fc.assert(
      fc.asyncProperty(fc.dictionary(names, value, { minKeys: 1, maxKeys: 12 }), async event => {
        const { features } = await client.score({ service: 'echo', event, includeFeatures: true })
        expect(Object.entries(features ?? {}).sort()).toEqual(Object.entries(event).sort())
      }),
      { numRuns: 200 },
    )
  })

  it('keep a field named like a prototype a field of its own', async () => {
    const event = JSON.parse('{"__proto__": 1, "constructor": 2}') as Record<string, Value>
    const { features } = await client.score({ service: 'echo', event, includeFeatures: true })
    expect(Object.keys(features ?? {}).sort()).toEqual(['__proto__', 'constructor'])
  })
})

describe('score', () => {
  it('carries every part of the answer', async () => {
    const { features, ...rest } = await client.score({ service: 'echo', event: { a: 1 } })
    expect(features).toEqual({ a: 1 })
    expect(rest).toEqual({ ...answer, features: undefined })
    const degraded = await client.score({ service: 'other', event: {} })
    expect(degraded).toEqual({
      ...answer,
      score: null,
      model: null,
      modelVersion: null,
      policyVersion: null,
      degraded: 'model_failed',
    })
  })

  it('passes the instant and the deadline on, and their absence', async () => {
    const deadlineMs = Date.now() + 5000
    expect((await client.score({ service: 'instant', event: {}, asOfMs: 1_700_000_000_123 })).score).toBe(
      1_700_000_000_123,
    )
    expect((await client.score({ service: 'instant', event: {} })).score).toBeNull()
    expect((await client.score({ service: 'deadline', event: {}, deadlineMs })).decision).toBe('true')
    expect((await client.score({ service: 'deadline', event: {} })).decision).toBe('false')
  })

  it('ends at the deadline', async () => {
    const error = await failure(client.score({ service: 'hang', event: {}, deadlineMs: Date.now() + 60 }))
    expect(error.code).toBe('DEADLINE_EXCEEDED')
  })

  it('answers each code of the table with its status, message and wait', async () => {
    for (const [code, { grpcStatus }] of Object.entries(SERVER_ERRORS)) {
      const error = await failure(client.score({ service: code, event: {} }))
      expect(error).toMatchObject({ code, message: `it was ${code}`, retryAfterMs: 17 })
      expect((error.cause as { code: number }).code).toBe(status[grpcStatus])
    }
  })

  it('hides a defect and logs it', async () => {
    const error = await failure(client.score({ service: 'defect', event: {} }))
    expect(error.code).toBe('INTERNAL')
    expect(error.message).not.toContain('secret')
    expect(telemetry.logs.join('\n')).toContain('secret details')
  })

  it('names what is missing', async () => {
    const error = await failure(client.score({ service: '', event: {} }))
    expect(error).toMatchObject({ code: 'INVALID_REQUEST', message: expect.stringContaining('service') })
  })

  it('refuses a message above the limit, and goes on', async () => {
    const event = { text: 'x'.repeat(MAX_MESSAGE_BYTES) }
    const error = await failure(client.score({ service: 'echo', event }))
    expect((error.cause as { code: number }).code).toBe(status.RESOURCE_EXHAUSTED)
    expect((await client.score({ service: 'echo', event: {} })).decision).toBe('review')
  })

  it('refuses bytes that are no message, and nesting without end', async () => {
    const raw = new Client(server.address, credentials.createInsecure())
    const send = (bytes: Buffer): Promise<number> =>
      new Promise((resolve, reject) => {
        raw.makeUnaryRequest(
          '/headwater.scoring.v1.ScoringService/Score',
          (message: Buffer) => message,
          (message: Buffer) => message,
          bytes,
          error => (error === null ? reject(new Error('it did not fail')) : resolve(error.code)),
        )
      })
    expect(await send(Buffer.from([0xff, 0xff, 0xff, 0xff, 0xff]))).toBe(status.INVALID_ARGUMENT)
    raw.close()
    let nested: Value = [1]
    for (let depth = 0; depth < 40; depth++) nested = [nested]
    const error = await failure(client.score({ service: 'echo', event: { nested } }))
    expect(error).toMatchObject({ code: 'INVALID_REQUEST', message: expect.stringContaining('nested') })
  })
})

describe('the other calls', () => {
  it('ScoreBatch keeps places and isolates items', async () => {
    const services = ['a', 'bad', '', 'b']
    const results = await client.scoreBatch(services.map(service => ({ service, event: {} })))
    expect(results.map(result => (result.ok ? result.answer.decisionId : result.error.code))).toEqual([
      'd1',
      'INVALID_EVENT',
      'INVALID_REQUEST',
      'd1',
    ])
    expect(results[0]).toMatchObject({ answer: { statuses: answer.statuses } })
    expect(results[1]).toMatchObject({ error: { message: 'event: bad', retryAfterMs: 3 } })
    expect((await failure(client.scoreBatch([]))).code).toBe('INVALID_REQUEST')
  })

  it('GetFeatures takes groups or a service', async () => {
    const groups = await client.getFeatures({
      of: { kind: 'groups', groups: ['g'], entities: { card: 'c1', card_at_shop: { card: 'c1', shop: '7' } } },
      asOfMs: 5,
    })
    const features = { card: 'c1', card_at_shop: ['card', 'c1', 'shop', '7'] }
    expect(groups).toEqual({ features, statuses: { g: 'fresh' }, asOfMs: 5, planHash: 'groups' })
    const service = await client.getFeatures({ of: { kind: 'service', service: 's', event: { a: 2 } } })
    expect(service).toEqual({ features: { a: 2 }, statuses: {}, asOfMs: -1, planHash: 'service' })
  })

  it('PublishEvents answers event by event', async () => {
    const results = await client.publishEvents({ source: 'payment', events: [{ a: 1 }, {}] })
    expect(results[0]).toEqual({ ok: true, answer: { topic: 'payment', partition: 0, offset: 2 ** 40 } })
    expect(results[1]).toMatchObject({ ok: false, error: { code: 'INVALID_EVENT' } })
    expect((await failure(client.publishEvents({ source: '', events: [{}] }))).code).toBe('INVALID_REQUEST')
  })
})

describe('health', () => {
  it('answers Check for the server and its services', async () => {
    for (const name of ['', 'headwater.scoring.v1.ScoringService', 'headwater.features.v1.FeatureService']) {
      expect(await client.health(name)).toBe('SERVING')
    }
    expect((await failure(client.health('nobody'))).cause).toMatchObject({ code: status.NOT_FOUND })
  })

  it('tells watchers when the server goes away, and ends calls in flight after the grace', async () => {
    const own = await startGrpcServer({ handlers, telemetry, clock: systemClock, port: 0 })
    const watcher = new Client(own.address, credentials.createInsecure())
    const seen: number[] = []
    const stream = watcher.makeServerStreamRequest(
      '/grpc.health.v1.Health/Watch',
      (message: HealthCheckRequest) => Buffer.from(HealthCheckRequest.encode(message).finish()),
      (bytes: Buffer) => HealthCheckResponse.decode(bytes),
      { service: '' },
    )
    const ended = new Promise(resolve => stream.on('error', resolve).on('end', resolve))
    await new Promise<void>(resolve => {
      stream.on('data', (message: HealthCheckResponse) => {
        seen.push(message.status)
        resolve()
      })
    })
    const hanging = createGrpcClient({ address: own.address })
    await hanging.ready(Date.now() + 5000)
    const hung = failure(hanging.score({ service: 'hang', event: {} }))
    await new Promise(resolve => setTimeout(resolve, 20))
    await own.close(100)
    expect(await hung).toBeInstanceOf(ServerError)
    await ended
    expect(seen).toEqual([1, 2])
    hanging.close()
    watcher.close()
  })
})

describe('reflection', () => {
  const ask = (version: string, messageRequest: ServerReflectionRequest['messageRequest']) =>
    new Promise<ServerReflectionResponse['messageResponse']>((resolve, reject) => {
      const raw = new Client(server.address, credentials.createInsecure())
      const stream = raw.makeBidiStreamRequest(
        `/grpc.reflection.${version}.ServerReflection/ServerReflectionInfo`,
        (message: ServerReflectionRequest) => Buffer.from(ServerReflectionRequest.encode(message).finish()),
        (bytes: Buffer) => ServerReflectionResponse.decode(bytes),
      )
      stream.on('error', reject)
      stream.on('data', (message: ServerReflectionResponse) => {
        resolve(message.messageResponse)
        stream.end()
      })
      stream.on('end', () => raw.close())
      stream.write({ host: '', messageRequest })
    })

  it.each(['v1', 'v1alpha'])('lists the services (%s)', async version => {
    const listed = await ask(version, { $case: 'listServices', value: '*' })
    expect(listed?.$case === 'listServicesResponse' && listed.value.service.map(s => s.name).sort()).toEqual([
      'grpc.health.v1.Health',
      'grpc.reflection.v1.ServerReflection',
      'headwater.features.v1.FeatureService',
      'headwater.scoring.v1.ScoringService',
    ])
  })

  it('gives the files of a symbol with all they import', async () => {
    const found = await ask('v1', { $case: 'fileContainingSymbol', value: 'headwater.scoring.v1.ScoringService' })
    const files = found?.$case === 'fileDescriptorResponse' ? found.value.fileDescriptorProto : []
    const text = files.map(bytes => Buffer.from(bytes).toString('latin1')).join('')
    expect(files).toHaveLength(2)
    for (const part of ['ScoreBatchRequest', 'headwater/types/v1/value.proto', 'FEATURE_STATUS_STALE']) {
      expect(text).toContain(part)
    }
    const absent = await ask('v1', { $case: 'fileContainingSymbol', value: 'headwater.Nothing' })
    expect(absent).toMatchObject({ $case: 'errorResponse', value: { errorCode: status.NOT_FOUND } })
  })
})

it('says so when the port is taken', async () => {
  const taken = startGrpcServer({ handlers, telemetry, clock: systemClock, port: server.port })
  await expect(taken).rejects.toThrow(`127.0.0.1:${server.port}`)
})
