import { readFileSync } from 'node:fs'
import { rootCertificates } from 'node:tls'
import type { ConnectionOptions } from 'node:tls'
import { Redis } from 'ioredis'
import type { RedisOptions } from 'ioredis'
import { PortError } from '../../../ports/errors.ts'
import type { Telemetry } from '../../../ports/telemetry.ts'
import { SCRIPTS } from './scripts.ts'

/** Where Redis is and how to log in; texts are empty where there is nothing to say. */
export interface RedisConnectionOptions {
  readonly mode: 'single' | 'sentinel' | 'cluster'
  /** `host:port`: of the server, of the sentinels, or of some nodes of the cluster. */
  readonly addresses: readonly string[]
  readonly sentinelName: string
  readonly username: string
  readonly password: string
  readonly sentinelPassword: string
  readonly commandTimeoutMs: number
  readonly tls: boolean
  /** PEM files. */
  readonly tlsCa: string
  readonly tlsCert: string
  readonly tlsKey: string
}

/** A host and a port. */
export interface Address {
  readonly host: string
  readonly port: number
}

/** A connection to one server, and what was last seen wrong with it. */
export interface Node {
  readonly address: string
  readonly client: Redis
  /** Settles once, when the connection is first usable or first fails. */
  readonly opened: Promise<void>
  /** Why it was last not to be reached. */
  trouble: string
  corked: boolean
  /** The server's own id, where it was seen. */
  runId: string
  /** Scripts on their way to the server, by SHA-1. */
  readonly loading: Map<string, Promise<void>>
}

const FIRST_RECONNECT_MS = 25
const MAX_RECONNECT_MS = 2_000
const DEFAULT_PORT = 6379
const DEFAULT_SENTINEL_PORT = 26_379

/** `host:port`, with brackets around an IPv6 address or without. Errors: no host, or no port. */
export function parseAddress(text: string, defaultPort = DEFAULT_PORT): Address {
  if (/[/@]/.test(text)) {
    const message =
      'onlineStore.addresses takes host:port, no URL: set onlineStore.username, onlineStore.password and onlineStore.tls'
    throw new PortError('STORE_UNAVAILABLE', message)
  }
  const match = /^(?:\[([^\]]+)\]|([^:]+|[^:]*:[^:]*:.*?))(?::(\d+))?$/.exec(text)
  const host = match?.[1] ?? match?.[2]
  const port = Number(match?.[3] ?? defaultPort)
  if (host === undefined || host === '' || port < 1 || port > 65_535) {
    throw new PortError('STORE_UNAVAILABLE', `onlineStore.addresses: ${JSON.stringify(text)} is not host:port`)
  }
  return { host, port }
}

/** The key of a node. */
export function addressText({ host, port }: Address): string {
  return host.includes(':') ? `[${host}]:${port}` : `${host}:${port}`
}

function pem(path: string, setting: string): string | undefined {
  if (path === '') return undefined
  try {
    return readFileSync(path, 'utf8')
  } catch (error) {
    throw new PortError('STORE_UNAVAILABLE', `onlineStore.${setting}: ${path} cannot be read`, { cause: error })
  }
}

function tlsOptions(options: RedisConnectionOptions): ConnectionOptions | undefined {
  if (!options.tls) return undefined
  const ca = pem(options.tlsCa, 'tlsCa')
  return {
    ...(ca === undefined ? {} : { ca: [...rootCertificates, ca] }),
    cert: pem(options.tlsCert, 'tlsCert'),
    key: pem(options.tlsKey, 'tlsKey'),
  }
}

function reconnectDelayMs(times: number): number {
  return Math.min(MAX_RECONNECT_MS, FIRST_RECONNECT_MS * 2 ** Math.min(times - 1, 10))
}

/**
 * What makes the fence hold: the client sends a command once. It neither queues what it cannot send, nor sends again
 * what was not answered, after a failover least of all. A lost connection fails what was on it and is made anew.
 */
