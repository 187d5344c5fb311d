import { random } from '../worker/simulated-ports.ts'

/** One payment of the tests' own stream; amounts in cents. */
export interface Payment {
  readonly payment_id: string
  readonly at: number
  readonly card: string
  readonly shop: string
  readonly cents: number
}

/** Payments in arrival order, some dated before the one ahead of them, all within the lateness; seeded. */
export function makePayments(seed: number, count: number, startMs: number): readonly Payment[] {
  const pick = random(seed)
  let now = startMs
  return Array.from({ length: count }, (_, index) => {
    now += pick(40)
    return {
      payment_id: `p${index}`,
      at: now - (pick(10) === 0 ? pick(60_000) : 0),
      card: `c${pick(2_000)}`,
      shop: `s${pick(300)}`,
      cents: 1 + pick(100_000),
    }
  })
}

/** What a payment looks like to a caller. */
export function paymentFields(payment: Payment): Record<string, string | number> {
  const { payment_id, at, card, shop, cents } = payment
  return { payment_id, at, card, shop, amount: cents / 100 }
}

interface Totals {
  readonly cards: ReadonlyMap<string, readonly Payment[]>
  readonly shops: ReadonlyMap<string, readonly Payment[]>
}

function groupBy(payments: readonly Payment[], key: (payment: Payment) => string): Map<string, Payment[]> {
  const out = new Map<string, Payment[]>()
  for (const payment of payments) {
    const list = out.get(key(payment))
    if (list === undefined) out.set(key(payment), [payment])
    else list.push(payment)
  }
  return out
}

/** Payments by card and by shop. */
export function totals(payments: readonly Payment[]): Totals {
  return { cards: groupBy(payments, p => p.card), shops: groupBy(payments, p => p.shop) }
}

const sum = (payments: readonly Payment[]) => payments.reduce((total, p) => total + p.cents, 0) / 100

/** The card's features at `t`, by plain loops over the input. */
export function expectedCard(payments: readonly Payment[], t: number): Record<string, unknown> {
  const upTo = payments.filter(p => p.at <= t)
  const latest = upTo.toSorted((a, b) => a.at - b.at || (a.payment_id < b.payment_id ? -1 : 1)).at(-1)
  return {
    'card_activity.payments': upTo.length,
    'card_activity.spend': sum(upTo),
    'card_activity.spend_10m': sum(upTo.filter(p => p.at > t - 600_000)),
    'card_activity.shops_1h': new Set(upTo.filter(p => p.at > t - 3_600_000).map(p => p.shop)).size,
    'card_activity.last_shop': latest?.shop ?? null,
  }
}

/** The shop's features at `t`, by plain loops over the input. */
export function expectedShop(payments: readonly Payment[], t: number): Record<string, unknown> {
  const upTo = payments.filter(p => p.at <= t)
  const hour = upTo.filter(p => p.at > t - 3_600_000)
  return {
    'shop_activity.payments': upTo.length,
    'shop_activity.spend': sum(upTo),
    'shop_activity.largest_1h': hour.length === 0 ? null : Math.max(...hour.map(p => p.cents)) / 100,
  }
}
