import type { VALUE } from '../marks.ts'
import { derived } from '../services.ts'
import type { Derived, NoEvent, View } from '../services.ts'
import type { Group } from '../sources.ts'

/** A place on Earth, `[latitude, longitude]` in degrees, north and east positive: a field of type `t.vector(2)`. */
export type Place = readonly number[]

/** Mean radius (2a + b) / 3 of the ellipsoid GRS 80, which WGS 84 shares (IUGG, Moritz 1980). */
const EARTH_MEAN_RADIUS_KM = 6371.0088
const RADIANS_PER_DEGREE = Math.PI / 180
const HOUR_MS = 3_600_000

/**
 * The great-circle distance between two places in kilometres, from 0 to 20,015.12, by the haversine formula on a sphere
 * of the Earth's mean radius (Sinnott, "Virtues of the Haversine", Sky & Telescope 68, 1984):
 * `2 R asin √(sin²(Δφ/2) + cos φ₁ cos φ₂ sin²(Δλ/2))`.
 *
 * The distance along the ellipsoid WGS 84 differs by at most 0.57 %: most for short hops north or south at the equator,
 * where it is shorter, and by 0.45 % at the poles, where it is longer.
 *
 * Longitudes wrap: 190 is −170. Null when a place is null, has not exactly two finite numbers, or has a latitude
 * beyond ±90.
 */
export function greatCircleKm(a: Place | null, b: Place | null): number | null {
  if (a === null || b === null || !isPlace(a) || !isPlace(b)) return null
  const [latitudeA = 0, longitudeA = 0] = a
  const [latitudeB = 0, longitudeB = 0] = b
  const northward = Math.sin(((latitudeB - latitudeA) * RADIANS_PER_DEGREE) / 2) ** 2
  const eastward = Math.sin((turn(longitudeA, longitudeB) * RADIANS_PER_DEGREE) / 2) ** 2
  const haversine = Math.min(northward + cosine(latitudeA) * cosine(latitudeB) * eastward, 1)
  return 2 * EARTH_MEAN_RADIUS_KM * Math.asin(Math.sqrt(haversine))
}

/** From one longitude to another in degrees, −180 to 180; exactly 0 for two names of one meridian. */
function turn(from: number, to: number): number {
  const degrees = ((to % 360) - (from % 360)) % 360
  return Math.abs(degrees) <= 180 ? degrees : degrees - Math.sign(degrees) * 360
}

/** Of a latitude in degrees; exactly 0 at the poles, where every longitude names the same place. */
function cosine(latitude: number): number {
  return Math.abs(latitude) === 90 ? 0 : Math.cos(latitude * RADIANS_PER_DEGREE)
}

function isPlace(place: Place): boolean {
  const [latitude, longitude] = place
  return place.length === 2 && Number.isFinite(longitude) && Math.abs(latitude ?? Number.NaN) <= 90
}

/**
 * The speed of the straightest way from one place to the other in km/h: `greatCircleKm(a, b)` over the time between,
 * whichever of the two is earlier. 0 for the same place. Two places at the same instant give `Infinity`, which is the
 * limit and keeps "faster than" rules true for the strongest evidence there is; models are given it as infinity, and
 * records and columns hold it.
 *
 * Null when any of the four is null, a place is not one (see `greatCircleKm`) or a time is not finite.
 */
export function speedKmh(
  a: Place | null,
  aTimeMs: number | null,
  b: Place | null,
  bTimeMs: number | null,
): number | null {
  if (aTimeMs === null || bTimeMs === null || !Number.isFinite(aTimeMs) || !Number.isFinite(bTimeMs)) return null
  const km = greatCircleKm(a, b)
  if (km === null || km === 0) return km
  return km / (Math.abs(aTimeMs - bTimeMs) / HOUR_MS)
}

/** Options of `travelSpeedKmh` and `impossibleTravel`. */
export interface TravelOptions {
  /** Two places at most this far apart count as one, whose speed is 0: what the places are uncertain by; 0 by default. */
  readonly ignoreKm?: number
}

/**
 * The speed in km/h between the first two places of a list, with the times of the same rows in UTC milliseconds:
 * newest first, as `e.lastN(e.place, 2, …)` and `e.lastN(e.occurredAt, 2, …, { where: e.place.isNotNull() })` answer.
 *
 * Null when a list is null, when there are fewer than two places, and as `speedKmh`.
 * @throws RangeError when the lists differ in length, so that no time belongs to a place
 */
export function travelSpeedKmh(
  places: readonly Place[] | null,
  times: readonly number[] | null,
  options: TravelOptions = {},
): number | null {
  if (places === null || times === null) return null
  if (places.length !== times.length) {
    throw new RangeError(
      `${places.length} places but ${times.length} times: take both over the same rows, the times with where: e.place.isNotNull()`,
    )
  }
  const [to = null, from = null] = places
  const [arrived = null, left = null] = times
  const speed = speedKmh(to, arrived, from, left)
  const { ignoreKm = 0 } = options
  return speed !== null && (greatCircleKm(to, from) ?? 0) <= ignoreKm ? 0 : speed
}

/** Names of the features whose values are of a type. */
type NamesOf<V, T> = { [N in keyof V]: V[N] extends T ? N : never }[keyof V] & string

/**
 * A derived feature against impossible travel: the speed in km/h at which an entity must have moved between its last
 * two places; an airliner flies 900. Its values and errors are those of `travelSpeedKmh`.
 *
 * ```ts
 * const cardPlaces = group('card_places', { entity: card, source: payment }, e => ({
 *   places_2: e.lastN(e.place, 2, '7d'),
 *   place_times_2: e.lastN(e.occurredAt, 2, '7d', { where: e.place.isNotNull() }),
 * }))
 * const speed = impossibleTravel(cardPlaces, { places: 'places_2', times: 'place_times_2' })
 * ```
 *
 * The event being scored is one of the two by default. Both features need the same window, `include` and `delay`.
 * @param group the group of both features
 * @param features names of the features with the last places and with their times
 */
export function impossibleTravel<G extends Group>(
  group: G,
  features: {
    readonly places: NamesOf<NoInfer<G>[typeof VALUE], readonly Place[]>
    readonly times: NamesOf<NoInfer<G>[typeof VALUE], readonly number[]>
  },
  options: TravelOptions & { readonly description?: string } = {},
): Derived<View<NoEvent, readonly [G]>, number | null> {
  const { places, times } = features
  const description = options.description ?? 'Speed in km/h between the last two places; null with fewer than two'
  return derived({ groups: [group], description }, view => {
    const values = (view as unknown as Readonly<Record<string, Readonly<Record<string, unknown>>>>)[group.name]
    const listOf = (feature: string): unknown => {
      const value = values?.[feature]
      if (value === null || Array.isArray(value)) return value
      throw new RangeError(`impossibleTravel: group ${group.name} has no feature ${feature} that is a list`)
    }
    return travelSpeedKmh(listOf(places) as readonly Place[] | null, listOf(times) as readonly number[] | null, options)
  })
}
