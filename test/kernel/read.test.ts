import { describe, expect, it } from 'vitest'
import { AGGREGATORS } from '../../features/kernel/aggregators/index.ts'
import { windowed } from '../../features/kernel/aggregators/windowed.ts'
import {
  DIRECTORY_BLOCK,
  makeAggregator,
  oracleRead,
  oracleVerdicts,
  prepareReads,
  reachOf,
} from '../../features/kernel/index.ts'
import type { LogRecord } from '../../features/kernel/index.ts'
import { MAX_ORDERED_POINTS } from '../../features/kernel/ordered.ts'
import type {
  Aggregator,
  FeatureRead,
  FieldType,
  Include,
  PartialSpec,
  Point,
  SectionLayout,
  UnitSpec,
} from '../../features/kernel/types.ts'
import { caseOf, diceOf, hex, pointOf, seedsOf, textOfValues, timeoutMsOf, type Dice } from './logs.ts'
import { StoredUnit, readStored } from './stored.ts'

const PREFIXES_PER_LOG = 4
const INSTANTS_PER_PREFIX = 14

interface Seen {
  reads: number
  outOfRange: number
  blockWrites: number
  blockLoads: number
  drops: number
  secondReads: number
  folded: number
  duplicates: number
  late: number
  conflicts: number
  ties: number
}

const nothingSeen = (): Seen => ({
  reads: 0,
  outOfRange: 0,
  blockWrites: 0,
  blockLoads: 0,
  drops: 0,
  secondReads: 0,
  folded: 0,
  duplicates: 0,
  late: 0,
  conflicts: 0,
  ties: 0,
})

/** Instants on and 1 ms beside every kind of edge, at the ends of the readable range, and long after. */
function instantOf(dice: Dice, spec: UnitSpec, reads: readonly FeatureRead[], times: readonly number[]): number {
  const newest = times.reduce((a, b) => Math.max(a, b), -200)
  const kind = dice.integer(0, 9)
  if (kind === 0) return newest - spec.horizonMs - dice.integer(0, 1)
  if (kind === 1) return newest + dice.pick([spec.retentionMs, spec.retentionMs + 1, 10_000_000])
  const { window } = dice.pick(reads)
  const reach = dice.chance(0.6) ? reachOf(window) : window.delayMs
  const from = times.length === 0 ? newest : dice.pick(times.slice(dice.chance(0.7) ? -20 : 0))
  return from + reach + dice.integer(-1, 1)
}

/** No event, one that is stored, one that is not, one stored under another payload, one of another time. */
function selfOf(dice: Dice, spec: UnitSpec, t: number, accepted: readonly LogRecord[]): Point | null {
  const kind = dice.integer(0, 5)
  if (kind === 0) return null
  const near = accepted.filter(({ point }) => Math.abs(point.time - t) <= 30)
  if (kind <= 2 && near.length > 0) return dice.pick(near).point
  if (kind === 3 && near.length > 0) return pointOf(dice, spec, dice.pick(near).point.time, dice.pick(near).point.id)
  if (kind === 4) return pointOf(dice, spec, t - dice.integer(0, 300), 'new')
  return pointOf(dice, spec, t, 'p1')
}

function checkLog(seed: number, busy: boolean, seen: Seen): void {
  const { spec, reads, log } = caseOf(seed, busy)
  const dice = diceOf(seed + 500_000)
  const verdicts = oracleVerdicts(spec, log)
  const units = new Map<number, StoredUnit>()
  const cuts = new Set(Array.from({ length: PREFIXES_PER_LOG }, () => dice.integer(0, log.length)).concat(log.length))
  for (let upTo = 0; upTo <= log.length; upTo++) {
    if (cuts.has(upTo)) {
      for (const unit of units.values()) unit.flush()
      const accepted = log.filter((_, index) => index < upTo && verdicts[index] === 'added')
      checkReads(dice, spec, reads, accepted, [...units.values()], `seed ${seed} prefix ${upTo}`, seen)
    }
    if (upTo === log.length) break
    const { partition, point } = log[upTo]!
    const unit = units.get(partition) ?? new StoredUnit(spec)
    units.set(partition, unit)
    expect(unit.apply(point), `seed ${seed} record ${upTo}`).toBe(verdicts[upTo])
    if (dice.chance(0.1)) unit.flush()
    else if (dice.chance(0.02)) {
      unit.flush()
      unit.restart()
    }
  }
  for (const verdict of verdicts) {
    if (verdict === 'duplicate') seen.duplicates++
    if (verdict === 'late') seen.late++
    if (verdict === 'conflict') seen.conflicts++
  }
  for (const unit of units.values()) {
    seen.blockWrites += unit.blockWrites
    seen.blockLoads += unit.blockLoads
    seen.drops += unit.drops
    seen.folded += unit.state.folded
  }
}

