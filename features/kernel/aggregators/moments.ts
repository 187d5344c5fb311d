import type { Algebra } from './descriptor.ts'
import type { NumericType } from './input-types.ts'
import { withSumDomain, type ScaledInteger, type SumDomain } from './numeric.ts'
import { deviationsSql } from './sql.ts'

/** The number of values and the exact sums of their powers: `sums[k]` is Σxᵏ⁺¹. */
interface PowerSums<S> {
  count: number
  readonly sums: readonly S[]
}

/** The highest power that is summed. */
type Order = 2 | 3 | 4

/** The parameter that variance and std share. */
export const SAMPLE_PARAM = {
  sample: {
    kind: 'boolean',
    default: false,
    doc: 'false divides by n (population), true by n − 1 (sample; null below two values)',
  },
} as const

/** The algebra of power sums whose result is the variance, or its root. */
export function spreadAlgebra(
  inputType: NumericType,
  sample: boolean,
  result: 'variance' | 'deviation',
): Algebra<unknown> {
  return withSumDomain<Algebra<unknown>>(inputType, domain =>
    powerSums(domain, 2, state => {
      const divisor = sample ? state.count - 1 : state.count
      if (divisor < 1) return null
      return domain[result](state.sums[0]!, state.sums[1]!, state.count, divisor)
    }),
  )
}

/** The variance or its root in two passes, in floating point. */
export function spreadSql(
  inputType: NumericType,
  cells: string,
  sample: boolean,
  result: 'variance' | 'deviation',
): string {
  const squares = `arrayReduce('sumKahan', arrayMap(hw_x -> hw_x * hw_x, hw_deviations))`
  const variance = `${squares} / ${sample ? '(hw_n - 1)' : 'hw_n'}`
  const body = result === 'variance' ? `${variance} * hw_unit * hw_unit` : `sqrt(${variance}) * hw_unit`
  return deviationsSql(inputType, cells, sample ? 2 : 1, body)
}

/**
 * The algebra of power sums up to `order` whose result is `finish(n, [Σx, Σx², …])`, the sums as integers: each value is
 * x = c·integer for one c that `finish` is not told, so it must give what does not depend on scale. Below `least` values
 * the result is null; NaN when a value was not finite.
 */
export function shapeAlgebra(
  inputType: NumericType,
  order: 3 | 4,
  least: number,
  finish: (count: bigint, sums: readonly bigint[]) => number | null,
): Algebra<unknown> {
  return withSumDomain<Algebra<unknown>>(inputType, domain =>
    powerSums(domain, order, state => {
      if (state.count < least) return null
      const sums: ScaledInteger[] = []
      for (const sum of state.sums) {
        const exact = domain.exact(sum)
        if (exact === null) return NaN
        sums.push(exact)
      }
      return finish(BigInt(state.count), integersOf(sums))
    }),
  )
}

/** Sums of powers 1, 2, … in units 2^e, 2^2e, …, with the greatest e for which all are integers. */
function integersOf(sums: readonly ScaledInteger[]): bigint[] {
  let unit = Infinity
  for (const [index, sum] of sums.entries()) {
    if (sum.mantissa !== 0n) unit = Math.min(unit, Math.floor(sum.exponent / (index + 1)))
  }
  return sums.map((sum, index) =>
    sum.mantissa === 0n ? 0n : sum.mantissa << BigInt(sum.exponent - unit * (index + 1)),
  )
}

function powerSums<S>(
  domain: SumDomain<S>,
  order: Order,
  finish: (state: PowerSums<S>) => number | null,
): Algebra<PowerSums<S>> {
  const empty = (): PowerSums<S> => ({ count: 0, sums: Array.from({ length: order }, domain.empty) })
  return {
    empty,
    add: (state, input) => {
      const cell = input.cell
      if (cell === null) return state
      const sums = state.sums
      state.count++
      domain.add(sums[0]!, cell)
      domain.addSquare(sums[1]!, cell)
      if (order > 2) domain.addCube(sums[2]!, cell)
      if (order > 3) domain.addFourth(sums[3]!, cell)
      return state
    },
    merge: (left, right) => ({
      count: left.count + right.count,
      sums: left.sums.map((sum, index) => domain.merge(sum, right.sums[index]!)),
    }),
    result: finish,
    encode: (state, out) => {
      out.varint(state.count)
      if (state.count > 0) for (const sum of state.sums) domain.encode(sum, out)
    },
    decode: input => {
      const count = input.varint()
      return count === 0 ? empty() : { count, sums: Array.from({ length: order }, () => domain.decode(input)) }
    },
    absorb: (state, input) => {
      const count = input.varint()
      if (count === 0) return state
      state.count += count
      for (const sum of state.sums) domain.absorb(sum, input)
      return state
    },
  }
}
