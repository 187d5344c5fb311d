import { SETTINGS } from './settings.ts'
import type { Setting } from './settings.ts'

/** How a connection is encrypted; files are PEM, empty for none. */
export interface TlsConfig {
  readonly tls: boolean
  /** Authorities that the server's certificate is checked against, beside the well-known ones. */
  readonly tlsCa: string
  /** Certificate and key of this client, for servers that ask for them. */
  readonly tlsCert: string
  readonly tlsKey: string
}

/** Everything a process can be told, after defaults. */
export interface Config {
  /** Modules that export definitions, relative to the configuration file. */
  readonly features: readonly string[]
  /** Separates systems that share a store. */
  readonly namespace: string
  readonly dataDirectory: string
  readonly eventLog: {
    readonly kind: 'embedded' | 'kafka'
    readonly maxRecordBytes: number
    readonly brokers: readonly string[]
    readonly clientId: string
    /** Copies of each partition that new topics get; 0 for the cluster's default. */
    readonly replicationFactor: number
    readonly compression: 'none' | 'gzip' | 'snappy' | 'lz4' | 'zstd'
    readonly sessionTimeoutMs: number
    /** Fetched records of one partition that may wait for the worker. */
    readonly maxBufferedBytes: number
    readonly saslMechanism: 'none' | 'plain' | 'scram-sha-256' | 'scram-sha-512'
    readonly username: string
    readonly password: string
  } & TlsConfig
  readonly schemaRegistry: {
    /** Empty where there is none. */
    readonly url: string
    readonly username: string
    readonly password: string
    readonly requestTimeoutMs: number
  } & TlsConfig
  readonly onlineStore: {
    readonly kind: 'embedded' | 'redis'
    readonly mode: 'single' | 'sentinel' | 'cluster'
    /** `host:port`: of the server, of the sentinels, or of some nodes of the cluster. */
    readonly addresses: readonly string[]
    /** The name under which the sentinels know the primary. */
    readonly sentinelName: string
    readonly username: string
    readonly password: string
    readonly sentinelPassword: string
    readonly commandTimeoutMs: number
  } & TlsConfig
  readonly offlineStore: {
    readonly kind: 'chdb' | 'clickhouse'
    /** Loopback port of the embedded engine, 0 for any free one. */
    readonly port: number
    readonly url: string
    readonly database: string
    readonly username: string
    readonly password: string
    readonly requestTimeoutMs: number
    /** Rows of events, scores and labels are deleted so many days after they arrived; 0 keeps them for ever. */
    readonly retentionDays: number
  } & TlsConfig
  readonly models: { readonly directory: string }
  readonly server: {
    readonly host: string
    readonly port: number
    readonly maxMessageBytes: number
    readonly maxQueuedRows: number
    readonly drainMs: number
  }
  readonly worker: {
    readonly maxBatchRecords: number
    readonly maxBatchBytes: number
    readonly maxCachedBytes: number
  }
}

/** What a `headwater.config.ts` may hold: any part of the configuration. */
export type ConfigFile = {
  readonly [Key in keyof Config]?: Config[Key] extends readonly unknown[] | string ? Config[Key] : Partial<Config[Key]>
}

/** Types the object a `headwater.config.ts` exports. */
export function defineConfig(config: ConfigFile): ConfigFile {
  return config
}

/**
 * The same settings over embedded engines in a folder of their own, whatever servers are configured: for work that must
 * not touch a running system.
 */
export function embeddedConfig(config: Config, dataDirectory: string, namespace: string): Config {
  return {
    ...config,
    dataDirectory,
    namespace,
    eventLog: { ...config.eventLog, kind: 'embedded' },
    onlineStore: { ...config.onlineStore, kind: 'embedded' },
    offlineStore: { ...config.offlineStore, kind: 'chdb' },
  }
}

/** One thing wrong with the configuration, and where it was said. */
export interface ConfigProblem {
  readonly origin: string
  readonly key: string
  readonly message: string
}

/** `server.maxQueuedRows` → `HEADWATER_SERVER_MAX_QUEUED_ROWS`. */
export function environmentName(key: string): string {
  return `HEADWATER_${key
    .replaceAll('.', '_')
    .replaceAll(/([a-z])([A-Z])/g, '$1_$2')
    .toUpperCase()}`
}

/** Flattens nested objects to dotted keys; lists and plain values are leaves. */
function flatten(value: unknown, prefix: string, into: Map<string, unknown>): void {
  if (typeof value === 'object' && value !== null && !Array.isArray(value)) {
    for (const [key, inner] of Object.entries(value)) flatten(inner, prefix === '' ? key : `${prefix}.${key}`, into)
  } else if (value !== undefined) {
    into.set(prefix, value)
  }
}

function parseText(setting: Setting, text: string): unknown {
  if (setting.type.kind === 'list') return text === '' ? [] : text.split(',').map(part => part.trim())
  if (setting.type.kind === 'boolean') return text === 'true' ? true : text === 'false' ? false : text
  if (setting.type.kind === 'int') return /^-?\d+$/.test(text) ? Number(text) : text
  return text
}

