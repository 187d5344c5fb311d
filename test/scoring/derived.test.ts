import { afterEach, describe, expect, it } from 'vitest'
import { derived, entity, event, group, impossibleTravel, policy, service, t } from '../../features/define/index.ts'
import { compileProject } from '../../features/plan/compile.ts'
import { NOW, startWorld } from './world.ts'
import type { World } from './world.ts'

const HOUR = 3_600_000

const payment = event('payment', {
  topic: 'payments',
  id: 'id',
  time: 'at',
  key: 'card',
  partitions: 2,
  lateness: '10m',
  fields: {
    id: t.string(),
    at: t.timestamp(),
    card: t.string(),
    amount: t.double(),
    place: t.optional(t.vector(2)),
  },
})
const refund = event('refund', {
  topic: 'refunds',
  id: 'id',
  time: 'at',
  key: 'card',
  lateness: '10m',
  fields: { id: t.string(), at: t.timestamp(), card: t.string() },
})
const card = entity('card', { key: 'card' })
const spending = group('spending', { entity: card, source: payment }, e => ({
  count_1h: e.count('1h'),
  mean_1h: e.mean(e.amount, '1h'),
}))
const places = group('places', { entity: card, source: payment }, e => ({
  places_2: e.lastN(e.place, 2, '7d'),
  place_times_2: e.lastN(e.at, 2, '7d', { where: e.place.isNotNull() }),
}))
const refunds = group('refunds', { entity: card, source: refund }, e => ({ n: e.count('1d') }))

const calls: string[] = []
/** Makes a derived feature's function note that it ran. */
function noted<V, T>(name: string, evaluate: (v: V) => T): (v: V) => T {
  return v => {
    calls.push(name)
    return evaluate(v)
  }
}

const overMean = derived(
  { request: payment, groups: [spending] },
  noted('over_mean', v => (v.spending.mean_1h === null ? null : v.request.amount / v.spending.mean_1h)),
)
const failing = derived({ request: payment }, v => {
  calls.push('failing')
  if (v.request.amount > 0) throw new Error('no such luck')
  return 1
})
const speed = impossibleTravel(places, { places: 'places_2', times: 'place_times_2' })
const squared = derived({ derived: { over: overMean } }, v => {
  calls.push('squared')
  return v.derived.over === null ? null : v.derived.over ** 2
})
const risk = derived({ groups: [spending], derived: { squared, over: overMean, speed } }, v => {
  calls.push('risk')
  const fast = v.derived.speed !== null && v.derived.speed > 900 ? 10 : 0
  return (v.derived.squared ?? 0) + (v.derived.over ?? 0) + v.spending.count_1h + fast
})
const afterFailure = derived({ derived: { failing } }, v => v.derived.failing + 1)
const rules = policy('rules', {
  request: payment,
  derived: { risk },
  outcomes: ['approve', 'decline'],
  rules: [{ name: 'risky', when: v => v.derived.risk > 10, outcome: 'decline' }],
  fallback: 'approve',
})
/** What needs others stands before them, and `squared` and `failing` are not listed. */
const scored = service('scored', {
  request: payment,
  groups: [spending, places],
  derived: { risk, after_failure: afterFailure, over_mean: overMean, speed },
  policy: rules,
})

const open: World[] = []
afterEach(async () => {
  calls.length = 0
  for (const world of open.splice(0)) await world.close()
})

async function start(): Promise<World> {
  const world = await startWorld(undefined, { scored })
  open.push(world)
  return world
}

const PARIS = [48.86, 2.35] as const
const MADRID = [40.42, -3.7] as const

const paid = (id: string, at: number, amount: number, place: readonly number[] | null = null) => {
  return { id, at, card: 'c1', amount, place }
}

