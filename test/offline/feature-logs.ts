import type { LogRecord } from '../../features/kernel/oracle.ts'
import { oracleVerdicts } from '../../features/kernel/oracle.ts'
import type { Cell, FieldType, Point, TimeMs, UnitSpec, Window } from '../../features/kernel/types.ts'
import { decimalText } from '../../features/plan/event.ts'
import { clickHouseType, sqlIdentifier } from '../../features/plan/expression-sql.ts'
import { compileExpression } from '../../features/plan/expression.ts'
import type { Expression, SourcePlan } from '../../features/plan/plan.ts'
import { diceOf, type Dice } from '../kernel/logs.ts'

/** One field of every type; some have names that a careless query would take for its own. */
const FIELDS: readonly (readonly [string, FieldType])[] = [
  ['x', { kind: 'int' }],
  ['time', { kind: 'int64' }],
  ['d', { kind: 'double' }],
  ['amount', { kind: 'decimal', scale: 2 }],
  ['id', { kind: 'string' }],
  ['t', { kind: 'boolean' }],
  ['row', { kind: 'timestamp' }],
  ['v', { kind: 'vector', length: 2 }],
]

/** The source of all logs. */
export const SOURCE: SourcePlan = {
  name: 'event',
  topic: 'events',
  partitions: 3,
  idField: 'id',
  timeField: 'row',
  keyField: 'id',
  latenessMs: 0,
  readBackMs: 0,
  clockSkewMs: 0,
  unknownFields: 'refuse',
  format: 'json',
  description: '',
  fields: FIELDS.map(([name, type]) => ({ name, type, optional: true, description: '' })),
}

/** The filters that features use; bit i of a point's mask is filter i. */
export const FILTERS: readonly Expression[] = [
  { op: 'field', name: 't' },
  {
    op: 'or',
    terms: [
      { op: 'gt', left: { op: 'field', name: 'x' }, right: { op: 'literal', type: { kind: 'int' }, value: 0 } },
      { op: 'isNull', term: { op: 'field', name: 'v' } },
      { op: 'startsWith', term: { op: 'field', name: 'id' }, prefix: 'a' },
    ],
  },
]
const FILTER_TESTS = FILTERS.map(filter => compileExpression(filter, SOURCE))

/** One random entity: what was accepted of its log, by (partition, point). */
export interface FeatureLog {
  readonly seed: number
  readonly accepted: readonly LogRecord[]
}

/** A row of a spine. */
export interface SpineRow {
  readonly row: number
  readonly log: FeatureLog
  readonly t: TimeMs
  readonly self: Point | null
}

const TEXTS = ['', 'a', 'b', 'ab', 'é', '\uFFFD', '\u{1F600}', "'\\\n"]
const IDS = ['p', 'é', '\uFFFD', '\u{1F600}', '']

function cellOf(dice: Dice, type: FieldType): Cell {
  if (dice.chance(0.12)) return null
  switch (type.kind) {
    case 'string':
      return dice.pick(TEXTS)
    case 'boolean':
      return dice.chance(0.5)
    case 'int64':
      return dice.chance(0.05) ? dice.pick([2n ** 53n + 1n, -(2n ** 60n)]) : BigInt(dice.integer(-3, 3))
    case 'double':
      return dice.chance(0.03) ? dice.pick([NaN, Infinity, -Infinity]) : dice.integer(-500, 500) / 7
    case 'vector':
      return [dice.integer(-5, 5) / 2, dice.integer(0, 9) / 3]
    case 'decimal':
      return dice.integer(-1_000, 1_000)
    case 'int':
    case 'timestamp':
      return dice.chance(0.03) ? dice.pick([2 ** 40, -(2 ** 40)]) : dice.integer(-9, 9)
  }
}

function pointOf(dice: Dice, time: TimeMs, id: string): Point {
  const cells = FIELDS.map(([, type]) => cellOf(dice, type))
  const mask = FILTER_TESTS.reduce((bits, test, bit) => (test(cells) === true ? bits | (1 << bit) : bits), 0)
  return { time, id, cells, mask }
}

/**
 * A log of up to 45 records in up to three partitions, before and after the epoch, with ties, out-of-order, late,
 * duplicate and conflicting ones, judged by the oracle.
 * @param spec only its lateness matters
 */
export function featureLog(seed: number, spec: UnitSpec): FeatureLog {
  const dice = diceOf(seed)
  const partitions = dice.integer(1, 3)
  const clocks = Array.from({ length: partitions }, () => dice.integer(-150, 100))
  const stride = dice.pick([1, 4, 12, 40])
  const log: LogRecord[] = []
  for (let left = dice.integer(0, 45); left > 0; left--) {
    const partition = dice.integer(0, partitions - 1)
    if (log.length > 0 && dice.chance(0.15)) {
      const { time, id, cells, mask } = dice.pick(log).point
      const point = dice.chance(0.5) ? { time, id, cells, mask } : pointOf(dice, time, id)
      log.push({ partition, point })
      continue
    }
    clocks[partition]! += dice.integer(0, stride)
    const back = dice.chance(0.4) ? dice.integer(0, spec.latenessMs * 2) : 0
    log.push({ partition, point: pointOf(dice, clocks[partition]! - back, dice.pick(IDS) + dice.integer(0, 9)) })
  }
  const verdicts = oracleVerdicts(spec, log)
  return { seed, accepted: log.filter((_, index) => verdicts[index] === 'added') }
}

