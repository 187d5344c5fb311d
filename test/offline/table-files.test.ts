import { mkdir, mkdtemp, readdir, readFile, rm, writeFile } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { afterAll, beforeAll, describe, expect, it } from 'vitest'
import { startChdbServer } from '../../topology/adapters/offline-store/chdb/server.ts'
import { createTableFiles } from '../../topology/adapters/table-file/table-files.ts'
import type { TableFile, TableFiles } from '../../topology/ports/table-file.ts'

type Row = Readonly<Record<string, unknown>>

const columns = [
  { name: 'id', type: 'String' },
  { name: 'n', type: 'Int64' },
  { name: 'amount', type: 'Decimal(18, 2)' },
  { name: 'x', type: 'Nullable(Float64)' },
  { name: 'group.name', type: 'Nullable(String)' },
  { name: 'ok', type: 'Bool' },
]

function row(i: number): Row {
  return {
    id: `0${i}`,
    n: 9007199254740993n + BigInt(i),
    amount: `${i}.25`,
    x: i % 3 === 0 ? null : i / 7,
    'group.name': i % 2 === 0 ? null : `é "${i}", \\ \n 😀`,
    ok: i % 2 === 0,
  }
}

async function* rows(count: number, chunkRows = 1_000): AsyncGenerator<readonly Row[]> {
  for (let i = 0; i < count; i += chunkRows) {
    yield await Promise.resolve(Array.from({ length: Math.min(chunkRows, count - i) }, (_, k) => row(i + k)))
  }
}

async function all(file: TableFile): Promise<Row[]> {
  const result: Row[] = []
  for await (const chunk of file.rows()) {
    expect(chunk.length).toBeLessThanOrEqual(10_000)
    result.push(...chunk)
  }
  return result
}

