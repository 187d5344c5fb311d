import type { Window } from '../kernel/types.ts'

const UNITS = [
  ['d', 86_400_000],
  ['h', 3_600_000],
  ['m', 60_000],
] as const

/** Milliseconds in the largest unit that divides them: `7d`, `90m`, `30s`. */
export function durationText(ms: number): string {
  for (const [unit, size] of UNITS) if (ms !== 0 && ms % size === 0) return `${ms / size}${unit}`
  return ms % 1000 === 0 ? `${ms / 1000}s` : `${ms}ms`
}

/** A window as a reader says it: `7d, edge 1h`, `tumbling 1d, 1 back`, `session 30m, at most 1d`, `decay 1h`. */
export function windowText(window: Window): string {
  return window.delayMs === 0 ? spanText(window) : `${spanText(window)}, delay ${durationText(window.delayMs)}`
}

function spanText(window: Window): string {
  switch (window.kind) {
    case 'sliding': {
      const length = durationText(window.lengthMs)
      return window.edgeMs === 0 ? length : `${length}, edge ${durationText(window.edgeMs)}`
    }
    case 'tumbling': {
      const length = `tumbling ${durationText(window.lengthMs)}`
      return window.lookback === 0 ? length : `${length}, ${window.lookback} back`
    }
    case 'session':
      return `session ${durationText(window.gapMs)}, at most ${durationText(window.maxLengthMs)}`
    case 'lifetime':
      return 'lifetime'
    case 'lastEvents': {
      const events = `last ${window.count} events`
      return window.withinMs === null ? events : `${events} within ${durationText(window.withinMs)}`
    }
    case 'decay':
      return `decay ${durationText(window.halfLifeMs)}`
  }
}
