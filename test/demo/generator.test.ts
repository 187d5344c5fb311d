import { createReadStream } from 'node:fs'
import { mkdtemp, readFile, rm } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { createInterface } from 'node:readline'
import fc from 'fast-check'
import { describe, expect, it } from 'vitest'
import { fraud, payment } from '../../features/fraud/index.ts'
import { createGenerator, DAY_MS, FRAUD_PATTERNS } from '../../services/demo/generator.ts'
import type { GeneratorOptions, LabelledPayment } from '../../services/demo/generator.ts'
import { planPace } from '../../services/demo/pace.ts'
import { createRandom } from '../../services/demo/random.ts'
import { writeHistory } from '../../services/demo/write-history.ts'

const START_MS = Date.parse('2025-03-03T00:00:00Z')

function take(options: Partial<GeneratorOptions>, days: number): LabelledPayment[] {
  const generator = createGenerator({ seed: 1, startMs: START_MS, paymentsPerDay: 6000, ...options })
  const payments: LabelledPayment[] = []
  for (;;) {
    const next = generator.next()
    if (next.event.occurredAt >= START_MS + days * DAY_MS) return payments
    payments.push(next)
  }
}

function mean(values: readonly number[]): number {
  return values.reduce((sum, value) => sum + value, 0) / values.length
}

describe('createGenerator', { timeout: 60_000 }, () => {
  it('gives the same payments for the same seed, and others for another', () => {
    fc.assert(
      fc.property(fc.integer({ min: 0, max: 2 ** 32 - 1 }), seed => {
        expect(take({ seed, paymentsPerDay: 300 }, 0.5)).toEqual(take({ seed, paymentsPerDay: 300 }, 0.5))
        expect(take({ seed, paymentsPerDay: 300 }, 0.5)).not.toEqual(take({ seed: seed ^ 1, paymentsPerDay: 300 }, 0.5))
      }),
      { numRuns: 20 },
    )
  })

  it('is in order of time, with ids of its own and the fields of the event', () => {
    const payments = take({}, 2)
    const fields = Object.keys(payment.fields).toSorted()
    let before = START_MS
    for (const { event } of payments) {
      expect(event.occurredAt).toBeGreaterThanOrEqual(before)
      before = event.occurredAt
      expect(Object.keys(event).toSorted()).toEqual(fields)
      expect(Number.isSafeInteger(event.occurredAt)).toBe(true)
      expect(event.amount).toBeGreaterThanOrEqual(0.5)
      expect(Number(event.amount.toFixed(2))).toBe(event.amount)
    }
    expect(new Set(payments.map(each => each.event.paymentId)).size).toBe(payments.length)
  })

  it('makes as many payments as asked for, evenly around the clock, and a share of each fraud', () => {
    const payments = take({}, 10)
    expect(payments.length / 10 / 6000).toBeCloseTo(1, 1)
    const threeHours = Map.groupBy(payments, each => Math.floor((each.event.occurredAt % DAY_MS) / (DAY_MS / 8)))
    for (const part of threeHours.values()) expect(part.length / (payments.length / 8)).toBeCloseTo(1, 0)
    expect(payments.filter(each => each.fraud).length / payments.length).toBeCloseTo(0.025, 2)
    for (const pattern of FRAUD_PATTERNS) {
      expect(payments.filter(each => each.pattern === pattern).length).toBeGreaterThan(200)
    }
    for (const each of payments) expect(each.fraud).toBe(each.pattern !== null)
  })

  it('acts the patterns out', () => {
    const payments = take({}, 10)
    const of = (pattern: string | null) => payments.filter(each => each.pattern === pattern).map(each => each.event)
    const declinedShare = (events: readonly { declined: boolean }[]) => mean(events.map(each => Number(each.declined)))
    const honest = of(null)
    const tests = of('card_testing')
    expect(tests.filter(each => each.amount < 5).length / tests.length).toBeGreaterThan(0.9)
    expect(declinedShare(tests)).toBeGreaterThan(0.4)
    expect(declinedShare(honest)).toBeLessThan(0.05)
    const perCard = [...Map.groupBy(tests, each => each.cardId).values()]
    expect(mean(perCard.map(each => each.length))).toBeGreaterThan(10)
    const shops = Map.groupBy(of('compromised_merchant'), each => each.merchantId)
    for (const events of shops.values()) {
      expect(new Set(events.map(each => each.cardId)).size).toBeGreaterThanOrEqual(15)
      expect(Math.min(...events.map(each => each.amount))).toBeGreaterThanOrEqual(120)
    }
    const home = new Map(honest.map(each => [each.cardId, each.country]))
    const abroad = of('account_takeover').filter(each => home.get(each.cardId) !== each.country)
    expect(abroad.length / of('account_takeover').length).toBeGreaterThan(0.8)
    const honestMean = mean(honest.map(each => each.amount))
    expect(mean(of('account_takeover').map(each => each.amount))).toBeGreaterThan(2 * honestMean)
  })

  it('shifts amounts and countries from the instant it is told, and nothing before', () => {
    const shiftAtMs = START_MS + 3 * DAY_MS
    const plain = take({}, 6)
    const shifted = take({ shiftAtMs }, 6)
    const before = (each: LabelledPayment) => each.event.occurredAt < shiftAtMs
    expect(shifted.filter(before)).toEqual(plain.filter(before))
    const after = shifted.filter(each => !before(each) && !each.fraud)
    const honestBefore = shifted.filter(each => before(each) && !each.fraud)
    const amounts = (items: readonly LabelledPayment[]) => mean(items.map(each => Math.log(each.event.amount)))
    expect(amounts(after) - amounts(honestBefore)).toBeGreaterThan(Math.log(1.45))
    expect(amounts(after) - amounts(honestBefore)).toBeLessThan(Math.log(1.85))
  })

  it('refuses numbers that make no sense', () => {
    expect(() => createGenerator({ seed: 1, startMs: 0.5, paymentsPerDay: 1 })).toThrow(/startMs/)
    expect(() => createGenerator({ seed: 1, startMs: 0, paymentsPerDay: 0 })).toThrow(/paymentsPerDay/)
  })
})

