import { extname, relative, resolve } from 'node:path'
import type { Project } from '../../features/plan/compile.ts'
import { eventDecoder } from '../../features/plan/event.ts'
import type { SourcePlan } from '../../features/plan/plan.ts'
import { feedName } from '../../features/plan/units.ts'
import { createGrpcClient } from '../../topology/adapters/server/grpc/client.ts'
import type { GrpcClient } from '../../topology/adapters/server/grpc/client.ts'
import { eventRecorder } from '../../topology/event-record.ts'
import type { EventLog, NewRecord } from '../../topology/ports/event-log.ts'
import type { OnlineStore } from '../../topology/ports/online-store.ts'
import type { Config } from '../../topology/runtime/config.ts'
import { openEventLog, openOnlineStore } from '../../topology/runtime/stores.ts'
import { createUnwind } from '../../topology/runtime/unwind.ts'
import { topologyOf } from '../../topology/topology.ts'
import { startAllInOne } from '../all-in-one.ts'
import type { AllInOne } from '../all-in-one.ts'
import { systemClock } from '../clock.ts'
import { createTelemetry } from '../telemetry.ts'
import { createGenerator } from './generator.ts'
import type { LabelledPayment, PaymentGenerator } from './generator.ts'
import { planPace } from './pace.ts'
import type { Pace } from './pace.ts'
import { nextSteps, renderSummary } from './summary.ts'
import { createTally } from './tally.ts'
import type { Tally } from './tally.ts'
import { startView } from './view.ts'

/** How the demonstration is run. */
export interface DemoOptions {
  readonly config: Config
  readonly project: Project
  readonly durationMs: number
  /** Payments per second. */
  readonly rate: number
  readonly seed: number
  /** How a user starts the command line, for what to try next. */
  readonly command: string
  /** Resolves when the user wants to stop early. */
  readonly stopAsked: Promise<unknown>
}

const SOURCE = 'payment'
const SERVICE = 'fraud'
const APPEND_BATCH = 2_000
const TICK_MS = 10
/** A few seconds cover a few hours of event time at first: too little to compare with whole days. */
const DRIFT_AFTER_MS = 20_000
const LAST_LOOK_MS = 1_500
const MAX_CATCH_UP_MS = 120_000
/** Calls in flight; beyond it the generator waits, so that a slow machine sees a lower rate and not a growing queue. */
const MAX_CALLS = 512

const sleep = (ms: number): Promise<void> => new Promise(done => setTimeout(done, ms))

/** Days of habits before the live part, written as imported history: known when it happened. */
async function writeHistory(
  log: EventLog,
  source: SourcePlan,
  generator: PaymentGenerator,
  pace: Pace,
  tally: Tally,
  stopped: () => boolean,
): Promise<LabelledPayment> {
  const decoder = eventDecoder(source)
  const toRecord = eventRecorder(source)
  let batch: NewRecord[] = []
  let done = 0
  for (;;) {
    const next = generator.next()
    const live = next.event.occurredAt >= pace.liveFromEventMs
    if (batch.length >= APPEND_BATCH || (live && batch.length > 0)) {
      await log.append(batch)
      done += batch.length
      batch = []
      tally.setHistory(done, pace.historyPayments)
      await sleep(0)
    }
    if (live || stopped()) return next
    const decoded = decoder.decodeFields({ ...next.event }, null)
    if (!decoded.ok) throw new Error(`the generator made an event that is not valid: ${decoded.reason}`)
    const made = toRecord(decoded.event, decoded.event.time)
    if (!made.ok) throw new Error(made.reason)
    batch.push(made.record)
  }
}

/** Waits until the feature worker has read everything that is in the log. */
async function caughtUp(log: EventLog, store: OnlineStore, source: SourcePlan, stopped: () => boolean): Promise<void> {
  // The folder is new, so the only source's units are all of the first revision.
  const feed = feedName(source.name, 1)
  for (let waited = 0; waited < MAX_CATCH_UP_MS && !stopped(); waited += 100) {
    const progress = await store.readProgress()
    let behind = 0
    for (let partition = 0; partition < source.partitions; partition++) {
      const { endOffset } = await log.bounds(source.topic, partition)
      const found = progress.find(p => p.feed === feed && p.partition === partition)
      behind += endOffset - 1 - (found?.offset ?? -1)
    }
    if (behind <= 0) return
    await sleep(100)
  }
  if (stopped()) return
  throw new Error(`the feature worker did not read the history within ${MAX_CATCH_UP_MS / 1000} s`)
}

interface Live {
  readonly client: GrpcClient
  readonly generator: PaymentGenerator
  readonly pace: Pace
  readonly tally: Tally
  readonly startMs: number
  readonly stopped: () => boolean
}

