import { defineAggregator, type AggregatorDescriptor } from './descriptor.ts'
import { isScalarType, listTypeText } from './input-types.ts'
import { RANKED_PARAM, rankedAlgebra, rankedSql } from './ranked.ts'

/** `topN(field, n)`. */
export const topN: AggregatorDescriptor = defineAggregator({
  family: 'topN',
  kind: 'merge',
  version: 1,
  exactness: 'exact',
  params: RANKED_PARAM,
  doc: 'The n greatest values that are not null and not NaN, greatest first, equal ones as often as they came; fewer when there are fewer. Strings by their UTF-8 bytes, false before true. Empty: []. Exact. State: a count of 1 or 2 bytes and the values.',
  accepts: isScalarType,
  valueType: inputType => listTypeText(inputType),
  algebra: (inputType, params) => rankedAlgebra(inputType, params.n, 1),
  sql: (rows, inputType, params) => rankedSql(inputType, rows.cells, params.n, 'arrayReverseSort'),
})
