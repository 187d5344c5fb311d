import fc from 'fast-check'
import { describe, expect, it } from 'vitest'
import * as cards from '../../features/cards/index.ts'
import {
  derived,
  entity,
  event,
  group,
  lastEvents,
  policy,
  service,
  session,
  t,
  tumbling,
} from '../../features/define/index.ts'
import { canonicalJson } from '../../features/plan/canonical.ts'
import { compileProject, requestKeyFields } from '../../features/plan/compile.ts'
import { eventSource } from '../../features/plan/group-source.ts'
import { hashOf } from '../../features/plan/hash.ts'
import { renderPlan } from '../../features/plan/render.ts'
import { decide } from '../../features/policy/index.ts'
import { projectOf } from './source.ts'

const payment = event('payment', {
  topic: 'payments',
  id: 'id',
  time: 'at',
  lateness: '1d',
  description: 'A payment',
  fields: { id: t.string(), at: t.timestamp(), card: t.string(), shop: t.int(), amount: t.decimal(2), e: t.vector(2) },
})
const visit = event('visit', {
  topic: 'visits',
  id: 'id',
  time: 'at',
  lateness: '0s',
  fields: { id: t.int64(), at: t.timestamp(), site: t.optional(t.string()) },
})
const card = entity('card', { key: 'card', description: 'A card' })
const shop = entity('shop', { key: 'shop' })
const activity = group('activity', { entity: card, source: payment }, e => ({
  spend_1d: e.sum(e.amount, '1d', {
    where: e.amount
      .gt(0.5)
      .and(e.shop.in([1, 2]))
      .or(e.amount.isNull().not()),
  }),
  mean_1d: e.mean(e.amount, '90m', { whenEmpty: 0, include: 'excludeSelf', description: 'Usual amount' }),
  last_e: e.last(e.e, 'lifetime', { whenEmpty: [0, 0] }),
}))
const visits = group('visits', { entity: shop, source: visit, key: 'site', maxAge: '30s' }, e => ({
  n: e.count('30s', { delay: '7d', where: e.site.startsWith('a') }),
}))
const ratio = derived({ request: payment, groups: [activity] }, v => v.request.amount / v.activity.mean_1d)
const rules = policy('rules', {
  request: payment,
  derived: { ratio },
  outcomes: ['approve', 'decline'],
  rules: [{ name: 'large', when: v => v.derived.ratio > 10, outcome: 'decline' }],
  thresholds: { decline: 0.5 },
  fallback: 'decline',
})
const fraud = service('fraud', {
  request: payment,
  groups: [activity, visits],
  derived: { ratio, text: v => `${v.visits.n}`, wrong: () => undefined as unknown as number },
  model: 'fraud',
  policy: rules,
})

