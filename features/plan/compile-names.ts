import { parseDuration } from '../define/marks.ts'
import type { Report } from './problems.ts'

const NAME = /^[a-z][a-z0-9_]{0,63}$/

/** Names that JavaScript or the views of derived features and rules give a meaning of their own. */
const RESERVED: ReadonlySet<string> = new Set(['constructor', 'then', 'prototype'])
const RESERVED_GROUPS: ReadonlySet<string> = new Set([...RESERVED, 'request', 'derived', 'score'])

/** Tables and views of the offline store that stand beside the view of each event. */
export const RESERVED_EVENTS: ReadonlySet<string> = new Set([
  ...RESERVED,
  'scores',
  'decisions',
  'labels',
  'labels_known',
  'dead_letters',
  'drift_counts',
  'drift_minutes',
  'drift_statistics',
  'drift',
  'schema_migrations',
])
const RAW_TABLE = /^events_/

function isReserved(kind: string, name: string): boolean {
  if (kind === 'a group') return RESERVED_GROUPS.has(name)
  if (kind === 'an event' || kind === 'a union') return RESERVED_EVENTS.has(name) || RAW_TABLE.test(name)
  return RESERVED.has(name)
}

/** Reports a name of the wrong form or one that is reserved. */
export function checkName(kind: string, name: unknown, where: string, report: Report): void {
  if (typeof name !== 'string' || !NAME.test(name)) {
    report('HW0101', where, `${shownText(name)} is not a name for ${kind}`)
  } else if (isReserved(kind, name)) {
    report('HW0102', where, `"${name}" is reserved and cannot name ${kind}`)
  }
}

/** Reports options whose names are not known. */
export function checkOptions(
  options: Readonly<Record<string, unknown>>,
  known: readonly string[],
  where: string,
  report: Report,
): void {
  for (const name of Object.keys(options)) {
    if (options[name] !== undefined && !known.includes(name)) {
      report('HW0105', where, `there is no option "${name}"; there are ${known.join(', ')}`)
    }
  }
}

/** Bounds of a duration as texts, such as `'1s'` and `'400d'`. */
export interface DurationBounds {
  readonly least: string
  readonly greatest: string
}

/** Of windows, half-lives, gaps and lengths of sessions. */
export const WINDOW_BOUNDS: DurationBounds = { least: '1s', greatest: '400d' }
/** Of `delay`, which may be none. */
export const DELAY_BOUNDS: DurationBounds = { least: '0s', greatest: '400d' }
/** Of `edge`. */
export const EDGE_BOUNDS: DurationBounds = { least: '1s', greatest: '400d' }
/** Of an event's `lateness`: its ids are kept for so long. */
export const LATENESS_BOUNDS: DurationBounds = { least: '0s', greatest: '30d' }
/** Of an event's `readBack`. */
export const READ_BACK_BOUNDS: DurationBounds = { least: '0s', greatest: '30d' }
/** Of an event's `clockSkew`: an event dated further ahead is refused. */
export const CLOCK_SKEW_BOUNDS: DurationBounds = { least: '0s', greatest: '1d' }
/** Of a group's `maxAge`. */
export const MAX_AGE_BOUNDS: DurationBounds = { least: '1s', greatest: '400d' }

/** The milliseconds of a duration within bounds; what is wrong is reported and 0 stands in. */
export function checkDuration(
  name: string,
  text: unknown,
  bounds: DurationBounds,
  where: string,
  report: Report,
): number {
  const ms = parseDuration(text)
  if (ms === null) {
    report('HW0204', where, `${name} is ${shownText(text)}, not a duration`)
    return 0
  }
  if (ms < (parseDuration(bounds.least) ?? 0) || ms > (parseDuration(bounds.greatest) ?? 0)) {
    report('HW0205', where, `${name} is ${shownText(text)}, it must be from ${bounds.least} to ${bounds.greatest}`)
  }
  return ms
}

/** A whole number within bounds; what is wrong is reported and the least stands in. */
export function checkWhole(
  name: string,
  value: unknown,
  bounds: { readonly least: number; readonly greatest: number },
  where: string,
  report: Report,
): number {
  const { least, greatest } = bounds
  if (typeof value === 'number' && Number.isInteger(value) && value >= least && value <= greatest) return value
  report('HW0211', where, `${name} is ${shownText(value)}, it must be a whole number from ${least} to ${greatest}`)
  return least
}

/** A value as a message shows it. */
export function shownText(value: unknown): string {
  if (typeof value === 'string') return JSON.stringify(value)
  if (typeof value === 'bigint') return `${value}n`
  if (value === undefined || typeof value === 'number' || typeof value === 'boolean' || value === null)
    return String(value)
  return typeof value === 'function' ? 'a function' : Array.isArray(value) ? 'an array' : 'an object'
}

/** A description, or the empty string for none. */
export function textOf(value: unknown): string {
  return typeof value === 'string' ? value : ''
}
