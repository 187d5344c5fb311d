import { existsSync } from 'node:fs'
import { join, resolve } from 'node:path'
import { pathToFileURL } from 'node:url'
import type { Command } from 'commander'
import type { Plan, SourcePlan } from '../../features/plan/plan.ts'
import { PROBLEMS, replayDeadLetters } from '../../topology/jobs/dead-letter-replay.ts'
import type { LetterFix, ReplayOptions, ReplaySummary } from '../../topology/jobs/dead-letter-replay.ts'
import {
  letterAt,
  ofSource,
  payloadPreview,
  positionText,
  readLetters,
  safeText,
  summariseLetters,
} from '../../topology/jobs/dead-letters.ts'
import type { DeadLetter, LetterFilter, LetterReading, LetterSummary } from '../../topology/jobs/dead-letters.ts'
import { wholeRecords } from '../../topology/jobs/whole-records.ts'
import type { EventLog } from '../../topology/ports/event-log.ts'
import type { OfflineStore } from '../../topology/ports/offline-store.ts'
import type { Config } from '../../topology/runtime/config.ts'
import { openOfflineStore } from '../../topology/runtime/offline.ts'
import { openEventLog } from '../../topology/runtime/stores.ts'
import { createEventFormats } from '../../topology/runtime/event-formats.ts'
import { systemClock } from '../clock.ts'
import { createTelemetry } from '../telemetry.ts'
import { UsageError, loadConfig, loadDefinitions } from '../load.ts'
import type { CommonFlags } from '../load.ts'
import { duration, progressPrinter, wholeNumber, withConfigFlags } from './options.ts'

interface FilterFlags extends CommonFlags {
  readonly source?: string
  readonly code?: string
  readonly since?: number
}

interface ListFlags extends FilterFlags {
  readonly late?: boolean
  readonly limit?: number
  readonly json?: boolean
}

interface ReplayFlags extends FilterFlags {
  readonly dryRun?: boolean
  readonly yes?: boolean
  readonly again?: boolean
  readonly evenInvalid?: boolean
  readonly fix?: string
}

const DEFAULT_LIMIT = 50
const MAX_LIMIT = 10_000
const PREVIEW_CHARACTERS = 100
const REASON_CHARACTERS = 400
const KEY_CHARACTERS = 60

function filterFlags(command: Command): Command {
  return command
    .option('--source <event>', 'only records of this event')
    .option('--code <code>', 'only records that were refused for this reason, such as NOT_JSON')
    .option('--since <duration>', 'only those that were refused in the last 30m, 2h, …', duration)
}

function filterOf(flags: FilterFlags, sources: readonly SourcePlan[]): LetterFilter {
  const { source, code, since } = flags
  if (source !== undefined && !sources.some(each => each.name === source)) {
    const known = sources.map(each => each.name).join(', ')
    throw new UsageError(`--source ${source}: there is no such event; the definitions have ${known}`)
  }
  return {
    ...(source === undefined ? {} : { source }),
    ...(code === undefined ? {} : { code }),
    ...(since === undefined ? {} : { sinceMs: systemClock.nowMs() - since }),
  }
}

/** JSON that holds nothing but printable ASCII, so that it cannot steer a terminal. */
function plainJson(value: unknown): string {
  return JSON.stringify(value).replaceAll(
    /[^\x20-\x7e]/g,
    unit => `\\u${unit.charCodeAt(0).toString(16).padStart(4, '0')}`,
  )
}

function letterJson(letter: DeadLetter): string {
  const { source, at, origin, imported, code, reason, originArrivalMs, sizeBytes, cut, replays, replayOf } = letter
  return plainJson({
    source: source.name,
    code,
    reason,
    origin,
    imported,
    key: letter.record.key,
    reportedMs: letter.record.arrivalMs,
    arrivalMs: originArrivalMs,
    sizeBytes,
    cut,
    replays,
    replayOf,
    letter: at,
    headers: letter.record.headers,
    preview: payloadPreview(letter.record.value, PREVIEW_CHARACTERS),
    payloadBase64: Buffer.from(letter.record.value).toString('base64'),
  })
}

