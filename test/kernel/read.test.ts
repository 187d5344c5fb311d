import { describe, expect, it } from 'vitest'
import {
  applyPoint,
  emptySection,
  encodeSection,
  oracleRead,
  oracleVerdicts,
  readUnit,
  readUnitState,
} from '../../features/kernel/index.ts'
import type { LogRecord, SectionState } from '../../features/kernel/index.ts'
import type { FeatureRead, Point, UnitSpec } from '../../features/kernel/types.ts'
import { caseOf, diceOf, hex, pointOf, seedsOf, textOfValues, timeoutMsOf, type Dice } from './logs.ts'

const PREFIXES_PER_LOG = 4
const INSTANTS_PER_PREFIX = 14

interface Seen {
  reads: number
  outOfRange: number
  tiles: number
  folded: number
  duplicates: number
  late: number
  conflicts: number
  ties: number
}

const nothingSeen = (): Seen => ({
  reads: 0,
  outOfRange: 0,
  tiles: 0,
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
  const reach = window.delayMs + (window.kind === 'sliding' && dice.chance(0.6) ? window.lengthMs : 0)
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

function checkLog(seed: number, tiles: boolean, seen: Seen): void {
  const { spec, reads, log } = caseOf(seed, tiles)
  const dice = diceOf(seed + 500_000)
  const verdicts = oracleVerdicts(spec, log)
  const states = new Map<number, SectionState>()
  const cuts = new Set(Array.from({ length: PREFIXES_PER_LOG }, () => dice.integer(0, log.length)).concat(log.length))
  for (let upTo = 0; upTo <= log.length; upTo++) {
    if (cuts.has(upTo)) {
      const accepted = log.filter((_, index) => index < upTo && verdicts[index] === 'added')
      checkReads(dice, spec, reads, accepted, [...states.values()], `seed ${seed} prefix ${upTo}`, seen)
    }
    if (upTo === log.length) break
    const { partition, point } = log[upTo]!
    const state = states.get(partition) ?? emptySection(spec)
    states.set(partition, state)
    expect(applyPoint(spec, state, point), `seed ${seed} record ${upTo}`).toBe(verdicts[upTo])
  }
  for (const verdict of verdicts) {
    if (verdict === 'duplicate') seen.duplicates++
    if (verdict === 'late') seen.late++
    if (verdict === 'conflict') seen.conflicts++
  }
  for (const state of states.values()) {
    seen.tiles += state.tiles.length
    seen.folded += state.folded
  }
}

function checkReads(
  dice: Dice,
  spec: UnitSpec,
  reads: readonly FeatureRead[],
  accepted: readonly LogRecord[],
  states: readonly SectionState[],
  where: string,
  seen: Seen,
): void {
  const sections = states.map(state => encodeSection(spec, state))
  const before = sections.map(hex)
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
    expect(textOfValues(readUnit(spec, reads, sections, t, self)), `bytes, ${told}`).toBe(expected)
    expect(textOfValues(readUnitState(spec, reads, states, t, self)), `state, ${told}`).toBe(expected)
    seen.reads += reads.length
    seen.outOfRange += values === null ? 1 : 0
    seen.ties += times.filter(time => time === t).length > 1 ? 1 : 0
  }
  expect(sections.map(hex), `reads change no bytes, ${where}`).toEqual(before)
  expect(
    states.map(state => hex(encodeSection(spec, state))),
    `reads change no state, ${where}`,
  ).toEqual(before)
}

describe('reads against the naive oracle', () => {
  const cases = [
    { tiles: false, name: 'without tiles', logs: 90 },
    { tiles: true, name: 'with tiles', logs: 80 },
  ]
  for (const { tiles, name, logs } of cases) {
    it(
      `agree exactly at and beside every edge, ${name}`,
      () => {
        const seen = nothingSeen()
        for (const seed of seedsOf(logs)) checkLog(seed + (tiles ? 1_000_000 : 0), tiles, seen)
        const { tiles: stored, ...others } = seen
        for (const [what, count] of Object.entries(others)) expect(count, what).toBeGreaterThan(0)
        expect(stored > 0, 'tiles stored').toBe(tiles)
      },
      timeoutMsOf(logs),
    )
  }
})
