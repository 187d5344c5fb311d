import { describe, expect, it } from 'vitest'
import { defineConfig, environmentName, parseConfig } from '../../topology/runtime/config.ts'
import type { Config, ConfigOrigins } from '../../topology/runtime/config.ts'
import { SETTINGS } from '../../topology/runtime/settings.ts'
import type { Setting } from '../../topology/runtime/settings.ts'

const NONE: ConfigOrigins = { file: null, environment: {}, flags: {} }

function parsed(origins: Partial<ConfigOrigins>): Config {
  const result = parseConfig({ ...NONE, ...origins })
  if (!result.ok) throw new Error(JSON.stringify(result.problems))
  return result.config
}

function problems(origins: Partial<ConfigOrigins>): readonly string[] {
  const result = parseConfig({ ...NONE, ...origins })
  return result.ok ? [] : result.problems.map(problem => `${problem.origin}: ${problem.key} ${problem.message}`)
}

function at(config: Config, key: string): unknown {
  return key.split('.').reduce<unknown>((value, part) => (value as Record<string, unknown>)[part], config)
}

/** A file that says one thing. */
function fileSaying(key: string, value: unknown): ConfigOrigins['file'] {
  const [head = '', tail] = key.split('.')
  return { path: '/c.ts', content: tail === undefined ? { [head]: value } : { [head]: { [tail]: value } } }
}

/** Two allowed values that are not the default, as text and as they come out. */
function samples(setting: Setting): readonly (readonly [text: string, value: unknown])[] {
  const { type } = setting
  switch (type.kind) {
    case 'int':
      return [
        [String(type.min), type.min],
        [String(type.max), type.max],
      ]
    case 'list':
      return [
        ['a.ts', ['a.ts']],
        ['b.ts, c.ts', ['b.ts', 'c.ts']],
      ]
    case 'boolean':
      return [
        ['true', true],
        ['false', false],
      ]
    case 'choice':
      return [
        [type.values.at(-1) ?? '', type.values.at(-1)],
        [type.values[0] ?? '', type.values[0]],
      ]
    case 'string':
      return [
        ['one', 'one'],
        ['two', 'two'],
      ]
  }
}

/** What else must be said so that a value is allowed. */
const WITH: Readonly<Record<string, Readonly<Record<string, string>>>> = {
  'offlineStore.kind': { HEADWATER_OFFLINE_STORE_URL: 'http://127.0.0.1:8123' },
  'eventLog.kind': { HEADWATER_EVENT_LOG_BROKERS: '127.0.0.1:9092' },
  'onlineStore.kind': { HEADWATER_ONLINE_STORE_ADDRESSES: '127.0.0.1:6379' },
}

