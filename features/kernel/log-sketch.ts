import { scaleByPowerOfTwo } from './rounding.ts'
import type { ByteReader, ByteWriter } from './types.ts'

/*
 * A quantile sketch with a bound on its relative error: DDSketch (Masson, Rim, Lee, "DDSketch: a fast and
 * fully-mergeable quantile sketch with relative-error guarantees", VLDB 2019) with the collapse of UDDSketch (Epicoco et
 * al., "UDDSketch: accurate tracking of quantiles in data streams", 2020).
 *
 * Bucket i of level 0 holds the sizes v with i − 1 < ℓ(v)·m ≤ i; ℓ grows with log2 and the widest bucket spans a factor
 * γ = (1 + α) / (1 − α). Bucket j of level L is the union of buckets (j − 1)·2^L + 1 … j·2^L, so i belongs to ⌈i / 2^L⌉,
 * and ⌈⌈i / 2⌉ / 2⌉ = ⌈i / 4⌉ makes collapsing twice the same as collapsing by two levels.
 *
 * A sketch is at the least level at which its multiset fills no more than `buckets` buckets. That is a function of the
 * multiset: N_L, the number filled at level L, never grows with L nor shrinks as values are added, so the level of a
 * union is at least that of its parts; merging at the higher of two levels and then collapsing until the bound holds
 * reaches the least one. Hence merging is associative and commutative and one multiset has one state.
 */

/** What is fixed of a sketch: how values become bucket numbers, and how many buckets it may fill. */
export interface LogSketchSpec {
  /** Buckets per unit of ℓ, about per factor of two. */
  readonly multiplier: number
  readonly buckets: number
}

/** Filled buckets with ascending keys; counts are positive. */
interface Buckets {
  keys: number[]
  counts: number[]
}

/** Counts of values by bucket of their size, positive and negative apart; zeros and infinities by themselves. */
export interface LogSketch {
  level: number
  zeros: number
  plusInfinities: number
  minusInfinities: number
  readonly positive: Buckets
  readonly negative: Buckets
}

/** Below this size a value counts as 0. */
const SMALLEST_NORMAL = 2 ** -1022
/** P(s) = ((A·s + B)·s + C)·s stands for log2(1 + s): P(0) = 0, P(1) = 1, and (1 + s)·P′(s) ≥ C on [0, 1]. */
const A = 6 / 35
const B = -3 / 5
const C = 10 / 7
/** Buckets are this much narrower than the error allows, which outweighs every rounding of a bucket number. */
const MARGIN = 1 + 2 ** -20
/** At this level at most two buckets of each sign are left for an error of 1e-3 or more. */
const MAX_LEVEL = 20
const MAX_KEY = 2 ** 20
/** The least bound on buckets that every multiset can keep. */
export const LEAST_BUCKETS = 4

/** A list this many times shorter than another is put into it one by one. */
const FEW = 8

const ZEROS_TAG = 1
const PLUS_TAG = 2
const MINUS_TAG = 4
const POSITIVE_TAG = 8
const NEGATIVE_TAG = 16
const LEVEL_TAG = 32

const scratch = new DataView(new ArrayBuffer(8))

/** A sketch with relative error `error` (1e-3 to 0.1) and at most `buckets` buckets (4 or more). */
export function logSketchSpec(error: number, buckets: number): LogSketchSpec {
  if (!(error >= 1e-3 && error <= 0.1)) throw new RangeError(`a sketch's error must be 0.001 to 0.1, not ${error}`)
  if (!(buckets >= LEAST_BUCKETS)) throw new RangeError(`a sketch needs ${LEAST_BUCKETS} buckets, not ${buckets}`)
  return { multiplier: MARGIN / (C * logOfGamma(error)), buckets }
}

/** ln((1 + α) / (1 − α)) = 2·(α + α³/3 + α⁵/5 + …), by operations that IEEE 754 defines to the last bit. */
function logOfGamma(alpha: number): number {
  let sum = 0
  for (let power = 41; power > 0; power -= 2) sum = sum * alpha * alpha + 1 / power
  return 2 * alpha * sum
}

/** The sketch of nothing. */
export function emptyLogSketch(): LogSketch {
  return {
    level: 0,
    zeros: 0,
    plusInfinities: 0,
    minusInfinities: 0,
    positive: { keys: [], counts: [] },
    negative: { keys: [], counts: [] },
  }
}

/** The number of values. */
export function logSketchCount(sketch: LogSketch): number {
  return (
    sketch.zeros + sketch.plusInfinities + sketch.minusInfinities + totalOf(sketch.positive) + totalOf(sketch.negative)
  )
}

function totalOf(buckets: Buckets): number {
  let total = 0
  for (const count of buckets.counts) total += count
  return total
}

/** Adds a value; NaN is left out. */
export function addToLogSketch(spec: LogSketchSpec, sketch: LogSketch, value: number): void {
  if (value >= SMALLEST_NORMAL) {
    if (value === Infinity) sketch.plusInfinities++
    else addSize(spec, sketch, sketch.positive, value)
  } else if (value <= -SMALLEST_NORMAL) {
    if (value === -Infinity) sketch.minusInfinities++
    else addSize(spec, sketch, sketch.negative, -value)
  } else if (value === value) {
    sketch.zeros++
  }
}

