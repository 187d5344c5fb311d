/** How a connection is encrypted; files are PEM, empty for none. */
export interface TlsConfig {
  readonly tls: boolean
  /** Authorities that the server's certificate is checked against, beside the system's. */
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

/** One thing wrong with the configuration, and where it was said. */
export interface ConfigProblem {
  readonly origin: string
  readonly key: string
  readonly message: string
}

type SettingType =
  | { readonly kind: 'string'; readonly pattern?: RegExp; readonly hint?: string }
  | { readonly kind: 'int'; readonly min: number; readonly max: number }
  | { readonly kind: 'choice'; readonly values: readonly string[] }
  | { readonly kind: 'boolean' }
  | { readonly kind: 'list'; readonly of: string; readonly mayBeEmpty?: boolean }

/** One setting: its key, type, default and meaning. */
export interface Setting {
  readonly key: string
  readonly type: SettingType
  readonly initial: string | number | boolean | readonly string[]
  readonly doc: string
}

const MIB = 1024 * 1024

function tlsSettings(part: string, server: string): readonly Setting[] {
  return [
    { key: `${part}.tls`, type: { kind: 'boolean' }, initial: false, doc: `encrypt connections to ${server}` },
    {
      key: `${part}.tlsCa`,
      type: { kind: 'string' },
      initial: '',
      doc: `PEM file of authorities that ${server}'s certificate is checked against; empty for the system's`,
    },
    {
      key: `${part}.tlsCert`,
      type: { kind: 'string' },
      initial: '',
      doc: `PEM file of this client's certificate, where ${server} asks for one`,
    },
    { key: `${part}.tlsKey`, type: { kind: 'string' }, initial: '', doc: `PEM file of this client's key` },
  ]
}

const ADDRESSES: SettingType = { kind: 'list', of: 'host:port', mayBeEmpty: true }

export const SETTINGS: readonly Setting[] = [
  {
    key: 'features',
    type: { kind: 'list', of: 'paths' },
    initial: ['./features/index.ts'],
    doc: 'modules that export definitions',
  },
  {
    key: 'namespace',
    type: { kind: 'string', pattern: /^[a-z][a-z0-9_-]{0,39}$/, hint: 'lower-case letters, digits, _ and -' },
    initial: 'default',
    doc: 'separates systems that share a store',
  },
  {
    key: 'dataDirectory',
    type: { kind: 'string' },
    initial: '.headwater',
    doc: 'where embedded engines keep their files',
  },
  {
    key: 'eventLog.kind',
    type: { kind: 'choice', values: ['embedded', 'kafka'] },
    initial: 'embedded',
    doc: 'event log: a file in dataDirectory, or the Kafka cluster of eventLog.brokers',
  },
  {
    key: 'eventLog.maxRecordBytes',
    type: { kind: 'int', min: 1024, max: 64 * MIB },
    initial: MIB,
    doc: 'largest record the log takes, in bytes',
  },
  { key: 'eventLog.brokers', type: ADDRESSES, initial: [], doc: 'some brokers of the Kafka cluster, as host:port' },
  {
    key: 'eventLog.clientId',
    type: { kind: 'string' },
    initial: 'headwater',
    doc: "name shown in Kafka's logs and quotas",
  },
  {
    key: 'eventLog.replicationFactor',
    type: { kind: 'int', min: 0, max: 15 },
    initial: 0,
    doc: "copies of each partition of topics that are made; 0 for the cluster's default",
  },
  {
    key: 'eventLog.compression',
    type: { kind: 'choice', values: ['none', 'gzip', 'snappy', 'lz4', 'zstd'] },
    initial: 'lz4',
    doc: 'codec of records that are written to Kafka; all are read',
  },
  {
    key: 'eventLog.sessionTimeoutMs',
    type: { kind: 'int', min: 6_000, max: 300_000 },
    initial: 30_000,
    doc: "how long Kafka waits for a sign of life before it gives a worker's partitions to another",
  },
  {
    key: 'eventLog.maxBufferedBytes',
    type: { kind: 'int', min: 64 * 1024, max: 1024 * MIB },
    initial: 16 * MIB,
    doc: 'fetched records of one Kafka partition that may wait for the worker, in bytes',
  },
  {
    key: 'eventLog.saslMechanism',
    type: { kind: 'choice', values: ['none', 'plain', 'scram-sha-256', 'scram-sha-512'] },
    initial: 'none',
    doc: 'how to log in to Kafka',
  },
  { key: 'eventLog.username', type: { kind: 'string' }, initial: '', doc: 'user of the Kafka cluster' },
  { key: 'eventLog.password', type: { kind: 'string' }, initial: '', doc: 'password of the Kafka cluster' },
  ...tlsSettings('eventLog', 'Kafka'),
  {
    key: 'schemaRegistry.url',
    type: { kind: 'string' },
    initial: '',
    doc: 'address of the schema registry, needed for events whose format is avro',
  },
  { key: 'schemaRegistry.username', type: { kind: 'string' }, initial: '', doc: 'user of the schema registry' },
  { key: 'schemaRegistry.password', type: { kind: 'string' }, initial: '', doc: 'password of the schema registry' },
  {
    key: 'schemaRegistry.requestTimeoutMs',
    type: { kind: 'int', min: 100, max: 120_000 },
    initial: 5_000,
    doc: 'how long an answer of the schema registry may take',
  },
  ...tlsSettings('schemaRegistry', 'the schema registry'),
  {
    key: 'onlineStore.kind',
    type: { kind: 'choice', values: ['embedded', 'redis'] },
    initial: 'embedded',
    doc: 'online store: a file in dataDirectory, or the Redis of onlineStore.addresses',
  },
  {
    key: 'onlineStore.mode',
    type: { kind: 'choice', values: ['single', 'sentinel', 'cluster'] },
    initial: 'single',
    doc: 'what onlineStore.addresses are: the server, sentinels that know it, or nodes of a Redis Cluster',
  },
  { key: 'onlineStore.addresses', type: ADDRESSES, initial: [], doc: 'where Redis is, as host:port' },
  {
    key: 'onlineStore.sentinelName',
    type: { kind: 'string' },
    initial: 'headwater',
    doc: 'name under which the sentinels know the primary',
  },
  { key: 'onlineStore.username', type: { kind: 'string' }, initial: '', doc: 'ACL user of Redis' },
  { key: 'onlineStore.password', type: { kind: 'string' }, initial: '', doc: 'password of Redis' },
  { key: 'onlineStore.sentinelPassword', type: { kind: 'string' }, initial: '', doc: 'password of the sentinels' },
  {
    key: 'onlineStore.commandTimeoutMs',
    type: { kind: 'int', min: 10, max: 120_000 },
    initial: 5_000,
    doc: 'how long an answer of Redis may take',
  },
  ...tlsSettings('onlineStore', 'Redis'),
  {
    key: 'offlineStore.kind',
    type: { kind: 'choice', values: ['chdb', 'clickhouse'] },
    initial: 'chdb',
    doc: 'offline store: chdb runs the engine in this process, clickhouse connects to offlineStore.url',
  },
  {
    key: 'offlineStore.port',
    type: { kind: 'int', min: 0, max: 65_535 },
    initial: 0,
    doc: 'loopback port of the embedded engine, 0 for any free one',
  },
  { key: 'offlineStore.url', type: { kind: 'string' }, initial: '', doc: 'address of a ClickHouse server' },
  {
    key: 'offlineStore.database',
    type: { kind: 'string', pattern: /^[A-Za-z_][A-Za-z0-9_]*$/, hint: 'an identifier' },
    initial: 'headwater',
    doc: 'database of the tables',
  },
  { key: 'offlineStore.username', type: { kind: 'string' }, initial: 'default', doc: 'user of the ClickHouse server' },
  { key: 'offlineStore.password', type: { kind: 'string' }, initial: '', doc: 'password of the ClickHouse server' },
  {
    key: 'offlineStore.requestTimeoutMs',
    type: { kind: 'int', min: 1_000, max: 3_600_000 },
    initial: 300_000,
    doc: 'how long an answer of the ClickHouse server may take',
  },
  {
    key: 'offlineStore.retentionDays',
    type: { kind: 'int', min: 0, max: 36_500 },
    initial: 0,
    doc: 'events, scores and labels are deleted so many days after they arrived; 0 keeps them for ever',
  },
  ...tlsSettings('offlineStore', 'the ClickHouse server'),
  { key: 'models.directory', type: { kind: 'string' }, initial: './models', doc: 'folder of <model>/<version>/' },
  { key: 'server.host', type: { kind: 'string' }, initial: '127.0.0.1', doc: 'address the gRPC server listens on' },
  {
    key: 'server.port',
    type: { kind: 'int', min: 0, max: 65_535 },
    initial: 50_051,
    doc: 'gRPC port, 0 for any free one',
  },
  {
    key: 'server.maxMessageBytes',
    type: { kind: 'int', min: 1024, max: 256 * MIB },
    initial: 4 * MIB,
    doc: 'largest gRPC message taken, in bytes',
  },
  {
    key: 'server.maxQueuedRows',
    type: { kind: 'int', min: 1, max: 1_000_000 },
    initial: 10_000,
    doc: 'rows that may wait for a score; more are refused at once',
  },
  {
    key: 'server.drainMs',
    type: { kind: 'int', min: 0, max: 300_000 },
    initial: 10_000,
    doc: 'how long calls in progress may finish at shutdown',
  },
  {
    key: 'worker.maxBatchRecords',
    type: { kind: 'int', min: 1, max: 100_000 },
    initial: 2_000,
    doc: 'records a worker takes at once',
  },
  {
    key: 'worker.maxBatchBytes',
    type: { kind: 'int', min: 1024, max: 256 * MIB },
    initial: 8 * MIB,
    doc: 'bytes a worker takes at once',
  },
  {
    key: 'worker.maxCachedBytes',
    type: { kind: 'int', min: MIB, max: 64 * 1024 * MIB },
    initial: 64 * MIB,
    doc: 'memory for sections per unit and partition, in bytes',
  },
]

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
  const shown = JSON.stringify(value)
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
