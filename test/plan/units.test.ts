import fc from 'fast-check'
import { describe, expect, it } from 'vitest'
import { lastEvents, session, tumbling } from '../../features/define/index.ts'
import type { WindowLength } from '../../features/define/index.ts'
import { prepareReads, reachOf } from '../../features/kernel/index.ts'
import { decodeFields } from '../../features/plan/event.ts'
import type { Plan } from '../../features/plan/plan.ts'
import { EMPTY_CATALOGUE, bindPlan, placePlan } from '../../features/plan/units.ts'
import type { BoundFeature, Catalogue } from '../../features/plan/units.ts'
import { planOf, standing, unitsOf } from './wishes.ts'
import type { Setup, Wish } from './wishes.ts'

function featureOf(plan: Plan, catalogue: Catalogue, groupName: string, name: string): BoundFeature {
  const found = bindPlan(plan, catalogue)
    .groups.get(groupName)
    ?.features.find(f => f.plan.name === name)
  if (found === undefined) throw new Error(`no feature ${groupName}.${name}`)
  return found
}

const wish: Wish = { name: 'n', family: 'sum', window: '1h', above: 10 }

describe('placing a plan in units', () => {
  it('gives each entity one unit, and starts them at the first record of the log', () => {
    const plan = planOf({ card: [{}, wish], shop: [{}] })
    const catalogue = placePlan(plan, EMPTY_CATALOGUE, standing(40))
    expect(catalogue.revisions).toHaveLength(1)
    expect(catalogue.revisions[0]).toMatchObject({
      revision: 1,
      source: 'payment',
      incarnation: 'life-1',
      start: [3, 5],
      liveFrom: [3, 5],
    })
    expect(unitsOf(catalogue).map(unit => [unit.id, unit.entity, unit.covers.length])).toEqual([
      [1, 'card', 2],
      [2, 'shop', 1],
    ])
    expect(catalogue.nextUnit).toBe(3)
  })

  it('returns the same catalogue for a plan that it holds already', () => {
    const catalogue = placePlan(planOf({ card: [wish], shop: [{}] }), EMPTY_CATALOGUE, standing(40))
    expect(placePlan(planOf({ card: [wish], shop: [{}] }), catalogue, standing(90))).toBe(catalogue)
  })

  it.each<[string, Wish]>([
    ['another name', { ...wish, name: 'renamed' }],
    ['another description', { ...wish, description: 'in other words' }],
    ['another include, which is answered and not stored', { ...wish, include: 'excludeSelf' }],
  ])('keeps the unit with %s', (_what, changed) => {
    const catalogue = placePlan(planOf({ card: [wish] }), EMPTY_CATALOGUE, standing(40))
    const next = placePlan(planOf({ card: [changed] }), catalogue, standing(90))
    expect(next).toBe(catalogue)
    expect(featureOf(planOf({ card: [changed] }), next, 'card_activity', changed.name ?? '').unit.id).toBe(1)
  })

  it.each<[string, Setup]>([
    ['a new feature', { card: [wish, { ...wish, name: 'm', family: 'last' }] }],
    ['another window', { card: [{ ...wish, window: 'lifetime' }] }],
    ['another where', { card: [{ ...wish, above: 11 }] }],
    ['another delay', { card: [{ ...wish, delay: '1h' }] }],
    ['another lateness', { card: [wish], lateness: '1d' }],
    ['an entity of another name', { card: [wish], shop: [{}], shopName: 'store' }],
    ['a read horizon that reaches further back', { card: [wish], readBack: '2d' }],
  ])('puts %s in a new unit and leaves the old ones alone', (_what, setup) => {
    const before = placePlan(planOf({ card: [wish], shop: [{}] }), EMPTY_CATALOGUE, standing(40))
    const frozen = JSON.stringify(before.revisions)
    const next = placePlan(planOf(setup), before, standing(90))
    expect(JSON.stringify(before.revisions)).toBe(frozen)
    expect(next.revisions.slice(0, 1)).toEqual(before.revisions)
    expect(next.revisions[0]).toBe(before.revisions[0])
    expect(next.revisions).toHaveLength(2)
    expect(next.revisions[1]).toMatchObject({ revision: 2, start: [3, 5], liveFrom: [90, 91] })
    expect(next.revisions[1]?.units.map(unit => unit.id)).toEqual([3])
    expect(next.nextUnit).toBe(4)
    bindPlan(planOf(setup), next)
  })

  it('leaves the units of removed features out of the bound plan, and finds them again', () => {
    const both = planOf({ card: [wish], shop: [{}] })
    const catalogue = placePlan(both, EMPTY_CATALOGUE, standing(40))
    const one = planOf({ card: [wish] })
    const kept = placePlan(one, catalogue, standing(90))
    expect(kept).toBe(catalogue)
    expect(bindPlan(one, kept).units.map(unit => unit.id)).toEqual([1])
    expect(placePlan(both, kept, standing(95))).toBe(catalogue)
    expect(bindPlan(both, catalogue).units.map(unit => unit.id)).toEqual([1, 2])
  })

  it.each(['int', 'absent'] as const)('moves what shares a unit with a field that is now %s', night => {
    const before = planOf({ card: [wish, { name: 'at_night', night: true }] })
    const catalogue = placePlan(before, EMPTY_CATALOGUE, standing(40))
    const after = planOf({ card: [wish], night })
    const next = placePlan(after, catalogue, standing(90))
    expect(next.revisions[0]).toBe(catalogue.revisions[0])
    expect(featureOf(after, next, 'card_activity', 'n').unit.id).toBe(2)
    expect(placePlan(after, next, standing(95))).toBe(next)
    // The field comes back: so does the unit, which goes on from where its canaries are.
    expect(placePlan(before, next, standing(99))).toBe(next)
    expect(featureOf(before, next, 'card_activity', 'n').unit.id).toBe(1)
  })

  it('splits features with more than 31 filters over units', () => {
    const card = Array.from({ length: 40 }, (_, index): Wish => ({ above: index, family: index % 2 ? 'sum' : 'count' }))
    const plan = planOf({ card: [{ name: 'all' }, ...card] })
    const catalogue = placePlan(plan, EMPTY_CATALOGUE, standing(40))
    expect(unitsOf(catalogue).map(unit => unit.filters.length)).toEqual([31, 9])
    const bound = bindPlan(plan, catalogue)
    const [source] = plan.sources
    const fields = { id: 'x', at: 1_700_000_000_000, card: 'c', shop: 's', amount: 20.5, night: false }
    const decoded = source === undefined ? null : decodeFields(source, fields, null)
    if (decoded?.ok !== true) throw new Error('the event is refused')
    for (const { plan: feature, unit, read } of bound.groups.get('card_activity')?.features ?? []) {
      const partial = unit.spec.partials[read.partial]
      const { mask } = unit.project(decoded.event)
      const passes = partial?.filter === -1 || (mask & (1 << (partial?.filter ?? 0))) !== 0
      const index = Number(feature.name.slice(1))
      expect(passes, feature.name).toBe(feature.name === 'all' || index <= 21)
      expect(partial?.aggregator.name, feature.name).toMatch(new RegExp(`^${feature.aggregator.family}`))
    }
  })

  it('names the feature that has no unit, and the source whose standing is missing', () => {
    const plan = planOf({ card: [wish] })
    expect(() => bindPlan(plan, EMPTY_CATALOGUE)).toThrow(/card_activity\.n has no unit/)
    expect(() => placePlan(plan, EMPTY_CATALOGUE, new Map())).toThrow(/"payment"/)
  })
})

