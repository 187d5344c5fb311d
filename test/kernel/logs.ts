import { AGGREGATORS } from '../../features/kernel/aggregators/index.ts'
import { windowed } from '../../features/kernel/aggregators/windowed.ts'
import type { LogRecord } from '../../features/kernel/oracle.ts'
import { reachOf } from '../../features/kernel/windows.ts'
import type {
  Aggregator,
  Cell,
  FeatureRead,
  FieldType,
  Include,
  PartialSpec,
  Point,
  SectionLayout,
  UnitSpec,
  Value,
  Window,
} from '../../features/kernel/types.ts'
import { FAMILY_PARAMS } from './family-params.ts'

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

/** What the parts of a case agree on. */
interface Scene {
  readonly dice: Dice
  readonly columns: readonly FieldType[]
  readonly filterCount: number
  /** 0, or the width on whose multiples all lower edges fall. */
  readonly edgeMs: number
  readonly lengthsMs: readonly number[]
  readonly scale: number
}

/** A window without its delay. */
type Shape = Window extends infer W ? (W extends Window ? Omit<W, 'delayMs'> : never) : never

/** A partial and what its reads may look at: one window that it was made for, or null for any range or lifetime. */
interface Made {
  readonly partial: PartialSpec
  readonly shape: Shape | null
}

/** Concat aggregators need the points of their whole window: not where those are kept as tiles, nor for a lifetime. */
function partialOf(scene: Scene): Made {
  const { dice, columns, filterCount } = scene
  const descriptor = dice.pick(AGGREGATORS)
  const at = [-1, ...columns.keys()]
  const typeAt = (index: number): FieldType | null => (index < 0 ? null : columns[index]!)
  const inputs = at.filter(index => descriptor.accepts(typeAt(index)))
  const bys = at.filter(index => descriptor.acceptsBy(typeAt(index)))
  if (inputs.length === 0 || bys.length === 0) return partialOf(scene)
  const column = dice.pick(inputs)
  const by = dice.pick(bys)
  const filter = filterCount > 0 && dice.chance(0.5) ? dice.integer(0, filterCount - 1) : -1
  const params = dice.pick(FAMILY_PARAMS[descriptor.family] ?? [{}])
  const inner = descriptor.make(typeAt(column), params, typeAt(by))
  const { halfLifeMs } = params
  const { family } = descriptor
  const shape =
    typeof halfLifeMs === 'number'
      ? ({ kind: 'decay', halfLifeMs } satisfies Shape)
      : family === 'rate'
        ? null
        : ownShapeOf(scene)
  const aggregator = shape === null ? inner : windowed(inner, { ...shape, delayMs: 0 }, typeAt(column), typeAt(by))
  const merges = aggregator.kind === 'merge'
  const needsLifetime = shape?.kind === 'decay' || (shape?.kind === 'lastEvents' && shape.withinMs === null)
  if (!merges && (needsLifetime || scene.edgeMs > 0)) return partialOf(scene)
  const lifetime = needsLifetime || (shape === null && merges && family !== 'rate' && dice.chance(0.4))
  return { partial: { aggregator, column, by, filter, lifetime }, shape }
}

/** Whether the aggregator answers only over windows with a declared length: sliding and tumbling ones. */
export function needsLength(aggregator: Aggregator): boolean {
  try {
    aggregator.result(aggregator.empty(), { t: 0, lengthMs: null })
    return false
  } catch (error) {
    if (error instanceof RangeError) return true
    throw error
  }
}

/** A window that an aggregator is wrapped for; null for none. */
function ownShapeOf({ dice, edgeMs, lengthsMs, scale }: Scene): Shape | null {
  const exact = edgeMs === 0
  if (exact && dice.chance(0.2)) {
    const maxLengthMs = dice.pick(lengthsMs)
    return { kind: 'session', gapMs: Math.min(maxLengthMs, dice.pick([1, 3, 10, 40]) * scale), maxLengthMs }
  }
  if (dice.chance(0.2)) {
    const withinMs = exact && dice.chance(0.5) ? dice.pick(lengthsMs) : null
    return { kind: 'lastEvents', count: dice.pick([1, 2, 5, 40]), withinMs }
  }
  return null
}

/** A window that any partial can be read over. */
function rangeOf({ dice, edgeMs, lengthsMs }: Scene, lifetime: boolean): Shape {
  if (lifetime && dice.chance(0.6)) return { kind: 'lifetime' }
  const lengthMs = dice.pick(lengthsMs)
  if (dice.chance(0.4)) {
    const aligned = edgeMs === 0 ? lengthMs : Math.ceil(lengthMs / edgeMs) * edgeMs
    return { kind: 'tumbling', lengthMs: aligned, lookback: dice.pick([0, 0, 1, 2, 3]) }
  }
  return {
    kind: 'sliding',
    lengthMs,
    edgeMs: edgeMs === 0 ? dice.pick([0, 0, 0, 4, 10]) : edgeMs * dice.pick([1, 1, 2]),
  }
}

