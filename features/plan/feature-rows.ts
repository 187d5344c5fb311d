import type { RawParams } from '../kernel/aggregators/index.ts'
import type { FieldType, Include, Value, Window } from '../kernel/types.ts'
import { isUnbounded, reachOf } from '../kernel/windows.ts'
import { canonicalJson } from './canonical.ts'
import { clickHouseType, expressionToSql, sqlIdentifier } from './expression-sql.ts'
import { upperEdgeSql, windowRowsSql } from './feature-windows.ts'
import type { Expression, FieldOwner } from './plan.ts'

/** One windowed feature over one source, as a `FeaturePlan` has it. `by` is the second input field, null for none. */
export interface WindowedFeature {
  readonly name: string
  readonly aggregator: { readonly family: string; readonly params: RawParams }
  readonly input: string | null
  readonly by: string | null
  readonly where: Expression | null
  readonly window: Window
  readonly include: Include
  readonly whenEmpty: Value
}

/**
 * What a query reads: table names or subqueries in parentheses.
 *
 * `events`: the accepted events of the source, late ones and duplicates left out: `_entity` String, `_time` Int64, `_id`
 * String, and one column per source field, of the type `clickHouseType` gives it, under the field's name.
 *
 * `spine`: the instants asked for: `_row` (any integer, unique), `_entity` String, `_t` Int64; the event being scored,
 * if any, by `_self_time` Nullable(Int64) and `_self_id` Nullable(String), and its fields as `self_<field>`, Nullable.
 *
 * Where the source is a union, `ofUnion` is set, `events` has also `_event` String, the name of the event's kind, and the
 * spine `_self_event` Nullable(String): an event of another kind is never taken for the one being scored.
 */
export interface FeatureRelations {
  readonly events: string
  readonly spine: string
  readonly ofUnion?: boolean
}

/** The type of a source's field. Throws `RangeError` for a field that it does not have. */
export function fieldTypeOf(source: FieldOwner, name: string): FieldType {
  const field = source.fields.find(each => each.name === name)
  if (field === undefined) throw new RangeError(`event "${source.name}" has no field "${name}"`)
  return field.type
}

/**
 * What is gathered of each event: fields, and filters as flags. Tuples are (time, id, fields …, flags …), and of a union's
 * events one flag more: whether it is of the kind of the event being scored.
 */
export interface Gathered {
  readonly fields: readonly string[]
  readonly filters: readonly Expression[]
  /** The place in the tuple of a field, from 1. */
  fieldAt(name: string): number
  /** The place in the tuple of a filter's flag, from 1. */
  filterAt(filter: Expression): number
  /** The place in the tuple of the flag that only a union's events have, from 1. */
  readonly ownAt: number
}

/** The fields and filters that features look at, each once. */
export function gatheredBy(features: readonly WindowedFeature[]): Gathered {
  const fields = [...new Set(features.flatMap(({ input, by }) => [input, by]).filter(name => name !== null))]
  const byText = new Map(
    features.flatMap(({ where }) => (where === null ? [] : [[canonicalJson(where), where] as const])),
  )
  const texts = [...byText.keys()]
  return {
    fields,
    filters: [...byText.values()],
    fieldAt: name => 3 + fields.indexOf(name),
    filterAt: filter => 3 + fields.length + texts.indexOf(canonicalJson(filter)),
    ownAt: 3 + fields.length + texts.length,
  }
}

/**
 * The rows near each row of the spine as a SELECT: its `_row` and `_t`; `_has_self`, `_self_ms` and `_self_key`, which
 * name the event being scored; `_rows`, the accepted events that any of the windows can cover, in no order; and
 * `_current`, the same with the event being scored where it is not among them.
 */
export function nearbySql(
  source: FieldOwner,
  features: readonly WindowedFeature[],
  gathered: Gathered,
  relations: FeatureRelations,
): string {
  const delayMs = Math.min(...features.map(feature => feature.window.delayMs))
  const reachMs = Math.max(...features.map(feature => reachOf(feature.window)))
  const lowest = features.some(feature => isUnbounded(feature.window)) ? '' : ` AND e._time >= s._t - ${reachMs}`
  const own = relations.ofUnion === true ? [`e._event = ifNull(s._self_event, '')`, '1'] : []
  const stored = tupleSql(source, gathered, ['e._time', 'e._id', own[0]], field => `e.${sqlIdentifier(field)}`)
  const virtual = tupleSql(
    source,
    gathered,
    ['ifNull(s._self_time, toInt64(0))', `ifNull(s._self_id, '')`, own[1]],
    field => `s.${sqlIdentifier(`self_${field}`)}`,
  )
  return `SELECT *,
  arrayConcat(_rows, if(_has_self AND NOT arrayExists(x -> ${isSelfSql(gathered, relations)}, _rows), [_virtual], []))
    AS _current
FROM (
  SELECT s._row AS _row, s._t AS _t, isNotNull(s._self_time) AS _has_self,
    ifNull(s._self_time, toInt64(0)) AS _self_ms, ifNull(s._self_id, '') AS _self_key,
    ${virtual} AS _virtual, g._rows AS _rows
  FROM ${relations.spine} AS s
  LEFT JOIN (
    SELECT s._row AS _row, groupArray(${stored}) AS _rows
    FROM ${relations.spine} AS s
    INNER JOIN ${relations.events} AS e ON e._entity = s._entity
    WHERE e._time <= s._t - ${delayMs}${lowest}
    GROUP BY s._row
  ) AS g ON g._row = s._row
)`
}

/** Whether a stored tuple `x` is the event being scored, where there is one. */
function isSelfSql({ ownAt }: Gathered, { ofUnion }: FeatureRelations): string {
  return `x.1 = _self_ms AND x.2 = _self_key${ofUnion === true ? ` AND x.${ownAt}` : ''}`
}

