/** Headers that say from which dead letter a record was written back, and how often it has been. */
export const REPLAY_HEADERS = { of: 'hw-replay-of', count: 'hw-replays' } as const

/** Headers that a report gives a record, so that they are not the record's own. */
export const REPORT_HEADERS: ReadonlySet<string> = new Set([
  'hw-topic',
  'hw-partition',
  'hw-offset',
  'hw-arrival-ms',
  'hw-incarnation',
  'hw-source',
  'hw-code',
  'hw-reason',
  'hw-late-for',
  'hw-cut-from-bytes',
  'hw-dropped-headers',
  'hw-dropped-key-bytes',
])

/** The headers that a record had of its own, before it was reported or where a producer used names of ours. */
export function ownHeaders(headers: Readonly<Record<string, string>>): Readonly<Record<string, string>> {
  return Object.fromEntries(Object.entries(headers).filter(([name]) => !REPORT_HEADERS.has(name)))
}
