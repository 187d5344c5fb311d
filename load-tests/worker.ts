import { mkdtempSync, rmSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { systemClock } from '../services/clock.ts'
import { createTelemetry } from '../services/telemetry.ts'
import { createDriver } from '../topology/jobs/backtest.ts'
import { parseConfig } from '../topology/runtime/config.ts'
import { openContext } from '../topology/runtime/context.ts'
import { workerOf } from '../topology/runtime/feature-processes.ts'
import { benchPayments, benchPlan } from './workload.ts'
import { plainRow, ratioRow } from './rows.ts'
import type { BenchRow } from './rows.ts'

const EVENTS = 60_000
const CARDS = 5_000
const APPEND_BATCH = 1_000

/** Embedded log to embedded online store, against only reading and parsing the same log. */
export async function benchWorker(): Promise<readonly BenchRow[]> {
  const { project, source, encode } = benchPlan()
  const directory = mkdtempSync(join(tmpdir(), 'headwater-bench-'))
  const parsed = parseConfig({ file: null, environment: {}, flags: { dataDirectory: directory } })
  if (!parsed.ok) throw new Error(JSON.stringify(parsed.problems))
  const context = await openContext(parsed.config, project, systemClock, createTelemetry('warn'))
  try {
    const payments = benchPayments(EVENTS, CARDS)
    const appendStarted = performance.now()
    for (let i = 0; i < payments.length; i += APPEND_BATCH) {
      const part = payments.slice(i, i + APPEND_BATCH)
      await context.log.append(
        part.map(event => ({
          topic: source.topic,
          key: event.cardId,
          value: encode(event),
          arrivalMs: event.occurredAt,
        })),
      )
    }
    const appendRate = (EVENTS / (performance.now() - appendStarted)) * 1_000

    const decoder = new TextDecoder()
    const readStarted = performance.now()
    for (let partition = 0; partition < source.partitions; partition++) {
      for (let from = 0; ;) {
        const batch = await context.log.read(source.topic, partition, from, 5_000)
        if (batch.records.length === 0) break
        for (const record of batch.records) JSON.parse(decoder.decode(record.value))
        from = batch.nextOffset
      }
    }
    const readRate = (EVENTS / (performance.now() - readStarted)) * 1_000

    const [revision] = context.catalogue.revisions
    const worker = revision === undefined ? null : workerOf(context, revision)
    if (worker === null) throw new Error('the plan has no units')
    const driver = createDriver(context.log, worker.handlers, source.topic, source.partitions)
    const workStarted = performance.now()
    await driver.drain()
    const workRate = (EVENTS / (performance.now() - workStarted)) * 1_000
    return [
      ratioRow(
        'worker: embedded log to online store, against reading and parsing alone',
        workRate,
        'events/s',
        readRate,
      ),
      plainRow('worker: events appended to the embedded log', appendRate, 'events/s'),
    ]
  } finally {
    await context.close()
    rmSync(directory, { recursive: true, force: true })
  }
}