/** The cast gives stored and virtual rows one type, without names of elements. */
function tupleSql(
  source: FieldOwner,
  gathered: Gathered,
  [time, id, own]: readonly [string, string, string | undefined],
  column: (field: string) => string,
): string {
  const parts = [
    [time, 'Int64'],
    [id, 'String'],
    ...gathered.fields.map(name => [column(name), clickHouseType(fieldTypeOf(source, name), true)]),
    ...gathered.filters.map(filter => [`ifNull(${expressionToSql(filter, source, column)}, false)`, 'UInt8']),
    ...(own === undefined ? [] : [[own, 'UInt8']]),
  ]
  return `CAST(tuple(${parts.map(part => part[0]).join(', ')}) AS Tuple(${parts.map(part => part[1]).join(', ')}))`
}

/** A column of an inner query, made once however many features need it. */
interface Column {
  readonly name: string
  readonly sql: string
}

/** The rows of one window: the names of the columns that hold them, arrays of equal length, and of its upper edge. */
export interface WindowColumns {
  readonly times: string
  readonly ids: string
  readonly cells: string
  readonly bys: string
  readonly t: string
}

/** A SELECT that holds `_row` and the rows of the window of each feature, in their order. */
export interface WindowsSql {
  readonly sql: string
  readonly windows: readonly WindowColumns[]
}

/** The rows of the windows of features, over what `nearbySql` gives. Equal ones are cut once. */
export function windowsSql(
  source: FieldOwner,
  features: readonly WindowedFeature[],
  relations: FeatureRelations,
): WindowsSql {
  const gathered = gatheredBy(features)
  const sorted = new Registry('_v')
  const cut = new Registry('_w')
  const edges = new Registry('_t')
  const parts = new Registry('_c')
  const windows = features.map(feature => {
    const all = sorted.column(sortedRowsSql(source, feature, gathered, relations))
    const t = edges.column(upperEdgeSql(feature.window, '_t'))
    const rows = cut.column(withInputSql(source, feature, windowRowsSql(feature.window, all, '_t')))
    const part = (at: number): string => parts.column(`arrayMap(x -> x.${at}, ${rows})`)
    const cellSql = feature.input === null ? 'x.3' : presentSql(fieldTypeOf(source, feature.input), 'x.3')
    return { times: part(1), ids: part(2), cells: parts.column(`arrayMap(x -> ${cellSql}, ${rows})`), bys: part(4), t }
  })
  const nearby = nearbySql(source, features, gathered, relations)
  const sortedSql = layer(['_row', '_t'], [...sorted.columns], nearby)
  const cutSql = layer(['_row'], [...edges.columns, ...cut.columns], sortedSql)
  const kept = ['_row', ...edges.columns.map(column => column.name)]
  return { sql: layer(kept, [...parts.columns], cutSql), windows }
}

/** Columns by their text, named in order. */
class Registry {
  private readonly prefix: string
  private readonly names = new Map<string, string>()

  constructor(prefix: string) {
    this.prefix = prefix
  }

  column(sql: string): string {
    const known = this.names.get(sql)
    if (known !== undefined) return known
    const name = `${this.prefix}${this.names.size}`
    this.names.set(sql, name)
    return name
  }

  get columns(): readonly Column[] {
    return [...this.names].map(([sql, name]) => ({ name, sql }))
  }
}

function layer(kept: readonly string[], columns: readonly Column[], from: string): string {
  const all = [...kept, ...columns.map(column => `${column.sql} AS ${column.name}`)]
  return `SELECT ${all.join(',\n  ')}\nFROM (\n${from}\n)`
}

/** Tuples (time, id, cell, second cell) that filter and rule of inclusion let through, in total order. */
function sortedRowsSql(
  source: FieldOwner,
  feature: WindowedFeature,
  gathered: Gathered,
  relations: FeatureRelations,
): string {
  const { input, by, where, include } = feature
  const conditions: string[] = []
  if (where !== null) conditions.push(`x.${gathered.filterAt(where)}`)
  if (include === 'excludeSelf') conditions.push(`NOT (_has_self AND ${isSelfSql(gathered, relations)})`)
  if (include === 'excludeInstant') conditions.push('x.1 != if(_has_self, _self_ms, _t)')
  const base = include === 'current' ? '_current' : '_rows'
  const rows = conditions.length === 0 ? base : `arrayFilter(x -> ${conditions.join(' AND ')}, ${base})`
  const cell = (name: string | null): string => (name === null ? '0' : `x.${gathered.fieldAt(name)}`)
  const key = ['x.1', 'x.2', ...cellKey(source, input, 'x.3'), ...cellKey(source, by, 'x.4')]
  return `arraySort(x -> (${key.join(', ')}), arrayMap(x -> (x.1, x.2, ${cell(input)}, ${cell(by)}), ${rows}))`
}

/** Null before all values; a missing vector is the empty array, which comes first by itself. */
function cellKey(source: FieldOwner, name: string | null, sql: string): readonly string[] {
  if (name === null) return []
  return fieldTypeOf(source, name).kind === 'vector' ? [sql] : [`isNotNull(${sql})`, sql]
}

function withInputSql(source: FieldOwner, { input }: WindowedFeature, rows: string): string {
  if (input === null) return rows
  const present = fieldTypeOf(source, input).kind === 'vector' ? 'notEmpty(x.3)' : 'isNotNull(x.3)'
  return `arrayFilter(x -> ${present}, ${rows})`
}

function presentSql(type: FieldType, sql: string): string {
  return type.kind === 'vector' ? sql : `assumeNotNull(${sql})`
}
