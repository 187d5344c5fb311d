import { addCountMin, copyCountMin, countHash, decodeCountMin, emptyCountMin, encodeCountMin } from '../count-min.ts'
import type { CountMin } from '../count-min.ts'
import { decodePresent, encodePresent } from '../encoding.ts'
import { cellHasher, createHash64, hashEvent, type Hash64 } from '../hash.ts'
import { cellOrder } from '../order.ts'
import type { Cell, Input } from '../types.ts'
import type { Algebra } from './descriptor.ts'
import type { ScalarType } from './input-types.ts'
import { placeOf, putAt, walkUnion, type CellOrder } from './distinct-cells.ts'

/**
 * Values, ascending, each with its rank: the least draw of its events, where an event draws from the hash of (time, id)
 * seeded with that of its value. Up to `bound` distinct values all of them with their exact counts and no sketch;
 * beyond it the `bound` values of least rank, no counts, and a sketch that has counted every event.
 *
 * The least ranks are closed under merge: the event that gives a value its rank in the whole is in some part, where the
 * value has that rank and fewer than `bound` others a lesser one, as in the whole; another part that dropped the value
 * knew only greater draws of it. As the first event of a random order of all n events that shows a value of share f,
 * its draw comes after `bound` others only if the first `bound` events do not show it: (1 − f)^bound at most. This is
 * sampling without replacement by weight as bottom-k sketches do it (E. Cohen and H. Kaplan, "Summarizing data using
 * bottom-k sketches", PODC 2007).
 */
export interface HeavyHitters {
  values: Cell[]
  ranks: number[]
  counts: number[]
  sketch: CountMin | null
  /** With a sketch: the greatest of the ranks. */
  greatestRank: number
}

/** Draws are whole numbers below 2^42, which a varint holds in 6 bytes. */
const RANK_BITS_ABOVE_WORD = 10
const RANKS = 2 ** (32 + RANK_BITS_ABOVE_WORD)
const TWO_32 = 2 ** 32

/** What the functions below need to know of one algebra. */
interface Context {
  readonly bound: number
  readonly width: number
  readonly order: CellOrder
  readonly hashCell: (cell: Cell, out: Hash64) => void
  readonly hash: Hash64
  readonly draw: Hash64
}

/** All of the algebra but the result. */
export function heavyHitters(type: ScalarType, bound: number): Omit<Algebra<HeavyHitters>, 'result'> {
  const context: Context = {
    bound,
    width: 2 ** Math.ceil(Math.log2(2 * bound)),
    order: cellOrder(type),
    hashCell: cellHasher(type),
    hash: createHash64(),
    draw: createHash64(),
  }
  const decode: Algebra<HeavyHitters>['decode'] = input => {
    const header = input.varint()
    if (header > bound + 1) throw new RangeError(`${header} values in a topK over ${bound}`)
    const state = emptyHitters()
    const exact = header <= bound
    for (let index = 0; index < (exact ? header : bound); index++) {
      const value = decodePresent(type, input)
      const rank = input.varint()
      if (index > 0 && context.order(state.values[index - 1]!, value) >= 0) {
        throw new RangeError('values of a topK out of order')
      }
      if (rank >= RANKS) throw new RangeError(`no value of a topK has the rank ${rank}`)
      state.values.push(value)
      state.ranks.push(rank)
      if (!exact) continue
      const count = input.varint()
      if (count === 0) throw new RangeError('a value of a topK without events')
      state.counts.push(count)
    }
    if (!exact) {
      state.sketch = decodeCountMin(context.width, input)
      state.greatestRank = greatest(state.ranks)
    }
    return state
  }
  return {
    empty: emptyHitters,
    add: (state, input) => {
      if (input.cell !== null) addEvent(state, input, context)
      return state
    },
    merge: (left, right) => {
      const copy = { ...left, sketch: left.sketch === null ? null : copyCountMin(left.sketch) }
      unite(copy, right, context)
      return copy
    },
    absorb: (state, input) => {
      unite(state, decode(input), context)
      return state
    },
    encode: (state, out) => {
      out.varint(state.sketch === null ? state.values.length : bound + 1)
      for (let index = 0; index < state.values.length; index++) {
        encodePresent(type, state.values[index]!, out)
        out.varint(state.ranks[index]!)
        if (state.sketch === null) out.varint(state.counts[index]!)
      }
      if (state.sketch !== null) encodeCountMin(state.sketch, out)
    },
    decode,
  }
}

