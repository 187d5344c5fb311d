import { boundedCounts, categoryBound } from './bounded-counts.ts'
import { defineAggregator, type AggregatorDescriptor } from './descriptor.ts'
import { categoryCountsSql } from './frequency-sql.ts'
import { cellToValue, isScalarType, valueTypeText } from './input-types.ts'

/** `countPerCategory(field, bound)`. */
export const countPerCategory: AggregatorDescriptor = defineAggregator({
  family: 'countPerCategory',
  kind: 'merge',
  version: 1,
  exactness: 'exact',
  params: { bound: categoryBound },
  doc: 'Pairs [value, count] of the distinct values that are not null, ascending by value (strings by UTF-8 bytes, NaN one value after Infinity); of more than bound values the bound least, whose counts stay exact. Empty: []. Exact. State: 1 to 2 bytes, each value kept with its count, and the count of the others.',
  accepts: isScalarType,
  valueType: inputType => `readonly (readonly [${valueTypeText(inputType)}, number])[]`,
  algebra: (inputType, params) => {
    const toValue = cellToValue(inputType)
    return boundedCounts('countPerCategory', inputType, params.bound, state =>
      state.categories.map((category, index) => [toValue(category), state.counts[index]!]),
    )
  },
  sql: (rows, inputType, params) => {
    const pairs = `arraySlice(${categoryCountsSql(rows.cells, inputType)}, 1, ${params.bound})`
    return inputType.kind === 'decimal' ? `arrayMap(hw_p -> (toFloat64(hw_p.1), hw_p.2), ${pairs})` : pairs
  },
})
