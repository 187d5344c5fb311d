import type { SourcePlan } from '../../features/plan/plan.ts'
import type { EventLog, LogRecord } from '../ports/event-log.ts'
import { deadLetterTopic, lateTopic } from '../topology.ts'

/** A place in the log; `incarnation` is null where it was not kept. */
export interface LetterPosition {
  readonly topic: string
  readonly partition: number
  readonly offset: number
  readonly incarnation: string | null
}

/** A record of a dead-letter topic or a late topic, read for what it says. */
export interface DeadLetter {
  readonly source: SourcePlan
  readonly at: LetterPosition
  /** The record that was refused; null for a row of an imported file, which never was one. */
  readonly origin: LetterPosition | null
  /** File and row, for a refused row of an import. */
  readonly imported: { readonly file: string; readonly row: string } | null
  readonly code: string
  readonly reason: string
  /** When the refused record had arrived, UTC milliseconds; null where that was not kept. */
  readonly originArrivalMs: number | null
  /** Length of the refused record's whole value. */
  readonly sizeBytes: number
  /** Whether the topic does not have the whole record: its value, headers or key were too large to be kept. */
  readonly cut: boolean
  /** Whether its key is among what was too large. */
  readonly keyDropped: boolean
  /** How often the event had been written back when it was refused. */
  readonly replays: number
  /** The dead letter that it was written back from, as `positionText` puts it; null for a first refusal. */
  readonly replayOf: string | null
  readonly record: LogRecord
}

/** Which dead letters are meant; absent conditions hold for all. */
export interface LetterFilter {
  readonly source?: string
  readonly code?: string
  /** Those that were reported at this instant or later, UTC milliseconds. */
  readonly sinceMs?: number
}

const LATE_CODE = 'LATE'
const READ_RECORDS = 500
const UNKNOWN_CODE = 'UNKNOWN'

/** `topic/partition/offset@incarnation`, as headers and messages name a place. */
export function positionText({ topic, partition, offset, incarnation }: LetterPosition): string {
  return `${topic}/${partition}/${offset}${incarnation === null ? '' : `@${incarnation}`}`
}

function wholeHeader(record: LogRecord, name: string): number | null {
  const text = record.headers[name]
  const value = text !== undefined && /^\d{1,16}$/.test(text) ? Number(text) : Number.NaN
  return Number.isSafeInteger(value) ? value : null
}

function originOf(record: LogRecord): LetterPosition | null {
  const topic = record.headers['hw-topic']
  const partition = wholeHeader(record, 'hw-partition')
  const offset = wholeHeader(record, 'hw-offset')
  if (topic === undefined || partition === null || offset === null) return null
  return { topic, partition, offset, incarnation: record.headers['hw-incarnation'] ?? null }
}

/**
 * What a record of `<topic>.dead-letter` or `<topic>.late` says. Anyone may write to a topic, so every header may be
 * absent or wrong: such a record is a letter of code `UNKNOWN`, without an origin.
 */
export function parseDeadLetter(record: LogRecord, incarnation: string, source: SourcePlan): DeadLetter {
  const { headers } = record
  const { topic, partition, offset } = record
  const origin = originOf(record)
  const [file, row] = [headers['hw-file'], headers['hw-row']]
  const lateFor = headers['hw-late-for']
  const late = lateFor !== undefined && headers['hw-code'] === undefined
  const cutFrom = wholeHeader(record, 'hw-cut-from-bytes')
  const keyDropped = headers['hw-dropped-key-bytes'] !== undefined
  return {
    source,
    at: { topic, partition, offset, incarnation },
    origin,
    imported: origin === null && file !== undefined ? { file, row: row ?? '' } : null,
    code: late ? LATE_CODE : (headers['hw-code'] ?? UNKNOWN_CODE),
    reason: late ? `late for ${lateFor}` : (headers['hw-reason'] ?? 'the record does not say why it is here'),
    originArrivalMs: wholeHeader(record, 'hw-arrival-ms'),
    sizeBytes: cutFrom ?? record.value.length,
    cut: cutFrom !== null || keyDropped || headers['hw-dropped-headers'] !== undefined,
    keyDropped,
    replays: wholeHeader(record, 'hw-replays') ?? 0,
    replayOf: headers['hw-replay-of'] ?? null,
    record,
  }
}