/** How far after an event the edges of a window meet it. */
export function edgesOf(window: Window): readonly number[] {
  const lengths: Record<Window['kind'], () => readonly number[]> = {
    sliding: () => (window.kind === 'sliding' ? [window.lengthMs, window.lengthMs + window.edgeMs] : []),
    tumbling: () =>
      window.kind === 'tumbling' ? [1, window.lookback, window.lookback + 1].map(n => n * window.lengthMs) : [],
    session: () => (window.kind === 'session' ? [window.gapMs, window.maxLengthMs] : []),
    lastEvents: () => (window.kind === 'lastEvents' && window.withinMs !== null ? [window.withinMs] : []),
    lifetime: () => [],
    decay: () => (window.kind === 'decay' ? [window.halfLifeMs] : []),
  }
  return [0, ...lengths[window.kind]()].map(length => length + window.delayMs)
}

/** An instant on, one before or one after an edge of an event, and an event being scored: none, stored or new. */
export function spineRow(dice: Dice, row: number, log: FeatureLog, windows: readonly Window[]): SpineRow {
  const points = log.accepted.map(record => record.point)
  const event = points.length === 0 ? pointOf(dice, 0, 'e') : dice.pick(points)
  const window = dice.pick(windows)
  const base = dice.chance(0.15) && window.kind === 'tumbling' ? aligned(event.time, window.lengthMs) : event.time
  const t = base + dice.pick(edgesOf(window)) + dice.integer(-1, 1)
  const kind = dice.integer(0, 9)
  if (kind < 3) return { row, log, t, self: null }
  if (kind < 6 && points.length > 0) return { row, log, t, self: kind < 4 ? event : dice.pick(points) }
  const time = dice.pick([t, t, event.time, t - dice.integer(0, 60)])
  const id = time !== event.time && dice.chance(0.3) ? event.id : `${dice.pick(IDS)}${dice.integer(10, 12)}`
  return { row, log, t, self: pointOf(dice, time, id) }
}

function aligned(time: TimeMs, step: number): TimeMs {
  return Math.floor(time / step) * step
}

/** How the test hands a value to ClickHouse: as text or bits that lose nothing, and the expression that reads it. */
function carried(type: FieldType): { readonly type: string; readonly sql: (name: string) => string } {
  switch (type.kind) {
    case 'double':
      return { type: 'Nullable(UInt64)', sql: name => `reinterpretAsFloat64(${name})` }
    case 'vector':
      return { type: 'Array(UInt64)', sql: name => `arrayMap(bits -> reinterpretAsFloat64(bits), ${name})` }
    case 'decimal':
      return { type: 'Nullable(String)', sql: name => `toDecimal64OrNull(${name}, ${type.scale})` }
    default:
      return { type: clickHouseType(type, true), sql: name => name }
  }
}

const BITS = new DataView(new ArrayBuffer(8))

function bitsOf(value: number): string {
  BITS.setFloat64(0, value)
  return String(BITS.getBigUint64(0))
}

function carriedCell(type: FieldType, cell: Cell): unknown {
  if (type.kind === 'vector') return cell === null ? [] : (cell as readonly number[]).map(bitsOf)
  if (cell === null) return null
  if (type.kind === 'double') return bitsOf(cell as number)
  if (type.kind === 'decimal') return decimalText(cell as number, type.scale)
  return typeof cell === 'bigint' ? String(cell) : cell
}

function fieldsOf(prefix: string, point: Point | null): Record<string, unknown> {
  return Object.fromEntries(
    FIELDS.map(([name, type], at) => [`${prefix}${name}`, carriedCell(type, point?.cells[at] ?? null)]),
  )
}

/** A table as the query that fills it from lines of JSON, and those lines. */
export interface TableLines {
  readonly lines: string
  createSql(table: string, path: string): string
}

function tableLines(
  columns: readonly (readonly [string, string])[],
  prefix: string,
  rows: readonly Readonly<Record<string, unknown>>[],
): TableLines {
  const fields = FIELDS.map(([name, type]) => [`${prefix}${name}`, carried(type)] as const)
  const structure = [
    ...columns.map(([name, type]) => `${name} ${type}`),
    ...fields.map(([name, { type }]) => `${sqlIdentifier(name)} ${type}`),
  ].join(', ')
  const select = [
    ...columns.map(([name]) => name),
    ...fields.map(([name, { sql }]) => `${sql(sqlIdentifier(name))} AS ${sqlIdentifier(name)}`),
  ].join(', ')
  return {
    lines: rows.map(row => `${JSON.stringify(row)}\n`).join(''),
    createSql: (table, path) =>
      `CREATE TABLE ${table} ENGINE = Memory AS SELECT ${select} FROM file('${path}', 'JSONEachRow', '${structure.replaceAll("'", "\\'")}')`,
  }
}

const entityOf = (log: FeatureLog): string => `log${log.seed}`

/** The accepted events of all logs as the `events` of a feature query. */
export function eventLines(logs: readonly FeatureLog[]): TableLines {
  const rows = logs.flatMap(log =>
    log.accepted.map(({ point }) => ({
      _entity: entityOf(log),
      _time: point.time,
      _id: point.id,
      ...fieldsOf('', point),
    })),
  )
  const columns = [
    ['_entity', 'String'],
    ['_time', 'Int64'],
    ['_id', 'String'],
  ] as const
  return tableLines(columns, '', rows)
}

/** Rows as the `spine` of a feature query. */
export function spineLines(spine: readonly SpineRow[]): TableLines {
  const rows = spine.map(({ row, log, t, self }) => ({
    _row: row,
    _entity: entityOf(log),
    _t: t,
    _self_time: self?.time ?? null,
    _self_id: self?.id ?? null,
    ...fieldsOf('self_', self),
  }))
  const columns = [
    ['_row', 'UInt64'],
    ['_entity', 'String'],
    ['_t', 'Int64'],
    ['_self_time', 'Nullable(Int64)'],
    ['_self_id', 'Nullable(String)'],
  ] as const
  return tableLines(columns, 'self_', rows)
}
