import type { Group, Member } from './simulated-group.ts'
import type { Network } from './simulated-network.ts'
import { meet } from './simulated-scheduler.ts'
import type { Met, Pick } from './simulated-scheduler.ts'
import type { StoreServers } from './simulated-store.ts'
import type { Topic } from './simulated-topic.ts'
import type { Invariants } from './simulation-invariants.ts'
import { causeToRefuse } from './simulation-invariants.ts'
import type { Truth } from './simulation-oracle.ts'
import type { Setting, createProducer } from './simulation-traffic.ts'

/** All that faults happen to. */
export interface World {
  readonly pick: Pick
  readonly met: Met
  readonly setting: Setting
  readonly network: Network
  readonly topic: Topic
  readonly declared: { readonly incarnation: string; readonly offsets: readonly number[] }
  readonly truth: Truth
  readonly invariants: Invariants
  readonly servers: StoreServers
  readonly group: Group
  readonly members: Member[]
  readonly producer: ReturnType<typeof createProducer>
  spawn(): Member
}

const HOUR_MS = 3_600_000

/** One kind of fault: how often it comes within ten thousand steps, where the seed has it at all, and what it does. */
interface Fault {
  readonly per10k: number
  run(): void
}

/**
 * The faults of one seed. Each seed has some kinds of them and not others, so that rare company is met as well.
 */
