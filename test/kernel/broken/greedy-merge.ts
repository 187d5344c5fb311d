import type { Aggregator } from '../../../features/kernel/types.ts'

/** A count whose unit is one, whose add makes a new state, whose merge changes the left one and whose bytes are cut. */
export const greedyMerge: Aggregator<{ count: number }> = {
  name: 'broken count',
  kind: 'merge',
  version: 1,
  empty: () => ({ count: 1 }),
  add: state => ({ count: state.count + 1 }),
  merge: (left, right) => {
    left.count += right.count
    return left
  },
  result: state => state.count,
  encode: (state, out) => out.u8(state.count),
  decode: input => ({ count: input.u8() & 3 }),
}
