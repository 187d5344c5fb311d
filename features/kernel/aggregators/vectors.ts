import {
  absorbExactSum,
  addDouble,
  decodeExactSum,
  emptyExactSum,
  encodeExactSum,
  mergeExactSums,
  type ExactSum,
} from '../exact-sum.ts'
import type { Value } from '../types.ts'
import type { Algebra } from './descriptor.ts'
import { bindAllSql, bindSql, GROW_SQL, SHRINK_SQL } from './sql.ts'

/** The number of vectors and the exact sum of each of their elements. */
export interface VectorSums {
  count: number
  readonly sums: readonly ExactSum[]
}

/** The extreme of each element, NaN where none but NaN was seen. */
interface VectorExtremes {
  seen: boolean
  readonly elements: number[]
}

/** Element-wise exact sums of vectors whose result is `finish` of them. */
export function vectorSums(length: number, finish: (state: VectorSums) => Value): Algebra<VectorSums> {
  const empty = (): VectorSums => ({ count: 0, sums: Array.from({ length }, emptyExactSum) })
  return {
    empty,
    add: (state, input) => {
      if (input.cell === null) return state
      const vector = input.cell as readonly number[]
      state.count++
      for (let index = 0; index < length; index++) addDouble(state.sums[index]!, vector[index]!)
      return state
    },
    merge: (left, right) => ({
      count: left.count + right.count,
      sums: left.sums.map((sum, index) => mergeExactSums(sum, right.sums[index]!)),
    }),
    result: finish,
    encode: (state, out) => {
      out.varint(state.count)
      if (state.count > 0) for (const sum of state.sums) encodeExactSum(sum, out)
    },
    decode: input => {
      const count = input.varint()
      return count === 0 ? empty() : { count, sums: Array.from({ length }, () => decodeExactSum(input)) }
    },
    absorb: (state, input) => {
      const count = input.varint()
      if (count === 0) return state
      state.count += count
      for (const sum of state.sums) absorbExactSum(sum, input)
      return state
    },
  }
}

/** Element-wise extremes; `sign` is 1 for the greatest, −1 for the least. NaN gives way to every number. */
export function vectorExtremes(length: number, sign: 1 | -1): Algebra<VectorExtremes> {
  const offer = (elements: number[], index: number, value: number): void => {
    const held = elements[index]!
    if (held !== held || (value - held) * sign > 0) elements[index] = value + 0
  }
  const empty = (): VectorExtremes => ({ seen: false, elements: Array<number>(length).fill(NaN) })
  const offerAll = (state: VectorExtremes, values: readonly number[]): VectorExtremes => {
    state.seen = true
    for (let index = 0; index < length; index++) offer(state.elements, index, values[index]!)
    return state
  }
  return {
    idempotent: true,
    empty,
    add: (state, input) => (input.cell === null ? state : offerAll(state, input.cell as readonly number[])),
    merge: (left, right) => {
      const merged = { seen: left.seen, elements: left.elements.slice() }
      return right.seen ? offerAll(merged, right.elements) : merged
    },
    result: state => (state.seen ? state.elements.slice() : null),
    encode: (state, out) => {
      out.u8(state.seen ? 1 : 0)
      if (state.seen) for (const element of state.elements) out.f64(element)
    },
    decode: input => {
      const tag = input.u8()
      if (tag > 1) throw new RangeError(`no extreme of vectors has the tag ${tag}`)
      if (tag === 0) return empty()
      return { seen: true, elements: Array.from({ length }, () => input.f64() + 0) }
    },
    absorb: (state, input) => {
      const tag = input.u8()
      if (tag > 1) throw new RangeError(`no extreme of vectors has the tag ${tag}`)
      if (tag === 0) return state
      state.seen = true
      for (let index = 0; index < length; index++) offer(state.elements, index, input.f64())
      return state
    },
  }
}

/**
 * Sums of each element of the vectors bound as `hw_vectors`, compensated, then `over`: nothing, or a division by what
 * is bound. [] when there is no vector. Elements that are not finite as IEEE 754 adds them.
 */
export function vectorSumsSql(over: '' | '/ hw_n'): string {
  const each = (element: string): string => `arrayMap(hw_v -> arrayMap(hw_x -> ${element}, hw_v), hw_vectors)`
  const kahan = (vectors: string): string => `arrayReduce('sumKahanForEach', ${vectors})`
  const bindings = {
    notFinite: `arrayReduce('sumForEach', ${each('if(isFinite(hw_x), 0, hw_x)')})`,
    small: kahan(each(`hw_x * ${SHRINK_SQL}`)),
  }
  const element = `if(isFinite(hw_x), hw_x ${over}, if(hw_y = 0, hw_z ${over} * ${GROW_SQL}, hw_y))`
  const wide = bindAllSql(bindings, `arrayMap((hw_x, hw_y, hw_z) -> ${element}, hw_sums, hw_notFinite, hw_small)`)
  const plain = `arrayMap(hw_x -> hw_x ${over}, hw_sums)`
  const sums = `if(arrayAll(hw_x -> isFinite(hw_x), hw_sums), ${plain}, ${wide})`
  return bindSql('sums', kahan('hw_vectors'), sums)
}

/** Extremes of each element without NaN, [] when there is no vector. */
export function vectorExtremesSql(vectors: string, aggregate: 'min' | 'max'): string {
  const numbers = 'arrayMap(hw_v -> arrayMap(hw_x -> if(isNaN(hw_x), NULL, hw_x), hw_v), hw_vectors)'
  return bindSql(
    'vectors',
    vectors,
    `arrayMap(hw_x -> ifNull(hw_x, nan), arrayReduce('${aggregate}ForEach', ${numbers}))`,
  )
}
