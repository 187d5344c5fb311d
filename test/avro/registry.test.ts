import { mkdirSync, readFileSync, readdirSync, writeFileSync } from 'node:fs'
import { createServer } from 'node:http'
import { join } from 'node:path'
import { afterEach, describe, expect, it } from 'vitest'
import { event, t } from '../../features/define/index.ts'
import { avroSchemaText } from '../../features/plan/avro-schema.ts'
import { openConfluentRegistry } from '../../topology/adapters/schema-registry/confluent.ts'
import { inlineReferences } from '../../topology/adapters/schema-registry/references.ts'
import { createAvroReader, createAvroWriter, subjectOf } from '../../topology/adapters/value-format/avro.ts'
import { parseSchema } from '../../topology/adapters/value-format/avro-types.ts'
import { SCHEMA_STORE_LIMITS, createSchemaStore } from '../../topology/adapters/value-format/schema-store.ts'
import type { SchemaStore } from '../../topology/adapters/value-format/schema-store.ts'
import type { SchemaRegistry } from '../../topology/ports/schema-registry.ts'
import { makeCertificates } from '../../topology/stack/certificates.ts'
import { freePorts } from '../../topology/stack/ports.ts'
import { startSchemaRegistry } from '../../topology/stack/schema-registry.ts'
import type { SchemaRegistryOptions, SchemaRegistryServer } from '../../topology/stack/schema-registry.ts'
import { sourceOf } from '../plan/source.ts'
import { temporaryFolder } from '../system/headwater.ts'

const AT = 1_750_000_000_000
const payment = sourceOf(
  event('payment', {
    topic: 'payments',
    id: 'id',
    time: 'at',
    lateness: '1h',
    format: 'avro',
    fields: { id: t.string(), at: t.timestamp(), amount: t.decimal(2) },
  }),
)
const SCHEMA = avroSchemaText(payment)
const SUBJECT = subjectOf(payment)
const CELLS = ['a', AT, 1234]

const undo: (() => unknown)[] = []
afterEach(async () => {
  for (const step of undo.splice(0).toReversed()) await step()
})

function folder(): string {
  const made = temporaryFolder()
  undo.push(made.remove)
  return made.path
}

async function serve(options: SchemaRegistryOptions = {}): Promise<SchemaRegistryServer & { stop(): Promise<void> }> {
  const server = await startSchemaRegistry(options)
  let running = true
  const stop = async () => {
    if (running) await server.stop()
    running = false
  }
  undo.push(stop)
  return { ...server, stop }
}

function connect(url: string, more: Partial<Parameters<typeof openConfluentRegistry>[0]> = {}): SchemaRegistry {
  const registry = openConfluentRegistry({ url, requestTimeoutMs: 2_000, ...more })
  undo.push(() => registry.close())
  return registry
}

const clock = { now: 0, nowMs: () => clock.now, monotonicMs: () => clock.now }
const telemetry = { count: () => undefined, gauge: () => undefined, observeMs: () => undefined, log: () => undefined }

function storeOf(
  registry: SchemaRegistry,
  url: string,
  at: string,
  limits: Partial<typeof SCHEMA_STORE_LIMITS> = {},
): SchemaStore {
  const all = { ...SCHEMA_STORE_LIMITS, absentPauseMs: 1, ...limits }
  return createSchemaStore({ registry, url, folder: at, clock, telemetry, limits: all })
}

const asksFor = (server: SchemaRegistryServer, path: string): number =>
  server.requests.filter(request => request === `GET ${path}`).length

const valueOf = (id: number): Uint8Array => Uint8Array.of(0, 0, 0, id >> 8, id & 255, 0)

