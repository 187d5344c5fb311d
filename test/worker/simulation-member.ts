import { vi } from 'vitest'
import { eventDecoder } from '../../features/plan/event.ts'
import type { ConsumerHandlers } from '../../topology/ports/event-log.ts'
import type { Progress } from '../../topology/ports/online-store.ts'
import type { Telemetry } from '../../topology/ports/telemetry.ts'
import { createFeatureWorker } from '../../topology/runtime/feature-worker.ts'
import type * as PartitionTasks from '../../topology/runtime/partition-task.ts'
import type { PartitionTask } from '../../topology/runtime/partition-task.ts'
import type { LaneBugs } from './simulated-bugs.ts'
import type { World } from './simulated-chaos.ts'
import type { Member } from './simulated-group.ts'
import { createStoreClient } from './simulated-network.ts'
import { blindToPositions } from './simulated-ports.ts'
import { meet } from './simulated-scheduler.ts'
import type { PlantedBugs } from './simulated-store.ts'
import type { MemoryLimits } from './simulation-invariants.ts'
import { BASE_MS, NAMESPACE, paymentSource } from './simulation-traffic.ts'

/** By telemetry of its worker: told of each task that the worker opens. */
const openedTasks = new WeakMap<Telemetry, (task: PartitionTask) => void>()

vi.mock('../../topology/runtime/partition-task.ts', async original => {
  const real = await original<typeof PartitionTasks>()
  const openTask: typeof real.openTask = async (scope, partition, bounds) => {
    const task = await real.openTask(scope, partition, bounds)
    openedTasks.get(scope.telemetry)?.(task)
    return task
  }
  return { ...real, openTask }
})

/** What is wrong on purpose, to show that the simulation would notice. */
export interface Bugs extends PlantedBugs, LaneBugs {
  /** Workers do not look at the position that comes with blocks. */
  readonly blind?: boolean
  /** Offsets are committed when their batch is taken, before anything of it is written. */
  readonly commitFirst?: boolean
  /** No fence in the data; a client makes sure at each call that it talks to the server that it began with. */
  readonly identity?: boolean
  /** Whether clients send commands again to the server in the place of one that is gone; unset: in half of the seeds. */
  readonly resends?: boolean
}

const decoder = eventDecoder(paymentSource())

/** Commits what a batch ends with before the worker sees it. */
function committingFirst(handlers: ConsumerHandlers): ConsumerHandlers {
  return {
    ...handlers,
    batch: async (batch, control) => {
      await control.commit(batch.topic, batch.partition, batch.nextOffset)
      await handlers.batch(batch, control)
    },
  }
}

/** Where members live, and what is wrong with them. */
export interface SpawnOptions extends Omit<World, 'producer' | 'spawn' | 'truth' | 'invariants'> {
  readonly progress: Map<string, Progress>
  readonly limits: MemoryLimits
  readonly bugs: Bugs
}

/** Starts worker processes: the production worker over ports of its own, with clocks of its own. */
export function createSpawner({
  pick,
  met,
  setting,
  network,
  topic,
  declared,
  servers,
  group,
  members,
  progress,
  limits,
  bugs,
}: SpawnOptions): () => Member {
  return () => {
    const tasks = new Map<number, PartitionTask>()
    const clock = { wallMs: BASE_MS + pick(100_000), monotonicMs: pick(5_000), paceMs: 200 + pick(1_500) }
    const telemetry: Telemetry = {
      count: (name, by) => void (by > 0 && meet(met, name, by)),
      gauge: () => undefined,
      observeMs: () => undefined,
      log: () => undefined,
    }
    openedTasks.set(telemetry, task => void tasks.set(task.partition, task))
    const process = { name: `worker-${members.length}`, alive: true, frozen: false, calls: new Map<string, number>() }
    const client = createStoreClient(network, servers, pick, process, progress, {
      identity: bugs.identity === true,
      flushed: ({ partition }) => {
        const owner = group.owners.get(partition)
        if (!group.shared && owner !== undefined && owner !== process)
          meet(met, 'flush of a process that lost the partition')
      },
    })
    const passed = (): number => pick(clock.paceMs)
    const worker = createFeatureWorker({
      confirmUnits: () => network.call(process, 'confirm units', () => undefined),
      source: paymentSource(),
      units: setting.units,
      start: declared,
      liveFrom: declared.offsets,
      feed: 'feed',
      reportsLateFor: new Set(setting.units.map(unit => unit.entity)),
      namespace: NAMESPACE,
      reader: {
        prepare: () => (pick(12) === 0 ? network.call(process, 'prepare schemas', () => undefined) : null),
        read: (value, arrivalMs) => decoder.decodeJson(value, arrivalMs),
      },
      log: topic.port(network, process),
      store: bugs.blind === true ? blindToPositions(client) : client,
      clock: {
        nowMs: () => {
          const ms = passed()
          clock.monotonicMs += ms
          return (clock.wallMs += ms)
        },
        monotonicMs: () => (clock.monotonicMs += passed()),
      },
      telemetry,
      limits: { ...limits, commitIntervalMs: 2_000, maxRecordBytes: 1 << 20 },
    })
    const handlers = bugs.commitFirst === true ? committingFirst(worker) : worker
    const rest = { handlers, view: new Map(), loops: new Set<number>(), lives: new Map(), tasks, clock }
    // One object: what stops the member stops what it waits for.
    const member: Member = Object.assign(process, rest)
    members.push(member)
    return member
  }
}
