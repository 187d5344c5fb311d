import { mkdtempSync, rmSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { Session } from 'chdb'
import type { Window } from '../../features/kernel/types.ts'
import { kernelRowsSql, kernelRunner } from '../../features/plan/feature-kernel.ts'
import type { KernelRow } from '../../features/plan/feature-kernel.ts'
import { featureSql } from '../../features/plan/feature-sql.ts'
import type { WindowedFeature } from '../../features/plan/feature-sql.ts'
import { diceOf } from '../kernel/logs.ts'
import type { Answers } from './feature-cases.ts'
import { eventLines, SOURCE, spineLines, spineRow } from './feature-logs.ts'
import type { FeatureLog, SpineRow, TableLines } from './feature-logs.ts'

const SPINE_ROWS_PER_LOG = 3

/** Queries leave 64-bit integers whole; what a project sets about joins must not matter. */
const SETTINGS =
  'SETTINGS join_use_nulls = 1, output_format_json_quote_64bit_integers = 1, output_format_json_quote_denormals = 1'

/** ClickHouse with the events of all logs in one table. */
export interface FeatureEngine {
  rows<Row>(sql: string, format: 'JSONEachRow' | 'JSONCompactEachRow'): Row[]
  /** Makes a table of rows. */
  spine(name: string, rows: readonly SpineRow[]): void
  /** Makes a table with some rows per log at the edges of windows; the same rows for the same name. */
  randomSpine(name: string, windows: readonly Window[]): readonly SpineRow[]
  /** The features of the rows of a spine from the kernel over streamed rows. */
  kernelAnswers(features: readonly WindowedFeature[], spine: string): Answers
  /** The same from one query, and from the kernel what the query leaves to it. */
  sqlAnswers(features: readonly WindowedFeature[], spine: string): Answers
  /** Ends the engine and removes its folder. */
  end(): void
}

/** Starts the engine of this process, of which there can be one, and fills its table of events. */
export function startFeatureEngine(logs: readonly FeatureLog[]): FeatureEngine {
  const folder = mkdtempSync(join(tmpdir(), 'headwater-features-'))
  const session = new Session(join(folder, 'data'))
  const createTable = (table: string, lines: TableLines): void => {
    const path = join(folder, `${table}.jsonl`)
    writeFileSync(path, lines.lines)
    session.query(lines.createSql(table, path))
  }
  createTable('events', eventLines(logs))
  const rows: FeatureEngine['rows'] = <Row>(sql: string, format: 'JSONEachRow' | 'JSONCompactEachRow') => {
    const text = session.query(`${sql} ${SETTINGS}`, format)
    return text.split('\n').flatMap(line => (line === '' ? [] : [JSON.parse(line) as Row]))
  }
  const spine: FeatureEngine['spine'] = (name, spineRows) => createTable(name, spineLines(spineRows))
  return {
    rows,
    spine,
    randomSpine: (name, windows) => {
      const made = randomRows(name, logs, windows)
      spine(name, made)
      return made
    },
    kernelAnswers: (features, table) => kernelAnswers(rows, features, table),
    sqlAnswers: (features, table) => sqlAnswers(rows, features, table),
    end: () => {
      session.cleanup()
      rmSync(folder, { recursive: true, force: true })
    },
  }
}

function randomRows(name: string, logs: readonly FeatureLog[], windows: readonly Window[]): readonly SpineRow[] {
  const salt = Array.from(name).reduce((hash, letter) => (Math.imul(hash, 31) + letter.charCodeAt(0)) | 0, 7)
  return logs.flatMap((log, at) => {
    const dice = diceOf(log.seed ^ salt)
    return Array.from({ length: SPINE_ROWS_PER_LOG }, (_, index) =>
      spineRow(dice, at * SPINE_ROWS_PER_LOG + index, log, windows),
    )
  })
}

function kernelAnswers(rowsOf: FeatureEngine['rows'], features: readonly WindowedFeature[], table: string): Answers {
  const run = kernelRunner(SOURCE, features)
  const rows = rowsOf<KernelRow>(kernelRowsSql(SOURCE, features, { events: 'events', spine: table }), 'JSONEachRow')
  return new Map(rows.map(row => [Number(row._row), run(row)]))
}

function sqlAnswers(rowsOf: FeatureEngine['rows'], features: readonly WindowedFeature[], table: string): Answers {
  const sql = featureSql(SOURCE, features, { events: 'events', spine: table })
  const rows = rowsOf<readonly [string, readonly string[], ...unknown[]]>(sql, 'JSONCompactEachRow')
  const left = features.filter(({ name }) => rows.some(([, names]) => names.includes(name)))
  const kernel: Answers = left.length === 0 ? new Map() : kernelAnswers(rowsOf, left, table)
  return new Map(
    rows.map(([row, names, ...values]) => {
      const at = Number(row)
      const value = ({ name }: WindowedFeature, index: number): unknown =>
        names.includes(name) ? kernel.get(at)![left.findIndex(each => each.name === name)] : values[index]
      return [at, features.map(value)]
    }),
  )
}
