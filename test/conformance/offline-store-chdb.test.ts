import { mkdtemp, rm } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import type { ChdbServer } from '../../topology/adapters/offline-store/chdb/server.ts'
import { startChdbServer } from '../../topology/adapters/offline-store/chdb/server.ts'
import { openClickHouseOfflineStore } from '../../topology/adapters/offline-store/clickhouse/clickhouse.ts'
import type { OfflineStore } from '../../topology/ports/offline-store.ts'
import type { OfflineStoreSubject } from './offline-store.ts'
import { offlineStoreConformance } from './offline-store.ts'

const CREDENTIALS = { username: 'conformance', password: 'a password' }

async function subject(remote: boolean): Promise<OfflineStoreSubject> {
  const folder = await mkdtemp(join(tmpdir(), 'headwater-test-'))
  let server: ChdbServer
  let store: OfflineStore
  const open = async (): Promise<OfflineStore> => {
    const credentials = remote ? { credentials: CREDENTIALS } : {}
    server = await startChdbServer({ directory: join(folder, 'offline'), ...credentials })
    const login = remote ? CREDENTIALS : {}
    store = await openClickHouseOfflineStore({ url: server.url, compression: remote, ...login })
    return store
  }
  const close = async (): Promise<void> => {
    await store.close()
    await server.close()
  }
  return {
    store: await open(),
    reopen: async () => {
      await close()
      return await open()
    },
    end: async () => {
      await close()
      await rm(folder, { recursive: true, force: true })
    },
  }
}

offlineStoreConformance('chdb over HTTP', () => subject(false))
offlineStoreConformance('chdb over HTTP with gzip and a password', () => subject(true))
