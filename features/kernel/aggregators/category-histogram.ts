import type { FieldType } from '../types.ts'
import { binCounts } from './bin-counts.ts'
import { defineAggregator, type AggregatorDescriptor } from './descriptor.ts'
import { sqlString } from './literal-sql.ts'

/** Types whose values have one text: `true`, `-5`, the string itself. */
type TextType = Extract<FieldType, { readonly kind: 'string' | 'boolean' | 'int' | 'int64' }>

const MAX_CATEGORIES = 200

/** `categoryHistogram(field, categories)`. */
export const categoryHistogram: AggregatorDescriptor = defineAggregator({
  family: 'categoryHistogram',
  kind: 'merge',
  version: 1,
  exactness: 'exact',
  params: {
    categories: {
      kind: 'strings',
      minLength: 1,
      maxLength: MAX_CATEGORIES,
      doc: 'the values counted by themselves, as text: true and false for booleans, plain digits for whole numbers',
    },
  },
  doc: 'How often each declared category is the value, in the order declared, and last how many values that are not null are none of them. Whole numbers and booleans are compared by their text; such types have no NaN. Empty: a list of zeros. Exact. State: a varint for each count that is not 0 and 2 to 3 bytes for each run of zeros.',
  accepts: isTextType,
  valueType: () => 'readonly number[]',
  algebra: (_inputType, params) => {
    const places = new Map(params.categories.map((category, place) => [category, place]))
    const others = params.categories.length
    return binCounts(others + 1, cell => places.get(String(cell)) ?? others)
  },
  sql: (rows, inputType, params) => {
    const texts = inputType.kind === 'string' ? rows.cells : `arrayMap(hw_x -> toString(hw_x), ${rows.cells})`
    const declared = `[${params.categories.map(sqlString).join(', ')}]`
    const counts = `arrayMap(hw_c -> countEqual(hw_t, hw_c), ${declared})`
    const all = `arrayMap(hw_h -> arrayPushBack(hw_h, toUInt64(length(hw_t) - arraySum(hw_h))), [${counts}])[1]`
    return `arrayMap(hw_t -> ${all}, [${texts}])[1]`
  },
})

function isTextType(type: FieldType | null): type is TextType {
  return type !== null && ['string', 'boolean', 'int', 'int64'].includes(type.kind)
}
