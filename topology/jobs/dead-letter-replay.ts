import { eventDecoder } from '../../features/plan/event.ts'
import type { DecodeResult } from '../../features/plan/event.ts'
import type { SourcePlan } from '../../features/plan/plan.ts'
import { eventRecorder } from '../event-record.ts'
import type { Clock } from '../ports/clock.ts'
import { PortError } from '../ports/errors.ts'
import type { EventLog, NewRecord } from '../ports/event-log.ts'
import type { EventFormats, EventReader } from '../ports/value-format.ts'
import { REPLAY_HEADERS, ownHeaders } from '../report-headers.ts'
import { ofSource, positionText, readLetters } from './dead-letters.ts'
import type { DeadLetter, LetterFilter, LetterPosition } from './dead-letters.ts'
import { ensureJournal, positionSet, readJournal, writeJournal } from './replay-journal.ts'
import type { PositionSet } from './replay-journal.ts'

/** A refused record whole, from where it was kept in full. */
export interface WholeRecord {
  readonly key: string | null
  readonly value: Uint8Array
}

/** Fields of the event that a refused record stands for, by name; null to leave it where it is. */
export type LetterFix = (letter: DeadLetter) => Readonly<Record<string, unknown>> | null

export interface ReplayOptions {
  readonly log: EventLog
  readonly sources: readonly SourcePlan[]
  readonly formats: EventFormats
  readonly filter: LetterFilter
  readonly clock: Clock
  /** The most that the log takes in one record. */
  readonly maxRecordBytes: number
  /** Counts what would be written and writes nothing. */
  readonly dryRun: boolean
  /** Also letters that were written back before, and those whose event came back from that. */
  readonly again: boolean
  /** Also records that the plan at hand refuses still; the writer will refuse them again, with a count. */
  readonly evenInvalid: boolean
  readonly fix: LetterFix | null
  /** Finds a record that was too large to be kept in the topic; null where it cannot be had, with the reason. */
  readonly wholeRecord: (
    origin: LetterPosition,
  ) => Promise<{ readonly record: WholeRecord } | { readonly reason: string }>
  readonly onProgress: (letters: number) => void
}

/** Why a letter that the filter takes was not written back. */
export type LeftReason =
  | 'replayed before'
  | 'came back from a replay'
  | 'came back as a later dead letter'
  | 'still no valid event'
  | 'left by the fix'
  | 'the fix makes no valid event'
  | 'from an imported file'
  | 'of an unknown origin'
  | 'not kept whole'
  | 'too large to be written back'

/** What a replay did. */
export interface ReplaySummary {
  /** Letters that the filter takes, each once. */
  readonly letters: number
  /** Written back; with `dryRun` those that would be. */
  readonly written: number
  /** Of those written, events dated further back than their source's lateness: they may be late. */
  readonly old: number
  readonly left: ReadonlyMap<LeftReason, number>
  /** Places and reasons of the first that could not be written back. */
  readonly firstProblems: readonly string[]
}

/** Reasons after which somebody has something to do. */
export const PROBLEMS: ReadonlySet<LeftReason> = new Set<LeftReason>([
  'still no valid event',
  'the fix makes no valid event',
  'from an imported file',
  'of an unknown origin',
  'not kept whole',
  'too large to be written back',
])

const MAX_BATCH_RECORDS = 500
const MAX_BATCH_BYTES = 4 * 1024 * 1024
const MAX_REPORTED_PROBLEMS = 5
/** What a log may add to a record beside its key, headers and value. */
const OVERHEAD_BYTES = 256

interface Made {
  readonly record: NewRecord
  readonly decoded: DecodeResult
}

interface Left {
  readonly left: LeftReason
  readonly why: string
}

/** One source's checks, prepared once, and the partitions that its topic has now. */
interface Target {
  readonly decoder: ReturnType<typeof eventDecoder>
  readonly reader: EventReader
  readonly toRecord: ReturnType<typeof eventRecorder>
  readonly partitions: number
}

