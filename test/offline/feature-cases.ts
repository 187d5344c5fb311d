import { AGGREGATORS, makeAggregator } from '../../features/kernel/aggregators/index.ts'
import type { AggregatorDescriptor, RawParams } from '../../features/kernel/aggregators/index.ts'
import { oracleRead } from '../../features/kernel/oracle.ts'
import type { Aggregator, FieldType, Include, Input, UnitSpec, Value, Window } from '../../features/kernel/types.ts'
import { declaredLength } from '../../features/kernel/windows.ts'
import type { WindowedFeature } from '../../features/plan/feature-sql.ts'
import { FAMILY_PARAMS } from '../kernel/family-params.ts'
import { needsLength, textOfValues } from '../kernel/logs.ts'
import { close, COLLECT, readAs } from './feature-compare.ts'
import { FILTERS, SOURCE } from './feature-logs.ts'
import type { SpineRow } from './feature-logs.ts'

/** Every rule of inclusion. */
export const INCLUDES: readonly Include[] = ['current', 'excludeSelf', 'excludeInstant']
/** Windows of every kind, with and without a delay, an edge, a lookback and a bound. */
export const WINDOWS: readonly Window[] = [
  { kind: 'sliding', lengthMs: 100, delayMs: 0, edgeMs: 0 },
  { kind: 'sliding', lengthMs: 1, delayMs: 0, edgeMs: 0 },
  { kind: 'sliding', lengthMs: 37, delayMs: 20, edgeMs: 0 },
  { kind: 'sliding', lengthMs: 60, delayMs: 7, edgeMs: 16 },
  { kind: 'tumbling', lengthMs: 50, lookback: 0, delayMs: 0 },
  { kind: 'tumbling', lengthMs: 32, lookback: 1, delayMs: 0 },
  { kind: 'tumbling', lengthMs: 40, lookback: 3, delayMs: 5 },
  { kind: 'session', gapMs: 10, maxLengthMs: 30, delayMs: 0 },
  { kind: 'session', gapMs: 25, maxLengthMs: 60, delayMs: 9 },
  { kind: 'lastEvents', count: 3, withinMs: null, delayMs: 0 },
  { kind: 'lastEvents', count: 6, withinMs: 70, delayMs: 4 },
  { kind: 'lifetime', delayMs: 0 },
  { kind: 'lifetime', delayMs: 30 },
]

/** Everything is in range: the horizon and the retention lie further back than any log. */
export const SPEC: UnitSpec = {
  columns: SOURCE.fields.map(field => field.type),
  filterCount: FILTERS.length,
  partials: [],
  latenessMs: 25,
  horizonMs: 1e12,
  retentionMs: 2e12,
  edgeMs: 0,
  rawMs: 2e12,
  layout: { levelsMs: [1_000], leafPoints: 128, blockPoints: 16 },
}

/** Values by row of the spine, in the order of features. */
export type Answers = ReadonlyMap<number, readonly unknown[]>

const columnOf = (field: string | null): number => SOURCE.fields.findIndex(each => each.name === field)
const typeOf = (field: string | null): FieldType | null => SOURCE.fields[columnOf(field)]?.type ?? null

/** The oracle's answer to a feature, computed by `aggregator` in place of its own. */
export function oracleValue(feature: WindowedFeature, aggregator: Aggregator, { log, t, self }: SpineRow): Value {
  const filter = feature.where === null ? -1 : FILTERS.indexOf(feature.where)
  const partial = { aggregator, column: columnOf(feature.input), by: columnOf(feature.by), filter, lifetime: false }
  const { window, include, whenEmpty } = feature
  const values = oracleRead(
    { ...SPEC, partials: [partial] },
    [{ partial: 0, window, include, whenEmpty }],
    log.accepted,
    t,
    self,
  )
  if (values === null) throw new Error(`out of range at ${t}`)
  return values[0]!
}

/** The feature's own aggregator. */
export function madeFor(feature: WindowedFeature): Aggregator {
  const { family, params } = feature.aggregator
  return makeAggregator(family, params, typeOf(feature.input), typeOf(feature.by))
}

/** The parameters a family is tried with, half-lives brought to the size of the logs. */
function paramsOf(family: string): readonly RawParams[] {
  const params = FAMILY_PARAMS[family] ?? [{}]
  return params.map(each =>
    'halfLifeMs' in each ? { ...each, halfLifeMs: Math.min(40, Number(each['halfLifeMs'])) } : each,
  )
}

