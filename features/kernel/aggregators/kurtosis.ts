import { defineAggregator, type AggregatorDescriptor } from './descriptor.ts'
import { isNumericType } from './input-types.ts'
import { shapeAlgebra } from './moments.ts'
import { kurtosisExcess } from './shape.ts'
import { scaledDeviationsSql, scaledMomentSql } from './sql.ts'

/** `kurtosis(field)`. */
export const kurtosis: AggregatorDescriptor = defineAggregator({
  family: 'kurtosis',
  kind: 'merge',
  version: 1,
  exactness: 'float',
  params: {
    sample: {
      kind: 'boolean',
      default: false,
      doc: 'false gives the population excess kurtosis g2, true the adjusted G2 (null below four values)',
    },
  },
  doc: 'g2 = m4 / m2² − 3 with mₖ the k-th central moment over n, of values that are not null (0 for a normal distribution); for sample G2 = ((n² − 1)·m4/m2² − 3(n − 1)²) / ((n − 2)(n − 3)), as scipy.stats.kurtosis with bias=False. Empty, values that are all equal (0/0: there is no shape; scipy says NaN), and sample below four: null. A NaN or an infinity among the values gives NaN. The power sums are exact and the quotient is rounded once. State: a count and four sums; for doubles 70 to 110 bytes in ordinary use.',
  accepts: isNumericType,
  valueType: () => 'number | null',
  algebra: (inputType, { sample }) =>
    shapeAlgebra(inputType, 4, sample ? 4 : 1, (count, sums) => kurtosisExcess(count, sums, sample)),
  sql: (rows, inputType, { sample }) => {
    const ratio = `(${scaledMomentSql(4)}) / pow(${scaledMomentSql(2)}, 2)`
    const n = 'toFloat64(hw_n)'
    const result = sample
      ? `((${n} * ${n} - 1) * ${ratio} - 3 * pow(${n} - 1, 2)) / ((${n} - 2) * (${n} - 3))`
      : `${ratio} - 3`
    return scaledDeviationsSql(inputType, rows.cells, sample ? 4 : 1, result)
  },
})
