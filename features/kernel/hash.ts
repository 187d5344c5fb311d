import type { Cell, FieldType, TimeMs } from './types.ts'

/** A 64-bit hash: the low word, then the high one. */
export type Hash64 = Uint32Array

/** The primes of XXH64 as high and low words. */
const P1_HIGH = 0x9e3779b1
const P1_LOW = 0x85ebca87
const P2_HIGH = 0xc2b2ae3d
const P2_LOW = 0x27d4eb4f
const P3_HIGH = 0x165667b1
const P3_LOW = 0x9e3779f9
const P4_HIGH = 0x85ebca77
const P4_LOW = 0xc2b2ae63
const P5_HIGH = 0x27d4eb2f
const P5_LOW = 0x165667c5

const STRIPE_BYTES = 32
/** Words of the registers inside `words`, two for each: the hash, a lane in work, and four accumulators. */
const HASH = 0
const LANE = 2
const STRIPES = 4
const words = new Uint32Array(12)

const MAX_INLINE_STRING = 64
const TWO_32 = 4294967296
const utf8Encoder = new TextEncoder()
let scratch = new Uint8Array(1024)
let scratchView = new DataView(scratch.buffer)

/** A place for a hash. */
export function createHash64(): Hash64 {
  return new Uint32Array(2)
}

/**
 * XXH64 of the first `length` bytes, under a seed given as two words, into `out`. It is the function specified in
 * xxHash, doc/xxhash_spec.md, so it is stable for ever and the same as `xxHash64` of ClickHouse (for seed 0).
 */
export function xxHash64(bytes: Uint8Array, length: number, seedLow: number, seedHigh: number, out: Hash64): void {
  const view = bytes === scratch ? scratchView : new DataView(bytes.buffer, bytes.byteOffset, bytes.byteLength)
  let at = 0
  if (length >= STRIPE_BYTES) {
    at = hashStripes(view, length, seedLow, seedHigh)
  } else {
    words[HASH] = seedLow
    words[HASH + 1] = seedHigh
    add(HASH, P5_HIGH, P5_LOW)
  }
  add(HASH, 0, length)
  for (; at + 8 <= length; at += 8) {
    words[LANE] = 0
    words[LANE + 1] = 0
    round(LANE, view.getUint32(at, true), view.getUint32(at + 4, true))
    words[HASH]! ^= words[LANE]
    words[HASH + 1]! ^= words[LANE + 1]!
    rotate(HASH, 27)
    multiply(HASH, P1_HIGH, P1_LOW)
    add(HASH, P4_HIGH, P4_LOW)
  }
  if (at + 4 <= length) {
    words[LANE] = view.getUint32(at, true)
    words[LANE + 1] = 0
    multiply(LANE, P1_HIGH, P1_LOW)
    words[HASH]! ^= words[LANE]
    words[HASH + 1]! ^= words[LANE + 1]!
    rotate(HASH, 23)
    multiply(HASH, P2_HIGH, P2_LOW)
    add(HASH, P3_HIGH, P3_LOW)
    at += 4
  }
  for (; at < length; at++) {
    words[LANE] = view.getUint8(at)
    words[LANE + 1] = 0
    multiply(LANE, P5_HIGH, P5_LOW)
    words[HASH]! ^= words[LANE]
    words[HASH + 1]! ^= words[LANE + 1]!
    rotate(HASH, 11)
    multiply(HASH, P1_HIGH, P1_LOW)
  }
  avalanche()
  out[0] = words[HASH]!
  out[1] = words[HASH + 1]!
}

