/** What values a setting takes. */
export type SettingType =
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
      doc: `PEM file of authorities that may vouch for ${server}, beside the well-known ones`,
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
    initial: 4 * MIB,
    doc: 'memory for sections per unit and partition, in bytes: less makes shorter pauses, more fewer reads',
  },
]
