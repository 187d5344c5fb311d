import { DAY_MS, PAYMENTS_PER_CARD_DAY } from './generator.ts'

/** What the demonstration's event time is planned from. */
export interface PaceOptions {
  /** When the live part starts, UTC milliseconds. */
  readonly liveFromMs: number
  readonly durationMs: number
  /** Payments per second of the live part, on average. */
  readonly rate: number
  /** Days of history before the live part; the longest window of the fraud features by default. */
  readonly warmUpDays?: number
  /** How many times faster than the clock event time runs. */
  readonly acceleration?: number
  /** Share of the live part after which the distribution shifts, 0 to 1. */
  readonly shiftAfter?: number
}

/** How event time runs in the demonstration, as numbers only. */
export interface Pace {
  readonly paymentsPerDay: number
  readonly cards: number
  readonly acceleration: number
  /** Event times: of the first payment of the history, of the first live one, and of the shift. */
  readonly historyFromMs: number
  readonly liveFromEventMs: number
  readonly shiftAtMs: number
  /** Payments of the history, about. */
  readonly historyPayments: number
  /** When a live payment with this event time is to be sent, UTC milliseconds. */
  sendAtMs(eventMs: number): number
}

const DEFAULT_WARM_UP_DAYS = 7
/** A day in 90 seconds; a burst with a minute between payments still leaves the pipeline 60 ms for each. */
const DEFAULT_ACCELERATION = 960

/**
 * Event time runs faster than the clock and meets it when the live part ends, so that days of habits pass in a minute
 * and no event is ever dated ahead of the log's clock. Throws `RangeError` for numbers that make no sense.
 */
export function planPace(options: PaceOptions): Pace {
  const { liveFromMs, durationMs, rate } = options
  const acceleration = options.acceleration ?? DEFAULT_ACCELERATION
  const warmUpMs = (options.warmUpDays ?? DEFAULT_WARM_UP_DAYS) * DAY_MS
  if (!(rate > 0)) throw new RangeError(`the rate must be positive payments per second, not ${rate}`)
  if (!(durationMs > 0)) throw new RangeError(`the duration must be positive, not ${durationMs} ms`)
  if (!(acceleration >= 1)) throw new RangeError(`the acceleration must be at least 1, not ${acceleration}`)
  if (!(warmUpMs >= 0)) throw new RangeError(`the history must not be negative`)
  const endMs = liveFromMs + durationMs
  const liveFromEventMs = Math.floor(endMs - durationMs * acceleration)
  const paymentsPerDay = (rate * DAY_MS) / 1000 / acceleration
  return {
    paymentsPerDay,
    cards: Math.max(50, Math.round(paymentsPerDay / PAYMENTS_PER_CARD_DAY)),
    acceleration,
    historyFromMs: liveFromEventMs - warmUpMs,
    liveFromEventMs,
    shiftAtMs: Math.floor(endMs - durationMs * acceleration * (1 - (options.shiftAfter ?? 0.5))),
    historyPayments: Math.round((paymentsPerDay * warmUpMs) / DAY_MS),
    sendAtMs: eventMs => endMs - (endMs - eventMs) / acceleration,
  }
}