describe('configuration', () => {
  it('has these settings and defaults, each with its meaning', () => {
    expect(Object.fromEntries(SETTINGS.map(setting => [setting.key, setting.initial]))).toEqual({
      features: ['./features/index.ts'],
      namespace: 'default',
      dataDirectory: '.headwater',
      'eventLog.kind': 'embedded',
      'eventLog.maxRecordBytes': 1_048_576,
      'eventLog.brokers': [],
      'eventLog.clientId': 'headwater',
      'eventLog.replicationFactor': 0,
      'eventLog.compression': 'lz4',
      'eventLog.sessionTimeoutMs': 30_000,
      'eventLog.maxBufferedBytes': 16_777_216,
      'eventLog.saslMechanism': 'none',
      'eventLog.username': '',
      'eventLog.password': '',
      'eventLog.tls': false,
      'eventLog.tlsCa': '',
      'eventLog.tlsCert': '',
      'eventLog.tlsKey': '',
      'schemaRegistry.url': '',
      'schemaRegistry.username': '',
      'schemaRegistry.password': '',
      'schemaRegistry.requestTimeoutMs': 5_000,
      'schemaRegistry.tls': false,
      'schemaRegistry.tlsCa': '',
      'schemaRegistry.tlsCert': '',
      'schemaRegistry.tlsKey': '',
      'onlineStore.kind': 'embedded',
      'onlineStore.mode': 'single',
      'onlineStore.addresses': [],
      'onlineStore.sentinelName': 'headwater',
      'onlineStore.username': '',
      'onlineStore.password': '',
      'onlineStore.sentinelPassword': '',
      'onlineStore.commandTimeoutMs': 5_000,
      'onlineStore.tls': false,
      'onlineStore.tlsCa': '',
      'onlineStore.tlsCert': '',
      'onlineStore.tlsKey': '',
      'offlineStore.kind': 'chdb',
      'offlineStore.port': 0,
      'offlineStore.url': '',
      'offlineStore.database': 'headwater',
      'offlineStore.username': 'default',
      'offlineStore.password': '',
      'offlineStore.requestTimeoutMs': 300_000,
      'offlineStore.retentionDays': 0,
      'offlineStore.tls': false,
      'offlineStore.tlsCa': '',
      'offlineStore.tlsCert': '',
      'offlineStore.tlsKey': '',
      'models.directory': './models',
      'server.host': '127.0.0.1',
      'server.port': 50_051,
      'server.maxMessageBytes': 4_194_304,
      'server.maxQueuedRows': 10_000,
      'server.drainMs': 10_000,
      'worker.maxBatchRecords': 2_000,
      'worker.maxBatchBytes': 8_388_608,
      'worker.maxCachedBytes': 4_194_304,
    })
    for (const { key, doc } of SETTINGS) expect(doc.length, key).toBeGreaterThan(5)
    expect(new Set(SETTINGS.map(setting => environmentName(setting.key))).size).toBe(SETTINGS.length)
    expect(environmentName('worker.maxCachedBytes')).toBe('HEADWATER_WORKER_MAX_CACHED_BYTES')
    const config = parsed({})
    for (const { key, initial } of SETTINGS) expect(at(config, key), key).toEqual(initial)
  })

  it.each(SETTINGS.map(setting => [setting.key, setting] as const))(
    'takes %s from file, environment and flag, later ones winning',
    (key, setting) => {
      const name = environmentName(key)
      const others = WITH[key] ?? {}
      const [[firstText, first] = ['', null], [secondText, second] = ['', null]] = samples(setting)
      expect(at(parsed({ file: fileSaying(key, first), environment: others }), key)).toEqual(first)
      expect(at(parsed({ environment: { ...others, [name]: firstText } }), key)).toEqual(first)
      expect(at(parsed({ environment: others, flags: { [key]: firstText } }), key)).toEqual(first)
      const file = fileSaying(key, first)
      expect(at(parsed({ file, environment: { ...others, [name]: secondText } }), key)).toEqual(second)
      const environment = { ...others, [name]: firstText }
      expect(at(parsed({ file, environment, flags: { [key]: secondText } }), key)).toEqual(second)
    },
  )

  it.each(SETTINGS.filter(setting => setting.type.kind === 'int').map(setting => [setting.key, setting] as const))(
    'refuses %s outside its bounds, and anything but a whole number',
    (key, { type }) => {
      if (type.kind !== 'int') throw new Error('not a number')
      for (const text of [String(type.min - 1), String(type.max + 1), '1.5', '1e3', '', ' 2000', '0x10', 'many']) {
        expect(problems({ flags: { [key]: text } }), text).toEqual([
          expect.stringMatching(new RegExp(`^flag: ${key} must be a whole number from ${type.min} to ${type.max}`)),
        ])
      }
      for (const value of [type.max + 1, 1.5, Number.NaN, String(type.min), true, null, [type.min]]) {
        expect(problems({ file: fileSaying(key, value) }), String(value)).toHaveLength(1)
      }
    },
  )

  it.each([
    ['namespace', 'A B', /lower-case letters/],
    ['namespace', '9lives', /lower-case letters/],
    ['offlineStore.database', 'my-db', /identifier/],
    ['offlineStore.kind', 'duckdb', /one of chdb, clickhouse/],
    ['eventLog.kind', 'pulsar', /one of embedded, kafka/],
    ['eventLog.kind', 'kafka', /eventLog\.brokers is needed when eventLog\.kind is kafka/],
    ['eventLog.tls', 'yes', /true or false/],
    ['eventLog.brokers', 'a:1,,b:2', /list of host:port/],
    ['onlineStore.kind', 'redis', /onlineStore\.addresses is needed when onlineStore\.kind is redis/],
    ['features', ' , ', /list of paths/],
  ])('refuses %s = %j', (key, text, message) => {
    expect(problems({ flags: { [key]: text } })).toEqual([expect.stringMatching(message)])
  })

  it.each([
    ['server.Port', /did you mean server\.port\?/],
    ['maxQueuedRows', /did you mean server\.maxQueuedRows\?/],
    ['server.drainms', /did you mean server\.drainMs\?/],
    ['colour', /known keys: features, namespace, /],
    ['toString', /known keys/],
  ])('refuses the unknown key %s with a suggestion', (key, message) => {
    expect(problems({ flags: { [key]: '1' } })).toEqual([expect.stringMatching(message)])
    expect(problems({ file: { path: '/c.ts', content: { [key]: 1 } } })).toEqual([expect.stringMatching(message)])
  })

  it('refuses unknown variables of its own prefix and leaves others alone', () => {
    expect(problems({ environment: { HEADWATER_SERVER_PROT: '1', PATH: '/bin', SERVER_PORT: '1' } })).toEqual([
      expect.stringMatching(/^environment: HEADWATER_SERVER_PROT is not a setting; known: .*HEADWATER_SERVER_PORT/),
    ])
    expect(problems({ environment: { HEADWATER_NAMESPACE: undefined } })).toEqual([])
  })

  it('reports the problems of all origins together, each with where it was said', () => {
    const found = problems({
      file: { path: '/c.ts', content: { server: { port: 'high', prot: 1 }, features: './x.ts', colour: 'red' } },
      environment: { HEADWATER_NAMESPACE: 'A', HEADWATER_NOPE: '1' },
      flags: { 'worker.maxBatchRecords': '0', 'offlineStore.kind': 'clickhouse', nope: '1' },
    })
    expect(found.map(problem => problem.split(' ').slice(0, 2).join(' '))).toEqual([
      '/c.ts: server.port',
      '/c.ts: server.prot',
      '/c.ts: features',
      '/c.ts: colour',
      'environment: HEADWATER_NAMESPACE',
      'environment: HEADWATER_NOPE',
      'flag: worker.maxBatchRecords',
      'flag: nope',
      'configuration: offlineStore.url',
    ])
  })

  it.each([null, undefined, [], 'x', 7])('refuses a file whose default export is %j', content => {
    expect(problems({ file: { path: '/c.ts', content } })).toEqual([
      expect.stringMatching(/^\/c\.ts: default export must be an object; use defineConfig/),
    ])
  })

  it('takes what defineConfig is given, and leaves out what is undefined', () => {
    const content = defineConfig({ namespace: 'shop', server: { port: 0 }, features: ['./a.ts', './b.ts'] })
    const config = parsed({ file: { path: '/c.ts', content: { ...content, dataDirectory: undefined } } })
    expect(config).toMatchObject({ namespace: 'shop', dataDirectory: '.headwater', features: ['./a.ts', './b.ts'] })
    expect(config.server).toMatchObject({ port: 0, host: '127.0.0.1' })
  })

  it('shows no password that is no text', () => {
    const content = { onlineStore: { password: 987_654 }, eventLog: { password: ['hidden'] } }
    expect(problems({ file: { path: '/c.ts', content } })).toEqual([
      '/c.ts: onlineStore.password must be text, got a value of type number',
      '/c.ts: eventLog.password must be text, got a value of type object',
    ])
  })

  it('needs an address for a ClickHouse server', () => {
    expect(problems({ flags: { 'offlineStore.kind': 'clickhouse' } })).toEqual([
      expect.stringMatching(/offlineStore\.url is needed/),
    ])
    expect(
      problems({ environment: { ...WITH['offlineStore.kind'], HEADWATER_OFFLINE_STORE_KIND: 'clickhouse' } }),
    ).toEqual([])
  })
})