function checkReads(
  dice: Dice,
  spec: UnitSpec,
  reads: readonly FeatureRead[],
  accepted: readonly LogRecord[],
  units: readonly StoredUnit[],
  where: string,
  seen: Seen,
): void {
  const stored = (): string[] => units.flatMap(unit => [unit.bytes, ...unit.blocks.values()].map(hex))
  const before = stored()
  const times = accepted.map(record => record.point.time)
  const newest = times.length === 0 ? null : times.reduce((a, b) => Math.max(a, b))
  for (let instant = 0; instant < INSTANTS_PER_PREFIX; instant++) {
    const t = instantOf(dice, spec, reads, times)
    const self = selfOf(dice, spec, t, accepted)
    const values = oracleRead(spec, reads, accepted, t, self)
    const expected = textOfValues(
      values === null ? { outOfRange: true, newest } : { outOfRange: false, newest, values },
    )
    const told = `${where} t ${t} self ${textOfValues(self)} of ${textOfValues(reads)}`
    const { answer, rounds } = readStored(spec, reads, units, t, self)
    expect(textOfValues(answer), told).toBe(expected)
    const ordered = reads.some(read => spec.partials[read.partial]!.aggregator.kind === 'concat')
    if (!ordered || units.length === 1) expect(rounds, `round trips, ${told}`).toBe(1)
    seen.secondReads += rounds - 1
    seen.reads += reads.length
    seen.outOfRange += values === null ? 1 : 0
    seen.ties += times.filter(time => time === t).length > 1 ? 1 : 0
  }
  expect(stored(), `reads change no bytes, ${where}`).toEqual(before)
}

describe('reads against the naive oracle', () => {
  const cases = [
    { busy: false, name: 'mostly quiet', logs: 90 },
    { busy: true, name: 'busy, cut deeply', logs: 90 },
  ]
  for (const { busy, name, logs } of cases) {
    it(
      `agree exactly at and beside every edge, ${name}`,
      () => {
        const seen = nothingSeen()
        for (const seed of seedsOf(logs)) checkLog(seed + (busy ? 1_000_000 : 0), busy, seen)
        for (const [what, count] of Object.entries(seen)) expect(count, what).toBeGreaterThan(0)
      },
      timeoutMsOf(logs),
    )
  }
})

const INT: FieldType = { kind: 'int' }
const BOOLEAN: FieldType = { kind: 'boolean' }

/** Tells every order of its rows apart. */
const rowsInOrder: Aggregator<string> = {
  name: 'rowsInOrder',
  kind: 'concat',
  version: 1,
  empty: () => '',
  add: (state, { time, id, cell, by }) => `${state}${time}${id}${String(cell)}${String(by)} `,
  merge: (left, right) => left + right,
  result: state => state,
  encode: (state, out) => out.string(state),
  decode: input => input.string(),
}

const RETENTION_MS = 420
const ORDERED_LAYOUTS: readonly SectionLayout[] = [
  { levelsMs: [4, 16, 64], leafPoints: 3, blockPoints: 1 },
  { levelsMs: [1, 2, 4, 8, 16, 32, 64, 128], leafPoints: 2, blockPoints: 2 },
  { levelsMs: [16, 160], leafPoints: 20, blockPoints: 9 },
  { levelsMs: [1000], leafPoints: 128, blockPoints: 16 },
]

