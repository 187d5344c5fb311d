import type { Project } from '../features/plan/compile.ts'
import type { Config } from '../topology/runtime/config.ts'
import { openContext } from '../topology/runtime/context.ts'
import type { Running, RuntimeContext } from '../topology/runtime/context.ts'
import { systemClock } from './clock.ts'
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
  const context = await openContext(setup.config, setup.project, systemClock, setup.telemetry)
  let running: RunningProcess
  try {
    running = await start(context)
  } catch (error) {
    await context.close()
    throw error
  }
  return {
    about: running.about,
    failed: context.failed,
    stop: async () => {
      await running.stop()
      await context.close()
    },
  }
}
