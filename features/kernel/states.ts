import { createWriter, type SeekingReader } from './encoding.ts'
import type { Cell, Input, PartialSpec, Point, TimeMs, UnitSpec } from './types.ts'

/** A point as an aggregator sees it; made once and moved from point to point. */
export class PointInput implements Input {
  cell: Cell = null
  by: Cell = null
  time: TimeMs = 0
  id = ''
}

const shared = new PointInput()

/** The state with the point added if the point passes the partial's filter; may change and returns its state. */
export function addPoint(partial: PartialSpec, state: unknown, point: Point): unknown {
  if (partial.filter >= 0 && ((point.mask >>> partial.filter) & 1) === 0) return state
  shared.cell = partial.column < 0 ? null : point.cells[partial.column]!
  shared.by = partial.by < 0 ? null : point.cells[partial.by]!
  shared.time = point.time
  shared.id = point.id
  return partial.aggregator.add(state, shared)
}

/** Empty states of all partials of a unit. */
export function emptyStates(spec: UnitSpec): unknown[] {
  return spec.partials.map(partial => partial.aggregator.empty())
}

/** States of all partials in one piece: of each its length as a varint, then the aggregator's own encoding. */
export function packStates(spec: UnitSpec, states: readonly unknown[]): Uint8Array {
  const out = createWriter(8 * states.length)
  states.forEach((state, index) => {
    const one = createWriter(32)
    spec.partials[index]!.aggregator.encode(state, one)
    const bytes = one.finish()
    out.varint(bytes.length)
    out.bytes(bytes)
  })
  return out.finish()
}

/** The state with an encoded one merged to its right; may change its state. */
export function absorbState(partial: PartialSpec, state: unknown, input: SeekingReader): unknown {
  const { aggregator } = partial
  if (aggregator.absorb !== undefined) return aggregator.absorb(state, input)
  return aggregator.merge(state, aggregator.decode(input))
}

/**
 * Merges packed states, of which the reader stands at the first, into `states`; null entries are passed over. Throws
 * `RangeError` for bytes that are not such states.
 */
export function absorbPacked(spec: UnitSpec, states: unknown[], input: SeekingReader, end: number): void {
  let at = input.at
  for (let index = 0; index < spec.partials.length; index++) {
    input.seek(at, end)
    const length = input.varint()
    at = input.at + length
    if (states[index] === null) continue
    input.seek(input.at, at)
    states[index] = absorbState(spec.partials[index]!, states[index], input)
    if (input.remaining !== 0) throw new RangeError(`${input.remaining} bytes left after a packed state`)
  }
}
