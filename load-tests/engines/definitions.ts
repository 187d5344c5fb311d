import { entity, event, group, t } from '../../features/define/index.ts'

export const payment = event('payment', {
  topic: 'payments',
  id: 'id',
  time: 'at',
  key: 'card',
  lateness: '1h',
  partitions: 12,
  fields: {
    id: t.string(),
    at: t.timestamp(),
    card: t.string(),
    merchant: t.string(),
    country: t.string(),
    amount: t.decimal(2),
    declined: t.boolean(),
  },
})
export const card = entity('card', { key: 'card' })

/** Twelve features over three windows each. */
export const cardActivity = group('card_activity', { entity: card, source: payment }, e => {
  const declined = { where: e.declined.isTrue() }
  const over = <W extends '1h' | '1d' | '30d'>(window: W) => ({
    [`n_${window}`]: e.count(window),
    [`declined_${window}`]: e.count(window, declined),
    [`spend_${window}`]: e.sum(e.amount, window),
    [`mean_${window}`]: e.mean(e.amount, window),
    [`least_${window}`]: e.min(e.amount, window),
    [`most_${window}`]: e.max(e.amount, window),
    [`spread_${window}`]: e.std(e.amount, window),
    [`declined_spend_${window}`]: e.sum(e.amount, window, declined),
    [`last_country_${window}`]: e.last(e.country, window),
    [`countries_${window}`]: e.distinct(e.country, window),
    [`since_last_${window}`]: e.timeSinceLast(window),
    [`rate_${window}`]: e.rate(window),
  })
  return { ...over('1h'), ...over('1d'), ...over('30d') }
})
