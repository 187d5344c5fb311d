import type { Aggregator } from '../../../features/kernel/types.ts'

const BOUND = 3

/** Keeps the first three values that arrive, in the order of arrival. */
export const distinctByArrival: Aggregator<Set<string>> = {
  name: 'broken distinct',
  kind: 'merge',
  version: 1,
  empty: () => new Set(),
  add: (state, input) => {
    if (input.cell !== null && state.size < BOUND) state.add(input.cell as string)
    return state
  },
  merge: (left, right) => new Set([...left, ...right].slice(0, BOUND)),
  result: state => state.size,
  encode: (state, out) => {
    out.varint(state.size)
    for (const value of state) out.string(value)
  },
  decode: input => new Set(Array.from({ length: input.varint() }, () => input.string())),
}
