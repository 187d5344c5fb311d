import { readFileSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import { afterAll, beforeAll, describe, expect, it } from 'vitest'
import { entity, event, group, t } from '../../features/define/index.ts'
import { avroSchemaText } from '../../features/plan/avro-schema.ts'
import { encodeJsonEvent, eventDecoder } from '../../features/plan/event.ts'
import { systemClock } from '../../services/clock.ts'
import { openEmbeddedEventLog } from '../../topology/adapters/event-log/embedded.ts'
import { openClickHouseOfflineStore } from '../../topology/adapters/offline-store/clickhouse/clickhouse.ts'
import { createGrpcClient } from '../../topology/adapters/server/grpc/client.ts'
import { avroEncoder } from '../../topology/adapters/value-format/avro-writer.ts'
import type { LogRecord } from '../../topology/ports/event-log.ts'
import { parseConfig } from '../../topology/runtime/config.ts'
import { openContext } from '../../topology/runtime/context.ts'
import type { RuntimeContext } from '../../topology/runtime/context.ts'
import { createEventFormats } from '../../topology/runtime/event-formats.ts'
import { startFeatureWorkers } from '../../topology/runtime/feature-processes.ts'
import { createScoringEngine } from '../../topology/scoring/engine.ts'
import { createPublisher } from '../../topology/scoring/publish.ts'
import { freePorts } from '../../topology/stack/ports.ts'
import { startSchemaRegistry } from '../../topology/stack/schema-registry.ts'
import type { SchemaRegistryServer } from '../../topology/stack/schema-registry.ts'
import { projectOf } from '../plan/source.ts'
import { ROOT, headwater, startSystem, temporaryFolder } from '../system/headwater.ts'
import type { RunningSystem } from '../system/headwater.ts'

const START = Date.now() - 3_600_000
const CARDS = 7

interface Payment {
  readonly id: string
  readonly at: number
  readonly card: string
  readonly amount: number
  readonly serial: bigint
}

function paymentsFrom(first: number, count: number): readonly Payment[] {
  return Array.from({ length: count }, (_, index) => {
    const n = first + index
    return { id: `p${n}`, at: START + n * 100, card: `c${n % CARDS}`, amount: n / 100, serial: 2n ** 60n + BigInt(n) }
  })
}

function expected(payments: readonly Payment[], card: string) {
  const own = payments.filter(payment => payment.card === card)
  const cents = own.reduce((sum, payment) => sum + Math.round(payment.amount * 100), 0)
  return { 'activity.n': own.length, 'activity.spend': cents / 100, 'activity.serial': own.at(-1)?.serial ?? null }
}

const DEFINITIONS = (
  amount: string,
): string => `import { entity, event, group, t } from '${join(ROOT, 'features', 'define', 'index.ts')}'

export const payment = event('payment', {
  topic: 'payments', id: 'id', time: 'at', key: 'card', lateness: '1h', partitions: 2, format: 'avro',
  fields: { id: t.string(), at: t.timestamp(), card: t.string(), ${amount}, serial: t.int64(), note: t.optional(t.string()) },
})
export const card = entity('card', { key: 'card' })
export const activity = group('activity', { entity: card, source: payment }, e => ({
  n: e.count('lifetime'), spend: e.sum(e.amount, 'lifetime'), serial: e.last(e.serial, 'lifetime'),
}))
`

describe('a system whose events are in Avro', () => {
  const folder = temporaryFolder()
  const at = (name: string): string => join(folder.path, name)
  let registry: SchemaRegistryServer
  let system: RunningSystem
  const flags = (definitions: string) => [
    '--data',
    at('data'),
    '--features',
    at(definitions),
    '--set',
    `schemaRegistry.url=${registry.url}`,
  ]
  const published = paymentsFrom(0, 400)
  const imported = paymentsFrom(400, 300)

  beforeAll(async () => {
    registry = await startSchemaRegistry({ folder: folder.path })
    writeFileSync(at('definitions.ts'), DEFINITIONS('amount: t.decimal(2)'))
    system = await startSystem(flags('definitions.ts'))
  })
  afterAll(async () => {
    await system.stop()
    await registry.stop()
    folder.remove()
  })

  async function recordsOf(topic: string): Promise<LogRecord[]> {
    const log = await openEmbeddedEventLog({
      path: at('data/event-log.sqlite'),
      clock: systemClock,
      maxRecordBytes: 1 << 20,
    })
    const records: LogRecord[] = []
    for (const partition of [0, 1]) records.push(...(await log.read(topic, partition, 0, 5_000)).records)
    await log.close()
    return records
  }

  it('counts what was published and imported, keeps its rows, and writes Confluent’s wire format', async () => {
    const client = createGrpcClient({ address: `127.0.0.1:${system.port}` })
    const results = await client.publishEvents({
      source: 'payment',
      events: published.map(payment => ({ ...payment })),
    })
    expect(results.filter(result => !result.ok)).toEqual([])
    const lines = imported.map(payment => JSON.stringify({ ...payment, serial: String(payment.serial) }))
    writeFileSync(at('more.ndjson'), `${lines.join('\n')}\n`)
    const run = await headwater(['import', at('more.ndjson'), '--source', 'payment', ...flags('definitions.ts')])
    expect(run.code, run.stderr).toBe(0)
    const all = [...published, ...imported]
    for (let card = 0; card < CARDS; card++) {
      const entities = { card: `c${card}` }
      const read = async () =>
        (await client.getFeatures({ of: { kind: 'groups', groups: ['activity'], entities } })).features
      await expect.poll(read, { timeout: 20_000 }).toEqual(expected(all, `c${card}`))
    }
    client.close()
    const records = await recordsOf('payments')
    expect(records).toHaveLength(all.length)
    expect(new Set(records.map(({ value }) => Buffer.from(value).subarray(0, 5).toString('hex')))).toEqual(
      new Set(['0000000001']),
    )
    const offline = await openClickHouseOfflineStore({ url: system.offlineUrl, database: 'headwater' })
    const rows = async () => await offline.query('SELECT count() AS n, toString(sum(amount)) AS spend FROM payment')
    const cents = all.reduce((sum, payment) => sum + Math.round(payment.amount * 100), 0)
    await expect.poll(rows, { timeout: 20_000 }).toEqual([{ n: String(all.length), spend: String(cents / 100) }])
    await offline.close()
  })

  it('puts records that no schema fits into the dead letters, with reasons, and counts their neighbours', async () => {
    const log = await openEmbeddedEventLog({
      path: at('data/event-log.sqlite'),
      clock: systemClock,
      maxRecordBytes: 1 << 20,
    })
    const header = [0, 0, 0, 0]
    const poison = [
      [...header, 1],
      [...header, 1, 2, 65],
      [...header, 99, 1],
      [0, 1],
      [...header, 1, ...Array<number>(50).fill(0xff)],
    ]
    const json = new TextEncoder().encode(`{"id":"j","at":${START},"card":"json","amount":1,"serial":"5"}`)
    await log.append([
      ...poison.map(bytes => ({ topic: 'payments', key: 'json', value: Uint8Array.from(bytes) })),
      { topic: 'payments', key: 'json', value: json },
    ])
    await log.close()
    const codes = async () => {
      const letters = await recordsOf('payments.dead-letter')
      return letters.map(letter => letter.headers['hw-code']).sort()
    }
    await expect
      .poll(codes, { timeout: 20_000 })
      .toEqual(['NOT_AVRO', 'NOT_AVRO', 'NOT_AVRO', 'NOT_AVRO', 'UNKNOWN_SCHEMA'])
    const client = createGrpcClient({ address: `127.0.0.1:${system.port}` })
    const of = { kind: 'groups', groups: ['activity'], entities: { card: 'json' } } as const
    await expect
      .poll(async () => (await client.getFeatures({ of })).features, { timeout: 20_000 })
      .toEqual({ 'activity.n': 1, 'activity.spend': 1, 'activity.serial': 5 })
    client.close()
  })

  it('is told by plan what a change would make unreadable, and when the registry could not be asked', async () => {
    const same = await headwater(['plan', ...flags('definitions.ts')])
    expect(same.code, same.stderr).toBe(0)
    expect(same.stdout).toMatch(/payments-value +payment +fingerprint [0-9a-f]{12} +held against 1 registered versions/)
    writeFileSync(
      at('changed.ts'),
      DEFINITIONS('amount: t.boolean(), currency: t.string()').replace('e.sum(e.amount', 'e.sum(e.serial'),
    )
    const changed = await headwater(['plan', ...flags('changed.ts')])
    expect(changed.code).toBe(1)
    expect(changed.stderr).toMatch(
      /error event payment: version 1 of payments-value cannot be read: field "amount" is bytes \(decimal\), expected boolean/,
    )
    expect(changed.stderr).toMatch(/error .* field "currency" is missing; make it t\.optional/)
    const away = await headwater(['plan', ...flags('definitions.ts'), '--set', 'schemaRegistry.url=http://127.0.0.1:1'])
    expect(away.code).toBe(0)
    expect(away.stderr).toContain(
      'warning the schemas of payment were not checked: the schema registry at 127.0.0.1:1 does not answer',
    )
    const none = await headwater(['plan', ...flags('definitions.ts'), '--set', 'schemaRegistry.url='])
    expect(none.stderr).toContain('warning the format of payment is avro, but schemaRegistry.url is not set')
    const run = await headwater(['run', 'feature-worker', ...flags('definitions.ts'), '--set', 'schemaRegistry.url='])
    expect(run.code).not.toBe(0)
    expect(run.stderr).toContain('set schemaRegistry.url to its address')
  })

  it('keeps the schema beside its data', () => {
    expect(readFileSync(at('schema-registry.json'), 'utf8')).toContain('BACKWARD_TRANSITIVE')
  })
})

const payment = event('payment', {
  topic: 'payments',
  id: 'id',
  time: 'at',
  key: 'card',
  lateness: '1h',
  partitions: 2,
  format: 'avro',
  fields: { id: t.string(), at: t.timestamp(), card: t.string(), amount: t.decimal(2), serial: t.int64() },
})
const card = entity('card', { key: 'card' })
const activity = group('activity', { entity: card, source: payment }, e => ({
  n: e.count('lifetime'),
  spend: e.sum(e.amount, 'lifetime'),
  serial: e.last(e.serial, 'lifetime'),
}))
const quiet = { count: () => undefined, gauge: () => undefined, observeMs: () => undefined, log: () => undefined }

describe('a worker and an outage of the registry', () => {
  const folder = temporaryFolder()
  const project = projectOf({ activity })
  const [source] = project.plan.sources
  let context: RuntimeContext
  let registry: SchemaRegistryServer
  let port = 0
  const errors: string[] = []

  beforeAll(async () => {
    port = (await freePorts(1))[0] ?? 0
    registry = await startSchemaRegistry({ folder: folder.path, port })
    const values = {
      dataDirectory: folder.path,
      'schemaRegistry.url': registry.url,
      'schemaRegistry.requestTimeoutMs': '500',
    }
    const parsed = parseConfig({ file: null, environment: {}, flags: values })
    if (!parsed.ok) throw new Error(JSON.stringify(parsed.problems))
    const telemetry = { ...quiet, log: (_level: string, message: string) => void errors.push(message) }
    context = await openContext(parsed.config, project, systemClock, telemetry)
  })
  afterAll(async () => {
    await context.close()
    await registry.stop()
    folder.remove()
  })

  async function features(name: string) {
    const engine = createScoringEngine({
      bound: context.bound,
      services: new Map(),
      namespace: context.config.namespace,
      store: context.store,
      models: new Map(),
      clock: systemClock,
      telemetry: quiet,
      emit: () => undefined,
    })
    const of = { kind: 'groups', groups: ['activity'], entities: { card: name } } as const
    const answer = await engine.getFeatures({ of })
    await engine.close()
    return answer.features
  }

  it('goes on with what it knows, waits where it does not, and counts each event once', async () => {
    if (source === undefined) throw new Error('the plan has no source')
    const worker = await startFeatureWorkers(context)
    const publisher = createPublisher(context.project.plan, context.log, systemClock, context.formats)
    const publish = (list: readonly Payment[]) =>
      publisher.publishEvents({ source: 'payment', events: list.map(each => ({ ...each })) })
    const [before, during, unknown, after] = [0, 1, 2, 3].map(n => paymentsFrom(n * 200, 200)) as [
      readonly Payment[],
      readonly Payment[],
      readonly Payment[],
      readonly Payment[],
    ]
    expect((await publish(before)).every(result => result.ok)).toBe(true)
    await expect.poll(() => features('c1'), { timeout: 20_000 }).toEqual(expected(before, 'c1'))

    // A second schema, registered by another producer whose records this worker has not seen yet.
    const decoder = eventDecoder(source)
    const other = { ...source, fields: source.fields.toReversed() }
    const answer = await fetch(`${registry.url}/subjects/other-value/versions`, {
      method: 'POST',
      body: JSON.stringify({ schema: avroSchemaText(other) }),
    })
    const { id } = (await answer.json()) as { id: number }
    await registry.stop()

    await publish(during)
    await expect.poll(() => features('c1'), { timeout: 20_000 }).toEqual(expected([...before, ...during], 'c1'))

    const encode = avroEncoder(other)
    await context.log.append(
      unknown.map(each => {
        const decoded = decoder.decodeFields({ ...each }, null)
        if (!decoded.ok) throw new Error(decoded.reason)
        return { topic: 'payments', key: each.card, value: encode(id, { cells: decoded.event.cells.toReversed() }) }
      }),
    )
    await publish(after)
    const waits = () => errors.some(message => message.includes('does not answer'))
    await expect.poll(waits, { timeout: 20_000 }).toBe(true)
    expect(await features('c1')).toEqual(expected([...before, ...during], 'c1'))

    registry = await startSchemaRegistry({ folder: folder.path, port })
    const all = [...before, ...during, ...unknown, ...after]
    for (let n = 0; n < CARDS; n++) {
      await expect.poll(() => features(`c${n}`), { timeout: 20_000 }).toEqual(expected(all, `c${n}`))
    }
    await worker.stop()
  })

  it('needs a registry only where an event is in Avro', async () => {
    const { config } = context
    const without = { ...config, schemaRegistry: { ...config.schemaRegistry, url: '' } }
    const opened = createEventFormats(without, context.project.plan, systemClock, quiet)
    await expect(opened).rejects.toThrow(
      'the format of payment is avro, which needs a schema registry: set schemaRegistry.url',
    )
    const plan = {
      ...context.project.plan,
      sources: context.project.plan.sources.map(each => ({ ...each, format: 'json' as const })),
    }
    const formats = await createEventFormats(without, plan, systemClock, quiet)
    const json = plan.sources[0]
    if (json === undefined) throw new Error('the plan has no source')
    const cells = ['a', START, 'c', 5, 6n]
    expect(formats.writer(json).write({ cells })).toEqual(encodeJsonEvent(json, { cells }))
    const wrong = { ...config, schemaRegistry: { ...config.schemaRegistry, url: 'registry:8081' } }
    await expect(createEventFormats(wrong, context.project.plan, systemClock, quiet)).rejects.toThrow(
      'schemaRegistry.url must begin',
    )
  })
})
