import type { Progress } from '../../topology/ports/online-store.ts'
import { plantLaneBugs } from './simulated-bugs.ts'
import { createChaos } from './simulated-chaos.ts'
import type { World } from './simulated-chaos.ts'
import { createGroup } from './simulated-group.ts'
import type { Member } from './simulated-group.ts'
import { createNetwork } from './simulated-network.ts'
import { random } from './simulated-ports.ts'
import { Stuck, createScheduler, meet } from './simulated-scheduler.ts'
import type { Met } from './simulated-scheduler.ts'
import { createStoreServers } from './simulated-store.ts'
import { createTopic } from './simulated-topic.ts'
import { causeToRefuse, createInvariants } from './simulation-invariants.ts'
import { createTruth, readDifferences, unitReads } from './simulation-oracle.ts'
import type { UnitReads } from './simulation-oracle.ts'
import { createSpawner } from './simulation-member.ts'
import type { Bugs } from './simulation-member.ts'
import { NAMESPACE, TOPIC, createProducer, settingOf } from './simulation-traffic.ts'

/** What one seed came to. */
export interface Outcome {
  readonly wrong: readonly string[]
  readonly stored: number
  readonly steps: number
}

const MAX_BATCH_RECORDS = 8
const MAX_FINISH_STEPS = 60_000
const READ_EVERY_STEPS = 200

function createWorld(seed: number, bugs: Bugs, met: Met) {
  const pick = random(seed)
  const setting = settingOf(seed)
  const scheduler = createScheduler(pick)
  const resends = bugs.resends ?? pick(2) === 0
  const network = createNetwork(scheduler, pick, met, () => resends)
  const offsets = Array.from({ length: 1 + pick(3) }, () => (pick(3) === 0 ? pick(6) : 0))
  const topic = createTopic(TOPIC, offsets)
  const declared = { incarnation: topic.current().incarnation, offsets }
  const truth = createTruth(NAMESPACE, setting.units, (incarnation, partition) =>
    incarnation === declared.incarnation ? (declared.offsets[partition] ?? 0) : 0,
  )
  const invariants = createInvariants(truth, topic, setting.units, () => servers)
  const nodes = pick(3) === 0 ? 3 : 1
  const servers = createStoreServers(
    pick,
    bugs.identity === true ? { ...bugs, noFence: true } : bugs,
    nodes,
    invariants,
  )
  const limits = {
    maxDirtySections: 1 + pick(6),
    maxCachedBytes: 1_000 * (1 + pick(12)),
    maxBatchRecords: MAX_BATCH_RECORDS,
  }
  return { seed, pick, setting, scheduler, network, topic, declared, truth, invariants, servers, limits, met }
}

/**
 * Worker processes of one consumer group over a topic and a store that fail in every way the seed picks, one effect at a
 * time. What must hold is checked after every effect. Then faults stop; a new process reads each partition to its end,
 * and each entity must stand where the log does.
 */
