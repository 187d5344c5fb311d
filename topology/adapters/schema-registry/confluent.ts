import { Agent as HttpAgent, request as httpRequest } from 'node:http'
import type { IncomingMessage } from 'node:http'
import { Agent as HttpsAgent, request as httpsRequest } from 'node:https'
import { rootCertificates } from 'node:tls'
import { PortError } from '../../ports/errors.ts'
import type { Compatibility, RegisteredSchema, SchemaRegistry } from '../../ports/schema-registry.ts'
import { inlineReferences } from './references.ts'
import type { SchemaReference } from './references.ts'

/** Where a registry is and how to log in. */
export interface RegistryOptions {
  readonly url: string
  /** Empty for none. */
  readonly username?: string
  readonly password?: string
  readonly requestTimeoutMs: number
  /** PEM texts: authorities beside the system's, and this client's own certificate and key. */
  readonly ca?: string
  readonly cert?: string
  readonly key?: string
}

interface Answer {
  readonly status: number
  readonly body: unknown
  readonly text: string
}

const MAX_ANSWER_BYTES = 8 * 1024 * 1024
const MAX_CONNECTIONS = 16
const MEDIA_TYPE = 'application/vnd.schemaregistry.v1+json'

/** Confluent's codes for what there is not: a subject, a version, a schema, a rule of a subject's own. */
const NOT_FOUND = { subject: 40401, version: 40402, schema: 40403, rule: 40408 } as const

function unavailable(message: string, cause?: unknown): PortError {
  return new PortError('REGISTRY_UNAVAILABLE', message, cause === undefined ? undefined : { cause })
}

function errorOf(answer: Answer): { readonly code: number; readonly message: string } {
  const body = answer.body as { error_code?: unknown; message?: unknown } | null
  const code = typeof body?.error_code === 'number' ? body.error_code : 0
  const message = typeof body?.message === 'string' ? body.message : answer.text.slice(0, 200)
  return { code, message }
}

async function readAnswer(message: IncomingMessage): Promise<Answer> {
  const chunks: Buffer[] = []
  let bytes = 0
  for await (const chunk of message as AsyncIterable<Buffer>) {
    bytes += chunk.length
    if (bytes > MAX_ANSWER_BYTES) throw new Error(`the answer has more than ${MAX_ANSWER_BYTES} bytes`)
    chunks.push(chunk)
  }
  const text = Buffer.concat(chunks).toString('utf8')
  let body: unknown = null
  try {
    body = JSON.parse(text)
  } catch {
    // Told apart by the status; the text is quoted.
  }
  return { status: message.statusCode ?? 0, body, text }
}

type Call = (method: 'GET' | 'PUT' | 'POST', path: string, body?: unknown) => Promise<Answer>

/** Opens nothing before the first call. Connections are kept and reused, 16 at most. */
function createCaller(options: RegistryOptions): { readonly call: Call; readonly close: () => void } {
  const base = new URL(options.url)
  const where = `the schema registry at ${base.host}`
  const secure = base.protocol === 'https:'
  const tls = {
    ...(options.ca === undefined ? {} : { ca: [...rootCertificates, options.ca] }),
    ...(options.cert === undefined ? {} : { cert: options.cert }),
    ...(options.key === undefined ? {} : { key: options.key }),
  }
  const pool = { keepAlive: true, maxSockets: MAX_CONNECTIONS }
  const agent = secure ? new HttpsAgent({ ...pool, ...tls }) : new HttpAgent(pool)
  const prefix = base.pathname.replace(/\/+$/, '')
  const user =
    options.username !== undefined && options.username !== '' ? options.username : decodeURIComponent(base.username)
  const password =
    options.password !== undefined && options.password !== '' ? options.password : decodeURIComponent(base.password)

  /** Null when a connection that was kept turns out to be closed by the other side: every call is safe to repeat. */
  function once(method: string, path: string, payload: string | null): Promise<Answer | null> {
    const { promise, resolve, reject } = Promise.withResolvers<Answer | null>()
    const request = (secure ? httpsRequest : httpRequest)({
      agent,
      method,
      hostname: base.hostname.replace(/^\[|\]$/g, ''),
      port: base.port === '' ? (secure ? 443 : 80) : Number(base.port),
      path: `${prefix}${path}`,
      signal: AbortSignal.timeout(options.requestTimeoutMs),
      ...(user === '' ? {} : { auth: `${user}:${password}` }),
      headers: {
        accept: `${MEDIA_TYPE}, application/json`,
        ...(payload === null ? {} : { 'content-type': MEDIA_TYPE, 'content-length': Buffer.byteLength(payload) }),
      },
    })
    request.on('response', message => void readAnswer(message).then(resolve, reject))
    request.on('error', error => {
      const stale = request.reusedSocket && (error as { code?: string }).code === 'ECONNRESET'
      if (stale) resolve(null)
      else reject(error)
    })
    request.end(payload ?? undefined)
    return promise
  }

  return {
    call: async (method, path, body) => {
      let answer: Answer | null = null
      try {
        const payload = body === undefined ? null : JSON.stringify(body)
        for (let tries = 0; answer === null && tries <= MAX_CONNECTIONS; tries++)
          answer = await once(method, path, payload)
      } catch (error) {
        const timedOut = error instanceof Error && (error.name === 'TimeoutError' || error.name === 'AbortError')
        const why = timedOut ? `it did not answer within ${options.requestTimeoutMs} ms` : describe(error)
        throw unavailable(`${where} does not answer: ${why}`, error)
      }
      if (answer === null) throw unavailable(`${where} closes every connection`)
      if (answer.status === 401 || answer.status === 403) {
        throw unavailable(
          `${where} refuses the login (${answer.status}); check schemaRegistry.username and schemaRegistry.password`,
        )
      }
      const isOurs =
        [200, 404, 409, 422].includes(answer.status) && typeof answer.body === 'object' && answer.body !== null
      if (!isOurs || (answer.status === 404 && errorOf(answer).code === 404)) {
        const remedy = answer.status >= 500 || answer.status === 429 ? '' : '; check schemaRegistry.url'
        throw unavailable(`${where} answers ${answer.status}: ${errorOf(answer).message}${remedy}`)
      }
      return answer
    },
    close: () => agent.destroy(),
  }
}

