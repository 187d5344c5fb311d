import type { Project } from '../../features/plan/compile.ts'
import type { BoundPlan, Catalogue } from '../../features/plan/units.ts'
import type { Clock } from '../ports/clock.ts'
import type { EventLog } from '../ports/event-log.ts'
import type { OnlineStore } from '../ports/online-store.ts'
import type { Telemetry } from '../ports/telemetry.ts'
import type { EventFormats } from '../ports/value-format.ts'
import { logSeldom } from '../scoring/seldom.ts'
import { keepCatalogue, preparePlan } from './catalogue.ts'
import type { Config } from './config.ts'
import { createEventFormats } from './event-formats.ts'
import { openEventLog, openOnlineStore } from './stores.ts'
import { createUnwind } from './unwind.ts'

/** What every process of one system shares: its plan, bound to stored units, and the log and store it runs on. */
export interface RuntimeContext {
  readonly config: Config
  readonly project: Project
  readonly bound: BoundPlan
  readonly catalogue: Catalogue
  readonly log: EventLog
  readonly store: OnlineStore
  readonly formats: EventFormats
  readonly clock: Clock
  readonly telemetry: Telemetry
  /** Resolves with what makes it wrong to go on; never while all is well. */
  readonly failed: Promise<Error>
  close(): Promise<void>
}

/** Something that runs until it is stopped; `stop` resolves when nothing of it is left undone. */
export interface Running {
  stop(): Promise<void>
}

/** Opens the stores, makes the topics and units that the plan needs; what was opened is closed again on failure. */
export async function openContext(
  config: Config,
  project: Project,
  clock: Clock,
  telemetry: Telemetry,
): Promise<RuntimeContext> {
  const { add, run: close } = createUnwind()
  try {
    const formats = await createEventFormats(config, project.plan, clock, telemetry)
    add(() => formats.close())
    const log = await openEventLog(config, clock, telemetry)
    add(() => log.close())
    const store = await openOnlineStore(config, clock, telemetry)
    add(() => store.close())
    const { bound, catalogue } = await preparePlan(project.plan, log, store)
    const failure = Promise.withResolvers<Error>()
    const stopKeeping = keepCatalogue(store, catalogue, failure.resolve)
    add(() => Promise.resolve(stopKeeping()))
    return { config, project, bound, catalogue, log, store, formats, clock, telemetry, failed: failure.promise, close }
  } catch (error) {
    // What the start failed with says more than what fails in its wake.
    await close().catch(() => undefined)
    throw error
  }
}

/**
 * How consumers report a partition that stopped or is tried again: each is counted, and of those of one kind and topic one
 * a second is logged.
 */
export function consumerErrors({ clock, telemetry }: Pick<RuntimeContext, 'clock' | 'telemetry'>, process: string) {
  const owner = {}
  const context = { telemetry, monotonicMs: () => clock.monotonicMs() }
  return (error: Error, topic: string, partition: number): void => {
    telemetry.count('consumer_errors', 1, { process, topic })
    const fields = { topic, partition }
    const message = `${process}: ${error.message}`
    logSeldom(context, owner, `${topic} ${kindOf(error)}`, { level: 'error', message, fields, error: kindOf(error) })
  }
}

function kindOf(error: Error): string {
  return 'code' in error && typeof error.code === 'string' ? error.code : error.name
}
