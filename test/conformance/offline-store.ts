import { describe, expect, it, beforeAll, afterAll } from 'vitest'
import { PortError } from '../../topology/ports/errors.ts'
import type { OfflineStore } from '../../topology/ports/offline-store.ts'

/** A store under test and how to end and reopen it with what was written still there. */
export interface OfflineStoreSubject {
  readonly store: OfflineStore
  /** The same data through a store opened anew. */
  reopen(): Promise<OfflineStore>
  end(): Promise<void>
}

async function failureOf(work: Promise<unknown>): Promise<PortError> {
  const error: unknown = await work.then(
    () => null,
    (reason: unknown) => reason,
  )
  expect(error).toBeInstanceOf(PortError)
  return error as PortError
}

/** What every offline store does. Each run uses a database of its own. */
export function offlineStoreConformance(name: string, make: () => Promise<OfflineStoreSubject>): void {
  describe(`offline store: ${name}`, () => {
    let subject: OfflineStoreSubject
    let store: OfflineStore
    beforeAll(async () => {
      subject = await make()
      store = subject.store
    }, 30_000)
    afterAll(() => subject.end(), 30_000)

    it('returns every type as it was inserted', async () => {
      await store.command(
        'CREATE TABLE types (n UInt8, s String, o Nullable(String), b Bool, i Int64, d Decimal(18, 2), f Float64, v Array(Float64), m Map(String, Nullable(Float64))) ENGINE = MergeTree ORDER BY n',
      )
      const rows = [
        {
          n: 1,
          s: 'zażółć "\\\' \n\t 😀',
          o: null,
          b: true,
          i: 9007199254740993n,
          d: '12.34',
          f: 0.1,
          v: [1, 2.5],
          m: { a: 1, b: null },
        },
        { n: 2, s: '', o: '', b: false, i: -9223372036854775808n, d: '-0.01', f: Number.NaN, v: [], m: {} },
        {
          n: 3,
          s: 'x',
          o: 'y',
          b: true,
          i: 9223372036854775807n,
          d: '9007199254740.91',
          f: -Infinity,
          v: [NaN, 1e308],
          m: {},
        },
      ]
      await store.insert('types', rows)
      expect(await store.query('SELECT *, toString(d) AS text FROM types ORDER BY n')).toEqual([
        { ...rows[0], i: '9007199254740993', d: 12.34, text: '12.34' },
        { ...rows[1], i: '-9223372036854775808', d: -0.01, f: 'nan', text: '-0.01' },
        {
          ...rows[2],
          i: '9223372036854775807',
          d: 9007199254740.91,
          f: '-inf',
          v: ['nan', 1e308],
          text: '9007199254740.91',
        },
      ])
    })

    it('refuses unknown columns, nulls without a place, and leaves nothing of a batch behind', async () => {
      await store.command('CREATE TABLE strict (a Int64, s String) ENGINE = MergeTree ORDER BY a')
      expect((await failureOf(store.insert('strict', [{ a: 1, s: 'x', z: 1 }]))).message).toContain('z')
      expect((await failureOf(store.insert('strict', [{ a: 1, s: null }]))).code).toBe('QUERY_FAILED')
      const many = Array.from({ length: 5_000 }, (_, i) => ({ a: i === 4_999 ? 'seven' : i, s: '' }))
      const error = await failureOf(store.insert('strict', many))
      expect(error.message).toMatch(/Code: 27\..*seven/s)
      expect(error.message).toContain('5000 rows for the table strict')
      expect(error.message).not.toMatch(/\.in\b|spool/)
      expect(await store.query('SELECT count() AS n FROM strict')).toEqual([{ n: '0' }])
    })

    it('streams 50,000 rows in and out in bounded chunks', async () => {
      await store.command('CREATE TABLE big (a Int64, s String) ENGINE = MergeTree ORDER BY a')
      await store.insert(
        'big',
        Array.from({ length: 50_000 }, (_, i) => ({ a: i, s: `row ${i}` })),
      )
      let next = 0
      let chunks = 0
      for await (const chunk of store.stream<{ a: string; s: string }>('SELECT a, s FROM big ORDER BY a')) {
        chunks += 1
        expect(chunk.length).toBeLessThanOrEqual(10_000)
        for (const row of chunk) {
          if (row.a !== String(next) || row.s !== `row ${next}`)
            expect(row).toEqual({ a: String(next), s: `row ${next}` })
          next += 1
        }
      }
      expect(next).toBe(50_000)
      expect(chunks).toBeGreaterThan(4)
    })

    it('lets a reader stop early and go on with another query', async () => {
      for await (const chunk of store.stream('SELECT number FROM numbers(20000000)')) {
        expect(chunk.length).toBeGreaterThan(0)
        break
      }
      expect(await store.query('SELECT 1 AS x')).toEqual([{ x: 1 }])
    })

    it('binds parameters by type, without a way to inject', async () => {
      const text = "it's \\ a\ttab\nline'); DROP TABLE big --"
      const [row] = await store.query<Record<string, unknown>>(
        'SELECT {s:String} AS s, {n:Int64} AS n, {a:Array(String)} AS list, {o:Nullable(Int32)} AS o, count() AS c FROM {t:Identifier} WHERE a < {n:Int64}',
        { s: text, n: 9007199254740993n, a: ["x'y", text], o: null, t: 'big' },
      )
      expect(row).toEqual({ s: text, n: '9007199254740993', list: ["x'y", text], o: null, c: '50000' })
      expect((await failureOf(store.query('SELECT {s:String}'))).message).toContain('Code: 456.')
      const long = Array.from({ length: 2_000 }, (_, i) => `value ${i}`)
      expect(await store.query('SELECT length({v:Array(String)}) AS n', { v: long })).toEqual([{ n: '2000' }])
    })

    it("carries ClickHouse's own text and code", async () => {
      const unknown = await failureOf(store.query('SELECT * FROM no_such_table'))
      expect(unknown.code).toBe('QUERY_FAILED')
      expect(unknown.message).toMatch(/Code: 60\. DB::Exception: .*no_such_table.*\(UNKNOWN_TABLE\)/s)
      expect((await failureOf(store.command('CREATE TABL x'))).message).toContain('Code: 62.')
      const late = (async () => {
        for await (const chunk of store.stream('SELECT throwIf(number = 5000000) AS x FROM numbers(10000000)'))
          void chunk
      })()
      // ClickHouse cuts the connection of an answer that fails half-way; a busy reader may see that before the text.
      const broken = await failureOf(late)
      expect(broken.code).toBe('QUERY_FAILED')
      expect(broken.message).toMatch(/Code: 395\.|broke off/)
    })

    it('keeps settings of one call out of the next', async () => {
      const value = "SELECT getSetting('max_block_size') AS x"
      const [before] = await store.query(value)
      await store.query('SELECT 1 SETTINGS max_block_size = 7')
      await store.command('SET max_block_size = 11')
      for (let i = 0; i < 8; i += 1) expect(await store.query(value)).toEqual([before])
    })

    it('exports in formats of ClickHouse', async () => {
      const read = async (format: string): Promise<Buffer> => {
        const chunks: Buffer[] = []
        for await (const chunk of await store.export('SELECT number AS x FROM numbers(100000)', format))
          chunks.push(chunk as Buffer)
        return Buffer.concat(chunks)
      }
      const csv = (await read('CSVWithNames')).toString().trimEnd().split('\n')
      expect(csv).toHaveLength(100_001)
      expect(csv[0]).toBe('"x"')
      const parquet = await read('Parquet')
      expect(parquet.toString('latin1', 0, 4) + parquet.toString('latin1', parquet.length - 4)).toBe('PAR1PAR1')
      expect((JSON.parse((await read('JSON')).toString()) as { rows: number }).rows).toBe(100_000)
      expect((await failureOf(store.export('SELECT 1', 'Nope'))).message).toContain('Code: 73.')
    })

    it('answers queries while rows come in', async () => {
      await store.command('CREATE TABLE busy (a Int64) ENGINE = MergeTree ORDER BY a')
      const writes = Array.from({ length: 6 }, async (_, writer) => {
        for (let i = 0; i < 5; i += 1) {
          await store.insert(
            'busy',
            Array.from({ length: 200 }, (__, row) => ({ a: writer * 1_000_000 + i * 1_000 + row })),
          )
        }
      })
      const reads = Array.from({ length: 12 }, async (_, i) => {
        const value = `reader ${i}`
        for (let k = 0; k < 5; k += 1) {
          const [row] = await store.query<{ v: string; r: number }>(
            'SELECT {v:String} AS v, count() % 200 AS r, sleep(0.005) AS s FROM busy',
            { v: value },
          )
          expect([row?.v, Number(row?.r)]).toEqual([value, 0])
        }
      })
      await Promise.all([...writes, ...reads])
      expect(await store.query('SELECT count() AS n, uniqExact(a) AS u FROM busy')).toEqual([{ n: '6000', u: '6000' }])
    }, 30_000)

    it('inserts once for one token', async () => {
      await store.command(
        'CREATE TABLE once (a Int64) ENGINE = MergeTree ORDER BY a SETTINGS non_replicated_deduplication_window = 100',
      )
      for (const token of ['t1', 't1', 't2']) await store.insert('once', [{ a: 1 }], token)
      expect(await store.query('SELECT count() AS n FROM once')).toEqual([{ n: '2' }])
    })

    it('keeps what was written over a reopening', async () => {
      store = await subject.reopen()
      expect(await store.query('SELECT count() AS n FROM big')).toEqual([{ n: '50000' }])
    }, 30_000)
  })
}
