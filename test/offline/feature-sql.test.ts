import { afterAll, describe, expect, it } from 'vitest'
import { AGGREGATORS } from '../../features/kernel/aggregators/index.ts'
import type { Include, Input, Value, Window } from '../../features/kernel/types.ts'
import { kernelRowsSql } from '../../features/plan/feature-kernel.ts'
import { windowsSql } from '../../features/plan/feature-rows.ts'
import { featurePath, featureSql } from '../../features/plan/feature-sql.ts'
import type { WindowedFeature } from '../../features/plan/feature-sql.ts'
import { seedsOf, timeoutMsOf } from '../kernel/logs.ts'
import { differences, featuresOf, INCLUDES, oracleValue, shown, SPEC, WINDOWS } from './feature-cases.ts'
import type { Answers } from './feature-cases.ts'
import { COLLECT, readAs } from './feature-compare.ts'
import { startFeatureEngine } from './feature-engine.ts'
import { featureLog, FILTERS, SOURCE } from './feature-logs.ts'

const logs = seedsOf(100).map(seed => featureLog(seed, SPEC))
const engine = startFeatureEngine(logs)

afterAll(() => engine.end())

describe('the rows of windows in SQL', () => {
  it(
    'are those of the definition, in its order, at every edge',
    () => {
      const spine = engine.randomSpine('spine_rows', WINDOWS)
      const inputs = [
        { input: null, by: null, where: null },
        { input: 'id', by: 'd', where: FILTERS[1]! },
        { input: 'v', by: 'time', where: FILTERS[0]! },
        { input: 'd', by: 't', where: null },
      ]
      const features: WindowedFeature[] = WINDOWS.flatMap(window =>
        INCLUDES.flatMap((include, turn) =>
          inputs.map((input, at) => ({
            ...input,
            name: `${window.kind} ${turn} ${at}`,
            aggregator: { family: 'count', params: {} },
            window,
            include,
            whenEmpty: null,
          })),
        ),
      )
      const { sql, windows } = windowsSql(SOURCE, features, { events: 'events', spine: 'spine_rows' })
      const answers = engine.rows<readonly unknown[]>(
        `SELECT _row, ${windows.map((each, at) => `arrayZip(${each.times}, ${each.ids}) AS r${at}`).join(', ')} FROM (${sql})`,
        'JSONCompactEachRow',
      )
      const byRow = new Map(answers.map(answer => [Number(answer[0]), answer]))
      const wrong: string[] = []
      for (const [at, feature] of features.entries()) {
        for (const row of spine) {
          const rows = oracleValue(feature, COLLECT, row) as unknown as readonly Input[]
          const present = rows.filter(each => feature.input === null || each.cell !== null)
          const expected = JSON.stringify(present.map(each => [String(each.time), each.id]))
          const found = JSON.stringify(byRow.get(row.row)![at + 1])
          if (expected !== found) wrong.push(`${expected} but ${found}: ${shown(feature, row)}`)
        }
      }
      expect(wrong.slice(0, 5)).toEqual([])
    },
    timeoutMsOf(100),
  )
})

describe('features in SQL equal the oracle', () => {
  for (const descriptor of AGGREGATORS) {
    if (descriptor.exactness === 'kernel') continue
    it(
      `${descriptor.family}, over every window with every rule of inclusion`,
      () => {
        const features = featuresOf(descriptor)
        const table = `spine_${descriptor.family}`
        const spine = engine.randomSpine(
          table,
          features.map(feature => feature.window),
        )
        expect(features.map(featurePath)).not.toContain('kernel')
        expect(differences(features, spine, engine.sqlAnswers(features, table))).toEqual([])
      },
      timeoutMsOf(100),
    )
  }
})

describe('features that the kernel computes over streamed rows equal the oracle', () => {
  for (const descriptor of AGGREGATORS) {
    // Those with SQL are computed so too, a few of them: the path is open to all.
    if (descriptor.exactness !== 'kernel' && !['count', 'lastN', 'gapMean', 'argMax'].includes(descriptor.family))
      continue
    it(
      `${descriptor.family}, over every window with every rule of inclusion`,
      () => {
        const features = featuresOf(descriptor)
        const table = `kernel_${descriptor.family}`
        const spine = engine.randomSpine(
          table,
          features.map(feature => feature.window),
        )
        expect(differences(features, spine, engine.kernelAnswers(features, table))).toEqual([])
      },
      timeoutMsOf(100),
    )
  }
})

