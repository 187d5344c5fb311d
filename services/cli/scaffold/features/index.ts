import { entity, event, group, policy, service, t } from 'headwater'

/** What happens: one record of the topic `purchases` for each purchase. */
export const purchase = event('purchase', {
  topic: 'purchases',
  id: 'purchase_id',
  time: 'occurred_at',
  key: 'customer_id',
  lateness: '1h',
  fields: {
    purchase_id: t.string(),
    occurred_at: t.timestamp(),
    customer_id: t.string(),
    amount: t.decimal(2, { description: 'in euros' }),
    country: t.string({ description: 'ISO 3166 code, two letters' }),
    gift: t.boolean(),
  },
})

/** What features are kept for. */
export const customer = entity('customer', { key: 'customer_id' })

/** What is known about a customer at the instant of a read, the purchase being scored included. */
export const customerActivity = group('customer_activity', { entity: customer, source: purchase }, e => ({
  purchases_1h: e.count('1h'),
  spend_24h: e.sum(e.amount, '24h'),
  mean_amount_30d: e.mean(e.amount, '30d', { include: 'excludeSelf' }),
  gifts_7d: e.count('7d', { where: e.gift.isTrue() }),
  countries_7d: e.distinct(e.country, '7d'),
}))

/** What the features amount to, without a model: the worst outcome of the rules that match. */
const purchasePolicy = policy('purchase_rules', {
  request: purchase,
  groups: [customerActivity],
  outcomes: ['approve', 'review', 'decline'],
  fallback: 'approve',
  rules: [
    { name: 'burst', when: v => v.customer_activity.purchases_1h >= 10, outcome: 'decline' },
    { name: 'travelling', when: v => v.customer_activity.countries_7d >= 4, outcome: 'review' },
    {
      name: 'unusually_large',
      when: v => v.request.amount > 10 * (v.customer_activity.mean_amount_30d ?? 100),
      outcome: 'review',
    },
  ],
})

/** What callers ask for by name. */
export const checkout = service('checkout', {
  request: purchase,
  groups: [customerActivity],
  derived: {
    amount_over_mean: v => v.request.amount / (v.customer_activity.mean_amount_30d ?? v.request.amount),
  },
  policy: purchasePolicy,
})
