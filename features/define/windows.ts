import type { Duration } from './marks.ts'

/** The aligned interval that the read falls in, or an earlier one; made by `tumbling`. */
export interface TumblingWindow {
  readonly kind: 'tumbling'
  readonly length: Duration
  readonly options: Readonly<Record<string, unknown>>
}

/** The latest run of events without a long gap; made by `session`. */
export interface SessionWindow {
  readonly kind: 'session'
  readonly gap: Duration
  readonly options: Readonly<Record<string, unknown>>
}

/** The newest events by number; made by `lastEvents`. */
export interface LastEventsWindow {
  readonly kind: 'lastEvents'
  readonly count: number
  readonly options: Readonly<Record<string, unknown>>
}

/**
 * Which events a feature looks at when it is read at `t`: `'5m'` those of `(t − 5m, t]`, `'lifetime'` all up to `t`, or
 * what `tumbling`, `session` and `lastEvents` say.
 */
export type WindowLength = Duration | 'lifetime' | TumblingWindow | SessionWindow | LastEventsWindow

/** Windows that do not reach back for ever: what aggregators over the order of events take. */
export type BoundedWindow = Exclude<WindowLength, 'lifetime'>

/** Windows with a declared length, which a rate divides by. */
export type MeasuredWindow = Duration | TumblingWindow

/** What an aggregator that forgets is given in place of a window; made by the decayed operators alone. */
export interface DecayWindow {
  readonly kind: 'decay'
  readonly halfLife: unknown
}

/**
 * The aligned interval (since the epoch, in UTC) of this length that contains the read, up to the read.
 * @param options `lookback`: the whole interval that many before it, 0 to 1000; 0 unless said
 */
export function tumbling(length: Duration, options?: { readonly lookback?: number }): TumblingWindow {
  return { kind: 'tumbling', length, options: { ...options } }
}

/**
 * The run of events that ends at the last event up to the read, no two neighbours further apart than the gap. Empty
 * once more than the gap has passed since that event.
 * @param options `maxLength`: how far back a run is followed; one day unless said
 */
export function session(gap: Duration, options?: { readonly maxLength?: Duration }): SessionWindow {
  return { kind: 'session', gap, options: { ...options } }
}

/**
 * The newest events up to the read, by (event time, event id), of those that pass the feature's `where`.
 * @param count how many, 1 to 1000
 * @param options `within`: only events of that time before the read; without a bound unless said
 */
export function lastEvents(count: number, options?: { readonly within?: Duration }): LastEventsWindow {
  return { kind: 'lastEvents', count, options: { ...options } }
}