describe('the comparison itself', () => {
  const feature = (window: Window, include: Include = 'current'): WindowedFeature => ({
    name: 'f',
    aggregator: { family: 'count', params: {} },
    input: null,
    by: null,
    where: null,
    window,
    include,
    whenEmpty: null,
  })
  /** Every window with one of its lengths off by the least. */
  const askew: readonly (readonly [Window, Window])[] = WINDOWS.flatMap(window =>
    Object.entries(window)
      .filter(([key, value]) => key !== 'kind' && typeof value === 'number' && !(key === 'edgeMs' && value === 0))
      .map(([key, value]): readonly [Window, Window] => [window, { ...window, [key]: Number(value) + 1 }]),
  )

  it('finds a window whose edge is off by one millisecond, and one rule of inclusion for another', () => {
    const spine = engine.randomSpine('spine_askew', WINDOWS)
    const pairs = [
      ...askew.map(([right, wrong]) => [feature(right), feature(wrong)] as const),
      ...INCLUDES.map(
        (include, at) => [feature(WINDOWS[0]!, include), feature(WINDOWS[0]!, INCLUDES[(at + 1) % 3])] as const,
      ),
    ]
    const wrong = pairs.map(([, each], at) => ({ ...each, name: `f${at}` }))
    const answers = engine.sqlAnswers(wrong, 'spine_askew')
    const answersAt = (at: number): Answers => new Map([...answers].map(([row, values]) => [row, [values[at]]]))
    const unnoticed = pairs.filter(([right], at) => differences([right], spine, answersAt(at)).length === 0)
    expect(unnoticed.map(([right, each]) => [right.window, each.window, each.include])).toEqual([])
  })
})

describe('what is put in place of a missing value', () => {
  it('has the type of the value, and takes the place of null only', () => {
    const common = { by: null, where: null, include: 'excludeInstant' as const }
    const window: Window = { kind: 'sliding', lengthMs: 1, delayMs: 0, edgeMs: 0 }
    const one = (family: string, input: string | null, whenEmpty: Value): WindowedFeature => {
      return { ...common, name: `${family} of ${input}`, aggregator: { family, params: {} }, input, window, whenEmpty }
    }
    const features = [
      one('count', null, 7),
      one('mean', 'amount', -0.1),
      one('min', 'x', 9_007_199_254_740_991),
      one('last', 'id', "it's \\ `none`"),
      one('last', 't', true),
      one('last', 'v', [0.5, -1e21]),
      one('max', 'row', null),
    ]
    engine.spine('spine_empty', [{ row: 5, log: logs[0]!, t: -1e9, self: null }])
    const sql = featureSql(SOURCE, features, { events: 'events', spine: 'spine_empty' })
    const [answer] = engine.rows<Record<string, unknown>>(sql, 'JSONEachRow')
    const expected = [0, -0.1, 9_007_199_254_740_991, "it's \\ `none`", true, [0.5, -1e21], null]
    expect(features.map((feature, at) => readAs(expected[at], answer![feature.name]))).toEqual(expected)
  })
})

describe('features that no query can give', () => {
  const feature: WindowedFeature = {
    name: 'f',
    aggregator: { family: 'topK', params: { k: 3 } },
    input: 'id',
    by: null,
    where: null,
    window: { kind: 'lifetime', delayMs: 0 },
    include: 'current',
    whenEmpty: null,
  }
  const relations = { events: 'events', spine: 'spine' }
  const refusal =
    (...features: readonly WindowedFeature[]): (() => string) =>
    () =>
      featureSql(SOURCE, features, relations)

  it('are refused by name', () => {
    expect(featurePath(feature)).toBe('kernel')
    expect(refusal(feature)).toThrow('feature "f": topK has no SQL, the kernel computes it')
    expect(refusal()).toThrow('at least one feature')
    expect(() => kernelRowsSql(SOURCE, [], relations)).toThrow(RangeError)
    expect(refusal({ ...feature, input: 'absent' })).toThrow('event "event" has no field "absent"')
    expect(refusal({ ...feature, aggregator: { family: 'none', params: {} } })).toThrow('no aggregator is named none')
  })
})
