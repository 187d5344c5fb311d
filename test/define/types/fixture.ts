import { entity, event, group, lastEvents, session, t, tumbling, union } from '../../../features/define/index.ts'

/** True only when the two types are the same, `readonly` and `any` included. */
export type Equal<A, B> = (<X>() => X extends A ? 1 : 2) extends <X>() => X extends B ? 1 : 2 ? true : false

/** Compiles only for `true`. */
export function holds<T extends true>(): T {
  return true as T
}

export const payment = event('payment', {
  topic: 'payments',
  id: 'paymentId',
  time: 'occurredAt',
  key: 'cardId',
  lateness: '1d',
  fields: {
    paymentId: t.string(),
    occurredAt: t.timestamp(),
    cardId: t.string(),
    merchantId: t.optional(t.int()),
    amount: t.decimal(2),
    serial: t.int64(),
    note: t.optional(t.string()),
    declined: t.boolean(),
    embedding: t.vector(3),
    weight: t.double(),
    count: t.int(),
  },
})

export const login = event('login', {
  topic: 'logins',
  id: 'loginId',
  time: 'at',
  lateness: '1h',
  fields: { loginId: t.int64(), at: t.timestamp(), cardId: t.string(), device: t.string(), user: t.string() },
})

export const card = entity('card', { key: 'cardId' })
export const merchant = entity('merchant', { key: 'merchantId' })
export const user = entity('user', { key: 'user' })

export const cardActivity = group('card_activity', { entity: card, source: payment }, e => ({
  payments_5m: e.count('5m'),
  noted_1d: e.count(e.note, '1d'),
  counts: e.sum(e.field('count'), '1d'),
  spend_24h: e.sum(e.amount, '24h'),
  serials: e.sum(e.serial, '24h'),
  declines: e.sum(e.declined, '24h'),
  mean_30d: e.mean(e.amount, '30d'),
  mean_or_zero: e.mean(e.amount, '30d', { whenEmpty: 0 }),
  smallest: e.min(e.amount, '7d'),
  largest_serial: e.max(e.serial, '7d'),
  spread: e.std(e.weight, '7d', { sample: true }),
  variance: e.variance(e.weight, '7d', { whenEmpty: -1 }),
  last_note: e.last(e.note, 'lifetime'),
  last_note_or: e.last(e.note, 'lifetime', { whenEmpty: 'none' }),
  first_decline: e.first(e.declined, 'lifetime', { whenEmpty: false }),
  first_embedding: e.first(e.embedding, 'lifetime'),
  notes: e.lastN(e.note, 5, '7d'),
  merchants_7d: e.distinct(e.merchantId, '7d', { bound: 100 }),
  payments_today: e.count(tumbling('1d')),
  payments_yesterday: e.count(tumbling('1d', { lookback: 1 })),
  noted_in_session: e.count(e.note, session('30m', { maxLength: '1d' })),
  mean_of_ten: e.mean(e.amount, lastEvents(10, { within: '7d' }), { whenEmpty: 0 }),
  spend_year: e.sum(e.amount, '365d', { edge: '1d', delay: '1h' }),
  shop_of_dearest: e.argMax(e.merchantId, e.amount, '7d'),
  note_of_dearest: e.argMax(e.note, e.amount, '7d', { whenEmpty: 'none' }),
  dearest: e.topN(e.amount, 3, '7d'),
  serials_first: e.firstN(e.serial, 3, '7d'),
  notes_seen: e.distinctSet(e.note, '7d', { bound: 20 }),
  notes_top: e.topK(e.note, 3, '7d'),
  serials_top: e.topK(e.serial, 3, '7d', { bound: 100 }),
  shops: e.countPerCategory(e.merchantId, '7d', { bound: 50 }),
  declines_per: e.countPerCategory(e.declined, '7d'),
  amounts: e.histogram(e.amount, [1, 10, 100], '7d'),
  note_kinds: e.categoryHistogram(e.note, ['a', 'b'], '7d'),
  p90: e.quantile(e.amount, 0.9, '7d', { error: 0.05 }),
  p90_or: e.quantile(e.amount, 0.9, '7d', { whenEmpty: -1, buckets: 512 }),
  middle: e.median(e.weight, '7d', { bound: 500 }),
  recency: e.decayedSum(e.amount, '1h'),
  recent: e.decayedCount('1h', { where: e.declined.isTrue() }),
  recent_mean: e.decayedMean(e.amount, '1h'),
  gaps: e.gapMean('1d'),
  note_gaps: e.gapStd(e.note, '1d', { sample: true, whenEmpty: 0 }),
  streak: e.longestStreak(e.declined, lastEvents(100)),
  speed: e.rate('1h'),
  idle: e.timeSinceLast('lifetime'),
  squares: e.sumOfSquares(e.serial, '1d'),
  direction: e.vectorMean(e.embedding, '1d'),
  direction_or: e.vectorMax(e.embedding, '1d', { whenEmpty: [0, 0, 0] }),
  declined_1h: e.count('1h', {
    where: e.declined.isTrue().and(e.amount.gt(100), e.note.isNotNull().or(e.note.startsWith('x')).not()),
    delay: '7d',
    include: 'excludeSelf',
  }),
}))

export const merchantActivity = group('merchant_activity', { entity: merchant, source: payment, maxAge: '5m' }, e => ({
  payments_1h: e.count('1h'),
}))

export const logins = group('logins', { entity: card, source: login }, e => ({ logins_1d: e.count('1d') }))
export const userLogins = group('user_logins', { entity: user, source: login }, e => ({ logins_1d: e.count('1d') }))

export const refund = event('refund', {
  topic: 'refunds',
  id: 'refundNo',
  time: 'at',
  lateness: '1d',
  fields: {
    refundNo: t.int64(),
    at: t.timestamp(),
    card: t.string(),
    merchantId: t.int(),
    value: t.decimal(2),
    exact: t.decimal(3),
    shape: t.vector(3),
  },
})

export const movement = union('movement', {
  fields: { cardId: t.string(), amount: t.decimal(2), merchantId: t.optional(t.int()), shape: t.vector(3) },
  from: [
    { source: payment, map: { shape: 'embedding' } },
    { source: refund, map: { cardId: 'card', amount: 'value' } },
  ],
})

export const cardAtMerchant = entity('card_at_merchant', { key: ['cardId', 'merchantId'] })

export const moves = group('moves', { entity: card, source: movement }, e => ({
  net_1d: e.sum(e.amount, '1d', { where: e.merchantId.isNotNull() }),
  last_merchant: e.last(e.merchantId, 'lifetime'),
}))
export const pairMoves = group('pair_moves', { entity: cardAtMerchant, source: movement }, e => ({ n: e.count('1d') }))
export const pairRefunds = group(
  'pair_refunds',
  { entity: cardAtMerchant, source: refund, key: ['card', 'merchantId'] },
  e => ({ n: e.count('1d') }),
)
