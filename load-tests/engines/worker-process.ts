import { systemClock } from '../../services/clock.ts'
import { createTelemetry } from '../../services/telemetry.ts'
import { parseConfig } from '../../topology/runtime/config.ts'
import { openContext } from '../../topology/runtime/context.ts'
import { startFeatureWorkers } from '../../topology/runtime/feature-processes.ts'
import { loadProject } from '../../topology/runtime/project.ts'
import { reportUsage } from './usage.ts'

// A feature worker as `headwater run feature-worker` starts it, that tells what it took when asked.
const environment = Object.fromEntries(Object.entries(process.env).filter(([name]) => name.startsWith('HEADWATER_')))
const parsed = parseConfig({ file: null, environment, flags: {} })
if (!parsed.ok) throw new Error(JSON.stringify(parsed.problems))
const loaded = await loadProject(parsed.config.features)
if (!loaded.ok) throw new Error(JSON.stringify(loaded.problems))
const context = await openContext(parsed.config, loaded.project, systemClock, createTelemetry('error'))
await reportUsage(async () => {
  const workers = await startFeatureWorkers(context)
  return async () => {
    await workers.stop()
    await context.close()
  }
})
