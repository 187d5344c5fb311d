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
  union,
} from '../../../features/define/index.ts'
import {
  card,
  cardActivity,
  cardAtMerchant,
  login,
  logins,
  merchantActivity,
  movement,
  moves,
  pairMoves,
  pairRefunds,
  payment,
  refund,
  userLogins,
} from './fixture.ts'

const times = { id: t.string(), at: t.timestamp(), maybe: t.optional(t.string()), n: t.double() }
const basics = { topic: 'x', id: 'id', time: 'at', lateness: '1d', fields: times } as const

// @ts-expect-error a name has no capitals
event('Payment', basics)
// @ts-expect-error a name has no hyphens
entity('payment-card', { key: 'cardId' })
// @ts-expect-error a name is not empty
entity('', { key: 'cardId' })
// @ts-expect-error the id is a field
event('a', { ...basics, id: 'ident' })
// @ts-expect-error the id is a string or an integer
event('a', { ...basics, id: 'n' })
// @ts-expect-error the id is not optional
event('a', { ...basics, id: 'maybe' })
// @ts-expect-error the time is a timestamp
event('a', { ...basics, time: 'id' })
// @ts-expect-error the record key is a field
event('a', { ...basics, key: 'card' })
// @ts-expect-error lateness must be stated
event('a', { topic: 'x', id: 'id', time: 'at', fields: times })
// @ts-expect-error lateness is a duration
event('a', { ...basics, lateness: '1 day' })
// @ts-expect-error an option that does not exist
event('a', { ...basics, latenes: '1d' })
// @ts-expect-error one of two words
event('a', { ...basics, unknownFields: 'keep' })
// @ts-expect-error a field is made by t
event('a', { ...basics, fields: { ...times, amount: 'double' } })
// @ts-expect-error a decimal has a scale
t.decimal()

group('g', { entity: card, source: payment }, e => ({
  // @ts-expect-error a field that is not there
  a: e.sum(e.amout, '1h'),
  // @ts-expect-error a string cannot be added up
  b: e.sum(e.cardId, '1h'),
  // @ts-expect-error neither can a timestamp
  c: e.mean(e.occurredAt, '1h'),
  // @ts-expect-error a vector has no order
  d: e.max(e.embedding, '1h'),
  // @ts-expect-error nor can vectors be told apart
  e: e.distinct(e.embedding, '1h'),
  // @ts-expect-error a wrong unit
  f: e.count('5min'),
  // @ts-expect-error no fraction
  g: e.count('1.5h'),
  // @ts-expect-error no number
  h: e.count(5),
  // @ts-expect-error no bare unit
  i: e.count('d'),
  // @ts-expect-error a window must be stated
  j: e.sum(e.amount),
  // @ts-expect-error lastN needs a number
  k: e.lastN(e.note, '7d'),
  // @ts-expect-error delay is a duration, not 'lifetime'
  l: e.count('1h', { delay: 'lifetime' }),
  // @ts-expect-error an unknown rule
  m: e.count('1h', { include: 'all' }),
  // @ts-expect-error count has a value for an empty window
  n: e.count('1h', { whenEmpty: 0 }),
  // @ts-expect-error another type than the feature's
  o: e.last(e.note, '1h', { whenEmpty: 0 }),
  // @ts-expect-error int64 has none
  p: e.last(e.serial, '1h', { whenEmpty: 0n }),
  // @ts-expect-error sample belongs to variance and std
  q: e.mean(e.amount, '1h', { sample: true }),
  // @ts-expect-error an option that does not exist
  r: e.sum(e.amount, '1h', { wehre: e.declined.isTrue() }),
  // @ts-expect-error a column named as an operator is reached by field()
  s: e.sum(e.count, '1h'),
  // @ts-expect-error field() takes the name of a field
  t: e.sum(e.field('nothing'), '1h'),
  // @ts-expect-error a column is not a condition
  u: e.count('1h', { where: e.amount }),
  // @ts-expect-error a number is compared with numbers
  v: e.count('1h', { where: e.amount.gt('100') }),
  // @ts-expect-error a string with strings
  w: e.count('1h', { where: e.note.eq(1) }),
  // @ts-expect-error int64 with bigints
  x: e.count('1h', { where: e.serial.lt(5) }),
  // @ts-expect-error columns of one kind
  y: e.count('1h', { where: e.amount.gt(e.weight) }),
  // @ts-expect-error null is asked for by isNull()
  z: e.count('1h', { where: e.note.eq(null) }),
  // @ts-expect-error numbers have no truth
  aa: e.count('1h', { where: e.amount.isTrue() }),
  // @ts-expect-error booleans have no order
  bb: e.count('1h', { where: e.declined.gt(false) }),
  // @ts-expect-error only strings have a beginning
  cc: e.count('1h', { where: e.amount.startsWith('1') }),
  // @ts-expect-error a list of the column's type
  dd: e.count('1h', { where: e.note.in([1]) }),
  // @ts-expect-error an edge is a duration
  ee: e.count('7d', { edge: 3600 }),
  // @ts-expect-error a length is a duration
  ff: e.count(tumbling('day')),
  // @ts-expect-error an option of another window
  gg: e.count(tumbling('1d', { maxLength: '1d' })),
  // @ts-expect-error a gap is a duration
  hh: e.count(session(30)),
  // @ts-expect-error a number of events
  ii: e.count(lastEvents('10')),
  // @ts-expect-error a rate has a length to divide by
  jj: e.rate(session('1h')),
  // @ts-expect-error the order of events is not kept for ever
  kk: e.gapStd('lifetime'),
  // @ts-expect-error a half-life is no window
  ll: e.decayedCount(tumbling('1d')),
  // @ts-expect-error argMax goes by a second field
  mm: e.argMax(e.note, '7d'),
  // @ts-expect-error a vector has no order to go by
  nn: e.argMax(e.note, e.embedding, '7d'),
  // @ts-expect-error a set says how much it keeps
  oo: e.distinctSet(e.note, '7d'),
  // @ts-expect-error edges are numbers
  pp: e.histogram(e.amount, ['1'], '7d'),
  // @ts-expect-error categories are text
  qq: e.categoryHistogram(e.note, [1], '7d'),
  // @ts-expect-error a streak is of truths
  rr: e.longestStreak(e.amount, '7d'),
  // @ts-expect-error a vector's empty value is a vector
  ss: e.vectorMean(e.embedding, '7d', { whenEmpty: 0 }),
  // @ts-expect-error bound belongs to others
  tt: e.sum(e.amount, '7d', { bound: 5 }),
}))

