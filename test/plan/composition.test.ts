import fc from 'fast-check'
import { describe, expect, it } from 'vitest'
import { entity, event, group, t, union } from '../../features/define/index.ts'
import { joinKey } from '../../features/plan/entity-key.ts'
import { TYPICAL_EVENTS, estimateGroup, exactWindowSizes } from '../../features/plan/estimate.ts'
import { decodeFields } from '../../features/plan/event.ts'
import { eventsOf, groupSource } from '../../features/plan/group-source.ts'
import type { Plan } from '../../features/plan/plan.ts'
import { renderPlan } from '../../features/plan/render.ts'
import { EMPTY_CATALOGUE, bindPlan, placePlan, stateChange } from '../../features/plan/units.ts'
import type { BoundPlan } from '../../features/plan/units.ts'
import { MOVEMENTS, card, fieldsOf, freshStandings, movement, moves, pair, payment, refund } from './movements.ts'
import { problemsOf, projectOf } from './source.ts'
import { unitsOf } from './wishes.ts'

const T = 1_700_000_000_000

function bind(plan: Plan): BoundPlan {
  return bindPlan(plan, placePlan(plan, EMPTY_CATALOGUE, freshStandings(plan)))
}

const text = fc.oneof(fc.string(), fc.string({ unit: fc.constantFrom('|', '\\', 'a', '') }))

describe('the text of a key of several parts', () => {
  it('is another one for other parts, and the part itself where there is one', () => {
    fc.assert(
      fc.property(
        fc.array(text, { minLength: 2, maxLength: 4 }),
        fc.array(text, { minLength: 2, maxLength: 4 }),
        (a, b) => {
          expect(joinKey(a) === joinKey(b)).toBe(JSON.stringify(a) === JSON.stringify(b))
        },
      ),
      { numRuns: 2000 },
    )
    fc.assert(
      fc.property(text, part => {
        expect(joinKey([part])).toBe(part)
      }),
    )
  })

  it('can be read', () => {
    expect(joinKey(['c-1', '17'])).toBe('c-1|17')
    expect(joinKey(['a|b', 'c'])).toBe('a\\|b|c')
    expect(joinKey(['a', 'b|c'])).toBe('a|b\\|c')
    expect(joinKey(['', ''])).toBe('|')
  })
})

describe('a composite key', () => {
  const { plan } = projectOf(MOVEMENTS)
  const bound = bind(plan)
  const unitOf = (name: string) => bound.groups.get(name)!.features[0]!.units

  it('names an entity by all its parts, in the order of the entity, and none where one is missing', () => {
    const [fromPayments] = unitOf('pair_payments')
    const [fromRefunds] = unitOf('pair_refunds')
    const movementOf = (kind: 'payment' | 'refund', shop: string | null) => {
      const source = plan.sources.find(each => each.name === kind)!
      const decoded = decodeFields(
        source,
        fieldsOf({ kind, id: '1', at: T, card: 'a', shop, cents: 1, note: 'n' }),
        null,
      )
      if (!decoded.ok) throw new Error(decoded.reason)
      return decoded.event
    }
    expect(fromPayments!.entityId(movementOf('payment', 'b|c'))).toBe('a|b\\|c')
    expect(fromPayments!.entityId(movementOf('payment', null))).toBe(null)
    expect(fromRefunds!.entityId(movementOf('refund', 'b'))).toBe('a|b')
    expect(unitOf('pair_moves').map(unit => unit.source.name)).toEqual(['payment', 'refund'])
    expect(unitOf('pair_moves')[1]!.entityId(movementOf('refund', 'b'))).toBe('a|b')
  })

  it('that has the record key among its parts is in one partition', () => {
    expect(unitOf('pair_payments')[0]!.byRecordKey).toBe(true)
    expect(unitOf('pair_refunds')[0]!.byRecordKey).toBe(false)
    const long = (source: typeof payment, of: ReturnType<typeof entity>) =>
      problemsOf({ g: group('g', { entity: of as typeof pair, source }, e => ({ f: e.gapStd('300d') })) }).map(
        p => p.code,
      )
    expect(long(payment, pair)).toEqual([])
    expect(long(payment, entity('other', { key: ['shop', 'note'] }))).toEqual(['HW0313'])
  })

  it('of one part is that part: the same state, told from a key in another order', () => {
    const hashOf = (key: string | readonly [string, ...string[]]) =>
      projectOf({
        g: group('g', { entity: entity('e', { key }) as unknown as typeof card, source: payment }, e => ({
          n: e.count('1h'),
        })),
      }).plan.groups[0]?.features[0]?.stateHash
    expect(hashOf(['card'])).toBe(hashOf('card'))
    expect(hashOf(['card', 'shop'])).not.toBe(hashOf(['shop', 'card']))
    expect(hashOf(['card', 'shop'])).not.toBe(hashOf('card'))
  })
})

