import type { Aggregator, Cell } from '../../../features/kernel/types.ts'
import { decodeCell, encodeCell } from '../../../features/kernel/encoding.ts'

/** Orders bigints by the sign of a difference of doubles: beyond 2^53 neighbours look equal. */
export const maxBySubtraction: Aggregator<{ cell: Cell }> = {
  name: 'broken max',
  kind: 'merge',
  version: 1,
  empty: () => ({ cell: null }),
  add: (state, input) => {
    state.cell = greater(state.cell, input.cell)
    return state
  },
  merge: (left, right) => ({ cell: greater(left.cell, right.cell) }),
  result: state => state.cell,
  encode: (state, out) => encodeCell({ kind: 'int64' }, state.cell, out),
  decode: input => ({ cell: decodeCell({ kind: 'int64' }, input) }),
}

function greater(held: Cell, offered: Cell): Cell {
  if (held === null || offered === null) return held ?? offered
  return Number(offered) - Number(held) > 0 ? offered : held
}
