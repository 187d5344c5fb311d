import { describe, expect, it } from 'vitest'
import {
  derived,
  entity,
  event,
  group,
  lastEvents,
  service,
  session,
  t,
  tumbling,
} from '../../features/define/index.ts'
import { definitionKind, parseDuration } from '../../features/define/marks.ts'

const login = event('login', {
  topic: 'logins',
  id: 'id',
  time: 'at',
  lateness: '1h',
  fields: { id: t.string(), at: t.timestamp(), sum: t.int(), user: t.optional(t.string({ description: 'who' })) },
})
const user = entity('user', { key: 'user' })

describe('durations', () => {
  it.each([
    ['30s', 30_000],
    ['5m', 300_000],
    ['24h', 86_400_000],
    ['400d', 34_560_000_000],
    ['0s', 0],
  ])('%s is %d ms', (text, ms) => expect(parseDuration(text)).toBe(ms))

  it.each(['-5m', '5min', '5', 'm', '', ' 5m', '5m ', '05m', '1.5h', '1e3s', '5M', '99999999999d', 5, null, undefined])(
    '%j is none',
    text => expect(parseDuration(text)).toBeNull(),
  )
})

describe('definitions', () => {
  it('are recognised by their mark, also on functions', () => {
    const shared = derived({ request: login }, v => v.request.sum)
    const g = group('g', { entity: user, source: login }, e => ({ n: e.count('1h') }))
    const s = service('s', { request: login, groups: [g], derived: { shared } })
    const kinds = [login, user, g, shared, s, t.int(), g.features['n']].map(definitionKind)
    expect(kinds).toEqual(['event', 'entity', 'group', 'derived', 'service', 'field', 'feature'])
    expect([null, undefined, 5, 'event', {}, () => 1].map(definitionKind)).toEqual([null, null, null, null, null, null])
    expect(shared({ request: { id: '', at: 0, sum: 4, user: null } })).toBe(4)
  })

  it('keep a description through optional, unless there is another', () => {
    expect(login.fields.user.description).toBe('who')
    expect(t.optional(t.int({ description: 'a' }), { description: 'b' }).description).toBe('b')
  })

  it('record what the author wrote as plain data', () => {
    const g = group('g', { entity: user, source: login }, e => ({
      n: e.count('1h', { where: e.user.eq('x').and(e.at.gt(5)).or(e.user.isNull().not()), delay: '1d' }),
      s: e.sum(e.field('sum'), '7d'),
      l: e.lastN(e.user, 3, 'lifetime'),
      d: e.distinct(e.user, '7d', { bound: 10, description: 'how many' }),
    }))
    const at = { op: 'field', name: 'user' }
    const drafts = Object.values(g.features).map(feature => (feature as { draft: unknown }).draft)
    expect(JSON.parse(JSON.stringify(drafts))).toEqual([
      {
        family: 'count',
        params: {},
        input: null,
        by: null,
        window: '1h',
        options: {
          delay: '1d',
          where: {
            draft: {
              op: 'or',
              terms: [
                {
                  op: 'and',
                  terms: [
                    { op: 'eq', left: at, right: { op: 'literal', value: 'x' } },
                    { op: 'gt', left: { op: 'field', name: 'at' }, right: { op: 'literal', value: 5 } },
                  ],
                },
                { op: 'not', term: { op: 'isNull', term: at } },
              ],
            },
          },
        },
      },
      { family: 'sum', params: {}, input: { op: 'field', name: 'sum' }, by: null, window: '7d', options: {} },
      { family: 'lastN', params: { n: 3 }, input: at, by: null, window: 'lifetime', options: {} },
      {
        family: 'distinct',
        params: {},
        input: at,
        by: null,
        window: '7d',
        options: { bound: 10, description: 'how many' },
      },
    ])
  })

  it('record windows and the places of arguments', () => {
    const g = group('g', { entity: user, source: login }, e => ({
      a: e.argMax(e.user, e.at, tumbling('1d', { lookback: 1 }), { delay: '1d' }),
      b: e.quantile(e.field('sum'), 0.9, session('30m', { maxLength: '2d' }), { error: 0.05 }),
      c: e.gapMean(lastEvents(10, { within: '7d' }), { whenEmpty: 0 }),
      d: e.gapMean(e.user, lastEvents(10)),
      e: e.decayedSum(e.field('sum'), '1h'),
      f: e.decayedCount('1h', { description: 'x' }),
      g: e.decayedCount(e.user, '1h'),
      h: e.categoryHistogram(e.user, ['a', 'b'], '7d', { edge: '1h' }),
    }))
    const drafts = Object.values(g.features).map(feature => (feature as { draft: Record<string, unknown> }).draft)
    const at = { op: 'field', name: 'user' }
    const last = { kind: 'lastEvents', count: 10 }
    const [a, b, c, d, ...rest] = JSON.parse(JSON.stringify(drafts)) as readonly Record<string, unknown>[]
    expect(a).toMatchObject({ input: at, by: { op: 'field', name: 'at' }, options: { delay: '1d' } })
    expect(a?.['window']).toEqual({ kind: 'tumbling', length: '1d', options: { lookback: 1 } })
    expect(b).toMatchObject({ params: { q: 0.9 }, options: { error: 0.05 } })
    expect(b?.['window']).toEqual({ kind: 'session', gap: '30m', options: { maxLength: '2d' } })
    expect(c).toMatchObject({ input: null, window: { ...last, options: { within: '7d' } }, options: { whenEmpty: 0 } })
    expect(d).toMatchObject({ input: at, window: { ...last, options: {} }, options: {} })
    const decay = { kind: 'decay', halfLife: '1h' }
    expect(rest.map(({ input, window }) => [input, window])).toEqual([
      [{ op: 'field', name: 'sum' }, decay],
      [null, decay],
      [at, decay],
      [at, '7d'],
    ])
    expect(rest[3]).toMatchObject({ params: { categories: ['a', 'b'] }, options: { edge: '1h' } })
  })

  it('keep what the function of a group throws for the plan to report', () => {
    const broken = group('broken', { entity: user, source: login }, () => {
      throw new Error('no such luck')
    })
    expect(broken.failure).toBe('no such luck')
  })
})
