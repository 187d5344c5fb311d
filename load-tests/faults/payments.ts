import { resolve } from 'node:path'
import { createRandom } from '../../services/demo/random.ts'
import type { NewRecord } from '../../topology/ports/event-log.ts'

/** The topic of one run; every run has its own. */
export interface Names {
  readonly topic: string
  readonly partitions: number
  /** Of the features with a window: a shorter and a longer one. */
  readonly windows?: readonly [short: string, long: string]
}

const LANGUAGE = resolve(import.meta.dirname, '..', '..', 'features', 'define', 'index.ts')

/**
 * The definitions under test: cards are the record key, shops are not, so that a shop's state has a section from every
 * partition; windows short, long and without an end.
 */
export function definitionsText(names: Names): string {
  const [short, long] = names.windows ?? ['5m', '1h']
  return `import { entity, event, group, t } from ${JSON.stringify(LANGUAGE)}

export const payment = event('payment', {
  topic: ${JSON.stringify(names.topic)}, id: 'id', time: 'at', key: 'card', lateness: '10m', partitions: ${names.partitions},
  fields: { id: t.string(), at: t.timestamp(), card: t.string(), shop: t.string(), amount: t.decimal(2) },
})
export const card = entity('card', { key: 'card' })
export const shop = entity('shop', { key: 'shop' })
export const cardActivity = group('card_activity', { entity: card, source: payment }, e => ({
  n: e.count('lifetime'),
  spend: e.sum(e.amount, 'lifetime'),
  spend_short: e.sum(e.amount, '${short}'),
  shops_long: e.distinct(e.shop, '${long}'),
  last_shop: e.last(e.shop, 'lifetime'),
}))
export const shopActivity = group('shop_activity', { entity: shop, source: payment }, e => ({
  n: e.count('lifetime'),
  spend: e.sum(e.amount, 'lifetime'),
  largest_long: e.max(e.amount, '${long}'),
}))
`
}

/** How a run's events are spread. */
export interface Mix {
  readonly cards: number
  readonly shops: number
  /** One event in so many comes a second time. */
  readonly duplicateEvery: number
  /** One event in so many is dated so late that it is refused. */
  readonly lateEvery: number
}

const ENCODER = new TextEncoder()
const RECENT = 512

/**
 * Records in the order of production, seeded: some dated before the one ahead of them, some twice, some too late. Their
 * time goes from `startMs` by the clock of the caller, so that none lies in the future of the log.
 */
export function paymentMaker(seed: number, topic: string, mix: Mix): (nowMs: number) => NewRecord {
  const random = createRandom(seed)
  const pick = (bound: number): number => random.whole(0, bound - 1)
  const recent: NewRecord[] = []
  let made = 0
  return nowMs => {
    const again = recent.length > 0 && pick(mix.duplicateEvery) === 0 ? recent[pick(recent.length)] : undefined
    if (again !== undefined) return again
    const late = pick(mix.lateEvery) === 0 ? 3_600_000 : 0
    const at = nowMs - late - (pick(10) === 0 ? pick(60_000) : 0)
    const id = `p${made++}`
    const card = `c${pick(mix.cards)}`
    const shop = `s${pick(mix.shops)}`
    const value = ENCODER.encode(JSON.stringify({ id, at, card, shop, amount: (1 + pick(100_000)) / 100 }))
    const record = { topic, key: card, value }
    recent[recent.length < RECENT ? recent.length : pick(RECENT)] = record
    return record
  }
}