const wishes = fc.uniqueArray(
  fc.record({
    name: fc.constantFrom('a', 'b', 'c', 'd', 'e'),
    family: fc.constantFrom('count', 'sum', 'last', 'argMax', 'gapStd'),
    window: fc.constantFrom<WindowLength>(
      '5m',
      '1h',
      'lifetime',
      tumbling('1h'),
      tumbling('1d', { lookback: 3 }),
      session('5m', { maxLength: '1h' }),
      session('5m', { maxLength: '2h' }),
      lastEvents(3),
      lastEvents(3, { within: '1h' }),
    ),
    above: fc.constantFrom(1, 2, 3),
    delay: fc.constantFrom('0s', '1h'),
    description: fc.constantFrom('', 'x'),
  }),
  { selector: each => each.name, maxLength: 5 },
) as fc.Arbitrary<readonly Wish[]>

const plans = fc.record({
  card: wishes,
  shop: wishes,
  lateness: fc.constantFrom('1m', '1d'),
  readBack: fc.constantFrom('5m', '2d'),
  night: fc.constantFrom('boolean', 'int', 'absent'),
}) as fc.Arbitrary<Setup>

describe('any sequence of plans', () => {
  it('binds every feature, never uses an id again and never changes a unit', () => {
    fc.assert(
      fc.property(fc.array(plans, { minLength: 1, maxLength: 8 }), setups => {
        let catalogue = EMPTY_CATALOGUE
        let end = 10
        for (const setup of setups) {
          const plan = planOf(setup)
          const before = catalogue
          const frozen = JSON.stringify(before)
          end += 7
          catalogue = placePlan(plan, before, standing(end))
          expect(JSON.stringify(before)).toBe(frozen)
          before.revisions.forEach((revision, index) => expect(catalogue.revisions[index]).toBe(revision))
          expect(placePlan(plan, catalogue, standing(end + 1))).toBe(catalogue)
          for (const revision of catalogue.revisions.slice(before.revisions.length)) {
            const first = !before.revisions.some(known => known.source === revision.source)
            expect(revision.liveFrom).toEqual(first ? [3, 5] : [end, end + 1])
            for (const unit of revision.units) expect(unit.id).toBeGreaterThanOrEqual(before.nextUnit)
          }
          const ids = unitsOf(catalogue).map(unit => unit.id)
          expect(new Set(ids).size).toBe(ids.length)
          expect(Math.max(0, ...ids)).toBeLessThan(catalogue.nextUnit)

          const bound = bindPlan(plan, catalogue)
          const used = new Set<number>()
          for (const of of plan.groups) {
            const features = bound.groups.get(of.name)?.features ?? []
            expect(features.map(feature => feature.plan)).toEqual(of.features)
            for (const { plan: feature, unit, read } of features) {
              used.add(unit.id)
              const stored = unitsOf(catalogue).find(each => each.id === unit.id)
              expect(stored?.covers).toContain(feature.stateHash)
              expect([unit.entity, stored?.keyFields]).toEqual([of.entity, of.keyFields])
              const partial = unit.spec.partials[read.partial]
              const { input, by, where, window } = feature
              expect(stored?.partials[read.partial]).toMatchObject({ input, by, where })
              expect(partial?.aggregator.inner !== undefined).toBe(
                window.kind === 'session' || window.kind === 'lastEvents',
              )
              if (window.kind === 'lifetime') expect(partial?.lifetime).toBe(true)
              expect(unit.spec.retentionMs).toBeGreaterThanOrEqual(reachOf(window) + unit.spec.horizonMs)
              expect(unit.spec.rawMs).toBeGreaterThanOrEqual(window.delayMs + unit.spec.horizonMs)
              if (unit.spec.edgeMs > 0) {
                expect(window.kind).toBe('tumbling')
                expect(window.kind === 'tumbling' && window.lengthMs % unit.spec.edgeMs).toBe(0)
              } else expect(unit.spec.rawMs).toBe(unit.spec.retentionMs)
              const [source] = plan.sources
              const needed = Math.max(source?.latenessMs ?? 0, source?.readBackMs ?? 0)
              expect(unit.spec.horizonMs).toBeGreaterThanOrEqual(needed)
              expect(unit.spec.latenessMs).toBe(source?.latenessMs)
            }
          }
          expect(bound.units.map(unit => unit.id)).toEqual([...used].sort((a, b) => a - b))
          for (const unit of bound.units) {
            const features = [...bound.groups.values()].flatMap(each => each.features)
            const reads = features.filter(feature => feature.unit === unit).map(feature => feature.read)
            expect(() => prepareReads(unit.spec, reads)).not.toThrow()
          }
        }
      }),
      { numRuns: 150 },
    )
  })
})
