import type { Aggregator } from '../../../features/kernel/types.ts'

/** Adds in floating point: what is lost depends on the order. */
export const floatSum: Aggregator<{ total: number }> = {
  name: 'broken sum',
  kind: 'merge',
  version: 1,
  empty: () => ({ total: 0 }),
  add: (state, input) => {
    state.total += (input.cell as number | null) ?? 0
    return state
  },
  merge: (left, right) => ({ total: left.total + right.total }),
  result: state => state.total,
  encode: (state, out) => out.f64(state.total),
  decode: input => ({ total: input.f64() }),
}
