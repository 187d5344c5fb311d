import { absorbCounts, addCounts, encodeCounts } from './count-list.ts'
import type { Hash64 } from './hash.ts'
import type { ByteReader, ByteWriter } from './types.ts'

/**
 * A Count-Min sketch: 4 rows of counters, each row adding every event to the counter that 16 bits of the value's hash
 * of their own pick. It is linear, so that merging is exact addition (no conservative update, which is not).
 * G. Cormode and S. Muthukrishnan, "An improved data stream summary: the count-min sketch and its applications"
 * (J. Algorithms 55, 2005): an estimate is never below the true count, and above it by more than e / width of all
 * events with a probability of at most e^−4 (1.8 %).
 */
export interface CountMin {
  readonly width: number
  /** Row after row. */
  readonly counters: Float64Array
}

const ROWS = 4
const MAX_WIDTH = 65_536

/** A sketch of nothing, `width` counters wide: a power of two of at most 65,536 (`RangeError` otherwise). */
export function emptyCountMin(width: number): CountMin {
  if (!(width >= 1 && width <= MAX_WIDTH && Number.isInteger(Math.log2(width)))) {
    throw new RangeError(`a Count-Min sketch is a power of two from 1 to ${MAX_WIDTH} wide, not ${width}`)
  }
  return { width, counters: new Float64Array(ROWS * width) }
}

/** A sketch that can be changed without changing the given one. */
export function copyCountMin(sketch: CountMin): CountMin {
  return { width: sketch.width, counters: sketch.counters.slice() }
}

/** Adds `count` events whose value has this hash. */
export function countHash(sketch: CountMin, hash: Hash64, count: number): void {
  for (let row = 0; row < ROWS; row++) sketch.counters[placeOf(sketch.width, hash, row)]! += count
}

/** The estimated number of events whose value has this hash. */
export function estimateCount(sketch: CountMin, hash: Hash64): number {
  let least = Infinity
  for (let row = 0; row < ROWS; row++) {
    const count = sketch.counters[placeOf(sketch.width, hash, row)]!
    if (count < least) least = count
  }
  return least
}

function placeOf(width: number, hash: Hash64, row: number): number {
  const word = hash[row >> 1]!
  return row * width + ((row & 1 ? word >>> 16 : word) & (width - 1))
}

/** Adds the second sketch, which has the same width, to the first. */
export function addCountMin(into: CountMin, from: CountMin): void {
  addCounts(into.counters, from.counters)
}

/** Writes the counters; runs of zeros are short. */
export function encodeCountMin(sketch: CountMin, out: ByteWriter): void {
  encodeCounts(sketch.counters, out)
}

/** Reads what `encodeCountMin` wrote; throws `RangeError` when the rows do not add up to the same number of events. */
export function decodeCountMin(width: number, input: ByteReader): CountMin {
  const sketch = emptyCountMin(width)
  absorbCounts(sketch.counters, input)
  let first = 0
  for (let row = 0; row < ROWS; row++) {
    let total = 0
    for (let column = 0; column < width; column++) total += sketch.counters[row * width + column]!
    if (row === 0) first = total
    else if (total !== first) throw new RangeError(`rows of ${first} and ${total} events in one Count-Min sketch`)
  }
  return sketch
}
