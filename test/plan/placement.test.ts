import fc from 'fast-check'
import { describe, expect, it } from 'vitest'
import { lastEvents, session, tumbling } from '../../features/define/index.ts'
import { EMPTY_CATALOGUE, bindPlan, parseCatalogue, placePlan } from '../../features/plan/units.ts'
import { planOf, standing, unitsOf } from './wishes.ts'
import type { Wish } from './wishes.ts'

describe('units by the edges of windows', () => {
  const HOUR = 3_600_000
  const DAY = 24 * HOUR
  const HORIZON = 300_000

  /** Width of tiles and names of features, by unit. */
  function unitsFor(card: readonly Wish[]): readonly (readonly [number, readonly string[]])[] {
    const plan = planOf({ card })
    const bound = bindPlan(plan, placePlan(plan, EMPTY_CATALOGUE, standing(9)))
    const features = bound.groups.get('card_activity')?.features ?? []
    return bound.units.map(unit => [
      unit.spec.edgeMs,
      features.filter(feature => feature.unit === unit).map(feature => feature.plan.name),
    ])
  }

  it.each<[Wish, number]>([
    [{ window: '7d', edge: '1h' }, HOUR],
    [{ window: '7d', edge: '2h' }, 2 * HOUR],
    [{ window: '7d', edge: '90m' }, 5_400_000],
    [{ window: '7d', edge: '7s' }, 7000],
    [{ window: '128d', edge: '64d' }, 64 * DAY],
    [{ window: '7d' }, 0],
    [{ window: tumbling('1d') }, DAY],
    [{ window: tumbling('7d') }, 7 * DAY],
    [{ window: tumbling('90m', { lookback: 2 }) }, 5_400_000],
    [{ window: session('1h') }, 0],
    [{ window: lastEvents(3) }, 0],
    [{ window: 'lifetime' }, 0],
    [{ family: 'decayedSum' }, 0],
    // The order of events needs the events themselves.
    [{ family: 'gapStd', window: '7d', edge: '1h' }, 0],
    [{ family: 'gapStd', window: tumbling('1d') }, 0],
  ])('have the edge of %j', (card, edgeMs) => {
    expect(unitsFor([card])).toEqual([[edgeMs, ['f0']]])
  })

  it('have an edge that divides those of all their features', () => {
    const card: readonly Wish[] = [
      { name: 'twice', window: '7d', edge: '12h' },
      { name: 'thrice', window: '14d', edge: '18h' },
      { name: 'monthly', window: tumbling('30d') },
      { name: 'weekly', window: tumbling('7d', { lookback: 8 }) },
    ]
    expect(unitsFor(card)).toEqual([
      [6 * HOUR, ['twice', 'thrice']],
      [DAY, ['monthly', 'weekly']],
    ])
  })

  it('keep features apart by the widest spans within which no edge falls', () => {
    const card: readonly Wish[] = [
      { name: 'exact', window: '1h' },
      { name: 'hourly', window: '7d', edge: '2h' },
      { name: 'daily', window: tumbling('1d') },
      { name: 'hourly_too', window: '30d', edge: '1h' },
      { name: 'forever', window: 'lifetime' },
    ]
    expect(unitsFor(card)).toEqual([
      [0, ['exact', 'forever']],
      [HOUR, ['hourly', 'daily', 'hourly_too']],
    ])
    const longer = card.map(wish => (wish.name === 'daily' ? { ...wish, window: tumbling('60d') } : wish))
    expect(unitsFor(longer)).toEqual([
      [0, ['exact', 'forever']],
      [HOUR, ['hourly', 'hourly_too']],
      [60 * DAY, ['daily']],
    ])
  })

  it('keep windows that pick rows apart from exact ones that reach twice as far', () => {
    const card: readonly Wish[] = [
      { name: 'a', window: session('1h', { maxLength: '1d' }) },
      { name: 'b', window: lastEvents(3, { within: '1d' }) },
      { name: 'c', window: lastEvents(3, { within: '25h' }) },
      { name: 'd', window: lastEvents(3) },
      { name: 'e', window: '12h', edge: '1h' },
      { name: 'f', window: session('1h', { maxLength: '12h' }), delay: '12h' },
      { name: 'g', window: session('1h', { maxLength: '12h' }), delay: '13h' },
    ]
    expect(unitsFor([...card, { name: 'exact', window: '2d' }])).toEqual([
      [0, ['a', 'b', 'f']],
      [0, ['c', 'd', 'e', 'g', 'exact']],
    ])
    const all = card.map(wish => wish.name)
    expect(unitsFor([...card, { name: 'exact', window: '47h' }])).toEqual([[0, [...all, 'exact']]])
    expect(unitsFor(card)).toEqual([[0, all]])
    // What is stored as tiles is kept apart in any case.
    expect(unitsFor([...card, { name: 'edged', window: '30d', edge: '1d' }])).toEqual([
      [0, all],
      [DAY, ['edged']],
    ])
  })

  it('bring the same features together in whatever order they come', () => {
    const wish = fc.record({
      window: fc.constantFrom<NonNullable<Wish['window']>>(
        '1h',
        '3d',
        '30d',
        'lifetime',
        tumbling('1h', { lookback: 5 }),
        tumbling('1d'),
        session('1h', { maxLength: '1d' }),
        session('1h', { maxLength: '20d' }),
        lastEvents(3),
        lastEvents(3, { within: '1h' }),
      ),
      edge: fc.constantFrom('1h', '90m', '1d', undefined),
      delay: fc.constantFrom('0s', '2d'),
    })
    const lists = fc.array(wish, { minLength: 1, maxLength: 8 }).chain(list => {
      const named = list.map(({ edge, ...rest }, index): Wish => {
        const edged = edge !== undefined && typeof rest.window === 'string' && /^\d+d$/.test(rest.window)
        return { name: `f${index}`, ...(edged ? { ...rest, edge } : rest) }
      })
      return fc.tuple(fc.constant(named), fc.shuffledSubarray(named, { minLength: named.length }))
    })
    const together = (list: readonly Wish[]) => unitsFor(list).map(([edgeMs, names]) => [edgeMs, [...names].sort()])
    const sorted = (list: readonly Wish[]) =>
      together(list)
        .map(each => JSON.stringify(each))
        .sort()
    fc.assert(
      fc.property(lists, ([list, shuffled]) => {
        expect(sorted(shuffled)).toEqual(sorted(list))
      }),
    )
  })

  it('take edges in where the exact windows of the entity reach as far', () => {
    const card: readonly Wish[] = [
      { name: 'within', window: '29d', edge: '1d' },
      { name: 'yesterday', window: tumbling('1d', { lookback: 1 }) },
      { name: 'beyond', window: '30d', edge: '1d' },
      { name: 'late', window: tumbling('1d'), delay: '30d' },
      { name: 'exact', window: '30d' },
    ]
    expect(unitsFor(card)).toEqual([
      [0, ['within', 'yesterday', 'exact']],
      [DAY, ['beyond', 'late']],
    ])
  })

  it.each<[Wish, number, number, boolean]>([
    [{ window: '1h' }, HOUR, HOUR, false],
    [{ window: '1h', delay: '1h' }, 2 * HOUR, 2 * HOUR, false],
    [{ window: '7d', edge: '1h' }, 7 * DAY + HOUR, 0, false],
    [{ window: '7d', edge: '1h', delay: '2h' }, 7 * DAY + 3 * HOUR, 2 * HOUR, false],
    [{ window: tumbling('1d', { lookback: 2 }), delay: '1h' }, 3 * DAY + HOUR, HOUR, false],
    [{ window: session('1h', { maxLength: '2h' }), delay: '1h' }, 3 * HOUR, 3 * HOUR, false],
    [{ window: lastEvents(3, { within: '1h' }) }, HOUR, HOUR, false],
    [{ window: lastEvents(3), delay: '1h' }, HOUR, HOUR, true],
    [{ window: 'lifetime' }, 0, 0, true],
    [{ family: 'decayedSum', delay: '1h' }, HOUR, HOUR, true],
  ])('of %j reach %d ms back, keep events for %d ms, for ever: %s', (wished, reachMs, rawMs, lifetime) => {
    const plan = planOf({ card: [wished] })
    const [unit] = bindPlan(plan, placePlan(plan, EMPTY_CATALOGUE, standing(9))).units
    expect(unit?.spec.retentionMs).toBe(reachMs + HORIZON)
    expect(unit?.spec.rawMs).toBe(rawMs + HORIZON)
    expect(unit?.spec.partials.map(partial => partial.lifetime)).toEqual([lifetime])
  })

  it('share a partial between windows that are wrapped in the same way, whatever their reach', () => {
    const plan = planOf({
      card: [
        { window: session('1h', { maxLength: '2h' }) },
        { window: session('1h', { maxLength: '3h' }), delay: '1h' },
        { window: session('2h') },
        { window: lastEvents(3) },
        { window: lastEvents(3, { within: '7d' }) },
        { window: lastEvents(4) },
        { window: '3h' },
        { window: 'lifetime' },
      ],
    })
    const catalogue = placePlan(plan, EMPTY_CATALOGUE, standing(9))
    const [unit] = unitsOf(catalogue)
    expect(unit?.partials.map(({ window, lifetime }) => [window, lifetime])).toEqual([
      [{ kind: 'session', gapMs: HOUR }, false],
      [{ kind: 'session', gapMs: 2 * HOUR }, false],
      [{ kind: 'lastEvents', count: 3 }, true],
      [{ kind: 'lastEvents', count: 4 }, true],
      [null, true],
    ])
    const features = bindPlan(plan, catalogue).groups.get('card_activity')?.features ?? []
    expect(features.map(feature => feature.read.partial)).toEqual([0, 0, 1, 2, 2, 3, 4, 4])
    const names = features[0]?.unit.spec.partials.map(partial => partial.aggregator.name)
    expect(names).toEqual([
      'session(3600000) of count',
      'session(7200000) of count',
      'lastEvents(3) of count',
      'lastEvents(4) of count',
      'count',
    ])
  })

  it('find both fields of an aggregator that takes two', () => {
    const plan = planOf({ card: [{ family: 'sum' }, { family: 'argMax' }, { family: 'last' }] })
    const [unit] = bindPlan(plan, placePlan(plan, EMPTY_CATALOGUE, standing(9))).units
    expect(unit?.spec.partials.map(({ column, by }) => [column, by])).toEqual([
      [0, -1],
      [1, 0],
      [1, -1],
    ])
    expect(unit?.spec.partials[1]?.aggregator.name).toBe('argMax:string,decimal(2)')
  })
})

describe('a stored catalogue', () => {
  it('is read back as it was', () => {
    const plan = planOf({
      card: [{ family: 'sum', above: 10 }, { window: session('1h') }, { window: '7d', edge: '1h', family: 'argMax' }],
    })
    const catalogue = placePlan(plan, EMPTY_CATALOGUE, standing(40))
    expect(parseCatalogue(JSON.stringify(catalogue))).toEqual(catalogue)
    expect(placePlan(plan, parseCatalogue(JSON.stringify(catalogue)), standing(50)).revisions).toHaveLength(
      catalogue.revisions.length,
    )
    expect(parseCatalogue(null)).toBe(EMPTY_CATALOGUE)
  })

  it.each(['{"format":1,"nextUnit":3,"revisions":[]}', '{}', '{"format":3}'])(
    'of another format is refused: %s',
    text => {
      expect(() => parseCatalogue(text)).toThrow(/this version reads and writes format 2: empty the online store/)
    },
  )
})
