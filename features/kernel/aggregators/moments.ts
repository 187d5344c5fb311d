import type { Algebra } from './descriptor.ts'
import type { NumericType } from './input-types.ts'
import { withSumDomain, type SumDomain } from './numeric.ts'

/** Exact power sums of order 0, 1 and 2. */
interface Moments<S> {
  count: number
  readonly sum: S
  readonly squares: S
}

/** The parameter that variance and std share. */
export const SAMPLE_PARAM = {
  sample: {
    kind: 'boolean',
    default: false,
    doc: 'false divides by n (population), true by n − 1 (sample; null below two values)',
  },
} as const

/** The algebra of power sums whose result is `finish` of the variance. */
export function varianceAlgebra(
  inputType: NumericType,
  sample: boolean,
  finish: (variance: number) => number,
): Algebra<unknown> {
  return withSumDomain<Algebra<unknown>>(inputType, domain => momentsOver(domain, sample, finish))
}

function momentsOver<S>(
  domain: SumDomain<S>,
  sample: boolean,
  finish: (variance: number) => number,
): Algebra<Moments<S>> {
  return {
    empty: () => ({ count: 0, sum: domain.empty(), squares: domain.empty() }),
    add: (state, input) => {
      const cell = input.cell
      if (cell !== null) {
        state.count++
        domain.add(state.sum, cell)
        domain.addSquare(state.squares, cell)
      }
      return state
    },
    merge: (left, right) => ({
      count: left.count + right.count,
      sum: domain.merge(left.sum, right.sum),
      squares: domain.merge(left.squares, right.squares),
    }),
    result: state => {
      const divisor = sample ? state.count - 1 : state.count
      return divisor < 1 ? null : finish(domain.variance(state.sum, state.squares, state.count, divisor))
    },
    encode: (state, out) => {
      out.varint(state.count)
      if (state.count === 0) return
      domain.encode(state.sum, out)
      domain.encode(state.squares, out)
    },
    decode: input => {
      const count = input.varint()
      if (count === 0) return { count, sum: domain.empty(), squares: domain.empty() }
      return { count, sum: domain.decode(input), squares: domain.decode(input) }
    },
  }
}
