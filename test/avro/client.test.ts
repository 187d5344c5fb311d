import { COMPATIBILITY, SchemaRegistry as Client, SchemaType } from '@kafkajs/confluent-schema-registry'
import { afterAll, beforeAll, expect, it } from 'vitest'
import { event, t } from '../../features/define/index.ts'
import { systemClock } from '../../services/clock.ts'
import { createTelemetry } from '../../services/telemetry.ts'
import { openConfluentRegistry } from '../../topology/adapters/schema-registry/confluent.ts'
import { createAvroReader, createAvroWriter, subjectOf } from '../../topology/adapters/value-format/avro.ts'
import { createSchemaStore } from '../../topology/adapters/value-format/schema-store.ts'
import type { SchemaRegistry } from '../../topology/ports/schema-registry.ts'
import { startSchemaRegistry } from '../../topology/stack/schema-registry.ts'
import type { SchemaRegistryServer } from '../../topology/stack/schema-registry.ts'
import { sourceOf } from '../plan/source.ts'
import { temporaryFolder } from '../system/headwater.ts'

const AT = 1_750_000_000_000
const visit = sourceOf(
  event('visit', {
    topic: 'visits',
    id: 'id',
    time: 'at',
    lateness: '1h',
    format: 'avro',
    fields: { id: t.string(), at: t.timestamp(), seconds: t.double(), note: t.optional(t.string()) },
  }),
)

const folder = temporaryFolder()
let server: SchemaRegistryServer
let registry: SchemaRegistry
let client: Client

beforeAll(async () => {
  server = await startSchemaRegistry({ login: { username: 'me', password: 's3cret' } })
  const login = { username: 'me', password: 's3cret' }
  registry = openConfluentRegistry({ url: server.url, ...login, requestTimeoutMs: 2_000 })
  client = new Client({ host: server.url, auth: login })
})
afterAll(async () => {
  await registry.close()
  await server.stop()
  folder.remove()
})

it("reads what producers write through kafkajs's registry client, and writes what its consumers read", async () => {
  const telemetry = createTelemetry('error')
  const store = createSchemaStore({ registry, url: server.url, folder: folder.path, clock: systemClock, telemetry })
  const schema = JSON.stringify({
    type: 'record',
    name: 'Visit',
    namespace: 'com.shop',
    fields: [
      { name: 'seconds', type: 'float' },
      { name: 'id', type: 'string' },
      { name: 'at', type: 'long' },
      { name: 'referrer', type: ['null', 'string'], default: null },
    ],
  })
  const compatibility = COMPATIBILITY.BACKWARD_TRANSITIVE
  const subject = subjectOf(visit)
  const { id } = await client.register({ type: SchemaType.AVRO, schema }, { subject, compatibility })
  const value = await client.encode(id, { seconds: 1.5, id: 'a', at: AT, referrer: 'x' })
  const reader = createAvroReader(visit, store)
  await reader.prepare([value])
  expect(reader.read(value, AT)).toMatchObject({ ok: true, event: { id: 'a', time: AT, cells: ['a', AT, 1.5, null] } })

  const writer = createAvroWriter(visit, store, registry)
  await writer.prepare()
  const written = Buffer.from(writer.write({ cells: ['b', AT, 2.5, 'ü'] }))
  expect({ ...(await client.decode(written)) }).toEqual({ id: 'b', at: AT, seconds: 2.5, note: 'ü' })
  expect(await client.getLatestSchemaId(subject)).toBe(id + 1)
})
