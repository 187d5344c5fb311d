import { createPopulation, REGIONS } from './population.ts'
import type { Card, Merchant, Population, Region } from './population.ts'
import { createRandom } from './random.ts'
import type { Random } from './random.ts'

/** Milliseconds of an hour. */
export const HOUR_MS = 3_600_000
/** Milliseconds of a day. */
export const DAY_MS = 24 * HOUR_MS

/** The ways of fraud that are acted out. */
export const FRAUD_PATTERNS = ['card_testing', 'compromised_merchant', 'account_takeover'] as const
/** One of `FRAUD_PATTERNS`. */
export type FraudPattern = (typeof FRAUD_PATTERNS)[number]

/** The fields of the event `payment`; times in UTC milliseconds, amounts with two decimals. */
export interface PaymentEvent {
  readonly paymentId: string
  readonly occurredAt: number
  readonly cardId: string
  readonly merchantId: string
  readonly category: string
  readonly amount: number
  readonly country: string
  readonly utcOffsetMinutes: number
  readonly cardPresent: boolean
  readonly declined: boolean
}

/** A payment with the truth beside it. */
export interface LabelledPayment {
  readonly event: PaymentEvent
  readonly fraud: boolean
  /** null for an honest payment. */
  readonly pattern: FraudPattern | null
}

/** What payments are made; all times are event times. */
export interface GeneratorOptions {
  /** 32 bits. The same options give the same payments. */
  readonly seed: number
  /** Time of the first payments, UTC milliseconds. */
  readonly startMs: number
  readonly paymentsPerDay: number
  /** By default as many as make 2.4 payments a day each. */
  readonly cards?: number
  /** From this event time on amounts are 1.6 times as high and four times as many purchases are made abroad. */
  readonly shiftAtMs?: number
}

/** Payments in order of time, without end. */
export interface PaymentGenerator {
  readonly cards: number
  next(): LabelledPayment
}

/** Payments a card makes a day on average. */
export const PAYMENTS_PER_CARD_DAY = 2.4

/** Share of payments that are fraud: far above what is real, so that a short demonstration shows some of each. */
const FRAUD_SHARE = 0.025
const SHIFTED_AMOUNT_FACTOR = 1.6
const ABROAD_SHARE = 0.03
const SHIFTED_ABROAD_SHARE = 0.12
const TRIP_CHANCE = 0.004

interface Campaign {
  readonly shareOfFraud: number
  readonly meanPayments: number
  readonly plan: (world: World, startMs: number) => readonly Planned[]
}

/** A fraudulent payment that will be made; ids are given when it is its turn. */
interface Planned extends Omit<PaymentEvent, 'paymentId'> {
  readonly pattern: FraudPattern
}

interface World {
  readonly random: Random
  readonly population: Population
}

const CAMPAIGNS: Readonly<Record<FraudPattern, Campaign>> = {
  card_testing: { shareOfFraud: 0.4, meanPayments: 19, plan: planCardTesting },
  compromised_merchant: { shareOfFraud: 0.35, meanPayments: 35, plan: planCompromisedMerchant },
  account_takeover: { shareOfFraud: 0.25, meanPayments: 6.5, plan: planAccountTakeover },
}

