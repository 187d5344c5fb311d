import { derived, entity, event, group, policy, service, t } from '../define/index.ts'

/** A payment below this amount looks like a test of whether a stolen card works. */
const SMALL_AMOUNT = 5
/** A payment of at least this amount is large for most merchants. */
const LARGE_AMOUNT = 200

/** A card payment as the payment gateway asks about it: after the issuer's own checks, before the answer to the shop. */
export const payment = event('payment', {
  topic: 'payments',
  id: 'paymentId',
  time: 'occurredAt',
  key: 'cardId',
  lateness: '1h',
  partitions: 4,
  description: 'A card payment, asked about before the shop is answered.',
  fields: {
    paymentId: t.string({ description: 'Unique id of the payment' }),
    occurredAt: t.timestamp({ description: 'When the card was used' }),
    cardId: t.string({ description: 'Token of the card' }),
    merchantId: t.string({ description: 'The shop' }),
    category: t.string({ description: 'What the shop sells, such as grocery or electronics' }),
    amount: t.decimal(2, { description: 'Amount in EUR' }),
    country: t.string({ description: 'Country of the terminal or web shop, ISO 3166 alpha-2' }),
    utcOffsetMinutes: t.int({ description: 'Minutes east of UTC where the payer is' }),
    cardPresent: t.boolean({ description: 'true for a terminal, false for a web shop' }),
    declined: t.boolean({ description: 'The issuer refused it already: wrong code, expired, no funds' }),
  },
})

export const card = entity('card', { key: 'cardId', description: 'A payment card' })
export const merchant = entity('merchant', { key: 'merchantId', description: 'A shop' })

/** How a card is used now, and how it usually is. */
export const cardActivity = group(
  'card_activity',
  { entity: card, source: payment, description: 'How a card is used now, and how it usually is.' },
  e => ({
    payments_5m: e.count('5m', { description: 'Payments in 5 minutes; bursts are made by machines' }),
    payments_1h: e.count('1h', { description: 'Payments in an hour' }),
    payments_24h: e.count('24h', { description: 'Payments in a day' }),
    small_payments_1h: e.count('1h', {
      where: e.amount.lt(SMALL_AMOUNT),
      description: 'Payments below 5 in an hour: card testing tries tiny amounts',
    }),
    declined_1h: e.count('1h', {
      where: e.declined.isTrue(),
      description: 'Payments refused by the issuer in an hour',
    }),
    spend_1h: e.sum(e.amount, '1h', { description: 'Amount paid in an hour' }),
    spend_24h: e.sum(e.amount, '24h', { description: 'Amount paid in a day' }),
    mean_amount_7d: e.mean(e.amount, '7d', {
      include: 'excludeSelf',
      description: 'Mean amount of the week before this payment; null for a card not used in it',
    }),
    std_amount_7d: e.std(e.amount, '7d', {
      include: 'excludeSelf',
      description: 'Standard deviation of the amounts of the week before this payment',
    }),
    largest_amount_7d: e.max(e.amount, '7d', {
      include: 'excludeSelf',
      description: 'Largest amount of the week before this payment',
    }),
    merchants_1h: e.distinct(e.merchantId, '1h', { description: 'Different shops in an hour' }),
    countries_24h: e.distinct(e.country, '24h', { description: 'Different countries in a day' }),
    last_country: e.last(e.country, 'lifetime', {
      include: 'excludeSelf',
      description: 'Country of the payment before this one',
    }),
  }),
)

/** What a shop sells now, and what it usually sells: a compromised shop shows on many cards at once. */
export const merchantActivity = group(
  'merchant_activity',
  { entity: merchant, source: payment, description: 'What a shop sells now, and what it usually sells.' },
  e => ({
    payments_1h: e.count('1h', { description: 'Payments in an hour' }),
    cards_1h: e.distinct(e.cardId, '1h', { description: 'Different cards in an hour' }),
    declined_1h: e.count('1h', { where: e.declined.isTrue(), description: 'Payments refused by issuers in an hour' }),
    small_payments_1h: e.count('1h', { where: e.amount.lt(SMALL_AMOUNT), description: 'Payments below 5 in an hour' }),
    large_payments_1h: e.count('1h', {
      where: e.amount.ge(LARGE_AMOUNT),
      description: 'Payments of 200 or more in an hour',
    }),
    mean_amount_7d: e.mean(e.amount, '7d', {
      include: 'excludeSelf',
      description: 'Mean amount of the week before this payment',
    }),
    std_amount_7d: e.std(e.amount, '7d', {
      include: 'excludeSelf',
      description: 'Standard deviation of the amounts of the week before this payment',
    }),
    last_country: e.last(e.country, 'lifetime', {
      include: 'excludeSelf',
      description: 'Country of the payment before this one at this shop',
    }),
  }),
)

