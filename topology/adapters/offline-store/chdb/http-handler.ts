import { randomUUID } from 'node:crypto'
import { createReadStream, createWriteStream } from 'node:fs'
import { rm } from 'node:fs/promises'
import type { IncomingMessage, ServerResponse } from 'node:http'
import { join } from 'node:path'
import { Readable } from 'node:stream'
import { pipeline } from 'node:stream/promises'
import { sqlString } from '../../../../features/plan/expression-sql.ts'
import type { ConnectionPool, Lease } from './connections.ts'
import { requireCredentials } from './credentials.ts'
import type { Credentials } from './credentials.ts'
import { HttpFailure, toEngineError } from './engine-error.ts'
import { once, sendChunks, startAnswer, withFirst } from './http-answer.ts'
import type { HttpQuery } from './http-request.ts'
import { readForm, readHttpQuery, readText, splitBody, tooLarge } from './http-request.ts'
import type { Statement } from './statement.ts'
import { isReading, parseStatement } from './statement.ts'

/** What the handler works with; see `startChdbServer` for the meaning of the limits. */
export interface HandlerOptions {
  readonly readers: ConnectionPool
  readonly writers: ConnectionPool
  readonly spoolDirectory: string
  readonly instance: string
  readonly engineVersion: string
  readonly maxRequestBytes: number
  readonly maxStatementBytes: number
  readonly stalledClientMs: number
  /** Names that a Host or Origin header may carry. */
  readonly hostNames: ReadonlySet<string>
  /** null where nobody is asked for a password. */
  readonly credentials: Credentials | null
}

const HEAD_BYTES = 64 * 1024

/** Formats whose chunks can be joined; of all others the engine writes one whole document. */
const CHUNKED_FORMATS = new Set([
  'JSONEachRow',
  'JSONLines',
  'NDJSON',
  'JSONCompactEachRow',
  'JSONStringsEachRow',
  'JSONCompactStringsEachRow',
  'TabSeparated',
  'TSV',
  'TabSeparatedRaw',
  'TSVRaw',
  'CSV',
  'LineAsString',
  'RowBinary',
  'Native',
])

type Select = Extract<Statement, { readonly kind: 'select' }>

async function answerSelect(
  options: HandlerOptions,
  response: ServerResponse,
  query: HttpQuery,
  lease: Lease,
  statement: Select,
): Promise<void> {
  const format = statement.format ?? query.defaultFormat
  if (statement.outfile) {
    throw new HttpFailure(48, 'NOT_IMPLEMENTED', 'INTO OUTFILE is not allowed over HTTP; the answer is the file.')
  }
  if (format === 'Null') {
    const done = await lease.run(statement.sql, 'Null')
    startAnswer(response, query, format, done)
    return await sendChunks(response, query, '', once(new Uint8Array()), options.stalledClientMs)
  }
  if (CHUNKED_FORMATS.has(format) && !query.waitEndOfQuery) {
    const iterator = lease.stream(statement.sql, format)[Symbol.asyncIterator]()
    const first = await iterator.next()
    const tag = startAnswer(response, query, format, null)
    return await sendChunks(response, query, tag, withFirst(first, iterator), options.stalledClientMs)
  }
  const path = join(options.spoolDirectory, `${randomUUID()}.out`)
  try {
    const done = await lease.run(
      `${statement.sql}\nINTO OUTFILE ${sqlString(path)} COMPRESSION 'none' FORMAT ${format}`,
      format,
    )
    const tag = startAnswer(response, query, format, done)
    await sendChunks(response, query, tag, createReadStream(path), options.stalledClientMs)
  } catch (error) {
    if (response.headersSent) throw error
    throw new HttpFailureFrom(error, path)
  } finally {
    await rm(path, { force: true })
  }
}

/** A refusal by the engine of a statement that names a spool file. */
class HttpFailureFrom extends Error {
  readonly path: string
  constructor(cause: unknown, path: string) {
    super('the engine refused the statement', { cause })
    this.path = path
  }
}

type InsertData = Extract<Statement, { readonly kind: 'insertData' }>

