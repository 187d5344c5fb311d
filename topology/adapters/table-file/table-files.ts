import { randomUUID } from 'node:crypto'
import { createWriteStream } from 'node:fs'
import { mkdtemp, open as openFile, realpath, rename, rm, stat, symlink } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { basename, dirname, extname, join, resolve } from 'node:path'
import { Readable } from 'node:stream'
import { pipeline } from 'node:stream/promises'
import { sqlIdentifier, sqlString } from '../../../features/plan/expression-sql.ts'
import { PortError } from '../../ports/errors.ts'
import type { OfflineStore } from '../../ports/offline-store.ts'
import type { TableFile, TableFiles } from '../../ports/table-file.ts'
import { jsonValue } from '../json-rows.ts'
import { releaseTemporaryEngine, useEngine } from '../offline-store/chdb/server.ts'
import { connectClickHouse } from '../offline-store/clickhouse/clickhouse.ts'

type Column = TableFile['columns'][number]
type Row = Readonly<Record<string, unknown>>

const FORMATS: Readonly<Record<string, string>> = {
  '.parquet': 'Parquet',
  '.csv': 'CSVWithNames',
  '.ndjson': 'JSONEachRow',
  '.jsonl': 'JSONEachRow',
}

/**
 * One thread and no parallel reading, so that rows come in file order; the types of a text file are taken from all of
 * its rows, because a column that starts to differ after a sample would otherwise fail, or be left out, half-way.
 */
const READ_SETTINGS = {
  max_threads: 1,
  max_block_size: 10_000,
  input_format_parallel_parsing: 0,
  input_format_parquet_preserve_order: 1,
  input_format_max_rows_to_read_for_schema_inference: '1000000000000',
  input_format_max_bytes_to_read_for_schema_inference: '1000000000000000',
  input_format_json_infer_incomplete_types_as_strings: 1,
  input_format_try_infer_datetimes: 0,
  input_format_try_infer_dates: 0,
  schema_inference_use_cache_for_file: 0,
  use_cache_for_count_from_files: 0,
  session_timezone: 'UTC',
  output_format_json_quote_denormals: 1,
}

function structure(columns: readonly Column[]): string {
  return columns.map(column => `${sqlIdentifier(column.name)} ${column.type}`).join(', ')
}

function formatOf(path: string): string {
  const format = FORMATS[extname(path).toLowerCase()]
  if (format !== undefined) return format
  throw failure(path, `the extension '${extname(path)}' is not known; use ${Object.keys(FORMATS).join(', ')}`)
}

function failure(path: string, why: string, cause?: unknown): PortError {
  return new PortError('QUERY_FAILED', `The table file ${path}: ${why}.`, { cause })
}

/** The error of an engine call as one about the file: ClickHouse's own text without the statement around it. */
function nameFile(path: string, error: unknown): PortError {
  const message = error instanceof Error ? error.message : String(error)
  if (message.startsWith(`The table file ${path}:`)) return error as PortError
  const at = message.indexOf('Code: ')
  return failure(path, (at < 0 ? message : message.slice(at)).trim().replace(/\.$/, ''), error)
}

async function checkReadable(path: string): Promise<void> {
  const info = await stat(path).catch((error: NodeJS.ErrnoException) => {
    throw failure(path, error.code === 'ENOENT' ? 'there is no such file' : error.message, error)
  })
  if (!info.isFile()) throw failure(path, 'it is not a file')
  if (info.size === 0) throw failure(path, 'it is empty (0 bytes)')
}

async function checkParquet(path: string): Promise<void> {
  const file = await openFile(path, 'r')
  try {
    const { size } = await file.stat()
    const ends = Buffer.alloc(8)
    await file.read(ends, 0, 4, 0)
    await file.read(ends, 4, 4, Math.max(0, size - 4))
    if (ends.toString('latin1', 0, 4) !== 'PAR1') throw failure(path, 'it is not Parquet (it does not begin with PAR1)')
    if (size < 12 || ends.toString('latin1', 4) !== 'PAR1') {
      throw failure(path, 'it is truncated or damaged (it does not end with PAR1); write or copy it again')
    }
  } finally {
    await file.close()
  }
}