describe('createRandom', () => {
  it('is uniform, normal and exponential as promised', () => {
    const random = createRandom(99)
    const uniform = Array.from({ length: 50_000 }, () => random.uniform())
    expect(mean(uniform)).toBeCloseTo(0.5, 2)
    expect(Math.min(...uniform.slice(0, 1000))).toBeGreaterThanOrEqual(0)
    const normal = Array.from({ length: 50_000 }, () => random.normal())
    expect(Math.abs(mean(normal))).toBeLessThan(0.02)
    expect(mean(normal.map(value => value * value))).toBeCloseTo(1, 1)
    expect(mean(Array.from({ length: 50_000 }, () => random.exponential(7)))).toBeCloseTo(7, 0)
    expect(new Set(Array.from({ length: 500 }, () => random.whole(2, 5)))).toEqual(new Set([2, 3, 4, 5]))
    expect(() => random.pick([])).toThrow(/nothing to pick/)
  })

  it('follows the published generator', () => {
    // The first draws of seed 12345 from the same algorithm written in Python with unbounded integers.
    const random = createRandom(12345)
    expect([random.uniform(), random.uniform(), random.uniform()]).toEqual([
      0.25454781239677515, 0.871101765972553, 0.9729384123433413,
    ])
  })
})

describe('planPace', () => {
  it('never dates an event ahead of the clock, and lets event time meet it at the end', () => {
    fc.assert(
      fc.property(
        fc.integer({ min: 1, max: 2000 }),
        fc.integer({ min: 1, max: 3600 }),
        fc.double({ min: 1, max: 3000, noNaN: true }),
        fc.double({ min: 0, max: 1, noNaN: true }),
        (rate, seconds, acceleration, share) => {
          const liveFromMs = START_MS
          const durationMs = seconds * 1000
          const pace = planPace({ liveFromMs, durationMs, rate, acceleration })
          const eventMs = pace.liveFromEventMs + share * durationMs * acceleration
          expect(pace.sendAtMs(eventMs)).toBeGreaterThanOrEqual(eventMs - 1)
          expect(pace.sendAtMs(pace.liveFromEventMs)).toBeCloseTo(liveFromMs, -1)
          expect(pace.sendAtMs(liveFromMs + durationMs)).toBe(liveFromMs + durationMs)
          expect(pace.historyFromMs).toBeLessThan(pace.liveFromEventMs)
          expect((pace.paymentsPerDay * acceleration) / 86_400).toBeCloseTo(rate, 6)
        },
      ),
    )
    expect(() => planPace({ liveFromMs: 0, durationMs: 1, rate: 0 })).toThrow(/rate must be positive/)
  })
})