async function spool(
  path: string,
  first: Uint8Array,
  rest: AsyncIterable<Uint8Array>,
  maxBytes: number,
): Promise<number> {
  let bytes = 0
  async function* bounded(): AsyncGenerator<Uint8Array> {
    for (const part of [once(first), rest]) {
      for await (const chunk of part) {
        bytes += chunk.length
        if (bytes > maxBytes) throw tooLarge(maxBytes, 'request body')
        yield chunk
      }
    }
  }
  await pipeline(Readable.from(bounded(), { objectMode: false }), createWriteStream(path, { flags: 'wx', mode: 0o600 }))
  return bytes
}

async function answerInsert(
  options: HandlerOptions,
  response: ServerResponse,
  query: HttpQuery,
  statement: InsertData,
  data: { readonly first: Uint8Array; readonly rest: AsyncIterable<Uint8Array> },
): Promise<void> {
  const path = join(options.spoolDirectory, `${randomUUID()}.in`)
  try {
    await spool(path, data.first, data.rest, options.maxRequestBytes)
    const sql = `${statement.head} FROM INFILE ${sqlString(path)} COMPRESSION 'none' ${statement.settings} FORMAT ${statement.format}`
    const done = await withLease(options.writers, query, statement.placeholders, true, lease =>
      lease.run(sql, 'TabSeparated'),
    )
    startAnswer(response, query, 'TabSeparated', done, true)
    await sendChunks(response, query, '', once(new Uint8Array()), options.stalledClientMs)
  } catch (error) {
    throw new HttpFailureFrom(error, path)
  } finally {
    await rm(path, { force: true })
  }
}

async function withLease<T>(
  pool: ConnectionPool,
  query: HttpQuery,
  placeholders: readonly string[],
  reusable: boolean,
  work: (lease: Lease) => Promise<T>,
): Promise<T> {
  const { database, settings, params } = query
  const lease = await pool.lease({ database, settings, params, placeholders })
  try {
    return await work(lease)
  } finally {
    lease.release(reusable)
  }
}

async function answerStatement(
  options: HandlerOptions,
  response: ServerResponse,
  query: HttpQuery,
  statement: Exclude<Statement, { readonly kind: 'insertData' }>,
): Promise<void> {
  if (statement.kind === 'empty') throw new HttpFailure(62, 'SYNTAX_ERROR', 'Syntax error: the query is empty.')
  if (statement.kind === 'many')
    throw new HttpFailure(62, 'SYNTAX_ERROR', 'Syntax error: multi-statements are not allowed.')
  const reusable = statement.kind !== 'session'
  await withLease(options.readers, query, statement.placeholders, reusable, async lease => {
    if (statement.kind === 'select') return await answerSelect(options, response, query, lease, statement)
    const format = statement.kind === 'show' ? (statement.format ?? query.defaultFormat) : query.defaultFormat
    const done = await lease.run(statement.sql, format)
    const tag = startAnswer(response, query, format, done, statement.kind === 'other')
    await sendChunks(response, query, tag, once(done.bytes), options.stalledClientMs)
  })
}

async function answerQuery(
  options: HandlerOptions,
  request: IncomingMessage,
  response: ServerResponse,
  query: HttpQuery,
): Promise<void> {
  if (query.multipart) {
    const text = await readForm(query, request.headers['content-type'] ?? '', options.maxStatementBytes)
    const statement = parseStatement(text, true)
    if (statement === null || statement.kind === 'insertData') {
      throw new HttpFailure(48, 'NOT_IMPLEMENTED', 'An INSERT with data cannot be sent as a form.')
    }
    return await answerStatement(options, response, query, statement)
  }
  const fromAddress = query.query === '' ? null : parseStatement(query.query, true)
  if (fromAddress?.kind === 'insertData') {
    if (query.readOnly) throw readOnly()
    const first = Buffer.from(query.query.slice(fromAddress.dataStart), 'utf8')
    return await answerInsert(options, response, query, fromAddress, { first, rest: query.body })
  }
  const body = await splitBody(query.body, HEAD_BYTES)
  const prefix = query.query === '' ? '' : `${query.query}\n`
  const headText = prefix + body.head.toString('utf8')
  const early = parseStatement(headText, body.complete)
  if (early?.kind === 'insertData') {
    if (query.readOnly) throw readOnly()
    const skipped = Buffer.byteLength(headText.slice(prefix.length, early.dataStart), 'utf8')
    return await answerInsert(options, response, query, early, {
      first: body.head.subarray(skipped),
      rest: body.rest(),
    })
  }
  let statement: Statement | null = early
  if (statement === null) {
    async function* whole(): AsyncGenerator<Uint8Array> {
      yield body.head
      yield* body.rest()
    }
    statement = parseStatement(prefix + (await readText(whole(), options.maxStatementBytes)), true)
  }
  if (statement === null || statement.kind === 'insertData') throw new HttpFailure(62, 'SYNTAX_ERROR', 'Syntax error.')
  if (query.readOnly && !isReading(statement) && statement.kind !== 'empty' && statement.kind !== 'many')
    throw readOnly()
  await answerStatement(options, response, query, statement)
}

