import { exactSumOver } from '../exact-sum.ts'
import { defineAggregator, type AggregatorDescriptor } from './descriptor.ts'
import { isVectorType } from './input-types.ts'
import { bindSql } from './sql.ts'
import { vectorSums, vectorSumsSql } from './vectors.ts'

/** `vectorMean(field)`. */
export const vectorMean: AggregatorDescriptor = defineAggregator({
  family: 'vectorMean',
  kind: 'merge',
  version: 1,
  exactness: 'float',
  params: {},
  doc: 'The element-wise mean of the vectors that are not null. Empty: null. Each sum is exact and each quotient rounded once; NaN and infinities as in sum, element by element. State: as vectorSum.',
  accepts: isVectorType,
  valueType: () => 'readonly number[] | null',
  algebra: inputType =>
    vectorSums(inputType.length, state =>
      state.count === 0 ? null : state.sums.map(sum => exactSumOver(sum, state.count)),
    ),
  sql: rows => bindSql('vectors', rows.cells, bindSql('n', 'length(hw_vectors)', vectorSumsSql('/ hw_n'))),
})