/** A random unit with reads over all its partials. */
export interface Case {
  readonly spec: UnitSpec
  readonly reads: readonly FeatureRead[]
  readonly log: readonly LogRecord[]
}

const TINY_LAYOUTS: readonly SectionLayout[] = [
  { levelsMs: [4, 16, 64], leafPoints: 6, blockPoints: 2 },
  { levelsMs: [4, 16, 64], leafPoints: 3, blockPoints: 1 },
  { levelsMs: [1, 2, 4, 8, 16, 32, 64, 128, 256, 512], leafPoints: 2, blockPoints: 2 },
  { levelsMs: [16, 160], leafPoints: 20, blockPoints: 9 },
  { levelsMs: [7], leafPoints: 4, blockPoints: 3 },
]
const WIDE_LAYOUT: SectionLayout = {
  levelsMs: [1_000, 10_000, 60_000, 600_000, 3_600_000, 86_400_000],
  leafPoints: 128,
  blockPoints: 16,
}

/**
 * A unit, its reads and a log, all from one seed. `busy`: many events close together and a layout of narrow spans with
 * few points, so that they are split deeply. One log in eight is long and its windows short, so that most of it leaves
 * the retention; one unit in three has an edge.
 */
export function caseOf(seed: number, busy: boolean): Case {
  const dice = diceOf(seed)
  const long = dice.chance(0.125)
  const layout = busy || dice.chance(0.5) ? dice.pick(TINY_LAYOUTS) : WIDE_LAYOUT
  const scale = layout === WIDE_LAYOUT ? dice.pick([1, 50]) : 1
  const scene: Scene = {
    dice,
    columns: COLUMNS.filter(() => dice.chance(0.7)),
    filterCount: dice.pick([0, 1, 3, 8, 9, 17, 31]),
    edgeMs: dice.chance(0.33) ? dice.pick([...layout.levelsMs.slice(0, 2), 3 * layout.levelsMs[0]!]) : 0,
    lengthsMs: (long ? LENGTHS_MS.slice(0, 4) : LENGTHS_MS).map(ms => ms * scale),
    scale,
  }
  const made = Array.from({ length: dice.integer(2, 8) }, () => partialOf(scene))
  const reads: FeatureRead[] = made.flatMap(({ partial, shape }, index) =>
    Array.from({ length: dice.integer(1, 3) }, () => ({
      partial: index,
      window: { ...(shape ?? rangeOf(scene, partial.lifetime)), delayMs: dice.pick([0, 0, 0, 1, 20, 100]) * scale },
      include: dice.pick<Include>(['current', 'excludeSelf', 'excludeInstant']),
      whenEmpty: dice.pick<Value>([null, null, 0, 'none']),
    })),
  )
  const latenessMs = dice.pick([0, 1, 5, 40, 150]) * scale
  const horizonMs = Math.max(latenessMs, dice.pick([0, 30, 200]) * scale)
  const retentionMs = Math.max(...reads.map(read => reachOf(read.window))) + horizonMs
  const delayMs = Math.max(...reads.map(read => read.window.delayMs))
  const spec: UnitSpec = {
    columns: scene.columns,
    filterCount: scene.filterCount,
    partials: made.map(each => each.partial),
    latenessMs,
    horizonMs,
    retentionMs,
    edgeMs: scene.edgeMs,
    rawMs: scene.edgeMs > 0 ? horizonMs + delayMs : retentionMs,
    layout,
  }
  return { spec, reads, log: logOf(scene, spec, busy, long) }
}

function logOf({ dice, scale }: Scene, spec: UnitSpec, dense: boolean, long: boolean): LogRecord[] {
  const partitions = dice.integer(1, 3)
  const clocks = Array.from({ length: partitions }, () => dice.integer(-200, 200))
  const log: LogRecord[] = []
  const count = long ? dice.integer(500, 900) : dense ? dice.integer(80, 220) : dice.integer(0, 120)
  const stride = (dense ? dice.pick([1, 2, 4]) : dice.pick([1, 8, 40])) * scale
  for (let made = 0; made < count; made++) {
    const partition = dice.integer(0, partitions - 1)
    if (log.length > 0 && dice.chance(0.12)) {
      log.push(again(dice, spec, dice.pick(log), partition))
      continue
    }
    if (dice.chance(0.01)) clocks[partition]! += dice.integer(100, 1500) * scale
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