describe('a project', () => {
  const project = projectOf({ fraud })
  const { plan } = project

  it('holds all that an export uses, sorted by name and frozen', () => {
    expect(plan.sources.map(source => source.name)).toEqual(['payment', 'visit'])
    expect(plan.entities.map(each => each.name)).toEqual(['card', 'shop'])
    expect(plan.groups.map(each => each.name)).toEqual(['activity', 'visits'])
    expect(Object.isFrozen(plan.groups[0]?.features[0]?.window)).toBe(true)
    expect(plan.groups[0]?.features.map(feature => feature.valueType)).toEqual([
      'number',
      'number',
      'readonly number[]',
    ])
    expect(JSON.parse(JSON.stringify(plan))).toEqual(plan)
    const { hash, ...content } = plan
    expect(hash).toBe(hashOf(content))
  })

  it('does not depend on the order or number of modules', () => {
    const hash = 'c0de'.repeat(16)
    const bundleHashes = { 'a.ts': hash, 'b.ts': hash, 'c.ts': hash }
    const modules = [
      { file: 'a.ts', exports: { fraud } },
      { file: 'b.ts', exports: { visits, card, again: activity } },
      { file: 'c.ts', exports: { shop, ratio, rules, payment, visit, helper: () => 1 } },
    ]
    for (const definitions of [modules, modules.toReversed()]) {
      const compiled = compileProject({ definitions, bundleHashes })
      expect(compiled.ok && compiled.project.plan).toEqual(plan)
    }
  })

  it('takes two copies of one definition, as bundling makes them, for the same', () => {
    const copy = event('payment', {
      ...(payment.options as never as Parameters<typeof event>[1]),
      fields: payment.fields,
    })
    expect(copy).not.toBe(payment)
    expect(projectOf({ fraud, copy }).plan.hash).toBe(plan.hash)
  })

  it('carries the code of services', () => {
    const code = project.services.get('fraud')
    const view = { request: { amount: 30 }, activity: { mean_1d: 2 }, visits: { n: 3 } }
    expect(code?.derived.map(each => each.name)).toEqual(['ratio', 'text', 'wrong'])
    expect(code?.derived[0]?.evaluate(view)).toBe(15)
    expect(code?.derived[1]?.evaluate(view)).toBe('3')
    expect(() => code?.derived[2]?.evaluate(view)).toThrow('derived feature wrong returned undefined')
    const decision = code?.policy && decide(code.policy, { ...view, derived: { ratio: 15 } }, 0.1)
    expect(decision).toMatchObject({ outcome: 'decline', matchedRules: ['large'] })
  })

  it('knows which field of the request names the entity of a group', () => {
    const [pay, seen] = plan.sources
    const [byCard, byShop] = plan.groups
    const [cardEntity, shopEntity] = plan.entities
    if (!pay || !seen || !byCard || !byShop || !cardEntity || !shopEntity) throw new Error('incomplete')
    const found = (fields: readonly string[]) => ({ fields, missing: [] })
    expect(requestKeyFields(byCard, eventSource(pay), pay, cardEntity)).toEqual(found(['card']))
    expect(requestKeyFields(byShop, eventSource(seen), pay, shopEntity)).toEqual(found(['shop']))
    expect(requestKeyFields(byShop, eventSource(seen), seen, shopEntity)).toEqual(found(['site']))
    expect(requestKeyFields(byCard, eventSource(pay), seen, cardEntity).missing).toEqual(['card'])
  })

  it('has service hashes that cover code, features and request', () => {
    const hashOfService = (exports: Record<string, unknown>, bundle: string): string | undefined => {
      const compiled = compileProject({ definitions: [{ file: 'm.ts', exports }], bundleHashes: { 'm.ts': bundle } })
      return compiled.ok ? compiled.project.plan.services[0]?.definitionHash : undefined
    }
    const before = hashOfService({ fraud }, 'aa')
    expect(hashOfService({ fraud }, 'bb')).not.toBe(before)
    const fewer = service('fraud', { request: payment, groups: [activity], derived: { ratio }, policy: rules })
    expect(hashOfService({ fewer }, 'aa')).not.toBe(before)
    const renamed = service('cheat', {
      request: payment,
      groups: [activity, visits],
      derived: { ratio, text: v => `${v.visits.n}`, wrong: () => 0 },
      model: 'fraud',
      policy: rules,
      description: 'other words',
    })
    expect(hashOfService({ renamed }, 'aa')).toBe(before)
  })

  it('reads as text, always the same', () => {
    expect(renderPlan(plan)).toBe(renderPlan(projectOf({ fraud }).plan))
    expect(renderPlan(plan).replaceAll(/[0-9a-f]{12}/g, '#')).toMatchInlineSnapshot(`
      "plan #

      event payment: A payment
        topic payments with 4 partitions, lateness 1d, read back 5m, clock skew 5m, unknown fields: refuse
        id      string      id, record key
        at      timestamp   time
        card    string
        shop    int
        amount  decimal(2)
        e       vector(2)

      event visit
        topic visits with 4 partitions, lateness 0s, read back 5m, clock skew 5m, unknown fields: refuse
        id    int64            id, record key
        at    timestamp        time
        site  optional string

      entity card by card: A card

      entity shop by shop

      group activity of card by card from payment, stale after 1m
        spend_1d  sum(amount) where ((amount > 0.5 and shop in [1, 2]) or not amount is null)  1d        sql               number                            state #  definition #
        mean_1d   mean(amount)                                                                 90m       sql  excludeSelf  number (empty: 0)                 state #  definition #  Usual amount
        last_e    last(e)                                                                      lifetime  sql               readonly number[] (empty: [0,0])  state #  definition #

      group visits of shop by site from visit, stale after 30s
        n  count() where site starts with "a"  30s, delay 7d  sql  number  state #  definition #

      service fraud for payment
        groups   activity, visits
        derived  ratio, text, wrong
        model    fraud
        policy   rules #: approve < decline
        definition #, code #
      "
    `)
  })

  it('shows every window and parameter, and how it is computed offline', () => {
    const all = group('all', { entity: card, source: payment }, e => ({
      a: e.count('7d', { edge: '1h', delay: '1d' }),
      b: e.count(tumbling('1d')),
      c: e.count(tumbling('1d', { lookback: 1 })),
      d: e.count(session('30m')),
      e: e.count(lastEvents(10, { within: '7d' })),
      f: e.count(lastEvents(10)),
      g: e.decayedSum(e.amount, '1h'),
      h: e.argMax(e.shop, e.amount, '90s'),
      i: e.histogram(e.amount, [0.5, 10], '1d', { where: e.shop.gt(5) }),
      j: e.quantile(e.amount, 0.9, '1d'),
      k: e.topK(e.shop, 3, session('1h', { maxLength: '2h' })),
      l: e.categoryHistogram(e.card, ['a', 'b c'], 'lifetime'),
    }))
    const text = renderPlan(projectOf({ all }).plan)
    const lines = text.slice(text.indexOf('group all')).split('\n').slice(1)
    const shown = lines.map(line =>
      line
        .replace(/ +state .*$/, '')
        .replaceAll(/ {2,}/g, '  ')
        .trim(),
    )
    expect(shown.filter(line => line !== '')).toMatchInlineSnapshot(`
      [
        "a  count()  7d, edge 1h, delay 1d  sql  number",
        "b  count()  tumbling 1d  sql  number",
        "c  count()  tumbling 1d, 1 back  sql  number",
        "d  count()  session 30m, at most 1d  sql  number",
        "e  count()  last 10 events within 7d  sql  number",
        "f  count()  last 10 events  sql  number",
        "g  decayedSum(amount, halfLifeMs: 1h)  decay 1h  sql  number",
        "h  argMax(shop, amount)  90s  sql  number | null",
        "i  histogram(amount, edges: [0.5, 10]) where shop > 5  1d  sql  readonly number[]",
        "j  quantile(amount, error: 0.01, buckets: 2048, q: 0.9)  1d  kernel  number | null",
        "k  topK(shop, bound: 1000, k: 3)  session 1h, at most 2h  kernel  readonly (readonly [number, number])[]",
        "l  categoryHistogram(card, categories: [a, b c])  lifetime  sql  readonly number[]",
      ]
    `)
  })

  it('is made of the shipped card definitions, with the names and windows that were promised', () => {
    const names = projectOf(cards).plan.groups.flatMap(each =>
      each.features.map(feature => `${each.name}.${feature.name}`),
    )
    expect(names.sort()).toEqual(
      [1, 7, 30]
        .flatMap(d => [
          `customer.count_${d}d`,
          `customer.mean_amount_${d}d`,
          `terminal.count_${d}d_delayed`,
          `terminal.risk_${d}d`,
        ])
        .sort(),
    )
  })
})