function readOnly(): HttpFailure {
  return new HttpFailure(
    164,
    'READONLY',
    'Cannot execute query in readonly mode. For queries over HTTP, method GET implies readonly; use POST.',
  )
}

function hostOf(value: string): string {
  return URL.canParse(`http://${value}`) ? new URL(`http://${value}`).hostname : value
}

/** Web pages of other origins must not reach the store through a browser on this machine. */
function refuseForeign(options: HandlerOptions, request: IncomingMessage): void {
  const host = hostOf(request.headers.host ?? 'localhost')
  const origin = request.headers.origin
  const originHost = origin === undefined ? host : URL.canParse(origin) ? new URL(origin).hostname : origin
  for (const [name, value] of [
    ['Host', host],
    ['Origin', originHost],
  ] as const) {
    if (options.hostNames.has(value)) continue
    throw new HttpFailure(497, 'ACCESS_DENIED', `${name} '${value}' is not an address of this store.`, 403)
  }
}

function sendFailure(
  options: HandlerOptions,
  request: IncomingMessage,
  response: ServerResponse,
  error: unknown,
): void {
  const failure = error instanceof HttpFailureFrom ? toEngineError(error.cause, error.path) : toEngineError(error)
  if (response.headersSent || response.destroyed) {
    response.destroy()
    return
  }
  for (const name of ['Content-Encoding', 'X-ClickHouse-Summary', 'X-ClickHouse-Exception-Tag'])
    response.removeHeader(name)
  response.statusCode = failure.status
  response.setHeader('Content-Type', 'text/plain; charset=UTF-8')
  response.setHeader('X-ClickHouse-Exception-Code', String(failure.code))
  if (!request.complete) response.setHeader('Connection', 'close')
  const version = failure.text.includes('(version ') ? '' : ` (version ${options.engineVersion})`
  response.end(`${failure.text.trimEnd()}${version}\n`)
  if (!request.complete) request.resume()
}

function sendPlain(response: ServerResponse, status: number, text: string): void {
  response.statusCode = status
  response.setHeader('Content-Type', 'text/html; charset=UTF-8')
  response.end(text)
}

/** Handles one request; never rejects. */
export async function handleRequest(
  options: HandlerOptions,
  request: IncomingMessage,
  response: ServerResponse,
): Promise<void> {
  response.on('error', () => undefined)
  try {
    response.setHeader('X-ClickHouse-Server-Display-Name', options.instance)
    refuseForeign(options, request)
    const url = new URL(request.url ?? '/', 'http://localhost')
    const reading = request.method === 'GET' || request.method === 'HEAD'
    if (url.pathname === '/ping' && reading) return sendPlain(response, 200, 'Ok.\n')
    if (url.pathname !== '/') return sendPlain(response, 404, `There is no handle ${url.pathname}\n\nUse / or /ping.\n`)
    if (request.method === 'HEAD') return sendPlain(response, 200, '')
    if (!reading && request.method !== 'POST') return sendPlain(response, 501, 'Use GET or POST.\n')
    if (reading && !url.searchParams.has('query')) return sendPlain(response, 200, 'Ok.\n')
    if (options.credentials !== null) requireCredentials(options.credentials, request, url)
    const query = readHttpQuery(request, url, randomUUID)
    response.setHeader('X-ClickHouse-Query-Id', query.queryId.replaceAll(/[^\x20-\x7e]/g, '?'))
    response.setHeader('X-ClickHouse-Timezone', 'UTC')
    await answerQuery(options, request, response, query)
  } catch (error) {
    sendFailure(options, request, response, error)
  }
}
