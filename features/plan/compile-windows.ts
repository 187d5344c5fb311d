import type { FeatureDraft } from '../define/features.ts'
import type { AggregatorDescriptor } from '../kernel/aggregators/index.ts'
import type { Window } from '../kernel/types.ts'
import {
  checkDuration,
  checkOptions,
  checkWhole,
  DELAY_BOUNDS,
  EDGE_BOUNDS,
  shownText,
  WINDOW_BOUNDS,
} from './compile-names.ts'
import { inOnePartition } from './group-source.ts'
import type { GroupSource } from './group-source.ts'
import type { Report } from './problems.ts'
import { durationText, windowText } from './window-text.ts'

const DAY_MS = 86_400_000
const MAX_WINDOW_MS = 400 * DAY_MS
const LOOKBACK_BOUNDS = { least: 0, greatest: 1000 }
const COUNT_BOUNDS = { least: 1, greatest: 1000 }
const DEFAULT_SESSION_LENGTH = '1d'

/** How far back events of several partitions are put in order to compute an aggregator from left to right. */
const MAX_REORDERED_MS = 7 * DAY_MS

/** Families whose value is divided by the declared length of the window. */
const OVER_A_LENGTH: ReadonlySet<string> = new Set(['rate'])

/** The window of a feature; what is wrong with it, its delay or its edge is reported and something near stands in. */
export function compileWindow({ window, options }: FeatureDraft, where: string, report: Report): Window {
  const { delay, edge } = options
  const delayMs = delay === undefined ? 0 : checkDuration('delay', delay, DELAY_BOUNDS, where, report)
  const edgeMs = edge === undefined ? 0 : checkDuration('edge', edge, EDGE_BOUNDS, where, report)
  const compiled = windowOf(window, { delayMs, edgeMs }, where, report)
  if (edge !== undefined && compiled.kind !== 'sliding') {
    const why = compiled.kind === 'tumbling' ? 'which has edges of its own' : 'whose lower edge is no point in time'
    report('HW0311', where, `it has an edge and a ${KIND_NAMES[compiled.kind]} window, ${why}`)
  } else if (compiled.kind === 'sliding' && compiled.edgeMs > compiled.lengthMs) {
    report('HW0311', where, `edge ${shownText(edge)} is above the length of the window, ${shownText(window)}`)
  }
  return compiled
}

const KIND_NAMES: Readonly<Record<Window['kind'], string>> = {
  sliding: 'sliding',
  tumbling: 'tumbling',
  session: 'session',
  lifetime: 'lifetime',
  lastEvents: 'last events',
  decay: 'decay',
}

interface Edges {
  readonly delayMs: number
  readonly edgeMs: number
}

/** A window as it was written, of which nothing is known. */
interface AnyWindow {
  readonly kind?: unknown
  readonly length?: unknown
  readonly gap?: unknown
  readonly count?: unknown
  readonly halfLife?: unknown
  readonly options?: Readonly<Record<string, unknown>>
}

function windowOf(window: unknown, { delayMs, edgeMs }: Edges, where: string, report: Report): Window {
  if (window === 'lifetime') return { kind: 'lifetime', delayMs }
  if (typeof window !== 'object' || window === null) {
    return {
      kind: 'sliding',
      lengthMs: checkDuration('the window', window, WINDOW_BOUNDS, where, report),
      delayMs,
      edgeMs,
    }
  }
  const { kind, length, gap, count, halfLife, options = {} } = window as AnyWindow
  switch (kind) {
    case 'tumbling':
      return tumblingOf(length, options, delayMs, where, report)
    case 'session':
      return sessionOf(gap, options, delayMs, where, report)
    case 'lastEvents': {
      checkOptions(options, ['within'], `${where}, lastEvents()`, report)
      const { within } = options
      return {
        kind: 'lastEvents',
        count: checkWhole('the number of lastEvents()', count, COUNT_BOUNDS, where, report),
        withinMs: within === undefined ? null : checkDuration('within', within, WINDOW_BOUNDS, where, report),
        delayMs,
      }
    }
    case 'decay':
      return {
        kind: 'decay',
        halfLifeMs: checkDuration('the half-life', halfLife, WINDOW_BOUNDS, where, report),
        delayMs,
      }
    default:
      report('HW0310', where, `the window is ${shownText(window)} that no function of the language made`)
      return { kind: 'lifetime', delayMs }
  }
}

type WindowOptions = Readonly<Record<string, unknown>>