function letterText(letter: DeadLetter): string {
  const { record, origin, imported } = letter
  const place =
    origin !== null
      ? positionText(origin)
      : imported === null
        ? 'unknown origin'
        : `${imported.file}, row ${imported.row}`
  const key = record.key === null ? 'no key' : `key ${safeText(record.key, KEY_CHARACTERS)}`
  const arrived = new Date(letter.originArrivalMs ?? record.arrivalMs).toISOString()
  const replays = letter.replays === 0 ? '' : `, written back ${letter.replays}×`
  const cut = letter.cut ? ', not kept whole here' : ''
  return [
    `${safeText(letter.code, KEY_CHARACTERS)}  ${safeText(place, REASON_CHARACTERS)}  ${arrived}  ${key}  ${letter.sizeBytes} bytes${cut}${replays}`,
    `    ${safeText(letter.reason, REASON_CHARACTERS)}`,
    `    ${record.value.length === 0 ? '(empty)' : payloadPreview(record.value, PREVIEW_CHARACTERS)}`,
    '',
  ].join('\n')
}

function counted(count: number, what: string): string {
  return `${count} ${what}${count === 1 ? '' : 's'}`
}

function summaryText(summary: LetterSummary, what: string): string {
  const total = summary.counts.reduce((sum, count) => sum + count.letters, 0)
  if (total === 0) return `no ${what}s\n`
  const width = Math.max(...summary.counts.map(count => String(count.letters).length))
  const lines = summary.counts.map(
    ({ source, code, letters }) => `${String(letters).padStart(width)}  ${safeText(code, KEY_CHARACTERS)}  ${source}`,
  )
  const twice = summary.repeated === 0 ? '' : `; ${summary.repeated} were written twice and stand here once`
  return `${counted(total, what)}${twice}\n${lines.join('\n')}\n`
}

async function write(text: string): Promise<void> {
  if (!process.stdout.write(text)) await new Promise<void>(done => void process.stdout.once('drain', () => done()))
}

async function list(reading: LetterReading, flags: ListFlags): Promise<void> {
  const json = flags.json === true
  if (json && flags.limit === undefined) {
    for await (const { letter, wanted, repeated } of readLetters(reading)) {
      if (wanted && !repeated) await write(`${letterJson(letter)}\n`)
    }
    return
  }
  const summary = await summariseLetters(reading, flags.limit ?? DEFAULT_LIMIT)
  for (const at of summary.newest) {
    const letter = await letterAt(reading.log, reading.sources, at)
    if (letter !== null) await write(json ? `${letterJson(letter)}\n` : letterText(letter))
  }
  if (json) return
  const total = summary.counts.reduce((sum, count) => sum + count.letters, 0)
  if (total > summary.newest.length) await write(`… the newest ${summary.newest.length} of ${total}\n`)
  await write(summaryText(summary, reading.late ? 'late event' : 'dead letter'))
}

async function loadFix(path: string): Promise<LetterFix> {
  if (!existsSync(path)) throw new UsageError(`--fix ${path}: there is no such file`)
  let module: { readonly fix?: unknown; readonly default?: unknown }
  try {
    module = (await import(pathToFileURL(resolve(path)).href)) as typeof module
  } catch (error) {
    throw new UsageError(`--fix ${path} cannot be loaded: ${error instanceof Error ? error.message : String(error)}`)
  }
  const fix = module.fix ?? module.default
  if (typeof fix !== 'function') {
    throw new UsageError(`--fix ${path} must export a function "fix" that takes a record and returns fields or null`)
  }
  return letter => {
    const { source, code, reason, record } = letter
    const text = Buffer.from(record.value).toString('utf8')
    const given = {
      source: source.name,
      code,
      reason,
      key: record.key,
      headers: record.headers,
      value: record.value,
      text,
    }
    const made: unknown = fix(given)
    if (made === null || (typeof made === 'object' && !Array.isArray(made))) return made as ReturnType<LetterFix>
    throw new UsageError(`--fix ${path} returned ${typeof made} for ${positionText(letter.at)}, not fields or null`)
  }
}

