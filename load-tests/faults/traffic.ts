import { setTimeout as sleep } from 'node:timers/promises'
import { PortError } from '../../topology/ports/errors.ts'
import type { NewRecord } from '../../topology/ports/event-log.ts'
import { endsOf, isWritten } from '../written.ts'
import { paymentMaker } from './payments.ts'
import type { World } from './world.ts'

const APPEND_RECORDS = 500
const APPENDS_IN_FLIGHT = 4
const RETRY_MS = 200
const POLL_MS = 250

/** Events on their way into the log. */
export interface Production {
  /** Until every event is in the log. */
  readonly done: Promise<void>
  /** Events that the log has taken. */
  written(): number
  running(): boolean
  /** Resolves when nothing is in flight; nothing more is written until `resume`. */
  pause(): Promise<void>
  resume(): void
}

/** A record's place: with `partition` set it goes there, as from a producer with a partitioner of its own. */
export type Placement = (record: NewRecord, index: number) => NewRecord

/** Writes the run's events at its rate; what the log does not take is written again, as a producer would. */
export function startProduction(world: World, seed: number, place: Placement = record => record): Production {
  const { scale } = world
  const make = paymentMaker(seed, world.topic, {
    cards: scale.cards ?? Math.max(500, Math.round(scale.events / 50)),
    shops: 200,
    duplicateEvery: 40,
    lateEvery: 200,
  })
  let made = 0
  let written = 0
  let running = true
  let gate: PromiseWithResolvers<void> | null = null
  let inFlight = 0
  const started = performance.now()

  async function lane(): Promise<void> {
    while (made < scale.events) {
      if (gate !== null) await gate.promise
      const ahead = made / scale.eventsPerSecond - (performance.now() - started) / 1_000
      if (ahead > 0) {
        await sleep(Math.min(100, ahead * 1_000))
        continue
      }
      const count = Math.min(APPEND_RECORDS, scale.events - made)
      const records = Array.from({ length: count }, (_, i) => place(make(Date.now()), made + i))
      made += count
      inFlight++
      try {
        await appendAll(world, records)
      } finally {
        inFlight--
      }
      written += count
    }
  }
  const lanes = Promise.all(Array.from({ length: APPENDS_IN_FLIGHT }, lane))
  const done = lanes.then(
    () => void (running = false),
    (error: unknown) => {
      running = false
      throw error
    },
  )
  done.catch(() => undefined)
  return {
    done,
    written: () => written,
    running: () => running,
    pause: async () => {
      gate ??= Promise.withResolvers()
      while (inFlight > 0) await sleep(5)
    },
    resume: () => {
      gate?.resolve()
      gate = null
    },
  }
}

async function appendAll(world: World, records: readonly NewRecord[]): Promise<void> {
  for (;;) {
    try {
      await world.context.log.append(records)
      return
    } catch (error) {
      const passing = error instanceof PortError && (error.code === 'LOG_UNAVAILABLE' || error.code === 'UNKNOWN_TOPIC')
      if (!passing) throw error
      await sleep(RETRY_MS)
    }
  }
}

/** The end of every partition of the topic now. */
export async function endOffsets({ context, topic }: World): Promise<readonly number[]> {
  return await endsOf(context, topic)
}

async function writerReached(world: World, ends: readonly number[]): Promise<boolean> {
  const { log, config } = world.context
  for (const [partition, end] of ends.entries()) {
    const committed = await log.committed(`hw.${config.namespace}.history`, world.topic, partition)
    if (end > 0 && (committed ?? 0) < end) return false
  }
  return true
}

/** Waits until workers and writer have stored everything below `ends`; fails with what they printed. */
export async function untilStored(world: World, ends: readonly number[], withinMs: number): Promise<void> {
  const deadline = performance.now() + withinMs
  for (;;) {
    const stored = await reached(world, ends)
    if (stored === null) return
    if (performance.now() > deadline) {
      const printed = world.processes.map(each => `--- ${each.name}\n${each.output()}`).join('\n')
      throw new Error(`${stored} did not reach the end of the log within ${withinMs} ms\n${printed}`)
    }
    await sleep(POLL_MS)
  }
}

/** Who is behind, or null. A store or log that is away just now is behind. */
async function reached(world: World, ends: readonly number[]): Promise<string | null> {
  try {
    if (!(await isWritten(world.context, world.topic, ends))) return 'the feature workers'
    return (await writerReached(world, ends)) ? null : 'the offline writer'
  } catch (error) {
    if (error instanceof PortError) return `the workers (${error.message})`
    throw error
  }
}