/** Consumes all whole stripes into the hash register and says how many bytes that were. */
function hashStripes(view: DataView, length: number, seedLow: number, seedHigh: number): number {
  for (let stripe = 0; stripe < 4; stripe++) {
    words[STRIPES + 2 * stripe] = seedLow
    words[STRIPES + 2 * stripe + 1] = seedHigh
  }
  add(STRIPES, P1_HIGH, P1_LOW)
  add(STRIPES, P2_HIGH, P2_LOW)
  add(STRIPES + 2, P2_HIGH, P2_LOW)
  add(STRIPES + 6, ~P1_HIGH, ~P1_LOW)
  add(STRIPES + 6, 0, 1)
  let at = 0
  for (; at + STRIPE_BYTES <= length; at += STRIPE_BYTES) {
    for (let stripe = 0; stripe < 4; stripe++) {
      const from = at + 8 * stripe
      round(STRIPES + 2 * stripe, view.getUint32(from, true), view.getUint32(from + 4, true))
    }
  }
  words[HASH] = 0
  words[HASH + 1] = 0
  for (let stripe = 0; stripe < 4; stripe++) {
    copy(STRIPES + 2 * stripe, LANE)
    rotate(LANE, STRIPE_ROTATIONS[stripe]!)
    add(HASH, words[LANE + 1]!, words[LANE]!)
  }
  for (let stripe = 0; stripe < 4; stripe++) {
    const low = words[STRIPES + 2 * stripe]!
    const high = words[STRIPES + 2 * stripe + 1]!
    words[LANE] = 0
    words[LANE + 1] = 0
    round(LANE, low, high)
    words[HASH] ^= words[LANE]
    words[HASH + 1]! ^= words[LANE + 1]!
    multiply(HASH, P1_HIGH, P1_LOW)
    add(HASH, P4_HIGH, P4_LOW)
  }
  return at
}

const STRIPE_ROTATIONS = [1, 7, 12, 18]

/** `register ← rotate(register + input · P2, 31) · P1`. */
function round(register: number, inputLow: number, inputHigh: number): void {
  const productLow = Math.imul(inputLow, P2_LOW)
  const productHigh = multiplyHigh(inputLow, P2_LOW) + Math.imul(inputHigh, P2_LOW) + Math.imul(inputLow, P2_HIGH)
  add(register, productHigh, productLow)
  rotate(register, 31)
  multiply(register, P1_HIGH, P1_LOW)
}

/** Mixes the hash register: shifts by 33, 29 and 32 with two products between. */
function avalanche(): void {
  words[HASH]! ^= words[HASH + 1]! >>> 1
  multiply(HASH, P2_HIGH, P2_LOW)
  const low = words[HASH]!
  const high = words[HASH + 1]!
  words[HASH] = low ^ ((low >>> 29) | (high << 3))
  words[HASH + 1] = high ^ (high >>> 29)
  multiply(HASH, P3_HIGH, P3_LOW)
  words[HASH] ^= words[HASH + 1]!
}

function copy(from: number, to: number): void {
  words[to] = words[from]!
  words[to + 1] = words[from + 1]!
}

function add(register: number, high: number, low: number): void {
  const sum = words[register]! + (low >>> 0)
  words[register] = sum
  words[register + 1] = words[register + 1]! + high + (sum >= TWO_32 ? 1 : 0)
}

/** By 1 to 31 bits to the left. */
function rotate(register: number, bits: number): void {
  const low = words[register]!
  const high = words[register + 1]!
  words[register] = (low << bits) | (high >>> (32 - bits))
  words[register + 1] = (high << bits) | (low >>> (32 - bits))
}

function multiply(register: number, high: number, low: number): void {
  const from = words[register]!
  const fromHigh = words[register + 1]!
  words[register] = Math.imul(from, low)
  words[register + 1] = multiplyHigh(from, low) + Math.imul(fromHigh, low) + Math.imul(from, high)
}

/** The high word of the product of two words. */
function multiplyHigh(a: number, b: number): number {
  const aLow = a & 0xffff
  const aHigh = a >>> 16
  const bLow = b & 0xffff
  const bHigh = b >>> 16
  const middle = aHigh * bLow + ((aLow * bLow) >>> 16)
  return aHigh * bHigh + (middle >>> 16) + ((aLow * bHigh + (middle & 0xffff)) >>> 16)
}

