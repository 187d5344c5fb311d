import { join } from 'node:path'
import type { Plan, SourcePlan } from '../../features/plan/plan.ts'
import { jsonFormats } from '../event-record.ts'
import type { Clock } from '../ports/clock.ts'
import { PortError } from '../ports/errors.ts'
import type { SchemaRegistry } from '../ports/schema-registry.ts'
import type { Telemetry } from '../ports/telemetry.ts'
import type { EventFormats, EventReader, EventWriter } from '../ports/value-format.ts'
import type { Config } from './config.ts'
import { readPemFiles } from './pem-files.ts'

/** The folder within the data directory where schemas are kept, so that an outage of the registry is survived. */
export const SCHEMA_FOLDER = 'schemas'

function checkUrl(config: Config): void {
  const { url, tls } = config.schemaRegistry
  const parsed = URL.canParse(url) ? new URL(url) : null
  if (parsed === null || !['http:', 'https:'].includes(parsed.protocol)) {
    throw new PortError('REGISTRY_UNAVAILABLE', 'schemaRegistry.url must begin with http:// or https://')
  }
  if (tls && parsed.protocol === 'http:') {
    throw new PortError(
      'REGISTRY_UNAVAILABLE',
      'schemaRegistry.tls is true, but schemaRegistry.url begins with http://',
    )
  }
}

/**
 * The registry of the configuration; null where none is configured. Nothing is asked of it yet. Rejects with
 * `REGISTRY_UNAVAILABLE` for an address that is none and for certificate files that cannot be read.
 */
export async function openSchemaRegistry(config: Config): Promise<SchemaRegistry | null> {
  const { url, username, password, requestTimeoutMs } = config.schemaRegistry
  if (url === '') return null
  checkUrl(config)
  const { openConfluentRegistry } = await import('../adapters/schema-registry/confluent.ts')
  return openConfluentRegistry({
    url,
    username,
    password,
    requestTimeoutMs,
    ...readPemFiles('schemaRegistry', config.schemaRegistry, 'REGISTRY_UNAVAILABLE'),
  })
}

/**
 * How the events of a plan are read and written, opened once for a process. Where a source is in Avro this needs
 * `schemaRegistry.url`, and rejects with `REGISTRY_UNAVAILABLE` without; nothing is asked of the registry yet.
 */
export async function createEventFormats(
  config: Config,
  plan: Plan,
  clock: Clock,
  telemetry: Telemetry,
): Promise<EventFormats> {
  const inAvro = plan.sources.filter(source => source.format === 'avro')
  if (inAvro.length === 0) return jsonFormats
  const registry = await openSchemaRegistry(config)
  if (registry === null) {
    const names = inAvro.map(source => source.name).join(', ')
    throw new PortError(
      'REGISTRY_UNAVAILABLE',
      `the format of ${names} is avro, which needs a schema registry: set schemaRegistry.url to its address`,
    )
  }
  const { createAvroReader, createAvroWriter } = await import('../adapters/value-format/avro.ts')
  const { createSchemaStore } = await import('../adapters/value-format/schema-store.ts')
  const folder = join(config.dataDirectory, SCHEMA_FOLDER)
  const schemas = createSchemaStore({ registry, url: config.schemaRegistry.url, folder, clock, telemetry })
  const readers = new Map<SourcePlan, EventReader>()
  const writers = new Map<SourcePlan, EventWriter>()
  const kept = <T>(map: Map<SourcePlan, T>, source: SourcePlan, make: () => T): T => {
    let made = map.get(source)
    if (made === undefined) map.set(source, (made = make()))
    return made
  }
  return {
    reader: source =>
      source.format === 'json'
        ? jsonFormats.reader(source)
        : kept(readers, source, () => createAvroReader(source, schemas)),
    writer: source =>
      source.format === 'json'
        ? jsonFormats.writer(source)
        : kept(writers, source, () => createAvroWriter(source, schemas, registry)),
    close: () => registry.close(),
  }
}
