import {
  addDouble,
  decodeExactSum,
  emptyExactSum,
  encodeExactSum,
  exactSumToNumber,
  exactTotal,
  mergeExactSums,
  notFiniteTotal,
  type ExactSum,
} from '../exact-sum.ts'
import { powerOfTwo } from '../power-of-two.ts'
import { scaleByPowerOfTwo, scaledRatioToNumber } from '../rounding.ts'
import type { ByteReader, ByteWriter, Cell, FieldType, TimeMs } from '../types.ts'
import type { Algebra } from './descriptor.ts'

/**
 * Decay by landmarks. Landmark k is the instant k·h for the half-life h. An event at `time` belongs to the landmark
 * k = ⌊time / h⌋ and weighs w = 2^((time − k·h) / h) there, from 1 to below 2, whatever the instant of a read; its term
 * x·w is rounded once to a double and added exactly to the sum S of the landmark. With K the newest landmark the
 * answer at t is Σ S(k)·2^(k − K), which is exact, times 2^(−(t − K·h) / h). This is forward decay (Cormode,
 * Shkapenyuk, Srivastava, Xu, "Forward Decay", 2009) with landmarks on multiples of the half-life, so that moving a sum
 * to another landmark is a power of two and loses nothing.
 */
interface Landmark {
  readonly index: number
  readonly sum: ExactSum | null
  readonly weight: ExactSum | null
}

/** Landmarks in ascending order, and the values that are not finite: they outlive their landmark. */
export interface Decayed {
  landmarks: Landmark[]
  notFinite: ExactSum
}

/** Which sums a landmark keeps: of terms, of weights, or both. */
export interface DecayLanes {
  readonly sum: boolean
  readonly weight: boolean
}

type Lane = 'sum' | 'weight'

/** Landmarks this far or further behind the newest are dropped. */
const KEPT_LANDMARKS = 64
/** Between these a double can be scaled by 2^±64 and multiplied by a factor of [1/2, 1] without loss of range. */
const SMALLEST_PLAIN = 2 ** -900
const LARGEST_PLAIN = 2 ** 900

/** The bounds of a half-life: one millisecond to 400 days. */
export const HALF_LIFE_PARAM = {
  halfLifeMs: {
    kind: 'integer',
    min: 1,
    max: 400 * 86_400_000,
    default: null,
    doc: 'the time in which the weight of an event halves, in milliseconds',
  },
} as const

/** Everything of a decaying aggregator but its result. Without a sum the input's type is of no account. */
export function decayAlgebra(
  inputType: FieldType | null,
  halfLifeMs: number,
  lanes: DecayLanes,
): Omit<Algebra<Decayed>, 'result'> {
  const keepsNotFinite = lanes.sum && inputType?.kind === 'double'
  const decode = (input: ByteReader): Decayed => decodeDecayed(input, lanes, keepsNotFinite)
  return {
    empty: () => ({ landmarks: [], notFinite: emptyExactSum() }),
    add: (state, input) => {
      if (inputType !== null && input.cell === null) return state
      const value = lanes.sum ? cellToDouble(input.cell) : 1
      if (keepsNotFinite && !Number.isFinite(value)) addDouble(state.notFinite, value)
      const offset = offsetInHalfLife(input.time, halfLifeMs)
      const landmark = landmarkAt(state.landmarks, landmarkIndex(input.time, offset, halfLifeMs), lanes)
      if (landmark === null) return state
      const weight = powerOfTwo(offset, halfLifeMs)
      if (landmark.weight !== null) addDouble(landmark.weight, weight)
      if (landmark.sum !== null && Number.isFinite(value)) addTerm(landmark.sum, value, weight)
      return state
    },
    merge: (left, right) => ({
      landmarks: union(left.landmarks, right.landmarks, copyOf),
      notFinite: mergeExactSums(left.notFinite, right.notFinite),
    }),
    absorb: (state, input) => {
      const other = decode(input)
      state.landmarks = union(state.landmarks, other.landmarks, landmark => landmark)
      if (keepsNotFinite) state.notFinite = mergeExactSums(state.notFinite, other.notFinite)
      return state
    },
    encode: (state, out) => encodeDecayed(state, out, keepsNotFinite),
    decode,
  }
}

