import type { Aggregator, Cell } from '../../../features/kernel/types.ts'
import { decodeCell, encodeCell } from '../../../features/kernel/encoding.ts'

/** Keeps what was added first, whatever its time. */
export const firstByArrival: Aggregator<{ cell: Cell }> = {
  name: 'broken first',
  kind: 'merge',
  version: 1,
  empty: () => ({ cell: null }),
  add: (state, input) => {
    state.cell ??= input.cell
    return state
  },
  merge: (left, right) => ({ cell: left.cell ?? right.cell }),
  result: state => state.cell,
  encode: (state, out) => encodeCell({ kind: 'double' }, state.cell, out),
  decode: input => ({ cell: decodeCell({ kind: 'double' }, input) }),
}
