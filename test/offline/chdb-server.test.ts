import { ClickHouseLogLevel, createClient } from '@clickhouse/client'
import { execFile, spawn } from 'node:child_process'
import { once } from 'node:events'
import { mkdtemp, readdir, readFile, rm, stat, writeFile } from 'node:fs/promises'
import { request as httpRequest } from 'node:http'
import { tmpdir } from 'node:os'
import { Readable } from 'node:stream'
import { join } from 'node:path'
import { fileURLToPath } from 'node:url'
import { promisify } from 'node:util'
import { gunzipSync, gzipSync } from 'node:zlib'
import { afterAll, afterEach, beforeAll, describe, expect, it } from 'vitest'
import type { ChdbServer } from '../../topology/adapters/offline-store/chdb/server.ts'
import { addressFile, readServedAddress, startChdbServer } from '../../topology/adapters/offline-store/chdb/server.ts'
import { openClickHouseOfflineStore } from '../../topology/adapters/offline-store/clickhouse/clickhouse.ts'

const child = fileURLToPath(new URL('../fixtures/offline-child.ts', import.meta.url))
const run = promisify(execFile)

interface Answer {
  readonly status: number
  readonly headers: Readonly<Record<string, string | string[] | undefined>>
  readonly body: Buffer
}

function send(
  url: string,
  options: { method?: string; headers?: Record<string, string>; body?: string | Buffer },
): Promise<Answer> {
  return new Promise((resolve, reject) => {
    const request = httpRequest(url, { method: options.method ?? 'POST', headers: options.headers ?? {} }, response => {
      const chunks: Buffer[] = []
      const done = (): void =>
        resolve({ status: response.statusCode ?? 0, headers: response.headers, body: Buffer.concat(chunks) })
      response.on('data', (chunk: Buffer) => chunks.push(chunk))
      response.once('end', done)
      response.once('error', done)
    })
    request.once('error', reject)
    request.end(options.body)
  })
}