/**
 * Tells a letter that was written twice. A writer reports the refused records of a partition in the order of their
 * offsets and, after a crash, again from one that it had reported: so a letter is a repetition exactly when one of the
 * same origin and at least its offset came before it in the same partition. Late events are reported by several workers,
 * each for entities of its own.
 */
export function repetitions(): (letter: DeadLetter) => boolean {
  const seen = new Map<string, number>()
  return ({ source, at, origin, record }) => {
    if (origin?.topic !== source.topic) return false
    const reporter = `${origin.incarnation ?? ''} ${record.headers['hw-late-for'] ?? ''}`
    const lane = `${at.topic}/${at.partition} ${origin.partition} ${reporter}`
    const before = seen.get(lane) ?? -1
    if (origin.offset <= before) return true
    seen.set(lane, origin.offset)
    return false
  }
}

/** Where dead letters, or late events, are read from. */
export interface LetterReading {
  readonly log: EventLog
  readonly sources: readonly SourcePlan[]
  readonly filter: LetterFilter
  /** Late events instead of dead letters. */
  readonly late: boolean
}

/** A letter, whether the filter takes it, and whether it says again what an earlier one said. */
export interface ReadLetter {
  readonly letter: DeadLetter
  readonly wanted: boolean
  readonly repeated: boolean
}

function isWanted({ code, record }: DeadLetter, filter: LetterFilter): boolean {
  if (filter.code !== undefined && filter.code !== code) return false
  return filter.sinceMs === undefined || record.arrivalMs >= filter.sinceMs
}

/** Whether the letters of a source are meant at all. */
export function ofSource(filter: LetterFilter): (source: SourcePlan) => boolean {
  return source => filter.source === undefined || filter.source === source.name
}

/**
 * Every letter of the sources that the filter names, source by source, partition by partition, in the order of the log,
 * up to where each partition ended when its turn came. At most 500 records are held at a time. A topic that does not
 * exist has none.
 */
export async function* readLetters({ log, sources, filter, late }: LetterReading): AsyncGenerator<ReadLetter> {
  const isRepeated = repetitions()
  for (const source of sources.filter(ofSource(filter))) {
    const topic = late ? lateTopic(source) : deadLetterTopic(source)
    const partitions = (await log.describe(topic))?.partitions ?? 0
    for (let partition = 0; partition < partitions; partition++) {
      for await (const { record, incarnation } of recordsOf(log, topic, partition)) {
        const letter = parseDeadLetter(record, incarnation, source)
        yield { letter, wanted: isWanted(letter, filter), repeated: isRepeated(letter) }
      }
    }
  }
}

/** The records of one partition from its first to where it ends now, with bounded memory. */
export async function* recordsOf(
  log: EventLog,
  topic: string,
  partition: number,
): AsyncGenerator<{ readonly record: LogRecord; readonly incarnation: string }> {
  const { startOffset, endOffset } = await log.bounds(topic, partition)
  for (let from = startOffset; from < endOffset;) {
    const { records, incarnation, nextOffset } = await log.read(topic, partition, from, READ_RECORDS)
    for (const record of records) {
      if (record.offset >= endOffset) return
      yield { record, incarnation }
    }
    if (nextOffset <= from) return
    from = nextOffset
  }
}

/** How many letters there are of one source and code. */
export interface LetterCount {
  readonly source: string
  readonly code: string
  readonly letters: number
}

