import { afterAll, describe, expect, it } from 'vitest'
import type { RawParams } from '../../features/kernel/aggregators/index.ts'
import type { Cell, Value } from '../../features/kernel/types.ts'
import type { WindowedFeature } from '../../features/plan/feature-sql.ts'
import { diceOf, seedsOf, timeoutMsOf } from '../kernel/logs.ts'
import type { Dice } from '../kernel/logs.ts'
import { differences, madeFor, oracleValue } from './feature-cases.ts'
import { readAs } from './feature-compare.ts'
import { startFeatureEngine } from './feature-engine.ts'
import { SOURCE } from './feature-logs.ts'
import type { FeatureLog, SpineRow } from './feature-logs.ts'

const MAX = Number.MAX_VALUE
const MIN = Number.MIN_VALUE

/** Lists of doubles whose sums, differences or squares leave the range of doubles, and what is not finite among them. */
const BY_HAND: readonly (readonly number[])[] = [
  [],
  [1.7e308, 1.7e308, -1.7e308],
  [1.7e308, 1.7e308],
  [-1.7e308, -1.7e308, -1.7e308],
  [MAX, MAX, -MAX, 1, -MAX],
  [1e200, -1e200],
  [1e200, -1e200, 0],
  [1.5e308, -1.5e308, 1e308],
  [1.5e308, -1.5e308, 1e308, 1e-300, 7],
  [1e160, 1e150, 1e-320],
  [1e-162, 3e-162],
  [1e-200, 5e-200, -7e-201, 2e-200],
  [MIN, 3 * MIN, 9 * MIN, 0],
  [2 ** -1022, 2 ** -1021, MIN],
  [1.7e308, 1.7e308, -Infinity],
  [1.7e308, 1.7e308, Infinity, -1.7e308],
  [1.7e308, 1.7e308, NaN],
  [Infinity, 1.7e308, 1.7e308, -Infinity],
]

/** Up to eight doubles of one size, some of them far from it. */
function doublesOf(dice: Dice): readonly number[] {
  const exponent = dice.pick([-1074, -1022, -600, -540, -300, 300, 500, 511, 512, 900, 1022, 1023])
  return Array.from({ length: dice.integer(0, 8) }, () => {
    const size = dice.chance(0.2) ? exponent - dice.integer(0, 60) : exponent
    const value = (dice.integer(-(2 ** 20), 2 ** 20) / 2 ** 20) * 2 * 2 ** Math.max(-1074, size)
    return dice.chance(0.03) ? dice.pick([NaN, Infinity, -Infinity, 0]) : value
  })
}

const columnOf = (name: string): number => SOURCE.fields.findIndex(field => field.name === name)

/** The values as the doubles of a log, one by one, and as elements of its vectors beside small ones. */
function logOf(seed: number, values: readonly number[]): FeatureLog {
  const accepted = values.map((value, time) => {
    const cells: Cell[] = SOURCE.fields.map(() => null)
    cells[columnOf('d')] = value
    cells[columnOf('v')] = [value, time / 3]
    return { partition: 0, point: { time, id: `e${time}`, cells, mask: 0 } }
  })
  return { seed, accepted }
}

const lists = [...BY_HAND, ...seedsOf(100).map(seed => doublesOf(diceOf(seed)))]
const logs = lists.map((values, at) => logOf(at, values))
const spine = logs.map((log, row): SpineRow => ({ row, log, t: 20, self: null }))
const engine = startFeatureEngine(logs)
engine.spine('spine_extremes', spine)

afterAll(() => engine.end())

function featureOf(family: string, params: RawParams = {}): WindowedFeature {
  const { halfLifeMs } = params
  return {
    name: `${family} ${JSON.stringify(params)}`,
    aggregator: { family, params },
    input: family.startsWith('vector') ? 'v' : 'd',
    by: null,
    where: null,
    window:
      typeof halfLifeMs === 'number' ? { kind: 'decay', halfLifeMs, delayMs: 0 } : { kind: 'lifetime', delayMs: 0 },
    include: 'current',
    whenEmpty: null,
  }
}

const SHAPES = ['variance', 'std', 'skew', 'kurtosis']

describe('doubles at the ends of their range, in SQL', () => {
  const families: readonly (readonly [string, RawParams])[] = [
    ...['sum', 'mean', 'sumOfSquares', 'median', 'vectorSum', 'vectorMean'].map(family => [family, {}] as const),
    ...['decayedSum', 'decayedMean'].map(family => [family, { halfLifeMs: 7 }] as const),
    ...SHAPES.flatMap(family => [false, true].map(sample => [family, { sample }] as const)),
    ['histogram', { edges: [-MAX, -1e-320, 1e-7, 0.1, 2 ** 53 + 2, 1e21, 1.5e308] }],
  ]
  it.each(families)(
    '%s %j equals the oracle',
    (family, params) => {
      const features = [featureOf(family, params)]
      expect(differences(features, spine, engine.sqlAnswers(features, 'spine_extremes'))).toEqual([])
    },
    timeoutMsOf(100),
  )

  it('are compared with bounds that tell them apart', () => {
    const wrong = [featureOf('sum'), featureOf('mean'), featureOf('std'), featureOf('variance')].filter(feature => {
      const off = spine.map(row => {
        const value = oracleOf(feature, row)
        return [row.row, [typeof value === 'number' ? value * (1 + 1e-9) : value]] as const
      })
      return differences([feature], spine, new Map(off)).length === 0
    })
    expect(wrong).toEqual([])
  })
})

function oracleOf(feature: WindowedFeature, row: SpineRow): Value {
  return oracleValue(feature, madeFor(feature), row)
}

describe('what overflows on the way only, in SQL', () => {
  it('is the number', () => {
    const features = ['sum', 'mean', 'median', 'variance', 'std', 'skew'].map(family => featureOf(family))
    const answers = engine.sqlAnswers([...features, featureOf('vectorMean')], 'spine_extremes')
    const found = (values: readonly number[], at: number): unknown =>
      readAs(0, answers.get(BY_HAND.findIndex(each => each.join() === values.join()))![at])
    expect(found([1.7e308, 1.7e308, -1.7e308], 0)).toBe(1.7e308)
    expect(found([1.7e308, 1.7e308], 0)).toBe(Infinity)
    expect(found([1.7e308, 1.7e308], 1)).toBe(1.7e308)
    expect(found([1.7e308, 1.7e308], 2)).toBe(1.7e308)
    expect(found([1e200, -1e200], 3)).toBe(Infinity)
    expect(found([1e200, -1e200], 4)).toBe(1e200)
    expect(found([1e-162, 3e-162], 4)).toBe((3e-162 - 1e-162) / 2)
    expect(found([1.5e308, -1.5e308, 1e308], 5)).toBeCloseTo(-0.63, 2)
    expect(readAs([0, 0], answers.get(2)![6])).toEqual([1.7e308, 1 / 6])
    expect(found([1.7e308, 1.7e308, -Infinity], 0)).toBe(-Infinity)
  })
})
