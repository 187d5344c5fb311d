import { describe, expect, it } from 'vitest'
import { oracleRead, oracleVerdicts, prepareReads } from '../../features/kernel/index.ts'
import type { LogRecord } from '../../features/kernel/index.ts'
import type { Point } from '../../features/kernel/types.ts'
import { decodeFields } from '../../features/plan/event.ts'
import type { DecodedEvent } from '../../features/plan/event.ts'
import { EMPTY_CATALOGUE, bindPlan, placePlan } from '../../features/plan/units.ts'
import type { BoundUnit } from '../../features/plan/units.ts'
import { diceOf, seedsOf, textOfValues, timeoutMsOf } from '../kernel/logs.ts'
import type { Dice } from '../kernel/logs.ts'
import { StoredUnit } from '../kernel/stored.ts'
import { MOVEMENTS, fieldsOf, freshStandings } from './movements.ts'
import type { Movement } from './movements.ts'
import { projectOf } from './source.ts'

const T = 1_700_000_000_000
const MINUTE = 60_000
const LOGS = 100
const READS_PER_LOG = 20

const { plan } = projectOf(MOVEMENTS)
const bound = bindPlan(plan, placePlan(plan, EMPTY_CATALOGUE, freshStandings(plan)))
const features = bound.groups.get('moves')?.features ?? []

/** The units that some of the group's features are read from together, with those features. */
const SETS = [...Map.groupBy(features, feature => feature.unit).values()].map(list => ({
  units: list[0]!.units,
  features: list,
}))

/** Ids and times that meet each other, also across kinds. */
function movementOf(dice: Dice): Movement {
  const kind = dice.chance(0.5) ? 'payment' : 'refund'
  return {
    kind,
    id: String(dice.integer(1, 12)),
    at: T + dice.integer(-40, 40) * dice.pick([1, MINUTE, 20 * MINUTE]),
    card: 'c',
    shop: kind === 'payment' && dice.chance(0.2) ? null : `s${dice.integer(1, 3)}`,
    cents: dice.integer(-2000, 9000),
    note: dice.chance(0.3) && kind === 'payment' ? null : dice.pick(['no', 'yes', 'é']),
  }
}

function eventOf(unit: BoundUnit, movement: Movement): DecodedEvent {
  const decoded = decodeFields(unit.source, fieldsOf(movement), null)
  if (!decoded.ok) throw new Error(decoded.reason)
  return decoded.event
}

/** One member of a union with the log of its partitions and what is stored of them. */
interface Member {
  readonly unit: BoundUnit
  readonly log: LogRecord[]
  readonly stored: Map<number, StoredUnit>
}

/** Partitions of different members have different numbers. */
const memberOf = (partition: number): number => Math.floor(partition / 100)

function feed(members: readonly Member[], dice: Dice): void {
  for (let left = dice.integer(0, 60); left > 0; left--) {
    const movement = movementOf(dice)
    const at = members.findIndex(({ unit }) => unit.source.name === movement.kind)
    const { unit, log, stored } = members[at]!
    const partition = 100 * at + (unit.byRecordKey ? 0 : dice.integer(0, unit.source.partitions - 1))
    const point = unit.project(eventOf(unit, movement))
    log.push({ partition, point })
    const section = stored.get(partition) ?? new StoredUnit(unit.spec)
    stored.set(partition, section)
    section.apply(point)
    if (dice.chance(0.3)) section.flush()
  }
  for (const { stored } of members) for (const section of stored.values()) section.flush()
}

/** No event, one like those in the log or the same, of either kind. */
function selfOf(members: readonly Member[], dice: Dice): { readonly at: number; readonly point: Point } | null {
  if (dice.chance(0.2)) return null
  const logged = members.flatMap(({ log }, at) => log.map(({ point }) => ({ at, point })))
  if (logged.length > 0 && dice.chance(0.4)) return dice.pick(logged)
  const movement = movementOf(dice)
  const at = members.findIndex(({ unit }) => unit.source.name === movement.kind)
  const { unit } = members[at]!
  const point = unit.project(eventOf(unit, movement))
  const twin = logged.find(each => each.at !== at)?.point
  return { at, point: twin !== undefined && dice.chance(0.4) ? { ...point, time: twin.time, id: twin.id } : point }
}

describe('a read of several units together', () => {
  it(
    'is that of the definition over the events of all of them',
    () => {
      let clashes = 0
      let values = 0
      for (const seed of seedsOf(LOGS)) {
        const dice = diceOf(seed)
        for (const { units, features: list } of SETS) {
          const members = units.map((unit): Member => ({ unit, log: [], stored: new Map() }))
          feed(members, dice)
          const accepted = members.flatMap(({ unit, log }) => {
            const verdicts = oracleVerdicts(unit.spec, log)
            return log.filter((_, index) => verdicts[index] === 'added')
          })
          const reads = list.map(feature => feature.read)
          const { spec } = units[0]!
          const sections = members.flatMap(({ stored }) => [...stored.values()])
          const prepared = prepareReads(spec, reads)
          for (let left = READS_PER_LOG; left > 0; left--) {
            const self = selfOf(members, dice)
            const t =
              dice.chance(0.5) && self !== null ? self.point.time : movementOf(dice).at + dice.integer(0, 2) * 3_600_000
            const own = members.flatMap(({ stored }, at) => [...stored].map(() => at === self?.at))
            const answer = prepared.fromBytes(sections, t, self?.point ?? null, own)
            if ('missing' in answer) throw new Error('a small section has no blocks')
            const isOwn = (partition: number): boolean => memberOf(partition) === self?.at
            const expected = oracleRead(spec, reads, accepted, t, self?.point ?? null, isOwn)
            const found = answer.outOfRange ? null : answer.values
            expect(textOfValues(found), `seed ${seed}`).toBe(textOfValues(expected))
            values += found?.length ?? 0
            const { time, id } = self?.point ?? { time: NaN, id: '' }
            if (accepted.some(each => each.point.time === time && each.point.id === id && !isOwn(each.partition)))
              clashes++
          }
        }
      }
      expect(values).toBeGreaterThan(seedsOf(LOGS).length * READS_PER_LOG)
      expect(clashes).toBeGreaterThan(seedsOf(LOGS).length)
    },
    timeoutMsOf(LOGS),
  )

  it('has members whose specs differ in lateness alone', () => {
    expect(SETS.length).toBeGreaterThan(0)
    for (const { units } of SETS) {
      const shapes = units.map(({ spec }) =>
        JSON.stringify({
          ...spec,
          latenessMs: 0,
          partials: spec.partials.map(each => ({ ...each, aggregator: each.aggregator.name })),
        }),
      )
      expect(new Set(shapes).size).toBe(1)
      expect(units.map(unit => [unit.source.name, unit.spec.latenessMs])).toEqual([
        ['payment', 10 * MINUTE],
        ['refund', 60 * MINUTE],
      ])
      expect(units[0]!.spec.horizonMs).toBe(60 * MINUTE)
    }
  })
})
