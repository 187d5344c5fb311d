import { entity, event, group, t } from '../../../features/define/index.ts'

/** An event with a field of each type, so that a record can be wrong in every way. */
export const transfer = event('transfer', {
  topic: 'transfers',
  id: 'transfer_id',
  time: 'at',
  key: 'card',
  partitions: 3,
  lateness: '1d',
  fields: {
    transfer_id: t.string(),
    at: t.timestamp(),
    card: t.string(),
    shop: t.string(),
    amount: t.decimal(2),
    units: t.int(),
    serial: t.int64(),
    rate: t.double(),
    vip: t.boolean(),
    place: t.vector(2),
    note: t.optional(t.string()),
    due: t.optional(t.timestamp()),
  },
})

export const card = entity('card', { key: 'card' })
export const shop = entity('shop', { key: 'shop' })

export const cardTransfers = group('card_transfers', { entity: card, source: transfer }, e => ({
  transfers: e.count('lifetime'),
  spend: e.sum(e.amount, 'lifetime'),
  spend_10m: e.sum(e.amount, '10m'),
  shops_1h: e.distinct(e.shop, '1h'),
  last_shop: e.last(e.shop, 'lifetime'),
}))

export const shopTransfers = group('shop_transfers', { entity: shop, source: transfer }, e => ({
  transfers: e.count('lifetime'),
  units: e.sum(e.units, 'lifetime'),
  largest_1h: e.max(e.amount, '1h'),
}))
