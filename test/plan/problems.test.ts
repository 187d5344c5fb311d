import { describe, expect, it } from 'vitest'
import { derived, entity, event, group, policy, service, t } from '../../features/define/index.ts'
import { compileProject } from '../../features/plan/compile.ts'
import type { Problem } from '../../features/plan/plan.ts'
import { PROBLEMS } from '../../features/plan/problems.ts'
import { problemsOf, projectOf } from './source.ts'

/** Calls a function of the language as JavaScript without types would. */
type Untyped = (...args: readonly unknown[]) => never
const loose = { event, entity, group, derived, policy, service } as unknown as Record<
  'event' | 'entity' | 'group' | 'derived' | 'policy' | 'service',
  Untyped
>

const fields = {
  id: t.string(),
  at: t.timestamp(),
  card: t.string(),
  amount: t.decimal(2),
  note: t.optional(t.string()),
}
const basics = { topic: 'payments', id: 'id', time: 'at', lateness: '1d', fields } as const
const payment = event('payment', basics)
const visit = event('visit', {
  ...basics,
  topic: 'visits',
  fields: { id: t.string(), at: t.timestamp(), page: t.int() },
})
const card = entity('card', { key: 'card' })
const page = entity('page', { key: 'page' })
const activity = group('activity', { entity: card, source: payment }, e => ({ n: e.count('1h') }))
const views = group('views', { entity: page, source: visit }, e => ({ n: e.count('1h') }))

const eventWith = (options: object): unknown => loose.event('payment', { ...basics, ...options })
const groupWith = (options: object): unknown =>
  loose.group('g', { entity: card, source: payment, ...options }, (e: { count: Untyped }) => ({ n: e.count('1h') }))
type Columns = Record<string, Untyped> & Record<'amount' | 'note' | 'at' | 'nothing', Record<string, Untyped>>
const featureWith = (build: (e: Columns) => unknown): unknown =>
  loose.group('g', { entity: card, source: payment }, (e: Columns) => ({ f: build(e) }))
const serviceWith = (options: object): unknown =>
  loose.service('s', { request: payment, groups: [activity], ...options })
const policyWith = (options: object): unknown =>
  loose.policy('p', { outcomes: ['good', 'bad'], fallback: 'good', ...options })
const needsViews = derived({ groups: [views] }, v => v.views.n)