const withCard = { request: payment, groups: [cardActivity] } as const
const withMerchant = { request: payment, groups: [merchantActivity] } as const

/** The request-time features of the service `fraud`, which its policy looks at too. */
const fraudDerived = {
  amount_over_mean: derived(
    { ...withCard, description: "The amount as a multiple of the card's weekly mean; null without one" },
    v => {
      const mean = v.card_activity.mean_amount_7d
      return mean === null || mean === 0 ? null : v.request.amount / mean
    },
  ),
  amount_over_largest: derived(
    { ...withCard, description: "The amount as a multiple of the card's largest in a week; null without one" },
    v => {
      const largest = v.card_activity.largest_amount_7d
      return largest === null || largest === 0 ? null : v.request.amount / largest
    },
  ),
  amount_deviations: derived(
    { ...withCard, description: "Distance from the card's weekly mean in standard deviations, the latter at least 1" },
    v => {
      const { mean_amount_7d: mean, std_amount_7d: std } = v.card_activity
      return mean === null || std === null ? null : (v.request.amount - mean) / Math.max(std, 1)
    },
  ),
  country_changed: derived(
    { ...withCard, description: '1 when the payment before was in another country, 0 when not, null for a first one' },
    v => {
      const last = v.card_activity.last_country
      return last === null ? null : Number(last !== v.request.country)
    },
  ),
  local_hour: derived({ request: payment, description: 'Hour of the day where the payer is, 0 to 23' }, v => {
    const minutes = Math.floor(v.request.occurredAt / 60_000) + v.request.utcOffsetMinutes
    return Math.floor((((minutes % 1440) + 1440) % 1440) / 60)
  }),
  card_declined_share_1h: derived(
    { ...withCard, description: "Share of the card's payments in an hour that the issuer refused" },
    v => v.card_activity.declined_1h / Math.max(v.card_activity.payments_1h, 1),
  ),
  merchant_amount_over_mean: derived(
    { ...withMerchant, description: "The amount as a multiple of the shop's weekly mean; null without one" },
    v => {
      const mean = v.merchant_activity.mean_amount_7d
      return mean === null || mean === 0 ? null : v.request.amount / mean
    },
  ),
  merchant_large_share_1h: derived(
    { ...withMerchant, description: "Share of the shop's payments in an hour that were 200 or more" },
    v => v.merchant_activity.large_payments_1h / Math.max(v.merchant_activity.payments_1h, 1),
  ),
} as const

/** The model decides; two rules catch what needs no model. Without any score a person looks at the payment. */
export const fraudPolicy = policy('fraud_policy', {
  version: '1',
  request: payment,
  groups: [cardActivity],
  derived: fraudDerived,
  outcomes: ['approve', 'review', 'decline'],
  rules: [
    {
      name: 'card_testing_burst',
      when: v => v.card_activity.small_payments_1h >= 8 && v.card_activity.declined_1h >= 4,
      outcome: 'decline',
    },
    {
      name: 'large_amount_in_a_new_country',
      when: v => v.derived.country_changed === 1 && v.request.amount >= 1000,
      outcome: 'review',
    },
  ],
  thresholds: { review: 0.3, decline: 0.8 },
  fallback: 'review',
})

/** Is this payment made by the owner of the card? */
export const fraud = service('fraud', {
  request: payment,
  groups: [cardActivity, merchantActivity],
  derived: fraudDerived,
  model: 'fraud',
  policy: fraudPolicy,
  description: 'Is this payment made by the owner of the card?',
})