/** Sends every payment when it is due: published to the log and scored at once, as a payment service would. */
async function drive(live: Live, first: LabelledPayment, durationMs: number): Promise<void> {
  const { client, generator, pace, tally, startMs } = live
  const calls = new Set<Promise<void>>()
  const track = (call: Promise<void>) => {
    const tracked = call.catch(() => tally.failed()).finally(() => calls.delete(tracked))
    calls.add(tracked)
  }
  const score = async (payment: LabelledPayment) => {
    const started = performance.now()
    const answer = await client.score({ service: SERVICE, event: { ...payment.event }, includeFeatures: true })
    const { decision, score: value, features } = answer
    const latencyMs = performance.now() - started
    tally.scored(payment, { decision, score: value, latencyMs, features: features ?? {} }, Date.now() - startMs)
  }
  const publish = async (payments: readonly LabelledPayment[]) => {
    const events = payments.map(payment => ({ ...payment.event }))
    const results = await client.publishEvents({ source: SOURCE, events })
    tally.published(results.filter(result => result.ok).length, Date.now() - startMs)
  }
  let next = first
  const endMs = startMs + durationMs
  while (Date.now() < endMs && !live.stopped()) {
    const due: LabelledPayment[] = []
    while (pace.sendAtMs(next.event.occurredAt) <= Date.now() && due.length < 200) {
      if (next.event.occurredAt >= pace.shiftAtMs) tally.setPhase('shifted')
      due.push(next)
      next = generator.next()
    }
    if (due.length > 0) {
      track(publish(due))
      for (const payment of due) track(score(payment))
    }
    await sleep(TICK_MS)
    while (calls.size > MAX_CALLS) await Promise.race(calls)
  }
  await Promise.all(calls)
}

async function runLive(options: DemoOptions, system: AllInOne, log: EventLog, store: OnlineStore): Promise<void> {
  const { config, project, durationMs, rate, seed } = options
  const source = project.plan.sources.find(s => s.name === SOURCE)
  const service = project.plan.services.find(s => s.name === SERVICE)
  if (source === undefined || service === undefined) throw new Error('the shipped definitions have no service')
  let stopped = false
  void options.stopAsked.then(() => (stopped = true))
  let startMs = Date.now()
  let liveMs = Infinity
  const pacing = (liveFromMs: number) => planPace({ liveFromMs, durationMs, rate })
  const planned = pacing(startMs)
  const tally = createTally({ seed, cards: planned.cards, durationMs, outcomes: service.policy?.outcomes ?? [] })
  tally.setHistory(0, planned.historyPayments)
  const view = startView({
    output: process.stdout,
    state: () => {
      if (Date.now() - liveMs >= DRIFT_AFTER_MS) tally.setDrift(system.driftFindings())
      return tally.state(Date.now() - startMs)
    },
    color: process.stdout.isTTY && process.env['NO_COLOR'] === undefined,
  })
  const restore = () => view.restore()
  process.once('exit', restore)
  const client = createGrpcClient({ address: `127.0.0.1:${system.port}` })
  try {
    const { paymentsPerDay, cards, historyFromMs, shiftAtMs } = planned
    const generator = createGenerator({ seed, startMs: historyFromMs, paymentsPerDay, cards, shiftAtMs })
    const first = await writeHistory(log, source, generator, planned, tally, () => stopped)
    await caughtUp(log, store, source, () => stopped)
    if (stopped) return
    const delayMs = Date.now() - startMs
    startMs += delayMs
    liveMs = startMs
    // The same pace, begun when the history was read: payments are sent that much later than they are dated.
    const pace: Pace = { ...planned, sendAtMs: eventMs => planned.sendAtMs(eventMs) + delayMs }
    tally.setPhase('steady')
    await drive({ client, generator, pace, tally, startMs, stopped: () => stopped }, first, durationMs)
    // The last scores reach the monitor through the log.
    await sleep(LAST_LOOK_MS)
    tally.setDrift(system.driftFindings())
    tally.setPhase('ended')
  } finally {
    client.close()
    view.stop()
    process.off('exit', restore)
  }
  const state = tally.state(Math.min(Date.now() - startMs, durationMs))
  const data = `--data ${relative(process.cwd(), config.dataDirectory)}`
  const steps = nextSteps({
    headwater: options.command,
    serve: `${options.command} run all ${data}`,
    grpcAddress: '127.0.0.1:50051',
    cardId: state.card?.cardId ?? 'card-1',
    featuresFile: resolve(
      import.meta.dirname,
      '..',
      '..',
      'features',
      'fraud',
      `index${extname(import.meta.filename)}`,
    ),
    data,
  })
  process.stdout.write(`${renderSummary(state, steps)}\n`)
}

/**
 * The main job in one process over real gRPC, on an empty data folder: a seeded stream of card payments with three patterns of fraud goes
 * through log, worker, online store, model, history and drift, and is shown while it happens.
 */
export async function runDemo(options: DemoOptions): Promise<void> {
  const { config, project } = options
  const unwind = createUnwind()
  try {
    const log = await openEventLog(config, systemClock)
    unwind.add(() => log.close())
    await log.ensureTopics(topologyOf(project.plan).topics)
    const store = await openOnlineStore(config, systemClock)
    unwind.add(() => store.close())
    const system = await startAllInOne({ config, project, telemetry: createTelemetry('warn') }, 'warn')
    unwind.add(() => system.stop())
    await runLive(options, system, log, store)
  } finally {
    await unwind.run()
  }
}
