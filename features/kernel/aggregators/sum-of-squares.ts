import { defineAggregator, type AggregatorDescriptor, type Algebra } from './descriptor.ts'
import { isNumericType } from './input-types.ts'
import { exactSumAlgebra, withSumDomain } from './numeric.ts'
import { doubleSumSql } from './sql.ts'

/** `sumOfSquares(field)`. */
export const sumOfSquares: AggregatorDescriptor = defineAggregator({
  family: 'sumOfSquares',
  kind: 'merge',
  version: 1,
  exactness: 'float',
  params: {},
  doc: 'Σx² over values that are not null; a boolean counts as 0 or 1. Empty: 0 (0n for int64). Exact inside and rounded once to a double at the end (int64: a bigint, never rounded). NaN gives NaN; infinities give Infinity, and so does a sum beyond the largest double. State: 1 to 9 bytes for integers and decimals below 2^53, for doubles 3 to 30 bytes in ordinary use.',
  accepts: isNumericType,
  valueType: inputType => (inputType.kind === 'int64' ? 'bigint' : 'number'),
  algebra: inputType =>
    withSumDomain<Algebra<unknown>>(inputType, domain => exactSumAlgebra(domain, domain.addSquare, domain.squareValue)),
  sql: (rows, inputType) => {
    const squares = (term: string): string => `arrayMap(hw_x -> ${term} * ${term}, ${rows.cells})`
    if (inputType.kind === 'double') return doubleSumSql(squares('hw_x'))
    const wide = inputType.kind === 'decimal' ? `toDecimal256(hw_x, ${inputType.scale})` : 'toInt256(hw_x)'
    const exact = `arrayReduce('sum', ${squares(wide)})`
    return inputType.kind === 'int64' ? exact : `toFloat64(${exact})`
  },
})
