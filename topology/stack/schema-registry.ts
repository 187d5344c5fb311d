import { readFileSync, renameSync, writeFileSync } from 'node:fs'
import { createServer } from 'node:http'
import type { IncomingMessage, RequestListener, Server, ServerResponse } from 'node:http'
import { createServer as createSecureServer } from 'node:https'
import type { AddressInfo } from 'node:net'
import { join } from 'node:path'
import { incompatibilities, recordName } from '../adapters/value-format/avro-compatibility.ts'
import type { Compatibility } from '../ports/schema-registry.ts'

/** How a registry is started. */
export interface SchemaRegistryOptions {
  /** Where schemas are kept, in one file; absent: in memory alone. */
  readonly folder?: string
  /** On the loopback address; 0 or absent for any free one. */
  readonly port?: number
  /** Asked of every request when given. */
  readonly login?: { readonly username: string; readonly password: string }
  /** PEM texts; the server then speaks https. With `ca` it asks clients for certificates of that authority. */
  readonly tls?: { readonly cert: string; readonly key: string; readonly ca?: string }
}

/** A running registry. */
export interface SchemaRegistryServer {
  readonly url: string
  readonly port: number
  /** Every request that was taken, such as `GET /schemas/ids/1`. */
  readonly requests: readonly string[]
  stop(): Promise<void>
}

interface Stored {
  readonly schemas: string[]
  readonly subjects: Record<string, { versions: { version: number; id: number }[]; compatibility?: Compatibility }>
  compatibility: Compatibility
}

interface Reply {
  readonly status: number
  readonly body: unknown
}

const MAX_REQUEST_BYTES = 1024 * 1024
const MAX_REQUESTS_KEPT = 100_000
const RULES: readonly string[] = [
  'NONE',
  'BACKWARD',
  'BACKWARD_TRANSITIVE',
  'FORWARD',
  'FORWARD_TRANSITIVE',
  'FULL',
  'FULL_TRANSITIVE',
]

const ok = (body: unknown): Reply => ({ status: 200, body })
const failed = (status: number, code: number, message: string): Reply => ({
  status,
  body: { error_code: code, message },
})
const noSubject = (subject: string): Reply => failed(404, 40401, `Subject '${subject}' not found.`)

/** What speaks against a new version, by the rule of its subject. */
function objections(stored: Stored, subject: string, schema: string, only?: number): readonly string[] {
  const known = stored.subjects[subject]
  const rule = known?.compatibility ?? stored.compatibility
  const all = (known?.versions ?? []).toReversed()
  const against =
    only === undefined ? (rule.endsWith('_TRANSITIVE') ? all : all.slice(0, 1)) : all.filter(v => v.version === only)
  const found: string[] = []
  for (const { version, id } of against) {
    const before = stored.schemas[id - 1] as string
    const pairs: [string, string][] = []
    if (rule.startsWith('BACKWARD') || rule.startsWith('FULL')) pairs.push([schema, before])
    if (rule.startsWith('FORWARD') || rule.startsWith('FULL')) pairs.push([before, schema])
    for (const [reader, writer] of pairs) {
      for (const { field, what } of incompatibilities(reader, writer)) {
        found.push(`version ${version}${field === null ? '' : `, field '${field}'`}: ${what}`)
      }
    }
  }
  return found
}

function register(stored: Stored, subject: string, text: unknown): Reply {
  const schema = checked(text)
  if (typeof schema !== 'string') return schema
  const against = objections(stored, subject, schema)
  const known = stored.schemas.indexOf(schema) + 1
  const entry = (stored.subjects[subject] ??= { versions: [] })
  if (entry.versions.some(each => each.id === known)) return ok({ id: known })
  if (against.length > 0) {
    const message = `Schema being registered is incompatible with an earlier schema for subject "${subject}": ${against.join('; ')}`
    return failed(409, 409, message)
  }
  const id = known === 0 ? stored.schemas.push(schema) : known
  entry.versions.push({ version: (entry.versions.at(-1)?.version ?? 0) + 1, id })
  return ok({ id })
}