/** Every window with every rule of inclusion, and every input, second input and parameter at least once. */
export function featuresOf(descriptor: AggregatorDescriptor): readonly WindowedFeature[] {
  const names = [null, ...SOURCE.fields.map(field => field.name)]
  const choices = paramsOf(descriptor.family).flatMap(params =>
    names
      .filter(name => descriptor.accepts(typeOf(name)))
      .flatMap(input => names.filter(name => descriptor.acceptsBy(typeOf(name))).map(by => ({ params, input, by }))),
  )
  const { halfLifeMs } = choices[0]!.params
  const windows: readonly Window[] =
    typeof halfLifeMs === 'number' ? [0, 20].map(delayMs => ({ kind: 'decay', halfLifeMs, delayMs })) : WINDOWS
  const { params, input, by } = choices[0]!
  const probe = descriptor.make(typeOf(input), params, typeOf(by))
  const frames = (needsLength(probe) ? windows.filter(window => declaredLength(window) !== null) : windows).flatMap(
    window => INCLUDES.map(include => ({ window, include })),
  )
  const count = Math.max(frames.length, choices.length)
  return Array.from({ length: count }, (_, index) => {
    const { params, input, by } = choices[index % choices.length]!
    const where = [null, FILTERS[0]!, null, FILTERS[1]!, null][index % 5]!
    const aggregator = { family: descriptor.family, params }
    return { name: `f${index}`, aggregator, input, by, where, ...frames[index % frames.length]!, whenEmpty: null }
  })
}

/** Where a difference was found, with all that reproduces it. */
export function shown(feature: WindowedFeature, { log, t, self }: SpineRow): string {
  const { aggregator, input, by, where, window, include } = feature
  const what = { ...aggregator, input, by, filter: where === null ? -1 : FILTERS.indexOf(where), window, include }
  return `seed ${log.seed}, t ${t}, self ${textOfValues(self)}, ${JSON.stringify(what)}`
}

function agree(feature: WindowedFeature, row: SpineRow, expected: Value, found: unknown, exact: boolean): boolean {
  if (Array.isArray(expected) && Array.isArray(found)) {
    const pairs = expected.map((item: Value, at) => agree(feature, row, item, found[at], exact))
    return expected.length === found.length && pairs.every(Boolean)
  }
  if (Object.is(expected, found)) return true
  if (exact || typeof expected !== 'number' || typeof found !== 'number') return false
  const rows = oracleValue({ ...feature, whenEmpty: null }, COLLECT, row) as unknown as readonly Input[]
  const { family, params } = feature.aggregator
  const t = row.t - feature.window.delayMs
  const by = { family, type: typeOf(feature.input), rows, t }
  return close(expected, found, { ...by, halfLifeMs: Number(params['halfLifeMs'] ?? 1) })
}

/**
 * Sums of whole numbers and decimals are exact numbers, and a mean is their quotient rounded once, but for int64, whose
 * sums may have more than 53 bits.
 */
function isExact({ aggregator, input }: WindowedFeature): boolean {
  const kind = typeOf(input)?.kind
  if (aggregator.family === 'sum' || aggregator.family === 'sumOfSquares') return kind !== 'double'
  if (aggregator.family === 'mean') return kind !== 'double' && kind !== 'int64'
  return AGGREGATORS.find(each => each.family === aggregator.family)?.exactness !== 'float'
}

/** The first few differences between the oracle and a query's answers, as text. */
export function differences(
  features: readonly WindowedFeature[],
  spine: readonly SpineRow[],
  answers: Answers,
): string[] {
  if (answers.size !== spine.length) return [`${answers.size} rows for ${spine.length} of the spine`]
  const found: string[] = []
  for (const [at, feature] of features.entries()) {
    const aggregator = madeFor(feature)
    for (const row of spine) {
      const expected = oracleValue(feature, aggregator, row)
      const value = readAs(expected, answers.get(row.row)![at])
      if (agree(feature, row, expected, value, isExact(feature))) continue
      found.push(`${textOfValues(expected)} but ${textOfValues(value)}: ${shown(feature, row)}`)
      if (found.length === 5) return found
    }
  }
  return found
}
