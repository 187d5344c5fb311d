import { entity, event, group, policy, service, t } from '../../../features/define/index.ts'

export const payment = event('payment', {
  topic: 'payments',
  id: 'payment_id',
  time: 'at',
  key: 'card',
  lateness: '1d',
  fields: {
    payment_id: t.string(),
    at: t.timestamp(),
    card: t.string(),
    shop: t.string(),
    amount: t.decimal(2),
    note: t.optional(t.string()),
  },
})

export const card = entity('card', { key: 'card' })
export const shop = entity('shop', { key: 'shop' })

export const cardActivity = group('card_activity', { entity: card, source: payment }, e => ({
  payments: e.count('lifetime'),
  spend: e.sum(e.amount, 'lifetime'),
  spend_10m: e.sum(e.amount, '10m'),
  shops_1h: e.distinct(e.shop, '1h'),
  last_shop: e.last(e.shop, 'lifetime'),
}))

export const shopActivity = group('shop_activity', { entity: shop, source: payment }, e => ({
  payments: e.count('lifetime'),
  spend: e.sum(e.amount, 'lifetime'),
  largest_1h: e.max(e.amount, '1h'),
}))

export const check = service('check', {
  request: payment,
  groups: [cardActivity, shopActivity],
  policy: policy('check_policy', {
    outcomes: ['approve', 'decline'],
    rules: [
      { name: 'many_payments', when: v => Number(v.card_activity?.['payments']) > 1_000_000, outcome: 'decline' },
    ],
    fallback: 'approve',
  }),
})
