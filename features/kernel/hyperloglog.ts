import type { Hash64 } from './hash.ts'
import type { ByteReader, ByteWriter } from './types.ts'

/**
 * The registers of a HyperLogLog sketch: 2^14 of them, each the greatest rank seen among the hashes that fall to it.
 * One of the two forms is set: up to `MAX_SPARSE` registers that are not zero as a sorted list of
 * `index · 64 + rank`, more of them as one byte for each register. The form follows from the registers alone.
 */
export interface Registers {
  sparse: number[] | null
  dense: Uint8Array | null
}

const PRECISION = 14
const REGISTERS = 2 ** PRECISION
/** The bits of a hash that the rank is taken from. */
const RANK_BITS = 64 - PRECISION
const MAX_RANK = RANK_BITS + 1
/** Bits of the high word that are left beside the index. */
const HIGH_RANK_BITS = 32 - PRECISION
const HIGH_RANK_MASK = 2 ** HIGH_RANK_BITS - 1
const RANK_UNIT = 64
const MAX_SPARSE = 4096
/** Four registers of six bits are packed into three bytes. */
const DENSE_BYTES = (REGISTERS * 6) / 8

/** 1.04 / √16384: the relative standard error of `estimateCardinality`. */
export const CARDINALITY_STANDARD_ERROR = 1.04 / Math.sqrt(REGISTERS)

/** Registers that have seen nothing. */
export function emptyRegisters(): Registers {
  return { sparse: [], dense: null }
}

/** Registers that can be changed without changing the given ones. */
export function copyRegisters(registers: Registers): Registers {
  return { sparse: registers.sparse?.slice() ?? null, dense: registers.dense?.slice() ?? null }
}

/** Lets the registers see one hash: the index is its highest 14 bits, the rank counts the zeros that follow, plus 1. */
export function addHash(registers: Registers, hash: Hash64): void {
  const low = hash[0]!
  const high = hash[1]!
  const rest = high & HIGH_RANK_MASK
  const zeros = rest !== 0 ? Math.clz32(rest) - PRECISION : HIGH_RANK_BITS + Math.clz32(low)
  raise(registers, high >>> HIGH_RANK_BITS, zeros + 1)
}

function raise(registers: Registers, index: number, rank: number): void {
  const { dense, sparse } = registers
  if (dense !== null) {
    if (dense[index]! < rank) dense[index] = rank
  } else if (sparse !== null) {
    const key = index * RANK_UNIT
    let low = 0
    let high = sparse.length
    while (low < high) {
      const middle = (low + high) >>> 1
      if (sparse[middle]! < key) low = middle + 1
      else high = middle
    }
    if (low < sparse.length && sparse[low]! < key + RANK_UNIT) {
      if (sparse[low]! < key + rank) sparse[low] = key + rank
    } else {
      sparse.splice(low, 0, key + rank)
      if (sparse.length > MAX_SPARSE) makeDense(registers, sparse)
    }
  }
}

function makeDense(registers: Registers, sparse: readonly number[]): void {
  const dense = new Uint8Array(REGISTERS)
  for (const entry of sparse) dense[Math.floor(entry / RANK_UNIT)] = entry % RANK_UNIT
  registers.dense = dense
  registers.sparse = null
}

/** Lets the first registers see all that the second have seen; the second stay as they are. */
export function raiseRegisters(into: Registers, from: Registers): void {
  if (into.sparse !== null && from.sparse !== null) {
    const union = sparseUnion(into.sparse, from.sparse)
    if (union.length > MAX_SPARSE) makeDense(into, union)
    else into.sparse = union
    return
  }
  if (into.sparse !== null) makeDense(into, into.sparse)
  if (from.sparse !== null) {
    for (const entry of from.sparse) raise(into, Math.floor(entry / RANK_UNIT), entry % RANK_UNIT)
    return
  }
  const target = into.dense!
  const source = from.dense!
  for (let index = 0; index < REGISTERS; index++) {
    if (target[index]! < source[index]!) target[index] = source[index]!
  }
}

function sparseUnion(left: readonly number[], right: readonly number[]): number[] {
  const union: number[] = []
  let fromLeft = 0
  let fromRight = 0
  while (fromLeft < left.length && fromRight < right.length) {
    const a = left[fromLeft]!
    const b = right[fromRight]!
    const difference = Math.floor(a / RANK_UNIT) - Math.floor(b / RANK_UNIT)
    union.push(difference === 0 ? Math.max(a, b) : Math.min(a, b))
    if (difference <= 0) fromLeft++
    if (difference >= 0) fromRight++
  }
  while (fromLeft < left.length) union.push(left[fromLeft++]!)
  while (fromRight < right.length) union.push(right[fromRight++]!)
  return union
}