describe('derived features of derived features', () => {
  it('are answered by name in the order of the service, whatever needs what', async () => {
    const { engine } = await start()
    const answer = await engine.score({ service: 'scored', event: paid('p1', NOW, 8), includeFeatures: true })
    expect(Object.entries(answer.features ?? {}).filter(([name]) => name.startsWith('derived.'))).toEqual([
      ['derived.risk', 1 + 1 + 1],
      ['derived.after_failure', null],
      ['derived.over_mean', 1],
      ['derived.speed', null],
    ])
    expect(answer.decision).toBe('approve')
  })

  it('compute once what several of them look at', async () => {
    const { engine } = await start()
    await engine.score({ service: 'scored', event: paid('p1', NOW, 8) })
    expect(calls.toSorted()).toEqual(['failing', 'over_mean', 'risk', 'squared'])
    await engine.score({ service: 'scored', event: paid('p2', NOW, 8) })
    expect(calls).toHaveLength(8)
  })

  it('are missing where one that they look at fails, and the others go on', async () => {
    const { engine, telemetry } = await start()
    const answer = await engine.score({ service: 'scored', event: paid('p1', NOW, 8) })
    expect(answer.statuses).toMatchObject({ 'derived.after_failure': 'missing', 'derived.risk': 'fresh' })
    expect(telemetry.total('derived_failures')).toBe(1)
    expect(telemetry.logs.join('\n')).toContain('after_failure')
  })

  it('carry impossible travel into a decision', async () => {
    const world = await start()
    await world.feed('payment', 0, [paid('p1', NOW - HOUR, 8, PARIS), paid('p2', NOW - HOUR / 2, 8)])
    const moved = await world.engine.score({
      service: 'scored',
      event: paid('p3', NOW, 8, MADRID),
      includeFeatures: true,
    })
    expect(moved.features?.['derived.speed']).toBeCloseTo(1052.687, 3)
    expect(moved).toMatchObject({ decision: 'decline', matchedRules: ['risky'] })
    const stayed = await world.engine.score({
      service: 'scored',
      event: paid('p4', NOW, 8, PARIS),
      includeFeatures: true,
    })
    expect(stayed.features?.['derived.speed']).toBe(0)
    expect(stayed.decision).toBe('approve')
  })

  it('answer the same when they are called as functions', () => {
    const view = {
      request: paid('p1', NOW, 8, PARIS),
      spending: { count_1h: 2, mean_1h: 4 },
      places: { places_2: [MADRID, PARIS], place_times_2: [NOW, NOW - HOUR] },
    }
    expect(overMean(view)).toBe(2)
    expect(squared(view)).toBe(4)
    expect(risk(view)).toBe(4 + 2 + 2 + 10)
    expect(() => afterFailure(view)).toThrow('no such luck')
  })
})

describe('the compiler', () => {
  const compile = (exports: Readonly<Record<string, unknown>>) =>
    compileProject({ definitions: [{ file: 'm.ts', exports }], bundleHashes: { 'm.ts': 'c0de' } })
  const problems = (of: Readonly<Record<string, unknown>>): readonly (readonly string[])[] => {
    const compiled = compile({ s: { ...service('s', { request: payment, groups: [spending] }), derived: of } })
    return compiled.ok ? [] : compiled.problems.map(({ code, where, message }) => [code, where, message])
  }

  it('keeps the order in which the service lists them, and takes code without shared answers', () => {
    const compiled = compile({ scored })
    if (!compiled.ok) throw new Error(JSON.stringify(compiled.problems))
    const names = ['risk', 'after_failure', 'over_mean', 'speed']
    expect(compiled.project.plan.services[0]?.derived).toEqual(names)
    const code = compiled.project.services.get('scored')
    expect(code?.derived.map(each => each.name)).toEqual(names)
    const view = {
      request: { amount: 8 },
      spending: { count_1h: 2, mean_1h: 4 },
      places: { places_2: null, place_times_2: null },
      derived: {},
    }
    expect(code?.derived[0]?.evaluate(view)).toBe(8)
    expect(view.derived).toEqual({})
    expect(() => code?.derived[1]?.evaluate(view)).toThrow('no such luck')
  })

  it('refuses what a needed one looks at and the service has not, once', () => {
    const needsRefunds = derived({ groups: [refunds] }, v => v.refunds.n)
    const onRefund = derived({ request: refund }, v => v.request.id)
    const below = derived({ derived: { a: needsRefunds, b: onRefund } }, v => v.derived.a + v.derived.b.length)
    const above = derived({ derived: { below, again: needsRefunds } }, v => v.derived.below)
    expect(problems({ above })).toEqual([
      [
        'HW0404',
        'service s, derived above, which looks at derived below, which looks at derived a',
        'it looks at group refunds',
      ],
      [
        'HW0404',
        'service s, derived above, which looks at derived below, which looks at derived b',
        'it looks at event refund, the request is payment',
      ],
    ])
  })

  it('refuses a needed one that is none, and names the one that answers no value', () => {
    const untyped = derived as unknown as (needs: object, evaluate: (v: unknown) => unknown) => () => number
    const none = untyped({ derived: { x: undefined, y: () => 1 } }, () => 1)
    expect(problems({ none })).toEqual([
      ['HW0403', 'service s, derived none, which looks at derived x', 'that is undefined, not what derived() returned'],
      ['HW0403', 'service s, derived none, which looks at derived y', expect.stringContaining('not what derived()')],
    ])
    const wrong = untyped({}, () => undefined)
    const above = untyped({ derived: { wrong } }, () => 1)
    const compiled = compile({ s: service('s', { request: payment, groups: [], derived: { above } }) })
    if (!compiled.ok) throw new Error(JSON.stringify(compiled.problems))
    const [code] = compiled.project.services.get('s')?.derived ?? []
    expect(() => code?.evaluate({ request: {} })).toThrow(
      'derived feature wrong, which above looks at, returned undefined',
    )
  })
})
