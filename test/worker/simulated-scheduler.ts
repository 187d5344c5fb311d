/** One process of the simulation: what it waits for is only released while it lives and is not frozen. */
export interface Process {
  readonly name: string
  alive: boolean
  frozen: boolean
  /** Calls of ports that it waits for now, by what they are. */
  readonly calls: Map<string, number>
}

/** Picks a whole number below the bound. */
export type Pick = (bound: number) => number

/** What happened how often, by what it is. */
export type Met = Map<string, number>

/** Adds to a count. */
export function meet(met: Met, what: string, by = 1): void {
  met.set(what, (met.get(what) ?? 0) + by)
}

/** A port did not answer, or its answer did not arrive: what any client throws. */
export class Lost extends Error {}

/** Nothing can go on, although not all is done. */
export class Stuck extends Error {}

const MAX_EMPTY_ROUNDS = 5_000

/** Releases waiting steps one at a time in a picked order, so that one seed reproduces a whole run. */
export interface Scheduler {
  /** Waits until it is picked; without a process nothing holds it back. */
  turn(process?: Process | null): Promise<void>
  /** Calls `step` before each release, until `done` says so. Throws `Stuck` when nothing can be released any more. */
  run(done: () => boolean, step: () => void): Promise<void>
}

/** A scheduler without anything waiting. */
export function createScheduler(pick: Pick): Scheduler {
  const waiting: { readonly process: Process | null; readonly release: () => void }[] = []

  function take(index: number): (() => void) | undefined {
    const release = waiting[index]?.release
    const last = waiting.pop()
    if (last !== undefined && index < waiting.length) waiting[index] = last
    return release
  }

  /** Starts at a picked place and takes the first that may go on; what waits for a dead process is dropped. */
  function releaseOne(): boolean {
    let index = waiting.length === 0 ? 0 : pick(waiting.length)
    for (let looked = waiting.length; looked > 0; looked--) {
      if (index >= waiting.length) index = 0
      const process = waiting[index]?.process ?? null
      if (process !== null && !process.alive) take(index)
      else if (process !== null && process.frozen) index++
      else {
        take(index)?.()
        return true
      }
    }
    return false
  }

  return {
    turn: (process = null) => new Promise(release => void waiting.push({ process, release })),
    run: async (done, step) => {
      for (let empty = 0; ;) {
        await new Promise(resolve => void setImmediate(resolve))
        if (done()) return
        step()
        empty = releaseOne() ? 0 : empty + 1
        if (empty > MAX_EMPTY_ROUNDS) throw new Stuck('nothing can go on')
      }
    },
  }
}
