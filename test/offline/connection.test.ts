import { mkdtemp, readFile, rm } from 'node:fs/promises'
import { request as sendRequest } from 'node:http'
import { createServer } from 'node:https'
import type { Server } from 'node:https'
import { createServer as createTcpServer } from 'node:net'
import type { AddressInfo } from 'node:net'
import { once } from 'node:events'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { afterAll, afterEach, beforeAll, describe, expect, it } from 'vitest'
import { compileProject } from '../../features/plan/compile.ts'
import type { Plan } from '../../features/plan/plan.ts'
import { systemClock } from '../../services/clock.ts'
import { stopAndClose } from '../../services/process.ts'
import { startChdbServer } from '../../topology/adapters/offline-store/chdb/server.ts'
import type { ChdbServer } from '../../topology/adapters/offline-store/chdb/server.ts'
import { connectClickHouse } from '../../topology/adapters/offline-store/clickhouse/clickhouse.ts'
import { createTableFiles } from '../../topology/adapters/table-file/table-files.ts'
import { PortError } from '../../topology/ports/errors.ts'
import type { OfflineStore } from '../../topology/ports/offline-store.ts'
import { parseConfig } from '../../topology/runtime/config.ts'
import type { Config } from '../../topology/runtime/config.ts'
import { examine } from '../../topology/runtime/doctor.ts'
import { migrateOfflineStore } from '../../topology/runtime/migrate.ts'
import { openOfflineStore } from '../../topology/runtime/offline.ts'
import { checkOfflineStore, requireServerVersion } from '../../topology/runtime/offline-check.ts'
import { makeCertificates } from '../../topology/stack/certificates.ts'
import type { Certificates } from '../../topology/stack/certificates.ts'
import { startFaultyProxy } from './faulty-proxy.ts'

const CREDENTIALS = { username: 'writer', password: 'pass:wörd/1' }

function configOf(flags: Readonly<Record<string, string>>): Config {
  const parsed = parseConfig({ file: null, environment: {}, flags })
  if (!parsed.ok) throw new Error(JSON.stringify(parsed.problems))
  return parsed.config
}

async function failureOf(work: Promise<unknown>): Promise<PortError> {
  const error: unknown = await work.then(
    () => null,
    (reason: unknown) => reason,
  )
  expect(error).toBeInstanceOf(PortError)
  return error as PortError
}

/** A front that ends TLS before a plain HTTP server, as a load balancer or ClickHouse's https port does. */
async function startTlsFront(files: Certificates, target: string, asksForCertificate: boolean): Promise<Server> {
  const [ca, cert, key] = await Promise.all([files.ca, files.serverCert, files.serverKey].map(path => readFile(path)))
  if (ca === undefined || cert === undefined || key === undefined) throw new Error('no certificates')
  const tls = { ca, cert, key, requestCert: asksForCertificate, rejectUnauthorized: asksForCertificate }
  const front = createServer(tls, (request, response) => {
    const onward = sendRequest(
      new URL(request.url ?? '/', target),
      { method: request.method ?? 'POST', headers: request.headers },
      answer => void answer.pipe(response.writeHead(answer.statusCode ?? 200, answer.headers)),
    )
    request.pipe(onward)
  })
  front.listen(0, '127.0.0.1')
  await once(front, 'listening')
  return front
}