/** Each row: the code, a definition that earns it, and part of the message. */
const CASES: readonly (readonly [keyof typeof PROBLEMS, string, () => unknown, string])[] = [
  ['HW0101', 'an event', () => loose.event('Payment', basics), '"Payment" is not a name for an event'],
  ['HW0101', 'an entity', () => loose.entity('a b', { key: 'card' }), '"a b" is not a name'],
  ['HW0101', 'a long name', () => loose.entity('a'.repeat(65), { key: 'card' }), 'is not a name'],
  ['HW0101', 'no name', () => loose.entity(undefined, { key: 'card' }), 'undefined is not a name'],
  [
    'HW0101',
    'a feature',
    () => loose.group('g', { entity: card, source: payment }, (e: Columns) => ({ 'N-1': e['count']?.('1h') })),
    '"N-1" is not a name for a feature',
  ],
  [
    'HW0101',
    'a derived feature',
    () => serviceWith({ derived: { 'x.y': () => 1 } }),
    '"x.y" is not a name for a derived feature',
  ],
  ['HW0101', 'an outcome', () => policyWith({ outcomes: ['good', 'BAD'] }), '"BAD" is not a name for an outcome'],
  [
    'HW0102',
    'a group',
    () => loose.group('request', { entity: card, source: payment }, (e: Columns) => ({ n: e['count']?.('1h') })),
    '"request" is reserved',
  ],
  [
    'HW0102',
    'a feature',
    () => loose.group('g', { entity: card, source: payment }, (e: Columns) => ({ constructor: e['count']?.('1h') })),
    '"constructor" is reserved',
  ],
  ['HW0102', 'a field', () => eventWith({ fields: { ...fields, toString: t.string() } }), '"toString" is reserved'],
  [
    'HW0103',
    'two events',
    () => [payment, loose.event('payment', { ...basics, topic: 'other' })],
    'another event in this file is named "payment" too',
  ],
  [
    'HW0103',
    'two groups',
    () => [
      activity,
      loose.group('activity', { entity: card, source: payment }, (e: Columns) => ({ n: e['count']?.('2h') })),
    ],
    'another group',
  ],
  [
    'HW0103',
    'two services',
    () => [serviceWith({ derived: { x: () => 1 } }), serviceWith({ derived: { x: () => 2 } })],
    'another service',
  ],
  [
    'HW0104',
    'no source',
    () => loose.group('g', { entity: card, source: undefined }, () => ({})),
    'source is undefined, not an event',
  ],
  ['HW0104', 'no entity', () => groupWith({ entity: 'card' }), 'entity is "card", not an entity'],
  ['HW0104', 'no request', () => serviceWith({ request: activity }), 'request is an object, not an event'],
  ['HW0104', 'no list', () => serviceWith({ groups: activity }), 'groups is an object, not a list'],
  ['HW0104', 'no group', () => serviceWith({ groups: [undefined] }), 'groups holds undefined, not a group'],
  ['HW0104', 'no policy', () => serviceWith({ policy: { outcomes: [] } }), 'policy is an object, not a policy'],
  ['HW0105', 'of an event', () => eventWith({ latenes: '1d' }), 'there is no option "latenes"'],
  ['HW0105', 'of a group', () => groupWith({ maxage: '1d' }), 'there is no option "maxage"'],
  ['HW0105', 'of a feature', () => featureWith(e => e['count']?.('1h', { filter: 1 })), 'there is no option "filter"'],
  [
    'HW0201',
    'a name',
    () => eventWith({ fields: { ...fields, 'a-b': t.string() } }),
    '"a-b" is not a name for a field',
  ],
  [
    'HW0201',
    'an underscore',
    () => eventWith({ fields: { ...fields, _x: t.string() } }),
    '"_x" is not a name for a field',
  ],
  ['HW0201', 'a type', () => eventWith({ fields: { ...fields, x: 'string' } }), 'its type is "string", not one of `t`'],
  ['HW0201', 'a function', () => eventWith({ fields: { ...fields, x: t.string } }), 'its type is a function'],
  ['HW0201', 'no fields', () => eventWith({ fields: {} }), 'it has no fields'],
  ['HW0201', 'a key', () => loose.entity('card', {}), 'key is undefined, not the name of a field'],
  [
    'HW0202',
    'the id',
    () => eventWith({ id: 'ident' }),
    'id: there is no field "ident"; there are id, at, card, amount, note',
  ],
  ['HW0202', 'the time', () => eventWith({ time: undefined }), 'time: there is no field undefined'],
  ['HW0202', "a group's key", () => groupWith({ key: 'kard' }), 'key: there is no field "kard"'],
  ['HW0203', 'the id', () => eventWith({ id: 'amount' }), 'id is "amount" of type decimal'],
  ['HW0203', 'the time', () => eventWith({ time: 'card' }), 'time is "card" of type string'],
  ['HW0203', 'the key', () => eventWith({ key: 'note' }), 'key is "note" of type optional string'],
  ['HW0204', 'lateness', () => eventWith({ lateness: '1 day' }), 'lateness is "1 day", not a duration'],
  ['HW0204', 'no lateness', () => eventWith({ lateness: undefined }), 'lateness is undefined'],
  ['HW0204', 'a negative window', () => featureWith(e => e['count']?.('-5m')), 'the window is "-5m", not a duration'],
  ['HW0204', 'no window', () => featureWith(e => e['sum']?.(e.amount)), 'the window is undefined'],
  [
    'HW0205',
    'an empty window',
    () => featureWith(e => e['count']?.('0s')),
    'the window is "0s", it must be from 1s to 400d',
  ],
  ['HW0205', 'a long window', () => featureWith(e => e['count']?.('401d')), 'the window is "401d"'],
  ['HW0205', 'a long delay', () => featureWith(e => e['count']?.('1d', { delay: '9601h' })), 'delay is "9601h"'],
  ['HW0205', 'much lateness', () => eventWith({ lateness: '31d' }), 'lateness is "31d", it must be from 0s to 30d'],
  ['HW0205', 'much clock skew', () => eventWith({ clockSkew: '2d' }), 'clockSkew is "2d"'],
  ['HW0205', 'much read back', () => eventWith({ readBack: '31d' }), 'readBack is "31d"'],
  ['HW0205', 'no age', () => groupWith({ maxAge: '0s' }), 'maxAge is "0s"'],
  ['HW0206', 'none', () => eventWith({ partitions: 0 }), 'partitions is 0'],
  ['HW0206', 'half', () => eventWith({ partitions: 1.5 }), 'partitions is 1.5'],
  ['HW0207', 'a space', () => eventWith({ topic: 'my topic' }), 'topic is "my topic"'],
  ['HW0208', 'a scale', () => eventWith({ fields: { ...fields, x: t.decimal(10) } }), 'the scale is 10'],
  ['HW0208', 'a length', () => eventWith({ fields: { ...fields, x: t.optional(t.vector(0)) } }), 'the length is 0'],
  ['HW0209', 'a topic of our own', () => [loose.event('scored', { ...basics, topic: 'hw.scores' })], 'hw.scores'],
  ['HW0209', 'a late topic', () => [loose.event('scored', { ...basics, topic: 'payments.late' })], 'payments.late'],
  ['HW0102', 'a table of the offline store', () => [loose.event('scores', basics)], '"scores" is reserved'],
  ['HW0102', 'a raw table', () => [loose.event('events_x', basics)], '"events_x" is reserved'],
  ['HW0209', 'one topic', () => [payment, loose.event('refund', basics)], 'topic "payments" belongs to event payment'],
  ['HW0210', 'unknown fields', () => eventWith({ unknownFields: 'keep' }), 'unknownFields is "keep"'],
  ['HW0210', 'include', () => featureWith(e => e['count']?.('1h', { include: 'self' })), 'include is "self"'],
  [
    'HW0301',
    'no key',
    () => loose.group('g', { entity: page, source: payment }, (e: Columns) => ({ n: e['count']?.('1h') })),
    'event payment has no field "page", the key of entity page',
  ],
  ['HW0302', 'a decimal', () => groupWith({ key: 'amount' }), '"amount" is decimal(2)'],
  ['HW0303', 'a typo', () => featureWith(e => e['sum']?.(e['amout'], '1h')), 'there is no field "amout"; there are id'],
  ['HW0303', 'a name', () => featureWith(e => e['sum']?.('amount', '1h')), 'the input is not a column of `e`'],
  [
    'HW0304',
    'a string',
    () => featureWith(e => e['sum']?.(e.note, '1h')),
    'sum takes no field of type string, which "note" is; it takes int, int64, double, decimal, boolean',
  ],
  [
    'HW0304',
    'a timestamp',
    () => featureWith(e => e['mean']?.(e.at, '1h')),
    'mean takes no field of type timestamp, which "at" is',
  ],
  ['HW0305', 'no n', () => featureWith(e => e['lastN']?.(e.note, undefined, '1h')), 'parameter n must be an integer'],
  [
    'HW0305',
    'a large bound',
    () => featureWith(e => e['distinct']?.(e.note, '1h', { bound: 1e9 })),
    'parameter bound must be an integer',
  ],
  [
    'HW0305',
    'a parameter of another',
    () => featureWith(e => e['sum']?.(e.amount, '1h', { sample: true })),
    'sum has no parameter sample',
  ],
  [
    'HW0306',
    'count',
    () => featureWith(e => e['count']?.('1h', { whenEmpty: 0 })),
    'has a value for an empty window already',
  ],
  [
    'HW0306',
    'NaN',
    () => featureWith(e => e['mean']?.(e.amount, '1h', { whenEmpty: NaN })),
    'a finite number is expected',
  ],
  [
    'HW0306',
    'a number',
    () => featureWith(e => e['last']?.(e.note, '1h', { whenEmpty: 0 })),
    'whenEmpty is 0: a string is expected',
  ],
  [
    'HW0307',
    'a literal',
    () => featureWith(e => e['count']?.('1h', { where: e.amount['gt']?.('x') })),
    'where: expected a number or a numeric string',
  ],
  [
    'HW0308',
    'an error',
    () =>
      loose.group('g', { entity: card, source: payment }, () => {
        throw new Error('oops')
      }),
    'failed: oops',
  ],
  ['HW0308', 'a number', () => featureWith(() => 5), 'it is 5, not a feature'],
  ['HW0309', 'nothing', () => loose.group('g', { entity: card, source: payment }, () => ({})), 'it has no features'],
  [
    'HW0309',
    'no object',
    () => loose.group('g', { entity: card, source: payment }, () => undefined),
    'it has no features',
  ],
  [
    'HW0401',
    'no key',
    () => serviceWith({ groups: [views] }),
    'event payment has no key field "page", which names the page of group views',
  ],
  ['HW0402', 'twice', () => serviceWith({ groups: [activity, activity] }), 'group activity is listed twice'],
  ['HW0403', 'a number', () => serviceWith({ derived: { x: 5 } }), 'it is 5'],
  ['HW0404', 'a group', () => serviceWith({ derived: { x: needsViews } }), 'it looks at group views'],
  [
    'HW0404',
    'an event',
    () => serviceWith({ derived: { x: loose.derived({ request: visit }, () => 1) } }),
    'it looks at event visit, the request is payment',
  ],
  [
    'HW0404',
    "a policy's group",
    () => serviceWith({ policy: policyWith({ groups: [views] }) }),
    'policy p looks at group views',
  ],
  [
    'HW0404',
    "a policy's derived feature",
    () => serviceWith({ policy: policyWith({ derived: { x: () => 1 } }) }),
    'policy p looks at derived x',
  ],
  ['HW0405', 'no outcomes', () => policyWith({ outcomes: [] }), 'it has no outcomes'],
  ['HW0405', 'an outcome twice', () => policyWith({ outcomes: ['good', 'good'] }), 'outcome good is listed twice'],
  [
    'HW0405',
    'the fallback',
    () => policyWith({ fallback: 'worse' }),
    'fallback gives "worse"; the outcomes are good, bad',
  ],
  [
    'HW0405',
    "a rule's outcome",
    () => policyWith({ rules: [{ name: 'r', when: () => true, outcome: 'worse' }] }),
    'rule r gives "worse"',
  ],
  [
    'HW0405',
    'two rules',
    () => policyWith({ rules: [1, 2].map(() => ({ name: 'r', when: () => true, outcome: 'bad' })) }),
    'two rules are named r',
  ],
  ['HW0405', 'no rule name', () => policyWith({ rules: [{ when: () => true, outcome: 'bad' }] }), 'a rule has no name'],
  [
    'HW0405',
    'no function',
    () => policyWith({ rules: [{ name: 'r', when: true, outcome: 'bad' }] }),
    'rule r has no function `when`',
  ],
  [
    'HW0405',
    'a threshold of the best',
    () => policyWith({ thresholds: { good: 0.5 } }),
    'good is the best outcome and takes no threshold',
  ],
  [
    'HW0405',
    'falling thresholds',
    () => policyWith({ outcomes: ['good', 'bad', 'ugly'], thresholds: { bad: 0.5, ugly: 0.5 } }),
    'the threshold of ugly is not above',
  ],
  ['HW0405', 'NaN', () => policyWith({ thresholds: { bad: NaN } }), 'the threshold of bad is NaN'],
  ['HW0405', 'another threshold', () => policyWith({ thresholds: { ugly: 1 } }), 'a threshold gives "ugly"'],
  ['HW0407', 'a path', () => serviceWith({ model: '../fraud' }), 'model is "../fraud"'],
]