/** The schema as text without white space, or why it is none. */
function checked(text: unknown): string | Reply {
  try {
    if (typeof text !== 'string') throw new TypeError('the schema must be text')
    recordName(text)
    return JSON.stringify(JSON.parse(text))
  } catch (error) {
    return failed(422, 42201, `Invalid schema: ${error instanceof Error ? error.message : String(error)}`)
  }
}

type Route = (stored: Stored, parts: readonly string[], body: Readonly<Record<string, unknown>>) => Reply

function versionOf(stored: Stored, subject: string, version: string): Reply {
  const entry = stored.subjects[subject]
  if (entry === undefined) return noSubject(subject)
  const found =
    version === 'latest' ? entry.versions.at(-1) : entry.versions.find(each => String(each.version) === version)
  if (found === undefined) return failed(404, 40402, `Version ${version} not found.`)
  return ok({ subject, id: found.id, version: found.version, schema: stored.schemas[found.id - 1] })
}

const ROUTES: readonly (readonly [string, RegExp, Route])[] = [
  [
    'GET',
    /^\/schemas\/ids\/(\d+)$/,
    (stored, [id = '']) => {
      const schema = stored.schemas[Number(id) - 1]
      return schema === undefined ? failed(404, 40403, `Schema ${id} not found`) : ok({ schema })
    },
  ],
  [
    'GET',
    /^\/subjects$/,
    stored => ok(Object.keys(stored.subjects).filter(name => stored.subjects[name]?.versions.length)),
  ],
  [
    'GET',
    /^\/subjects\/([^/]+)\/versions$/,
    (stored, [subject = '']) => {
      const versions = stored.subjects[subject]?.versions ?? []
      return versions.length === 0 ? noSubject(subject) : ok(versions.map(each => each.version))
    },
  ],
  [
    'GET',
    /^\/subjects\/([^/]+)\/versions\/([^/]+)$/,
    (stored, [subject = '', version = '']) => versionOf(stored, subject, version),
  ],
  [
    'POST',
    /^\/subjects\/([^/]+)\/versions$/,
    (stored, [subject = ''], body) => register(stored, subject, body['schema']),
  ],
  [
    'POST',
    /^\/subjects\/([^/]+)$/,
    (stored, [subject = ''], body) => {
      const schema = checked(body['schema'])
      if (typeof schema !== 'string') return schema
      const entry = stored.subjects[subject]
      if (entry === undefined) return noSubject(subject)
      const id = stored.schemas.indexOf(schema) + 1
      const found = entry.versions.find(each => each.id === id)
      return found === undefined ? failed(404, 40403, 'Schema not found') : ok({ subject, ...found, schema })
    },
  ],
  [
    'POST',
    /^\/compatibility\/subjects\/([^/]+)\/versions\/([^/]+)$/,
    (stored, [subject = '', version = ''], body) => {
      const schema = checked(body['schema'])
      if (typeof schema !== 'string') return schema
      const found = versionOf(stored, subject, version)
      if (found.status !== 200) return found
      const messages = objections(stored, subject, schema, (found.body as { version: number }).version)
      return ok({ is_compatible: messages.length === 0, messages })
    },
  ],
  ['GET', /^\/config$/, stored => ok({ compatibilityLevel: stored.compatibility })],
  ['PUT', /^\/config$/, (stored, _parts, body) => withRule(body, rule => (stored.compatibility = rule))],
  [
    'GET',
    /^\/config\/([^/]+)$/,
    (stored, [subject = '']) => {
      const rule = stored.subjects[subject]?.compatibility
      const message = `Subject '${subject}' does not have subject-level compatibility configured`
      return rule === undefined ? failed(404, 40408, message) : ok({ compatibilityLevel: rule })
    },
  ],
  [
    'PUT',
    /^\/config\/([^/]+)$/,
    (stored, [subject = ''], body) =>
      withRule(body, rule => ((stored.subjects[subject] ??= { versions: [] }).compatibility = rule)),
  ],
]

