import type { FlushOutcome, Lane, OnlineStore, Progress, ShardFlush } from '../../topology/ports/online-store.ts'
import { readKey } from './simulated-ports.ts'
import { Lost, meet } from './simulated-scheduler.ts'
import type { Met, Pick, Process, Scheduler } from './simulated-scheduler.ts'
import type { StoreServers } from './simulated-store.ts'

/** Of a hundred calls, how many go wrong in which way. */
export interface CallFaults {
  /** Refused before the effect. */
  refusePercent: number
  /** The effect is there, its acknowledgement is not. */
  losePercent: number
  /** Given up by the caller; the effect comes later. */
  timeoutPercent: number
  /** On the way for long. */
  delayPercent: number
  /** Takes effect a second time, later. */
  twicePercent: number
}

/** No faults at all. */
export function noFaults(): CallFaults {
  return { refusePercent: 0, losePercent: 0, timeoutPercent: 0, delayPercent: 0, twicePercent: 0 }
}

const LONGEST_DELAY_TURNS = 40

/** The server that a call goes to. */
export interface CallOptions {
  /** Changes when another server takes its place. */
  readonly epoch?: () => number
  /** Called when the call is sent; what it throws is the answer. */
  readonly check?: () => void
}

/** How clients reach the servers: what is on the way belongs to nobody's process and may arrive after its sender's end. */
export interface Network {
  readonly faults: CallFaults
  /** Commands that were sent and have not taken effect. */
  inFlight(): number
  /** Does something for a process at the server that `options` name; every step of it may be the process's last. */
  call<T>(process: Process, what: string, effect: () => T, options?: CallOptions): Promise<T>
}

/**
 * @param resends whether a command that was sent to a server which is gone is sent again to the one in its place; else
 * its sender learns that the connection is lost
 */
export function createNetwork(scheduler: Scheduler, pick: Pick, met: Met, resends: () => boolean): Network {
  const faults = noFaults()
  const chance = (percent: number): boolean => percent > 0 && pick(100) < percent
  let inFlight = 0

  async function linger(): Promise<void> {
    for (let turns = pick(LONGEST_DELAY_TURNS); turns > 0; turns--) await scheduler.turn()
  }

  async function again<T>(what: string, effect: () => T, stands: () => boolean): Promise<void> {
    inFlight++
    await linger()
    try {
      if (!stands()) return
      meet(met, `${what} takes effect twice`)
      effect()
    } catch {
      // Nobody waits for this answer.
    } finally {
      inFlight--
    }
  }

  async function deliver<T>(what: string, effect: () => T, epoch: () => number): Promise<T> {
    inFlight++
    const sentTo = epoch()
    try {
      await scheduler.turn()
      if (chance(faults.delayPercent)) await linger()
      if (epoch() !== sentTo) {
        if (!resends()) {
          meet(met, 'connection lost on the way')
          throw new Lost('connection lost')
        }
        await linger()
        meet(met, 'command sent again to another server')
      }
      const result = effect()
      if (chance(faults.twicePercent)) void again(what, effect, () => resends() || epoch() === sentTo)
      return result
    } finally {
      inFlight--
    }
  }

  async function attempt<T>(
    process: Process,
    what: string,
    effect: () => T,
    { epoch = () => 0, check }: CallOptions,
  ): Promise<T> {
    await scheduler.turn(process)
    check?.()
    if (chance(faults.refusePercent)) {
      meet(met, `${what} refused before its effect`)
      throw new Lost(`${what}: refused before its effect`)
    }
    const answer = deliver(what, effect, epoch)
    if (chance(faults.timeoutPercent)) {
      answer.catch(() => undefined)
      await scheduler.turn(process)
      meet(met, `${what} timed out before its effect`)
      throw new Lost(`${what}: timed out`)
    }
    // Whatever it is, the process only learns of it while it lives.
    await answer.catch(() => undefined)
    await scheduler.turn(process)
    const result = await answer
    if (chance(faults.losePercent)) {
      meet(met, `${what} acknowledgement lost`)
      throw new Lost(`${what}: acknowledgement lost`)
    }
    return result
  }

  return {
    faults,
    inFlight: () => inFlight,
    call: async (process, what, effect, options = {}) => {
      meet(process.calls, what)
      try {
        return await attempt(process, what, effect, options)
      } finally {
        meet(process.calls, what, -1)
      }
    },
  }
}

