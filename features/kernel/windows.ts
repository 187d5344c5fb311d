import { floorTo } from './layout.ts'
import type { TimeMs, Window } from './types.ts'

/** The last instant that a window covers at `t`: its inclusive upper edge. */
export function upperEdge(window: Window, t: TimeMs): TimeMs {
  const upper = t - window.delayMs
  if (window.kind !== 'tumbling' || window.lookback === 0) return upper
  return floorTo(upper, window.lengthMs) - (window.lookback - 1) * window.lengthMs - 1
}

/**
 * The exclusive lower edge of the events that are looked at for a window at `t`; −Infinity where it has none. For a
 * session and for last events these are all that can be part of it.
 */
export function lowerEdge(window: Window, t: TimeMs): TimeMs {
  const upper = t - window.delayMs
  switch (window.kind) {
    case 'sliding': {
      const lower = upper - window.lengthMs
      return window.edgeMs === 0 ? lower : floorTo(lower, window.edgeMs) - 1
    }
    case 'tumbling':
      return floorTo(upper, window.lengthMs) - window.lookback * window.lengthMs - 1
    case 'session':
      return upper - window.maxLengthMs
    case 'lastEvents':
      return window.withinMs === null ? -Infinity : upper - window.withinMs
    case 'lifetime':
    case 'decay':
      return -Infinity
  }
}

/** Whether a window has no lower edge, so that events older than the retention stay part of it. */
export function isUnbounded(window: Window): boolean {
  return (
    window.kind === 'lifetime' || window.kind === 'decay' || (window.kind === 'lastEvents' && window.withinMs === null)
  )
}

/** The declared length; null for windows that have none. */
export function declaredLength(window: Window): number | null {
  return window.kind === 'sliding' || window.kind === 'tumbling' ? window.lengthMs : null
}

/** How far behind the instant of a read a window can look for points; delay alone for those without a lower edge. */
export function reachOf(window: Window): number {
  switch (window.kind) {
    case 'sliding':
      return window.delayMs + window.lengthMs + window.edgeMs
    case 'tumbling':
      return window.delayMs + window.lengthMs * (window.lookback + 1)
    case 'session':
      return window.delayMs + window.maxLengthMs
    case 'lastEvents':
      return window.delayMs + (window.withinMs ?? 0)
    case 'lifetime':
    case 'decay':
      return window.delayMs
  }
}

/**
 * How far below its upper edge the exclusive lower edge of a window always is, Infinity without one; null where the
 * distance changes with the instant.
 */
export function fixedReach(window: Window): number | null {
  switch (window.kind) {
    case 'sliding':
      return window.edgeMs === 0 ? window.lengthMs : null
    case 'tumbling':
      return null
    case 'session':
      return window.maxLengthMs
    case 'lastEvents':
      return window.withinMs ?? Infinity
    case 'lifetime':
    case 'decay':
      return Infinity
  }
}