function addSize(spec: LogSketchSpec, sketch: LogSketch, buckets: Buckets, size: number): void {
  fill(buckets, keyOf(spec, size, sketch.level), 1)
  collapseToBound(spec, sketch)
}

/** The bucket of a positive normal number. */
function keyOf(spec: LogSketchSpec, value: number, level: number): number {
  scratch.setFloat64(0, value)
  const high = scratch.getUint32(0)
  const fraction = ((high & 0xfffff) * 2 ** 32 + scratch.getUint32(4)) * 2 ** -52
  const log = (high >>> 20) - 1023 + ((A * fraction + B) * fraction + C) * fraction
  return raised(Math.ceil(log * spec.multiplier), level)
}

/** ⌈key / 2^levels⌉, never −0. */
function raised(key: number, levels: number): number {
  return 0 - (-key >> levels)
}

/** Counts values in one bucket. */
function fill(buckets: Buckets, key: number, count: number): void {
  const { keys, counts } = buckets
  let low = 0
  let high = keys.length
  while (low < high) {
    const middle = (low + high) >>> 1
    if (keys[middle]! < key) low = middle + 1
    else high = middle
  }
  if (keys[low] === key) {
    counts[low]! += count
  } else {
    keys.splice(low, 0, key)
    counts.splice(low, 0, count)
  }
}

function collapseToBound(spec: LogSketchSpec, sketch: LogSketch): void {
  while (sketch.positive.keys.length + sketch.negative.keys.length > spec.buckets) raiseLevel(sketch, sketch.level + 1)
}

function raiseLevel(sketch: LogSketch, level: number): void {
  if (level === sketch.level) return
  collapse(sketch.positive, level - sketch.level)
  collapse(sketch.negative, level - sketch.level)
  sketch.level = level
}

function collapse(buckets: Buckets, levels: number): void {
  const { keys, counts } = buckets
  let kept = 0
  for (let index = 0; index < keys.length; index++) {
    const key = raised(keys[index]!, levels)
    if (kept > 0 && keys[kept - 1] === key) {
      counts[kept - 1]! += counts[index]!
    } else {
      keys[kept] = key
      counts[kept++] = counts[index]!
    }
  }
  keys.length = kept
  counts.length = kept
}

/** A new sketch of both. */
export function mergeLogSketches(spec: LogSketchSpec, left: LogSketch, right: LogSketch): LogSketch {
  const merged: LogSketch = {
    ...left,
    positive: { keys: left.positive.keys.slice(), counts: left.positive.counts.slice() },
    negative: { keys: left.negative.keys.slice(), counts: left.negative.counts.slice() },
  }
  return absorbLogSketch(spec, merged, right)
}

/** Adds the values of `right`, which is left alone, to `left`, which is returned. */
export function absorbLogSketch(spec: LogSketchSpec, left: LogSketch, right: LogSketch): LogSketch {
  left.zeros += right.zeros
  left.plusInfinities += right.plusInfinities
  left.minusInfinities += right.minusInfinities
  raiseLevel(left, Math.max(left.level, right.level))
  unite(left.positive, right.positive, left.level - right.level)
  unite(left.negative, right.negative, left.level - right.level)
  collapseToBound(spec, left)
  return left
}

/** Adds buckets that are `levels` levels lower. */
function unite(into: Buckets, from: Buckets, levels: number): void {
  if (from.keys.length * FEW < into.keys.length) {
    for (let index = 0; index < from.keys.length; index++) {
      fill(into, raised(from.keys[index]!, levels), from.counts[index]!)
    }
    return
  }
  const keys: number[] = []
  const counts: number[] = []
  let ours = 0
  let theirs = 0
  while (ours < into.keys.length || theirs < from.keys.length) {
    const ourKey = ours < into.keys.length ? into.keys[ours]! : Infinity
    const theirKey = theirs < from.keys.length ? raised(from.keys[theirs]!, levels) : Infinity
    const key = ourKey <= theirKey ? ourKey : theirKey
    const count = ourKey <= theirKey ? into.counts[ours++]! : from.counts[theirs++]!
    if (keys.length > 0 && keys[keys.length - 1] === key) {
      counts[counts.length - 1]! += count
    } else {
      keys.push(key)
      counts.push(count)
    }
  }
  into.keys = keys
  into.counts = counts
}

/**
 * The value at rank ⌊q·(n − 1)⌋ of the n values in ascending order, counted from 0; null when there is none. The answer
 * v̂ for a value v is within |v̂ − v| ≤ α·|v| at level 0, and each level takes α to 2α / (1 + α²); values below 2^−1022 in
 * size count as 0, infinities are answered as they are.
 */
