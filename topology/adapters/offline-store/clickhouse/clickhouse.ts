import type { ClickHouseSettings } from '@clickhouse/client'
import { Readable } from 'node:stream'
import { setTimeout as sleep } from 'node:timers/promises'
import { sqlIdentifier } from '../../../../features/plan/expression-sql.ts'
import { PortError } from '../../../ports/errors.ts'
import type { OfflineStore } from '../../../ports/offline-store.ts'
import { jsonRow } from '../../json-rows.ts'
import { SETTINGS, clientOf } from './connection.ts'
import { connectionFailure, failureOf, toPortError } from './failures.ts'
import type { Failure } from './failures.ts'

/** Where ClickHouse is and how to speak to it; the same for a server and for the embedded engine. */
export interface ClickHouseOptions {
  readonly url: string
  readonly database?: string
  /** Whether to make the database where it is absent; true by default. */
  readonly createDatabase?: boolean
  readonly username?: string
  readonly password?: string
  /** Attempts of a call that is safe to repeat, the first included. */
  readonly maxAttempts?: number
  /** Wait before the first repetition; doubled each time, up to five seconds. */
  readonly retryDelayMs?: number
  /** How long an answer may take, in milliseconds; of one that is longer in coming it is not known what was done. */
  readonly requestTimeoutMs?: number
  readonly maxOpenConnections?: number
  /** gzip both ways; worth it over a network, not on loopback. */
  readonly compression?: boolean
  readonly settings?: Readonly<Record<string, string | number | boolean>>
  /** For an `https` address: authorities beside the known ones, and certificate and key of this client; PEM text. */
  readonly tls?: { readonly ca?: string; readonly cert?: string; readonly key?: string }
}

const MAX_RETRY_DELAY_MS = 5_000

/** What rows are inserted with: nothing is left out or filled in silently. */
const INSERT_SETTINGS: ClickHouseSettings = {
  ...SETTINGS,
  wait_end_of_query: 1,
  input_format_skip_unknown_fields: 0,
  input_format_null_as_default: 0,
  // An import may span many months; the default refuses blocks of more than 100 partitions.
  max_partitions_per_insert_block: '10000',
}

function shortened(sql: string): string {
  const line = sql.replaceAll(/\s+/g, ' ').trim()
  return line.length <= 200 ? line : `${line.slice(0, 200)}…`
}

/** A name as ClickHouse quotes it; `a.b` names a table of a database. */
function quotedTable(table: string): string {
  return table.split('.').map(sqlIdentifier).join('.')
}

const PIECE_BYTES = 64 * 1024

function* pieces(rows: readonly Readonly<Record<string, unknown>>[]): Generator<Buffer> {
  let lines: string[] = []
  let length = 0
  for (const row of rows) {
    const line = jsonRow(row)
    lines.push(line)
    length += line.length + 1
    if (length < PIECE_BYTES) continue
    yield Buffer.from(`${lines.join('\n')}\n`)
    lines = []
    length = 0
  }
  if (lines.length > 0) yield Buffer.from(`${lines.join('\n')}\n`)
}

function brokenOff(error: unknown, url: string, what: string): PortError {
  const text = error instanceof Error ? error.message : String(error)
  const message = `The answer to ${what} broke off (${text}): the query failed half-way, or the connection to ClickHouse at ${url} was lost. Run it again.`
  return new PortError('QUERY_FAILED', message, { cause: error })
}

function queryParams(params: Readonly<Record<string, unknown>> | undefined) {
  return params === undefined ? {} : { query_params: { ...params }, use_multipart_params_auto: true }
}

type CallKind = 'command' | 'read' | 'insert' | 'tokenInsert'

/** After which failures a call is repeated: only an insert with a token may be done twice and count once. */
const REPEATED: Readonly<Record<CallKind, ReadonlySet<Failure>>> = {
  command: new Set<Failure>(['refused']),
  read: new Set<Failure>(['refused', 'lost']),
  insert: new Set<Failure>(['refused']),
  tokenInsert: new Set<Failure>(['refused', 'lost', 'busy']),
}

