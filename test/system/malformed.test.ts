import { cpSync, readFileSync, readdirSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import { Session } from 'chdb'
import { afterAll, beforeAll, describe, expect, it } from 'vitest'
import { openEmbeddedEventLog } from '../../topology/adapters/event-log/embedded.ts'
import { createGrpcClient } from '../../topology/adapters/server/grpc/client.ts'
import type { GrpcClient } from '../../topology/adapters/server/grpc/client.ts'
import type { EventLog, LogRecord } from '../../topology/ports/event-log.ts'
import { systemClock } from '../../services/clock.ts'
import { ROOT, headwater, startSystem, temporaryFolder } from './headwater.ts'
import type { RunningSystem } from './headwater.ts'

const NOW = Date.now()
const good = { payment_id: 'x', at: NOW, card: 'c1', shop: 's1', amount: 1 }
const json = (fields: object) => JSON.stringify(fields)
const without = (name: keyof typeof good) =>
  json(Object.fromEntries(Object.entries(good).filter(([key]) => key !== name)))

/** Records as a foreign producer may write them, and what the dead letter's reason must speak of. */
const POISON: readonly (readonly [name: string, value: string | Uint8Array, reason: RegExp])[] = [
  ['an empty record', '', /json|empty/i],
  ['text that is no JSON', 'hello', /json/i],
  ['JSON cut off', '{"payment_id":"x","at":', /json/i],
  ['a JSON list', '[1,2,3]', /object/i],
  ['JSON null', 'null', /object/i],
  ['bytes that are no UTF-8', new Uint8Array([0x7b, 0xff, 0xfe, 0x7d]), /utf-?8/i],
  ['no id', without('payment_id'), /payment_id/],
  ['an empty id', json({ ...good, payment_id: '' }), /payment_id/],
  ['a null id', json({ ...good, payment_id: null }), /payment_id/],
  ['no time', without('at'), /\bat\b/],
  ['a missing required field', without('shop'), /shop/],
  ['text for a number', json({ ...good, amount: 'abc' }), /amount/],
  ['a boolean for a number', json({ ...good, amount: true }), /amount/],
  ['a bare NaN', json(good).replace('"amount":1', '"amount":NaN'), /json/i],
  ['NaN as text', json({ ...good, amount: 'NaN' }), /amount/],
  ['1e308 as a decimal', json({ ...good, amount: 1e308 }), /amount/],
  ['too many decimals', json({ ...good, amount: 1.234 }), /decimals|scale/],
  ['an unknown field', json({ ...good, colour: 'red' }), /colour/],
  ['a time in seconds', json({ ...good, at: Math.floor(NOW / 1000) }), /second/],
  ['a time that is no time', json({ ...good, at: 'yesterday' }), /\bat\b/],
  ['the year 2099', json({ ...good, at: Date.UTC(2099, 0, 1) }), /future|ahead|clock/i],
  ['a huge string', json({ ...good, card: 'x'.repeat(100_000) }), /card/],
  ['a lone surrogate', '{"payment_id":"\\ud800","at":1,"card":"c","shop":"s","amount":1}', /payment_id|surrogate/],
  ['a number for a string', json({ ...good, card: 7 }), /card/],
  ['an object for a string', json({ ...good, card: { deep: { deeper: [1] } } }), /card/],
]

async function readAll(log: EventLog, topic: string): Promise<LogRecord[]> {
  const info = await log.describe(topic)
  const out: LogRecord[] = []
  for (let partition = 0; partition < (info?.partitions ?? 0); partition++) {
    out.push(...(await log.read(topic, partition, 0, 10_000)).records)
  }
  return out
}

async function until<T>(read: () => Promise<T>, done: (value: T) => boolean): Promise<T> {
  let value = await read()
  for (let attempt = 0; attempt < 200 && !done(value); attempt++) {
    await new Promise(resolve => setTimeout(resolve, 100))
    value = await read()
  }
  return value
}

describe('malformed input', () => {
  const folder = temporaryFolder()
  const definitions = join(ROOT, 'test', 'system', 'definitions', 'payments.ts')
  const data = join(folder.path, 'data')
  const flags = ['--data', data, '--features', definitions]
  let system: RunningSystem
  let client: GrpcClient
  let log: EventLog

  beforeAll(async () => {
    system = await startSystem(flags)
    client = createGrpcClient({ address: `127.0.0.1:${system.port}`, maxMessageBytes: 64 * 1024 * 1024 })
    log = await openEmbeddedEventLog({ path: join(data, 'event-log.sqlite'), clock: systemClock })
  }, 120_000)
  afterAll(async () => {
    client.close()
    await log.close()
    await system.kill()
    folder.remove()
  })

  it(`puts ${POISON.length} kinds of poison into the dead-letter topic, neighbours unaffected`, async () => {
    const encoder = new TextEncoder()
    const records = POISON.flatMap(([, value], index) => [
      { topic: 'payments', key: 'c9', value: typeof value === 'string' ? encoder.encode(value) : value },
      {
        topic: 'payments',
        key: 'c9',
        value: encoder.encode(json({ ...good, payment_id: `ok${index}`, card: 'c9', amount: index === 0 ? -0 : 1 })),
      },
    ])
    const positions = await log.append(records)
    const letters = await until(
      () => readAll(log, 'payments.dead-letter'),
      found => found.length >= POISON.length,
    )
    expect(letters.length).toBe(POISON.length)
    POISON.forEach(([name, value, reason], index) => {
      const offset = positions[index * 2]?.offset
      const letter = letters.find(l => l.headers['hw-offset'] === String(offset))
      expect(letter, `${name}: no dead letter for offset ${offset}`).toBeDefined()
      expect(letter?.headers['hw-reason'], name).toMatch(reason)
      expect(letter?.headers['hw-code'], name).toMatch(/^[A-Z_0-9]+$/)
      const bytes = typeof value === 'string' ? encoder.encode(value) : value
      expect(Buffer.from(letter?.value ?? []).equals(Buffer.from(bytes)), `${name}: payload kept`).toBe(true)
    })
    const read = () =>
      client.getFeatures({ of: { kind: 'groups', groups: ['card_activity'], entities: { card: 'c9' } }, asOfMs: NOW })
    const answer = await until(read, a => a.features['card_activity.payments'] === POISON.length)
    expect(answer.features['card_activity.payments']).toBe(POISON.length)
    expect(answer.features['card_activity.spend']).toBe(POISON.length - 1)
    const query = 'SELECT count() AS n FROM dead_letters FINAL'
    const sql = await headwater(['sql', query, '--format', 'JSONEachRow', ...flags])
    expect(JSON.parse(sql.stdout)).toEqual({ n: String(POISON.length) })
  }, 120_000)

  it.each([
    ['an unknown service', () => client.score({ service: 'nope', event: good }), /nope/],
    [
      'an event without its id',
      () => client.score({ service: 'check', event: { ...good, payment_id: null } }),
      /payment_id/,
    ],
    ['NaN in an event', () => client.score({ service: 'check', event: { ...good, amount: Number.NaN } }), /amount/],
    ['an unknown field', () => client.score({ service: 'check', event: { ...good, colour: 1 } }), /colour/],
    ['no service at all', () => client.score({ service: '', event: good }), /service/],
    [
      'an unknown entity',
      () => client.getFeatures({ of: { kind: 'groups', groups: ['card_activity'], entities: { carrd: 'c1' } } }),
      /card/,
    ],
    [
      'an unknown group',
      () => client.getFeatures({ of: { kind: 'groups', groups: ['cards'], entities: {} } }),
      /cards/,
    ],
    ['an unknown event', () => client.publishEvents({ source: 'refund', events: [good] }), /refund/],
    [
      'an oversized request',
      () => client.score({ service: 'check', event: { ...good, note: 'x'.repeat(5 * 1024 * 1024) } }),
      /larger|max/i,
    ],
    [
      'an instant long past',
      () =>
        client.getFeatures({
          of: { kind: 'groups', groups: ['card_activity'], entities: { card: 'c9' } },
          asOfMs: NOW - 90 * 86_400_000,
        }),
      /horizon|newest|back/i,
    ],
  ] as const)('answers %s with a clear error', async (_name, call, reason) => {
    await expect(call()).rejects.toThrow(reason)
    expect(await client.health('')).toBe('SERVING')
  })

  it('refuses one bad event of a publish and takes the others', async () => {
    const events = [
      { ...good, payment_id: 'a' },
      { ...good, amount: 'x' },
      { ...good, payment_id: 'b' },
    ]
    const results = await client.publishEvents({ source: 'payment', events })
    expect(results.map(result => result.ok)).toEqual([true, false, true])
  })

  it('names file and reason for files that cannot be imported', async () => {
    const empty = join(folder.path, 'empty.csv')
    writeFileSync(empty, '')
    const header = join(folder.path, 'header.csv')
    writeFileSync(header, 'payment_id,at,card,shop,amount\n')
    const columns = join(folder.path, 'columns.csv')
    writeFileSync(columns, 'payment_id,at,colour\np1,1700000000000,red\n')
    const strange = join(folder.path, 'events.xlsx')
    writeFileSync(strange, 'x')
    const whole = join(folder.path, 'whole.parquet')
    const session = new Session(join(folder.path, 'maker'))
    session.query(`INSERT INTO FUNCTION file('${whole}', 'Parquet') SELECT toString(number) AS payment_id, ${NOW} AS at,
      'c' AS card, 's' AS shop, 1.5 AS amount FROM numbers(1000)`)
    session.cleanup()
    const cut = join(folder.path, 'cut.parquet')
    writeFileSync(cut, readFileSync(whole).subarray(0, 900))
    for (const [file, reason] of [
      [empty, /empty/],
      [header, /no rows/],
      [columns, /card.*shop.*amount.*colour/s],
      [strange, /\.xlsx|extension/],
      [cut, /cut\.parquet/],
      [join(folder.path, 'absent.csv'), /no such file/],
    ] as const) {
      const run = await headwater(['import', file, '--source', 'payment', ...flags])
      expect(run.code, `${file}: ${run.stdout}`).toBe(1)
      expect(run.stderr, file).toMatch(reason)
      expect(run.stderr, file).not.toMatch(/\n\s+at /)
    }
    const bad = join(folder.path, 'bad.csv')
    writeFileSync(bad, `payment_id,at,card,shop,amount\np1,${NOW},c,s,1\np2,12,c,s,1\n`)
    const run = await headwater(['import', bad, '--source', 'payment', ...flags])
    expect(run.stdout).toMatch(/1 of 2 rows appended/)
    expect(run.stdout).toMatch(/row 2: .*at/)
  }, 120_000)

  it('refuses a model whose inputs the service has not, and one whose file was changed', async () => {
    const models = join(folder.path, 'models')
    cpSync(join(ROOT, 'features', 'fraud', 'model'), models, { recursive: true })
    const version = readdirSync(join(models, 'fraud'))[0] ?? ''
    const manifestPath = join(models, 'fraud', version, 'manifest.json')
    const manifest = readFileSync(manifestPath, 'utf8')
    const scorer = ['run', 'scorer', '--data', join(folder.path, 'other'), '--set', `models.directory=${models}`]
    writeFileSync(
      manifestPath,
      manifest.replace(/"name": ?"card_activity\.[a-z0-9_]+"/, '"name": "card_activity.nope"'),
    )
    const wrongInput = await headwater(scorer)
    expect(wrongInput.code).toBe(1)
    expect(wrongInput.stderr).toMatch(/card_activity\.nope/)
    writeFileSync(manifestPath, manifest)
    writeFileSync(join(models, 'fraud', version, 'model.onnx'), 'not a model')
    const wrongFile = await headwater(scorer)
    expect(wrongFile.code).toBe(1)
    expect(wrongFile.stderr).toMatch(/model\.onnx/)
  }, 60_000)

  it('reports every problem of a configuration together', async () => {
    const config = join(folder.path, 'headwater.config.ts')
    writeFileSync(config, 'export default { server: { port: "high", prot: 1 }, colour: "red", namespace: "A B" }\n')
    const run = await headwater(['plan', '--config', config, '--set', 'worker.maxBatchRecords=0'])
    expect(run.code).toBe(1)
    for (const part of ['server.port', 'server.prot', 'colour', 'namespace', 'worker.maxBatchRecords']) {
      expect(run.stderr).toContain(part)
    }
  })
})
