import { layoutFor, makeAggregator } from '../features/kernel/index.ts'
import type { FeatureRead, FieldType, PartialSpec, Point, UnitSpec } from '../features/kernel/types.ts'

export const HOUR = 3_600_000
export const DAY = 24 * HOUR
/** The windows of every feature. */
export const WINDOWS_MS: readonly number[] = [HOUR, DAY, 30 * DAY]
const START_MS = Date.UTC(2026, 0, 1)

const COLUMNS: readonly FieldType[] = [
  { kind: 'decimal', scale: 2 },
  { kind: 'string' },
  { kind: 'string' },
  { kind: 'boolean' },
]
const AMOUNT = 0
const MERCHANT = 1
const COUNTRY = 2
const DECLINED = 3
const DECLINED_FILTER = 0

type Wanted = readonly [family: string, column: number, filter: number, params: Record<string, number>]

/** Twelve features of a card: how often, how much, how spread, where, with whom. */
const TWELVE: readonly Wanted[] = [
  ['count', -1, -1, {}],
  ['count', -1, DECLINED_FILTER, {}],
  ['sum', AMOUNT, -1, {}],
  ['mean', AMOUNT, -1, {}],
  ['min', AMOUNT, -1, {}],
  ['max', AMOUNT, -1, {}],
  ['std', AMOUNT, -1, {}],
  ['sum', AMOUNT, DECLINED_FILTER, {}],
  ['last', COUNTRY, -1, {}],
  ['distinct', COUNTRY, -1, {}],
  ['timeSinceLast', -1, -1, {}],
  ['rate', -1, -1, {}],
]
/** Eight more of the same kinds, which make sixty over three windows. */
const EIGHT_MORE: readonly Wanted[] = [
  ['count', DECLINED, -1, {}],
  ['mean', AMOUNT, DECLINED_FILTER, {}],
  ['max', AMOUNT, DECLINED_FILTER, {}],
  ['sumOfSquares', AMOUNT, -1, {}],
  ['first', COUNTRY, -1, {}],
  ['last', MERCHANT, -1, {}],
  ['timeSinceLast', -1, DECLINED_FILTER, {}],
  ['gapMean', -1, -1, {}],
]

/** A unit and its reads: 12 features, or 20, over three windows. */
export function benchUnit(features: 12 | 20): { readonly spec: UnitSpec; readonly reads: readonly FeatureRead[] } {
  const wanted = features === 12 ? TWELVE : [...TWELVE, ...EIGHT_MORE]
  const partials = wanted.map(([family, column, filter, params]): PartialSpec => {
    const aggregator = makeAggregator(family, params, COLUMNS[column] ?? null)
    return { aggregator, column, by: -1, filter, lifetime: false }
  })
  const horizonMs = 5 * 60_000
  const retentionMs = 30 * DAY + horizonMs
  const spec: UnitSpec = {
    columns: COLUMNS,
    filterCount: 1,
    partials,
    latenessMs: 60_000,
    horizonMs,
    retentionMs,
    edgeMs: 0,
    rawMs: retentionMs,
    layout: layoutFor(retentionMs),
  }
  const reads = partials.flatMap((_, partial) =>
    WINDOWS_MS.map((lengthMs): FeatureRead => {
      const window = { kind: 'sliding', lengthMs, delayMs: 0, edgeMs: 0 } as const
      return { partial, window, include: 'current', whenEmpty: null }
    }),
  )
  return { spec, reads }
}

/** A whole number from 0 to below `bound` that looks random but follows from `seed`. */
export function scattered(seed: number, bound: number): number {
  let mixed = Math.imul(seed ^ 0x9e3779b9, 0x85ebca6b)
  mixed = Math.imul(mixed ^ (mixed >>> 13), 0xc2b2ae35)
  return ((mixed ^ (mixed >>> 16)) >>> 0) % bound
}

const MERCHANTS = Array.from({ length: 200 }, (_, index) => `merchant-${index}`)
const COUNTRIES = Array.from({ length: 30 }, (_, index) => `C${index}`)

/** The event with this number, `timeMs` after the start. */
export function benchPoint(number: number, timeMs: number): Point {
  const declined = scattered(number, 20) === 0
  return {
    time: START_MS + timeMs,
    id: `payment-${number}`,
    cells: [
      100 + scattered(number + 1, 30_000),
      MERCHANTS[scattered(number + 2, MERCHANTS.length)]!,
      COUNTRIES[scattered(number + 3, COUNTRIES.length)]!,
      declined,
    ],
    mask: declined ? 1 : 0,
  }
}

/** One entity's events as plain columns, in order of time, kept for the longest window. */
export interface PlainEntity {
  readonly times: number[]
  readonly rows: Point[]
  from: number
}

/** The least that any exact sliding window must do: keep an entity's events in order and forget the expired ones. */
export function plainApply(entity: PlainEntity, point: Point): void {
  const { times, rows } = entity
  let at = times.length
  while (at > entity.from && times[at - 1]! > point.time) at--
  if (at === times.length) {
    times.push(point.time)
    rows.push(point)
  } else {
    times.splice(at, 0, point.time)
    rows.splice(at, 0, point)
  }
  const oldest = times[times.length - 1]! - 30 * DAY
  while (times[entity.from]! <= oldest) entity.from++
  if (entity.from >= 64 && entity.from * 2 >= times.length) {
    times.splice(0, entity.from)
    rows.splice(0, entity.from)
    entity.from = 0
  }
}

/** The sixty values by a hand-written loop over the points of each window; floats where the kernel is exact. */
export function plainRead(entity: PlainEntity, t: number): unknown[] {
  const values: unknown[] = []
  for (const lengthMs of WINDOWS_MS) {
    let [count, declined, sum, squares, least, most, declinedSum, declinedMost] = [
      0,
      0,
      0,
      0,
      Infinity,
      -Infinity,
      0,
      0,
    ]
    let [first, last, lastMerchant, lastDeclined] = ['', '', '', -Infinity]
    const countries = new Set<string>()
    let [start, end] = [0, 0]
    for (let at = entity.from; at < entity.rows.length; at++) {
      const { time, cells, mask } = entity.rows[at]!
      if (time <= t - lengthMs || time > t) continue
      const amount = cells[AMOUNT] as number
      if (count === 0) {
        start = time
        first = cells[COUNTRY] as string
      }
      end = time
      count++
      sum += amount
      squares += amount * amount
      least = Math.min(least, amount)
      most = Math.max(most, amount)
      last = cells[COUNTRY] as string
      lastMerchant = cells[MERCHANT] as string
      countries.add(last)
      if (mask === 0) continue
      declined++
      declinedSum += amount
      declinedMost = Math.max(declinedMost, amount)
      lastDeclined = time
    }
    const mean = sum / count
    const std = Math.sqrt(squares / count - mean * mean)
    values.push(count, declined, sum, mean, least, most, std, declinedSum, last, countries.size, t - end)
    values.push(count / (lengthMs / 1000), count, declinedSum / declined, declinedMost, squares, first, lastMerchant)
    values.push(t - lastDeclined, (end - start) / (count - 1))
  }
  return values
}