function commonOptions(options: RedisConnectionOptions): Omit<RedisOptions, 'replyMapping'> {
  const tls = tlsOptions(options)
  return {
    ...(tls === undefined ? {} : { tls }),
    ...(options.username === '' ? {} : { username: options.username }),
    ...(options.password === '' ? {} : { password: options.password }),
    protocol: 2,
    lazyConnect: true,
    connectionName: 'headwater',
    disableClientInfo: true,
    enableOfflineQueue: false,
    enableReadyCheck: true,
    enableAutoPipelining: false,
    autoResubscribe: false,
    autoResendUnfulfilledCommands: false,
    maxRetriesPerRequest: 0,
    commandTimeout: options.commandTimeoutMs,
    socketTimeout: options.commandTimeoutMs,
    connectTimeout: options.commandTimeoutMs,
    retryStrategy: reconnectDelayMs,
    // A primary that became a replica: its address may by now lead elsewhere.
    reconnectOnError: error => error.message.startsWith('READONLY'),
  }
}

/** A connection to one server of the options, or of a cluster. Nothing is waited for. */
export function connectNode(options: RedisConnectionOptions, address: Address, telemetry: Telemetry): Node {
  return watch(new Redis({ ...commonOptions(options), ...address }), addressText(address), telemetry)
}

/** A connection to the primary that the sentinels name, and to its successor. Nothing is waited for. */
export function connectSentinel(options: RedisConnectionOptions, telemetry: Telemetry): Node {
  const common = commonOptions(options)
  const client = new Redis({
    ...common,
    sentinels: options.addresses.map(address => ({ ...parseAddress(address, DEFAULT_SENTINEL_PORT) })),
    name: options.sentinelName,
    role: 'master',
    failoverDetector: true,
    sentinelRetryStrategy: reconnectDelayMs,
    sentinelReconnectStrategy: reconnectDelayMs,
    sentinelCommandTimeout: options.commandTimeoutMs,
    ...(options.sentinelPassword === '' ? {} : { sentinelPassword: options.sentinelPassword }),
    ...(common.tls === undefined ? {} : { enableTLSForSentinelMode: true, sentinelTLS: common.tls }),
  })
  return watch(client, `${options.sentinelName} by way of the sentinels ${options.addresses.join(', ')}`, telemetry)
}

function watch(client: Redis, address: string, telemetry: Telemetry): Node {
  const opened = Promise.withResolvers<void>()
  // Whoever needs the connection sees why it failed; nobody else has to.
  opened.promise.catch(() => undefined)
  const node: Node = {
    address,
    client,
    opened: opened.promise,
    trouble: '',
    corked: false,
    runId: '',
    loading: new Map(),
  }
  const failed = (error: Error): void => {
    node.trouble = error.message
    opened.reject(error)
  }
  client.on('error', failed)
  client.on('close', () => {
    failed(new Error(node.trouble === '' ? 'the connection was closed' : node.trouble))
    node.loading.clear()
    telemetry.count('online_store_lost_connections', 1)
  })
  client.on('ready', () => {
    node.trouble = ''
    // They arrive before anything that runs them; should that fail, each is loaded when it is missed.
    for (const { text } of SCRIPTS) client.script('LOAD', text).catch(() => undefined)
    opened.resolve()
    void identify(node, telemetry)
  })
  client.connect().catch(failed)
  return node
}

/** Notes which server this is; another one than before is counted, for it may lack what the former had acknowledged. */
async function identify(node: Node, telemetry: Telemetry): Promise<void> {
  try {
    const runId = /^run_id:(\w+)/m.exec(await node.client.info('server'))?.[1] ?? ''
    if (node.runId !== '' && runId !== node.runId) {
      telemetry.count('online_store_failovers', 1)
      telemetry.log('warn', 'another Redis answers where one was before: it restarted, or a replica took its place', {
        address: node.address,
      })
    }
    node.runId = runId
  } catch {
    // A user without INFO, or a connection that is gone again: the fence does not need to know.
  }
}

