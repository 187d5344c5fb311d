import type { Aggregator } from '../../../features/kernel/types.ts'

interface Streak {
  broken: boolean
  suffix: number
  best: number
}

/** Forgets how many true rows a state begins with, so that a streak over a seam is counted in one grouping only. */
export const streakWithoutPrefix: Aggregator<Streak> = {
  name: 'broken streak',
  kind: 'concat',
  version: 1,
  empty: () => ({ broken: false, suffix: 0, best: 0 }),
  add: (state, input) => {
    if (input.cell === true) state.suffix++
    if (input.cell === false) {
      state.broken = true
      state.suffix = 0
    }
    state.best = Math.max(state.best, state.suffix)
    return state
  },
  merge: (left, right) => {
    const suffix = right.broken ? right.suffix : left.suffix + right.suffix
    return { broken: left.broken || right.broken, suffix, best: Math.max(left.best, right.best, suffix) }
  },
  result: state => state.best,
  encode: (state, out) => {
    out.u8(state.broken ? 1 : 0)
    out.varint(state.suffix)
    out.varint(state.best)
  },
  decode: input => ({ broken: input.u8() === 1, suffix: input.varint(), best: input.varint() }),
}
