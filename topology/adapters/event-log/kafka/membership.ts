import type { Clock } from '../../../ports/clock.ts'
import type { PortError } from '../../../ports/errors.ts'
import type { Telemetry } from '../../../ports/telemetry.ts'
import {
  PROTOCOL,
  assignPartitions,
  decodeAssignment,
  decodeSubscription,
  encodeAssignment,
  encodeSubscription,
} from './assign.ts'
import type { TopicPartition } from './assign.ts'
import { commitQueue } from './commits.ts'
import type { CommitQueue } from './commits.ts'
import { CODE, faultCode, isRetriable, portError } from './faults.ts'
import { kafkajsCall } from './internals.ts'
import type { Broker, ProtocolCall } from './internals.ts'
import { findCoordinator } from './nodes.ts'
import type { Nodes } from './nodes.ts'

const MAX_HEARTBEAT_MS = 1_000
const FIRST_RETRY_MS = 50
const MAX_RETRY_MS = 2_000
/** Failures that a retry may mend are told when they have gone on for so long. */
export const QUIET_MS = 5_000
const JOIN_LIMIT_MS = 500
const LEAVE_LIMIT_MS = 5_000

/** Options of `joinGroup`. */
export interface MembershipOptions {
  /** Its own: requests that wait must not hold up others. */
  readonly nodes: Nodes
  readonly clock: Clock
  readonly telemetry: Telemetry | null
  readonly group: string
  readonly topics: readonly string[]
  readonly sessionTimeoutMs: number
  /** How often the number of partitions is looked at. */
  readonly metadataIntervalMs: number
  /** What this member holds, partitions that it is finishing with included. */
  owned(): readonly TopicPartition[]
  /** Told what it may hold from now on; answers when it has finished with what it must give up. */
  assigned(partitions: readonly TopicPartition[]): { readonly givenUp: Promise<void> | null }
  /** Told that the group counts it out: others may hold its partitions already. */
  lost(): void
  readonly onError: (error: PortError) => void
}

/** A member of a group. */
export interface Membership {
  readonly commit: CommitQueue['commit']
  /** Leaves the group, so that others need not wait for the session to time out. */
  leave(): Promise<void>
}

interface State {
  readonly options: MembershipOptions
  readonly commits: CommitQueue
  coordinator: number | null
  memberId: string
  /** -1 while it is not in the group. */
  generation: number
  isLeader: boolean
  /** How many partitions each topic had when this member last shared them out. */
  counts: ReadonlyMap<string, number>
  lookedMs: number
  /** Join again, at the next turn of the loop. */
  rejoin: boolean
  leaving: boolean
  wake: (() => void) | null
}

/**
 * Joins a consumer group and stays in it until `leave`: heartbeats run on a timer of their own and depend on no
 * handler; a rebalance is answered at once, while handlers go on. Whatever fails is tried again with growing pauses and
 * told to `onError`; it never ends by itself.
 */
export function joinGroup(options: MembershipOptions): Membership {
  const commits = commitQueue({
    group: options.group,
    clock: options.clock,
    limitMs: options.sessionTimeoutMs,
    standing: () => (state.generation < 0 ? null : { memberId: state.memberId, generation: state.generation }),
    // The other socket: a join waits for all members, and the coordinator answers in order.
    send: call => ask(state, 1, call),
    coordinatorMoved: () => void (state.coordinator = null),
  })
  const state: State = {
    options,
    commits,
    coordinator: null,
    memberId: '',
    generation: -1,
    isLeader: false,
    counts: new Map(),
    lookedMs: 0,
    rejoin: true,
    leaving: false,
    wake: null,
  }
  const running = live(state)
  return { commit: commits.commit, leave: () => leave(state, running) }
}

async function live(state: State): Promise<void> {
  const { options } = state
  const heartbeatMs = Math.min(MAX_HEARTBEAT_MS, options.sessionTimeoutMs / 6)
  let retryMs = FIRST_RETRY_MS
  let failingSinceMs: number | null = null
  while (!state.leaving) {
    try {
      if (state.rejoin) await join(state)
      else await rest(state, heartbeatMs)
      if (state.leaving) return
      if (!state.rejoin) await heartbeat(state)
      state.commits.expire()
      await noticeGrowth(state)
      retryMs = FIRST_RETRY_MS
      failingSinceMs = null
    } catch (error) {
      if (state.leaving) return
      if (expected(state, error)) continue
      const nowMs = options.clock.monotonicMs()
      failingSinceMs ??= nowMs
      // A coordinator that starts or moves mends itself; what goes on, or cannot mend, is told.
      if (nowMs - failingSinceMs >= QUIET_MS || !isRetriable(error)) {
        options.onError(portError(error, `Group ${options.group}`))
      }
      state.commits.expire()
      await rest(state, retryMs)
      retryMs = Math.min(retryMs * 2, MAX_RETRY_MS)
    }
  }
}

/** Waits, or until there is something to do. */
function rest(state: State, ms: number): Promise<void> {
  return new Promise(resolve => {
    const done = (): void => {
      clearTimeout(timer)
      state.wake = null
      resolve()
    }
    const timer = setTimeout(done, ms)
    state.wake = done
  })
}