/** Honest payments with the habits of each card and the rhythm of its days, and three patterns of fraud among them. */
export function createGenerator(options: GeneratorOptions): PaymentGenerator {
  const { seed, startMs, paymentsPerDay, shiftAtMs = Infinity } = options
  if (!Number.isSafeInteger(startMs)) throw new RangeError(`startMs must be whole UTC milliseconds, not ${startMs}`)
  if (!(paymentsPerDay > 0)) throw new RangeError(`paymentsPerDay must be positive, not ${paymentsPerDay}`)
  const cardCount = options.cards ?? Math.max(50, Math.round(paymentsPerDay / PAYMENTS_PER_CARD_DAY))
  const population = createPopulation(seed, cardCount)
  const random = createRandom(seed)
  const world: World = { random, population }
  const trips = new Map<string, { readonly region: Region; readonly untilMs: number }>()
  const candidateGapMs = (DAY_MS / (paymentsPerDay * (1 - FRAUD_SHARE))) * MEAN_RHYTHM
  const planned: Planned[] = []
  const starts = FRAUD_PATTERNS.map(pattern => {
    const campaign = CAMPAIGNS[pattern]
    const gapMs = (DAY_MS * campaign.meanPayments) / (paymentsPerDay * FRAUD_SHARE * campaign.shareOfFraud)
    return { campaign, gapMs, nextMs: startMs + gapMs * random.between(0.1, 0.9) }
  })
  let candidateMs = startMs
  let honest = nextHonest()
  let made = 0

  function nextHonest(): Omit<PaymentEvent, 'paymentId'> {
    for (;;) {
      candidateMs += random.exponential(candidateGapMs)
      const card = population.pickCard(random)
      const trip = trips.get(card.id)
      if (trip !== undefined && trip.untilMs <= candidateMs) trips.delete(card.id)
      const region = trips.get(card.id)?.region ?? card.home
      if (!random.chance(rhythm(candidateMs, region))) continue
      if (region === card.home && random.chance(TRIP_CHANCE)) {
        trips.set(card.id, {
          region: otherRegion(random, card.home),
          untilMs: candidateMs + random.between(8, 72) * HOUR_MS,
        })
      }
      return honestPayment(world, card, region, Math.floor(candidateMs), candidateMs >= shiftAtMs)
    }
  }

  function startCampaigns(beforeMs: number): void {
    for (const start of starts) {
      while (start.nextMs <= beforeMs) {
        for (const payment of start.campaign.plan(world, Math.floor(start.nextMs))) insertPlanned(planned, payment)
        start.nextMs += start.gapMs * random.between(0.5, 1.5)
      }
    }
  }

  return {
    cards: cardCount,
    next() {
      startCampaigns(honest.occurredAt)
      const fraudulent = planned.at(-1)
      made += 1
      const paymentId = `p${(seed >>> 0).toString(16)}-${String(made).padStart(9, '0')}`
      if (fraudulent !== undefined && fraudulent.occurredAt <= honest.occurredAt) {
        planned.pop()
        const { pattern, ...event } = fraudulent
        return { event: { paymentId, ...event }, fraud: true, pattern }
      }
      const event = honest
      honest = nextHonest()
      return { event: { paymentId, ...event }, fraud: false, pattern: null }
    },
  }
}

/** How busy an hour is where the payer is, 0 to 1: least at 3, most at 15. */
function rhythm(timeMs: number, region: Region): number {
  const hour = ((timeMs + region.utcOffsetMinutes * 60_000) % DAY_MS) / HOUR_MS
  return 0.06 + 0.94 * ((1 + Math.cos((2 * Math.PI * (hour - 15)) / 24)) / 2) ** 1.5
}

/** The mean of `rhythm` over a day. */
const MEAN_RHYTHM = (() => {
  let sum = 0
  for (let minute = 0; minute < 1440; minute += 1) sum += rhythm(minute * 60_000, { country: '', utcOffsetMinutes: 0 })
  return sum / 1440
})()

/** Keeps the latest first, so that the next one is taken from the end. */
function insertPlanned(planned: Planned[], payment: Planned): void {
  let low = 0
  let high = planned.length
  while (low < high) {
    const middle = (low + high) >>> 1
    if ((planned[middle]?.occurredAt ?? 0) > payment.occurredAt) low = middle + 1
    else high = middle
  }
  planned.splice(low, 0, payment)
}

function honestPayment(
  { random, population }: World,
  card: Card,
  region: Region,
  occurredAt: number,
  shifted: boolean,
): Omit<PaymentEvent, 'paymentId'> {
  const abroad = random.chance(shifted ? SHIFTED_ABROAD_SHARE : ABROAD_SHARE)
  const merchant = abroad
    ? merchantIn(random, population, otherRegion(random, region), true)
    : region === card.home && random.chance(0.7)
      ? random.pick(card.favourites)
      : merchantIn(random, population, region)
  const unusual = random.chance(0.015) ? random.between(3, 7) : 1
  const usual = Math.exp(card.level + merchant.category.level + 0.6 * random.normal())
  const online = merchant.category.online || abroad
  return {
    ...placeOf(merchant, online ? region : merchant.region),
    occurredAt,
    cardId: card.id,
    amount: cents(usual * unusual * (shifted ? SHIFTED_AMOUNT_FACTOR : 1)),
    cardPresent: !online && random.chance(0.97),
    declined: random.chance(0.025),
  }
}

