import { join } from 'node:path'
import { PortError } from '../ports/errors.ts'
import type { OfflineStore } from '../ports/offline-store.ts'
import type { TableFiles } from '../ports/table-file.ts'
import type { Config } from './config.ts'
import { requireServerVersion } from './offline-check.ts'
import { readPemFiles } from './pem-files.ts'
import type { PemFiles } from './pem-files.ts'

const POLL_MS = 100
const MAX_OWN_WAIT_MS = 30_000
/** Attempts at a server, at growing intervals of 3 seconds in all; whoever asks tries again after that. */
const SERVER_ATTEMPTS = 6

function folder(config: Config): string {
  return join(config.dataDirectory, 'offline')
}

/** User and password where a password is set; the embedded engine asks for them then. */
function credentialsOf(config: Config): { readonly username: string; readonly password: string } | undefined {
  const { username, password } = config.offlineStore
  return password === '' ? undefined : { username, password }
}

/** What encrypts the connection; undefined for the system's authorities and no certificate of our own, or for none. */
function tlsOf(config: Config): PemFiles | undefined {
  const { url, tls, tlsCert, tlsKey } = config.offlineStore
  const encrypted = new URL(url).protocol === 'https:'
  if (tls && !encrypted) {
    const message = `offlineStore.tls is true but offlineStore.url is ${url}: give the address of ClickHouse's https port`
    throw new PortError('STORE_UNAVAILABLE', message)
  }
  if ((tlsCert === '') !== (tlsKey === '')) {
    const missing = tlsCert === '' ? 'tlsCert' : 'tlsKey'
    const message = `offlineStore.${missing} is not set: a certificate and its key are needed together`
    throw new PortError('STORE_UNAVAILABLE', message)
  }
  if (!encrypted) return undefined
  const files = readPemFiles('offlineStore', config.offlineStore, 'STORE_UNAVAILABLE')
  return files.ca === undefined && files.cert === undefined ? undefined : files
}

/** Errors: the address is none, or holds what every message about it would show. */
function checkUrl({ offlineStore }: Config): void {
  const parsed = URL.canParse(offlineStore.url) ? new URL(offlineStore.url) : null
  if (parsed === null || !['http:', 'https:'].includes(parsed.protocol)) {
    const message = "offlineStore.url must be the address of ClickHouse's HTTP interface, such as http://host:8123"
    throw new PortError('STORE_UNAVAILABLE', message)
  }
  if (parsed.username !== '' || parsed.password !== '' || parsed.search !== '') {
    const message =
      'offlineStore.url must hold neither a user, a password nor parameters: ' +
      'set offlineStore.username and offlineStore.password'
    throw new PortError('STORE_UNAVAILABLE', message)
  }
}

function isLoopback(url: string): boolean {
  return /^(localhost|127\.\d+\.\d+\.\d+|\[::1\])$/.test(new URL(url).hostname)
}

async function connectServer(config: Config, createDatabase: boolean): Promise<OfflineStore> {
  const { openClickHouseOfflineStore } = await import('../adapters/offline-store/clickhouse/clickhouse.ts')
  const { url, database, username, password, requestTimeoutMs } = config.offlineStore
  checkUrl(config)
  const tls = tlsOf(config)
  const store = await openClickHouseOfflineStore({
    ...{ url, database, username, password, requestTimeoutMs, createDatabase },
    maxAttempts: SERVER_ATTEMPTS,
    compression: !isLoopback(url),
    ...(tls === undefined ? {} : { tls }),
  })
  try {
    await requireServerVersion(store)
    return store
  } catch (error) {
    await store.close()
    throw error
  }
}

async function connect(config: Config, url: string): Promise<OfflineStore> {
  const { openClickHouseOfflineStore } = await import('../adapters/offline-store/clickhouse/clickhouse.ts')
  const { database } = config.offlineStore
  return await openClickHouseOfflineStore({ url, database, ...credentialsOf(config) })
}

async function serve(config: Config): Promise<OfflineStore> {
  const { startChdbServer } = await import('../adapters/offline-store/chdb/server.ts')
  const credentials = credentialsOf(config)
  const server = await startChdbServer({
    directory: folder(config),
    port: config.offlineStore.port,
    ...(credentials === undefined ? {} : { credentials }),
  })
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
 * @param createDatabase whether to make the database on a ClickHouse server where it is absent; the embedded engine's
 * is made always
 */
export async function openOfflineStore(config: Config, createDatabase = false): Promise<OfflineStore> {
  if (config.offlineStore.kind === 'clickhouse') return await connectServer(config, createDatabase)
  const { readServedAddress } = await import('../adapters/offline-store/chdb/server.ts')
  const served = await readServedAddress(folder(config))
  return served === null ? await serve(config) : await connect(config, served)
}

/**
 * Opens the offline store for a process that others will lean on: with the embedded engine it serves the folder itself,
 * and waits for a command that happens to serve it now.
 */
export async function ownOfflineStore(config: Config): Promise<OfflineStore> {
  if (config.offlineStore.kind === 'clickhouse') return await connectServer(config, false)
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
  if (config.offlineStore.kind === 'clickhouse') return await connectServer(config, false)
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
