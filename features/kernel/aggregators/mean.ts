import { defineAggregator, type AggregatorDescriptor, type Algebra } from './descriptor.ts'
import { isNumericType } from './input-types.ts'
import { withSumDomain, type SumDomain } from './numeric.ts'
import { bindSql, doubleQuotientSql, sumSql } from './sql.ts'

interface Mean<S> {
  count: number
  readonly sum: S
}

/** `mean(field)`. */
export const mean: AggregatorDescriptor = defineAggregator({
  family: 'mean',
  kind: 'merge',
  version: 1,
  exactness: 'float',
  params: {},
  doc: 'Σx / n over values that are not null; a boolean counts as 0 or 1. Empty: null. The sum is exact and the quotient is rounded once. NaN and infinities as in sum. State: the sum and a count of 1 to 8 bytes.',
  accepts: isNumericType,
  valueType: () => 'number | null',
  algebra: inputType => withSumDomain<Algebra<unknown>>(inputType, meanOver),
  sql: (rows, inputType) => {
    const meanSql = (mean: string): string => bindSql('cells', rows.cells, `if(empty(hw_cells), NULL, ${mean})`)
    if (inputType.kind === 'double') return meanSql(doubleQuotientSql('hw_cells', 'length(hw_cells)'))
    // A decimal is divided as the whole number that it is stored as, so that the quotient is rounded once.
    const unit = inputType.kind === 'decimal' ? ` * ${10 ** inputType.scale}` : ''
    return meanSql(`toFloat64(${sumSql(inputType, 'hw_cells')}${unit}) / (length(hw_cells)${unit})`)
  },
})

function meanOver<S>(domain: SumDomain<S>): Algebra<Mean<S>> {
  return {
    empty: () => ({ count: 0, sum: domain.empty() }),
    add: (state, input) => {
      if (input.cell !== null) {
        state.count++
        domain.add(state.sum, input.cell)
      }
      return state
    },
    merge: (left, right) => ({ count: left.count + right.count, sum: domain.merge(left.sum, right.sum) }),
    result: state => (state.count === 0 ? null : domain.mean(state.sum, state.count)),
    encode: (state, out) => {
      out.varint(state.count)
      if (state.count > 0) domain.encode(state.sum, out)
    },
    decode: input => {
      const count = input.varint()
      return { count, sum: count > 0 ? domain.decode(input) : domain.empty() }
    },
    absorb: (state, input) => {
      const count = input.varint()
      if (count === 0) return state
      state.count += count
      domain.absorb(state.sum, input)
      return state
    },
  }
}
