import { makeAggregator } from '../kernel/aggregators/index.ts'
import { windowed } from '../kernel/aggregators/windowed.ts'
import { compareCells, comparePoints } from '../kernel/order.ts'
import type { Aggregator, Cell, FieldType, Input, TimeMs, Value } from '../kernel/types.ts'
import { declaredLength, lowerEdge, upperEdge } from '../kernel/windows.ts'
import { fieldTypeOf, gatheredBy, nearbySql, type FeatureRelations, type WindowedFeature } from './feature-rows.ts'
import type { FieldOwner } from './plan.ts'

/** A row of the answer to `kernelRowsSql`, as JSON gives it; lists are of equal length, one entry per event. */
export interface KernelRow {
  readonly _row: string | number
  /** The instant and the time of the event being scored; that one is null where there is none. Digits. */
  readonly _at: string
  readonly _self_time: string | null
  readonly _self_id: string
  /** Digits. */
  readonly _times: readonly string[]
  readonly _ids: readonly string[]
  /** As text, for the fields that the features look at in the order of `gatheredBy`. */
  readonly _cells: readonly (readonly (string | null)[])[]
  /** 1 where the filter of that place lets the event through; of a union's events last: of the kind being scored. */
  readonly _flags: readonly (readonly number[])[]
}

/**
 * One ClickHouse SELECT (without a semicolon) with a row per row of the spine, in no order: the events that the windows
 * of the features can cover, for `kernelRunner` with the same features. The event being scored is among them. Throws
 * as `featureSql` does.
 */
export function kernelRowsSql(
  source: FieldOwner,
  features: readonly WindowedFeature[],
  relations: FeatureRelations,
): string {
  if (features.length === 0) throw new RangeError('a query needs at least one feature')
  const gathered = gatheredBy(features)
  const cells = gathered.fields.map(field => `toString(x.${gathered.fieldAt(field)})`)
  const flags = gathered.filters.map(filter => `x.${gathered.filterAt(filter)}`)
  if (relations.ofUnion === true) flags.push(`x.${gathered.ownAt}`)
  return `SELECT _row, toString(_t) AS _at, if(_has_self, toString(_self_ms), NULL) AS _self_time, _self_key AS _self_id,
  arrayMap(x -> toString(x.1), _current) AS _times, arrayMap(x -> x.2, _current) AS _ids,
  arrayMap(x -> CAST([${cells.join(', ')}] AS Array(Nullable(String))), _current) AS _cells,
  arrayMap(x -> CAST([${flags.join(', ')}] AS Array(UInt8)), _current) AS _flags
FROM (
${nearbySql(source, features, gathered, relations)}
)`
}

/** An event as the rows of a window hold it. */
interface Row extends Input {
  readonly by: Cell
}

/** A feature with all that does not depend on the row. Session and last events pick from the range by themselves. */
interface Prepared {
  readonly aggregator: Aggregator
  readonly feature: WindowedFeature
  readonly inputType: FieldType | null
  readonly byType: FieldType | null
  readonly inputAt: number
  readonly byAt: number
  readonly filterAt: number
  /** Place among the flags of the one that only a union's events have. */
  readonly ownAt: number
}

/**
 * Computes features with the kernel from rows of `kernelRowsSql` of the same features: their values, in their order.
 * Throws `RangeError` as `featureSql` does, for features of either path.
 */
export function kernelRunner(
  source: FieldOwner,
  features: readonly WindowedFeature[],
): (row: KernelRow) => readonly Value[] {
  const gathered = gatheredBy(features)
  const types = gathered.fields.map(field => fieldTypeOf(source, field))
  const prepared = features.map((feature): Prepared => {
    const typeOf = (field: string | null): FieldType | null => (field === null ? null : fieldTypeOf(source, field))
    const [inputType, byType] = [typeOf(feature.input), typeOf(feature.by)]
    const inner = makeAggregator(feature.aggregator.family, feature.aggregator.params, inputType, byType)
    return {
      aggregator: windowed(inner, feature.window, inputType, byType),
      feature,
      inputType,
      byType,
      inputAt: feature.input === null ? -1 : gathered.fieldAt(feature.input) - 3,
      byAt: feature.by === null ? -1 : gathered.fieldAt(feature.by) - 3,
      filterAt: feature.where === null ? -1 : gathered.filterAt(feature.where) - 3 - types.length,
      ownAt: gathered.filters.length,
    }
  })
  return row => {
    const cells = row._cells.map(texts => texts.map((text, at) => cellOf(types[at]!, text)))
    const times = row._times.map(Number)
    return prepared.map(one => valueOf(one, row, times, cells))
  }
}

function valueOf(
  { aggregator, feature, inputType, byType, inputAt, byAt, filterAt, ownAt }: Prepared,
  row: KernelRow,
  times: readonly TimeMs[],
  cells: readonly (readonly Cell[])[],
): Value {
  const { window, include, whenEmpty } = feature
  const t = Number(row._at)
  const [lower, upper] = [lowerEdge(window, t), upperEdge(window, t)]
  const selfTime = row._self_time === null ? null : Number(row._self_time)
  const leftOut = (time: TimeMs, id: string, index: number): boolean => {
    if (include === 'excludeSelf') {
      return time === selfTime && id === row._self_id && row._flags[index]![ownAt] !== 0
    }
    return include === 'excludeInstant' && time === (selfTime ?? t)
  }
  const rows: Row[] = []
  for (const [index, time] of times.entries()) {
    const id = row._ids[index]!
    if (time <= lower || time > upper || leftOut(time, id, index)) continue
    if (filterAt >= 0 && row._flags[index]![filterAt] !== 1) continue
    const cell = inputAt < 0 ? null : cells[index]![inputAt]!
    rows.push({ time, id, cell, by: byAt < 0 ? null : cells[index]![byAt]! })
  }
  rows.sort(
    (a, b) =>
      comparePoints(a, b) ||
      (inputType === null ? 0 : compareCells(inputType, a.cell, b.cell)) ||
      (byType === null ? 0 : compareCells(byType, a.by, b.by)),
  )
  let state = aggregator.empty()
  for (const input of rows) state = aggregator.add(state, input)
  return aggregator.result(state, { t: upper, lengthMs: declaredLength(window) }) ?? whenEmpty
}

/** From ClickHouse's text of a value to the kernel's cell. */
function cellOf(type: FieldType, text: string | null): Cell {
  if (text === null) return null
  switch (type.kind) {
    case 'string':
      return text
    case 'boolean':
      return text === 'true'
    case 'int':
    case 'timestamp':
      return Number(text)
    case 'int64':
      return BigInt(text)
    case 'double':
      return doubleOf(text)
    case 'decimal': {
      const [whole = '', part = ''] = text.split('.')
      return Number(whole + part.padEnd(type.scale, '0')) + 0
    }
    case 'vector':
      return text === '[]' ? null : text.slice(1, -1).split(',').map(doubleOf)
  }
}

const NOT_FINITE: Readonly<Record<string, number>> = { nan: NaN, '-nan': NaN, inf: Infinity, '-inf': -Infinity }

function doubleOf(text: string): number {
  return NOT_FINITE[text] ?? Number(text)
}