/** Where problems arise that no definition can cause: the loader, an empty project, a caller of the compiler. */
const ELSEWHERE = ['HW0001', 'HW0002', 'HW0003', 'HW0406', 'HW0901']

function exported(definition: unknown): Record<string, unknown> {
  return Array.isArray(definition)
    ? Object.fromEntries(definition.map((each, index) => [`d${index}`, each]))
    : { definition }
}

describe('a bad definition', () => {
  it.each(CASES)('earns %s: %s', (code, _name, build, message) => {
    const problems = problemsOf(exported(build()))
    const found = problems.filter(problem => problem.code === code)
    expect(problems.map(problem => problem.message).join('; ')).toContain(message)
    expect(found.map(problem => problem.message).join('; ')).toContain(message)
    for (const problem of found) {
      expect(problem.file).toBe('m.ts')
      if (!problem.message.includes('failed:')) expect(problem.remedy).toBe(PROBLEMS[code].remedy)
      expect(problem.where).not.toBe('')
    }
  })

  it('covers every code of the table', () => {
    const covered = new Set<string>([...CASES.map(([code]) => code), ...ELSEWHERE])
    expect([...covered].sort()).toEqual(Object.keys(PROBLEMS).sort())
  })
})

describe('a function of a group that throws', () => {
  const failing = (build: (e: Columns) => unknown) =>
    problemsOf(exported(featureWith(build))).map(({ code, message, remedy }) => ({ code, message, remedy }))

  it('is answered with the operators that the field has', () => {
    expect(failing(e => e['count']?.('1h', { where: e.amount['gte']!(5) }))).toEqual([
      {
        code: 'HW0308',
        message:
          'the function that lists them failed: e.amount.gte is not a function; "amount" is decimal(2) and has no gte',
        remedy: 'correct the expression: a field of type decimal(2) has eq, ne, in, lt, le, gt, ge, isNull, isNotNull',
      },
    ])
    expect(failing(({ note }) => note['includes']!('x'))[0]?.remedy).toMatch(/type string has .*, startsWith$/)
  })

  it('is answered with the place where it says more than a field', () => {
    const [problem] = failing(e => (e.nothing['gte']!(5), undefined))
    expect(problem?.message).toContain('e.nothing.gte is not a function')
    expect(problem?.remedy).toBe('correct the expression or code that failed in this function')
  })
})

