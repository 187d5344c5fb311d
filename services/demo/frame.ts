import { DRIFT_THRESHOLDS } from '../../topology/monitoring/drift-assess.ts'
import { directionOf } from '../../topology/monitoring/drift-report.ts'
import type { DriftFinding } from '../../topology/monitoring/drift-assess.ts'
import type { DemoState, WatchedCard } from './tally.ts'

const SPARKS = '▁▂▃▄▅▆▇█'
const BAR_WIDTH = 20
const EIGHTHS = '▏▎▍▌▋▊▉█'
const DECISION_BAR_WIDTH = 12
const BAR_PSI = 0.4
const LEFT_WIDTH = 46
const TWO_COLUMNS_FROM = 80
/** Rows of drift that are shown however low the terminal is. */
const MINIMUM_DRIFT_ROWS = 2
/** Lines of the drift panel that are not rows: heading, verdict, legend. */
const DRIFT_FRAME_LINES = 3

const PATTERN_TEXT = {
  card_testing: 'card testing',
  compromised_merchant: 'compromised shop',
  account_takeover: 'account takeover',
} as const

/**
 * One picture of the demonstration as text: at most `height` lines of at most `width` characters, every character one
 * column wide, no escape sequences. Below 80 columns the two columns stand one below the other. Where it is low, the
 * card and then the patterns of fraud give way to the drift.
 */
export function renderFrame(state: DemoState, width: number, height: number): string {
  const head = [titleLine(state, width), '', ...flowLines(state)]
  const frame = head.length + 2 + DRIFT_FRAME_LINES
  const middle = middleLines(state, width, Math.max(0, height - frame - MINIMUM_DRIFT_ROWS))
  const room = Math.max(MINIMUM_DRIFT_ROWS, height - frame - middle.length)
  const lines = [...head, '', ...middle, ...(middle.length === 0 ? [] : ['']), ...driftLines(state.drift, room)]
  return lines
    .slice(0, height)
    .map(line => clip(line, width).trimEnd())
    .join('\n')
}

/** Decisions, fraud and the card, in at most `room` lines. */
function middleLines(state: DemoState, width: number, room: number): readonly string[] {
  const left = [...decisionLines(state), '', ...fraudLines(state)]
  if (width >= TWO_COLUMNS_FROM) {
    return beside(left, cardLines(state.card, width - LEFT_WIDTH, room), LEFT_WIDTH).slice(0, room)
  }
  const card = cardLines(state.card, width, room - left.length - 1)
  return [...left, ...(card.length === 0 ? [] : ['', ...card])].slice(0, room)
}

/** One line for logs and pipes. */
export function renderPlainLine(state: DemoState): string {
  if (state.phase === 'history') {
    const { done, total } = state.history
    return `history    ${count(done)} of about ${count(total)} payments imported`
  }
  const caught = state.patterns.map(each => `${PATTERN_TEXT[each.pattern]} ${each.caught}/${each.seen}`).join(', ')
  const alerts = state.drift.filter(finding => finding.verdict === 'alert')
  const latency =
    state.latency === null ? 'no scores yet' : `p50 ${ms(state.latency.p50Ms)} p99 ${ms(state.latency.p99Ms)}`
  const drift =
    alerts.length === 0
      ? `drift: ${driftVerdict(state.drift)}`
      : `drift in ${alerts
          .slice(0, 3)
          .map(finding => `${finding.feature} ${arrow(finding)} ${finding.psi.toFixed(2)}`)
          .join(', ')}${alerts.length > 3 ? ` and ${alerts.length - 3} more` : ''}`
  return [
    clock(state.elapsedMs).padEnd(10),
    `${rate(state.eventsPerSecond)} events/s, ${rate(state.scoresPerSecond)} scores/s, ${latency}`,
    state.decisions.map(each => `${each.outcome} ${count(each.count)}`).join(', '),
    `caught: ${caught}; false alarms ${count(state.falseAlarms)}`,
    drift,
  ].join(' | ')
}

/** The clock always; of the rest as many parts as fit. */
function titleLine(state: DemoState, width: number): string {
  const end = state.durationMs > 0 ? ` / ${clock(state.durationMs)}` : ''
  const right = `${clock(state.elapsedMs)}${end}`
  const parts = [phaseText(state), `seed ${state.seed}`, `${count(state.cards)} cards`]
  const room = width - right.length - 2
  const left = parts.reduce(
    (text, part) => (text.length + 3 + part.length <= room ? `${text} · ${part}` : text),
    'Headwater demo',
  )
  return left + ' '.repeat(Math.max(2, width - left.length - right.length)) + right
}