export async function simulate(seed: number, bugs: Bugs = {}, met: Met = new Map()): Promise<Outcome> {
  plantLaneBugs(bugs)
  const base = createWorld(seed, bugs, met)
  const { pick, setting, scheduler, network, topic, declared, truth, invariants, servers, limits } = base
  const progress = new Map<string, Progress>()
  const members: Member[] = []
  const refused = new Map<number, string>()
  const warned = new Set<number>()
  let finishing = false
  let steps = 0

  const quiet = (): boolean =>
    network.inFlight() === 0 && members.every(each => each === members.at(-1) || !each.alive || each.loops.size === 0)
  const causeOf = (partition: number) => causeToRefuse(setting.units, servers, topic, declared, partition)
  const group = createGroup({
    scheduler,
    pick,
    met,
    network,
    topic,
    maxBatchRecords: MAX_BATCH_RECORDS,
    shared: pick(3) === 0,
    leapsAhead: true,
    events: {
      committed: invariants.committed,
      handled: (member, partition) => {
        const task = member.tasks.get(partition)
        if (task !== undefined && !task.broken) invariants.held(task, limits, false)
      },
      refused: (partition, error) => {
        // What it read may have been on the way then: only a second look in quiet counts.
        if (!finishing || !quiet() || !warned.has(partition)) {
          if (finishing && quiet()) warned.add(partition)
          return false
        }
        const cause = causeOf(partition)
        if (cause === null) invariants.wrong.push(`partition ${partition} is refused without a cause: ${error.message}`)
        refused.set(partition, error.message)
        return true
      },
      accepted: partition => {
        const cause = finishing && quiet() ? causeOf(partition) : null
        if (cause !== null) invariants.wrong.push(`partition ${partition} is gone on with, although ${cause}`)
      },
    },
  })

  const spawn = createSpawner({ ...base, group, members, progress, bugs })
  const world: World = { ...base, group, members, spawn, producer: createProducer(pick, setting, met) }
  const chaos = createChaos(world)
  function step(): void {
    steps++
    for (const member of members) {
      if (!member.alive) continue
      for (const task of member.tasks.values()) if (!task.broken) invariants.held(task, limits, true)
    }
    if (group.failures.length > 0) throw group.failures[0]
    if (pick(READ_EVERY_STEPS) === 0) readOne()
  }

  const asked = setting.units.map(unitReads)
  /** In what the answers for an entity differ from those that the records up to its sections' positions make. */
  function wrongReads(reads: UnitReads, key: string): readonly string[] {
    const sections = truth.ofKey(key).flatMap(expected => {
      const section = servers.sections().get(expected.name)
      return section === undefined ? [] : [{ expected, section }]
    })
    return sections.length === 0 ? [] : readDifferences(reads, sections, pick)
  }
  function readOne(): void {
    const stored = [...servers.sections().keys()]
    const key = truth.byName(stored[pick(stored.length + 1)] ?? '')?.key
    const reads = asked.find(({ unit }) => key !== undefined && truth.ofKey(key).some(each => each.unit === unit))
    if (key === undefined || reads === undefined) return
    meet(met, 'entity read amid faults')
    invariants.wrong.push(...wrongReads(reads, key))
  }

  chaos.begin()
  await scheduler.run(
    () => chaos.over() || invariants.wrong.length > 0,
    () => {
      step()
      chaos.step()
    },
  )
  chaos.end()
  const limit = steps + MAX_FINISH_STEPS
  const untilDone = async (done: () => boolean): Promise<void> => {
    await scheduler.run(
      () => invariants.wrong.length > 0 || done(),
      () => {
        step()
        if (steps > limit) throw new Stuck(`seed ${seed}: the worker does not reach the end of the log`)
      },
    )
  }
  if (chaos.drains) await untilDone(() => group.running() === 0 && network.inFlight() === 0)
  chaos.lastWords()
  finishing = true
  const finisher = spawn()
  for (let partition = 0; partition < topic.current().partitions.length; partition++) group.give(partition, finisher)
  await untilDone(() => group.running() === 0 && network.inFlight() === 0)
  if (group.failures.length > 0) throw group.failures[0]
  const wrong = invariants.wrong.length > 0 ? invariants.wrong : atTheEnd()
  meet(met, 'block written', servers.counts.written)
  meet(met, 'block dropped', servers.counts.dropped)
  meet(met, 'partition refused at the end', refused.size)
  meet(met, 'partition read to its end', topic.current().partitions.length - refused.size)
  return { wrong, stored: servers.sections().size, steps }

  /** Every entity stands at the last record of it, and is read as the definition says. */
  function atTheEnd(): readonly string[] {
    const found: string[] = []
    const { incarnation } = topic.current()
    for (const expected of truth.all()) {
      const { lane, name, events } = expected
      if (lane.incarnation !== incarnation || refused.has(lane.partition)) continue
      const section = servers.sections().get(name)
      const last = events.at(-1)?.record.offset ?? -1
      if (last >= 0 && section?.position !== last) found.push(`${name}: at ${section?.position ?? -1}, not at ${last}`)
    }
    for (const reads of asked) {
      const keys = new Set(truth.all().flatMap(each => (each.unit === reads.unit ? [each.key] : [])))
      for (const key of keys) found.push(...wrongReads(reads, key))
    }
    return found
  }
}
