import { createHash, randomUUID } from 'node:crypto'
import { mkdir, readFile, readdir, rename, rm, writeFile } from 'node:fs/promises'
import { join } from 'node:path'
import type { Telemetry } from '../../ports/telemetry.ts'

/** Files of one registry; what cannot be read counts as absent, what cannot be written is said and left out. */
export interface SchemaFiles {
  readSchema(id: number): Promise<string | null>
  writeSchema(id: number, schema: string): Promise<void>
  readId(key: string): Promise<number | null>
  writeId(key: string, id: number): Promise<void>
}

/** Files kept for one registry; more are not written. */
const MAX_FILES = 10_000

/** What binds a folder to a registry: its address without user, password and what follows the path. */
function addressOf(url: string): string {
  const { origin, pathname } = new URL(url)
  return `${origin}${pathname.replace(/\/+$/, '')}`
}

/**
 * Keeps what a registry answered under `folder`, in a folder of its own for its address: one file for each schema and for
 * each registered subject, written under another name and then renamed, so that a file is whole or not there.
 */
export function createSchemaFiles(folder: string, url: string, telemetry: Telemetry): SchemaFiles {
  const address = addressOf(url)
  const own = join(folder, createHash('sha256').update(address).digest('hex').slice(0, 16))

  async function read(name: string): Promise<Readonly<Record<string, unknown>> | null> {
    try {
      const content = JSON.parse(await readFile(join(own, name), 'utf8')) as Record<string, unknown>
      return content['registry'] === address ? content : null
    } catch {
      return null
    }
  }

  async function write(name: string, content: Readonly<Record<string, unknown>>): Promise<void> {
    const path = join(own, name)
    const unfinished = `${path}.${randomUUID()}`
    try {
      await mkdir(own, { recursive: true })
      if ((await readdir(own)).length >= MAX_FILES) return
      await writeFile(unfinished, JSON.stringify({ registry: address, ...content }))
      await rename(unfinished, path)
    } catch (error) {
      await rm(unfinished, { force: true }).catch(() => undefined)
      telemetry.log('warn', `a schema could not be kept in ${own}: ${(error as Error).message}`)
    }
  }

  const schemaName = (id: number): string => `schema-${id}.json`
  const idName = (key: string): string => `id-${key}.json`
  return {
    readSchema: async id => {
      const schema = (await read(schemaName(id)))?.['schema']
      return typeof schema === 'string' ? schema : null
    },
    writeSchema: async (id, schema) => {
      const name = schemaName(id)
      if ((await read(name))?.['schema'] !== schema) await write(name, { id, schema })
    },
    readId: async key => {
      const id = (await read(idName(key)))?.['id']
      return typeof id === 'number' ? id : null
    },
    writeId: (key, id) => write(idName(key), { id }),
  }
}