/** Commands that are given to the connection until this turn of the event loop ends leave in one write. */
export function cork(node: Node): void {
  const { stream } = node.client
  if (node.corked || stream === undefined || stream.destroyed) return
  node.corked = true
  stream.cork()
  process.nextTick(() => {
    node.corked = false
    stream.uncork()
  })
}

const REMEDIES: readonly (readonly [RegExp, string])[] = [
  [/WRONGPASS|NOAUTH|invalid username-password/, 'check onlineStore.username and onlineStore.password'],
  [/NOPERM|No permissions|can't run this command/, 'the user lacks a permission; "headwater doctor" names it'],
  [/^READONLY/, 'this is a replica; onlineStore.addresses must lead to the primary'],
  [/^OOM/, 'its memory is used up; raise maxmemory ("headwater doctor" says more)'],
  [/^MISCONF/, 'it cannot persist; see its log'],
  [/^NOREPLICAS/, 'too few replicas are in step, see min-replicas-to-write'],
  [/^(CLUSTERDOWN|MASTERDOWN)/, 'part of the cluster has no primary; see "CLUSTER INFO"'],
  [/cluster support disabled/, 'this server is no cluster; set onlineStore.mode to single or sentinel'],
  [/^(MOVED|ASK)/, 'this server is part of a cluster; set onlineStore.mode to cluster'],
  [/ECONNREFUSED|ENOTFOUND|EHOSTUNREACH|ETIMEDOUT/, 'is it running, and is onlineStore.addresses right?'],
  [/timed out|timeout/i, 'it is overloaded or cannot be reached, or onlineStore.commandTimeoutMs is too short'],
  [/certificate|self.signed|altnames|\bSSL\b|\bTLS\b/i, 'check onlineStore.tls and its files'],
  [/wrong version number|EPROTO|Protocol error/i, 'does one side speak TLS and the other not? See onlineStore.tls'],
  [/wrong kind of value|another format/, 'something else writes into this namespace; give it another one'],
]

/** What of ioredis's own messages reads as if it were the user's doing. */
const CLIENT_WORDS: readonly (readonly [RegExp, string])[] = [
  [/max retries per request limit|Connection is closed|aborted due to connection close/, 'the connection was lost'],
  [/enableOfflineQueue|Stream isn't writeable/, 'there is no connection'],
]

/**
 * The port's error for what the client threw. Commands and their arguments are left out: they hold state, and the
 * password where it was a log-in that failed.
 */
export function unavailable(node: Node | null, error: unknown): PortError {
  if (error instanceof PortError) return error
  const raw = error instanceof Error ? error.message : String(error)
  const own = CLIENT_WORDS.find(([pattern]) => pattern.test(raw))?.[1]
  const trouble = own !== undefined && node !== null && node.trouble !== '' ? ` (${node.trouble})` : ''
  const message = `${own ?? raw}${trouble}`
  const remedy = REMEDIES.find(([pattern]) => pattern.test(message))?.[1]
  const where = node === null ? 'Redis' : `Redis at ${node.address}`
  return new PortError('STORE_UNAVAILABLE', `${where}: ${message}${remedy === undefined ? '' : `; ${remedy}`}`)
}

/** Resolves when the connection was made. Errors: it was not, after the first attempt or within `maxWaitMs`. */
export async function awaitOpened(node: Node, maxWaitMs: number): Promise<void> {
  let timer: NodeJS.Timeout | undefined
  const late = new Promise<never>((_, reject) => {
    timer = setTimeout(() => {
      reject(new Error(`no connection within ${maxWaitMs} ms${node.trouble === '' ? '' : `: ${node.trouble}`}`))
    }, maxWaitMs)
  })
  try {
    await Promise.race([node.opened, late])
  } catch (error) {
    throw unavailable(node, error)
  } finally {
    clearTimeout(timer)
  }
}
