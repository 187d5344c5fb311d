import { drainPending } from 'chdb'
import { createServer } from 'node:http'
import type { AddressInfo } from 'node:net'
import { parentPort, workerData } from 'node:worker_threads'
import { createConnectionPool } from './connections.ts'
import type { Credentials } from './credentials.ts'
import { handleRequest } from './http-handler.ts'

/** What the thread is started with. */
export interface WorkerSettings {
  readonly directory: string
  readonly spoolDirectory: string
  readonly host: string
  readonly port: number
  readonly instance: string
  readonly maxRequestBytes: number
  readonly maxStatementBytes: number
  readonly stalledClientMs: number
  readonly drainMs: number
  readonly credentials: Credentials | null
}

/** What the thread tells its owner. */
export type WorkerMessage =
  | { readonly type: 'listening'; readonly port: number }
  | { readonly type: 'failed'; readonly step: 'open' | 'listen'; readonly message: string }
  | { readonly type: 'closed' }

const MAX_READERS = 12
const MAX_WRITERS = 4
const MAX_RUNNING_READERS = 2
const MAX_RUNNING_WRITERS = 1
const MAX_WAITING = 512

function post(message: WorkerMessage): void {
  parentPort?.postMessage(message)
}

async function serve(settings: WorkerSettings): Promise<void> {
  const pool = (maxConnections: number, maxRunning: number) =>
    createConnectionPool(settings.directory, { maxConnections, maxRunning, maxWaiting: MAX_WAITING })
  const readers = pool(MAX_READERS, MAX_RUNNING_READERS)
  const writers = pool(MAX_WRITERS, MAX_RUNNING_WRITERS)
  let engineVersion: string
  try {
    const state = { database: 'default', settings: new Map(), params: new Map(), placeholders: [] }
    const lease = await readers.lease(state)
    engineVersion = Buffer.from((await lease.run('SELECT version()', 'TabSeparatedRaw')).bytes)
      .toString()
      .trim()
    lease.release(true)
  } catch (error) {
    post({ type: 'failed', step: 'open', message: error instanceof Error ? error.message : String(error) })
    return
  }
  const hostNames = new Set(['localhost', '127.0.0.1', '[::1]', settings.host, `[${settings.host}]`])
  const options = { ...settings, readers, writers, engineVersion, hostNames }
  const active = new Set<Promise<void>>()
  const server = createServer(
    { keepAliveTimeout: 30_000, requestTimeout: 0, maxHeaderSize: 1024 * 1024 },
    (request, response) => {
      const work = handleRequest(options, request, response).finally(() => active.delete(work))
      active.add(work)
    },
  )
  server.on('error', error => {
    if (!server.listening) post({ type: 'failed', step: 'listen', message: error.message })
  })
  server.listen({ host: settings.host, port: settings.port }, () => {
    post({ type: 'listening', port: (server.address() as AddressInfo).port })
  })
  parentPort?.once('message', () => {
    void (async () => {
      server.close()
      server.closeIdleConnections()
      const limit = new Promise<void>(resolve => setTimeout(resolve, settings.drainMs).unref())
      await Promise.race([Promise.allSettled(active), limit])
      server.closeAllConnections()
      readers.close()
      writers.close()
      await drainPending()
      post({ type: 'closed' })
      parentPort?.close()
    })()
  })
}

await serve(workerData as WorkerSettings)