describe('a union', () => {
  const { plan, warnings } = projectOf(MOVEMENTS)

  it('is in the plan with its events, wherever it was exported', () => {
    expect(warnings).toEqual([])
    expect(plan.sources.map(source => source.name)).toEqual(['payment', 'refund'])
    expect(plan.unions).toMatchObject([
      {
        name: 'movement',
        members: [
          { source: 'payment', fields: { card: 'card', shop: 'shop', amount: 'amount', note: 'note' } },
          { source: 'refund', fields: { card: 'account', shop: 'merchant', amount: 'value', note: 'amount' } },
        ],
      },
    ])
    expect(projectOf({ movement }).plan.sources.map(source => source.name)).toEqual(['payment', 'refund'])
    expect(projectOf({ refund, moves, payment, movement, card }).plan.groups).toHaveLength(1)
    expect(eventsOf(plan, { source: 'movement' })).toEqual(['payment', 'refund'])
    expect(() => groupSource(plan, 'nothing')).toThrow('"nothing"')
    const reads = renderPlan(plan)
    expect(reads).toContain(`union movement of payment, refund
  card    string           payment.card    refund.account
  shop    optional string  payment.shop    refund.merchant
  amount  decimal(2)       payment.amount  refund.value
  note    optional string  payment.note    refund.amount`)
    expect(reads).toContain('entity card_at_shop by card, shop')
    expect(reads).toContain('group pair_refunds of card_at_shop by account, merchant from refund')
    expect(reads).toContain('group moves of card by card from movement')
  })

  it('has a unit for each of its events, alike but for the lateness', () => {
    const bound = bind(plan)
    const catalogue = placePlan(plan, EMPTY_CATALOGUE, freshStandings(plan))
    expect(catalogue.revisions.map(revision => revision.source)).toEqual(['payment', 'refund'])
    for (const { units } of bound.groups.get('moves')!.features) {
      const [a, b] = units.map(unit => unitsOf(catalogue).find(each => each.id === unit.id)!)
      expect([a!.source, b!.source]).toEqual(['payment', 'refund'])
      expect(a!.union!.units).toEqual([a!.id, b!.id])
      expect(b!.union!.units).toEqual([a!.id, b!.id])
      const shape = (unit: typeof a) => ({ ...unit!, id: 0, source: '', latenessMs: 0, union: null })
      expect(shape(a)).toEqual(shape(b))
      expect([a!.latenessMs, b!.latenessMs, a!.horizonMs]).toEqual([600_000, 3_600_000, 3_600_000])
    }
    expect(placePlan(plan, catalogue, freshStandings(plan))).toBe(catalogue)
    expect(stateChange(plan, catalogue)).toEqual({ added: [], unusedUnits: [] })
    expect(bound.units.map(unit => unit.id)).toEqual(
      unitsOf(catalogue)
        .map(unit => unit.id)
        .sort((a, b) => a - b),
    )
  })

  interface Change {
    readonly amount?: 'value' | 'fee'
    readonly lateness?: '1h' | '2h'
    readonly readBack?: '5m' | '5d'
    readonly reversed?: boolean
    /** Whether refunds have a reason, which a second feature looks at. */
    readonly reason?: boolean
  }

  const planWith = ({ amount = 'value', lateness = '1h', readBack = '5m', reversed, reason }: Change): Plan => {
    const fields = { no: t.string(), at: t.timestamp(), card: t.string(), value: t.decimal(2), fee: t.decimal(2) }
    const basics = { topic: 'refunds', id: 'no', time: 'at', lateness, readBack } as const
    const members = <R extends typeof fields>(back: ReturnType<typeof event<'refund', R>>, map: object) => {
      const from = [{ source: payment }, { source: back, map }]
      return (reversed === true ? from.toReversed() : from) as never
    }
    if (reason !== true) {
      const of = { card: t.string(), amount: t.decimal(2) }
      const both = union('movement', { fields: of, from: members(event('refund', { ...basics, fields }), { amount }) })
      return projectOf({ g: group('g', { entity: card, source: both }, e => ({ sum: e.sum(e.amount, '1h') })) }).plan
    }
    const back = event('refund', { ...basics, fields: { ...fields, reason: t.string() } })
    const of = { card: t.string(), amount: t.decimal(2), note: t.optional(t.string()) }
    const both = union('movement', { fields: of, from: members(back, { amount, note: 'reason' }) })
    return projectOf({
      g: group('g', { entity: card, source: both }, e => ({
        sum: e.sum(e.amount, '1h'),
        noted: e.count('1h', { where: e.note.isNotNull() }),
      })),
    }).plan
  }

  const hashOf = (of: Plan) => of.groups[0]?.features[0]?.stateHash

  it('has state that covers topics, mapping and lateness, not the order of its events', () => {
    const before = hashOf(planWith({}))
    expect(hashOf(planWith({ reversed: true }))).toBe(before)
    expect(hashOf(planWith({ readBack: '5d' }))).toBe(before)
    expect(hashOf(planWith({ reason: true }))).toBe(before)
    expect(hashOf(planWith({ amount: 'fee' }))).not.toBe(before)
    expect(hashOf(planWith({ lateness: '2h' }))).not.toBe(before)
    const alone = group('alone', { entity: card, source: payment }, e => ({ sum: e.sum(e.amount, '1h') }))
    expect(hashOf(projectOf({ alone }).plan)).not.toBe(before)
    expect(planWith({ reversed: true }).hash).toBe(planWith({}).hash)
    expect(planWith({ amount: 'fee' }).hash).not.toBe(planWith({}).hash)
  })

  it.each<[string, Change, Change]>([
    ['another mapping', {}, { amount: 'fee' }],
    ['another lateness', {}, { lateness: '2h' }],
    ['a read horizon that reaches further back', {}, { readBack: '5d' }],
    ['a field less, which other features looked at', { reason: true }, {}],
  ])('gets new units of all its events for %s', (_what, from, to) => {
    const [plain, changed] = [planWith(from), planWith(to)]
    const before = placePlan(plain, EMPTY_CATALOGUE, freshStandings(plain))
    const next = placePlan(changed, before, freshStandings(changed))
    expect(next.revisions.slice(0, 2)).toEqual(before.revisions)
    expect(next.revisions.slice(2).map(({ source, units }) => [source, units.map(unit => unit.id)])).toEqual([
      ['payment', [3]],
      ['refund', [4]],
    ])
    const idsOf = (of: Plan) =>
      bindPlan(of, next)
        .groups.get('g')!
        .features[0]!.units.map(unit => unit.id)
    expect(idsOf(changed)).toEqual([3, 4])
    expect(idsOf(plain)).toEqual([1, 2])
    expect(stateChange(changed, next)).toEqual({ added: [], unusedUnits: [1, 2] })
  })

  it('takes an equal share of the rate for each event in estimates', () => {
    const one = bind(
      projectOf({ g: group('g', { entity: card, source: payment }, e => ({ n: e.sum(e.amount, '7d') })) }).plan,
    )
    const two = bind(
      projectOf({ g: group('g', { entity: card, source: movement }, e => ({ n: e.sum(e.amount, '7d') })) }).plan,
    )
    const rate = { ...TYPICAL_EVENTS, eventsPerEntityPerDay: 100 }
    const [ofOne, ofTwo] = [one, two].map(each => estimateGroup(each.groups.get('g')!, rate))
    expect(ofTwo!.pointsHeld / ofOne!.pointsHeld).toBeCloseTo(1, 1)
    // Refunds are spread over three partitions and have short ids: no more bytes an event, three more headers.
    expect(ofTwo!.bytesPerEntity / ofOne!.bytesPerEntity).toBeGreaterThan(0.4)
    expect(ofTwo!.bytesPerEntity / ofOne!.bytesPerEntity).toBeLessThan(1.5)
    const group2 = two.groups.get('g')!.plan
    const [size] = exactWindowSizes({ ...group2, eventsPerEntityPerDay: 100 }, groupSource(two.plan, 'movement'))
    expect(size!.bytes / ofTwo!.bytesPerEntity).toBeGreaterThan(0.8)
    expect(size!.bytes / ofTwo!.bytesPerEntity).toBeLessThan(4)
  })
})