function withRule(body: Readonly<Record<string, unknown>>, set: (rule: Compatibility) => void): Reply {
  const rule = body['compatibility']
  if (typeof rule !== 'string' || !RULES.includes(rule)) return failed(422, 42203, 'Invalid compatibility level')
  set(rule as Compatibility)
  return ok({ compatibility: rule })
}

async function readBody(request: IncomingMessage): Promise<Readonly<Record<string, unknown>>> {
  const chunks: Buffer[] = []
  let bytes = 0
  for await (const chunk of request as AsyncIterable<Buffer>) {
    bytes += chunk.length
    if (bytes > MAX_REQUEST_BYTES) throw new Error(`a request has more than ${MAX_REQUEST_BYTES} bytes`)
    chunks.push(chunk)
  }
  return bytes === 0 ? {} : (JSON.parse(Buffer.concat(chunks).toString('utf8')) as Record<string, unknown>)
}

function answer(stored: Stored, method: string, path: string, body: Readonly<Record<string, unknown>>): Reply {
  for (const [verb, pattern, route] of ROUTES) {
    const match = verb === method ? pattern.exec(path) : null
    if (match !== null) return route(stored, match.slice(1).map(decodeURIComponent), body)
  }
  return failed(404, 404, 'HTTP 404 Not Found')
}

/**
 * Starts a schema registry in this process, on the loopback address, with Confluent's REST contract: Avro schemas,
 * subjects, versions and all compatibility rules. For tests and for trying things out; it has no replicas.
 */
export async function startSchemaRegistry(options: SchemaRegistryOptions = {}): Promise<SchemaRegistryServer> {
  const { folder, tls } = options
  const file = folder === undefined ? null : join(folder, 'schema-registry.json')
  const stored = readStored(file)
  const requests: string[] = []
  const expected =
    options.login === undefined
      ? null
      : `Basic ${Buffer.from(`${options.login.username}:${options.login.password}`).toString('base64')}`

  async function replyTo(request: IncomingMessage): Promise<Reply> {
    if (expected !== null && request.headers.authorization !== expected) return failed(401, 40101, 'Unauthorized')
    const { method = 'GET', url = '/' } = request
    const path = url.replace(/\?.*$/, '')
    if (requests.length < MAX_REQUESTS_KEPT) requests.push(`${method} ${path}`)
    const reply = answer(stored, method, path, await readBody(request))
    if (method !== 'GET' && file !== null) {
      writeFileSync(`${file}.new`, JSON.stringify(stored))
      renameSync(`${file}.new`, file)
    }
    return reply
  }
  const respond = async (request: IncomingMessage, response: ServerResponse): Promise<void> => {
    let reply: Reply
    try {
      reply = await replyTo(request)
    } catch (error) {
      reply = failed(500, 50001, error instanceof Error ? error.message : String(error))
    }
    response.writeHead(reply.status, { 'content-type': 'application/vnd.schemaregistry.v1+json' })
    response.end(JSON.stringify(reply.body))
  }
  const listener: RequestListener = (request, response) => void respond(request, response)
  const server: Server =
    tls === undefined
      ? createServer(listener)
      : createSecureServer(
          {
            cert: tls.cert,
            key: tls.key,
            ...(tls.ca === undefined ? {} : { ca: tls.ca, requestCert: true, rejectUnauthorized: true }),
          },
          listener,
        )
  await new Promise<void>((resolve, reject) => {
    server.once('error', reject)
    server.listen(options.port ?? 0, '127.0.0.1', resolve)
  })
  const { port } = server.address() as AddressInfo
  return {
    url: `${tls === undefined ? 'http' : 'https'}://127.0.0.1:${port}`,
    port,
    requests,
    stop: () =>
      new Promise<void>((resolve, reject) => {
        server.close(error => (error === undefined ? resolve() : reject(error)))
        server.closeAllConnections()
      }),
  }
}

function readStored(file: string | null): Stored {
  const empty: Stored = { schemas: [], subjects: {}, compatibility: 'BACKWARD' }
  if (file === null) return empty
  try {
    return JSON.parse(readFileSync(file, 'utf8')) as Stored
  } catch (error) {
    if ((error as { code?: string }).code === 'ENOENT') return empty
    throw error
  }
}
