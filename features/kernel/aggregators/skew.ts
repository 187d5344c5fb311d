import { defineAggregator, type AggregatorDescriptor } from './descriptor.ts'
import { isNumericType } from './input-types.ts'
import { shapeAlgebra } from './moments.ts'
import { skewness } from './shape.ts'
import { scaledDeviationsSql, scaledMomentSql } from './sql.ts'

/** `skew(field)`. */
export const skew: AggregatorDescriptor = defineAggregator({
  family: 'skew',
  kind: 'merge',
  version: 1,
  exactness: 'float',
  params: {
    sample: {
      kind: 'boolean',
      default: false,
      doc: 'false gives the population skewness g1, true the adjusted G1 (null below three values)',
    },
  },
  doc: 'g1 = m3 / m2^1.5 with mₖ the k-th central moment over n, of values that are not null; for sample G1 = g1·√(n(n − 1)) / (n − 2), as scipy.stats.skew. Empty, values that are all equal (0/0: there is no shape; scipy says NaN), and sample below three: null. A NaN or an infinity among the values gives NaN. The power sums are exact; the result is within one unit in the last place. State: a count and three sums; for doubles 50 to 80 bytes in ordinary use.',
  accepts: isNumericType,
  valueType: () => 'number | null',
  algebra: (inputType, { sample }) =>
    shapeAlgebra(inputType, 3, sample ? 3 : 1, (count, sums) => skewness(count, sums, sample)),
  sql: (rows, inputType, { sample }) => {
    const adjusted = sample ? ' * sqrt(toFloat64(hw_n) * (hw_n - 1)) / (hw_n - 2)' : ''
    const ratio = `(${scaledMomentSql(3)}) / pow(${scaledMomentSql(2)}, 1.5)${adjusted}`
    return scaledDeviationsSql(inputType, rows.cells, sample ? 3 : 1, ratio)
  },
})