function phaseText(state: DemoState): string {
  switch (state.phase) {
    case 'history':
      return 'importing history'
    case 'steady':
      return 'payments as trained on'
    case 'shifted':
      return 'amounts and countries have shifted'
    case 'ended':
      return 'ended'
  }
}

function flowLines(state: DemoState): readonly string[] {
  if (state.phase === 'history') {
    const { done, total } = state.history
    const share = total === 0 ? 0 : Math.min(1, done / total)
    return [`History   ${bar(share, 40)} ${count(done)} of about ${count(total)} payments`]
  }
  const latency =
    state.latency === null ? 'latency –' : `latency p50 ${ms(state.latency.p50Ms)}  p99 ${ms(state.latency.p99Ms)}`
  const failures = state.failures === 0 ? '' : `   ${count(state.failures)} failed`
  return [
    `Events    ${rate(state.eventsPerSecond).padStart(7)}/s   ${count(state.events).padStart(9)} in all`,
    `Scores    ${rate(state.scoresPerSecond).padStart(7)}/s   ${count(state.scores).padStart(9)} in all   ${latency}${failures}`,
  ]
}

function decisionLines(state: DemoState): readonly string[] {
  const all = state.decisions.reduce((sum, each) => sum + each.count, 0)
  return [
    'Decisions',
    ...state.decisions.map(each => {
      const share = all === 0 ? '' : `${((100 * each.count) / all).toFixed(1)} %`
      const filled = fineBar(each.count / Math.max(1, all), DECISION_BAR_WIDTH)
      return `  ${each.outcome.padEnd(10)}${count(each.count).padStart(9)}  ${filled}${share.padStart(8)}`
    }),
  ]
}

function fraudLines(state: DemoState): readonly string[] {
  const rows = state.patterns.map(each => {
    const missed = each.seen - each.caught
    const share = each.seen === 0 ? '' : `${Math.round((100 * each.caught) / each.seen)} %`
    return `  ${PATTERN_TEXT[each.pattern].padEnd(18)}${count(each.caught).padStart(6)}${count(missed).padStart(8)}${share.padStart(8)}`
  })
  const share = state.honest === 0 ? 0 : (100 * state.falseAlarms) / state.honest
  return [
    `Fraud${'caught'.padStart(21)}${'missed'.padStart(8)}`,
    ...rows,
    `  false alarms      ${count(state.falseAlarms).padStart(6)} of ${count(state.honest)} (${share.toFixed(1)} %)`,
  ]
}

/** At most `room` lines; none where the answer would not fit. The last features are left out first. */
function cardLines(card: WatchedCard | null, width: number, room: number): readonly string[] {
  if (room < 2) return []
  if (card === null) return ['Card', '  waiting for its first payment']
  const use = card.pattern === null ? 'honest use' : PATTERN_TEXT[card.pattern]
  const score = card.score === null ? '' : ` at ${card.score.toFixed(3)}`
  const label = 17
  const sparkWidth = Math.max(4, Math.min(24, width - label - 11))
  return [
    `Card ${card.cardId}, ${use}`,
    ...card.features.slice(0, room - 2).map(feature => {
      const last = feature.values.at(-1)
      const name = feature.name.slice(feature.name.indexOf('.') + 1)
      const spark = sparkline(feature.values.slice(-sparkWidth)).padStart(sparkWidth)
      return `  ${clip(name, label).padEnd(label)}${spark} ${value(last ?? null).padStart(8)}`
    }),
    `  answer: ${card.decision}${score}`,
  ]
}

function driftLines(findings: readonly DriftFinding[], room: number): readonly string[] {
  const title = `Drift, most above noise first${'PSI'.padStart(14)}    █ PSI to ${BAR_PSI}  · noise, 99 % of it`
  const verdict = `  ${driftVerdict(findings)}`
  if (findings.length === 0) return [title, verdict]
  const { psi, missing } = DRIFT_THRESHOLDS
  const legend = `  ▲ higher ▼ lower ◆ other: beyond chance, and PSI > ${psi} or missing ± ${100 * missing} %`
  return [title, ...findings.slice(0, room).map(driftRow), verdict, legend]
}