async function targetOf({ log, formats }: ReplayOptions, source: SourcePlan): Promise<Target> {
  const info = await log.describe(source.topic)
  if (info === null) {
    throw new PortError('UNKNOWN_TOPIC', `there is no topic ${source.topic} to write to; start the system once first`)
  }
  const writer = formats.writer(source)
  await writer.prepare()
  return {
    decoder: eventDecoder(source),
    reader: formats.reader(source),
    toRecord: eventRecorder(source, writer),
    partitions: info.partitions,
  }
}

function replayHeaders(letter: DeadLetter): Readonly<Record<string, string>> {
  return {
    ...ownHeaders(letter.record.headers),
    [REPLAY_HEADERS.of]: positionText(letter.at),
    [REPLAY_HEADERS.count]: String(letter.replays + 1),
  }
}

/** The letter with its whole record, which the topic may not have. */
async function wholeLetter(letter: DeadLetter, options: ReplayOptions): Promise<DeadLetter | Left> {
  if (!letter.cut) return letter
  if (letter.origin === null) return { left: 'not kept whole', why: 'the rest is in the file that it came from' }
  const found = await options.wholeRecord(letter.origin)
  if ('reason' in found) return { left: 'not kept whole', why: found.reason }
  return { ...letter, record: { ...letter.record, ...found.record } }
}

/** The event that the fix makes of a letter, keyed as any event of the source. */
function fixedRecord(letter: DeadLetter, target: Target, fix: LetterFix, nowMs: number): Made | Left {
  const fields = fix(letter)
  if (fields === null) return { left: 'left by the fix', why: '' }
  const decoded = target.decoder.decodeFields(fields, nowMs)
  if (!decoded.ok) return { left: 'the fix makes no valid event', why: decoded.reason }
  const made = target.toRecord(decoded.event, null)
  if (!made.ok) return { left: 'the fix makes no valid event', why: made.reason }
  return { record: { ...made.record, headers: replayHeaders(letter) }, decoded }
}

/**
 * The refused record as it was: its bytes, its key, its own headers, and its partition, so that it meets the other
 * events of its key there. Where the topic has no such partition any more it goes where its key says.
 */
async function originalRecord(letter: DeadLetter, target: Target, nowMs: number): Promise<Made | Left> {
  const { origin, imported, record, source } = letter
  if (imported !== null) return { left: 'from an imported file', why: `${imported.file}, row ${imported.row}` }
  if (origin?.topic !== source.topic) return { left: 'of an unknown origin', why: 'it names no record of its source' }
  const { key, value } = record
  const known = origin.partition < target.partitions
  const partition = known ? origin.partition : key === null ? origin.partition % target.partitions : null
  const at = partition === null ? {} : { partition }
  const headers = replayHeaders(letter)
  await target.reader.prepare([value])
  return { record: { topic: source.topic, key, value, headers, ...at }, decoded: target.reader.read(value, nowMs) }
}

/** Bytes that a record takes in the log, or more. */
function recordBytes({ key, value, headers }: NewRecord): number {
  return value.length + Buffer.byteLength(key ?? '') + Buffer.byteLength(JSON.stringify(headers ?? {})) + OVERHEAD_BYTES
}

/** Letters whose event was written back and refused again: the later letter stands for both. */
async function supersededLetters(options: ReplayOptions): Promise<PositionSet> {
  const superseded = positionSet()
  const place = /^(.+)\/(\d{1,6})\/(\d{1,16})(?:@(.*))?$/
  for await (const { letter } of readLetters({ ...options, late: false })) {
    const match = letter.replayOf === null ? null : place.exec(letter.replayOf)
    if (match === null) continue
    const [, topic = '', partition, offset, incarnation = null] = match
    superseded.add({ topic, partition: Number(partition), offset: Number(offset), incarnation })
  }
  return superseded
}