describe('the compiler', () => {
  it('reports all problems of all files at once, each under its file', () => {
    const result = compileProject({
      definitions: [
        { file: 'a.ts', exports: { payment: eventWith({ lateness: 'x', id: 'nothing', partitions: -1 }) } },
        { file: 'b.ts', exports: { g: featureWith(e => e['sum']?.(e.note, '5min')), s: serviceWith({ model: '' }) } },
      ],
      bundleHashes: {},
    })
    const problems: readonly Problem[] = result.ok ? [] : result.problems
    expect(problems.map(problem => `${problem.file} ${problem.code}`).sort()).toEqual([
      'a.ts HW0202',
      'a.ts HW0204',
      'a.ts HW0206',
      'b.ts HW0103',
      'b.ts HW0204',
      'b.ts HW0304',
      'b.ts HW0407',
    ])
  })

  it('says where nothing is defined', () => {
    const result = compileProject({
      definitions: [{ file: 'empty.ts', exports: { x: 5, y: () => 1 } }],
      bundleHashes: {},
    })
    expect(result.ok ? [] : result.problems.map(({ code, file }) => [code, file])).toEqual([['HW0003', 'empty.ts']])
    expect(compileProject({ definitions: [], bundleHashes: {} }).ok).toBe(true)
  })

  it('asks for the hash of modules that hold code', () => {
    const s = serviceWith({ derived: { x: () => 1 } })
    const result = compileProject({ definitions: [{ file: 'm.ts', exports: { s } }], bundleHashes: {} })
    expect(result.ok ? [] : result.problems.map(problem => problem.code)).toEqual(['HW0406'])
    const plain = compileProject({ definitions: [{ file: 'm.ts', exports: { s: serviceWith({}) } }], bundleHashes: {} })
    expect(plain.ok).toBe(true)
  })

  it('warns of labels that are looked at without a delay', () => {
    const labelled = event('labelled', { ...basics, fields: { ...fields, is_fraud: t.boolean() } })
    const g = group('g', { entity: card, source: labelled }, e => ({
      leaks: e.sum(e.is_fraud, '7d'),
      leaks_too: e.count('7d', { where: e.is_fraud.isTrue() }),
      fine: e.sum(e.is_fraud, '7d', { delay: '7d' }),
    }))
    const { warnings } = projectOf({ g })
    expect(warnings.map(({ code, where }) => [code, where])).toEqual([
      ['HW0901', 'group g, feature leaks'],
      ['HW0901', 'group g, feature leaks_too'],
    ])
  })
})
