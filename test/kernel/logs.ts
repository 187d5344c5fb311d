import { AGGREGATORS, makeAggregator } from '../../features/kernel/index.ts'
import type { LogRecord } from '../../features/kernel/index.ts'
import type {
  Cell,
  FeatureRead,
  FieldType,
  Include,
  PartialSpec,
  Point,
  UnitSpec,
  Value,
  Window,
} from '../../features/kernel/types.ts'

/** Numbers in [0, 1) from a seed (mulberry32), and what tests draw with them. */
export interface Dice {
  integer(from: number, to: number): number
  pick<T>(choices: readonly T[]): T
  chance(probability: number): boolean
}

export function diceOf(seed: number): Dice {
  let state = seed >>> 0
  const next = (): number => {
    state = (state + 0x6d2b79f5) >>> 0
    let mixed = Math.imul(state ^ (state >>> 15), state | 1)
    mixed ^= mixed + Math.imul(mixed ^ (mixed >>> 7), mixed | 61)
    return ((mixed ^ (mixed >>> 14)) >>> 0) / 2 ** 32
  }
  const integer = (from: number, to: number): number => from + Math.floor(next() * (to - from + 1))
  return { integer, pick: choices => choices[integer(0, choices.length - 1)]!, chance: p => next() < p }
}

const COLUMNS: readonly FieldType[] = [
  { kind: 'int' },
  { kind: 'int64' },
  { kind: 'double' },
  { kind: 'decimal', scale: 2 },
  { kind: 'string' },
  { kind: 'boolean' },
  { kind: 'timestamp' },
  { kind: 'vector', length: 2 },
]

const TEXTS = ['', 'a', 'b', 'é', '\uFFFD', '\u{1F600}', 'NZ', 'x'.repeat(70), 'ß'.repeat(40)]
const DOUBLES = [0.1, 0.2, -0.3, 1e16, -1e16, 1e-300, 1e308, -1e308, NaN, Infinity, -Infinity]
const LENGTHS_MS = [1, 2, 10, 50, 100, 200, 500]

function cellOf(dice: Dice, type: FieldType): Cell {
  if (dice.chance(0.12)) return null
  switch (type.kind) {
    case 'string':
      return dice.pick(TEXTS)
    case 'boolean':
      return dice.chance(0.5)
    case 'int64':
      return dice.chance(0.2) ? dice.pick([2n ** 63n - 1n, -(2n ** 63n), 2n ** 53n + 1n]) : BigInt(dice.integer(-3, 3))
    case 'double':
      return dice.chance(0.1) ? dice.pick(DOUBLES) : dice.integer(-500, 500) / 7
    case 'vector':
      return [dice.integer(-5, 5) / 2, dice.integer(0, 9)]
    case 'int':
    case 'decimal':
    case 'timestamp':
      return dice.chance(0.05) ? dice.pick([Number.MAX_SAFE_INTEGER, -Number.MAX_SAFE_INTEGER]) : dice.integer(-9, 9)
  }
}

function partialOf(dice: Dice, columns: readonly FieldType[], filterCount: number): PartialSpec {
  const descriptor = dice.pick(AGGREGATORS)
  const inputs = [-1, ...columns.keys()].filter(at => descriptor.accepts(at < 0 ? null : columns[at]!))
  const filter = filterCount > 0 && dice.chance(0.5) ? dice.integer(0, filterCount - 1) : -1
  const column = inputs.length === 0 ? null : dice.pick(inputs)
  if (column === null) return partialOf(dice, columns, filterCount)
  const params = { ...(descriptor.family === 'lastN' && { n: dice.pick([1, 3, 20]) }) }
  const bounded = descriptor.family === 'distinct' && dice.chance(0.5) ? { bound: dice.integer(1, 4) } : {}
  const type = column < 0 ? null : columns[column]!
  const aggregator = makeAggregator(descriptor.family, { ...params, ...bounded }, type)
  return { aggregator, column, filter, lifetime: dice.chance(0.4) }
}

function windowOf(dice: Dice, lifetime: boolean, lengthsMs: readonly number[]): Window {
  const delayMs = dice.pick([0, 0, 0, 1, 20, 100])
  if (lifetime && dice.chance(0.6)) return { kind: 'lifetime', delayMs }
  return { kind: 'sliding', lengthMs: dice.pick(lengthsMs), delayMs }
}

/** A random unit with reads over all its partials. */
export interface Case {
  readonly spec: UnitSpec
  readonly reads: readonly FeatureRead[]
  readonly log: readonly LogRecord[]
}

/**
 * A unit, its reads and a log, all from one seed; `tiles` forces narrow tiles and dense events, or neither. One log in
 * eight is long and its windows short, so that most of it leaves the retention.
 */
