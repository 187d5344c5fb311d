import { derived, entity, event, group, impossibleTravel, policy, service, t } from '../../../features/define/index.ts'
import { ratio, textLength, urlCount, zScore } from '../../../features/define/index.ts'
import type { Derived, NoEvent, Service, View } from '../../../features/define/services.ts'
import { cardActivity, holds, login, logins, merchantActivity, payment } from './fixture.ts'
import type { Equal } from './fixture.ts'

const ride = event('ride', {
  topic: 'rides',
  id: 'id',
  time: 'at',
  lateness: '1h',
  fields: { id: t.string(), at: t.timestamp(), cardId: t.string(), place: t.optional(t.vector(2)), fare: t.double() },
})
const card = entity('card', { key: 'cardId' })
const ridePlaces = group('ride_places', { entity: card, source: ride }, e => ({
  places_2: e.lastN(e.place, 2, '7d'),
  place_times_2: e.lastN(e.at, 2, '7d', { where: e.place.isNotNull() }),
  rides_1d: e.count('1d'),
  place: e.last(e.place, '7d'),
  ids: e.lastN(e.id, 2, '7d'),
  fare_1d: e.mean(e.fare, '1d'),
}))

/** Impossible travel names a group and two of its features, and is a derived feature like any other. */
const speed = impossibleTravel(ridePlaces, { places: 'places_2', times: 'place_times_2' }, { ignoreKm: 5 })
holds<Equal<typeof speed, Derived<View<NoEvent, readonly [typeof ridePlaces]>, number | null>>>()
// @ts-expect-error a feature that is not there
impossibleTravel(ridePlaces, { places: 'places_3', times: 'place_times_2' })
// @ts-expect-error a list of texts is no list of places
impossibleTravel(ridePlaces, { places: 'ids', times: 'place_times_2' })
// @ts-expect-error one place is no list of places
impossibleTravel(ridePlaces, { places: 'place', times: 'place_times_2' })
// @ts-expect-error a list of places is no list of times
impossibleTravel(ridePlaces, { places: 'places_2', times: 'places_2' })
// @ts-expect-error a number is no list of times
impossibleTravel(ridePlaces, { places: 'places_2', times: 'rides_1d' })
// @ts-expect-error both features must be named
impossibleTravel(ridePlaces, { places: 'places_2' })
// @ts-expect-error a group without lists has no such features
impossibleTravel(merchantActivity, { places: 'payments_1h', times: 'payments_1h' })
// @ts-expect-error an option that does not exist
impossibleTravel(ridePlaces, { places: 'places_2', times: 'place_times_2' }, { ignoreMetres: 5 })

/** Derived features of derived features see exactly what they name, with its type. */
const perMean = derived({ request: payment, groups: [cardActivity] }, v =>
  ratio(v.request.amount, v.card_activity.mean_30d),
)
const isBusy = derived({ groups: [logins] }, v => v.logins.logins_1d > 3)
const both = derived({ groups: [merchantActivity], derived: { perMean, busy: isBusy } }, v => {
  holds<Equal<typeof v.derived, { readonly perMean: number | null; readonly busy: boolean }>>()
  holds<Equal<typeof v.merchant_activity.payments_1h, number>>()
  return v.derived.busy ? v.derived.perMean : v.merchant_activity.payments_1h
})
const above = derived({ derived: { both } }, v => (v.derived.both === null ? 'unknown' : 'known'))
holds<Equal<ReturnType<typeof above>, 'unknown' | 'known'>>()
holds<Equal<Parameters<typeof above>[0]['card_activity']['mean_30d'], number | null>>()
holds<Equal<Parameters<typeof above>[0]['logins']['logins_1d'], number>>()

/** Without `derived` nothing changes, and a function made elsewhere still fits. */
const noted =
  <V, T>(evaluate: (v: V) => T): ((v: V) => T) =>
  v =>
    evaluate(v)
const wrapped = derived(
  { request: payment, groups: [cardActivity] },
  noted(v => v.request.amount + v.card_activity.payments_5m),
)
holds<Equal<typeof wrapped, Derived<View<typeof payment, readonly [typeof cardActivity]>, number>>>()

/** A service and a policy take it by name; what it needs need not be listed. */
const rules = policy('rules', {
  derived: { above },
  outcomes: ['yes', 'no'],
  rules: [{ name: 'r', when: v => v.derived.above === 'known', outcome: 'no' }],
  fallback: 'no',
})
export const scored = service('scored', {
  request: payment,
  groups: [cardActivity, merchantActivity, logins, ridePlaces],
  derived: { above, speed, z: v => zScore(v.request.amount, v.card_activity.mean_30d, v.card_activity.spread) },
  policy: rules,
})
holds<
  Equal<
    typeof scored extends Service<'scored', unknown, infer D> ? D : never,
    { above: 'unknown' | 'known'; speed: number | null; z: number | null }
  >
>()

// @ts-expect-error a derived feature that was not asked for
derived({ groups: [logins] }, v => v.derived.busy)
// @ts-expect-error a name that was not given
derived({ derived: { perMean } }, v => v.derived.busy)
// @ts-expect-error its value may be null
derived({ derived: { perMean } }, v => v.derived.perMean * 2)
// @ts-expect-error what a needed feature looks at is not seen unless it is asked for
derived({ derived: { isBusy } }, v => v.logins.logins_1d)
// @ts-expect-error only what derived() returned
derived({ derived: { plain: () => 1 } }, v => v.derived.plain)
// @ts-expect-error a needed feature looks at a group that the service does not have
service('s', { request: payment, groups: [cardActivity, merchantActivity], derived: { above } })
// @ts-expect-error a needed feature looks at another request
service('s', { request: login, groups: [cardActivity, logins], derived: { above } })
// @ts-expect-error the group with the places is missing
service('s', { request: payment, groups: [cardActivity], derived: { speed } })

/** Counts of a text are null only where the text may be. */
const length: number = textLength('abc')
const maybe: number | null = urlCount(null as string | null)
holds<Equal<ReturnType<typeof textLength<string | null>>, number | null>>()
// @ts-expect-error the text may be missing
export const never: number = urlCount(null as string | null)
export const lengths = [length, maybe]