function tumblingOf(length: unknown, options: WindowOptions, delayMs: number, where: string, report: Report): Window {
  checkOptions(options, ['lookback'], `${where}, tumbling()`, report)
  const lengthMs = checkDuration('the length of tumbling()', length, WINDOW_BOUNDS, where, report)
  const lookback = checkWhole('lookback', options['lookback'] ?? 0, LOOKBACK_BOUNDS, where, report)
  if (lengthMs <= MAX_WINDOW_MS && lengthMs * (lookback + 1) > MAX_WINDOW_MS) {
    const reach = durationText(lengthMs * (lookback + 1))
    const message = `tumbling(${shownText(length)}) with a lookback of ${lookback} reaches ${reach} back, 400d at most`
    report('HW0310', where, message, 'use a smaller lookback or a shorter length')
  }
  return { kind: 'tumbling', lengthMs, lookback, delayMs }
}

function sessionOf(gap: unknown, options: WindowOptions, delayMs: number, where: string, report: Report): Window {
  checkOptions(options, ['maxLength'], `${where}, session()`, report)
  const gapMs = checkDuration('the gap of session()', gap, WINDOW_BOUNDS, where, report)
  const text = options['maxLength'] ?? DEFAULT_SESSION_LENGTH
  const maxLengthMs = checkDuration('maxLength', text, WINDOW_BOUNDS, where, report)
  if (maxLengthMs > 0 && maxLengthMs < gapMs) {
    const message = `maxLength ${shownText(text)} is below the gap of session(), ${shownText(gap)}`
    report('HW0310', where, message, 'give session() a maxLength of at least its gap')
  }
  return { kind: 'session', gapMs, maxLengthMs, delayMs }
}

/** How far back the rows lie that such a window puts in order; null where it keeps the rows themselves. */
function orderedSpanMs(window: Window): number | null {
  if (window.kind === 'sliding' || window.kind === 'tumbling') return window.lengthMs
  return window.kind === 'session' ? window.maxLengthMs : null
}

/** Reports a window that the aggregator cannot look at in this group. */
export function checkFit(
  { family, kind, params }: Pick<AggregatorDescriptor, 'family' | 'kind' | 'params'>,
  window: Window,
  group: { readonly source: GroupSource; readonly keyFields: readonly string[] },
  where: string,
  report: Report,
): void {
  const shown = windowText(window)
  if ('halfLifeMs' in params !== (window.kind === 'decay')) {
    const what = window.kind === 'decay' ? `${family} does not forget by a half-life` : `${family} takes a half-life`
    report(
      'HW0312',
      where,
      `${what}; its window is ${shown}`,
      'use decayedCount, decayedSum or decayedMean with a half-life',
    )
  }
  if (OVER_A_LENGTH.has(family) && window.kind !== 'sliding' && window.kind !== 'tumbling') {
    const remedy = 'use a duration or tumbling(), or divide a count by timeSinceFirst in a derived feature'
    report('HW0312', where, `${family} divides by the length of the window, and ${shown} has none`, remedy)
  }
  if (kind !== 'concat') return
  if (window.kind === 'lifetime') {
    const remedy = 'use a duration, tumbling(), session() or lastEvents()'
    report('HW0312', where, `${family} needs the order of all events, which 'lifetime' does not keep`, remedy)
  }
  const spanMs = orderedSpanMs(window)
  if (spanMs !== null && spanMs > MAX_REORDERED_MS) reportSpread(`${family} over ${shown}`, group, where, report)
}

/** Reports events that lie in more than one partition and would have to be put in order over a long window. */
function reportSpread(
  what: string,
  { source, keyFields }: { readonly source: GroupSource; readonly keyFields: readonly string[] },
  where: string,
  report: Report,
): void {
  if (inOnePartition(source, keyFields)) return
  const key = keyFields.join(', ')
  const [first, ...others] = source.members.map(member => member.source)
  if (first === undefined) return
  const topics = [first, ...others].map(({ topic }) => `"${topic}"`).join(', ')
  const spread =
    others.length > 0
      ? `lie in ${topics}`
      : `lie in all partitions of ${topics}, whose records are keyed by ${first.keyField}`
  const topic = `${others.length > 0 ? source.name : first.topic}.by_${keyFields.join('_')}`
  report(
    'HW0313',
    where,
    `${what}: events of one ${key} ${spread}, and are put in order over at most 7d`,
    `shorten the window to at most 7d, or publish the events also under a topic keyed by ${key}, such as "${topic}", and use that as source`,
  )
}
