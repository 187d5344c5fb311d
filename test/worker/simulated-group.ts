import type { ConsumerControl, ConsumerHandlers } from '../../topology/ports/event-log.ts'
import { RebuildNeeded } from '../../topology/runtime/partition-task.ts'
import type { PartitionTask } from '../../topology/runtime/partition-task.ts'
import type { Network } from './simulated-network.ts'
import { createCursor } from './simulated-ports.ts'
import { Lost, meet } from './simulated-scheduler.ts'
import type { Met, Pick, Process, Scheduler } from './simulated-scheduler.ts'
import type { Topic } from './simulated-topic.ts'

/** A worker process and what it believes of the group. */
export interface Member extends Process {
  readonly handlers: ConsumerHandlers
  /** Partitions that it takes for its own, each with the grant that gave it. */
  readonly view: Map<number, number>
  /** Partitions that it has a loop for, which ends with a call of `revoked`. */
  readonly loops: Set<number>
  /** By partition: what its worker holds. */
  readonly tasks: Map<number, PartitionTask>
  /** By assigned partition: the life of the topic that it was assigned in. */
  readonly lives: Map<number, string>
  /** What its clocks show; only the first one can be set. */
  readonly clock: { wallMs: number; monotonicMs: number }
}

/** What the group tells of. */
export interface GroupEvents {
  /** The offset is about to be committed, for the life of the topic that the member was assigned in. */
  committed(incarnation: string, partition: number, offset: number): void
  /** A call of a handler has returned without an error. */
  handled(member: Member, partition: number): void
  /** A worker refused a partition; true where the member shall give up. */
  refused(partition: number, error: RebuildNeeded): boolean
  /** A worker accepted a partition. */
  accepted(partition: number): void
}

/** What the group runs on. */
export interface GroupOptions {
  readonly scheduler: Scheduler
  readonly pick: Pick
  readonly met: Met
  readonly network: Network
  readonly topic: Topic
  readonly events: GroupEvents
  readonly maxBatchRecords: number
  /** Each member gets each partition, as from a log that does not balance. */
  readonly shared: boolean
  /** Whether a batch may come from further on than the one before ends; no log that resumes at its commits does that. */
  readonly leapsAhead: boolean
}

/** Whether batches come again, from before or from further on than they should. */
export interface Mischief {
  percent: number
}

/** A consumer group: partitions move from member to member, and who has lost one may learn of it late. */
export type Group = ReturnType<typeof createGroup>

