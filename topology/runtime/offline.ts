import { join } from 'node:path'
import { PortError } from '../ports/errors.ts'
import type { OfflineStore } from '../ports/offline-store.ts'
import type { TableFiles } from '../ports/table-file.ts'
import type { Config } from './config.ts'

const POLL_MS = 100
const MAX_OWN_WAIT_MS = 30_000

function folder(config: Config): string {
  return join(config.dataDirectory, 'offline')
}

async function connect(config: Config, url: string): Promise<OfflineStore> {
  const { openClickHouseOfflineStore } = await import('../adapters/offline-store/clickhouse/clickhouse.ts')
  const { database, username, password } = config.offlineStore
  return await openClickHouseOfflineStore(
    config.offlineStore.kind === 'clickhouse' ? { url, database, username, password } : { url, database },
  )
}

async function serve(config: Config): Promise<OfflineStore> {
  const { startChdbServer } = await import('../adapters/offline-store/chdb/server.ts')
  const server = await startChdbServer({ directory: folder(config), port: config.offlineStore.port })
  const store = await connect(config, server.url)
  return {
    ...store,
    close: async () => {
      await store.close()
      await server.close()
    },
  }
}

/**
 * Connects to the offline store. With the embedded engine that is the process that serves the data folder; where none
 * does, this process serves it itself until the store is closed. For commands that end soon.
 */
export async function openOfflineStore(config: Config): Promise<OfflineStore> {
  if (config.offlineStore.kind === 'clickhouse') return await connect(config, config.offlineStore.url)
  const { readServedAddress } = await import('../adapters/offline-store/chdb/server.ts')
  const served = await readServedAddress(folder(config))
  return served === null ? await serve(config) : await connect(config, served)
}

/**
 * Opens the offline store for a process that others will lean on: with the embedded engine it serves the folder itself,
 * and waits for a command that happens to serve it now.
 */
export async function ownOfflineStore(config: Config): Promise<OfflineStore> {
  if (config.offlineStore.kind === 'clickhouse') return await connect(config, config.offlineStore.url)
  const { readServedAddress } = await import('../adapters/offline-store/chdb/server.ts')
  let served = await readServedAddress(folder(config))
  for (let waited = 0; served !== null && waited < MAX_OWN_WAIT_MS; waited += POLL_MS) {
    await new Promise(resolve => setTimeout(resolve, POLL_MS))
    served = await readServedAddress(folder(config))
  }
  if (served === null) return await serve(config)
  throw new PortError(
    'STORE_UNAVAILABLE',
    `another process serves the offline store in ${folder(config)} on ${served}; stop it, or give --data another folder`,
  )
}

/** Waits for the process that serves the embedded engine, or connects to the server at once. */
export async function awaitOfflineStore(config: Config, maxWaitMs: number): Promise<OfflineStore> {
  if (config.offlineStore.kind === 'clickhouse') return await connect(config, config.offlineStore.url)
  const { readServedAddress } = await import('../adapters/offline-store/chdb/server.ts')
  for (let waited = 0; waited <= maxWaitMs; waited += POLL_MS) {
    const served = await readServedAddress(folder(config))
    if (served !== null) return await connect(config, served)
    await new Promise(resolve => setTimeout(resolve, POLL_MS))
  }
  throw new PortError(
    'STORE_UNAVAILABLE',
    `nothing serves the offline store in ${folder(config)}; start "headwater run offline-writer" (or "run all") first`,
  )
}

/** Table files, read and written through the embedded engine. */
export async function openTableFiles(): Promise<TableFiles> {
  const { createTableFiles } = await import('../adapters/table-file/table-files.ts')
  return createTableFiles()
}