/** The engine reads `*?{}[]` in a path as a pattern, so such a path is reached through a link with a plain name. */
async function plainPath(path: string): Promise<{ readonly path: string; remove(): Promise<void> }> {
  const real = await realpath(path)
  if (!/[*?{}[\]|:]/.test(real)) return { path: real, remove: () => Promise.resolve() }
  const folder = await mkdtemp(join(tmpdir(), 'headwater-link-'))
  const link = join(folder, `file${extname(path).toLowerCase()}`)
  await symlink(real, link)
  return { path: link, remove: () => rm(folder, { recursive: true, force: true }) }
}

interface Use {
  readonly store: OfflineStore
  end(): Promise<void>
}

async function useStore(): Promise<Use> {
  const engine = await useEngine()
  const store = connectClickHouse({ url: engine.url, ...engine.credentials, settings: READ_SETTINGS })
  return {
    store,
    async end() {
      await store.close()
      engine.release()
    },
  }
}

async function describe(store: OfflineStore, path: string, format: string): Promise<readonly Column[]> {
  const rows = await store.query<{ readonly name: string; readonly type: string }>(
    `DESCRIBE TABLE file(${sqlString(path)}, '${format}')`,
  )
  return rows.map(row => ({ name: row.name, type: row.type }))
}

/** Columns of a CSV file. Integers written with leading zeros are identifiers: such a column stays text. */
async function describeCsv(
  store: OfflineStore,
  path: string,
  shown: string,
): Promise<{ columns: readonly Column[]; rows: number }> {
  const header = await store.query<Readonly<Record<string, string>>>(
    `SELECT * FROM file(${sqlString(path)}, 'CSV') LIMIT 1 SETTINGS input_format_csv_use_best_effort_in_schema_inference=0, column_names_for_schema_inference='', input_format_max_rows_to_read_for_schema_inference=1`,
  )
  const names = Object.values(header[0] ?? {}).map(String)
  const bad = names.find(name => name === '' || !Number.isNaN(Number(name)))
  if (bad !== undefined)
    throw failure(shown, `its first line is not a header (it holds '${bad}'); the first line must name the columns`)
  const twice = names.find((name, i) => names.indexOf(name) !== i)
  if (twice !== undefined) throw failure(shown, `the column '${twice}' is named twice in its header`)
  const text = names.map(name => ({ name, type: 'Nullable(String)' }))
  const counted = `file(${sqlString(path)}, 'CSVWithNames', ${sqlString(structure(text))})`
  const total = await store.query<{ readonly n: string }>(`SELECT count() AS n FROM ${counted}`)
  const rows = Number(total[0]?.n ?? 0)
  if (rows === 0) return { columns: text, rows }
  const columns = await describe(store, path, 'CSVWithNames')
  const integers = columns.filter(column => column.type === 'Nullable(Int64)' || column.type === 'Nullable(UInt64)')
  if (integers.length === 0) return { columns, rows }
  const tests = integers.map((column, i) => `countIf(match(${sqlIdentifier(column.name)}, '^[+-]?0[0-9]')) AS c${i}`)
  const found =
    (await store.query<Readonly<Record<string, string>>>(`SELECT ${tests.join(', ')} FROM ${counted}`))[0] ?? {}
  const padded = new Set(integers.filter((_, i) => found[`c${i}`] !== '0').map(column => column.name))
  return {
    columns: columns.map(column => (padded.has(column.name) ? { ...column, type: 'Nullable(String)' } : column)),
    rows,
  }
}

async function openTableFile(path: string, opened: Set<TableFile>): Promise<TableFile> {
  const format = formatOf(path)
  await checkReadable(path)
  if (format === 'Parquet') await checkParquet(path)
  const plain = await plainPath(path)
  const use = await useStore()
  const ended = async (): Promise<void> => {
    await use.end()
    await plain.remove()
  }
  const named = (error: unknown): PortError => nameFile(path, error)
  try {
    const csv = format === 'CSVWithNames' ? await describeCsv(use.store, plain.path, path) : null
    const columns = csv?.columns ?? (await describe(use.store, plain.path, format))
    if (columns.length === 0) throw failure(path, 'it has no columns')
    const source = `file(${sqlString(plain.path)}, '${format}', ${sqlString(structure(columns))})`
    const rowCount = csv?.rows ?? (format === 'Parquet' ? await countRows(use.store, source) : null)
    const file: TableFile = {
      columns,
      rowCount,
      async *rows() {
        try {
          yield* use.store.stream<Row>(
            `SELECT ${columns.map(column => sqlIdentifier(column.name)).join(', ')} FROM ${source}`,
          )
        } catch (error) {
          throw named(error)
        }
      },
      async close() {
        if (!opened.delete(file)) return
        await ended()
      },
    }
    opened.add(file)
    return file
  } catch (error) {
    await ended()
    throw named(error)
  }
}

