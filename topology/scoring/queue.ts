import { ServerError } from '../ports/server.ts'
import type { ScoreRecord } from '../ports/score-record.ts'
import type { ScoringLimits, ScoringOptions } from './options.ts'
import type { Selection } from './selection.ts'
import type { ServiceRuntime } from './service-runtime.ts'
import type { StalenessWatch } from './staleness.ts'
import { readAnswers } from './stored-state.ts'
import { answerFeatures, answerScore, fillFeatures, refuse, runModel } from './turn.ts'
import type { Row, TurnContext } from './turn.ts'

/** Rows on their way to an answer. */
export interface TurnQueue {
  /** Throws `ServerError` where a row that asks now would not be served in time, or at all. */
  admit(deadlineMs: number): void
  enqueue(row: Row): void
  /** Refuses new rows; resolves when those admitted are answered and their records emitted. */
  close(): Promise<void>
  /** Rows admitted and not yet answered. */
  readonly queuedRows: number
}

/** Weight of the newest turn in the running mean of turn durations. */
const TURN_WEIGHT = 0.1

interface QueueOptions extends Pick<ScoringOptions, 'store' | 'clock' | 'telemetry' | 'emit'> {
  readonly limits: ScoringLimits
  readonly staleness: StalenessWatch
  readonly planHash: string
}

/**
 * Work-conserving batching: the rows enqueued in one event-loop turn, up to `maxTurnRows`, share one read of the store
 * and one run per model. A turn starts at the end of the event-loop turn that brought its first row, never later.
 */
export function createTurnQueue(options: QueueOptions): TurnQueue {
  const { clock, telemetry, limits } = options
  const records = createRecordEmitter(options)
  const turns = new Set<Promise<void>>()
  let pending: Row[] = []
  let scheduled = false
  let queuedRows = 0
  let meanTurnMs = 0
  let closed = false

  const startTurn = (): void => {
    const rows = pending.slice(0, limits.maxTurnRows)
    pending = pending.slice(limits.maxTurnRows)
    scheduled = pending.length > 0
    if (scheduled) setImmediate(startTurn)
    const startedAt = clock.monotonicMs()
    const turn = runTurn(options, rows, records.add)
      .catch((error: unknown) => {
        telemetry.log('error', 'a scoring turn failed', { error: String(error) })
        for (const row of rows) refuse(row, new ServerError('INTERNAL', 'the server failed; its log has the details'))
      })
      .finally(() => {
        queuedRows -= rows.length
        meanTurnMs += TURN_WEIGHT * (clock.monotonicMs() - startedAt - meanTurnMs)
        turns.delete(turn)
      })
    turns.add(turn)
  }
  return {
    admit: deadlineMs => {
      if (closed) throw new ServerError('SHUTTING_DOWN', 'the server is going away; try another one')
      const retryAfterMs = Math.max(1, Math.ceil(meanTurnMs * (1 + queuedRows / limits.maxTurnRows)))
      const overloaded = (message: string): ServerError => {
        telemetry.count('score_refused_requests', 1, { code: 'OVERLOADED' })
        return new ServerError('OVERLOADED', `${message}; try again in ${retryAfterMs} ms`, { retryAfterMs })
      }
      if (queuedRows >= limits.maxQueuedRows) {
        throw overloaded(`${queuedRows} rows wait already, the bound is ${limits.maxQueuedRows}`)
      }
      if (deadlineMs === Infinity) return
      const remainingMs = deadlineMs - clock.nowMs()
      if (remainingMs <= 0) throw late(telemetry, 'before it was admitted')
      const waitMs = meanTurnMs * Math.floor(queuedRows / limits.maxTurnRows)
      if (waitMs > remainingMs) {
        throw overloaded(
          `the deadline is in ${Math.ceil(remainingMs)} ms, about ${Math.ceil(waitMs)} ms of work wait before it`,
        )
      }
    },
    enqueue: row => {
      queuedRows++
      pending.push(row)
      if (scheduled) return
      scheduled = true
      setImmediate(startTurn)
    },
    close: async () => {
      closed = true
      while (scheduled || turns.size > 0) {
        await Promise.all(turns)
        if (scheduled) await new Promise(resolve => setImmediate(resolve))
      }
      records.emitNow()
    },
    get queuedRows() {
      return queuedRows
    },
  }
}

