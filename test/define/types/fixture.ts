import { entity, event, group, t } from '../../../features/define/index.ts'

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