describe('canonical JSON', () => {
  it('is the same for every order of keys, and parses to the same value', () => {
    fc.assert(
      fc.property(fc.jsonValue(), value => {
        const text = canonicalJson(value)
        expect(JSON.parse(text)).toEqual(JSON.parse(JSON.stringify(value)))
        const reversed = (part: unknown): unknown => {
          if (Array.isArray(part)) return part.map(reversed)
          if (typeof part !== 'object' || part === null) return part
          return Object.fromEntries(
            Object.entries(part)
              .reverse()
              .map(([key, item]) => [key, reversed(item)]),
          )
        }
        expect(canonicalJson(reversed(value))).toBe(text)
      }),
    )
  })

  it('leaves undefined properties out and refuses what JSON cannot carry', () => {
    expect(canonicalJson({ b: 1, a: [true, null, 'x"'], c: undefined })).toBe('{"a":[true,null,"x\\""],"b":1}')
    for (const value of [NaN, Infinity, 5n, () => 1, undefined, [undefined], Symbol('x')]) {
      expect(() => canonicalJson(value)).toThrow(TypeError)
    }
  })

  it('is hashed by SHA-256', () => {
    expect(hashOf({})).toBe('44136fa355b3678a1146ad16f7e8649e94fb4fc21fe77e8310c060f61caaff8a')
  })
})
