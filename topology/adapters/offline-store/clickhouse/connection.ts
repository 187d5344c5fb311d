import type { ClickHouseClient, ClickHouseSettings, ClickHouseClientConfigOptions } from '@clickhouse/client'
import { ClickHouseLogLevel, createClient } from '@clickhouse/client'
import { Agent } from 'node:https'
import { rootCertificates } from 'node:tls'
import type { ClickHouseOptions } from './clickhouse.ts'

/** What every statement is sent with, so that answers do not depend on a server's configuration. */
export const SETTINGS: ClickHouseSettings = {
  async_insert: 0,
  join_use_nulls: 1,
  join_algorithm: 'hash',
  output_format_json_quote_64bit_integers: 1,
  output_format_json_quote_denormals: 1,
}

const MAX_OPEN_CONNECTIONS = 16

/**
 * Authorities are added to the known ones, not put in their place. A certificate of this client says who it is to
 * ClickHouse only where no password does; ClickHouse refuses both at once.
 */
function encryption(options: ClickHouseOptions): ClickHouseClientConfigOptions {
  const { tls } = options
  if (tls === undefined) return {}
  const ca = [...rootCertificates, ...(tls.ca === undefined ? [] : [tls.ca])].join('\n')
  if (tls.cert === undefined || tls.key === undefined) return { tls: { ca_cert: Buffer.from(ca) } }
  const [cert, key] = [Buffer.from(tls.cert), Buffer.from(tls.key)]
  if ((options.password ?? '') === '') return { tls: { ca_cert: Buffer.from(ca), cert, key } }
  const maxSockets = options.maxOpenConnections ?? MAX_OPEN_CONNECTIONS
  return { http_agent: new Agent({ keepAlive: true, maxSockets, ca, cert, key }) }
}

/** A client of the official library; its connections are kept open between calls. */
export function clientOf(options: ClickHouseOptions): ClickHouseClient {
  return createClient({
    url: options.url,
    database: options.database ?? 'default',
    username: options.username ?? 'default',
    password: options.password ?? '',
    application: 'headwater',
    request_timeout: options.requestTimeoutMs ?? 600_000,
    max_open_connections: options.maxOpenConnections ?? MAX_OPEN_CONNECTIONS,
    keep_alive: { enabled: true },
    compression: { request: options.compression ?? false, response: options.compression ?? false },
    clickhouse_settings: { ...SETTINGS, ...options.settings },
    log: { level: ClickHouseLogLevel.OFF },
    ...encryption(options),
  })
}