/** What reading letters counted. */
export interface LetterSummary {
  /** The most frequent first. */
  readonly counts: readonly LetterCount[]
  /** Letters that say again what an earlier one said; not among `counts`. */
  readonly repeated: number
  /** Places of the newest letters, oldest first. */
  readonly newest: readonly LetterPosition[]
}

/** Kept codes; a foreign producer may write any text there. */
const MAX_COUNTS = 1_000

/**
 * Counts the letters that a filter takes, and finds the newest.
 * @param limit the most places that `newest` holds
 */
export async function summariseLetters(reading: LetterReading, limit: number): Promise<LetterSummary> {
  const counts = new Map<string, { source: string; code: string; letters: number }>()
  let newest: { arrivalMs: number; at: LetterPosition }[] = []
  let repeatedLetters = 0
  const keepNewest = (): void => {
    newest.sort((a, b) => a.arrivalMs - b.arrivalMs)
    newest = limit === 0 ? [] : newest.slice(-limit)
  }
  for await (const { letter, wanted, repeated } of readLetters(reading)) {
    if (!wanted) continue
    if (repeated) {
      repeatedLetters++
      continue
    }
    const { source, code, at, record } = letter
    const full = counts.size >= MAX_COUNTS && !counts.has(`${source.name} ${code}`)
    const counted = full ? 'other codes' : code
    const count = counts.get(`${source.name} ${counted}`)
    if (count === undefined) counts.set(`${source.name} ${counted}`, { source: source.name, code: counted, letters: 1 })
    else count.letters++
    newest.push({ arrivalMs: record.arrivalMs, at })
    if (newest.length >= 2 * limit + READ_RECORDS) keepNewest()
  }
  keepNewest()
  const sorted = [...counts.values()].toSorted((a, b) => b.letters - a.letters || (a.code < b.code ? -1 : 1))
  return { counts: sorted, repeated: repeatedLetters, newest: newest.map(({ at }) => at) }
}

/** Reads one letter again; null when the log no longer holds it. */
export async function letterAt(
  log: EventLog,
  sources: readonly SourcePlan[],
  at: LetterPosition,
): Promise<DeadLetter | null> {
  const source = sources.find(each => deadLetterTopic(each) === at.topic || lateTopic(each) === at.topic)
  if (source === undefined) return null
  const { records, incarnation } = await log.read(at.topic, at.partition, at.offset, 1)
  const [record] = records
  return record === undefined || record.offset !== at.offset ? null : parseDeadLetter(record, incarnation, source)
}

const UNSAFE = /[\p{C}\p{Zl}\p{Zp}]/gu
const utf8 = new TextDecoder('utf-8', { fatal: true, ignoreBOM: true })

/** A text that cannot steer a terminal: control, format and unassigned characters as `\u{…}`, cut to a length. */
export function safeText(text: string, maxCharacters: number): string {
  const shown = text
    .slice(0, maxCharacters + 1)
    .replaceAll(UNSAFE, character => `\\u{${(character.codePointAt(0) ?? 0).toString(16)}}`)
  return shown.length > maxCharacters || text.length > maxCharacters ? `${shown.slice(0, maxCharacters)}…` : shown
}

/** The beginning of a value as safe text: as UTF-8 where it is, otherwise with `\xNN` for bytes outside ASCII. */
export function payloadPreview(value: Uint8Array, maxCharacters: number): string {
  const head = value.subarray(0, 4 * maxCharacters)
  for (let cut = 0; cut <= Math.min(3, head.length); cut++) {
    if (cut > 0 && head.length === value.length) break
    try {
      return safeText(utf8.decode(head.subarray(0, head.length - cut)), maxCharacters)
    } catch {
      continue
    }
  }
  let shown = ''
  for (const byte of head) {
    if (shown.length > maxCharacters) break
    shown += byte >= 0x20 && byte < 0x7f ? String.fromCharCode(byte) : `\\x${byte.toString(16).padStart(2, '0')}`
  }
  return shown.length > maxCharacters ? `${shown.slice(0, maxCharacters)}…` : shown
}