export function createGroup(options: GroupOptions) {
  const { scheduler, pick, met, network, topic, events, maxBatchRecords, shared, leapsAhead } = options
  const owners = new Map<number, Member>()
  const failures: unknown[] = []
  /** By life and partition: what the group has committed last. */
  const committed = new Map<string, number>()
  const mischief: Mischief = { percent: 0 }
  const chance = (): boolean => mischief.percent > 0 && pick(100) < mischief.percent
  let grants = 0
  let running = 0

  /** Batches of one partition, one after the other, until the member learns that it is no longer its own. */
  async function own(member: Member, partition: number): Promise<void> {
    const { handlers, view } = member
    const cursor = createCursor()
    const { lives } = member
    const control: ConsumerControl = {
      ...cursor.control,
      commit: (_topic, which, offset) => {
        const of = member.lives.get(which)
        return network.call(member, 'commit', () => {
          if (of === undefined) throw new Lost('commit: the partition is not assigned')
          if (!shared && owners.get(which) !== member) throw new Lost('commit: another member of the group has it')
          if (of !== topic.current().incarnation) throw new Lost('commit: the topic is another one')
          events.committed(of, which, offset)
          committed.set(`${of}/${which}`, offset)
          meet(met, 'commit')
        })
      },
    }
    const end = async (): Promise<void> => {
      if (!lives.has(partition)) return
      try {
        await handlers.revoked(topic.name, partition)
      } finally {
        lives.delete(partition)
      }
    }
    /** True when the partition is done with. */
    async function step(): Promise<boolean> {
      const life = lives.get(partition)
      if (life === undefined) {
        const bounds = topic.bounds(partition)
        const start =
          (await handlers.assigned(topic.name, partition, bounds)) ??
          committed.get(`${bounds.incarnation}/${partition}`) ??
          bounds.startOffset
        events.accepted(partition)
        cursor.next = start
        lives.set(partition, bounds.incarnation)
        return false
      }
      const gone = topic.current().incarnation !== life || cursor.next > topic.bounds(partition).endOffset
      if (gone && (mischief.percent === 0 || pick(3) === 0)) {
        await end()
        return false
      }
      const batch = topic.batchAt(partition, cursor.next, 1 + pick(maxBatchRecords))
      if (batch.records.length > 0) await handlers.batch(batch, control)
      else await handlers.idle(topic.name, partition, batch.endOffset, control)
      events.handled(member, partition)
      if (chance()) meet(met, 'batch delivered again')
      else cursor.advance(batch.nextOffset)
      if (chance() && pick(3) === 0) {
        meet(met, 'batch from before')
        cursor.next = Math.max(0, cursor.next - pick(6))
      }
      if (leapsAhead && chance() && pick(3) === 0) {
        meet(met, 'batch from further on')
        cursor.next = Math.min(batch.endOffset, cursor.next + pick(6))
      }
      const { endOffset, incarnation } = topic.bounds(partition)
      return batch.records.length === 0 && incarnation === life && cursor.next >= endOffset && mischief.percent === 0
    }
    for (let done = false; !done;) {
      await scheduler.turn(member)
      if (!view.has(partition)) break
      try {
        done = await step()
      } catch (error) {
        if (error instanceof RebuildNeeded) {
          meet(met, 'partition refused')
          if (events.refused(partition, error)) return
        } else if (!isExpected(error)) throw error
      }
    }
    try {
      await end()
    } catch (error) {
      if (!isExpected(error)) throw error
    }
  }

  function start(member: Member, partition: number): void {
    if (member.loops.has(partition)) return
    member.loops.add(partition)
    running++
    own(member, partition)
      .catch((error: unknown) => void failures.push(error))
      .finally(() => {
        member.loops.delete(partition)
        member.view.delete(partition)
        running--
      })
  }

  /** A member that does not know yet that a partition is no longer its own goes on with it meanwhile. */
  async function tell(member: Member, partition: number, grant: number, patience: number): Promise<void> {
    for (let turns = pick(patience); turns > 0; turns--) await scheduler.turn()
    if (member.view.get(partition) === grant) member.view.delete(partition)
  }

  return {
    shared,
    mischief,
    failures,
    owners,
    committed: (incarnation: string, partition: number): number | null =>
      committed.get(`${incarnation}/${partition}`) ?? null,
    /** Loops of members that have not ended; those of dead members never do. */
    running: (): number => running,
    give: (partition: number, member: Member): void => {
      const before = owners.get(partition)
      if ((shared || before === member) && member.view.has(partition)) return
      owners.set(partition, member)
      if (shared) meet(met, 'one of several owners at once')
      else if (before !== undefined && before !== member && before.alive) {
        meet(met, 'rebalance')
        if ([...before.calls.values()].some(count => count > 0)) meet(met, 'rebalance in mid-batch')
        void tell(before, partition, before.view.get(partition) ?? -1, 30)
      }
      member.view.set(partition, ++grants)
      start(member, partition)
    },
    /** The member ends in good order: what it has is written. */
    stop: (member: Member): void => member.view.clear(),
    /** The member is no more, whatever it was doing. */
    kill: (member: Member): void => {
      member.alive = false
      running -= member.loops.size
      meet(met, 'crash')
      for (const [what, count] of member.calls) if (count > 0) meet(met, `crash during ${what}`)
    },
  }
}

/** What a consumer reports and tries again after. */
function isExpected(error: unknown): boolean {
  return (
    error instanceof Lost ||
    (error instanceof Error && /was not assigned in this life|was made again meanwhile/.test(error.message))
  )
}
