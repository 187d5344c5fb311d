import type { Project } from '../features/plan/compile.ts'
import type { Config } from '../topology/runtime/config.ts'
import { openContext } from '../topology/runtime/context.ts'
import type { Running, RuntimeContext } from '../topology/runtime/context.ts'
import { systemClock } from './clock.ts'
import { createUnwind } from '../topology/runtime/unwind.ts'
import type { LocalTelemetry } from './telemetry.ts'

/** What a process is started with. */
export interface ProcessSetup {
  readonly config: Config
  readonly project: Project
  readonly telemetry: LocalTelemetry
}

/** A started process, with a line for people about where it is. */
export interface RunningProcess extends Running {
  readonly about: string
  /** Resolves with what makes it wrong to go on; absent where nothing can. */
  readonly failed?: Promise<Error>
}

/** Opens the context, starts one thing on it, and closes both in the right order. */
export async function startOn(
  setup: ProcessSetup,
  start: (context: RuntimeContext) => Promise<RunningProcess>,
): Promise<RunningProcess> {
  const { add, run: stop } = createUnwind()
  const context = await openContext(setup.config, setup.project, systemClock, setup.telemetry)
  add(() => context.close())
  try {
    const running = await start(context)
    add(() => running.stop())
    return { about: running.about, failed: context.failed, stop }
  } catch (error) {
    await stop().catch(() => undefined)
    throw error
  }
}

/** How long a process that is told to stop waits for a store to take what is in memory; it is read again otherwise. */
const MAX_STORE_WAIT_MS = 15_000

/**
 * Stops what writes to a store, then closes the store. One that does not answer is closed after a while under what still
 * waits for it, whose calls then fail.
 */
export async function stopAndClose(
  writer: Running,
  store: { close(): Promise<void> },
  maxWaitMs = MAX_STORE_WAIT_MS,
): Promise<void> {
  const stopped = writer.stop()
  let timer: NodeJS.Timeout | undefined
  const late = new Promise<void>(resolve => (timer = setTimeout(resolve, maxWaitMs)))
  try {
    await Promise.race([stopped, late])
  } finally {
    clearTimeout(timer)
    await store.close()
  }
  await stopped
}
