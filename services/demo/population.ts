import { createRandom } from './random.ts'
import type { Random } from './random.ts'

/** A country and the offset of its clocks; spread over the globe so that traffic is even around the clock. */
export interface Region {
  readonly country: string
  readonly utcOffsetMinutes: number
}

/** The countries that cards and merchants are dealt to in turn, by offset from west to east. */
export const REGIONS: readonly Region[] = [
  { country: 'US', utcOffsetMinutes: -540 },
  { country: 'MX', utcOffsetMinutes: -360 },
  { country: 'BR', utcOffsetMinutes: -180 },
  { country: 'GB', utcOffsetMinutes: 0 },
  { country: 'TR', utcOffsetMinutes: 180 },
  { country: 'BD', utcOffsetMinutes: 360 },
  { country: 'JP', utcOffsetMinutes: 540 },
  { country: 'NZ', utcOffsetMinutes: 720 },
]

interface Category {
  readonly name: string
  /** Natural logarithm of how its amounts compare with the card's usual ones. */
  readonly level: number
  readonly online: boolean
  /** How many of ten payments at random shops go to it. */
  readonly share: number
}

const CATEGORIES: readonly Category[] = [
  { name: 'grocery', level: 0.1, online: false, share: 3 },
  { name: 'coffee', level: -1.5, online: false, share: 1.5 },
  { name: 'restaurant', level: 0.2, online: false, share: 1.5 },
  { name: 'fuel', level: 0.5, online: false, share: 1 },
  { name: 'digital', level: -0.8, online: true, share: 1.2 },
  { name: 'fashion', level: 0.7, online: true, share: 1 },
  { name: 'electronics', level: 1.2, online: true, share: 0.4 },
  { name: 'travel', level: 1.6, online: true, share: 0.4 },
]

/** A shop: where it is and what it sells. */
export interface Merchant {
  readonly id: string
  readonly region: Region
  readonly category: Category
}

/** A card and its habits; levels are natural logarithms. */
export interface Card {
  readonly id: string
  readonly home: Region
  /** Relative frequency of its payments. */
  readonly weight: number
  /** Mean of the logarithm of its amounts. */
  readonly level: number
  readonly favourites: readonly Merchant[]
}

/** All cards and merchants of one seed. */
export interface Population {
  readonly cards: readonly Card[]
  readonly merchants: readonly Merchant[]
  readonly merchantsByCountry: ReadonlyMap<string, readonly Merchant[]>
  /** A card, by weight. */
  pickCard(random: Random): Card
}

const CARDS_PER_MERCHANT = 12
const FAVOURITES = 6

/** Cards with habits and the shops they go to, as the seed decides. */
export function createPopulation(seed: number, cardCount: number): Population {
  const random = createRandom(seed ^ 0x5bd1e995)
  const merchantCount = Math.max(REGIONS.length * CATEGORIES.length, Math.round(cardCount / CARDS_PER_MERCHANT))
  const deck = CATEGORIES.flatMap(category => Array.from({ length: Math.round(category.share * 10) }, () => category))
  const merchants = Array.from({ length: merchantCount }, (_, index): Merchant => {
    const region = REGIONS[index % REGIONS.length]
    const category = CATEGORIES[Math.floor(index / REGIONS.length)] ?? random.pick(deck)
    return { id: `merchant-${String(index + 1).padStart(5, '0')}`, region: region ?? random.pick(REGIONS), category }
  })
  const merchantsByCountry = Map.groupBy(merchants, merchant => merchant.region.country)
  let total = 0
  const upTo: number[] = []
  const cards = Array.from({ length: cardCount }, (_, index): Card => {
    const home = REGIONS[index % REGIONS.length] ?? random.pick(REGIONS)
    const nearby = merchantsByCountry.get(home.country) ?? merchants
    const weight = Math.min(4, Math.exp(0.5 * random.normal()))
    total += weight
    upTo.push(total)
    return {
      id: `card-${String(index + 1).padStart(6, '0')}`,
      home,
      weight,
      level: Math.log(28) + 0.45 * random.normal(),
      favourites: Array.from({ length: FAVOURITES }, () => random.pick(nearby)),
    }
  })
  return {
    cards,
    merchants,
    merchantsByCountry,
    pickCard(by) {
      const target = by.uniform() * total
      let low = 0
      let high = upTo.length - 1
      while (low < high) {
        const middle = (low + high) >>> 1
        if ((upTo[middle] ?? Infinity) > target) high = middle
        else low = middle + 1
      }
      return cards[low] ?? by.pick(cards)
    },
  }
}