/** Σ of one lane decayed to the instant t, before any division by a decimal's scale. 0 without landmarks. */
export function decayedTotal(state: Decayed, lane: Lane, halfLifeMs: number, t: TimeMs): number {
  const special = notFiniteTotal(state.notFinite)
  if (special !== null && lane === 'sum') return special
  const newest = state.landmarks.at(-1)
  if (newest === undefined) return 0
  const offset = offsetInHalfLife(t, halfLifeMs)
  const halvings = newest.index - landmarkIndex(t, offset, halfLifeMs)
  const fraction = offset === 0 ? 1 : powerOfTwo(halfLifeMs - offset, halfLifeMs) / 2
  const rounded = totalAtNewest(state.landmarks, lane)
  if (isPlain(rounded)) return scaleByPowerOfTwo(rounded * fraction, halvings) + 0
  const { mantissa, exponent } = exactAtNewest(state.landmarks, lane)
  return scaledRatioToNumber(mantissa, 1n, exponent + halvings) * fraction + 0
}

/** Σ terms / Σ weights, which is the same at every instant, before any division by a decimal's scale. */
export function decayedQuotient(state: Decayed): number | null {
  if (state.landmarks.length === 0) return null
  const special = notFiniteTotal(state.notFinite)
  if (special !== null) return special
  const weight = totalAtNewest(state.landmarks, 'weight')
  const sum = totalAtNewest(state.landmarks, 'sum')
  if (isPlain(sum)) return sum / weight
  const terms = exactAtNewest(state.landmarks, 'sum')
  const weights = exactAtNewest(state.landmarks, 'weight')
  return scaledRatioToNumber(terms.mantissa, weights.mantissa, terms.exponent - weights.exponent)
}

function cellToDouble(cell: Cell): number {
  return typeof cell === 'number' ? cell : Number(cell)
}

/** `time − ⌊time / h⌋·h`, without rounding. */
function offsetInHalfLife(time: TimeMs, halfLifeMs: number): number {
  const remainder = time % halfLifeMs
  return remainder < 0 ? remainder + halfLifeMs : remainder + 0
}

/** `⌊time / h⌋`; rounded since `time − offset` may pass 2^53 by less than a half-life. */
function landmarkIndex(time: TimeMs, offset: number, halfLifeMs: number): number {
  return Math.round((time - offset) / halfLifeMs) + 0
}

/** The product of a finite value and a weight below 2, rounded once also where it passes the largest double. */
function addTerm(sum: ExactSum, value: number, weight: number): void {
  const term = value * weight
  if (Number.isFinite(term)) {
    addDouble(sum, term)
  } else {
    const half = value * (weight / 2)
    addDouble(sum, half)
    addDouble(sum, half)
  }
}

/** The landmark of this index, made when there is none; null when it is too old to be kept. */
function landmarkAt(landmarks: Landmark[], index: number, lanes: DecayLanes): Landmark | null {
  let place = landmarks.length
  while (place > 0 && landmarks[place - 1]!.index > index) place--
  const held = landmarks[place - 1]
  if (held?.index === index) return held
  if (place < landmarks.length && index <= landmarks.at(-1)!.index - KEPT_LANDMARKS) return null
  const made = { index, sum: lanes.sum ? emptyExactSum() : null, weight: lanes.weight ? emptyExactSum() : null }
  landmarks.splice(place, 0, made)
  if (place === landmarks.length - 1) dropOld(landmarks)
  return made
}

function dropOld(landmarks: Landmark[]): void {
  const oldest = landmarks.at(-1)!.index - KEPT_LANDMARKS
  let dropped = 0
  while (landmarks[dropped]!.index <= oldest) dropped++
  if (dropped > 0) landmarks.splice(0, dropped)
}

/** A new list of both; a landmark of only one of them goes through `take`. */
function union(left: readonly Landmark[], right: readonly Landmark[], take: (only: Landmark) => Landmark): Landmark[] {
  const newest = Math.max(left.at(-1)?.index ?? -Infinity, right.at(-1)?.index ?? -Infinity)
  const merged: Landmark[] = []
  let fromLeft = 0
  let fromRight = 0
  while (fromLeft < left.length || fromRight < right.length) {
    const a = left[fromLeft]
    const b = right[fromRight]
    const index = Math.min(a?.index ?? Infinity, b?.index ?? Infinity)
    const inLeft = a?.index === index
    const inRight = b?.index === index
    if (inLeft) fromLeft++
    if (inRight) fromRight++
    if (index <= newest - KEPT_LANDMARKS) continue
    if (inLeft && inRight) merged.push({ index, sum: both(a.sum, b.sum), weight: both(a.weight, b.weight) })
    else merged.push(take((inLeft ? a : b)!))
  }
  return merged
}

