import type { Aggregator, FieldType, Window } from '../types.ts'
import { lastEventsOf } from './last-events.ts'
import { sessionOf } from './session.ts'

const MAX_EVENTS = 1000
const MAX_GAP_MS = 400 * 86_400_000

/**
 * The aggregator whose state serves a window. Sliding, tumbling, lifetime and decay windows are ranges of time that the
 * reader cuts, so it is `aggregator` itself. Session and last-events windows are picked out of the rows by what the
 * rows are: `session(<gapMs>) of <name>` keeps every run, `lastEvents(<count>) of <name>` the rows themselves, and
 * either has `aggregator` as its `inner`. Both see the rows that pass the feature's filter only. The bounds
 * `maxLengthMs` and `withinMs` are ranges of time again and belong to the reader. The input types are those of the
 * aggregator's inputs. Throws `RangeError` for a gap that is no integer from 1 ms to 400 days, and for a count that is
 * none from 1 to 1000.
 */
export function windowed(
  aggregator: Aggregator,
  window: Window,
  inputType: FieldType | null,
  byType: FieldType | null,
): Aggregator {
  switch (window.kind) {
    case 'session':
      requireInteger('the gap of a session window in milliseconds', window.gapMs, MAX_GAP_MS)
      return sessionOf(aggregator, window.gapMs)
    case 'lastEvents':
      requireInteger('the count of a last-events window', window.count, MAX_EVENTS)
      return lastEventsOf(aggregator, window.count, inputType, byType)
    case 'sliding':
    case 'tumbling':
    case 'lifetime':
    case 'decay':
      return aggregator
  }
}

function requireInteger(what: string, value: number, max: number): void {
  if (Number.isInteger(value) && value >= 1 && value <= max) return
  throw new RangeError(`${what} must be an integer from 1 to ${max}, not ${value}`)
}
