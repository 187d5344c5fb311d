import { defineAggregator, type AggregatorDescriptor } from './descriptor.ts'
import { isNumericType } from './input-types.ts'
import { SAMPLE_PARAM, varianceAlgebra } from './moments.ts'

/** `std(field)`. */
export const std: AggregatorDescriptor = defineAggregator({
  family: 'std',
  kind: 'merge',
  version: 1,
  params: SAMPLE_PARAM,
  doc: 'The square root of variance with the same parameter, both rounded once. Empty, and sample of one: null. NaN and infinities as in variance. State: as variance.',
  accepts: isNumericType,
  valueType: () => 'number | null',
  algebra: (inputType, params) => varianceAlgebra(inputType, params.sample, Math.sqrt),
})
