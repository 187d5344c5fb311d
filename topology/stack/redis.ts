import { mkdirSync, writeFileSync } from 'node:fs'
import { basename, join, resolve } from 'node:path'
import { PortError } from '../ports/errors.ts'
import { makeCertificates } from './certificates.ts'
import type { Certificates } from './certificates.ts'
import { freePorts } from './ports.ts'
import { askRedis } from './redis-client.ts'
import type { RedisAddress, RedisReply } from './redis-client.ts'
import { startServer, versionOf, withFreshPorts } from './server-process.ts'
import type { Server, ServerSpec } from './server-process.ts'

const HOST = '127.0.0.1'
const OLDEST_REDIS = 7
const READY_MS = 20_000
const GRACE_MS = 10_000

/** A user that may log in, with the rules of Redis' ACL: `['~*', '&*', '+@all']`. */
export interface RedisUser {
  readonly name: string
  readonly password: string
  readonly rules: readonly string[]
}

/** How a Redis is started; nothing is written to disk unless `appendonly` or `args` say so. */
export interface RedisOptions {
  /** Of its own; made when it is not there. */
  readonly folder: string
  /** Name in a stack and in messages; the folder's last part when absent. */
  readonly name?: string
  /** A free one when absent. */
  readonly port?: number
  /** More arguments of redis-server: `['--maxmemory', '64mb']`. */
  readonly args?: readonly string[]
  /** Listens for encrypted connections alone, with these certificates, or with new ones of an authority of its own. */
  readonly tls?: boolean | Certificates
  /** Users beside the default one, which is switched off when there are any. The first is the one `command` uses. */
  readonly users?: readonly RedisUser[]
  /** Keeps writes in an append-only file that is forced to disk at each write, or every second. */
  readonly appendonly?: 'always' | 'everysec'
  /** The primary to copy from. */
  readonly replicaOf?: { readonly host: string; readonly port: number }
  /** The bus port of a node of a Redis Cluster. */
  readonly clusterBusPort?: number
  /** Outlives this process. */
  readonly detached?: boolean
}

/** A running Redis. */
export interface RedisServer extends Server {
  readonly host: string
  readonly port: number
  readonly folder: string
  /** Of the authority and the client, where it is encrypted. */
  readonly certificates: Certificates | null
  /** How to connect as the first user. */
  readonly address: RedisAddress
  /** One command on a connection of its own. */
  command(...words: readonly (string | number)[]): Promise<RedisReply>
}

/** Why no Redis can be started here, with the remedy, or null. */
export function redisProblem(): string | null {
  const remedy = `install Redis ${OLDEST_REDIS} or newer (Debian and Ubuntu: apt-get install redis-server)`
  const text = versionOf('redis-server', ['--version'])
  if (text === null) return `redis-server is not on the PATH; ${remedy}`
  const version = /v=(\d+)/.exec(text)?.[1]
  return version !== undefined && Number(version) < OLDEST_REDIS
    ? `redis-server is version ${version}; ${remedy}`
    : null
}

function quoted(word: string): string {
  return /^[^\s"'\\]+$/.test(word) ? word : `"${word.replaceAll(/["\\]/g, '\\$&')}"`
}

function configuration(options: RedisOptions, port: number, certificates: Certificates | null): string {
  const lines: (readonly (string | number)[])[] = [
    ['bind', HOST],
    ['daemonize', 'no'],
    ['dir', options.folder],
    ['save', ''],
    ['maxmemory-policy', 'noeviction'],
    ['appendonly', options.appendonly === undefined ? 'no' : 'yes'],
    ['appendfsync', options.appendonly ?? 'everysec'],
    ['repl-diskless-sync-delay', 0],
  ]
  if (certificates === null) lines.push(['port', port])
  else {
    lines.push(['port', 0], ['tls-port', port], ['tls-replication', 'yes'], ['tls-auth-clients', 'optional'])
    lines.push(['tls-ca-cert-file', certificates.ca])
    lines.push(['tls-cert-file', certificates.serverCert], ['tls-key-file', certificates.serverKey])
  }
  for (const user of options.users ?? []) lines.push(['user', user.name, 'on', `>${user.password}`, ...user.rules])
  if ((options.users ?? []).length > 0) lines.push(['user', 'default', 'off'])
  if (options.replicaOf !== undefined) lines.push(['replicaof', options.replicaOf.host, options.replicaOf.port])
  if (options.clusterBusPort !== undefined) {
    lines.push(['cluster-enabled', 'yes'], ['cluster-config-file', 'nodes.conf'], ['cluster-node-timeout', 2_000])
    lines.push(['cluster-port', options.clusterBusPort])
  }
  return `${lines.map(([name, ...words]) => [name, ...words.map(word => (word === '' ? '""' : quoted(String(word))))].join(' ')).join('\n')}\n`
}

/**
 * Starts one Redis on a loopback port; resolves when it takes connections.
 * @throws PortError SERVER_UNAVAILABLE when redis-server is not installed, SERVER_FAILED with the end of its log when it
 * does not start
 */
export async function startRedis(options: RedisOptions): Promise<RedisServer> {
  if (options.port !== undefined) return startOn(options, options.port)
  return withFreshPorts(async () => {
    const [port] = await freePorts(1)
    if (port === undefined) throw new PortError('SERVER_FAILED', 'no free port was found')
    return startOn(options, port)
  })
}

async function startOn(options: RedisOptions, port: number): Promise<RedisServer> {
  const folder = resolve(options.folder)
  const problem = redisProblem()
  if (problem !== null) throw new PortError('SERVER_UNAVAILABLE', problem)
  mkdirSync(folder, { recursive: true })
  const certificates = options.tls === true ? makeCertificates(folder) : options.tls || null
  const file = join(folder, 'redis.conf')
  writeFileSync(file, configuration({ ...options, folder }, port, certificates), { mode: 0o600 })
  const spec: ServerSpec = {
    name: options.name ?? basename(folder),
    kind: 'redis',
    host: HOST,
    port,
    folder,
    command: 'redis-server',
    args: [file, ...(options.args ?? [])],
    readyLine: 'Ready to accept connections',
  }
  const server = await startServer(spec, { detached: options.detached ?? false, readyMs: READY_MS, graceMs: GRACE_MS })
  return redisServer(server, certificates, options.users?.[0] ?? null)
}

function redisServer(server: Server, certificates: Certificates | null, user: RedisUser | null): RedisServer {
  const { host, port, folder } = server.spec
  const address: RedisAddress = {
    host,
    port,
    ...(certificates === null
      ? {}
      : { tls: { ca: certificates.ca, cert: certificates.clientCert, key: certificates.clientKey } }),
    ...(user === null ? {} : { username: user.name, password: user.password }),
  }
  return Object.assign(server, {
    host,
    port,
    folder,
    certificates,
    address,
    command: (...words: readonly (string | number)[]) => askRedis(address, ...words),
  })
}