describe('writeHistory', { timeout: 60_000 }, () => {
  it('writes payments and their labels, line by line alike', async () => {
    const folder = await mkdtemp(join(tmpdir(), 'hw-history-'))
    try {
      const paymentsFile = join(folder, 'payments.ndjson')
      const labelsFile = join(folder, 'labels.ndjson')
      const options = {
        seed: 3,
        startMs: START_MS,
        days: 2,
        paymentsPerDay: 3000,
        warmUpDays: 1,
        paymentsFile,
        labelsFile,
      }
      const written = await writeHistory(options)
      const expected = take({ seed: 3, paymentsPerDay: 3000 }, 2)
      expect(written).toEqual({ payments: expected.length, fraud: expected.filter(each => each.fraud).length })
      let line = 0
      for await (const text of createInterface({ input: createReadStream(paymentsFile) })) {
        expect(JSON.parse(text)).toEqual(expected[line]?.event)
        line += 1
      }
      expect(line).toBe(expected.length)
      const labels = (await readFile(labelsFile, 'utf8')).trim().split('\n')
      expect(labels.map(text => JSON.parse(text) as unknown)).toEqual(
        expected.map(({ event, fraud: isFraud, pattern }) => ({
          paymentId: event.paymentId,
          occurredAt: event.occurredAt,
          fraud: isFraud,
          pattern,
          warmUp: event.occurredAt < START_MS + DAY_MS,
        })),
      )
    } finally {
      await rm(folder, { recursive: true, force: true })
    }
  })
})

describe('the fraud service', () => {
  it('computes its derived features, with nothing to look back on too', () => {
    const derivedOf = fraud.derived as unknown as Readonly<Record<string, (view: unknown) => number | null>>
    const view = (card: object, request: object) => ({
      request: { occurredAt: START_MS + 23.5 * 3_600_000, utcOffsetMinutes: 60, amount: 50, country: 'GB', ...request },
      card_activity: {
        payments_1h: 0,
        declined_1h: 0,
        mean_amount_7d: null,
        std_amount_7d: null,
        largest_amount_7d: null,
        last_country: null,
        ...card,
      },
      merchant_activity: { payments_1h: 4, large_payments_1h: 1, mean_amount_7d: 25 },
    })
    const values = (card: object, request: object = {}) =>
      Object.fromEntries(Object.entries(derivedOf).map(([name, evaluate]) => [name, evaluate(view(card, request))]))
    expect(values({})).toEqual({
      amount_over_mean: null,
      amount_over_largest: null,
      amount_deviations: null,
      country_changed: null,
      local_hour: 0,
      card_declined_share_1h: 0,
      merchant_amount_over_mean: 2,
      merchant_large_share_1h: 0.25,
    })
    const known = {
      payments_1h: 2,
      declined_1h: 1,
      mean_amount_7d: 20,
      std_amount_7d: 15,
      largest_amount_7d: 100,
      last_country: 'NZ',
    }
    expect(values(known, { utcOffsetMinutes: -1440 * 2 - 30 })).toMatchObject({
      amount_over_mean: 2.5,
      amount_over_largest: 0.5,
      amount_deviations: 2,
      country_changed: 1,
      local_hour: 23,
      card_declined_share_1h: 0.5,
    })
  })
})