describe('the HTTP interface', () => {
  let folder: string
  let server: ChdbServer
  const post = async (body: string | Buffer, query = '', headers: Record<string, string> = {}): Promise<Answer> =>
    await send(`${server.url}/${query}`, { body, headers })
  const text = async (body: string | Buffer, query = '', headers: Record<string, string> = {}): Promise<string> =>
    (await post(body, query, headers)).body.toString()

  beforeAll(async () => {
    folder = await mkdtemp(join(tmpdir(), 'headwater-test-'))
    server = await startChdbServer({
      directory: join(folder, 'offline'),
      maxRequestBytes: 1_000_000,
      maxStatementBytes: 200_000,
    })
  }, 30_000)
  afterAll(async () => {
    await server.close()
    await rm(folder, { recursive: true, force: true })
  }, 30_000)

  it('answers /ping and refuses unknown handles', async () => {
    const ping = await send(`${server.url}/ping`, { method: 'GET' })
    expect([ping.status, ping.body.toString()]).toEqual([200, 'Ok.\n'])
    expect((await send(`${server.url}/nope`, { method: 'GET' })).status).toBe(404)
  })

  it('takes the statement from the address, the body, or both', async () => {
    expect((await send(`${server.url}/?query=SELECT%201`, { method: 'GET' })).body.toString()).toBe('1\n')
    expect(await text('SELECT 2')).toBe('2\n')
    expect(await text('+ 2', '?query=SELECT%201')).toBe('3\n')
    expect(await text('SELECT {x:UInt8} + 1 -- {y:UInt8}', '?param_x=4')).toBe('5\n')
    expect(await text('SELECT currentDatabase();', '?database=system')).toBe('system\n')
    expect(await text('SELECT currentDatabase()')).toBe('default\n')
  })

  it('takes data of an insert in every way clients send them', async () => {
    expect((await post('CREATE TABLE ways (a Int64, s String) ENGINE = MergeTree ORDER BY a')).status).toBe(200)
    const query = (sql: string): string => `?query=${encodeURIComponent(sql)}`
    await post('{"a":1,"s":"format"}\n', query('INSERT INTO ways FORMAT JSONEachRow'))
    await post("(2,'values')", query('INSERT INTO ways VALUES'))
    await post("INSERT INTO ways (a, s) VALUES (3, 'FORMAT x; y')")
    await post('INSERT INTO ways FORMAT CSV\n4,"csv"\n')
    await post('INSERT INTO ways SETTINGS max_insert_threads = 1 FORMAT JSONEachRow {"a":5,"s":"settings"}')
    await post(gzipSync('6\tgzip\n'), query('INSERT INTO ways FORMAT TSV'), { 'Content-Encoding': 'gzip' })
    const parquet = (await post("SELECT 7 :: Int64 AS a, 'parquet' AS s FORMAT Parquet")).body
    await post(parquet, query('INSERT INTO ways FORMAT Parquet'))
    await post("INSERT INTO ways SELECT 8, 'select'")
    const last = await post('{"a":9,"s":"n"}', query('INSERT INTO `ways` (`a`, `s`) FORMAT JSONEachRow'))
    expect(JSON.parse(String(last.headers['x-clickhouse-summary']))).toMatchObject({ written_rows: '1' })
    const kinds = ['format', 'values', 'FORMAT x; y', 'csv', 'settings', 'gzip', 'parquet', 'select', 'n']
    expect(await text('SELECT a, s FROM ways ORDER BY a')).toBe(kinds.map((kind, i) => `${i + 1}\t${kind}\n`).join(''))
  })

  it('reports errors as ClickHouse does', async () => {
    const failure = await post('SELECT * FROM nowhere', '?query_id=q1')
    expect(failure.status).toBe(404)
    expect(failure.headers['x-clickhouse-exception-code']).toBe('60')
    expect(failure.headers['x-clickhouse-query-id']).toBe('q1')
    expect(failure.body.toString()).toMatch(/^Code: 60\. DB::Exception: .*\(UNKNOWN_TABLE\) \(version \d+/s)
    expect((await post('SELEC 1')).status).toBe(400)
    expect(await text('')).toContain('Code: 62.')
    expect(await text('SELECT 1; SELECT 2')).toContain('multi-statements are not allowed')
    expect(await text('SELECT 1', '?no_such_setting=1')).toContain('Code: 115.')
    expect(await text('SELECT 1', '?session_id=1')).toContain('Code: 48.')
    expect(await text("SELECT 1 INTO OUTFILE '/tmp/headwater-no' FORMAT CSV")).toContain('Code: 48.')
    expect(await text('x', '', { 'Content-Encoding': 'lzma' })).toContain("'lzma' is not known")
    expect(await text('SELECT throwIf(number = 900) FROM numbers(1000) FORMAT JSON')).toMatch(/^Code: 395\./)
  })

  it('cuts the body of an answer that fails half-way, after saying why', async () => {
    for (const gzip of [false, true]) {
      const answer = await post(
        'SELECT throwIf(number = 3000000) AS x FROM numbers(4000000) FORMAT JSONEachRow',
        gzip ? '?enable_http_compression=1' : '',
        gzip ? { 'Accept-Encoding': 'gzip' } : {},
      )
      const body = (gzip ? gunzipSync(answer.body) : answer.body).toString()
      expect(answer.status).toBe(200)
      expect(body.slice(-600)).toContain(
        `__exception__\r\n${String(answer.headers['x-clickhouse-exception-tag'])}\r\nCode: 395.`,
      )
    }
  })

  it('only reads over GET', async () => {
    for (const sql of ['DROP TABLE ways', "INSERT INTO ways VALUES (1, 'x')", 'SET max_threads = 1']) {
      const answer = await send(`${server.url}/?query=${encodeURIComponent(sql)}`, { method: 'GET' })
      expect([answer.status, answer.headers['x-clickhouse-exception-code']]).toEqual([403, '164'])
    }
  })

  it('refuses web pages of other origins and foreign host names', async () => {
    const evil = await post('SELECT 1', '', { Origin: 'http://evil.example' })
    expect(evil.status).toBe(403)
    expect((await post('SELECT 1', '', { Host: 'evil.example' })).status).toBe(403)
    expect((await post('SELECT 1', '', { Origin: server.url })).status).toBe(200)
  })

  it('bounds bodies and statements, and leaves no spool file behind', async () => {
    await post('CREATE TABLE bounded (s String) ENGINE = MergeTree ORDER BY s')
    const large = await post('x'.repeat(1_000_001), `?query=${encodeURIComponent('INSERT INTO bounded FORMAT TSV')}`)
    expect([large.status, large.body.toString()]).toEqual([413, expect.stringContaining('larger than 1000000 bytes')])
    const bomb = await post(
      gzipSync(Buffer.alloc(50_000_000, 97)),
      `?query=${encodeURIComponent('INSERT INTO bounded FORMAT TSV')}`,
      {
        'Content-Encoding': 'gzip',
      },
    )
    expect(bomb.status).toBe(413)
    expect((await post(`SELECT '${'x'.repeat(200_001)}'`)).status).toBe(413)
    expect(await text('SELECT count() FROM bounded')).toBe('0\n')
    const spools = await readdir(join(folder, 'offline.spool'), { recursive: true, withFileTypes: true })
    expect(spools.filter(entry => entry.isFile())).toEqual([])
  })

  it('names its formats', async () => {
    const types: Readonly<Record<string, RegExp>> = {
      JSON: /json/,
      JSONEachRow: /ndjson/,
      CSVWithNames: /csv.*present/,
      Parquet: /octet/,
    }
    for (const [format, type] of Object.entries(types)) {
      const answer = await post(`SELECT 1 AS x FORMAT ${format}`)
      expect([answer.headers['x-clickhouse-format'], answer.headers['content-type']]).toEqual([
        format,
        expect.stringMatching(type),
      ])
    }
    expect(await text('SELECT 1 AS x', '', { 'X-ClickHouse-Format': 'JSONEachRow' })).toBe('{"x":1}\n')
    expect(await text("SHOW DATABASES LIKE 'def%' FORMAT CSV")).toBe('"default"\n')
  })

  it('serves the official client in all its calls', async () => {
    const client = createClient({
      url: server.url,
      compression: { request: true, response: true },
      log: { level: ClickHouseLogLevel.OFF },
    })
    expect(await client.ping()).toMatchObject({ success: true })
    expect(await client.ping({ select: true })).toMatchObject({ success: true })
    await client.command({ query: 'CREATE TABLE official (a Int64, s String) ENGINE = MergeTree ORDER BY a' })
    const values = Array.from({ length: 100 }, (_, a) => ({ a, s: `é ${a}` }))
    const inserted = await client.insert({ table: 'official', values, format: 'JSONEachRow' })
    expect(inserted.summary).toMatchObject({ written_rows: '100' })
    await client.insert({ table: 'official', values: Readable.from([[100, 'stream']]), format: 'JSONCompactEachRow' })
    const parquet = await client.exec({ query: "SELECT 101 :: Int64 AS a, 'parquet' AS s FORMAT Parquet" })
    const bytes: Buffer[] = []
    for await (const chunk of parquet.stream) bytes.push(chunk as Buffer)
    await client.insert({
      table: 'official',
      values: Readable.from([Buffer.concat(bytes)], { objectMode: false }),
      format: 'Parquet',
    })
    for (const format of ['JSON', 'JSONCompact', 'JSONColumnsWithMetadata'] as const) {
      const result = await client.query({ query: 'SELECT count() AS n FROM official', format })
      expect(JSON.stringify(await result.json())).toContain('102')
    }
    const csv = await client.query({
      query: 'SELECT a, s FROM official WHERE a >= {from:Int64} ORDER BY a',
      query_params: { from: 99 },
      format: 'CSVWithNames',
      clickhouse_settings: { wait_end_of_query: 1 },
    })
    expect(await csv.text()).toBe('"a","s"\n99,"é 99"\n100,"stream"\n101,"parquet"\n')
    await expect(client.query({ query: 'SELECT nothing' })).rejects.toMatchObject({
      code: '47',
      type: 'UNKNOWN_IDENTIFIER',
    })
    await client.close()
  })

  it('exports in ClickHouse’s read-only mode when asked, for that query alone', async () => {
    const store = await openClickHouseOfflineStore({ url: server.url })
    const exported = async (sql: string, readOnly?: boolean, format = 'CSV'): Promise<string> => {
      const options = readOnly === undefined ? {} : { readOnly, color: true }
      const chunks: Buffer[] = []
      for await (const chunk of await store.export(sql, format, options)) chunks.push(chunk as Buffer)
      return Buffer.concat(chunks).toString()
    }
    await store.command('CREATE TABLE w (x Int64) ENGINE = MergeTree ORDER BY x')
    for (const sql of [
      'WITH 7 AS x INSERT INTO w SELECT x',
      'INSERT INTO w SELECT 7',
      'INSERT INTO w SELECT 7 SETTINGS readonly = 0',
      'WITH 7 AS x INSERT INTO w SELECT x SETTINGS readonly = 0',
      'CREATE TABLE v (x Int64) ENGINE = MergeTree ORDER BY x',
      'DROP TABLE w',
      'ALTER TABLE w DELETE WHERE 1',
    ]) {
      const refused = expect.stringMatching(/Code: 164\. DB::Exception: .*\(READONLY\)/s) as unknown
      await expect(exported(sql, true), sql).rejects.toMatchObject({ code: 'QUERY_FAILED', message: refused })
    }
    const setting = "SELECT getSetting('readonly'), count() FROM w"
    expect(await exported(setting, true)).toBe('2,0\n')
    expect(await exported('SELECT x FROM w SETTINGS max_threads = 1', true)).toBe('')
    expect(await exported('SELECT 5 AS five', true, 'PrettyCompact')).toContain('\x1b[')
    expect((await exported('SELECT 5 AS five', true, 'Parquet')).slice(0, 4)).toBe('PAR1')
    expect(await exported("SHOW TABLES LIKE 'w'", true)).toBe('"w"\n')
    for (let i = 0; i < 8; i += 1) expect(await exported(setting)).toBe('0,0\n')
    await exported('WITH 7 AS x INSERT INTO w SELECT x', false)
    await store.insert('w', [{ x: 8 }])
    expect(await exported('SELECT x FROM w ORDER BY x', true)).toBe('7\n8\n')
    await store.close()
  })

  it('quotes what a request names, whatever it holds', async () => {
    const database = 'a`b'
    const store = await openClickHouseOfflineStore({ url: server.url, database })
    await store.command('CREATE TABLE quoted (s String) ENGINE = MergeTree ORDER BY s')
    const texts = ["it's", 'back\\slash', 'tick`', 'nul\0']
    await store.insert(
      'quoted',
      texts.map(s => ({ s })),
    )
    for (const s of texts)
      expect(await store.query('SELECT s FROM quoted WHERE s = {s:String}', { s })).toEqual([{ s }])
    await store.close()
  })

  it('writes its address beside the folder', async () => {
    expect(await readServedAddress(join(folder, 'offline'))).toBe(server.url)
    expect(addressFile(join(folder, 'offline'))).toBe(join(folder, 'offline.address'))
    expect((await stat(join(folder, 'offline.address'))).isFile()).toBe(true)
    await expect(startChdbServer({ directory: join(folder, 'other') })).rejects.toThrow(
      /already serves .*offline at http/,
    )
  })

  it('tells a second process who serves the folder', async () => {
    const { stdout } = await run(process.execPath, [child, 'open', join(folder, 'offline')])
    expect(stdout).toContain(join(folder, 'offline'))
    expect(stdout).toContain(`served by another process at ${server.url}; connect there`)
  }, 30_000)

  it('takes the address away when it closes', async () => {
    const url = server.url
    await server.close()
    expect(await readServedAddress(join(folder, 'offline'))).toBeNull()
    expect(await readdir(folder)).toEqual(['offline'])
    const gone = openClickHouseOfflineStore({ url, maxAttempts: 2, retryDelayMs: 1 })
    await expect(gone).rejects.toMatchObject({ code: 'STORE_UNAVAILABLE', message: expect.stringContaining(url) })
  }, 30_000)
})

describe('a killed process', () => {
  let folder = ''
  afterEach(() => rm(folder, { recursive: true, force: true }))

  it('keeps every acknowledged row, and leaves the folder usable', async () => {
    folder = await mkdtemp(join(tmpdir(), 'headwater-test-'))
    const directory = join(folder, 'offline')
    let acknowledged = 0
    for (let kill = 0; kill < 3; kill += 1) {
      const writer = spawn(process.execPath, [child, 'insert', directory], { stdio: ['ignore', 'pipe', 'inherit'] })
      let output = ''
      for await (const chunk of writer.stdout) {
        output += String(chunk)
        if (output.split('\n').length > 4 + kill * 7) break
      }
      const ended = once(writer, 'exit')
      writer.kill('SIGKILL')
      await ended
      acknowledged = Math.max(
        acknowledged,
        Number(
          output
            .trimEnd()
            .split('\n')
            .filter(line => /^\d+$/.test(line))
            .at(-1),
        ),
      )
      expect(await readServedAddress(directory)).toBeNull()
      expect(JSON.parse(await readFile(addressFile(directory), 'utf8'))).toMatchObject({ pid: writer.pid })
    }
    await writeFile(addressFile(directory), 'not JSON')
    const server = await startChdbServer({ directory })
    const store = await openClickHouseOfflineStore({ url: server.url })
    const [row] = await store.query<{ n: string; u: string; m: string }>(
      'SELECT countIf(a < {k:Int64}) AS n, uniqExactIf(a, a < {k:Int64}) AS u, count() % 500 AS m FROM acknowledged',
      { k: acknowledged },
    )
    expect(acknowledged).toBeGreaterThan(1_000)
    expect(row).toMatchObject({ u: String(acknowledged) })
    expect(Number(row?.m)).toBe(0)
    await store.close()
    await server.close()
  }, 60_000)
})

describe("an engine's thread that ends by itself", () => {
  let folder = ''
  afterEach(() => rm(folder, { recursive: true, force: true }))

  it('is an uncaught error that names the folder, and closing ends all the same', async () => {
    folder = await mkdtemp(join(tmpdir(), 'headwater-test-'))
    const directory = join(folder, 'offline')
    const message = `The engine's thread of the offline store at ${directory} ended unexpectedly`
    const died = await run(process.execPath, [child, 'die', directory]).catch((error: unknown) => error)
    expect(died).toMatchObject({ stdout: '', stderr: expect.stringContaining(message) })
    const { stdout } = await run(process.execPath, [child, 'survive', directory])
    expect(stdout).toMatch(new RegExp(`^caught .*ended unexpectedly.*\\nopened\\nclosed\\n$`))
    expect(stdout).toContain(message)
  }, 30_000)
})