/** A burst of tiny amounts at many shops finds out whether a stolen card works; often a large purchase follows. */
function planCardTesting({ random, population }: World, startMs: number): readonly Planned[] {
  const card = random.pick(population.cards)
  const device = random.pick(REGIONS)
  const tests = random.whole(10, 26)
  const planned: Planned[] = []
  let occurredAt = startMs
  for (let i = 0; i < tests; i += 1) {
    planned.push({
      ...placeOf(random.pick(population.merchants), device),
      occurredAt,
      cardId: card.id,
      amount: cents(random.between(0.5, 4)),
      cardPresent: false,
      declined: random.chance(0.55),
      pattern: 'card_testing',
    })
    occurredAt += Math.round(30_000 + random.exponential(70_000))
  }
  if (random.chance(0.6)) {
    planned.push({
      ...placeOf(merchantIn(random, population, random.pick(REGIONS), true), device),
      occurredAt: occurredAt + Math.round(random.between(5, 30) * 60_000),
      cardId: card.id,
      amount: cents(random.between(150, 600)),
      cardPresent: false,
      declined: random.chance(0.2),
      pattern: 'card_testing',
    })
  }
  return planned
}

/** Cards from everywhere are charged high amounts through one shop within hours. */
function planCompromisedMerchant({ random, population }: World, startMs: number): readonly Planned[] {
  const merchant = random.pick(population.merchants)
  const spanMs = random.between(1, 5) * HOUR_MS
  return Array.from({ length: random.whole(20, 50) }, () => ({
    ...placeOf(merchant, random.pick(REGIONS)),
    occurredAt: startMs + Math.floor(random.uniform() * spanMs),
    cardId: random.pick(population.cards).id,
    amount: cents(Math.min(900, 120 * Math.exp(Math.abs(0.7 * random.normal())))),
    cardPresent: false,
    declined: random.chance(0.2),
    pattern: 'compromised_merchant' as const,
  }))
}

/** Someone else uses the card in another country, for several times its usual amounts. */
function planAccountTakeover({ random, population }: World, startMs: number): readonly Planned[] {
  const card = random.pick(population.cards)
  const region = otherRegion(random, card.home)
  let occurredAt = startMs
  return Array.from({ length: random.whole(4, 9) }, () => {
    const merchant = merchantIn(random, population, region, random.chance(0.7))
    const payment = {
      ...placeOf(merchant, region),
      occurredAt,
      cardId: card.id,
      amount: cents(Math.exp(card.level + 0.3 * random.normal()) * random.between(3, 8)),
      cardPresent: !merchant.category.online && random.chance(0.6),
      declined: random.chance(0.15),
      pattern: 'account_takeover' as const,
    }
    occurredAt += Math.round(random.between(5, 40) * 60_000)
    return payment
  })
}

function otherRegion(random: Random, region: Region): Region {
  return random.pick(REGIONS.filter(each => each !== region))
}

function merchantIn(random: Random, population: Population, region: Region, online = false): Merchant {
  const all = population.merchantsByCountry.get(region.country) ?? population.merchants
  const web = online ? all.filter(merchant => merchant.category.online) : []
  return random.pick(web.length > 0 ? web : all)
}

function placeOf(merchant: Merchant, payer: Region) {
  return {
    merchantId: merchant.id,
    category: merchant.category.name,
    country: merchant.region.country,
    utcOffsetMinutes: payer.utcOffsetMinutes,
  }
}

function cents(amount: number): number {
  return Math.round(Math.min(5000, Math.max(0.5, amount)) * 100) / 100
}