function both(left: ExactSum | null, right: ExactSum | null): ExactSum | null {
  return left === null || right === null ? null : mergeExactSums(left, right)
}

function copyOf({ index, sum, weight }: Landmark): Landmark {
  const copy = (held: ExactSum | null): ExactSum | null => both(held, held === null ? null : emptyExactSum())
  return { index, sum: copy(sum), weight: copy(weight) }
}

function isPlain(value: number): boolean {
  const size = Math.abs(value)
  return size > SMALLEST_PLAIN && size < LARGEST_PLAIN
}

/** Σ S(k)·2^(k − K), rounded once. */
function totalAtNewest(landmarks: readonly Landmark[], lane: Lane): number {
  const newest = landmarks.at(-1)!
  if (landmarks.length === 1) return exactSumToNumber(newest[lane]!)
  const total = emptyExactSum()
  for (const landmark of landmarks) {
    const sum = landmark[lane]!
    const halvings = landmark.index - newest.index
    let scalable = sum.spill === 0n
    for (let part = 0; part < sum.count && scalable; part++) {
      const value = sum.parts[part]!
      scalable = isPlain(value)
      addDouble(total, scaleByPowerOfTwo(value, halvings))
    }
    if (!scalable) {
      const { mantissa, exponent } = exactAtNewest(landmarks, lane)
      return scaledRatioToNumber(mantissa, 1n, exponent)
    }
  }
  return exactSumToNumber(total)
}

/** Σ S(k)·2^(k − K) as `mantissa · 2^exponent`. */
function exactAtNewest(
  landmarks: readonly Landmark[],
  lane: Lane,
): { readonly mantissa: bigint; readonly exponent: number } {
  const newest = landmarks.at(-1)!.index
  const terms = landmarks.map(landmark => {
    const { mantissa, exponent } = exactTotal(landmark[lane]!)
    return { mantissa, exponent: exponent + landmark.index - newest }
  })
  const exponent = Math.min(...terms.map(term => term.exponent))
  const mantissa = terms.reduce((sum, term) => sum + (term.mantissa << BigInt(term.exponent - exponent)), 0n)
  return { mantissa, exponent }
}

/** The number of landmarks, the newest, then each older one as its distance from the one before, sums beside each. */
function encodeDecayed(state: Decayed, out: ByteWriter, keepsNotFinite: boolean): void {
  const { landmarks } = state
  out.varint(landmarks.length)
  for (let place = landmarks.length - 1; place >= 0; place--) {
    const { index, sum, weight } = landmarks[place]!
    if (place === landmarks.length - 1) out.int(index)
    else out.varint(landmarks[place + 1]!.index - index)
    if (sum !== null) encodeExactSum(sum, out)
    if (weight !== null) encodeExactSum(weight, out)
  }
  if (keepsNotFinite && landmarks.length > 0) encodeExactSum(state.notFinite, out)
}

function decodeDecayed(input: ByteReader, lanes: DecayLanes, keepsNotFinite: boolean): Decayed {
  const length = input.varint()
  if (length > KEPT_LANDMARKS) throw new RangeError(`${length} landmarks of a decay, which keeps ${KEPT_LANDMARKS}`)
  const landmarks: Landmark[] = []
  let newest = 0
  for (let place = 0; place < length; place++) {
    const distance = place === 0 ? 0 : input.varint()
    const index = place === 0 ? input.int() : landmarks[place - 1]!.index - distance
    if (place === 0) newest = index
    else if (distance < 1 || index <= newest - KEPT_LANDMARKS) {
      throw new RangeError(`landmark ${index} of a decay whose newest is ${newest} is out of place`)
    }
    const sum = lanes.sum ? decodeFinite(input) : null
    landmarks.push({ index, sum, weight: lanes.weight ? decodeFinite(input) : null })
  }
  landmarks.reverse()
  if (!keepsNotFinite || length === 0) return { landmarks, notFinite: emptyExactSum() }
  const notFinite = decodeExactSum(input)
  if (exactTotal(notFinite).mantissa !== 0n) throw new RangeError('a decay counts a finite value as not finite')
  return { landmarks, notFinite }
}

function decodeFinite(input: ByteReader): ExactSum {
  const sum = decodeExactSum(input)
  if (notFiniteTotal(sum) !== null) throw new RangeError('the sum of a landmark is not finite')
  return sum
}