function emptyHitters(): HeavyHitters {
  return { values: [], ranks: [], counts: [], sketch: null, greatestRank: 0 }
}

function addEvent(state: HeavyHitters, input: Input, context: Context): void {
  const { order, hash, draw, bound } = context
  const value = input.cell
  context.hashCell(value, hash)
  hashEvent(input.time, input.id, hash, draw)
  const rank = draw[0]! + (draw[1]! >>> (32 - RANK_BITS_ABOVE_WORD)) * TWO_32
  if (state.sketch !== null) {
    countHash(state.sketch, hash, 1)
    if (rank > state.greatestRank) return
  }
  const { values, ranks, counts } = state
  const place = placeOf(values, value, order)
  if (place < values.length && order(values[place]!, value) === 0) {
    if (state.sketch === null) counts[place]!++
    if (rank < ranks[place]!) {
      const was = ranks[place]!
      ranks[place] = rank
      if (was === state.greatestRank) state.greatestRank = greatest(ranks)
    }
    return
  }
  putAt(values, place, value)
  putAt(ranks, place, rank)
  if (state.sketch === null) putAt(counts, place, 1)
  if (values.length <= bound) return
  if (state.sketch === null) overflow(state, context)
  dropGreatest(state)
}

/** From exact counts to a sketch of them, with the values as they are. */
function overflow(state: HeavyHitters, context: Context): void {
  const sketch = emptyCountMin(context.width)
  for (let index = 0; index < state.values.length; index++) {
    context.hashCell(state.values[index]!, context.hash)
    countHash(sketch, context.hash, state.counts[index]!)
  }
  state.sketch = sketch
  state.counts = []
  state.greatestRank = greatest(state.ranks)
}

/** Drops the value of the known greatest rank, of several the greatest value. */
function dropGreatest(state: HeavyHitters): void {
  const place = state.ranks.lastIndexOf(state.greatestRank)
  state.values.splice(place, 1)
  state.ranks.splice(place, 1)
  state.greatestRank = greatest(state.ranks)
}

function greatest(ranks: readonly number[]): number {
  let found = 0
  for (const rank of ranks) if (rank > found) found = rank
  return found
}

/** Changes the first state into the union; replaces its lists, and shares nothing of the second that can change. */
function unite(into: HeavyHitters, from: HeavyHitters, context: Context): void {
  const bothExact = into.sketch === null && from.sketch === null
  if (!bothExact) {
    if (into.sketch === null) overflow(into, context)
    if (from.sketch !== null) addCountMin(into.sketch!, from.sketch)
    else {
      for (let index = 0; index < from.values.length; index++) {
        context.hashCell(from.values[index]!, context.hash)
        countHash(into.sketch!, context.hash, from.counts[index]!)
      }
    }
  }
  const union = emptyHitters()
  walkUnion(into.values, from.values, context.order, (left, right) => {
    union.values.push(left >= 0 ? into.values[left]! : from.values[right]!)
    union.ranks.push(Math.min(left >= 0 ? into.ranks[left]! : RANKS, right >= 0 ? from.ranks[right]! : RANKS))
    if (bothExact) {
      union.counts.push((left >= 0 ? into.counts[left]! : 0) + (right >= 0 ? from.counts[right]! : 0))
    }
    return true
  })
  into.values = union.values
  into.ranks = union.ranks
  into.counts = union.counts
  if (bothExact && into.values.length > context.bound) overflow(into, context)
  if (into.sketch !== null) keepLeast(into, context.bound)
}

/** Keeps the `bound` values of least rank, of equal ranks the lesser values, in their order. */
function keepLeast(state: HeavyHitters, bound: number): void {
  const { values, ranks } = state
  if (values.length > bound) {
    const threshold = Float64Array.from(ranks).sort()[bound - 1]!
    let ties = bound
    for (const rank of ranks) if (rank < threshold) ties--
    const kept = ranks.map(rank => rank < threshold || (rank === threshold && ties-- > 0))
    state.values = values.filter((_, index) => kept[index])
    state.ranks = ranks.filter((_, index) => kept[index])
  }
  state.greatestRank = greatest(state.ranks)
}
