import { SCENARIOS } from './scenarios.ts'
import { verifyFormerLife } from './former-life.ts'
import { endOffsets, startProduction, untilStored } from './traffic.ts'
import { verifyOffline, verifyOnline } from './verify.ts'
import type { OfflineVerification, OnlineVerification } from './verify.ts'
import type { SystemProcess } from './processes.ts'
import { startWorld } from './world.ts'
import type { Scale, World } from './world.ts'

/** How a run went. */
export interface FaultResult {
  readonly scenario: string
  readonly events: number
  readonly seed: number
  /** From the moment everything is there again until all that the log then held is stored, online and offline. */
  readonly recoveryMs: number
  readonly online: OnlineVerification
  readonly offline: OfflineVerification
  /** All that is not as recomputed from the log; empty when nothing was lost, doubled or wrong. */
  readonly wrong: readonly string[]
}

/** Where and how large a run is. */
export interface FaultRun {
  readonly folder: string
  /** Where Kafka's jars are kept. */
  readonly cache: string
  readonly scale: Scale
  readonly seed: number
}

const MAX_CATCH_UP_MS = 30 * 60_000
const WATCH_MS = 100

/** Runs one scenario on real servers and compares all that is stored with a recomputation from the log. */
export async function runFault(name: string, { folder, cache, scale, seed }: FaultRun): Promise<FaultResult> {
  const scenario = SCENARIOS[name]
  if (scenario === undefined) throw new Error(`no scenario ${name}; known: ${Object.keys(SCENARIOS).join(', ')}`)
  const world = await startWorld(folder, cache, scale, scenario)
  try {
    const production = startProduction(world, seed, scenario.place?.(seed, scale.partitions))
    const processes = watchProcesses(world)
    try {
      const happening = Promise.all([scenario.happen(world, production, seed), production.done])
      await Promise.race([happening, processes.failed])
    } finally {
      processes.stop()
    }
    const healed = performance.now()
    await untilStored(world, await endOffsets(world), MAX_CATCH_UP_MS)
    const recoveryMs = Math.round(performance.now() - healed)
    return { scenario: name, events: scale.events, seed, recoveryMs, ...(await verify(world)) }
  } finally {
    await world.close()
  }
}

/** Rejects when a process ends by itself, with no signal: with what it printed. */
function watchProcesses(world: World): { readonly failed: Promise<never>; stop(): void } {
  const failure = Promise.withResolvers<never>()
  const watched = new Set<number>()
  const watch = async ({ name, exited, output }: SystemProcess): Promise<void> => {
    const code = await exited
    if (code !== null && code !== 0) failure.reject(new Error(`${name} ended with ${code}:\n${output()}`))
  }
  const timer = setInterval(() => {
    for (const each of world.processes) {
      if (!watched.has(each.pid)) void watch(each)
      watched.add(each.pid)
    }
  }, WATCH_MS)
  return { failed: failure.promise, stop: () => clearInterval(timer) }
}

async function verify(world: World): Promise<Pick<FaultResult, 'online' | 'offline' | 'wrong'>> {
  const { context, topic } = world
  const { log, store, bound, config } = context
  const [source] = context.project.plan.sources
  if (source === undefined) throw new Error('the plan has no source')
  const online = await verifyOnline({ log, store, bound, namespace: config.namespace, topic })
  const offline = await verifyOffline({ offline: world.offline, log, source })
  const wrong = [...online.differences, ...offline.differences]
  for (const life of world.formerLives) {
    const former = await verifyFormerLife(context, world.offline, topic, life)
    wrong.push(...former.differences)
  }
  const { events, deadLetters } = offline
  const counted =
    online.wrong + online.missing + online.extra + events.missing + events.double + events.extra + events.wrong
  const rest = deadLetters.missing + deadLetters.double + deadLetters.extra + deadLetters.wrong + offline.wrongViews
  if (counted + rest > 0 && wrong.length === 0) wrong.push(`${counted + rest} differences`)
  return { online, offline, wrong }
}