/** What the findings come to, in a few words. No findings: it is still being collected. */
export function driftVerdict(findings: readonly DriftFinding[]): string {
  const { psi, minimumRows } = DRIFT_THRESHOLDS
  const [first] = findings
  if (first === undefined) return 'collecting, shown after 20 s'
  if (findings.every(finding => finding.verdict === 'too_few')) {
    return `collecting, ${count(first.currentRows)} of ${count(minimumRows)} scores so far`
  }
  const moved = findings.filter(finding => finding.verdict === 'alert').length
  if (moved > 0) return `${moved} of ${findings.length} features have moved`
  const above = findings.some(finding => finding.psi > psi)
  return `no feature above PSI ${psi}${above ? ' by more than chance' : ''}`
}

function driftRow(finding: DriftFinding): string {
  const filled = Math.min(BAR_WIDTH, Math.round((finding.psi / BAR_PSI) * BAR_WIDTH))
  const noise = Math.min(BAR_WIDTH, Math.max(1, Math.round((finding.psiBand.p99 / BAR_PSI) * BAR_WIDTH)))
  const cells = Array.from({ length: BAR_WIDTH }, (_, i) => (i < filled ? '█' : i < noise ? '·' : ' ')).join('')
  const mark = finding.verdict === 'alert' ? arrow(finding) : ' '
  return `  ${clip(finding.feature, 34).padEnd(34)}${finding.psi.toFixed(3).padStart(7)} ${mark} ${cells}`
}

/** Where the values of a feature went. */
function arrow(finding: DriftFinding): string {
  return { up: '▲', down: '▼', none: '◆' }[directionOf(finding)]
}

function sparkline(values: readonly (number | null)[]): string {
  const present = values.filter(each => each !== null)
  const low = Math.min(0, ...present)
  const high = Math.max(...present, low + 1e-9)
  return values
    .map(each =>
      each === null ? ' ' : (SPARKS[Math.round(((each - low) / (high - low)) * (SPARKS.length - 1))] ?? ' '),
    )
    .join('')
}

function beside(left: readonly string[], right: readonly string[], width: number): readonly string[] {
  return Array.from({ length: Math.max(left.length, right.length) }, (_, i) =>
    `${clip(left[i] ?? '', width - 2).padEnd(width)}${right[i] ?? ''}`.trimEnd(),
  )
}

function bar(share: number, width: number): string {
  const filled = Math.round(Math.max(0, Math.min(1, share)) * width)
  return '█'.repeat(filled) + '░'.repeat(width - filled)
}

/** Linear to an eighth of a character, and never empty for a share above 0. */
function fineBar(share: number, width: number): string {
  const eighths = share <= 0 ? 0 : Math.max(1, Math.round(Math.min(1, share) * width * 8))
  const part = eighths % 8 === 0 ? '' : (EIGHTHS[(eighths % 8) - 1] ?? '')
  return `${'█'.repeat(Math.floor(eighths / 8))}${part}`.padEnd(width)
}

function clip(text: string, width: number): string {
  return text.length <= width ? text : `${text.slice(0, Math.max(0, width - 1))}…`
}

/** A count as the frame shows it: rounded to a whole number, thousands parted by commas. */
export function count(number: number): string {
  return Math.round(number).toLocaleString('en-US')
}

function rate(number: number): string {
  return number < 10 ? number.toFixed(1) : count(number)
}

/** A duration in milliseconds with its unit: one decimal below 10 ms, none from there on. */
export function ms(milliseconds: number): string {
  return `${milliseconds < 10 ? milliseconds.toFixed(1) : count(milliseconds)} ms`
}

function value(number: number | null): string {
  if (number === null) return '–'
  return Number.isInteger(number) ? count(number) : number.toFixed(number < 100 ? 2 : 0)
}

/** A duration in milliseconds as `mm:ss`, rounded down; negative ones show as `00:00`. */
export function clock(milliseconds: number): string {
  const seconds = Math.max(0, Math.floor(milliseconds / 1000))
  return `${String(Math.floor(seconds / 60)).padStart(2, '0')}:${String(seconds % 60).padStart(2, '0')}`
}

/** The text for a pattern of fraud. */
export function patternText(pattern: keyof typeof PATTERN_TEXT): string {
  return PATTERN_TEXT[pattern]
}