describe('table files', () => {
  let folder: string
  let files: TableFiles
  beforeAll(async () => {
    folder = await mkdtemp(join(tmpdir(), 'headwater-test-'))
    files = createTableFiles()
  })
  afterAll(async () => {
    await files.close()
    await rm(folder, { recursive: true, force: true })
  }, 30_000)

  const opened = async (name: string, content: string | Buffer): Promise<TableFile> => {
    await writeFile(join(folder, name), content)
    return await files.open(join(folder, name))
  }

  for (const extension of ['parquet', 'csv', 'ndjson', 'jsonl']) {
    it(`writes and reads .${extension} in order, also under odd names`, async () => {
      const odd = join(folder, `we{i}rd [x]* it's ${extension}`)
      await mkdir(odd)
      const path = join(odd, `rows?.${extension}`)
      expect(await files.write(path, columns, rows(25_000))).toEqual({ rows: 25_000 })
      expect(await readdir(odd)).toEqual([`rows?.${extension}`])
      const file = await files.open(path)
      expect(file.columns.map(column => column.name)).toEqual(columns.map(column => column.name))
      if (extension === 'parquet' || extension === 'csv') expect(file.rowCount).toBe(25_000)
      const read = await all(file)
      expect(read).toHaveLength(25_000)
      for (const i of [0, 1, 2, 9_999, 12_345, 24_999]) {
        const expected = row(i)
        expect(read[i]).toEqual({ ...expected, n: String(expected['n']), amount: i + 0.25 })
      }
      expect(read.every((each, i) => each['id'] === `0${i}`)).toBe(true)
      expect(await all(file)).toHaveLength(25_000)
      await file.close()
    }, 30_000)
  }

  it('replaces a file only by a complete one', async () => {
    const path = join(folder, 'atomic.csv')
    await files.write(
      path,
      [{ name: 'a', type: 'Int64' }],
      (async function* () {
        yield await Promise.resolve([{ a: 1 }])
      })(),
    )
    async function* broken(): AsyncGenerator<readonly Row[]> {
      yield await Promise.resolve([{ a: 2 }])
      throw new Error('the source broke')
    }
    await expect(files.write(path, [{ name: 'a', type: 'Int64' }], broken())).rejects.toThrow('the source broke')
    const wrong = async (value: Row): Promise<unknown> =>
      await files.write(
        path,
        [{ name: 'a', type: 'Int64' }],
        (async function* () {
          yield await Promise.resolve([value])
        })(),
      )
    await expect(wrong({ a: 'x' })).rejects.toThrow(/atomic\.csv: Code: 27/)
    await expect(wrong({ a: null })).rejects.toThrow(/atomic\.csv: .*no value for the column 'a'/)
    await expect(wrong({ a: 1, b: 2 })).rejects.toThrow("'b'")
    expect(await readFile(path, 'utf8')).toBe('"a"\n1\n')
    expect((await readdir(folder)).filter(name => name.startsWith('.headwater'))).toEqual([])
    await expect(files.write(join(folder, 'none', 'x.csv'), columns, rows(1))).rejects.toThrow('folder does not exist')
  })

  it('writes a file without rows', async () => {
    for (const name of ['no.parquet', 'no.csv']) {
      expect(await files.write(join(folder, name), columns, rows(0))).toEqual({ rows: 0 })
      const file = await files.open(join(folder, name))
      expect([file.rowCount, file.columns.length, await all(file)]).toEqual([0, 6, []])
      await file.close()
    }
  })

  it('keeps leading zeros, quotes and times of CSV as they are', async () => {
    const file = await opened(
      'kinds.csv',
      'id,n,s,at\n0012,5,"x, ""y""",2024-01-02 03:04:05\n34,,"line\nline",2024-01-02\n',
    )
    expect(file.columns.map(column => column.type)).toEqual([
      'Nullable(String)',
      'Nullable(Int64)',
      'Nullable(String)',
      'Nullable(String)',
    ])
    expect(await all(file)).toEqual([
      { id: '0012', n: '5', s: 'x, "y"', at: '2024-01-02 03:04:05' },
      { id: '34', n: null, s: 'line\nline', at: '2024-01-02' },
    ])
    await file.close()
  })

  it('takes types and columns of text files from all rows', async () => {
    const many = Array.from({ length: 40_000 }, (_, i) => JSON.stringify({ a: i }))
    const file = await opened('late.ndjson', [...many, '{"a":1.5,"b":"late"}'].join('\n'))
    expect(file.columns).toEqual([
      { name: 'a', type: 'Nullable(Float64)' },
      { name: 'b', type: 'Nullable(String)' },
    ])
    expect((await all(file)).at(-1)).toEqual({ a: 1.5, b: 'late' })
    await file.close()
  })

  it('names the file and what is wrong with it', async () => {
    await files.write(join(folder, 'good.parquet'), columns, rows(20_000))
    const good = await readFile(join(folder, 'good.parquet'))
    const damaged = Buffer.from(good)
    damaged.fill(7, 100, Math.floor(good.length / 2))
    const wrong: readonly (readonly [string, string | Buffer, RegExp])[] = [
      ['empty.parquet', '', /it is empty/],
      ['empty.csv', '', /it is empty/],
      ['cut.parquet', good.subarray(0, 1_000), /truncated or damaged/],
      ['text.parquet', 'hello, world', /not Parquet/],
      ['damaged.parquet', damaged, /Code: \d+/],
      ['table.xlsx', 'x', /extension '\.xlsx' is not known; use \.parquet/],
      ['bare.csv', '1,2\n3,4\n', /not a header \(it holds '1'\)/],
      ['twice.csv', 'a,a\n1,2\n', /'a' is named twice/],
      ['ragged.csv', 'a,b\n1,2\n3\n', /Code: \d+/],
      ['broken.ndjson', '{"a":1}\n{"a":\n', /Code: \d+/],
    ]
    for (const [name, content, message] of wrong) {
      const work = opened(name, content).then(async file => await all(file).finally(() => file.close()))
      const error: unknown = await work.catch((reason: unknown) => reason)
      expect(error).toMatchObject({ code: 'QUERY_FAILED', message: expect.stringMatching(message) })
      expect((error as Error).message).toContain(join(folder, name))
    }
    await expect(files.open(join(folder, 'absent.csv'))).rejects.toThrow(/absent\.csv: there is no such file/)
    await expect(files.open(join(folder, '.'))).rejects.toThrow(/extension/)
  })

  it('shares the one engine of the process with the offline store', async () => {
    const path = join(folder, 'shared.csv')
    await writeFile(path, 'a\nx\n')
    const file = await files.open(path)
    await expect(startChdbServer({ directory: join(folder, 'offline') })).rejects.toThrow(
      /Open the offline store first/,
    )
    await file.close()
    const server = await startChdbServer({ directory: join(folder, 'offline') })
    const again = await files.open(path)
    expect(await all(again)).toEqual([{ a: 'x' }])
    await again.close()
    await server.close()
    const alone = await files.open(path)
    expect(await all(alone)).toEqual([{ a: 'x' }])
    await alone.close()
  }, 30_000)
})