describe("a registry with Confluent's contract", () => {
  it('gives a schema one id, lists versions, and answers null and nothing for what it lacks', async () => {
    const registry = connect((await serve()).url)
    expect(await registry.versions(SUBJECT)).toEqual([])
    expect(await registry.schemaById(1)).toBeNull()
    expect(await registry.compatibility(SUBJECT)).toBe('BACKWARD')
    await registry.setCompatibility(SUBJECT, 'BACKWARD_TRANSITIVE')
    expect(await registry.compatibility(SUBJECT)).toBe('BACKWARD_TRANSITIVE')
    const id = await registry.register(SUBJECT, SCHEMA)
    expect(await registry.register(SUBJECT, SCHEMA)).toBe(id)
    expect(await registry.register('other/subject with spaces-value', SCHEMA)).toBe(id)
    expect(await registry.schemaById(id)).toBe(SCHEMA)
    expect(await registry.versions(SUBJECT)).toEqual([{ id, version: 1, schema: SCHEMA }])
    expect(await registry.versions('other/subject with spaces-value')).toHaveLength(1)
  })

  it('holds every earlier version against a new one, and says which field speaks against it', async () => {
    const registry = connect((await serve()).url)
    const withField = (name: string, type: unknown, rest: object = {}) => {
      const schema = JSON.parse(SCHEMA) as { fields: unknown[] }
      return JSON.stringify({ ...schema, fields: [...schema.fields, { name, type, ...rest }] })
    }
    await registry.setCompatibility(SUBJECT, 'BACKWARD_TRANSITIVE')
    await registry.register(SUBJECT, SCHEMA)
    await registry.register(SUBJECT, withField('note', ['null', 'string'], { default: null }))
    const asked = registry.register(SUBJECT, withField('note', 'string'))
    await expect(asked).rejects.toMatchObject({ code: 'SCHEMA_MISMATCH' })
    await expect(asked).rejects.toThrow(/version 2, field 'note': .*version 1, field 'note': it is missing/)
    await expect(registry.register(SUBJECT, '{"type":"nothing"}')).rejects.toMatchObject({ code: 'SCHEMA_MISMATCH' })
    // Without the transitive rule the last version alone counts.
    await registry.setCompatibility(SUBJECT, 'BACKWARD')
    await registry.register(SUBJECT, withField('extra', 'string', { default: '' }))
    expect(await registry.versions(SUBJECT)).toHaveLength(3)
  })

  it('is not available when nothing listens, when it is silent, when it is no registry, and without the right login', async () => {
    const gone = await serve()
    await gone.stop()
    await expect(connect(gone.url).schemaById(1)).rejects.toMatchObject({ code: 'REGISTRY_UNAVAILABLE' })
    const silent = createServer(() => undefined)
    await new Promise<void>(done => silent.listen(0, '127.0.0.1', done))
    undo.push(() => {
      silent.closeAllConnections()
      return new Promise(done => silent.close(done))
    })
    const { port } = silent.address() as { port: number }
    const asked = connect(`http://127.0.0.1:${port}`, { requestTimeoutMs: 100 }).schemaById(1)
    await expect(asked).rejects.toThrow('it did not answer within 100 ms')
    const wrongPath = connect(`${(await serve()).url}/elsewhere`).schemaById(1)
    await expect(wrongPath).rejects.toThrow(/answers 404.*check schemaRegistry\.url/)
    const guarded = await serve({ login: { username: 'me', password: 's3cret' } })
    const refused = connect(guarded.url, { username: 'me', password: 'wrong-secret' }).schemaById(1)
    await expect(refused).rejects.toThrow(/refuses the login \(401\); check schemaRegistry\.username/)
    await expect(refused).rejects.not.toThrow('wrong-secret')
    expect(await connect(guarded.url, { username: 'me', password: 's3cret' }).schemaById(1)).toBeNull()
    const inUrl = guarded.url.replace('http://', 'http://me:s3cret@')
    expect(await connect(inUrl).schemaById(1)).toBeNull()
  })

  it('is reached by TLS, with a certificate of our own where it asks for one', async () => {
    const at = folder()
    const files = makeCertificates(at)
    const pem = (path: string) => readFileSync(path, 'utf8')
    const tls = { cert: pem(files.serverCert), key: pem(files.serverKey), ca: pem(files.ca) }
    const { url } = await serve({ tls })
    const own = { ca: pem(files.ca), cert: pem(files.clientCert), key: pem(files.clientKey) }
    expect(await connect(url, own).register(SUBJECT, SCHEMA)).toBe(1)
    await expect(connect(url).schemaById(1)).rejects.toMatchObject({ code: 'REGISTRY_UNAVAILABLE' })
    await expect(connect(url, { ca: own.ca }).schemaById(1)).rejects.toMatchObject({ code: 'REGISTRY_UNAVAILABLE' })
  })

  it('has schemas that refer to others, which are written out', async () => {
    const money =
      '{"type":"record","name":"Money","namespace":"com.shop","fields":[{"name":"cents","type":"long"},{"name":"in","type":"Currency"}]}'
    const currency = '{"type":"enum","name":"com.shop.Currency","symbols":["EUR"]}'
    const payments =
      '{"type":"record","name":"Payment","namespace":"com.shop","fields":[{"name":"a","type":"Money"},{"name":"b","type":["null","com.shop.Money"]}]}'
    const inlined = await inlineReferences(
      payments,
      [{ name: 'com.shop.Money', subject: 'money', version: 1 }],
      ({ subject }) =>
        Promise.resolve(
          subject === 'money'
            ? { schema: money, references: [{ name: 'com.shop.Currency', subject: 'currency', version: 3 }] }
            : { schema: currency, references: [] },
        ),
    )
    const type = parseSchema(inlined)
    const value = { a: { cents: 5, in: 'EUR' }, b: { 'com.shop.Money': { cents: 6, in: 'EUR' } } }
    expect(JSON.parse(JSON.stringify(type.fromBuffer(type.toBuffer(value))))).toEqual(value)
  })
})