/** Takes what an answer means for the membership; false for an error that is to be tried again. */
function expected(state: State, error: unknown): boolean {
  const { options } = state
  const code = faultCode(error)
  if (code === CODE.rebalanceInProgress) {
    state.rejoin = true
    return true
  }
  if (code === CODE.unknownMember || code === CODE.illegalGeneration) {
    if (code === CODE.unknownMember) state.memberId = ''
    state.generation = -1
    state.rejoin = true
    options.telemetry?.count('event_log_lost_memberships', 1, { group: options.group })
    options.lost()
    state.commits.expire()
    return true
  }
  if (code === null || code === CODE.notCoordinator || code === CODE.coordinatorNotAvailable) state.coordinator = null
  return false
}

async function ask<T>(state: State, socket: 0 | 1, call: (broker: Broker) => ProtocolCall<T>): Promise<T> {
  const { nodes, group } = state.options
  state.coordinator ??= await findCoordinator(nodes, group)
  const node = await nodes.node(state.coordinator)
  return await node.send(socket, call)
}

async function heartbeat(state: State): Promise<void> {
  const { memberId, generation } = state
  const args = { groupId: state.options.group, groupGenerationId: generation, memberId }
  await ask(state, 0, broker => kafkajsCall(broker, 'Heartbeat', args))
}

async function lookAtTopics(state: State): Promise<ReadonlyMap<string, number>> {
  const { nodes, topics, clock } = state.options
  const found = await nodes.refresh(topics)
  state.lookedMs = clock.monotonicMs()
  const out = new Map<string, number>()
  for (const topic of topics) {
    // A topic that is away keeps its partitions with their owners until it is back.
    const count = found.get(topic)?.partitions.length ?? state.counts.get(topic)
    if (count !== undefined) out.set(topic, count)
  }
  return out
}

/** The member that shares partitions out does so again when there are more of them, or fewer. */
async function noticeGrowth(state: State): Promise<void> {
  const { clock, topics, metadataIntervalMs } = state.options
  if (!state.isLeader || clock.monotonicMs() - state.lookedMs < metadataIntervalMs) return
  const now = await lookAtTopics(state)
  if (topics.some(topic => now.get(topic) !== state.counts.get(topic))) state.rejoin = true
}

interface JoinAnswer {
  readonly generationId: number
  readonly leaderId: string
  readonly memberId: string
  readonly members: readonly { readonly memberId: string; readonly memberMetadata: Buffer }[]
}

async function join(state: State): Promise<void> {
  const { options } = state
  state.rejoin = false
  let share: readonly TopicPartition[] | null
  try {
    share = await joinAndSync(state)
  } catch (error) {
    state.rejoin = true
    throw error
  }
  if (share === null || state.leaving) return
  options.telemetry?.count('event_log_rebalances', 1, { group: options.group })
  const { givenUp } = options.assigned(share)
  const askAgain = (): void => {
    state.rejoin = true
    state.wake?.()
  }
  void givenUp?.then(askAgain)
  state.commits.resume()
}

/** This member's share; null when it is leaving. */
async function joinAndSync(state: State): Promise<readonly TopicPartition[] | null> {
  const { group, topics, sessionTimeoutMs, owned } = state.options
  const request = {
    groupId: group,
    sessionTimeout: sessionTimeoutMs,
    rebalanceTimeout: sessionTimeoutMs,
    protocolType: 'consumer',
    groupProtocols: [{ name: PROTOCOL, metadata: encodeSubscription(topics, owned()) }],
  }
  const send = (memberId: string): Promise<JoinAnswer> =>
    ask(state, 0, broker => kafkajsCall<JoinAnswer>(broker, 'JoinGroup', { ...request, memberId }))
  let answer: JoinAnswer
  try {
    answer = await send(state.memberId)
  } catch (error) {
    if (faultCode(error) !== CODE.memberIdRequired) throw error
    state.memberId = (error as { memberId: string }).memberId
    if (state.leaving) return null
    answer = await send(state.memberId)
  }
  const { memberId, generationId } = answer
  state.memberId = memberId
  state.isLeader = answer.leaderId === memberId
  const groupAssignment = state.isLeader ? await shareOut(state, answer) : []
  const args = { groupId: group, generationId, memberId, groupAssignment }
  const synced = await ask(state, 0, broker => kafkajsCall<{ memberAssignment: Buffer }>(broker, 'SyncGroup', args))
  state.generation = generationId
  return decodeAssignment(synced.memberAssignment)
}

async function shareOut(state: State, { members }: JoinAnswer) {
  state.counts = await lookAtTopics(state)
  const known = members.map(each => decodeSubscription(each.memberId, each.memberMetadata))
  const shares = assignPartitions(known, state.counts)
  return [...shares].map(([memberId, share]) => ({ memberId, memberAssignment: encodeAssignment(share) }))
}

async function leave(state: State, running: Promise<void>): Promise<void> {
  const { nodes, group } = state.options
  state.leaving = true
  state.wake?.()
  // A request that is under way may still make this a member; one that waits for others is not waited for.
  await within(JOIN_LIMIT_MS, running)
  const { memberId } = state
  if (memberId !== '' && state.coordinator !== null) {
    const left = ask(state, 1, broker => kafkajsCall(broker, 'LeaveGroup', { groupId: group, memberId }))
    // A coordinator that is away takes the member out when its session ends.
    await within(LEAVE_LIMIT_MS, left)
  }
  state.generation = -1
  state.commits.end()
  await nodes.close()
  await running
}

/** Waits for the end of `done`, good or bad, but no longer than the limit. */
async function within(limitMs: number, done: Promise<unknown>): Promise<void> {
  let timer: NodeJS.Timeout | undefined
  const limit = new Promise<void>(resolve => (timer = setTimeout(resolve, limitMs)))
  await Promise.race([done.catch(() => {}), limit])
  clearTimeout(timer)
}