/**
 * Writes refused records back into their topics: the same bytes under the same key, with headers that say from which
 * dead letter they come. Letters that were reported twice are written back once. What was written back is noted in a
 * journal after it is durable: killed in between, at most one batch of 500 is written again by the next run, and counts
 * once by the rule for duplicates.
 */
export async function replayDeadLetters(options: ReplayOptions): Promise<ReplaySummary> {
  const { log, again, dryRun } = options
  const nowMs = options.clock.nowMs()
  const replayed = again ? positionSet() : await readJournal(log)
  const superseded = again ? await supersededLetters(options) : positionSet()
  const left = new Map<LeftReason, number>()
  const firstProblems: string[] = []
  const counts = { letters: 0, written: 0, old: 0 }
  let batch: { readonly at: LetterPosition; readonly record: NewRecord }[] = []
  let batchBytes = 0
  let hasJournal = false

  const flush = async (): Promise<void> => {
    if (batch.length > 0 && !dryRun) {
      if (!hasJournal) await ensureJournal(log)
      hasJournal = true
      await log.append(batch.map(({ record }) => record))
      await writeJournal(
        log,
        batch.map(({ at }) => at),
      )
    }
    batch = []
    batchBytes = 0
  }
  const leave = (letter: DeadLetter, reason: LeftReason, why: string): void => {
    left.set(reason, (left.get(reason) ?? 0) + 1)
    if (!PROBLEMS.has(reason) || firstProblems.length >= MAX_REPORTED_PROBLEMS) return
    firstProblems.push(`${positionText({ ...letter.at, incarnation: null })}: ${reason}: ${why}`)
  }
  const take = async (letter: DeadLetter, target: Target): Promise<void> => {
    const before = skipReason(letter, replayed, superseded, again)
    if (before !== null) return leave(letter, before, '')
    const { fix } = options
    const whole = await wholeLetter(letter, options)
    if ('left' in whole) return leave(letter, whole.left, whole.why)
    const at = options.clock.nowMs()
    const made = fix === null ? await originalRecord(whole, target, at) : fixedRecord(whole, target, fix, at)
    if ('left' in made) return leave(letter, made.left, made.why)
    const { record, decoded } = made
    if (!decoded.ok && !options.evenInvalid) return leave(letter, 'still no valid event', decoded.reason)
    const bytes = recordBytes(record)
    if (bytes > options.maxRecordBytes) {
      return leave(letter, 'too large to be written back', `${bytes} bytes with its new headers`)
    }
    if (decoded.ok && decoded.event.time < nowMs - letter.source.latenessMs) counts.old++
    const last = batch.at(-1)?.at
    if (last !== undefined && (last.topic !== letter.at.topic || last.partition !== letter.at.partition)) await flush()
    batch.push({ at: letter.at, record })
    batchBytes += record.value.length
    counts.written++
    if (batch.length >= MAX_BATCH_RECORDS || batchBytes >= MAX_BATCH_BYTES) await flush()
  }

  const targets = new Map<string, Target>()
  for (const source of options.sources.filter(ofSource(options.filter))) {
    targets.set(source.name, await targetOf(options, source))
  }
  for await (const { letter, wanted, repeated } of readLetters({ ...options, late: false })) {
    const target = targets.get(letter.source.name)
    if (!wanted || repeated || target === undefined) continue
    counts.letters++
    await take(letter, target)
    options.onProgress(counts.letters)
  }
  await flush()
  return { ...counts, left, firstProblems }
}

function skipReason(
  letter: DeadLetter,
  replayed: PositionSet,
  superseded: PositionSet,
  again: boolean,
): LeftReason | null {
  if (replayed.has(letter.at)) return 'replayed before'
  if (letter.replays > 0 && !again) return 'came back from a replay'
  return superseded.has(letter.at) ? 'came back as a later dead letter' : null
}