function describe(error: unknown): string {
  if (error instanceof AggregateError && error.errors.length > 0) return describe(error.errors[0])
  return error instanceof Error ? error.message : String(error)
}

function pathOf(...parts: readonly (string | number)[]): string {
  return `/${parts.map(part => encodeURIComponent(part)).join('/')}`
}

interface StoredSchema {
  readonly id?: number
  readonly version?: number
  readonly schema: string
  readonly references?: readonly SchemaReference[]
}

/** A registry that speaks Confluent's REST contract, as Confluent's own, Karapace and Apicurio's do. */
export function openConfluentRegistry(options: RegistryOptions): SchemaRegistry {
  const { call, close } = createCaller(options)

  async function storedVersion(subject: string, version: number): Promise<StoredSchema | null> {
    const answer = await call('GET', pathOf('subjects', subject, 'versions', version))
    if (answer.status === 404) return null
    return expectOk(answer) as StoredSchema
  }

  async function whole(stored: StoredSchema): Promise<string> {
    const { schema, references } = stored
    if (references === undefined || references.length === 0) return schema
    return await inlineReferences(schema, references, async ({ subject, version }) => {
      const found = await storedVersion(subject, version)
      if (found === null) throw unavailable(`a schema refers to version ${version} of ${subject}, which is not there`)
      return { schema: found.schema, references: found.references ?? [] }
    })
  }

  return {
    schemaById: async id => {
      const answer = await call('GET', pathOf('schemas', 'ids', id))
      if (answer.status === 404 && errorOf(answer).code === NOT_FOUND.schema) return null
      return await whole(expectOk(answer) as StoredSchema)
    },
    versions: async subject => {
      const answer = await call('GET', pathOf('subjects', subject, 'versions'))
      if (answer.status === 404 && errorOf(answer).code === NOT_FOUND.subject) return []
      const versions: RegisteredSchema[] = []
      for (const version of expectOk(answer) as readonly number[]) {
        const stored = await storedVersion(subject, version)
        if (stored !== null) versions.push({ id: stored.id ?? 0, version, schema: await whole(stored) })
      }
      return versions
    },
    register: async (subject, schema) => {
      const answer = await call('POST', pathOf('subjects', subject, 'versions'), { schema, schemaType: 'AVRO' })
      return (expectOk(answer) as { readonly id: number }).id
    },
    compatibility: async subject => {
      const own = await call('GET', pathOf('config', subject))
      const none = own.status === 404 && [NOT_FOUND.subject, NOT_FOUND.rule].some(code => code === errorOf(own).code)
      const answer = none ? await call('GET', pathOf('config')) : own
      const rule = expectOk(answer) as { compatibilityLevel?: Compatibility; compatibility?: Compatibility }
      return rule.compatibilityLevel ?? rule.compatibility ?? 'BACKWARD'
    },
    setCompatibility: async (subject, compatibility) => {
      expectOk(await call('PUT', pathOf('config', subject), { compatibility }))
    },
    close: () => {
      close()
      return Promise.resolve()
    },
  }
}

/** The body of an answer that is well; a refusal is passed on in the registry's own words. */
function expectOk(answer: Answer): unknown {
  if (answer.status === 200) return answer.body
  const { message } = errorOf(answer)
  if (answer.status === 404) throw unavailable(`the schema registry answers: ${message}`)
  throw new PortError('SCHEMA_MISMATCH', `the schema registry refuses: ${message}`)
}
