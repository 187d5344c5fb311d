import { ClickHouseError } from '@clickhouse/client'
import { PortError } from '../../../ports/errors.ts'

/**
 * What a failed call may mean. `refused`: it never reached ClickHouse, or was turned away before anything was done.
 * `lost`: whether it was done is not known. `busy`: ClickHouse could not finish it now and may later. null: it is wrong,
 * and would be wrong again.
 */
export type Failure = 'refused' | 'lost' | 'busy' | null

const REFUSED = new Set(['ECONNREFUSED', 'EHOSTUNREACH', 'ENETUNREACH', 'ENOTFOUND', 'EAI_AGAIN'])
const BROKEN = new Set(['ECONNRESET', 'EPIPE', 'ETIMEDOUT', 'ECONNABORTED', 'UND_ERR_SOCKET'])

/** Codes of ClickHouse for a query that was turned away at the door: too many at once, or overloaded. */
const TURNED_AWAY = new Set(['202', '203', '745'])

/**
 * Codes of ClickHouse for what may go well later: time, memory, parts, space, replicas, Keeper, the network behind it,
 * a server that starts or stops. An insert that fails so may have been done in part, or whole.
 */
const LATER = new Set([
  ...['3', '32', '33', '74', '75', '76', '159', '160', '198', '204', '209', '210', '225', '236', '241', '242', '243'],
  ...['244', '252', '254', '265', '279', '285', '286', '297', '305', '319', '335', '364', '373', '394', '425', '439'],
  ...['473', '499', '517', '519', '999', '1000'],
])

const UNKNOWN_USER = new Set(['192', '193', '194', '516'])
const NO_RIGHT = new Set(['497'])

const TLS_FAILURE = /^(ERR_TLS_|ERR_SSL_|EPROTO$|CERT_|DEPTH_ZERO_|SELF_SIGNED_|UNABLE_TO_)/

function codeOf(error: unknown): string {
  const code = (error as { readonly code?: unknown }).code
  if (typeof code === 'string') return code
  const inner: unknown = error instanceof AggregateError ? error.errors[0] : null
  return inner === null || inner === undefined ? '' : codeOf(inner)
}

/** Whether the connection itself failed, as opposed to what ClickHouse, or something before it, answered. */
export function connectionFailure(error: unknown): 'refused' | 'lost' | null {
  if (error instanceof ClickHouseError) return null
  const code = codeOf(error)
  if (REFUSED.has(code)) return 'refused'
  if (BROKEN.has(code)) return 'lost'
  return error instanceof Error && /socket hang up|aborted|ECONNRESET|Timeout error/.test(error.message) ? 'lost' : null
}

/** Sorts an error of the client. An answer that is not ClickHouse's comes from a proxy on the way: `lost`. */
export function failureOf(error: unknown): Failure {
  if (error instanceof PortError || error instanceof TypeError || error instanceof RangeError) return null
  if (error instanceof ClickHouseError) {
    if (TURNED_AWAY.has(error.code)) return 'refused'
    return LATER.has(error.code) ? 'busy' : null
  }
  return connectionFailure(error) ?? (TLS_FAILURE.test(codeOf(error)) ? null : 'lost')
}

const MAX_TEXT_LENGTH = 2_000

function textOf(error: unknown): string {
  const text = error instanceof Error ? error.message || error.name : String(error)
  return text.length <= MAX_TEXT_LENGTH ? text.trim() : `${text.slice(0, MAX_TEXT_LENGTH)}…`
}

/**
 * The error of the port. `later` says that it was an insert, whose caller holds on to the rows: what ClickHouse cannot
 * take now is `STORE_UNAVAILABLE` then, so that nobody takes it for rows that are wrong.
 */
export function toPortError(error: unknown, url: string, what: string, later: boolean): PortError {
  if (error instanceof PortError) return error
  const text = textOf(error)
  if (error instanceof ClickHouseError) {
    const said = `Code: ${error.code}. DB::Exception: ${text} (${error.type ?? 'UNKNOWN'})`
    if (UNKNOWN_USER.has(error.code)) {
      const message = `ClickHouse at ${url} does not know this user or password: check offlineStore.username and offlineStore.password. ${said}`
      return new PortError('STORE_UNAVAILABLE', message, { cause: error })
    }
    if (NO_RIGHT.has(error.code)) {
      const message = `ClickHouse refused ${what}, because the user of offlineStore.username lacks a right: ${said}`
      return new PortError('QUERY_FAILED', message, { cause: error })
    }
    const failure = failureOf(error)
    if (failure === 'refused' || (later && failure === 'busy')) {
      const message = `ClickHouse at ${url} cannot take ${what} now: ${said}`
      return new PortError('STORE_UNAVAILABLE', message, { cause: error })
    }
    return new PortError('QUERY_FAILED', `ClickHouse refused ${what}: ${said}`, { cause: error })
  }
  if (connectionFailure(error) !== null) {
    const message = `Cannot reach ClickHouse at ${url} (${text}) for ${what}. Check that it runs and that the address is right (offlineStore.url).`
    return new PortError('STORE_UNAVAILABLE', message, { cause: error })
  }
  if (TLS_FAILURE.test(codeOf(error))) {
    const message =
      `No encrypted connection to ClickHouse at ${url} (${text}). Check that the address is that of its https port, ` +
      'and offlineStore.tlsCa, offlineStore.tlsCert and offlineStore.tlsKey.'
    return new PortError('STORE_UNAVAILABLE', message, { cause: error })
  }
  const code = failureOf(error) === null ? 'QUERY_FAILED' : 'STORE_UNAVAILABLE'
  return new PortError(code, `ClickHouse at ${url} did not answer ${what}: ${text}`, { cause: error })
}