async function countRows(store: OfflineStore, source: string): Promise<number> {
  const rows = await store.query<{ readonly n: string }>(`SELECT count() AS n FROM ${source}`)
  return Number(rows[0]?.n ?? 0)
}

function checkRow(path: string, row: Row, names: ReadonlySet<string>, required: readonly string[]): void {
  for (const name in row) {
    if (!names.has(name)) throw failure(path, `a row has the field '${name}', which is not one of its columns`)
  }
  for (const name of required) {
    if (row[name] === null || row[name] === undefined) {
      throw failure(path, `a row has no value for the column '${name}', whose type has no null; use Nullable(...)`)
    }
  }
}

async function* lines(
  path: string,
  columns: readonly Column[],
  rows: AsyncIterable<readonly Row[]>,
  counted: (rows: number) => void,
): AsyncGenerator<Buffer> {
  const names = new Set(columns.map(column => column.name))
  const required = columns.filter(column => !column.type.startsWith('Nullable(')).map(column => column.name)
  for await (const chunk of rows) {
    if (chunk.length === 0) continue
    counted(chunk.length)
    const text = chunk.map(row => {
      checkRow(path, row, names, required)
      return `[${columns.map(column => jsonValue(row[column.name])).join(',')}]\n`
    })
    yield Buffer.from(text.join(''))
  }
}

async function syncFile(path: string): Promise<void> {
  const file = await openFile(path, 'r+')
  try {
    await file.sync()
  } finally {
    await file.close()
  }
}

async function writeTableFile(
  path: string,
  columns: readonly Column[],
  rows: AsyncIterable<readonly Row[]>,
): Promise<number> {
  const format = formatOf(path)
  if (columns.length === 0) throw failure(path, 'it needs at least one column')
  const folder = await realpath(dirname(resolve(path))).catch((error: Error) => {
    throw failure(path, 'its folder does not exist', error)
  })
  const work = await mkdtemp(join(folder, '.headwater-')).catch((error: Error) => {
    throw failure(path, `its folder cannot be written to (${error.message})`, error)
  })
  let count = 0
  try {
    const staged = join(work, `${randomUUID()}.rows`)
    await pipeline(
      Readable.from(
        lines(path, columns, rows, n => (count += n)),
        { objectMode: false },
      ),
      createWriteStream(staged),
    )
    const made = join(work, `made${extname(path).toLowerCase()}`)
    const link = await plainPath(work)
    const use = await useStore()
    try {
      const into = `file(${sqlString(join(link.path, basename(made)))}, '${format}', ${sqlString(structure(columns))})`
      const from = `file(${sqlString(join(link.path, basename(staged)))}, 'JSONCompactEachRow', ${sqlString(structure(columns))})`
      const settings = `max_threads=1, max_insert_threads=1, input_format_null_as_default=0, engine_file_empty_if_not_exists=1, output_format_json_quote_64bit_integers=0`
      await use.store.command(`INSERT INTO FUNCTION ${into} SELECT * FROM ${from} SETTINGS ${settings}`)
    } catch (error) {
      throw nameFile(path, error)
    } finally {
      await use.end()
      await link.remove()
    }
    await syncFile(made)
    await rename(made, path)
    return count
  } finally {
    await rm(work, { recursive: true, force: true })
  }
}

/**
 * Table files through the embedded ClickHouse engine: the one this process serves, or a temporary one that ends with
 * `close`. While a file is open no other folder can be opened as the offline store in this process.
 *
 * Types: Parquet's own; of CSV and NDJSON as inferred from all rows, dates and times staying text, integers written
 * with leading zeros staying text. A double that is no number is the string `nan`, `inf` or `-inf`.
 */
export function createTableFiles(): TableFiles {
  const opened = new Set<TableFile>()
  let closed = false
  const check = (): void => {
    if (closed) throw new PortError('CLOSED', 'The table files are closed.')
  }
  return {
    async open(path) {
      check()
      return await openTableFile(resolve(path), opened)
    },
    async write(path, columns, rows) {
      check()
      return { rows: await writeTableFile(resolve(path), columns, rows) }
    },
    async close() {
      closed = true
      for (const file of [...opened]) await file.close()
      await releaseTemporaryEngine()
    },
  }
}
