import type { Clock } from '../../../ports/clock.ts'
import { PortError } from '../../../ports/errors.ts'
import type { TopicPartition } from './assign.ts'
import { CODE, KafkaFault, faultCode, isRetriable, portError } from './faults.ts'
import { kafkajsCall } from './internals.ts'
import type { Broker, ProtocolCall } from './internals.ts'

const FIRST_RETRY_MS = 50
const MAX_RETRY_MS = 1_000

/** A commit of one partition in one life of its topic. */
export interface Commit extends TopicPartition {
  readonly offset: number
  readonly topicId: string
}

/** What the commits of a member need of its membership. */
export interface CommitScope {
  readonly group: string
  readonly clock: Clock
  /** How long a commit is tried. */
  readonly limitMs: number
  /** As what the group knows this member now; null while it is not in the group. */
  standing(): { readonly memberId: string; readonly generation: number } | null
  /** Asks the coordinator. */
  send<T>(call: (broker: Broker) => ProtocolCall<T>): Promise<T>
  /** The coordinator is another one, or not to be reached. */
  coordinatorMoved(): void
}

/** The commits of a member: one request at a time; what comes in meanwhile shares the next. */
export interface CommitQueue {
  /** Resolves when the coordinator has it; `held` is asked again before each try. */
  commit(commit: Commit, held: () => boolean): Promise<void>
  /** Goes on after the member joined. */
  resume(): void
  /** Fails those that waited too long, and those of partitions that are not held any more. */
  expire(): void
  /** Fails all. */
  end(): void
}

interface Pending {
  readonly commit: Commit
  readonly held: () => boolean
  readonly untilMs: number
  resolve(): void
  reject(error: unknown): void
}

interface State {
  readonly scope: CommitScope
  /** By partition, in order; the newest is what is sent. */
  readonly pending: Map<string, readonly Pending[]>
  sending: boolean
}

interface Answer {
  readonly responses: readonly {
    readonly topic: string
    readonly partitions: readonly { readonly partition: number; readonly errorCode: number }[]
  }[]
}

/** Makes the commits of a member. */
export function commitQueue(scope: CommitScope): CommitQueue {
  const state: State = { scope, pending: new Map(), sending: false }
  return {
    commit: (commit, held) =>
      new Promise((resolve, reject) => {
        if (!held()) {
          reject(notHeld(commit))
          return
        }
        const untilMs = scope.clock.monotonicMs() + scope.limitMs
        add(state, [{ commit, held, untilMs, resolve, reject }])
        void flush(state)
      }),
    resume: () => void flush(state),
    expire: () => expire(state),
    end: () => {
      for (const list of state.pending.values()) for (const one of list) one.reject(notHeld(one.commit))
      state.pending.clear()
    },
  }
}

/** Adds commits of one partition that are older than those that wait, or newer. */
function add(state: State, list: readonly Pending[], older = false): void {
  const [first] = list
  if (first === undefined) return
  const key = keyOf(first.commit)
  const waiting = state.pending.get(key) ?? []
  state.pending.set(key, older ? [...list, ...waiting] : [...waiting, ...list])
}

function expire({ scope, pending }: State): void {
  const nowMs = scope.clock.monotonicMs()
  for (const [key, list] of pending) {
    const rest = list.filter(one => one.held() && nowMs < one.untilMs)
    for (const one of list) {
      if (!one.held()) one.reject(notHeld(one.commit))
      else if (nowMs >= one.untilMs) one.reject(unanswered(scope.group))
    }
    if (rest.length === 0) pending.delete(key)
    else pending.set(key, rest)
  }
}

async function flush(state: State): Promise<void> {
  if (state.sending) return
  state.sending = true
  for (let waitMs = FIRST_RETRY_MS; state.pending.size > 0 && state.scope.standing() !== null;) {
    const batch = [...state.pending.values()]
    state.pending.clear()
    const again = await send(state.scope, batch)
    for (const list of again) add(state, list, true)
    if (again.length > 0) {
      const ms = waitMs
      await new Promise(resolve => setTimeout(resolve, ms))
      waitMs = Math.min(waitMs * 2, MAX_RETRY_MS)
    }
  }
  state.sending = false
}

