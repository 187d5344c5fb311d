import { derived, entity, group, policy, service } from '../../../features/define/index.ts'
import type { Event, Group, RequestOf, Service, View } from '../../../features/define/index.ts'
import {
  cardActivity,
  holds,
  login,
  logins,
  merchantActivity,
  moves,
  pairMoves,
  pairRefunds,
  payment,
  refund,
} from './fixture.ts'
import type { Equal } from './fixture.ts'

type V = View<typeof payment, readonly [typeof cardActivity, typeof merchantActivity]>
type Card = V['card_activity']

holds<Equal<Card['payments_5m'], number>>()
holds<Equal<Card['noted_1d'], number>>()
holds<Equal<Card['counts'], number>>()
holds<Equal<Card['spend_24h'], number>>()
holds<Equal<Card['serials'], bigint>>()
holds<Equal<Card['declines'], number>>()
holds<Equal<Card['mean_30d'], number | null>>()
holds<Equal<Card['mean_or_zero'], number>>()
holds<Equal<Card['smallest'], number | null>>()
holds<Equal<Card['largest_serial'], bigint | null>>()
holds<Equal<Card['spread'], number | null>>()
holds<Equal<Card['variance'], number>>()
holds<Equal<Card['last_note'], string | null>>()
holds<Equal<Card['last_note_or'], string>>()
holds<Equal<Card['first_decline'], boolean>>()
holds<Equal<Card['first_embedding'], readonly number[] | null>>()
holds<Equal<Card['notes'], readonly string[]>>()
holds<Equal<Card['merchants_7d'], number>>()
holds<Equal<Card['payments_today'], number>>()
holds<Equal<Card['payments_yesterday'], number>>()
holds<Equal<Card['noted_in_session'], number>>()
holds<Equal<Card['mean_of_ten'], number>>()
holds<Equal<Card['spend_year'], number>>()
holds<Equal<Card['shop_of_dearest'], number | null>>()
holds<Equal<Card['note_of_dearest'], string>>()
holds<Equal<Card['dearest'], readonly number[]>>()
holds<Equal<Card['serials_first'], readonly bigint[]>>()
holds<Equal<Card['notes_seen'], readonly string[]>>()
holds<Equal<Card['notes_top'], readonly (readonly [string, number])[]>>()
holds<Equal<Card['serials_top'], readonly (readonly [bigint, number])[]>>()
holds<Equal<Card['shops'], readonly (readonly [number, number])[]>>()
holds<Equal<Card['declines_per'], readonly (readonly [boolean, number])[]>>()
holds<Equal<Card['amounts'], readonly number[]>>()
holds<Equal<Card['note_kinds'], readonly number[]>>()
holds<Equal<Card['p90'], number | null>>()
holds<Equal<Card['p90_or'], number>>()
holds<Equal<Card['middle'], number | null>>()
holds<Equal<Card['recency'], number>>()
holds<Equal<Card['recent'], number>>()
holds<Equal<Card['recent_mean'], number | null>>()
holds<Equal<Card['gaps'], number | null>>()
holds<Equal<Card['note_gaps'], number>>()
holds<Equal<Card['streak'], number>>()
holds<Equal<Card['speed'], number>>()
holds<Equal<Card['idle'], number | null>>()
holds<Equal<Card['squares'], bigint>>()
holds<Equal<Card['direction'], readonly number[] | null>>()
holds<Equal<Card['direction_or'], readonly number[]>>()
holds<Equal<Card['declined_1h'], number>>()
holds<Equal<keyof V, 'request' | 'card_activity' | 'merchant_activity'>>()
holds<Equal<V['merchant_activity'], { readonly payments_1h: number }>>()

holds<
  Equal<
    RequestOf<typeof payment>,
    {
      readonly paymentId: string
      readonly occurredAt: number
      readonly cardId: string
      readonly merchantId: number | null
      readonly amount: number
      readonly serial: bigint
      readonly note: string | null
      readonly declined: boolean
      readonly embedding: readonly number[]
      readonly weight: number
      readonly count: number
    }
  >
>()

const ratio = derived({ request: payment, groups: [cardActivity] }, v => {
  holds<Equal<typeof v.request.amount, number>>()
  holds<Equal<typeof v.card_activity.mean_30d, number | null>>()
  return v.request.amount / (v.card_activity.mean_30d ?? 1)
})
holds<Equal<ReturnType<typeof ratio>, number>>()

const rules = policy('rules', {
  request: payment,
  groups: [cardActivity],
  derived: { ratio },
  outcomes: ['approve', 'review', 'decline'],
  rules: [
    { name: 'many', when: v => v.card_activity.payments_5m > 3 && v.derived.ratio > 2, outcome: 'decline' },
    { name: 'unknown', when: v => (v.card_activity.mean_30d === null ? null : v.request.declined), outcome: 'review' },
  ],
  thresholds: { review: 0.5, decline: 0.9 },
  fallback: 'review',
})
holds<Equal<(typeof rules)['outcomes'], readonly ('approve' | 'review' | 'decline')[]>>()

const fraud = service('fraud', {
  request: payment,
  groups: [cardActivity, merchantActivity, logins],
  derived: {
    ratio,
    first_seen: v => v.card_activity.last_note === null,
    serial: v => v.request.serial - v.card_activity.serials,
    word: v => (v.logins.logins_1d > 3 ? 'busy' : null),
    shop: v => v.request.merchantId ?? v.merchant_activity.payments_1h,
  },
  model: 'fraud',
  policy: rules,
})
holds<
  Equal<
    typeof fraud extends Service<'fraud', unknown, infer D> ? D : never,
    { ratio: number; first_seen: boolean; serial: bigint; word: 'busy' | null; shop: number }
  >
>()

/** A policy that names nothing sees anything. */
service('loose', {
  request: payment,
  groups: [cardActivity],
  policy: policy('loose_rules', {
    outcomes: ['yes', 'no'],
    rules: [{ name: 'r', when: v => Number(v.card_activity?.['payments_5m']) > 3, outcome: 'no' }],
    fallback: 'no',
  }),
})

/** A login names its card under the entity's key, so its groups can be read from a payment, and the other way round. */
service('from_login', { request: login, groups: [cardActivity] })

/** A group over a source that names the key otherwise says where it is. */
const device = entity('device', { key: 'deviceId' })
export const deviceLogins = group('device_logins', { entity: device, source: login, key: 'device' }, e => ({
  n: e.count('1d'),
}))
holds<Equal<typeof deviceLogins, Group<'device_logins', 'login', 'deviceId', { readonly n: number }>>>()

export const anyEvent: Event = payment
export const anyGroup: Group = cardActivity
export const anyService: Service = fraud

type Moves = View<typeof refund, readonly [typeof moves, typeof pairMoves]>
holds<Equal<Moves['moves']['net_1d'], number>>()
holds<Equal<Moves['moves']['last_merchant'], number | null>>()
holds<Equal<Moves['pair_moves']['n'], number>>()

/** An event of a union joins its groups whatever its key fields are called; another needs the names of the key. */
service('on_refund', {
  request: refund,
  groups: [moves, pairMoves, pairRefunds],
  derived: { all: v => v.moves.net_1d + v.pair_moves.n + v.pair_refunds.n },
})
service('on_payment', { request: payment, groups: [moves, pairMoves, pairRefunds] })