/** Cuts a list in up to `most` parts at picked places; their order is kept. */
function parts<T>(pick: Pick, list: readonly T[], most: number): readonly (readonly T[])[] {
  const cuts = Array.from({ length: pick(most) }, () => pick(list.length + 1)).sort((a, b) => a - b)
  return [0, ...cuts]
    .map((from, index) => list.slice(from, [...cuts, list.length][index]))
    .filter(part => part.length > 0)
}

/** As `Promise.all`, but nothing is left running when it rejects. */
async function all<T>(promises: readonly Promise<T>[]): Promise<readonly T[]> {
  await Promise.allSettled(promises)
  return await Promise.all(promises)
}

/** What a client knows of the servers. */
export interface StoreClientOptions {
  /**
   * Instead of the fence in the data: a task's commands are only sent to the servers that it met when it began. It says
   * nothing of a command that was sent before.
   */
  readonly identity?: boolean
  /** Told of each flush that takes effect. */
  readonly flushed?: (lane: Lane) => void
}

/**
 * The online store as one process reaches it. A flush is one script for each shard: some of them may take effect and
 * others not, in any order, with anything of other processes between them.
 */
export function createStoreClient(
  network: Network,
  servers: StoreServers,
  pick: Pick,
  process: Process,
  progress: Map<string, Progress>,
  { identity = false, flushed }: StoreClientOptions = {},
): OnlineStore {
  const known = new Map<string, readonly number[]>()
  const epochs = (): readonly number[] => Array.from({ length: servers.nodes }, (_, node) => servers.epochOf(node))
  const epochOfAll = (): number => epochs().reduce((sum, each) => sum + each, 0)
  const nameOf = (lane: Lane): string => `${lane.unit}|${lane.incarnation}|${lane.partition}`

  function checkIdentity(lane: Lane): void {
    const met = known.get(nameOf(lane))
    if (!identity || met === undefined || met.every((epoch, node) => epoch === servers.epochOf(node))) return
    throw new Lost('another server answers')
  }

  const shardsOf = (count: number): readonly number[] => Array.from({ length: count }, (_, shard) => shard)

  async function overShards<T>(
    what: string,
    count: number,
    effect: (shard: number) => T,
    check?: () => void,
  ): Promise<readonly T[]> {
    const options = { epoch: epochOfAll, ...(check === undefined ? {} : { check }) }
    const chunks = parts(pick, shardsOf(count), 2)
    const found = await all(chunks.map(chunk => network.call(process, what, () => chunk.map(effect), options)))
    return found.flat()
  }

  async function flushPart(lane: Lane, part: readonly ShardFlush[]): Promise<readonly FlushOutcome[]> {
    const node = servers.nodeOf(part[0]?.shard ?? 0)
    const sameNode = part.every(({ shard }) => servers.nodeOf(shard) === node)
    const epoch = sameNode ? () => servers.epochOf(node) : epochOfAll
    const run = (): readonly FlushOutcome[] => {
      flushed?.(lane)
      return part.map(shard => servers.flush(lane, shard))
    }
    return await network.call(process, 'flush', run, { epoch, check: () => checkIdentity(lane) })
  }

  return {
    capabilities: { survivesProcess: true, timeToLive: false },
    initialiseCanaries: async (lane, count, start) =>
      await overShards(
        'initialise',
        count,
        shard => servers.initialise(lane, shard, start),
        () => checkIdentity(lane),
      ),
    readCanaries: async (lane, count) => {
      known.set(nameOf(lane), epochs())
      return await overShards('read canaries', count, shard => servers.canaryOf(lane, shard))
    },
    flush: async (lane, shards) => (await all(parts(pick, shards, 4).map(part => flushPart(lane, part)))).flat(),
    load: async (lane, shard, expected, keys) =>
      await network.call(process, 'load', () => servers.load(lane, shard, expected, keys), {
        epoch: () => servers.epochOf(servers.nodeOf(shard)),
        check: () => checkIdentity(lane),
      }),
    read: keys => network.call(process, 'read', () => keys.map(each => readKey(servers.sections(), each))),
    readDocument: () => Promise.resolve(null),
    writeDocument: () => Promise.resolve(true),
    publishProgress: list =>
      network.call(process, 'publish progress', () => {
        for (const each of list) progress.set(`${each.feed}|${each.partition}`, each)
      }),
    readProgress: () => network.call(process, 'read progress', () => [...progress.values()]),
    close: () => Promise.resolve(),
  }
}