/** Sends the newest commit of each partition and settles all of it; what is to be tried again is returned. */
async function send(
  scope: CommitScope,
  batch: readonly (readonly Pending[])[],
): Promise<readonly (readonly Pending[])[]> {
  const live = batch.filter(list => list.at(-1)?.held() === true)
  for (const list of batch) if (!live.includes(list)) for (const one of list) one.reject(notHeld(one.commit))
  const standing = scope.standing()
  if (live.length === 0 || standing === null) return live
  let failure: unknown = null
  let codes: ReadonlyMap<string, number> = new Map()
  try {
    codes = await ask(
      scope,
      standing,
      live.flatMap(list => list.at(-1)?.commit ?? []),
    )
  } catch (error) {
    failure = error
    if (faultCode(error) === null) scope.coordinatorMoved()
  }
  return live.filter(list => !settled(scope, list, codes, failure))
}

async function ask(
  { group, send }: CommitScope,
  { memberId, generation }: { readonly memberId: string; readonly generation: number },
  commits: readonly Commit[],
): Promise<ReadonlyMap<string, number>> {
  const byTopic = Map.groupBy(commits, commit => commit.topic)
  const topics = [...byTopic].map(([topic, some]) => ({
    topic,
    partitions: some.map(({ partition, offset, topicId }) => ({
      partition,
      offset: String(offset),
      metadata: topicId,
    })),
  }))
  const args = { groupId: group, groupGenerationId: generation, memberId, topics }
  // Each partition's own error is wanted; kafkajs throws the first for all.
  const answer = await send<Answer>(broker => {
    const call = kafkajsCall<Answer>(broker, 'OffsetCommit', args)
    return { ...call, response: { decode: call.response.decode, parse: async (decoded: Answer) => decoded } }
  })
  const codes = new Map<string, number>()
  for (const { topic, partitions } of answer.responses) {
    for (const { partition, errorCode } of partitions) codes.set(keyOf({ topic, partition }), errorCode)
  }
  return codes
}

/** False where the commits of a partition are to be tried again. */
function settled(
  scope: CommitScope,
  list: readonly Pending[],
  codes: ReadonlyMap<string, number>,
  failure: unknown,
): boolean {
  const newest = list.at(-1)
  if (newest === undefined) return true
  const { commit, untilMs } = newest
  const code = codes.get(keyOf(commit)) ?? CODE.networkException
  if (failure === null && code === CODE.none) {
    for (const one of list) one.resolve()
    return true
  }
  if (code === CODE.notCoordinator || code === CODE.coordinatorNotAvailable) scope.coordinatorMoved()
  const fault = failure ?? new KafkaFault(code, `Offset ${commit.offset} of topic ${commit.topic}`)
  const changing = code === CODE.rebalanceInProgress || code === CODE.illegalGeneration || code === CODE.unknownMember
  const gone = code === CODE.unknownTopicOrPartition
  if ((changing || isRetriable(fault)) && !gone && scope.clock.monotonicMs() < untilMs) return false
  for (const one of list) one.reject(portError(fault, `Group ${scope.group} cannot commit`))
  return true
}

function keyOf({ topic, partition }: TopicPartition): string {
  return `${topic}/${partition}`
}

function unanswered(group: string): PortError {
  const message = `Group ${group} cannot commit: its coordinator does not answer. Check that the brokers run.`
  return new PortError('LOG_UNAVAILABLE', message)
}

/** The error for a commit of a partition that this member does not hold. */
export function notHeld({ topic, partition }: TopicPartition): PortError {
  return new PortError(
    'UNKNOWN_TOPIC',
    `Partition ${partition} of topic ${topic} is not assigned to this consumer: commit only what it was given.`,
  )
}