export function logSketchQuantile(spec: LogSketchSpec, sketch: LogSketch, q: number): number | null {
  const count = logSketchCount(sketch)
  if (count === 0) return null
  let rest = Math.floor(q * (count - 1)) - sketch.minusInfinities
  if (rest < 0) return -Infinity
  const { positive, negative } = sketch
  for (let index = negative.keys.length - 1; index >= 0; index--) {
    rest -= negative.counts[index]!
    if (rest < 0) return -middleOf(spec, negative.keys[index]!, sketch.level)
  }
  rest -= sketch.zeros
  if (rest < 0) return 0
  for (let index = 0; index < positive.keys.length; index++) {
    rest -= positive.counts[index]!
    if (rest < 0) return middleOf(spec, positive.keys[index]!, sketch.level)
  }
  return Infinity
}

/** 2ab / (a + b), which is equally far in relative terms from both ends a and b of a bucket. */
function middleOf(spec: LogSketchSpec, key: number, level: number): number {
  const width = 2 ** level / spec.multiplier
  const low = (key - 1) * width
  const high = key * width
  const lowExponent = Math.floor(low)
  const highExponent = Math.floor(high)
  const lowFactor = factorOf(low - lowExponent)
  const ratio = scaleByPowerOfTwo(lowFactor / factorOf(high - highExponent), lowExponent - highExponent)
  const middle = scaleByPowerOfTwo((2 * lowFactor) / (1 + ratio), lowExponent)
  return Math.min(Math.max(middle, SMALLEST_NORMAL), Number.MAX_VALUE)
}

/** 1 + s for the s in [0, 1] with P(s) = log, by Newton's method, which converges from either side as P′ ≥ 6/7. */
function factorOf(log: number): number {
  let s = log
  for (let step = 0; step < 6; step++) {
    const value = ((A * s + B) * s + C) * s - log
    s -= value / ((3 * A * s + 2 * B) * s + C)
  }
  return 1 + s
}

/**
 * A tag byte that says what follows: level, zeros, +Infinity, −Infinity (varints), positive and negative buckets, each as
 * their number (varint), the first key (zigzag), then per bucket the gap to the key before less one and the count less
 * one (varints).
 */
export function encodeLogSketch(sketch: LogSketch, out: ByteWriter): void {
  out.u8(
    (sketch.zeros > 0 ? ZEROS_TAG : 0) |
      (sketch.plusInfinities > 0 ? PLUS_TAG : 0) |
      (sketch.minusInfinities > 0 ? MINUS_TAG : 0) |
      (sketch.positive.keys.length > 0 ? POSITIVE_TAG : 0) |
      (sketch.negative.keys.length > 0 ? NEGATIVE_TAG : 0) |
      (sketch.level > 0 ? LEVEL_TAG : 0),
  )
  for (const number of [sketch.level, sketch.zeros, sketch.plusInfinities, sketch.minusInfinities]) {
    if (number > 0) out.varint(number)
  }
  for (const { keys, counts } of [sketch.positive, sketch.negative]) {
    if (keys.length === 0) continue
    out.varint(keys.length)
    out.int(keys[0]!)
    for (let index = 0; index < keys.length; index++) {
      if (index > 0) out.varint(keys[index]! - keys[index - 1]! - 1)
      out.varint(counts[index]! - 1)
    }
  }
}

/** Reads what `encodeLogSketch` wrote; throws `RangeError` for bytes that no sketch of this spec has. */
export function decodeLogSketch(spec: LogSketchSpec, input: ByteReader): LogSketch {
  const tag = input.u8()
  if (tag >= 2 * LEVEL_TAG) throw new RangeError(`no sketch has the tag ${tag}`)
  const level = tag & LEVEL_TAG ? positive(input.varint()) : 0
  const sketch: LogSketch = {
    level,
    zeros: tag & ZEROS_TAG ? positive(input.varint()) : 0,
    plusInfinities: tag & PLUS_TAG ? positive(input.varint()) : 0,
    minusInfinities: tag & MINUS_TAG ? positive(input.varint()) : 0,
    positive: decodeBuckets(spec, input, (tag & POSITIVE_TAG) > 0),
    negative: decodeBuckets(spec, input, (tag & NEGATIVE_TAG) > 0),
  }
  const filled = sketch.positive.keys.length + sketch.negative.keys.length
  if (level > MAX_LEVEL || filled > spec.buckets || (level > 0 && 2 * filled <= spec.buckets)) {
    throw new RangeError(`${filled} buckets at level ${level} in a sketch of ${spec.buckets}`)
  }
  return sketch
}

function positive(count: number): number {
  if (count === 0) throw new RangeError('a sketch counts nothing')
  return count
}

function decodeBuckets(spec: LogSketchSpec, input: ByteReader, present: boolean): Buckets {
  const buckets: Buckets = { keys: [], counts: [] }
  if (!present) return buckets
  const length = positive(input.varint())
  if (length > spec.buckets) throw new RangeError(`${length} buckets in a sketch of ${spec.buckets}`)
  let key = input.int()
  for (let index = 0; index < length; index++) {
    if (index > 0) key += input.varint() + 1
    if (key < -MAX_KEY || key > MAX_KEY) throw new RangeError(`no sketch has the bucket ${key}`)
    buckets.keys.push(key)
    buckets.counts.push(input.varint() + 1)
  }
  return buckets
}