export function caseOf(seed: number, tiles: boolean): Case {
  const dice = diceOf(seed)
  const long = dice.chance(0.125)
  const columns = COLUMNS.filter(() => dice.chance(0.7))
  const filterCount = dice.pick([0, 1, 3, 8, 9, 17, 31])
  const partials = Array.from({ length: dice.integer(2, 8) }, () => partialOf(dice, columns, filterCount))
  const reads: FeatureRead[] = partials.flatMap((partial, index) =>
    Array.from({ length: dice.integer(1, 3) }, () => ({
      partial: index,
      window: windowOf(dice, partial.lifetime, long ? LENGTHS_MS.slice(0, 4) : LENGTHS_MS),
      include: dice.pick<Include>(['current', 'excludeSelf', 'excludeInstant']),
      whenEmpty: dice.pick<Value>([null, null, 0, 'none']),
    })),
  )
  const latenessMs = dice.pick([0, 1, 5, 40, 150])
  const horizonMs = Math.max(latenessMs, dice.pick([0, 30, 200]))
  const reach = Math.max(...reads.map(read => reachOf(read.window)))
  const tileMs = tiles ? dice.pick([7, 16, 32, 64, 100]) : 0
  const spec = { columns, filterCount, partials, latenessMs, horizonMs, retentionMs: reach + horizonMs, tileMs }
  return { spec, reads, log: logOf(dice, spec, tiles, long) }
}

function reachOf(window: Window): number {
  return window.delayMs + (window.kind === 'sliding' ? window.lengthMs : 0)
}

function logOf(dice: Dice, spec: UnitSpec, dense: boolean, long: boolean): LogRecord[] {
  const partitions = dice.integer(1, 3)
  const clocks = Array.from({ length: partitions }, () => dice.integer(-200, 200))
  const log: LogRecord[] = []
  const count = long ? dice.integer(500, 900) : dense ? dice.integer(80, 220) : dice.integer(0, 120)
  const stride = dense ? dice.pick([1, 2, 4]) : dice.pick([1, 8, 40])
  for (let made = 0; made < count; made++) {
    const partition = dice.integer(0, partitions - 1)
    if (log.length > 0 && dice.chance(0.12)) {
      log.push(again(dice, spec, dice.pick(log), partition))
      continue
    }
    if (dice.chance(0.01)) clocks[partition]! += dice.integer(100, 1500)
    clocks[partition]! += dice.integer(0, stride)
    const back = dice.chance(0.4) ? dice.integer(0, Math.ceil(spec.latenessMs * 1.3) + 2) : 0
    const id = dice.pick(['p', 'é', '\u{1F600}', '']) + dice.integer(0, 30)
    log.push({ partition, point: pointOf(dice, spec, clocks[partition]! - back, id) })
  }
  return log
}

/** A redelivery, a conflicting payload, or the same event in another partition. */
function again(dice: Dice, spec: UnitSpec, record: LogRecord, partition: number): LogRecord {
  const { time, id, cells, mask } = record.point
  if (dice.chance(0.3)) return { partition: record.partition, point: pointOf(dice, spec, time, id) }
  return { partition: dice.chance(0.7) ? record.partition : partition, point: { time, id, cells: [...cells], mask } }
}

export function pointOf(dice: Dice, spec: UnitSpec, time: number, id: string): Point {
  const cells = spec.columns.map(type => cellOf(dice, type))
  const mask = spec.filterCount === 0 ? 0 : dice.integer(0, 2 ** spec.filterCount - 1)
  return { time, id, cells, mask }
}

/** The numbers of seeds to run: HEADWATER_WINDOW_LOGS of them from HEADWATER_WINDOW_SEED on. */
export function seedsOf(byDefault: number): readonly number[] {
  const count = Number(process.env['HEADWATER_WINDOW_LOGS'] ?? byDefault)
  const start = Number(process.env['HEADWATER_WINDOW_SEED'] ?? 1)
  return Array.from({ length: count }, (_, index) => start + index)
}

/** Time enough for so many logs on a slow machine. */
export function timeoutMsOf(logs: number): number {
  return 30_000 + 200 * seedsOf(logs).length
}

/** Text that tells all values apart, for comparing many of them fast. */
export function textOfValues(value: unknown): string {
  return JSON.stringify(value, (_, part: unknown) => {
    if (typeof part === 'bigint') return `${part}n`
    return typeof part === 'number' && !Number.isFinite(part) ? `#${part}` : part
  })
}

/** Bytes as lower-case hexadecimal digits. */
export function hex(bytes: Uint8Array): string {
  return Buffer.from(bytes).toString('hex')
}