// @ts-expect-error a rate is a number
group('g', { entity: card, source: payment, eventsPerEntityPerDay: '10' }, e => ({ n: e.count('1d') }))

// @ts-expect-error features are made by aggregators
group('g', { entity: card, source: payment }, () => ({ a: 5 }))
// @ts-expect-error the source has no field with the entity's key, so `key` is needed
group('g', { entity: entity('device', { key: 'deviceId' }), source: login }, e => ({ n: e.count('1d') }))
// @ts-expect-error a key is a field of the source
group('g', { entity: card, source: payment, key: 'device' }, e => ({ n: e.count('1d') }))
// @ts-expect-error a key is a string or an integer
group('g', { entity: card, source: payment, key: 'amount' }, e => ({ n: e.count('1d') }))
// @ts-expect-error an entity, not its name
group('g', { entity: 'card', source: payment }, e => ({ n: e.count('1d') }))

const cards = { cardId: t.string(), amount: t.decimal(2) }
const mapped = { cardId: 'card', amount: 'value' } as const
// @ts-expect-error a name has no capitals
union('Movement', { fields: cards, from: [{ source: payment }] })
// @ts-expect-error a union has fields
union('m', { from: [{ source: payment }] })
// @ts-expect-error a union is of events, not of their names
union('m', { fields: cards, from: ['payment'] })
// @ts-expect-error the refund has no cardId, so `map` is needed
union('m', { fields: cards, from: [{ source: payment }, { source: refund }] })
// @ts-expect-error nor an amount
union('m', { fields: cards, from: [{ source: payment }, { source: refund, map: { cardId: 'card' } }] })
// @ts-expect-error a field that is not there
union('m', { fields: cards, from: [{ source: refund, map: { cardId: 'cardNumber', amount: 'value' } }] })
// @ts-expect-error a field of another kind
union('m', { fields: cards, from: [{ source: refund, map: { cardId: 'refundNo', amount: 'value' } }] })
// @ts-expect-error a decimal of another scale
union('m', { fields: cards, from: [{ source: refund, map: { cardId: 'card', amount: 'exact' } }] })
// @ts-expect-error a vector of another length
union('m', { fields: { shape: t.vector(2) }, from: [{ source: refund }] })
// @ts-expect-error the payment's merchant is optional
union('m', { fields: { merchantId: t.int() }, from: [{ source: refund }, { source: payment }] })
// @ts-expect-error a field that the union has not
union('m', { fields: cards, from: [{ source: refund, map: { ...mapped, shop: 'merchantId' } }] })
// @ts-expect-error an option that does not exist
union('m', { fields: cards, from: [{ source: payment }], lateness: '1d' })
// @ts-expect-error a union is not of unions
union('m', { fields: cards, from: [{ source: movement }] })
// @ts-expect-error a field of one event that is not of the union
group('g', { entity: card, source: movement }, e => ({ n: e.count('1d', { where: e.declined.isTrue() }) }))
// @ts-expect-error the union has no field with the entity's key
group('g', { entity: entity('user', { key: 'user' }), source: movement }, e => ({ n: e.count('1d') }))
// @ts-expect-error a key has a part
entity('pair', { key: [] })
// @ts-expect-error the parts of a key are names
entity('pair', { key: ['cardId', 5] })
// @ts-expect-error the login has no merchant, so `key` is needed
group('g', { entity: cardAtMerchant, source: login }, e => ({ n: e.count('1d') }))
// @ts-expect-error as many fields as the key has
group('g', { entity: cardAtMerchant, source: refund, key: ['card'] }, e => ({ n: e.count('1d') }))
// @ts-expect-error a list where the key is one
group('g', { entity: cardAtMerchant, source: refund, key: 'card' }, e => ({ n: e.count('1d') }))
// @ts-expect-error fields of the source
group('g', { entity: cardAtMerchant, source: refund, key: ['card', 'merchant'] }, e => ({ n: e.count('1d') }))
// @ts-expect-error a part is a string or an integer
group('g', { entity: cardAtMerchant, source: refund, key: ['card', 'value'] }, e => ({ n: e.count('1d') }))
// @ts-expect-error a union is not scored
service('s', { request: movement, groups: [moves] })
// @ts-expect-error the login has one part of the key only
service('s', { request: login, groups: [pairMoves] })
// @ts-expect-error neither does it join what feeds the group
service('s', { request: login, groups: [pairRefunds] })

