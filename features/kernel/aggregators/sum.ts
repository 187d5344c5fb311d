import { defineAggregator, type AggregatorDescriptor, type Algebra } from './descriptor.ts'
import { isNumericType } from './input-types.ts'
import { exactSumAlgebra, withSumDomain } from './numeric.ts'
import { sumSql } from './sql.ts'

/** `sum(field)`. */
export const sum: AggregatorDescriptor = defineAggregator({
  family: 'sum',
  kind: 'merge',
  version: 1,
  exactness: 'float',
  params: {},
  doc: 'Σx over values that are not null; a boolean counts as 0 or 1. Empty: 0 (0n for int64). Exact inside and rounded once to a double at the end (int64: a bigint, never rounded). NaN, or infinities of both signs, give NaN; infinities of one sign give that infinity, and so does a sum beyond the largest double. State: 1 to 9 bytes for integers and decimals below 2^53, for doubles 3 to 20 bytes in ordinary use, at worst 310, and 610 once 2^1024 was passed.',
  accepts: isNumericType,
  valueType: inputType => (inputType.kind === 'int64' ? 'bigint' : 'number'),
  algebra: inputType =>
    withSumDomain<Algebra<unknown>>(inputType, domain => exactSumAlgebra(domain, domain.add, domain.value)),
  sql: (rows, inputType) =>
    inputType.kind === 'int64' ? sumSql(inputType, rows.cells) : `toFloat64(${sumSql(inputType, rows.cells)})`,
})
