import { absorbCounts, addCounts, encodeCounts } from '../count-list.ts'
import type { Cell } from '../types.ts'
import type { Algebra } from './descriptor.ts'

/** One count for each of a fixed number of bins. */
export interface BinCounts {
  readonly bins: number[]
}

/** Counts of present cells over a fixed number of bins; a cell whose bin is −1 is not counted. The result lists them. */
export function binCounts(bins: number, binOf: (cell: Exclude<Cell, null>) => number): Algebra<BinCounts> {
  const empty = (): BinCounts => ({ bins: Array.from({ length: bins }, () => 0) })
  const decode: Algebra<BinCounts>['decode'] = input => {
    const state = empty()
    absorbCounts(state.bins, input)
    return state
  }
  return {
    empty,
    add: (state, input) => {
      const cell = input.cell
      if (cell === null) return state
      const bin = binOf(cell)
      if (bin >= 0) state.bins[bin]!++
      return state
    },
    merge: (left, right) => {
      const merged = { bins: left.bins.slice() }
      addCounts(merged.bins, right.bins)
      return merged
    },
    absorb: (state, input) => {
      absorbCounts(state.bins, input)
      return state
    },
    result: state => state.bins.slice(),
    encode: (state, out) => encodeCounts(state.bins, out),
    decode,
  }
}