describe('the connection to ClickHouse', () => {
  let folder: string
  let server: ChdbServer
  let files: Certificates
  const fronts: Server[] = []
  const stores: OfflineStore[] = []

  beforeAll(async () => {
    folder = await mkdtemp(join(tmpdir(), 'headwater-connection-'))
    files = makeCertificates(folder)
    server = await startChdbServer({ directory: join(folder, 'offline'), credentials: CREDENTIALS })
  }, 30_000)
  afterEach(async () => {
    for (const store of stores.splice(0)) await store.close()
    for (const front of fronts.splice(0)) {
      front.closeAllConnections()
      await new Promise(resolve => front.close(resolve))
    }
  })
  afterAll(async () => {
    await server.close()
    await rm(folder, { recursive: true, force: true })
  }, 30_000)

  const flagsOf = (url: string, more: Readonly<Record<string, string>> = {}) => ({
    'offlineStore.kind': 'clickhouse',
    'offlineStore.url': url,
    'offlineStore.username': CREDENTIALS.username,
    'offlineStore.password': CREDENTIALS.password,
    ...more,
  })
  async function open(flags: Readonly<Record<string, string>>, createDatabase = true): Promise<OfflineStore> {
    const store = await openOfflineStore(configOf(flags), createDatabase)
    stores.push(store)
    return store
  }
  async function front(asksForCertificate = false): Promise<string> {
    const made = await startTlsFront(files, server.url, asksForCertificate)
    fronts.push(made)
    return `https://127.0.0.1:${(made.address() as AddressInfo).port}`
  }
  const ONE = 'SELECT 1 AS x'

  it('names the settings to look at when user or password are wrong, and shows no password', async () => {
    const store = await open(flagsOf(server.url))
    expect(await store.query(ONE)).toEqual([{ x: 1 }])
    for (const [key, value] of [
      ['offlineStore.password', 'wrong-secret'],
      ['offlineStore.password', ''],
      ['offlineStore.username', 'stranger'],
    ] as const) {
      const error = await failureOf(open(flagsOf(server.url, { [key]: value })))
      expect(error.code).toBe('STORE_UNAVAILABLE')
      expect(error.message).toMatch(/check offlineStore\.username and offlineStore\.password.*Code: 516\./)
      expect(error.message).not.toContain('wrong-secret')
      expect(error.message).not.toContain(CREDENTIALS.password)
    }
  })

  it.each([
    ['127.0.0.1:8123', /offlineStore\.url must be the address of ClickHouse's HTTP interface/],
    ['localhost:8123', /offlineStore\.url must be the address of ClickHouse's HTTP interface/],
    ['http://me:hidden@127.0.0.1:1', /set offlineStore\.username and offlineStore\.password/],
    ['http://127.0.0.1:1/?password=hidden', /set offlineStore\.username and offlineStore\.password/],
  ])('refuses the address %s in one line, and shows none that holds a password', async (url, message) => {
    const error = await failureOf(open(flagsOf(url)))
    expect(error).toMatchObject({ code: 'STORE_UNAVAILABLE', message: expect.stringMatching(message) })
    expect(error.message).not.toContain('hidden')
  })

  it('ends what waits for a server that does not answer when it is closed', async () => {
    const silent = createTcpServer(() => undefined)
    silent.listen(0, '127.0.0.1')
    await once(silent, 'listening')
    const store = connectClickHouse({ url: `http://127.0.0.1:${(silent.address() as AddressInfo).port}` })
    const insert = failureOf(store.insert('t', [{ a: 1 }], 'token'))
    await once(silent, 'connection')
    const done = stopAndClose({ stop: () => insert.then(() => undefined) }, store, 10)
    expect((await insert).code).toBe('CLOSED')
    await done
    silent.close()
  })

  it('takes user and password in all places where ClickHouse does', async () => {
    const { username, password } = CREDENTIALS
    const ask = async (query: string, headers: Record<string, string> = {}): Promise<number> =>
      (await fetch(`${server.url}/?query=SELECT%201${query}`, { headers })).status
    const basic = (text: string) => ({ Authorization: `Basic ${Buffer.from(text).toString('base64')}` })
    const key = encodeURIComponent(password)
    expect(await ask('')).toBe(403)
    expect(await ask('', basic(`${username}:${password}`))).toBe(200)
    expect(await ask('', basic(`${username}:${password}x`))).toBe(403)
    expect(await ask(`&user=${username}&password=${key}`)).toBe(200)
    expect(await ask(`&password=${key}`)).toBe(403)
    expect(await ask('', { 'X-ClickHouse-User': username, 'X-ClickHouse-Key': 'no' })).toBe(403)
    expect((await fetch(`${server.url}/ping`)).status).toBe(200)
  })

  it('reads and writes table files through an engine that asks for a password', async () => {
    const table = createTableFiles()
    const path = join(folder, 'small.csv')
    const { writeFile } = await import('node:fs/promises')
    await writeFile(path, 'a,b\n1,x\n2,y\n')
    const file = await table.open(path)
    expect(file.columns.map(column => column.name)).toEqual(['a', 'b'])
    await file.close()
    await table.close()
  })

  it('is encrypted where the address says so, against the authority of tlsCa', async () => {
    const url = await front()
    const store = await open(flagsOf(url, { 'offlineStore.tls': 'true', 'offlineStore.tlsCa': files.ca }))
    await store.command('CREATE TABLE IF NOT EXISTS tls (a Int64, s String) ENGINE = MergeTree ORDER BY a')
    const rows = Array.from({ length: 5_000 }, (_, a) => ({ a, s: `row ${a}` }))
    await store.insert('tls', rows, 'token')
    expect(await store.query('SELECT count() AS n, max(s) AS s FROM tls')).toEqual([{ n: '5000', s: 'row 999' }])

    const unknown = await failureOf(open(flagsOf(url)))
    expect(unknown.code).toBe('STORE_UNAVAILABLE')
    expect(unknown.message).toMatch(/No encrypted connection.*offlineStore\.tlsCa/)
    const plain = await failureOf(
      open(flagsOf(server.url.replace('http:', 'https:'), { 'offlineStore.tlsCa': files.ca })),
    )
    expect(plain.message).toMatch(/No encrypted connection|Cannot reach/)
  })

  it('shows a certificate of its own where the server asks for one, with a password beside it', async () => {
    const url = await front(true)
    const own = {
      'offlineStore.tlsCa': files.ca,
      'offlineStore.tlsCert': files.clientCert,
      'offlineStore.tlsKey': files.clientKey,
    }
    const store = await open(flagsOf(url, own))
    expect(await store.query(ONE)).toEqual([{ x: 1 }])
    const refused = await failureOf(open(flagsOf(url, { 'offlineStore.tlsCa': files.ca })))
    expect(refused.code).toBe('STORE_UNAVAILABLE')
    const half = await failureOf(open(flagsOf(url, { ...own, 'offlineStore.tlsKey': '' })))
    expect(half.message).toMatch(/offlineStore\.tlsKey is not set/)
    const gone = await failureOf(open(flagsOf(url, { 'offlineStore.tlsCa': join(folder, 'nothing.pem') })))
    expect(gone.message).toMatch(/offlineStore\.tlsCa cannot be read: ENOENT/)
    const open80 = await failureOf(open(flagsOf(server.url, { 'offlineStore.tls': 'true' })))
    expect(open80.message).toMatch(/offlineStore\.tls is true but offlineStore\.url is http:/)
  })

  it('makes no database unless asked to, and none that is there', async () => {
    const flags = flagsOf(server.url, { 'offlineStore.database': 'later' })
    const before = await open(flags, false)
    await expect(before.query('SELECT 1 FROM scores')).rejects.toThrow(/Code: 81\./)
    await open(flags)
    const after = await open(flags, false)
    expect(await after.query('SELECT currentDatabase() AS d')).toEqual([{ d: 'later' }])
  })

  it('gives up on an answer that does not come, and does not repeat what might have been done', async () => {
    let asked = 0
    const proxy = await startFaultyProxy(server.url, () => {
      asked += 1
      return 'hang'
    })
    const limits = { requestTimeoutMs: 200, maxAttempts: 3, retryDelayMs: 1 }
    const store = connectClickHouse({ url: proxy.url, ...CREDENTIALS, ...limits })
    try {
      expect((await failureOf(store.query(ONE))).code).toBe('STORE_UNAVAILABLE')
      expect(asked).toBe(3)
      const command = await failureOf(store.command('CREATE TABLE IF NOT EXISTS hung (a Int64) ENGINE = Memory'))
      expect(command.code).toBe('STORE_UNAVAILABLE')
      expect(asked).toBe(4)
      await failureOf(store.insert('hung', [{ a: 1 }]))
      expect(asked).toBe(5)
    } finally {
      await store.close()
      await proxy.down()
    }
  })

  it('tells an error that passes from one that stays', async () => {
    let fate: 'parts' | 'memory' | 'gateway' | 'pass' = 'pass'
    let asked = 0
    const proxy = await startFaultyProxy(server.url, () => {
      asked += 1
      return fate
    })
    const store = connectClickHouse({ url: proxy.url, ...CREDENTIALS, maxAttempts: 3, retryDelayMs: 1 })
    try {
      await store.command('CREATE TABLE passing (a Int64) ENGINE = MergeTree ORDER BY a')
      for (const [next, inserts, queries] of [
        ['parts', 'STORE_UNAVAILABLE', 'QUERY_FAILED'],
        ['memory', 'STORE_UNAVAILABLE', 'QUERY_FAILED'],
        ['gateway', 'STORE_UNAVAILABLE', 'STORE_UNAVAILABLE'],
      ] as const) {
        fate = next
        asked = 0
        expect((await failureOf(store.insert('passing', [{ a: 1 }], 't'))).code).toBe(inserts)
        expect(asked).toBe(3)
        expect((await failureOf(store.query(ONE))).code).toBe(queries)
        expect(asked).toBe(queries === 'QUERY_FAILED' ? 4 : 6)
      }
      fate = 'pass'
      asked = 0
      expect((await failureOf(store.insert('passing', [{ a: 'x' }], 't'))).message).toContain('Code: 27.')
      expect(asked).toBe(1)
    } finally {
      await store.close()
      await proxy.down()
    }
  })

  it('is looked over by the doctor: the server, a database that is not there, tables that are missing', async () => {
    const compiled = compileProject({ definitions: [], bundleHashes: {} })
    if (!compiled.ok) throw new Error(JSON.stringify(compiled.problems))
    const look = async (database: string, plan: Plan | null) => {
      const config = configOf(flagsOf(server.url, { 'offlineStore.database': database }))
      return (await examine(config, systemClock, plan)).find(({ part }) => part === 'offline store')?.findings ?? []
    }
    const { plan } = compiled.project
    expect(await look('nowhere', plan)).toMatchObject([{ status: 'fail', remedy: /headwater migrate/ }])
    const store = await open(flagsOf(server.url, { 'offlineStore.database': 'examined' }))
    expect(await look('examined', null)).toMatchObject([{ check: 'server', status: 'ok' }])
    const missing = (await look('examined', plan)).filter(({ status }) => status === 'fail')
    expect(missing).toContainEqual({
      check: 'tables',
      status: 'fail',
      message: 'scores: make the table',
      remedy: 'run "headwater migrate"',
    })
    await migrateOfflineStore(plan, store, 0)
    expect((await look('examined', plan)).at(-1)).toMatchObject({ check: 'tables', status: 'ok' })
  })

  it('is looked over: version, settings that the user may send, disks', async () => {
    const store = await open(flagsOf(server.url))
    const findings = await checkOfflineStore(store)
    expect(findings[0]).toMatchObject({ level: 'ok', what: expect.stringMatching(/^ClickHouse 2\d\.\d+/) as string })
    expect(findings.filter(finding => finding.level === 'error')).toEqual([])
    const answering = (work: () => unknown) => ({
      url: 'http://there',
      query: () => Promise.resolve().then(work) as never,
    })
    for (const [version, level] of [
      ['24.7.9.1', 'error'],
      ['23.12.1', 'error'],
      ['24.8.1.1', 'ok'],
      ['25.1.2', 'ok'],
    ] as const) {
      const old = answering(() => [{ version }])
      const requiring = requireServerVersion(old)
      if (level === 'error')
        await expect(requiring).rejects.toThrow(/is older than 24\.8; use ClickHouse 24\.8 or newer/)
      else await requiring
      expect((await checkOfflineStore(old))[0]?.level).toBe(level)
    }
    const locked = answering(() => {
      throw new PortError(
        'QUERY_FAILED',
        "Code: 164. DB::Exception: Cannot modify 'async_insert' setting in readonly mode",
      )
    })
    await expect(requireServerVersion(locked)).rejects.toThrow(/readonly = 2 in place of 1/)
    expect(await checkOfflineStore(locked)).toMatchObject([{ level: 'error', remedy: /readonly = 2/ }])
  })
})