describe('schemas by id', () => {
  it('are asked for once, however many ask at the same time, and then kept', async () => {
    const server = await serve()
    const registry = connect(server.url)
    const id = await registry.register(SUBJECT, SCHEMA)
    const store = storeOf(registry, server.url, folder())
    const readers = Array.from({ length: 20 }, () => createAvroReader(payment, store))
    const prepared = readers.flatMap(reader => [
      reader.prepare([valueOf(id), valueOf(id)]),
      reader.prepare([valueOf(id)]),
    ])
    expect(prepared.every(each => each !== null)).toBe(true)
    await Promise.all(prepared.map(async each => await each))
    expect(asksFor(server, `/schemas/ids/${id}`)).toBe(1)
    expect(readers[0]?.prepare([valueOf(id)])).toBeNull()
  })

  it('that there are not are asked for a few times, believed for a while, and then again', async () => {
    const server = await serve()
    const registry = connect(server.url)
    const reader = createAvroReader(payment, storeOf(registry, server.url, folder()))
    const value = valueOf(1)
    expect(() => reader.read(value, AT)).toThrow('was not fetched')
    await reader.prepare([value])
    expect(reader.read(value, AT)).toMatchObject({ ok: false, code: 'UNKNOWN_SCHEMA' })
    expect(asksFor(server, '/schemas/ids/1')).toBe(3)
    expect(reader.prepare([value])).toBeNull()
    await registry.register(SUBJECT, SCHEMA)
    clock.now += SCHEMA_STORE_LIMITS.absentForMs
    await reader.prepare([value])
    expect(asksFor(server, '/schemas/ids/1')).toBe(4)
    expect(reader.read(value, AT)).toMatchObject({ ok: false, code: 'NOT_AVRO' })
  })

  it('are kept up to a bound, but never fewer than a batch needs', async () => {
    const server = await serve()
    const registry = connect(server.url)
    for (let n = 1; n <= 30; n++) await registry.register(`s${n}`, `{"type":"fixed","name":"f${n}","size":${n}}`)
    const store = storeOf(registry, server.url, folder(), { maxCachedSchemas: 5, maxRequests: 3 })
    const ids = Array.from({ length: 30 }, (_, index) => index + 1)
    await store.fetch(ids)
    expect(ids.filter(id => store.get(id) === undefined)).toEqual([])
    await store.fetch([])
    expect(ids.filter(id => store.get(id) !== undefined)).toEqual([26, 27, 28, 29, 30])
  })

  it('that are known survive an outage, in this process and in the next; others wait for its end', async () => {
    const [kept, at] = [folder(), folder()]
    const [port = 0] = await freePorts(1)
    let server = await serve({ folder: kept, port })
    const { url } = server
    const registry = connect(url)
    const [first, second] = [await registry.register('a', SCHEMA), await registry.register('b', '"string"')]
    const store = storeOf(registry, url, at)
    const reader = createAvroReader(payment, store)
    await reader.prepare([valueOf(first)])
    const writer = createAvroWriter(payment, store, registry)
    await writer.prepare()
    const value = writer.write({ cells: CELLS })
    await server.stop()

    expect(reader.prepare([value])).toBeNull()
    expect(reader.read(value, AT)).toMatchObject({ ok: true, event: { cells: CELLS } })
    await expect(reader.prepare([valueOf(second)])).rejects.toMatchObject({ code: 'REGISTRY_UNAVAILABLE' })
    expect(() => reader.read(valueOf(second), AT)).toThrow('was not fetched')

    const restarted = storeOf(registry, url, at)
    const after = createAvroReader(payment, restarted)
    await after.prepare([value])
    expect(after.read(value, AT)).toEqual(reader.read(value, AT))
    const writerAfter = createAvroWriter(payment, restarted, registry)
    await writerAfter.prepare()
    expect(writerAfter.write({ cells: CELLS })).toEqual(value)
    // What is kept belongs to one registry.
    await expect(storeOf(registry, 'http://127.0.0.1:1', at).fetch([first])).rejects.toMatchObject({
      code: 'REGISTRY_UNAVAILABLE',
    })

    server = await serve({ folder: kept, port })
    await after.prepare([valueOf(second)])
    expect(after.read(valueOf(second), AT)).toMatchObject({ ok: false, code: 'SCHEMA_NOT_READABLE' })
  })

  it('come from the files where the registry has lost them; files that are damaged count as absent', async () => {
    const server = await serve()
    const registry = connect(server.url)
    const at = folder()
    const id = await registry.register(SUBJECT, SCHEMA)
    await storeOf(registry, server.url, at).fetch([id])
    const emptied = await serve()
    const other = connect(emptied.url)
    const own = join(at, readdirSync(at)[0] ?? '')
    const file = join(own, `schema-${id}.json`)
    const lost = storeOf(other, server.url, at)
    await lost.fetch([id])
    expect(lost.get(id)?.text).toBe(SCHEMA)
    writeFileSync(file, readFileSync(file, 'utf8').slice(0, 20))
    const damaged = storeOf(other, server.url, at)
    await damaged.fetch([id])
    expect(damaged.get(id)?.text).toBeNull()
    expect(readdirSync(own)).toEqual([`schema-${id}.json`])
  })

  it('are read on where nothing can be kept', async () => {
    const server = await serve()
    const registry = connect(server.url)
    const id = await registry.register(SUBJECT, SCHEMA)
    const at = join(folder(), 'a-file')
    mkdirSync(join(at, '..'), { recursive: true })
    writeFileSync(at, '')
    const store = storeOf(registry, server.url, at)
    await store.fetch([id])
    expect(store.get(id)?.text).toBe(SCHEMA)
  })
})

