import { exactSumToNumber } from '../exact-sum.ts'
import { defineAggregator, type AggregatorDescriptor } from './descriptor.ts'
import { isVectorType } from './input-types.ts'
import { bindSql } from './sql.ts'
import { vectorSums, vectorSumsSql } from './vectors.ts'

/** `vectorSum(field)`. */
export const vectorSum: AggregatorDescriptor = defineAggregator({
  family: 'vectorSum',
  kind: 'merge',
  version: 1,
  exactness: 'float',
  params: {},
  doc: 'The element-wise sum of the vectors that are not null. Empty: a vector of zeros. Each element exact inside and rounded once at the end; NaN and infinities as in sum, element by element. State: a count, then per element 3 to 20 bytes in ordinary use; 1 byte when empty.',
  accepts: isVectorType,
  valueType: () => 'readonly number[]',
  algebra: inputType => vectorSums(inputType.length, state => state.sums.map(exactSumToNumber)),
  sql: (rows, inputType) =>
    bindSql(
      'sums',
      bindSql('vectors', rows.cells, vectorSumsSql('')),
      `if(empty(hw_sums), arrayWithConstant(${inputType.length}, 0.), hw_sums)`,
    ),
})