/** A unit of concat partials, with counts and extremes beside them that are read further back. */
function orderedUnit(layout: SectionLayout): UnitSpec {
  const partial = (aggregator: Aggregator, column: number, by = -1, filter = -1): PartialSpec => ({
    aggregator,
    column,
    by,
    filter,
    lifetime: false,
  })
  const gapsOfSession = windowed(
    makeAggregator('gapStd', {}, null),
    { kind: 'session', gapMs: 6, maxLengthMs: 90, delayMs: 0 },
    null,
    null,
  )
  return {
    columns: [INT, BOOLEAN],
    filterCount: 1,
    partials: [
      partial(rowsInOrder, 0, 1),
      partial(rowsInOrder, 1, 0, 0),
      partial(makeAggregator('gapStd', {}, INT), 0),
      partial(makeAggregator('longestStreak', {}, BOOLEAN), 1, -1, 0),
      partial(gapsOfSession, -1),
      partial(makeAggregator('count', {}, null), -1),
      partial(makeAggregator('last', {}, INT), 0),
    ],
    latenessMs: 30,
    horizonMs: 40,
    retentionMs: RETENTION_MS,
    edgeMs: 0,
    rawMs: RETENTION_MS,
    layout,
  }
}

const GAPS_OF_SESSION = 4
const NOT_CONCAT = 5

/** Several windows of every partial in one frame, and some in others. */
function orderedReads(dice: Dice, spec: UnitSpec): FeatureRead[] {
  const include = dice.pick<Include>(['current', 'current', 'excludeSelf', 'excludeInstant'])
  return spec.partials.flatMap((_, partial) => {
    const lengths = partial < NOT_CONCAT ? [1, 7, 30, 90, 150] : [60, 300]
    return lengths
      .filter(() => dice.chance(0.6))
      .map((lengthMs): FeatureRead => {
        const delayMs = dice.pick([0, 0, 0, 5])
        const of = dice.chance(0.85) ? include : 'current'
        if (partial === GAPS_OF_SESSION) {
          const window = { kind: 'session', gapMs: 6, maxLengthMs: 90, delayMs } as const
          return { partial, window, include: of, whenEmpty: null }
        }
        const window = dice.chance(0.8)
          ? ({ kind: 'sliding', lengthMs, delayMs, edgeMs: 0 } as const)
          : ({ kind: 'tumbling', lengthMs, lookback: lengthMs > 150 ? 0 : 1, delayMs } as const)
        return { partial, window, include: of, whenEmpty: null }
      })
  })
}

/** Few instants and ids, so that partitions share both. */
function orderedLog(dice: Dice, spec: UnitSpec, partitions: number): LogRecord[] {
  let clock = 0
  return Array.from({ length: dice.integer(0, 160) }, () => {
    clock += dice.pick([0, 0, 1, 1, 2, 9])
    const time = clock - dice.pick([0, 0, 0, 3, 20])
    return { partition: dice.integer(0, partitions - 1), point: pointOf(dice, spec, time, dice.pick(['a', 'b', 'é'])) }
  })
}

describe('reads of concat partials', () => {
  it(
    'agree with the definition over one section and over several, in one round trip over one',
    () => {
      const seen = { several: 0, one: 0, joined: 0, followUps: 0, values: 0 }
      for (const seed of seedsOf(120)) {
        const dice = diceOf(seed + 9_000_000)
        const spec = orderedUnit(dice.pick(ORDERED_LAYOUTS))
        const partitions = dice.integer(1, 3)
        const log = orderedLog(dice, spec, partitions)
        const verdicts = oracleVerdicts(spec, log)
        const units = Array.from({ length: partitions }, () => new StoredUnit(spec))
        log.forEach(({ partition, point }, at) => expect(units[partition]!.apply(point)).toBe(verdicts[at]))
        for (const unit of units) unit.flush()
        const accepted = log.filter((_, at) => verdicts[at] === 'added')
        const times = accepted.map(record => record.point.time)
        const newest = times.reduce((a, b) => Math.max(a, b), 0)
        for (let instant = 0; instant < 12; instant++) {
          const reads = orderedReads(dice, spec)
          const t = dice.chance(0.5) ? newest + dice.integer(-40, 20) : newest + dice.integer(0, 160)
          const self = selfOf(dice, spec, dice.chance(0.5) ? t : t - dice.integer(0, 60), accepted)
          const { answer, rounds } = readStored(spec, reads, units, t, self)
          const told = `seed ${seed} t ${t} self ${textOfValues(self)} of ${textOfValues(reads)}`
          const values = oracleRead(spec, reads, accepted, t, self)
          expect(textOfValues('values' in answer ? answer.values : null), told).toBe(textOfValues(values))
          if (partitions === 1) expect(rounds, `round trips, ${told}`).toBe(1)
          seen[partitions === 1 ? 'one' : 'several']++
          seen.followUps += rounds - 1
          seen.values += values?.length ?? 0
          if (self !== null && self.time <= newest && !times.includes(self.time)) seen.joined++
        }
      }
      for (const [what, count] of Object.entries(seen)) expect(count, what).toBeGreaterThan(0)
    },
    timeoutMsOf(120),
  )
})

