import { defineAggregator, type AggregatorDescriptor } from './descriptor.ts'
import { ENDS_PARAM, endsAlgebra } from './ends.ts'
import { isFieldType, listTypeText } from './input-types.ts'
import { shownListSql } from './sql.ts'

/** `firstN(field, n)`. */
export const firstN: AggregatorDescriptor = defineAggregator({
  family: 'firstN',
  kind: 'merge',
  version: 1,
  exactness: 'exact',
  params: ENDS_PARAM,
  doc: 'The n values that are not null with the least (time, id, value), oldest first; fewer when there are fewer. NaN is kept. Empty: []. Exact. State: a count, then time, id and value of each.',
  accepts: isFieldType,
  valueType: inputType => listTypeText(inputType),
  algebra: (inputType, params) => endsAlgebra('firstN', inputType, params.n, -1),
  sql: (rows, inputType, params) => shownListSql(inputType, `arraySlice(${rows.cells}, 1, ${params.n})`),
})