/** The store without the making of its database; for tools that only read and write files. */
export function connectClickHouse(options: ClickHouseOptions): OfflineStore {
  const attempts = options.maxAttempts ?? 4
  const client = clientOf(options)
  let closed = false

  const attempt = async <T>(what: string, kind: CallKind, work: () => Promise<T>): Promise<T> => {
    for (let tried = 1; ; tried += 1) {
      if (closed) throw new PortError('CLOSED', `The offline store at ${options.url} is closed.`)
      try {
        return await work()
      } catch (error) {
        const failure = failureOf(error)
        const inserting = kind === 'insert' || kind === 'tokenInsert'
        const again = failure !== null && REPEATED[kind].has(failure)
        if (!again || tried >= attempts) throw toPortError(error, options.url, what, inserting)
        await sleep(Math.min((options.retryDelayMs ?? 50) * 2 ** (tried - 1), MAX_RETRY_DELAY_MS))
      }
    }
  }

  return {
    url: options.url,
    command(sql, params) {
      return attempt(`the statement "${shortened(sql)}"`, 'command', async () => {
        await client.command({ query: sql, ...queryParams(params), clickhouse_settings: { wait_end_of_query: 1 } })
      })
    },
    query<Row>(sql: string, params?: Readonly<Record<string, unknown>>) {
      return attempt(`the query "${shortened(sql)}"`, 'read', async () => {
        const result = await client.query({ query: sql, format: 'JSONEachRow', ...queryParams(params) })
        return await result.json<Row>()
      })
    },
    async *stream<Row>(sql: string, params?: Readonly<Record<string, unknown>>) {
      const what = `the query "${shortened(sql)}"`
      const result = await attempt(what, 'read', () =>
        client.query({ query: sql, format: 'JSONEachRow', ...queryParams(params) }),
      )
      const rows = result.stream<Row>()
      try {
        for await (const chunk of rows) yield chunk.map(row => row.json())
      } catch (error) {
        if (connectionFailure(error) === null) throw toPortError(error, options.url, what, false)
        throw brokenOff(error, options.url, what)
      } finally {
        rows.destroy()
        result.close()
      }
    },
    async insert(table, rows, token) {
      if (rows.length === 0) return
      const what = `${rows.length} rows for the table ${table}`
      const dedup = token === undefined ? {} : { insert_deduplication_token: token }
      await attempt(what, token === undefined ? 'insert' : 'tokenInsert', async () => {
        const result = await client.exec({
          query: `INSERT INTO ${quotedTable(table)} FORMAT JSONEachRow`,
          values: Readable.from(pieces(rows), { objectMode: false }),
          clickhouse_settings: { ...INSERT_SETTINGS, ...dedup },
        })
        for await (const chunk of result.stream) void chunk
      })
    },
    export(sql, format, exporting) {
      return attempt(`the query "${shortened(sql)}"`, 'read', async () => {
        if (!/^[A-Za-z0-9]+$/.test(format)) throw new PortError('QUERY_FAILED', `'${format}' is no name of a format.`)
        const query = `${sql.trimEnd().replace(/;$/, '')}\nFORMAT ${format}`
        // The level 2 refuses every change but that of settings, of which a query brings its own.
        const reading: ClickHouseSettings = exporting?.readOnly === true ? { readonly: '2' } : {}
        const color = exporting?.color === true ? 1 : 0
        const settings: ClickHouseSettings = { ...reading, output_format_pretty_color: color }
        const result = await client.exec({ query, clickhouse_settings: settings })
        return result.stream
      })
    },
    async close() {
      closed = true
      await client.close()
    },
  }
}

/**
 * The offline store on ClickHouse's HTTP interface, through the official client: a server, or the embedded engine that
 * some process serves. Makes the database when absent, unless told not to.
 *
 * `QUERY_FAILED` carries ClickHouse's own text and code, `STORE_UNAVAILABLE` means it was not reached, or could not take
 * rows, after the bounded number of attempts; or that it does not know the user. A call that did not reach the server
 * is always repeated; one whose answer was lost only when that is safe: reads, and inserts with a token. Such an insert
 * is also repeated after errors that pass (memory, parts, time, replicas).
 *
 * In rows, decimals come as numbers (exact up to 15 digits; select `toString(x)` for more) and a double that is not a
 * number or is infinite comes as the string `nan`, `inf` or `-inf`, which `insert` accepts in turn.
 */
export async function openClickHouseOfflineStore(options: ClickHouseOptions): Promise<OfflineStore> {
  const database = options.database ?? 'headwater'
  if (options.createDatabase !== false) await createDatabase(options, database)
  return connectClickHouse({ ...options, database })
}

/** A user that may not make databases can still connect to one that is there. */
async function createDatabase(options: ClickHouseOptions, database: string): Promise<void> {
  const setup = connectClickHouse({ ...options, database: 'default' })
  try {
    const found = await setup.query('SELECT 1 FROM system.databases WHERE name = {name:String}', { name: database })
    if (found.length === 0) await setup.command('CREATE DATABASE IF NOT EXISTS {name:Identifier}', { name: database })
  } finally {
    await setup.close()
  }
}
