import { defineAggregator, type AggregatorDescriptor } from './descriptor.ts'
import { isScalarType, listTypeText } from './input-types.ts'
import { RANKED_PARAM, rankedAlgebra, rankedSql } from './ranked.ts'

/** `bottomN(field, n)`. */
export const bottomN: AggregatorDescriptor = defineAggregator({
  family: 'bottomN',
  kind: 'merge',
  version: 1,
  exactness: 'exact',
  params: RANKED_PARAM,
  doc: 'The n least values that are not null and not NaN, least first, equal ones as often as they came; fewer when there are fewer. Strings by their UTF-8 bytes, false before true. Empty: []. Exact. State: a count of 1 or 2 bytes and the values.',
  accepts: isScalarType,
  valueType: inputType => listTypeText(inputType),
  algebra: (inputType, params) => rankedAlgebra(inputType, params.n, -1),
  sql: (rows, inputType, params) => rankedSql(inputType, rows.cells, params.n, 'arraySort'),
})
