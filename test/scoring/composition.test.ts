import { readFileSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import { afterAll, beforeAll, describe, expect, it } from 'vitest'
import type { Value } from '../../features/kernel/types.ts'
import { decodeFields } from '../../features/plan/event.ts'
import { eventRecorder } from '../../topology/event-record.ts'
import { createDriver } from '../../topology/jobs/backtest.ts'
import type { ScoreRecord } from '../../topology/ports/score-record.ts'
import { runBacktest } from '../../topology/runtime/backtest.ts'
import type { BacktestTarget } from '../../topology/runtime/backtest.ts'
import { parseConfig } from '../../topology/runtime/config.ts'
import { openContext } from '../../topology/runtime/context.ts'
import type { RuntimeContext } from '../../topology/runtime/context.ts'
import { workerOf } from '../../topology/runtime/feature-processes.ts'
import { createScoringEngine } from '../../topology/scoring/engine.ts'
import type { ScoringEngine } from '../../topology/scoring/engine.ts'
import { diceOf } from '../kernel/logs.ts'
import { MOVEMENTS, fieldsOf, onRefund } from '../plan/movements.ts'
import type { Movement } from '../plan/movements.ts'
import { projectOf } from '../plan/source.ts'
import { temporaryFolder } from '../system/headwater.ts'
import { collectTelemetry, handClock } from './harness.ts'
import { failure, startWorld } from './world.ts'

const T = 1_700_000_000_000
const MINUTE = 60_000
const HOUR = 60 * MINUTE
const LATENESS = { payment: 10 * MINUTE, refund: HOUR }
const EVENTS = 400
const CARDS = ['a', 'b|c', 'b']
const SHOPS = ['d', 'c|d', null]

/** Movements in the order of the log: a little out of order, some too late, some twice; ids meet across kinds. */
function movements(): readonly Movement[] {
  const dice = diceOf(7)
  const list: Movement[] = []
  for (let index = 0; index < EVENTS; index++) {
    const before = list.at(-1)
    if (before !== undefined && dice.chance(0.1)) {
      list.push(before)
      continue
    }
    const kind = dice.chance(0.6) ? 'payment' : 'refund'
    const back = dice.chance(0.1) ? dice.pick([5, 30, 90]) * MINUTE : 0
    const shop = dice.pick(kind === 'payment' ? SHOPS : ['d', 'c|d'])
    const note = dice.pick(['no', 'yes'])
    const twin = dice.chance(0.1) && before !== undefined && before.kind !== kind ? before : null
    const at = twin?.at ?? T + index * 3 * MINUTE - back
    list.push({
      kind,
      id: twin?.id ?? `${index}`,
      at,
      card: twin?.card ?? dice.pick(CARDS),
      shop,
      cents: dice.integer(-999, 9999),
      note,
    })
  }
  return list
}

const LOG = movements()
const END = T + EVENTS * 3 * MINUTE

/** A movement with the partition in which the log put it. */
interface Logged {
  readonly partition: number
  readonly movement: Movement
}

/** By entity: movements that are neither late for it nor there already. A plain loop over the log. */
function acceptedOf(logged: readonly Logged[], entity: (movement: Movement) => string | null): Map<string, Movement[]> {
  const newest = new Map<string, number>()
  const seen = new Set<string>()
  const accepted = new Map<string, Movement[]>()
  for (const { partition, movement } of logged) {
    const name = entity(movement)
    if (name === null) continue
    const { kind, at, id } = movement
    const section = JSON.stringify([name, kind, partition])
    const last = newest.get(section) ?? -Infinity
    const key = `${section} ${at} ${id}`
    if (at < last - LATENESS[kind] || seen.has(key)) continue
    newest.set(section, Math.max(last, at))
    seen.add(key)
    accepted.set(name, [...(accepted.get(name) ?? []), movement])
  }
  return accepted
}

const cardOf = ({ card }: Movement): string => card
const pairOf = ({ card, shop }: Movement): string | null => (shop === null ? null : JSON.stringify([card, shop]))

/** In the total order; equal time and id by amount, as the kernel has it. */
const inOrder = (list: readonly Movement[]): Movement[] =>
  list.toSorted((a, b) => a.at - b.at || (a.id < b.id ? -1 : a.id > b.id ? 1 : a.cents - b.cents))

const sumOf = (list: readonly Movement[]): number => list.reduce((sum, { cents }) => sum + cents, 0) / 100

const isSame = (a: Movement, b: Movement): boolean => a.kind === b.kind && a.id === b.id && a.at === b.at

describe('payments and refunds of two topics', () => {
  const folder = temporaryFolder()
  const clock = handClock(T)
  const telemetry = collectTelemetry()
  const records: ScoreRecord[] = []
  const logged: Logged[] = []
  let context: RuntimeContext
  let engine: ScoringEngine

  beforeAll(async () => {
    const parsed = parseConfig({ file: null, environment: {}, flags: { dataDirectory: folder.path } })
    if (!parsed.ok) throw new Error(JSON.stringify(parsed.problems))
    const project = projectOf({ ...MOVEMENTS, onRefund })
    context = await openContext(parsed.config, project, clock, telemetry)
    for (const movement of LOG) {
      const source = context.project.plan.sources.find(each => each.name === movement.kind)!
      const decoded = decodeFields(source, fieldsOf(movement), null)
      if (!decoded.ok) throw new Error(decoded.reason)
      const made = eventRecorder(source)(decoded.event, null)
      if (!made.ok) throw new Error(made.reason)
      clock.timeMs = Math.max(clock.timeMs, movement.at)
      const [position] = await context.log.append([made.record])
      logged.push({ partition: position!.partition, movement })
    }
    clock.timeMs = END
    for (const revision of context.catalogue.revisions) {
      const worker = workerOf(context, revision)!
      await createDriver(context.log, worker.handlers, worker.source.topic, worker.source.partitions).drain()
    }
    engine = createScoringEngine({
      bound: context.bound,
      services: context.project.services,
      namespace: context.config.namespace,
      store: context.store,
      models: new Map(),
      clock,
      telemetry,
      emit: record => void records.push(record),
    })
  })

  afterAll(async () => {
    await engine.close()
    await context.close()
    folder.remove()
  })

  const groups = async (
    names: readonly string[],
    entities: Readonly<Record<string, string | Record<string, string>>>,
    asOfMs: number,
  ) => (await engine.getFeatures({ of: { kind: 'groups', groups: names, entities }, asOfMs })).features

  /** What a plain loop over movements answers for some of the features of a card. */
  function expectMoves(
    features: Readonly<Record<string, Value>>,
    list: readonly Movement[],
    t: number,
    self: Movement | null,
  ): void {
    const all = inOrder(list.filter(each => each.at <= t))
    const hour = all.filter(each => each.at > t - HOUR)
    const day = all.filter(each => each.at > t - 24 * HOUR)
    const others = self === null ? all : all.filter(each => !isSame(each, self))
    const elsewhen = hour.filter(each => each.at !== (self?.at ?? t))
    expect(features).toMatchObject({
      'moves.count_1h': hour.length,
      'moves.sum_1h': sumOf(hour),
      'moves.sum_life': sumOf(all),
      'moves.large_1d': day.filter(each => each.cents > 5000 && each.note !== 'no').length,
      'moves.others_1h': elsewhen.length,
      'moves.shops': new Set(day.flatMap(each => each.shop ?? [])).size,
      'moves.three': all.length === 0 ? 0 : sumOf(all.slice(-3)),
      'moves.today': all.filter(each => Math.floor(each.at / (24 * HOUR)) === Math.floor(t / (24 * HOUR))).length,
    })
    const [last, beforeLast] = others.toReversed()
    if (last?.at !== beforeLast?.at) expect(features['moves.last_note']).toBe(last?.note ?? null)
    const gaps = day.slice(1).map((each, index) => each.at - day[index]!.at)
    const mean = gaps.reduce((sum, gap) => sum + gap, 0) / gaps.length
    const deviation = Math.sqrt(gaps.reduce((sum, gap) => sum + (gap - mean) ** 2, 0) / gaps.length)
    if (gaps.length > 0) expect(features['moves.gap_std'] as number).toBeCloseTo(deviation, 3)
    const run = all.filter((_, index) =>
      all.slice(index).every((each, at, rest) => (rest[at + 1]?.at ?? t) - each.at <= 20 * MINUTE),
    )
    expect(features['moves.run']).toBe(run.length)
  }

  it('give the features of a card from both', async () => {
    const accepted = acceptedOf(logged, cardOf)
    expect([...accepted.keys()].sort()).toEqual([...CARDS].sort())
    expect(LOG.length - [...accepted.values()].flat().length).toBeGreaterThan(10)
    for (const [card, list] of accepted) {
      const newest = Math.max(...list.map(each => each.at))
      for (const t of [newest, newest - 1, newest - 59 * MINUTE, newest + 30 * MINUTE, END + 30 * HOUR]) {
        expectMoves(await groups(['moves'], { card }, t), list, t, null)
      }
    }
  })

  it('give the features of a pair, and never those of another', async () => {
    const accepted = acceptedOf(logged, pairOf)
    for (const [name, list] of accepted) {
      const [card, shop] = JSON.parse(name) as [string, string]
      const newest = Math.max(...list.map(each => each.at))
      for (const t of [newest, newest + 30 * MINUTE]) {
        const hour = list.filter(each => each.at <= t && each.at > t - HOUR)
        const payments = list.filter(each => each.kind === 'payment' && each.at <= t)
        const features = await groups(
          ['pair_moves', 'pair_payments', 'pair_refunds'],
          { card_at_shop: { shop, card } },
          t,
        )
        expect(features).toMatchObject({
          'pair_moves.count_1h': hour.length,
          'pair_moves.largest': Math.max(...list.filter(each => each.at <= t).map(each => each.cents)) / 100,
          'pair_payments.count_1h': payments.filter(each => each.at > t - HOUR).length,
          'pair_refunds.count_1d': list.filter(
            each => each.kind === 'refund' && each.at <= t && each.at > t - 24 * HOUR,
          ).length,
        })
      }
    }
    expect(accepted.size).toBe(6)
  })

  it.each(['payment', 'refund'] as const)('are joined by a %s that is scored, once', async kind => {
    const service = kind === 'payment' ? 'on_payment' : 'on_refund'
    const accepted = acceptedOf(logged, cardOf)
    const newest = Math.max(...accepted.get('b')!.map(each => each.at))
    const twin = accepted.get('b')!.findLast(each => each.kind !== kind && each.at > newest - 50 * MINUTE)
    const fresh: Movement = { kind, id: '77777', at: newest + 5, card: 'b', shop: 'd', cents: 7001, note: 'new' }
    const again = accepted
      .get('b')!
      .findLast(each => each.kind === kind && each.shop === 'd' && each.at > newest - 50 * MINUTE)
    const clash = twin === undefined ? null : { ...fresh, id: twin.id, at: twin.at }
    for (const event of [fresh, again, clash]) {
      if (event === undefined || event === null) continue
      const stored = accepted.get('b')!
      const list = stored.some(each => isSame(each, event)) ? stored : [...stored, event]
      const answer = await engine.score({ service, event: fieldsOf(event), includeFeatures: true })
      expect(answer.degraded).toBe(null)
      expectMoves(answer.features ?? {}, list, event.at, event)
      const pairs = list.filter(each => each.shop === 'd')
      const hour = pairs.filter(each => each.at <= event.at && each.at > event.at - HOUR)
      expect(answer.features?.['pair_moves.count_1h']).toBe(hour.length)
      if (kind === 'refund') continue
      const payments = stored.filter(each => each.kind === kind && each.shop === 'd')
      const tooFarBack = payments.some(each => event.at < each.at - LATENESS.payment)
      const count = hour.filter(each => each.kind === kind).length
      expect(answer.features?.['pair_payments.count_1h']).toBe(tooFarBack ? null : count)
    }
    expect(again ?? twin).toBeDefined()
    await new Promise(resolve => setImmediate(resolve))
    const units = new Set(records.at(-1)?.positions.map(({ unit }) => unit))
    const sources = new Set(context.bound.units.filter(unit => units.has(unit.id)).map(unit => unit.source.name))
    expect([...sources].sort()).toEqual(['payment', 'refund'])
  })

  it('do not concern a pair where a part is missing', async () => {
    const event = fieldsOf({ kind: 'payment', id: 'x', at: END, card: 'b', shop: null, cents: 1, note: null })
    const answer = await engine.score({ service: 'on_payment', event, includeFeatures: true })
    expect(answer.features).toMatchObject({ 'pair_moves.count_1h': null, 'pair_payments.count_1h': null })
    expect(answer.statuses).toMatchObject({ 'pair_moves.count_1h': 'missing', 'moves.count_1h': 'fresh' })
  })

  it('are named by the parts of the key', async () => {
    const ask = (entities: Readonly<Record<string, string | Record<string, string>>>) =>
      failure(groups(['pair_moves'], entities, END)).then(error => [error.code, error.message])
    expect(await ask({})).toEqual([
      'INVALID_REQUEST',
      'entities: group "pair_moves" is of entity "card_at_shop", whose key (card, shop) is missing',
    ])
    expect(await ask({ card_at_shop: 'b|d' })).toEqual([
      'INVALID_REQUEST',
      'entities: the key of entity "card_at_shop" has the parts card, shop; give each of them by its name',
    ])
    expect((await ask({ card_at_shop: { card: 'b' } }))[1]).toBe(
      'entities: the key of entity "card_at_shop" lacks its part "shop"',
    )
    expect((await ask({ card_at_shop: { card: 'b', shop: 'd', x: '' } }))[1]).toContain(
      'has no part "x"; it has card, shop',
    )
    const byPart = await groups(['moves'], { card: { card: 'b' } }, END)
    expect(byPart).toEqual(await groups(['moves'], { card: 'b' }, END))
  })
})

describe('a group over several events', () => {
  it('is stale when one of them is, and out of range by the longest lateness', async () => {
    const world = await startWorld(() => ({ models: new Map() }), MOVEMENTS)
    try {
      const event = fieldsOf({ kind: 'payment', id: 'p', at: T, card: 'c', shop: 's', cents: 100, note: null })
      await world.feed('payment', 0, [event])
      const statuses = async () => {
        const { statuses: found } = await world.engine.score({ service: 'on_payment', event })
        return [found['moves.count_1h'], found['pair_payments.count_1h']]
      }
      expect(await statuses()).toEqual(['fresh', 'fresh'])
      world.clock.timeMs += 2 * MINUTE
      await world.caughtUp(world.clock.timeMs, ['payment'])
      expect(await statuses()).toEqual(['stale', 'fresh'])
      await world.caughtUp(world.clock.timeMs, ['refund'])
      expect(await statuses()).toEqual(['fresh', 'fresh'])
      const at = (asOfMs: number) =>
        world.engine.getFeatures({ of: { kind: 'groups', groups: ['moves'], entities: { card: 'c' } }, asOfMs })
      expect((await at(T - HOUR)).features['moves.count_1h']).toBe(0)
      const refused = await failure(at(T - HOUR - 1))
      expect([refused.code, refused.message]).toEqual([
        'OUT_OF_RANGE',
        expect.stringContaining('in source "payment", "refund"'),
      ])
    } finally {
      await world.close()
    }
  })
})

describe('a backtest', () => {
  const folder = temporaryFolder()
  afterAll(() => folder.remove())

  const run = (target: BacktestTarget) => {
    const parsed = parseConfig({ file: null, environment: {}, flags: { dataDirectory: folder.path } })
    if (!parsed.ok) throw new Error(JSON.stringify(parsed.problems))
    const events = [
      { id: '1', at: T, card: 'a|b', shop: 'c', amount: 1 },
      { id: '2', at: T + 1, card: 'a', shop: 'b|c', amount: 1 },
      { id: '3', at: T + 2, card: 'a', amount: 1 },
      { id: '4', at: T + 3, card: 'a|b', shop: 'c', amount: 1 },
    ]
    const eventsPath = join(folder.path, 'payments.ndjson')
    const outPath = join(folder.path, 'out.ndjson')
    writeFileSync(eventsPath, events.map(event => `${JSON.stringify(event)}\n`).join(''))
    return runBacktest({
      config: parsed.config,
      project: projectOf(MOVEMENTS),
      target,
      eventsPath,
      outPath,
      sampleOneIn: 1,
      clock: handClock(T),
      telemetry: collectTelemetry(),
      onProgress: () => undefined,
    }).then(() => readFileSync(outPath, 'utf8').trim().split('\n'))
  }

  it('takes groups of composite keys', async () => {
    const rows = await run({ kind: 'groups', names: ['pair_payments'] })
    const counts = rows.map(row => (JSON.parse(row) as Record<string, unknown>)['pair_payments.count_1h'])
    expect(counts.map(count => (count === null ? null : Number(count)))).toEqual([1, 1, null, 2])
  })

  it('refuses groups over several events, since it replays one', async () => {
    await expect(run({ kind: 'groups', names: ['moves'] })).rejects.toThrow(
      "the groups are fed by payment, refund; a backtest replays one event's file",
    )
    await expect(run({ kind: 'service', name: 'on_payment' })).rejects.toThrow(
      'service "on_payment" joins payment, refund; a backtest replays one event\'s file',
    )
  })
})