function late(telemetry: ScoringOptions['telemetry'], when: string): ServerError {
  telemetry.count('score_refused_requests', 1, { code: 'DEADLINE_EXCEEDED' })
  return new ServerError('DEADLINE_EXCEEDED', `the deadline of the call passed ${when}`)
}

/** Builds and emits records after the answers of their turn have left. */
function createRecordEmitter({ emit, telemetry }: QueueOptions): {
  add(record: () => ScoreRecord): void
  emitNow(): void
} {
  let records: (() => ScoreRecord)[] = []
  const emitNow = (): void => {
    const ready = records
    records = []
    for (const record of ready) {
      try {
        emit(record())
      } catch (error) {
        telemetry.count('score_emit_failures', 1)
        telemetry.log('error', 'a score record could not be emitted', { error: String(error) })
      }
    }
  }
  return {
    add: record => {
      records.push(record)
      if (records.length === 1) setImmediate(emitNow)
    },
    emitNow,
  }
}

async function runTurn(
  options: QueueOptions,
  waiting: readonly Row[],
  addRecord: (record: () => ScoreRecord) => void,
): Promise<void> {
  const { clock, telemetry, staleness } = options
  const context: TurnContext = {
    planHash: options.planHash,
    telemetry,
    maxModelRows: options.limits.maxModelRows,
    monotonicMs: () => clock.monotonicMs(),
    nowMs: () => clock.nowMs(),
  }
  const rows = refuseLate(options, waiting, 'before it was started')
  if (rows.length === 0) return
  telemetry.count('score_turns', 1)
  telemetry.count('score_turn_rows', rows.length)
  const readAt = await readAnswers(context, options, rows, () =>
    refuseLate(options, rows, 'while the online store was read'),
  )
  const nowMs = clock.nowMs()
  const staleGroups = (selection: Selection): readonly boolean[] =>
    selection.groups.map(group => group.feeds.some(feed => staleness.caughtUpAgeMs(feed, nowMs) > group.maxAgeMs))
  const byService = new Map<ServiceRuntime, Row[]>()
  for (const row of rows) {
    if (row.settled) continue
    fillFeatures(context, row, staleGroups(row.selection))
    if (row.goal.kind === 'features') answerFeatures(context, row)
    else if (row.service !== null) {
      const list = byService.get(row.service)
      if (list === undefined) byService.set(row.service, [row])
      else list.push(row)
    }
  }
  const featuresAt = clock.monotonicMs()
  await Promise.all([...byService].map(([service, list]) => runModel(context, service, list)))
  const times = { readAt, featuresAt, modelAt: clock.monotonicMs() }
  for (const [service, list] of byService) {
    let degraded = 0
    for (const row of list) {
      try {
        const record = answerScore(context, row, times)
        if (record !== null) addRecord(record)
      } catch (error) {
        telemetry.log('error', 'a score could not be answered', { error: String(error) })
        refuse(row, new ServerError('INTERNAL', 'the server failed on this event; its log has the details'))
      }
      if (row.degraded !== null) degraded++
      telemetry.observeMs('score_ms', clock.monotonicMs() - row.admittedAt, { service: service.plan.name })
    }
    telemetry.count('score_answers', list.length, { service: service.plan.name })
    if (degraded > 0) telemetry.count('score_degraded_answers', degraded, { service: service.plan.name })
  }
}

function refuseLate(options: QueueOptions, rows: readonly Row[], when: string): readonly Row[] {
  const nowMs = options.clock.nowMs()
  let refused = false
  for (const row of rows) {
    if (row.deadlineMs > nowMs) continue
    refuse(row, late(options.telemetry, when))
    refused = true
  }
  return refused ? rows.filter(row => !row.settled) : rows
}