export function createChaos(world: World) {
  const { pick, met, setting, network, topic, truth, servers, group, members, producer, declared } = world
  const slots = 2 + pick(2)
  const mostSteps = 300 + pick(900)
  const mostRecords = setting.records + pick(40)
  const mostRecreations = pick(6) === 0 ? 1 : 0
  const mayLoseTail = pick(6) === 0
  let steps = 0
  let produced = 0
  let recreations = 0

  const alive = (): readonly Member[] => members.filter(each => each.alive)
  const anyOf = <T>(list: readonly T[]): T | undefined => list[list.length === 0 ? 0 : pick(list.length)]
  const partitionCount = (): number => topic.current().partitions.length

  function produce(): void {
    for (let left = 1 + pick(4); left > 0 && produced < mostRecords; left--) {
      const sent = producer.next()
      const partition = sent.partition(partitionCount())
      const gap = pick(12) === 0 ? 1 + pick(3) : 0
      if (gap > 0) meet(met, 'gap in the offsets')
      const record = topic.append(partition, sent.key, sent.value, producer.nowMs(), gap)
      truth.appended(topic.current().incarnation, record)
      produced++
    }
  }

  /** Each partition without a living owner gets one; where they are shared, each member gets all. */
  function assign(): void {
    for (let partition = 0; partition < partitionCount(); partition++) {
      const owner = group.owners.get(partition)
      const member = anyOf(alive())
      if (group.shared) for (const each of alive()) group.give(partition, each)
      else if (member !== undefined && !(owner?.alive === true && owner.view.has(partition)))
        group.give(partition, member)
    }
  }

  function failOver(node: number | null, depth: number): void {
    servers.replace(node)
    const gone = servers.rollBack(servers.sequence() - depth, node)
    meet(met, gone > 0 ? (node === null ? 'store rolled back' : 'shards rolled back') : 'server replaced, nothing lost')
  }

  /** Depths in scripts: some cut a flush in two, some lose several. */
  const depth = (): number => [0, pick(8), pick(300), pick(1_500)][pick(4)] ?? 0

  /** Removes records, those that are surely counted or (rarely) any. */
  function retain(): void {
    const partition = pick(partitionCount())
    const log = topic.current().partitions[partition]
    if (log === undefined) return
    const { incarnation } = topic.current()
    const lowest = Math.min(
      ...setting.units.map(unit => {
        const lane = { unit: unit.id, incarnation, partition }
        return Math.min(...Array.from({ length: 256 }, (_, shard) => servers.canaryOf(lane, shard)?.offset ?? -1))
      }),
    )
    const reckless = pick(20) === 0
    const gone = log.records.filter(({ offset }) => offset >= log.startOffset && (reckless || offset <= lowest))
    const upTo = gone[pick(gone.length + 1)]?.offset
    if (upTo === undefined) return
    topic.cutHead(partition, upTo)
    meet(met, upTo > lowest ? 'records removed before they were counted' : 'records removed by retention')
  }

  const faults: readonly Fault[] = [
    { per10k: 30, run: () => failOver(servers.nodes === 1 ? null : pick(servers.nodes), depth()) },
    { per10k: 12, run: () => failOver(null, depth()) },
    {
      per10k: 6,
      run: () => {
        servers.replace(null)
        servers.empty()
        meet(met, 'store emptied')
      },
    },
    {
      per10k: 40,
      run: () => {
        const member = anyOf(alive())
        if (member !== undefined) group.kill(member)
      },
    },
    {
      per10k: 40,
      run: () => {
        const member = anyOf(alive().filter(each => !each.frozen))
        if (member === undefined) return
        member.frozen = true
        meet(met, 'process frozen')
      },
    },
    {
      per10k: 80,
      run: () => {
        const member = anyOf(alive().filter(each => !each.frozen))
        if (member !== undefined) group.give(pick(partitionCount()), member)
      },
    },
    {
      per10k: 60,
      run: () => {
        const member = anyOf(alive())
        if (member === undefined) return
        const back = pick(2) === 0
        member.clock.wallMs += (back ? -1 : 1) * (1 + pick(48)) * HOUR_MS
        meet(met, back ? 'clock stepped back' : 'clock stepped forward')
      },
    },
    { per10k: 50, run: retain },
    {
      per10k: 8,
      run: () => {
        if (recreations >= mostRecreations) return
        recreations++
        topic.recreate(partitionCount())
        meet(met, 'topic recreated')
      },
    },
    {
      per10k: 15,
      run: () => {
        if (partitionCount() >= 4) return
        topic.grow()
        meet(met, 'partition added')
      },
    },
  ].map(fault => ({ ...fault, per10k: pick(3) === 0 ? 0 : fault.per10k * (1 + pick(3)) }))

  function thaw(): void {
    for (const member of members) {
      if (!member.frozen || pick(60) > 0) continue
      member.frozen = false
      meet(met, 'process thawed')
    }
    // Who is frozen for long loses its partitions, and does not know.
    for (const [partition, owner] of group.owners) {
      const other = owner.frozen && pick(40) === 0 ? anyOf(alive().filter(each => !each.frozen)) : undefined
      if (other !== undefined) group.give(partition, other)
    }
  }

  return {
    /** Whether all that is on the way arrives, and everyone ends, before the last reader starts. */
    drains: pick(2) === 0 || mayLoseTail,
    begin: (): void => {
      const percent = (most: number): number => (pick(2) === 0 ? 0 : pick(most))
      Object.assign(network.faults, {
        refusePercent: percent(8),
        losePercent: percent(8),
        timeoutPercent: percent(6),
        delayPercent: percent(15),
        twicePercent: percent(6),
      })
      group.mischief.percent = 1 + pick(20)
      produce()
      for (let slot = 0; slot < slots; slot++) world.spawn()
      assign()
    },
    step: (): void => {
      steps++
      if (pick(8) === 0) produce()
      for (const fault of faults) if (fault.per10k > 0 && pick(10_000) < fault.per10k) fault.run()
      thaw()
      if (alive().length < slots && pick(20) === 0) world.spawn()
      if (pick(6) === 0) assign()
    },
    over: (): boolean => steps >= mostSteps,
    /** Faults stop; some processes are gone, the others end in good order, now or when they are thawed. */
    end: (): void => {
      Object.assign(network.faults, {
        refusePercent: 0,
        losePercent: 0,
        timeoutPercent: 0,
        delayPercent: 0,
        twicePercent: 0,
      })
      group.mischief.percent = 0
      for (const member of alive()) {
        if (pick(3) === 0) group.kill(member)
        member.frozen = false
        group.stop(member)
      }
    },
    /** When nobody runs any more: the log may lose its tail, and others may write there. */
    lastWords: (): void => {
      if (!mayLoseTail) return
      const partition = pick(partitionCount())
      const log = topic.current().partitions[partition]
      const { incarnation } = topic.current()
      const there = log?.records.filter(({ offset }) => offset >= log.startOffset) ?? []
      const from = there[pick(there.length + 1)]?.offset
      if (from === undefined) return
      topic.cutTail(partition, from)
      meet(met, 'tail of the log lost')
      const again: number[] = []
      for (let left = pick(8); left > 0; left--) again.push(left)
      if (causeToRefuse(setting.units, servers, topic, declared, partition) === null)
        truth.cut(incarnation, partition, from)
      for (const _ of again) {
        const sent = producer.next()
        const record = topic.append(partition, sent.key, sent.value, producer.nowMs() + HOUR_MS, 0)
        if (causeToRefuse(setting.units, servers, topic, declared, partition) === null)
          truth.appended(incarnation, record)
      }
    },
  }
}