function replayText(summary: ReplaySummary, dryRun: boolean): string {
  const { letters, written, old, left, firstProblems } = summary
  const lines = [`${counted(letters, 'dead letter')}: ${written} ${dryRun ? 'would be' : 'were'} written back`]
  for (const [reason, count] of left) lines.push(`  ${count} left: ${reason}`)
  lines.push(...firstProblems.map(problem => `    ${safeText(problem, REASON_CHARACTERS)}`))
  if (left.has('still no valid event')) {
    lines.push('  (--even-invalid writes those back too; they are refused again, with a count)')
  }
  if (left.has('replayed before') || left.has('came back from a replay')) {
    lines.push('  (--again takes those as well that were written back before)')
  }
  if (written > 0) {
    lines.push('An event that is written back counts as one that arrives now: where it is older than an entity\u2019s')
    lines.push('newest event minus the lateness of its source, it is late for that entity (headwater dlq list --late).')
  }
  if (old > 0) lines.push(`${old} of them are dated further back than that lateness, seen from now.`)
  return `${lines.join('\n')}\n`
}

/** The table of dead letters, opened when the first record is met that the topic does not hold whole. */
function lazyOffline(config: Config) {
  let opened: Promise<OfflineStore | null> | null = null
  const open = async (): Promise<OfflineStore | null> => {
    if (config.offlineStore.kind === 'chdb' && !existsSync(join(config.dataDirectory, 'offline'))) return null
    return await openOfflineStore(config).catch(() => null)
  }
  return {
    wholeRecord: wholeRecords(() => (opened ??= open())),
    close: async () => await (await opened)?.close(),
  }
}

async function replay(log: EventLog, config: Config, plan: Plan, flags: ReplayFlags): Promise<void> {
  const { sources } = plan
  const filter = filterOf(flags, sources)
  const fix = flags.fix === undefined ? null : await loadFix(flags.fix)
  const dryRun = flags.dryRun === true || flags.yes !== true
  const offline = lazyOffline(config)
  const formats = await createEventFormats(config, plan, systemClock, createTelemetry('warn'))
  const progress = progressPrinter('replay')
  const options: ReplayOptions = {
    log,
    sources: sources.filter(ofSource(filter)),
    formats,
    filter,
    clock: systemClock,
    maxRecordBytes: config.eventLog.maxRecordBytes,
    dryRun,
    again: flags.again === true,
    evenInvalid: flags.evenInvalid === true,
    fix,
    wholeRecord: offline.wholeRecord,
    onProgress: letters => progress.update(letters, null),
  }
  try {
    const summary = await replayDeadLetters(options)
    progress.end()
    process.stdout.write(replayText(summary, dryRun))
    if (flags.dryRun !== true && flags.yes !== true && summary.written > 0) {
      process.stdout.write('Nothing was written yet; give --yes to write them.\n')
      process.exitCode = 1
    }
    if ([...summary.left.keys()].some(reason => PROBLEMS.has(reason))) process.exitCode = 1
  } finally {
    await offline.close()
    await formats.close()
  }
}

async function withLog(
  flags: CommonFlags,
  work: (log: EventLog, config: Config, plan: Plan) => Promise<void>,
): Promise<void> {
  const { config } = await loadConfig(flags)
  const { plan } = await loadDefinitions(config)
  const log = await openEventLog(config, systemClock)
  try {
    await work(log, config, plan)
  } finally {
    await log.close()
  }
}

/** `headwater dlq`: looks at records that were refused, and writes them back. */
export function addDlqCommand(program: Command): void {
  const dlq = program.command('dlq').description('look at records that were refused, and write them back')
  const listing = filterFlags(dlq.command('list').description('list dead letters, and count them by reason'))
    .option('--late', 'events that came too late instead of records that are no events')
    .option('--limit <n>', `the newest so many (default: ${DEFAULT_LIMIT}; with --json all)`, wholeNumber(0, MAX_LIMIT))
    .option('--json', 'one JSON object a line, with the whole payload in base64')
  withConfigFlags(listing).action(async (flags: ListFlags) => {
    await withLog(flags, async (log, _config, { sources }) => {
      await list({ log, sources, filter: filterOf(flags, sources), late: flags.late === true }, flags)
    })
  })
  const replaying = filterFlags(
    dlq.command('replay').description('write refused records back into their topics, as they were; needs --yes'),
  )
    .option('--dry-run', 'only say what would be written')
    .option('--yes', 'write')
    .option('--again', 'also records that were written back before')
    .option('--even-invalid', 'also records that the definitions at hand refuse still')
    .option('--fix <file>', 'module whose function "fix" turns a record into the fields of an event, or null')
  withConfigFlags(replaying).action(async (flags: ReplayFlags) => {
    await withLog(flags, async (log, config, plan) => await replay(log, config, plan, flags))
  })
}
