import { defineAggregator, type AggregatorDescriptor } from './descriptor.ts'
import { ENDS_PARAM, endsAlgebra } from './ends.ts'
import { isFieldType, listTypeText } from './input-types.ts'
import { shownListSql } from './sql.ts'

/** `lastN(field, n)`. */
export const lastN: AggregatorDescriptor = defineAggregator({
  family: 'lastN',
  kind: 'merge',
  version: 1,
  exactness: 'exact',
  params: ENDS_PARAM,
  doc: 'The n values that are not null with the greatest (time, id, value), newest first; fewer when there are fewer. NaN is kept. Empty: []. Exact. State: a count, then time, id and value of each.',
  accepts: isFieldType,
  valueType: inputType => listTypeText(inputType),
  algebra: (inputType, params) => endsAlgebra('lastN', inputType, params.n, 1),
  sql: (rows, inputType, params) => shownListSql(inputType, `arrayReverse(arraySlice(${rows.cells}, -${params.n}))`),
})
