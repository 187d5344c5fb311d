import type { IncomingMessage } from 'node:http'
import type { Readable } from 'node:stream'
import { PassThrough, pipeline } from 'node:stream'
import { createBrotliDecompress, createGunzip, createInflate, createZstdDecompress } from 'node:zlib'
import { HttpFailure } from './engine-error.ts'

/** A request of ClickHouse's HTTP interface with its body still unread. */
export interface HttpQuery {
  readonly queryId: string
  readonly database: string
  readonly defaultFormat: string
  readonly waitEndOfQuery: boolean
  readonly compress: boolean
  readonly settings: ReadonlyMap<string, string>
  readonly params: Map<string, string>
  /** The statement in the address; empty when the body carries it. */
  readonly query: string
  readonly readOnly: boolean
  readonly multipart: boolean
  /** The body, decompressed. */
  readonly body: Readable
}

/** Parameters of the address that are not settings of the engine. */
const IGNORED = new Set([
  'query',
  'query_id',
  'database',
  'default_format',
  'user',
  'password',
  'quota_key',
  'enable_http_compression',
  'http_zlib_compression_level',
  'wait_end_of_query',
  'buffer_size',
  'stacktrace',
  'send_progress_in_http_headers',
  'http_headers_progress_interval_ms',
  'cancel_http_readonly_queries_on_client_close',
  'add_http_cors_header',
  'close_session',
  'session_timeout',
  'session_check',
])

const REFUSED: ReadonlyMap<string, string> = new Map([
  ['session_id', 'Sessions are not kept by the embedded ClickHouse engine; send settings with each request.'],
  ['role', 'Roles are not kept by the embedded ClickHouse engine.'],
  ['compress', 'Native compression is not served here; use enable_http_compression=1 with Accept-Encoding.'],
  ['decompress', 'Native compression is not served here; use the header Content-Encoding.'],
])

const DECOMPRESSORS: Readonly<Record<string, () => NodeJS.ReadWriteStream & Readable>> = {
  gzip: createGunzip,
  'x-gzip': createGunzip,
  deflate: createInflate,
  br: createBrotliDecompress,
  zstd: createZstdDecompress,
}

function flag(value: string | null | undefined): boolean {
  return value === '1' || value === 'true'
}

function decompressed(request: IncomingMessage): Readable {
  const encoding = request.headers['content-encoding']?.trim().toLowerCase()
  if (encoding === undefined || encoding === '' || encoding === 'identity') return request
  const make = Object.hasOwn(DECOMPRESSORS, encoding) ? DECOMPRESSORS[encoding] : undefined
  if (make === undefined) {
    throw new HttpFailure(
      48,
      'NOT_IMPLEMENTED',
      `Content-Encoding '${encoding}' is not known; use gzip, deflate, br or zstd.`,
    )
  }
  const target = new PassThrough()
  pipeline(request, make(), target, () => undefined)
  return target
}

/** Reads everything about a request but its body. */
export function readHttpQuery(request: IncomingMessage, url: URL, newId: () => string): HttpQuery {
  const settings = new Map<string, string>()
  const params = new Map<string, string>()
  for (const [name, value] of url.searchParams) {
    const refusal = REFUSED.get(name)
    if (refusal !== undefined && value !== '' && value !== '0') throw new HttpFailure(48, 'NOT_IMPLEMENTED', refusal)
    if (name.startsWith('param_')) params.set(name.slice(6), value)
    else if (!IGNORED.has(name) && refusal === undefined) settings.set(name, value)
  }
  const header = (name: string): string => {
    const value = request.headers[name]
    return (Array.isArray(value) ? value[0] : value) ?? ''
  }
  return {
    queryId: url.searchParams.get('query_id') || header('x-clickhouse-query-id') || newId(),
    database: url.searchParams.get('database') || header('x-clickhouse-database') || 'default',
    defaultFormat: header('x-clickhouse-format') || url.searchParams.get('default_format') || 'TabSeparated',
    waitEndOfQuery: flag(url.searchParams.get('wait_end_of_query')),
    compress: flag(url.searchParams.get('enable_http_compression')) && /\bgzip\b/i.test(header('accept-encoding')),
    settings,
    params,
    query: url.searchParams.get('query') ?? '',
    readOnly: request.method === 'GET',
    multipart: header('content-type').toLowerCase().startsWith('multipart/form-data'),
    body: decompressed(request),
  }
}

/** Text of a body of at most `maxBytes`. */
export async function readText(body: AsyncIterable<Uint8Array>, maxBytes: number): Promise<string> {
  const chunks: Uint8Array[] = []
  let bytes = 0
  for await (const chunk of body) {
    bytes += chunk.length
    if (bytes > maxBytes) throw tooLarge(maxBytes, 'statement')
    chunks.push(chunk)
  }
  return Buffer.concat(chunks).toString('utf8')
}

/** The answer to a body above its bound. */
export function tooLarge(maxBytes: number, what: 'statement' | 'request body'): HttpFailure {
  const remedy = what === 'statement' ? 'send data apart from the statement' : 'send the rows in smaller inserts'
  return new HttpFailure(307, 'TOO_MANY_BYTES', `The ${what} is larger than ${maxBytes} bytes; ${remedy}.`, 413)
}

/** A body read in two parts: a head that is looked at, then everything again from its start. */
export interface SplitBody {
  readonly head: Buffer
  readonly complete: boolean
  /** What follows the head. */
  rest(): AsyncIterable<Uint8Array>
}

/** Reads at least `headBytes` of a body, or all of it. */
export async function splitBody(body: Readable, headBytes: number): Promise<SplitBody> {
  const iterator = body[Symbol.asyncIterator]() as AsyncIterator<Uint8Array>
  const chunks: Uint8Array[] = []
  let bytes = 0
  let complete = false
  while (bytes < headBytes) {
    const next = await iterator.next()
    if (next.done === true) {
      complete = true
      break
    }
    chunks.push(next.value)
    bytes += next.value.length
  }
  return {
    head: Buffer.concat(chunks),
    complete,
    async *rest() {
      while (!complete) {
        const next = await iterator.next()
        if (next.done === true) return
        yield next.value
      }
    },
  }
}

/** Fields of a multipart form: `query` and `param_*`, as the official client sends long parameters. */
export async function readForm(query: HttpQuery, contentType: string, maxBytes: number): Promise<string> {
  const boundary = /boundary="?([^";]+)"?/i.exec(contentType)?.[1]
  const text = `\r\n${await readText(query.body, maxBytes)}`
  const parts = boundary === undefined ? [] : text.split(`\r\n--${boundary}`)
  if (parts.length < 2 || !parts.at(-1)?.startsWith('--')) {
    throw new HttpFailure(36, 'BAD_ARGUMENTS', 'The multipart body cannot be read.')
  }
  let statement = query.query
  for (const part of parts.slice(1, -1)) {
    const gap = part.indexOf('\r\n\r\n')
    const head = part.slice(0, Math.max(0, gap))
    const name = /;\s*name="([^"]*)"/i.exec(head)?.[1]
    if (gap < 0 || name === undefined || /;\s*filename=/i.test(head)) {
      throw new HttpFailure(
        48,
        'NOT_IMPLEMENTED',
        'A form carries only query and param_ fields here, no external tables.',
      )
    }
    const value = part.slice(gap + 4)
    if (name === 'query') statement += value
    else if (name.startsWith('param_')) query.params.set(name.slice(6), value)
    else
      throw new HttpFailure(
        48,
        'NOT_IMPLEMENTED',
        `The form field '${name}' is not known; use query and param_ fields.`,
      )
  }
  return statement
}