describe('the bound of points put in order', () => {
  const wide: SectionLayout = { levelsMs: [1000, 1_000_000], leafPoints: 128, blockPoints: 16 }
  const window = { kind: 'sliding', lengthMs: 900_000, delayMs: 0, edgeMs: 0 } as const
  const spec: UnitSpec = {
    columns: [BOOLEAN],
    filterCount: 0,
    partials: [
      { aggregator: makeAggregator('count', {}, null), column: -1, by: -1, filter: -1, lifetime: false },
      {
        aggregator: makeAggregator('longestStreak', {}, BOOLEAN),
        column: 0,
        by: -1,
        filter: -1,
        lifetime: false,
      },
    ],
    latenessMs: 0,
    horizonMs: 0,
    retentionMs: 1_000_000,
    edgeMs: 0,
    rawMs: 1_000_000,
    layout: wide,
  }
  const streak: FeatureRead = { partial: 1, window, include: 'current', whenEmpty: null }
  const half = MAX_ORDERED_POINTS / 2
  const stored = (points: number, id: string): StoredUnit => {
    const unit = new StoredUnit(spec)
    for (let at = 0; at < points; at++) unit.apply({ time: 10 + at, id, cells: [true], mask: 0 })
    unit.flush()
    return unit
  }
  const t = 10 + half
  const self: Point = { time: t, id: 'z', cells: [true], mask: 0 }
  const [left, right, most] = [stored(half, 'a'), stored(half, 'b'), stored(MAX_ORDERED_POINTS, 'c')]

  it('is reached, and passed by one point that joins', () => {
    expect(readStored(spec, [streak], [left, right], t, null).answer).toMatchObject({ values: [2 * half] })
    const one = half - 1
    expect(() => readStored(spec, [streak], [left, right], t, self)).toThrow(
      `longestStreak:boolean: ${MAX_ORDERED_POINTS + 1} or more events of one entity within 900000 ms lie in several ` +
        `partitions and would have to be put in order, which is done for at most ${MAX_ORDERED_POINTS}; use a source ` +
        'whose topic is keyed by that entity, or a shorter window',
    )
    const shorter = { ...streak, window: { ...window, lengthMs: one } }
    expect(readStored(spec, [shorter], [left, right], t, self).answer).toMatchObject({ values: [2 * one - 1] })
  })

  it('is known from the directories, before a block of points is asked for', () => {
    const directories = [most, left].map(({ bytes, blocks }) => ({
      bytes,
      blocks: new Map([[DIRECTORY_BLOCK, blocks.get(DIRECTORY_BLOCK)!]]),
    }))
    const end = 10 + MAX_ORDERED_POINTS
    expect(() => prepareReads(spec, [streak]).fromBytes(directories, end, null)).toThrow(/^longestStreak:boolean: /)
    const count: FeatureRead = { ...streak, partial: 0 }
    expect(readStored(spec, [count], [most, left], end, null).answer).toMatchObject({
      values: [MAX_ORDERED_POINTS + half],
    })
  })

  it('is none for one section, wherever the event being scored joins it', () => {
    const busy = stored(MAX_ORDERED_POINTS + half, 'd')
    const end = 10 + MAX_ORDERED_POINTS + half
    const answer = readStored(spec, [streak], [busy, new StoredUnit(spec)], end, { ...self, time: end - 1000 })
    expect(answer.answer).toMatchObject({ values: [MAX_ORDERED_POINTS + half + 1] })
    expect(answer.rounds).toBe(1)
  })

  it('stands in the documentation of every aggregator of this kind', () => {
    const told = MAX_ORDERED_POINTS.toLocaleString('en-GB')
    const ordered = AGGREGATORS.filter(each => each.kind === 'concat')
    expect(ordered.map(each => each.family)).toEqual(['gapStd', 'longestStreak'])
    for (const { doc } of ordered) expect(doc).toContain(`at most ${told} within the window`)
  })
})