/**
 * Hashes present cells of one type, seed 0, over bytes that are fixed for ever: a string as its UTF-8, a boolean as one
 * byte 0 or 1, int, timestamp and the scaled decimal as a little-endian Int64, int64 as little-endian two's complement
 * in as few words of 64 bits as hold it, a double as a little-endian Float64 with one NaN and without −0. So equal
 * cells, and only they but for collisions, have equal hashes.
 */
export function cellHasher(type: FieldType): (cell: Cell, out: Hash64) => void {
  switch (type.kind) {
    case 'string':
      return (cell, out) => {
        const length = putText(cell as string, 0)
        xxHash64(scratch, length, 0, 0, out)
      }
    case 'boolean':
      return (cell, out) => {
        scratch[0] = cell === true ? 1 : 0
        xxHash64(scratch, 1, 0, 0, out)
      }
    case 'int':
    case 'timestamp':
    case 'decimal':
      return (cell, out) => {
        putInteger(cell as number, 0)
        xxHash64(scratch, 8, 0, 0, out)
      }
    case 'int64':
      return (cell, out) => {
        const length = putBigInteger(cell as bigint)
        xxHash64(scratch, length, 0, 0, out)
      }
    case 'double':
      return (cell, out) => {
        putDouble(cell as number, 0)
        xxHash64(scratch, 8, 0, 0, out)
      }
    case 'vector':
      return (cell, out) => {
        const elements = cell as readonly number[]
        reserve(8 * elements.length)
        for (let index = 0; index < elements.length; index++) putDouble(elements[index]!, 8 * index)
        xxHash64(scratch, 8 * elements.length, 0, 0, out)
      }
  }
}

/**
 * Hashes one event's (time, id) under another hash as the seed, into `out`: a draw that is the same whenever and
 * wherever the event is seen. The bytes are the time as a little-endian Int64 and the id's UTF-8.
 */
export function hashEvent(time: TimeMs, id: string, seed: Hash64, out: Hash64): void {
  const length = putText(id, 8)
  putInteger(time, 0)
  xxHash64(scratch, length, seed[0]!, seed[1]!, out)
}

function reserve(length: number): void {
  if (length <= scratch.length) return
  const grown = new Uint8Array(Math.max(length, 2 * scratch.length))
  grown.set(scratch)
  scratch = grown
  scratchView = new DataView(scratch.buffer)
}

/** Puts UTF-8 at `start` and says where it ends. */
function putText(text: string, start: number): number {
  const units = text.length
  if (units <= MAX_INLINE_STRING) {
    let index = 0
    for (; index < units; index++) {
      const unit = text.charCodeAt(index)
      if (unit >= 0x80) break
      scratch[start + index] = unit
    }
    if (index === units) return start + units
  }
  reserve(start + 3 * units)
  return start + utf8Encoder.encodeInto(text, scratch.subarray(start)).written
}

/** A safe integer as a little-endian Int64. */
function putInteger(value: number, at: number): void {
  const high = Math.floor(value / TWO_32)
  scratchView.setUint32(at, value - high * TWO_32, true)
  scratchView.setInt32(at + 4, high, true)
}

/** Puts words of 64 bits from the start of the scratch until the sign is in the last of them; says where it ends. */
function putBigInteger(value: bigint): number {
  let rest = value
  for (let at = 0; ; at += 8) {
    reserve(at + 8)
    scratchView.setBigUint64(at, BigInt.asUintN(64, rest), true)
    if (BigInt.asIntN(64, rest) === rest) return at + 8
    rest >>= 64n
  }
}

function putDouble(value: number, at: number): void {
  if (value === value) {
    scratchView.setFloat64(at, value + 0, true)
  } else {
    scratchView.setUint32(at, 0, true)
    scratchView.setUint32(at + 4, 0x7ff80000, true)
  }
}
