import { open } from 'node:fs/promises'
import { parseArgs } from 'node:util'
import { createGenerator, DAY_MS } from './generator.ts'

/**
 * Which payments are written, in UTC milliseconds and days of event time, and to which files; existing ones are
 * replaced.
 */
export interface HistoryOptions {
  readonly seed: number
  /** Event time of the first payment. */
  readonly startMs: number
  readonly days: number
  readonly paymentsPerDay: number
  /** Payments of the first days are marked in the labels: their windows look back on nothing. */
  readonly warmUpDays: number
  readonly shiftAtMs?: number
  readonly paymentsFile: string
  readonly labelsFile: string
}

const LINES_PER_WRITE = 2000

/**
 * Writes generated payments as NDJSON, in order of time, and the truth about them beside it: one line a payment with
 * `paymentId`, `occurredAt`, `fraud`, `pattern` and `warmUp`. Returns how many were written.
 */
export async function writeHistory(
  options: HistoryOptions,
): Promise<{ readonly payments: number; readonly fraud: number }> {
  const { seed, startMs, paymentsPerDay, shiftAtMs } = options
  const generator = createGenerator({
    seed,
    startMs,
    paymentsPerDay,
    ...(shiftAtMs === undefined ? {} : { shiftAtMs }),
  })
  const endMs = startMs + options.days * DAY_MS
  const warmUpEndMs = startMs + options.warmUpDays * DAY_MS
  await using payments = await open(options.paymentsFile, 'w')
  await using labels = await open(options.labelsFile, 'w')
  let written = 0
  let fraud = 0
  for (let ended = false; !ended;) {
    const paymentLines: string[] = []
    const labelLines: string[] = []
    while (paymentLines.length < LINES_PER_WRITE) {
      const { event, fraud: isFraud, pattern } = generator.next()
      ended = event.occurredAt >= endMs
      if (ended) break
      const { paymentId, occurredAt } = event
      paymentLines.push(`${JSON.stringify(event)}\n`)
      const label = { paymentId, occurredAt, fraud: isFraud, pattern, warmUp: occurredAt < warmUpEndMs }
      labelLines.push(`${JSON.stringify(label)}\n`)
      fraud += Number(isFraud)
    }
    written += paymentLines.length
    await payments.appendFile(paymentLines.join(''))
    await labels.appendFile(labelLines.join(''))
  }
  return { payments: written, fraud }
}

async function main(): Promise<void> {
  const { values } = parseArgs({
    options: {
      seed: { type: 'string', default: '1' },
      start: { type: 'string', default: '2025-03-03T00:00:00Z' },
      days: { type: 'string', default: '15' },
      'per-day': { type: 'string', default: '9000' },
      'warm-up-days': { type: 'string', default: '7' },
      payments: { type: 'string', default: 'payments.ndjson' },
      labels: { type: 'string', default: 'labels.ndjson' },
    },
  })
  const written = await writeHistory({
    seed: Number(values.seed),
    startMs: Date.parse(values.start),
    days: Number(values.days),
    paymentsPerDay: Number(values['per-day']),
    warmUpDays: Number(values['warm-up-days']),
    paymentsFile: values.payments,
    labelsFile: values.labels,
  })
  process.stdout.write(
    `${written.payments} payments, ${written.fraud} of them fraud: ${values.payments}, ${values.labels}\n`,
  )
}

if (import.meta.main) await main()
