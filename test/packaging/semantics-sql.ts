import { mkdtempSync, rmSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { Session } from 'chdb'
import { AGGREGATORS } from '../../features/kernel/index.ts'
import type { Cell, FieldType, Value } from '../../features/kernel/types.ts'
import type { DecodedEvent } from '../../features/plan/event.ts'
import { decimalText } from '../../features/plan/event.ts'
import { clickHouseType, sqlIdentifier, sqlString } from '../../features/plan/expression-sql.ts'
import { kernelRowsSql, kernelRunner } from '../../features/plan/feature-kernel.ts'
import type { KernelRow } from '../../features/plan/feature-kernel.ts'
import { featurePath, featureSql } from '../../features/plan/feature-sql.ts'
import type { FeaturePlan, SourcePlan } from '../../features/plan/plan.ts'
import type { BoundFeature } from '../../features/plan/units.ts'
import { close, readAs } from '../offline/feature-compare.ts'
import { agrees, byOracle, OUT_OF_RANGE, rowsOf } from './semantics-run.ts'
import type { Prepared, Read } from './semantics-run.ts'

const SETTINGS =
  'SETTINGS join_use_nulls = 1, output_format_json_quote_64bit_integers = 1, output_format_json_quote_denormals = 1'

/** ClickHouse in this process, of which there can be one. */
export interface Engine {
  run(sql: string): void
  rows<Row>(sql: string, format: 'JSONEachRow' | 'JSONCompactEachRow'): readonly Row[]
  /** Ends it and removes its folder. */
  end(): void
}

/** Starts it over an empty folder. */
export function startEngine(): Engine {
  const folder = mkdtempSync(join(tmpdir(), 'headwater-semantics-'))
  const session = new Session(join(folder, 'data'))
  return {
    run: sql => {
      session.query(sql)
    },
    rows: <Row>(sql: string, format: 'JSONEachRow' | 'JSONCompactEachRow') =>
      session
        .query(`${sql} ${SETTINGS}`, format)
        .split('\n')
        .flatMap(line => (line === '' ? [] : [JSON.parse(line) as Row])),
    end: () => {
      session.cleanup()
      rmSync(folder, { recursive: true, force: true })
    },
  }
}

const BITS = new DataView(new ArrayBuffer(8))

/** No parser of numbers may lose a bit. */
function doubleSql(value: number): string {
  BITS.setFloat64(0, value)
  return `reinterpretAsFloat64(toUInt64('${BITS.getBigUint64(0)}'))`
}

function cellSql(type: FieldType, cell: Cell): string {
  if (type.kind === 'vector') {
    return `CAST([${((cell ?? []) as readonly number[]).map(doubleSql).join(', ')}] AS Array(Float64))`
  }
  if (cell === null) return 'NULL'
  switch (type.kind) {
    case 'string':
      return sqlString(cell as string)
    case 'boolean':
      return String(cell)
    case 'double':
      return doubleSql(cell as number)
    case 'decimal':
      return `toDecimal64('${decimalText(cell as number, type.scale)}', ${type.scale})`
    default:
      return `toInt64('${cell as number}')`
  }
}

interface Column {
  readonly name: string
  readonly type: string
}

function makeTable(engine: Engine, table: string, columns: readonly Column[], rows: readonly (readonly string[])[]) {
  const list = columns.map(({ name, type }) => `${sqlIdentifier(name)} ${type}`)
  engine.run(`CREATE TABLE ${table} (${list.join(', ')}) ENGINE = Memory`)
  for (const row of rows) engine.run(`INSERT INTO ${table} SELECT ${row.join(', ')}`)
}

function eventsTable(engine: Engine, table: string, prepared: Prepared): void {
  const { source, entities } = prepared
  const columns = [
    { name: '_entity', type: 'String' },
    { name: '_time', type: 'Int64' },
    { name: '_id', type: 'String' },
    ...source.fields.map(({ name, type }) => ({ name, type: clickHouseType(type, true) })),
  ]
  const rows = entities.flatMap(entity =>
    prepared
      .accepted(entity)
      .map(event => [
        sqlString(entity),
        `toInt64('${event.time}')`,
        sqlString(event.id),
        ...source.fields.map(({ type }, at) => cellSql(type, event.cells[at] ?? null)),
      ]),
  )
  makeTable(engine, table, columns, rows)
}

function selfColumns(source: SourcePlan, self: DecodedEvent | null): readonly string[] {
  const ofEvent = self === null ? ['NULL', 'NULL'] : [`toInt64('${self.time}')`, sqlString(self.id)]
  return [...ofEvent, ...source.fields.map(({ type }, at) => cellSql(type, self?.cells[at] ?? null))]
}

function spineTable(engine: Engine, table: string, { source, reads }: Prepared): void {
  const columns = [
    { name: '_row', type: 'UInt64' },
    { name: '_entity', type: 'String' },
    { name: '_t', type: 'Int64' },
    { name: '_self_time', type: 'Nullable(Int64)' },
    { name: '_self_id', type: 'Nullable(String)' },
    ...source.fields.map(({ name, type }) => ({ name: `self_${name}`, type: clickHouseType(type, true) })),
  ]
  const rows = reads.map(({ entity, t, self }, row) => [
    String(row),
    sqlString(entity),
    `toInt64('${t}')`,
    ...selfColumns(source, self),
  ])
  makeTable(engine, table, columns, rows)
}

type Answers = ReadonlyMap<string, unknown>

/**
 * The values of all features for each read, by name: those that SQL gives from one query, the rest, and those that the
 * query leaves to it, from the kernel over streamed rows. With `kernel` all from the kernel.
 */
function answersOf(engine: Engine, table: string, prepared: Prepared, kernel: boolean): readonly Answers[] {
  const { source, reads } = prepared
  const relations = { events: `${table}_events`, spine: `${table}_spine` }
  const features = prepared.features.map(feature => feature.plan)
  const answers = reads.map(() => new Map<string, unknown>())
  const left = new Set<FeaturePlan>(features)
  const bySql = kernel ? [] : features.filter(feature => featurePath(feature) === 'sql')
  if (bySql.length > 0) {
    const rows = engine.rows<readonly [string, readonly string[], ...unknown[]]>(
      featureSql(source, bySql, relations),
      'JSONCompactEachRow',
    )
    for (const [row, estimated, ...values] of rows) {
      bySql.forEach((feature, at) => {
        if (!estimated.includes(feature.name)) answers[Number(row)]!.set(feature.name, values[at])
      })
    }
    for (const feature of bySql) if (answers.every(answer => answer.has(feature.name))) left.delete(feature)
  }
  const byKernel = [...left]
  if (byKernel.length > 0) {
    const run = kernelRunner(source, byKernel)
    for (const row of engine.rows<KernelRow>(kernelRowsSql(source, byKernel, relations), 'JSONEachRow')) {
      const answer = answers[Number(row._row)]!
      run(row).forEach((value, at) => {
        const { name } = byKernel[at]!
        if (!answer.has(name)) answer.set(name, value)
      })
    }
  }
  return answers
}

function isClose(feature: BoundFeature, prepared: Prepared, read: Read, expected: unknown, found: unknown): boolean {
  const { aggregator, input, window } = feature.plan
  if (AGGREGATORS.find(each => each.family === aggregator.family)?.exactness !== 'float') return false
  if (Array.isArray(expected) && Array.isArray(found)) {
    const pairs = expected.map((each, at) => isClose(feature, prepared, read, each, found[at]))
    return expected.length === found.length && !pairs.includes(false)
  }
  if (typeof expected !== 'number' || typeof found !== 'number') return false
  return close(expected, found, {
    family: aggregator.family,
    type: prepared.source.fields.find(field => field.name === input)?.type ?? null,
    rows: rowsOf(prepared, feature, read),
    t: read.t - window.delayMs,
    halfLifeMs: window.kind === 'decay' ? window.halfLifeMs : 1,
  })
}

/** What the page says of an example that ClickHouse does not: by the SQL of its features, and by the kernel over rows. */
export function wrongOffline(engine: Engine, table: string, prepared: Prepared): readonly string[] {
  eventsTable(engine, `${table}_events`, prepared)
  spineTable(engine, `${table}_spine`, prepared)
  const wrong: string[] = []
  for (const [way, answers] of [
    ['ClickHouse', answersOf(engine, table, prepared, false)],
    ['the kernel over rows', answersOf(engine, table, prepared, true)],
  ] as const) {
    prepared.reads.forEach((read, row) => {
      for (const feature of prepared.features) {
        const { name } = feature.plan
        const stated = read.stated.get(name)
        const own = prepared.features.filter(each => each.unit === feature.unit)
        const answer = byOracle(prepared, own, read)
        // Offline nothing is out of range.
        if (stated === undefined || answer === OUT_OF_RANGE) continue
        const expected: Value = answer.values[own.indexOf(feature)] ?? null
        const value = readAs(expected, answers[row]!.get(name))
        const isRight =
          agrees(stated, value) || (agrees(stated, expected) && isClose(feature, prepared, read, expected, value))
        if (isRight) continue
        const found = JSON.stringify(answers[row]!.get(name), (_, each: unknown) =>
          typeof each === 'bigint' ? String(each) : each,
        )
        wrong.push(`line ${read.row.line}, ${prepared.example.heading}: ${name} is ${found} by ${way}, not ${stated}`)
      }
    })
  }
  return wrong
}
