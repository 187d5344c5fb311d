import { entity, event, group, lastEvents, service, session, t, tumbling, union } from '../../features/define/index.ts'
import type { Value } from '../../features/kernel/types.ts'
import type { Plan } from '../../features/plan/plan.ts'
import type { TopicStanding } from '../../features/plan/units.ts'

/** Keyed by the card. */
export const payment = event('payment', {
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
    shop: t.optional(t.string()),
    amount: t.decimal(2),
    /** A union names another field so. */
    note: t.optional(t.string()),
  },
})

/** Keyed by its number, with other names and a later lateness. */
export const refund = event('refund', {
  topic: 'refunds',
  id: 'number',
  time: 'when',
  partitions: 3,
  lateness: '1h',
  fields: {
    number: t.int64(),
    when: t.timestamp(),
    account: t.string(),
    merchant: t.string(),
    value: t.decimal(2),
    amount: t.string(),
  },
})

export const movement = union('movement', {
  fields: { card: t.string(), shop: t.optional(t.string()), amount: t.decimal(2), note: t.optional(t.string()) },
  from: [
    { source: payment },
    { source: refund, map: { card: 'account', shop: 'merchant', amount: 'value', note: 'amount' } },
  ],
})

export const card = entity('card', { key: 'card' })
export const pair = entity('card_at_shop', { key: ['card', 'shop'] })

/** Features over payments and refunds of one card, of every kind of window and rule of inclusion. */
export const moves = group('moves', { entity: card, source: movement }, e => ({
  count_1h: e.count('1h'),
  sum_1h: e.sum(e.amount, '1h'),
  sum_life: e.sum(e.amount, 'lifetime'),
  large_1d: e.count('1d', { where: e.amount.gt(50).and(e.note.ne('no')) }),
  last_note: e.last(e.note, 'lifetime', { include: 'excludeSelf' }),
  others_1h: e.count('1h', { include: 'excludeInstant' }),
  shops: e.distinct(e.shop, '1d'),
  gap_std: e.gapStd('1d'),
  three: e.sum(e.amount, lastEvents(3)),
  run: e.count(session('20m')),
  today: e.count(tumbling('1d')),
  recency: e.decayedCount('1h'),
}))
export const pairMoves = group('pair_moves', { entity: pair, source: movement }, e => ({
  count_1h: e.count('1h'),
  largest: e.max(e.amount, 'lifetime'),
}))
export const pairPayments = group('pair_payments', { entity: pair, source: payment }, e => ({
  count_1h: e.count('1h'),
  gap_std: e.gapStd('30d'),
}))
export const pairRefunds = group('pair_refunds', { entity: pair, source: refund, key: ['account', 'merchant'] }, e => ({
  count_1d: e.count('1d'),
}))
export const onPayment = service('on_payment', {
  request: payment,
  groups: [moves, pairMoves, pairPayments, pairRefunds],
})

/** All of the above, as the exports of one module. */
export const MOVEMENTS = { moves, pairMoves, pairPayments, pairRefunds, onPayment }

/** A service for refunds, which name cards and shops by the groups' own keys. */
export const onRefund = service('on_refund', { request: refund, groups: [moves, pairMoves, pairRefunds] })

/** The fields of a movement of one kind. */
export interface Movement {
  readonly kind: 'payment' | 'refund'
  readonly id: string
  readonly at: number
  readonly card: string
  readonly shop: string | null
  /** In hundredths. */
  readonly cents: number
  readonly note: string | null
}

/** A movement as an event of its kind. */
export function fieldsOf({ kind, id, at, card: account, shop, cents, note }: Movement): Record<string, Value> {
  const amount = cents / 100
  return kind === 'payment'
    ? { id, at, card: account, shop, amount, note }
    : { number: BigInt(id), when: at, account, merchant: shop, value: amount, amount: note }
}

/** Topics that were just made. */
export function freshStandings(plan: Plan): ReadonlyMap<string, TopicStanding> {
  return new Map(
    plan.sources.map(source => {
      const offsets = new Array<number>(source.partitions).fill(0)
      return [source.name, { incarnation: 'life', startOffsets: offsets, endOffsets: offsets }] as const
    }),
  )
}
