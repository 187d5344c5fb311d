import type { DriftFinding } from '../../topology/monitoring/drift-assess.ts'
import { clock, count, driftVerdict, ms, patternText } from './frame.ts'
import type { DemoState } from './tally.ts'

/** One thing to try after the demonstration. */
export interface NextStep {
  readonly title: string
  /** Lines to paste. */
  readonly command: string
}

/**
 * The three things to try next: a query, a call, a feature to edit.
 * @param options how to start the command line, the address of the scorer and a card that was seen
 */
export function nextSteps(options: {
  readonly headwater: string
  /** Starts everything again over the same data, so that the call is answered. */
  readonly serve: string
  readonly grpcAddress: string
  readonly cardId: string
  readonly featuresFile: string
  /** The flag that names the demonstration's data folder. */
  readonly data: string
}): readonly NextStep[] {
  const { headwater, serve, grpcAddress, cardId, featuresFile, data } = options
  const query =
    'SELECT decision, count() AS payments, round(avg(score), 4) AS mean_score, ' +
    'round(quantile(0.99)(latency_total_us)) AS p99_us FROM decisions GROUP BY decision ORDER BY payments DESC'
  const request = JSON.stringify({ groups: { groups: ['card_activity'], entities: { card: cardId } } })
  return [
    { title: 'Ask ClickHouse what was decided', command: `${headwater} sql ${data} "${query}"` },
    {
      title: `Read a card's features over gRPC (first, in another terminal: ${serve})`,
      command: `grpcurl -plaintext -d '${request}' ${grpcAddress} headwater.features.v1.FeatureService/GetFeatures`,
    },
    {
      title: `Add a feature: in ${featuresFile}, in card_activity, beside payments_1h, write`,
      command: `countries_1h: e.distinct(e.country, '1h'),\nthen this shows it under "new": ${headwater} plan ${data}`,
    },
  ]
}

/** The figures of a run and what to do next, as text for people. */
export function renderSummary(state: DemoState, next: readonly NextStep[]): string {
  const fraud = state.patterns.reduce((sum, each) => sum + each.seen, 0)
  const caught = state.patterns.reduce((sum, each) => sum + each.caught, 0)
  const seconds = Math.max(0.001, state.elapsedMs / 1000)
  const figures: readonly (readonly [string, string])[] = [
    ['ran', `${clock(state.elapsedMs)}, seed ${state.seed}, ${count(state.cards)} cards`],
    ['history', `${count(state.history.done)} payments imported before it`],
    ['events', `${count(state.events)}, ${count(state.events / seconds)} a second`],
    ['scores', `${count(state.scores)}, ${count(state.scores / seconds)} a second, ${count(state.failures)} failed`],
    ['latency', state.latency === null ? 'none' : `p50 ${ms(state.latency.p50Ms)}, p99 ${ms(state.latency.p99Ms)}`],
    ['decisions', state.decisions.map(each => `${each.outcome} ${count(each.count)}`).join(', ')],
    ['fraud', `${count(caught)} of ${count(fraud)} caught${share(caught, fraud)}`],
    ...state.patterns.map(
      each => [`  ${patternText(each.pattern)}`, `${count(each.caught)} of ${count(each.seen)}`] as const,
    ),
    ['false alarms', `${count(state.falseAlarms)} of ${count(state.honest)} honest payments`],
    ['drift', driftText(state.drift)],
  ]
  const width = Math.max(...figures.map(([name]) => name.length)) + 2
  const steps = next.map((step, index) => {
    const lines = step.command.split('\n').map(line => `     ${line}`)
    return `  ${index + 1}. ${step.title}\n${lines.join('\n')}`
  })
  const table = figures.map(([name, text]) => `  ${name.padEnd(width)}${text}`).join('\n')
  return `\nHeadwater demo: what happened\n\n${table}\n\nTry next\n\n${steps.join('\n')}\n`
}

function share(part: number, whole: number): string {
  return whole === 0 ? '' : ` (${Math.round((100 * part) / whole)} %)`
}

const MOST_MOVED = 4

function driftText(findings: readonly DriftFinding[]): string {
  if (findings.length === 0) return 'no scores counted'
  const alerts = findings.filter(finding => finding.verdict === 'alert')
  if (alerts.length === 0) return `in the last half minute: ${driftVerdict(findings)}`
  const shown = alerts.slice(0, MOST_MOVED).map(finding => `${finding.feature} (PSI ${finding.psi.toFixed(2)})`)
  const rest = alerts.length > MOST_MOVED ? ` and ${alerts.length - MOST_MOVED} more` : ''
  return `moved in the last half minute: ${shown.join(', ')}${rest}`
}
