import { AGGREGATORS, type AggregatorDescriptor } from '../kernel/aggregators/index.ts'
import type { FieldType, Value } from '../kernel/types.ts'
import { declaredLength } from '../kernel/windows.ts'
import { expressionToSql, sqlIdentifier, sqlString } from './expression-sql.ts'
import { fieldTypeOf, windowsSql, type FeatureRelations, type WindowedFeature } from './feature-rows.ts'
import type { FieldOwner } from './plan.ts'

export type { FeatureRelations, WindowedFeature } from './feature-rows.ts'

const byFamily: ReadonlyMap<string, AggregatorDescriptor> = new Map(AGGREGATORS.map(each => [each.family, each]))

function descriptorOf(family: string): AggregatorDescriptor {
  const descriptor = byFamily.get(family)
  if (descriptor === undefined) throw new RangeError(`no aggregator is named ${family}`)
  return descriptor
}

/**
 * How a feature is computed offline: `sql` where ClickHouse gives the kernel's answer, `kernel` where the same kernel
 * runs over rows read from there. Throws `RangeError` for a family that does not exist.
 */
export function featurePath(feature: Pick<WindowedFeature, 'aggregator'>): 'sql' | 'kernel' {
  return descriptorOf(feature.aggregator.family).exactness === 'kernel' ? 'kernel' : 'sql'
}

/**
 * One ClickHouse SELECT (without a semicolon) that gives, for each row of the spine, `_row`; `_kernel`, an Array(String)
 * with the names of the features that only the kernel can tell for this row, since it has gone over to an estimate (a
 * `distinct` beyond its bound); and the value of each feature under its name: what a read of the feature at `_t` with
 * that event being scored answers, out of range never. Rows come in no order. A value that is null is NULL, or the empty
 * array where values are arrays; those named in `_kernel` are to be replaced. Needs ClickHouse 24.8 or later. Memory:
 * the events that the windows of a block of spine rows cover.
 *
 * Throws `RangeError` for no features, a field or family that does not exist, parameters or types that the family does
 * not take, and for a feature whose `featurePath` is `kernel`.
 */
export function featureSql(
  source: FieldOwner,
  features: readonly WindowedFeature[],
  relations: FeatureRelations,
): string {
  if (features.length === 0) throw new RangeError('a query needs at least one feature')
  const { sql, windows } = windowsSql(source, features, relations)
  const values: string[] = []
  const bounded: { readonly name: string; readonly holds: string }[] = []
  for (const [index, feature] of features.entries()) {
    const { aggregator, window, input, by } = feature
    const typeOf = (field: string | null): FieldType | null => (field === null ? null : fieldTypeOf(source, field))
    const rows = { ...windows[index]!, lengthMs: declaredLength(window) }
    const descriptor = descriptorOf(aggregator.family)
    const value = descriptor.sql(rows, typeOf(input), aggregator.params, typeOf(by))
    if (value === null) {
      throw new RangeError(`feature "${feature.name}": ${aggregator.family} has no SQL, the kernel computes it`)
    }
    const valueType = descriptor.valueType(typeOf(input), aggregator.params)
    values.push(`${orElse(value, valueType, feature.whenEmpty, source)} AS _f${index}`)
    const holds = descriptor.sqlHolds(rows, typeOf(input), aggregator.params)
    if (holds !== null) bounded.push({ name: feature.name, holds })
  }
  const names = features.map((feature, index) => `_f${index} AS ${sqlIdentifier(feature.name)}`)
  return `SELECT _row, _kernel, ${names.join(', ')}
FROM (
SELECT _row,
  ${kernelNamesSql(bounded)} AS _kernel,
  ${values.join(',\n  ')}
FROM (
${sql}
))`
}

function kernelNamesSql(bounded: readonly { readonly name: string; readonly holds: string }[]): string {
  if (bounded.length === 0) return `CAST([] AS Array(String))`
  const names = bounded.map(({ name }) => sqlString(name)).join(', ')
  return `arrayFilter((name, holds) -> NOT holds, [${names}], [${bounded.map(({ holds }) => holds).join(', ')}])`
}

/** ClickHouse finds no common type of Float64 and Int64, so numbers that authors see as such all become Float64. */
function orElse(sql: string, valueType: string, whenEmpty: Value, source: FieldOwner): string {
  if (whenEmpty === null) return sql
  if (Array.isArray(whenEmpty)) {
    const items = whenEmpty.map(item => literalSql(item as Value, source))
    return `if(empty(${sql}), [${items.join(', ')}], ${sql})`
  }
  const present = valueType.startsWith('number') ? `toFloat64(${sql})` : sql
  return `ifNull(${present}, ${literalSql(whenEmpty, source)})`
}

function literalSql(value: Value, source: FieldOwner): string {
  if (typeof value === 'string') return sqlString(value)
  if (typeof value === 'number') {
    return expressionToSql({ op: 'literal', type: { kind: 'double' }, value }, source)
  }
  if (typeof value === 'bigint') return `toInt64('${value}')`
  if (typeof value === 'boolean') return String(value)
  throw new RangeError(`whenEmpty ${JSON.stringify(value)} has no ClickHouse literal`)
}
