import { createHash } from 'node:crypto'
import { PortError } from '../../ports/errors.ts'
import type { Clock } from '../../ports/clock.ts'
import type { SchemaRegistry } from '../../ports/schema-registry.ts'
import type { Telemetry } from '../../ports/telemetry.ts'
import { createSchemaFiles } from './schema-files.ts'

/** Bounds of what is kept of a registry. */
export interface SchemaStoreLimits {
  /** Schemas kept in memory; those that one batch needs are kept beyond it. */
  readonly maxCachedSchemas: number
  /** How long the registry's word that it has no such schema is believed. */
  readonly absentForMs: number
  /** How often it is asked before that is believed at all: a new schema reaches all its replicas a little later. */
  readonly absentAsks: number
  readonly absentPauseMs: number
  /** Requests under way at once. */
  readonly maxRequests: number
}

export const SCHEMA_STORE_LIMITS: SchemaStoreLimits = {
  maxCachedSchemas: 1_000,
  absentForMs: 5_000,
  absentAsks: 3,
  absentPauseMs: 150,
  maxRequests: 16,
}

/** What is known of an id: the schema's text, or null where the registry has none. */
export interface KnownSchema {
  readonly text: string | null
}

/** The schemas of one registry by id, kept in memory and beside the data, so that an outage of it is survived. */
export interface SchemaStore {
  /** Undefined for an id that was not fetched. */
  get(id: number): KnownSchema | undefined
  /** Whether `fetch` has something to do for the id. */
  isMissing(id: number): boolean
  /** Makes ids known; asks once for each, however many ask at the same time. Rejects with `REGISTRY_UNAVAILABLE`. */
  fetch(ids: readonly number[]): Promise<void>
  /** The id of a schema under a subject, which makes it one: what `register` answered, now or before. */
  idOf(subject: string, schema: string, register: () => Promise<number>): Promise<number>
}

export interface SchemaStoreOptions {
  readonly registry: SchemaRegistry
  /** The registry's address; what is kept in files belongs to it. */
  readonly url: string
  /** Where files are kept. */
  readonly folder: string
  readonly clock: Clock
  readonly telemetry: Telemetry
  readonly limits?: SchemaStoreLimits
}

interface Entry extends KnownSchema {
  /** On the monotonic clock; infinite for a schema that was found. */
  readonly untilMs: number
}

function isUnavailable(error: unknown): boolean {
  return error instanceof PortError && error.code === 'REGISTRY_UNAVAILABLE'
}

const pause = (ms: number): Promise<void> => new Promise(resolve => setTimeout(resolve, ms))

/** Runs pieces of work, at most so many at a time. */
function limiter(most: number): <T>(work: () => Promise<T>) => Promise<T> {
  const waiting: (() => void)[] = []
  let running = 0
  return async work => {
    while (running >= most) await new Promise<void>(resolve => waiting.push(resolve))
    running++
    try {
      return await work()
    } finally {
      running--
      waiting.shift()?.()
    }
  }
}

/**
 * Opens the store. Each process asks the registry once for each id, whose answer holds for ever; the files are for when
 * it does not answer, or has lost what it once had.
 */
export function createSchemaStore(options: SchemaStoreOptions): SchemaStore {
  const { registry, clock, telemetry, limits = SCHEMA_STORE_LIMITS } = options
  const files = createSchemaFiles(options.folder, options.url, telemetry)
  const entries = new Map<number, Entry>()
  const pending = new Map<number, Promise<void>>()

  function isMissing(id: number): boolean {
    const entry = entries.get(id)
    return entry === undefined || clock.monotonicMs() >= entry.untilMs
  }

  const limited = limiter(limits.maxRequests)

  async function ask(id: number): Promise<string | null> {
    for (let asked = 1; ; asked++) {
      telemetry.count('schema_registry_requests', 1)
      const text = await limited(() => registry.schemaById(id))
      if (text !== null || asked >= limits.absentAsks) return text
      await pause(limits.absentPauseMs)
    }
  }

  async function look(id: number): Promise<void> {
    try {
      const text = (await ask(id)) ?? (await files.readSchema(id))
      if (text !== null) await files.writeSchema(id, text)
      keep(id, text)
    } catch (error) {
      const text = isUnavailable(error) ? await files.readSchema(id) : null
      if (text === null) throw error
      telemetry.log('warn', `schema ${id} was taken from ${options.folder}: ${(error as Error).message}`)
      keep(id, text)
    }
  }

  function keep(id: number, text: string | null): void {
    entries.delete(id)
    entries.set(id, { text, untilMs: text === null ? clock.monotonicMs() + limits.absentForMs : Infinity })
  }

  /** Forgets the oldest beyond the bound; done before a batch is fetched, so that all of its own stay. */
  function evict(): void {
    for (const id of entries.keys()) {
      if (entries.size <= limits.maxCachedSchemas) return
      entries.delete(id)
    }
  }

  function fetchOne(id: number): Promise<void> {
    let flight = pending.get(id)
    if (flight === undefined) {
      flight = look(id).finally(() => pending.delete(id))
      pending.set(id, flight)
    }
    return flight
  }

  return {
    get: id => entries.get(id),
    isMissing,
    fetch: async ids => {
      evict()
      const results = await Promise.allSettled(ids.filter(isMissing).map(fetchOne))
      const failed = results.find(result => result.status === 'rejected')
      if (failed !== undefined) throw failed.reason
    },
    idOf: async (subject, schema, register) => {
      const key = createHash('sha256')
        .update(JSON.stringify([subject, schema]))
        .digest('hex')
      try {
        const id = await register()
        await files.writeId(key, id)
        return id
      } catch (error) {
        const id = isUnavailable(error) ? await files.readId(key) : null
        if (id === null) throw error
        telemetry.log('warn', `the number of the schema of ${subject} was taken from ${options.folder}`)
        return id
      }
    },
  }
}