describe('writing', () => {
  it('registers once, under a subject that is new, which then holds to all earlier versions', async () => {
    const server = await serve()
    const registry = connect(server.url)
    const store = storeOf(registry, server.url, folder())
    const writer = createAvroWriter(payment, store, registry)
    expect(() => writer.write({ cells: CELLS })).toThrow('was not registered')
    await Promise.all(Array.from({ length: 10 }, async () => await writer.prepare()))
    expect(writer.prepare()).toBeNull()
    const posts = server.requests.filter(request => request.startsWith('POST'))
    expect(posts).toEqual([`POST /subjects/${SUBJECT}/versions`])
    expect(await registry.compatibility(SUBJECT)).toBe('BACKWARD_TRANSITIVE')
    expect(Buffer.from(writer.write({ cells: CELLS })).subarray(0, 5)).toEqual(Buffer.of(0, 0, 0, 0, 1))
  })

  it('leaves the rule of a subject alone that others made, and takes their name for the record as an alias', async () => {
    const server = await serve()
    const registry = connect(server.url)
    await registry.setCompatibility(SUBJECT, 'FULL')
    const foreign = SCHEMA.replace('"name":"payment","namespace":"headwater"', '"name":"Paid","namespace":"com.shop"')
    expect(foreign).not.toBe(SCHEMA)
    await registry.register(SUBJECT, foreign)
    await registry.setCompatibility(SUBJECT, 'BACKWARD')
    const writer = createAvroWriter(payment, storeOf(registry, server.url, folder()), registry)
    await writer.prepare()
    expect(await registry.compatibility(SUBJECT)).toBe('BACKWARD')
    expect((await registry.versions(SUBJECT)).at(-1)?.schema).toContain('"aliases":["com.shop.Paid"]')
  })

  it("passes on the registry's words when it refuses the schema, and tries again after an outage", async () => {
    const server = await serve()
    const registry = connect(server.url)
    await registry.register(SUBJECT, SCHEMA.replace('{"name":"amount"', '{"name":"sum"'))
    const refused = createAvroWriter(payment, storeOf(registry, server.url, folder()), registry)
    await expect(refused.prepare()).rejects.toMatchObject({ code: 'SCHEMA_MISMATCH' })
    await expect(refused.prepare()).rejects.toThrow("field 'amount': it is missing there and has no default")
    const kept = folder()
    const [port = 0] = await freePorts(1)
    const stopped = await serve({ folder: kept, port })
    await stopped.stop()
    const again = connect(stopped.url)
    const writer = createAvroWriter(payment, storeOf(again, stopped.url, folder()), again)
    await expect(writer.prepare()).rejects.toMatchObject({ code: 'REGISTRY_UNAVAILABLE' })
    await serve({ folder: kept, port })
    await writer.prepare()
    expect(writer.write({ cells: CELLS })).toHaveLength(5 + 2 + 6 + 3)
  })
})
