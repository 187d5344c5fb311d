import type { Clock } from '../../topology/ports/clock.ts'
import type { Telemetry } from '../../topology/ports/telemetry.ts'

/** The machine's clocks. */
export const systemClock: Clock = { nowMs: () => Date.now(), monotonicMs: () => performance.now() }

/** A clock that moves when it is told to. */
export interface HandClock extends Clock {
  timeMs: number
}

export function handClock(timeMs: number): HandClock {
  const clock = { timeMs, nowMs: () => clock.timeMs, monotonicMs: () => clock.timeMs }
  return clock
}

/** Telemetry that remembers. */
export interface CollectedTelemetry extends Telemetry {
  /** Sum of a counter over all its labels. */
  total(name: string): number
  readonly logs: string[]
}

export function collectTelemetry(): CollectedTelemetry {
  const counters = new Map<string, number>()
  const logs: string[] = []
  return {
    count: (name, by) => void counters.set(name, (counters.get(name) ?? 0) + by),
    gauge: () => {},
    observeMs: () => {},
    log: (level, message, fields) => void logs.push(`${level} ${message} ${JSON.stringify(fields)}`),
    total: name => counters.get(name) ?? 0,
    logs,
  }
}