// @ts-expect-error a group that was not asked for
derived({ request: payment, groups: [cardActivity] }, v => v.merchant_activity.payments_1h)
// @ts-expect-error a feature that is not there
derived({ groups: [cardActivity] }, v => v.card_activity.spend_25h)
// @ts-expect-error a field that is not there
derived({ request: payment }, v => v.request.amout)
// @ts-expect-error no request was asked for
derived({ groups: [cardActivity] }, v => v.request.amount)
// @ts-expect-error a value may be null
derived({ groups: [cardActivity] }, v => v.card_activity.mean_30d * 2)
// @ts-expect-error a list is no derived value
derived({ groups: [cardActivity] }, v => v.card_activity.notes)

// @ts-expect-error the payment does not name a user
service('s', { request: payment, groups: [cardActivity, userLogins] })
// @ts-expect-error the login does not name a merchant
service('s', { request: login, groups: [merchantActivity] })
// @ts-expect-error a feature that is not there
service('s', { request: payment, groups: [cardActivity], derived: { x: v => v.card_activity.nothing } })
// @ts-expect-error a group that the service does not have
service('s', { request: payment, groups: [cardActivity], derived: { x: v => v.logins.logins_1d } })
// @ts-expect-error nothing but values
service('s', { request: payment, groups: [cardActivity], derived: { x: () => ({}) } })

const shared = derived({ request: payment, groups: [logins] }, v => v.logins.logins_1d)
// @ts-expect-error the shared feature needs a group that the service does not have
service('s', { request: payment, groups: [cardActivity], derived: { shared } })
// @ts-expect-error the shared feature needs another request
service('s', { request: login, groups: [logins], derived: { shared } })

const outcomes = ['approve', 'decline'] as const
const strict = policy('strict', {
  request: payment,
  groups: [cardActivity],
  derived: { shared },
  outcomes,
  rules: [{ name: 'r', when: v => v.derived.shared > v.card_activity.payments_5m, outcome: 'decline' }],
  fallback: 'decline',
})
// @ts-expect-error the policy needs a derived feature that the service does not have
service('s', { request: payment, groups: [cardActivity, logins], policy: strict })
// @ts-expect-error the policy needs a group that the service does not have
service('s', { request: payment, groups: [logins], derived: { shared }, policy: strict })
// @ts-expect-error an outcome that is not listed
policy('p', { outcomes, rules: [{ name: 'r', when: () => true, outcome: 'reject' }], fallback: 'decline' })
// @ts-expect-error an outcome that is not listed
policy('p', { outcomes, fallback: 'review' })
// @ts-expect-error an outcome that is not listed
policy('p', { outcomes, thresholds: { review: 0.5 }, fallback: 'decline' })
// @ts-expect-error a rule answers true, false or null
policy('p', { outcomes, rules: [{ name: 'r', when: () => 'yes', outcome: 'decline' }], fallback: 'decline' })
policy('p', {
  groups: [cardActivity],
  outcomes,
  // @ts-expect-error a feature that is not there
  rules: [{ name: 'r', when: v => v.card_activity.nothing > 1, outcome: 'decline' }],
  fallback: 'decline',
})
