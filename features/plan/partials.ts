import { windowed } from '../kernel/aggregators/windowed.ts'
import type { Aggregator, FieldType, Window } from '../kernel/types.ts'
import { canonicalJson } from './canonical.ts'
import type { AggregatorRef, Expression } from './plan.ts'

/**
 * What of a window is part of the state: how rows are picked by windows that pick them themselves; null for the others.
 * How far back such a window reaches is left to the read.
 */
export type Wrapping =
  { readonly kind: 'session'; readonly gapMs: number } | { readonly kind: 'lastEvents'; readonly count: number } | null

/** One stored aggregation as the catalogue remembers it. */
export interface CataloguePartial {
  readonly aggregator: AggregatorRef
  readonly input: string | null
  /** The field of the second input. */
  readonly by: string | null
  readonly where: Expression | null
  readonly window: Wrapping
  readonly lifetime: boolean
}

/** What of a window its partial depends on: equal for features that can share one. */
export function wrappingOf(window: Window): Wrapping {
  if (window.kind === 'session') return { kind: 'session', gapMs: window.gapMs }
  return window.kind === 'lastEvents' ? { kind: 'lastEvents', count: window.count } : null
}

/** The aggregator as a unit stores it. Throws `RangeError` for one that the window cannot wrap. */
export function wrapped(
  aggregator: Aggregator,
  wrapping: Wrapping,
  inputType: FieldType | null,
  byType: FieldType | null,
): Aggregator {
  return wrapping === null ? aggregator : windowed(aggregator, windowOf(wrapping), inputType, byType)
}

/** A window that wraps as it says; nothing else of it matters. */
function windowOf(wrapping: Exclude<Wrapping, null>): Window {
  return wrapping.kind === 'session'
    ? { ...wrapping, maxLengthMs: wrapping.gapMs, delayMs: 0 }
    : { ...wrapping, withinMs: null, delayMs: 0 }
}

/** Equal for partials that are the same aggregation. */
export function partialKey(partial: Omit<CataloguePartial, 'lifetime'>): string {
  const { aggregator, input, by, where, window } = partial
  return canonicalJson({ aggregator, input, by, where, window })
}