function wrongValue(setting: Setting, value: unknown): string | null {
  const { type } = setting
  const shown = /password$/i.test(setting.key) ? `a value of type ${typeof value}` : JSON.stringify(value)
  switch (type.kind) {
    case 'string':
      if (typeof value !== 'string') return `must be text, got ${shown}`
      return type.pattern !== undefined && !type.pattern.test(value) ? `must be ${type.hint}, got ${shown}` : null
    case 'int':
      if (typeof value === 'number' && Number.isInteger(value) && value >= type.min && value <= type.max) return null
      return `must be a whole number from ${type.min} to ${type.max}, got ${shown}`
    case 'choice':
      return typeof value === 'string' && type.values.includes(value)
        ? null
        : `must be one of ${type.values.join(', ')}, got ${shown}`
    case 'boolean':
      return typeof value === 'boolean' ? null : `must be true or false, got ${shown}`
    case 'list':
      return Array.isArray(value) &&
        (value.length > 0 || type.mayBeEmpty === true) &&
        value.every(item => typeof item === 'string' && item !== '')
        ? null
        : `must be a list of ${type.of}, got ${shown}`
  }
}

function nearest(key: string, known: readonly string[]): string {
  const lower = key.toLowerCase()
  const tail = lower.split('.').at(-1) ?? lower
  const match = known.find(k => k.toLowerCase() === lower) ?? known.find(k => k.toLowerCase().endsWith(tail))
  return match === undefined ? `known keys: ${known.join(', ')}` : `did you mean ${match}?`
}

/** Where settings come from; later ones win: file, environment, flags. */
export interface ConfigOrigins {
  /** The configuration file's path and its default export; null when there is none. */
  readonly file: { readonly path: string; readonly content: unknown } | null
  readonly environment: Readonly<Record<string, string | undefined>>
  /** By setting key, from `--set key=value` and the named flags. */
  readonly flags: Readonly<Record<string, string>>
}

/** Settings that a choice makes necessary. */
const NEEDED = [
  { key: 'offlineStore.url', kind: 'offlineStore.kind', value: 'clickhouse' },
  { key: 'eventLog.brokers', kind: 'eventLog.kind', value: 'kafka' },
  { key: 'onlineStore.addresses', kind: 'onlineStore.kind', value: 'redis' },
] as const

/** Parses all origins once. Unknown keys are refused; all problems are reported together. */
export function parseConfig(
  origins: ConfigOrigins,
):
  { readonly ok: true; readonly config: Config } | { readonly ok: false; readonly problems: readonly ConfigProblem[] } {
  const problems: ConfigProblem[] = []
  const known = SETTINGS.map(setting => setting.key)
  const byKey = new Map(SETTINGS.map(setting => [setting.key, setting]))
  const values = new Map<string, unknown>(SETTINGS.map(setting => [setting.key, setting.initial]))

  function take(origin: string, key: string, shownKey: string, value: unknown): void {
    const setting = byKey.get(key)
    if (setting === undefined) {
      problems.push({ origin, key: shownKey, message: `is not a setting; ${nearest(key, known)}` })
      return
    }
    const wrong = wrongValue(setting, value)
    if (wrong === null) values.set(key, value)
    else problems.push({ origin, key: shownKey, message: wrong })
  }

  if (origins.file !== null) {
    const { path, content } = origins.file
    if (typeof content !== 'object' || content === null || Array.isArray(content)) {
      problems.push({ origin: path, key: 'default export', message: 'must be an object; use defineConfig({ … })' })
    } else {
      const flat = new Map<string, unknown>()
      flatten(content, '', flat)
      for (const [key, value] of flat) take(path, key, key, value)
    }
  }
  const names = new Map(SETTINGS.map(setting => [environmentName(setting.key), setting]))
  for (const [name, text] of Object.entries(origins.environment)) {
    if (!name.startsWith('HEADWATER_') || text === undefined) continue
    const setting = names.get(name)
    if (setting === undefined) {
      problems.push({
        origin: 'environment',
        key: name,
        message: `is not a setting; known: ${[...names.keys()].join(', ')}`,
      })
    } else {
      take('environment', setting.key, name, parseText(setting, text))
    }
  }
  for (const [key, text] of Object.entries(origins.flags)) {
    const setting = byKey.get(key)
    take('flag', key, key, setting === undefined ? text : parseText(setting, text))
  }
  for (const { key, kind, value } of NEEDED) {
    const given = values.get(key)
    const absent = given === '' || (Array.isArray(given) && given.length === 0)
    if (values.get(kind) === value && absent) {
      problems.push({ origin: 'configuration', key, message: `is needed when ${kind} is ${value}` })
    }
  }
  if (problems.length > 0) return { ok: false, problems }
  return { ok: true, config: nest(values) }
}

function nest(values: ReadonlyMap<string, unknown>): Config {
  const root: Record<string, Record<string, unknown>> = {}
  const flat: Record<string, unknown> = {}
  for (const [key, value] of values) {
    const [head = '', tail] = key.split('.')
    if (tail === undefined) flat[head] = value
    else (root[head] ??= {})[tail] = value
  }
  // Every key of SETTINGS was checked against its type above, and SETTINGS holds every leaf of Config.
  return { ...flat, ...root } as unknown as Config
}