/**
 * Writes how many registers are not zero and, up to 4096 of them, each as the gap to the one before times 64 plus its
 * rank (2 bytes on average); otherwise 0 and all registers in 12,288 bytes.
 */
export function encodeRegisters(registers: Registers, out: ByteWriter): void {
  const { sparse, dense } = registers
  if (sparse !== null) {
    out.varint(sparse.length)
    let previous = -1
    for (const entry of sparse) {
      const index = Math.floor(entry / RANK_UNIT)
      out.varint((index - previous - 1) * RANK_UNIT + (entry % RANK_UNIT))
      previous = index
    }
    return
  }
  const packed = new Uint8Array(DENSE_BYTES)
  for (let index = 0, at = 0; index < REGISTERS; index += 4, at += 3) {
    const word = dense![index]! | (dense![index + 1]! << 6) | (dense![index + 2]! << 12) | (dense![index + 3]! << 18)
    packed[at] = word
    packed[at + 1] = word >>> 8
    packed[at + 2] = word >>> 16
  }
  out.varint(0)
  out.bytes(packed)
}

/** Reads what `encodeRegisters` wrote of registers that saw something; throws `RangeError` for other bytes. */
export function decodeRegisters(input: ByteReader): Registers {
  const length = input.varint()
  if (length > MAX_SPARSE) throw new RangeError(`${length} registers in a sparse sketch of at most ${MAX_SPARSE}`)
  return length === 0 ? decodeDense(input) : decodeSparse(input, length)
}

function decodeSparse(input: ByteReader, length: number): Registers {
  const sparse: number[] = []
  let index = -1
  for (let entry = 0; entry < length; entry++) {
    const code = input.varint()
    const rank = code % RANK_UNIT
    index += Math.floor(code / RANK_UNIT) + 1
    if (index >= REGISTERS) throw new RangeError(`a sketch of ${REGISTERS} registers has no register ${index}`)
    sparse.push(index * RANK_UNIT + checkedRank(rank, 1))
  }
  return { sparse, dense: null }
}

function decodeDense(input: ByteReader): Registers {
  const packed = input.bytes(DENSE_BYTES)
  const dense = new Uint8Array(REGISTERS)
  let raised = 0
  for (let index = 0; index < REGISTERS; index++) {
    const bit = index * 6
    const at = bit >>> 3
    const pair = packed[at]! | ((packed[at + 1] ?? 0) << 8)
    const rank = checkedRank((pair >>> (bit & 7)) & 63, 0)
    dense[index] = rank
    if (rank > 0) raised++
  }
  if (raised <= MAX_SPARSE) throw new RangeError(`${raised} raised registers of a sketch are not written sparsely`)
  return { sparse: null, dense }
}

function checkedRank(rank: number, least: number): number {
  if (rank < least || rank > MAX_RANK) throw new RangeError(`no register of a sketch has the rank ${rank}`)
  return rank
}

/**
 * The estimated number of different hashes seen, not rounded: the improved raw estimator of O. Ertl, "New cardinality
 * estimation algorithms for HyperLogLog sketches" (2017, arXiv:1702.01284), algorithm 6. It has no bias to speak of
 * over the whole range, needs no switch to linear counting and no empirical correction, and has the relative standard
 * error 1.04 / √m of HyperLogLog for many values, less for few.
 */
export function estimateCardinality(registers: Registers): number {
  const multiplicity = new Float64Array(MAX_RANK + 1)
  if (registers.sparse !== null) {
    for (const entry of registers.sparse) multiplicity[entry % RANK_UNIT]!++
    multiplicity[0] = REGISTERS - registers.sparse.length
  } else {
    for (const rank of registers.dense!) multiplicity[rank]!++
  }
  let z = REGISTERS * tau(1 - multiplicity[MAX_RANK]! / REGISTERS)
  for (let rank = RANK_BITS; rank >= 1; rank--) z = (z + multiplicity[rank]!) / 2
  z += REGISTERS * sigma(multiplicity[0]! / REGISTERS)
  return (REGISTERS / (2 * Math.LN2)) * (REGISTERS / z)
}

/** `x + Σ x^(2^k) · 2^(k − 1)` over k ≥ 1; Infinity for 1. */
function sigma(x: number): number {
  if (x === 1) return Infinity
  let power = x
  let weight = 1
  let sum = x
  for (;;) {
    power *= power
    const before = sum
    sum += power * weight
    weight += weight
    if (sum === before) return sum
  }
}

/** `(1 − x − Σ (1 − x^(2^−k))² · 2^−k) / 3` over k ≥ 1. */
function tau(x: number): number {
  if (x === 0 || x === 1) return 0
  let root = x
  let weight = 1
  let sum = 1 - x
  for (;;) {
    root = Math.sqrt(root)
    const before = sum
    weight /= 2
    sum -= (1 - root) ** 2 * weight
    if (sum === before) return sum / 3
  }
}
