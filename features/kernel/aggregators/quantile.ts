import {
  absorbLogSketch,
  addToLogSketch,
  decodeLogSketch,
  emptyLogSketch,
  encodeLogSketch,
  LEAST_BUCKETS,
  logSketchQuantile,
  logSketchSpec,
  mergeLogSketches,
  type LogSketch,
} from '../log-sketch.ts'
import { defineAggregator, type AggregatorDescriptor, type Algebra } from './descriptor.ts'
import { isNumericType, type NumericType } from './input-types.ts'
import { cellToNumber } from './numeric.ts'

/** `quantile(field, q, error)`. */
export const quantile: AggregatorDescriptor = defineAggregator({
  family: 'quantile',
  kind: 'merge',
  version: 1,
  exactness: 'kernel',
  params: {
    q: {
      kind: 'number',
      min: 0,
      max: 1,
      default: null,
      doc: 'which quantile: 0 the least, 0.5 the median, 1 the greatest',
    },
    error: { kind: 'number', min: 1e-3, max: 0.1, default: 0.01, doc: 'the relative error α of the answer' },
    buckets: {
      kind: 'integer',
      min: LEAST_BUCKETS,
      max: 65_536,
      default: 2048,
      doc: 'how many buckets may be filled before buckets are joined in pairs and the error doubles',
    },
  },
  doc: 'An estimate of the value at rank ⌊q·(n − 1)⌋, counted from 0, of the n values that are not null and not NaN in ascending order (numpy: method "lower"); a boolean counts as 0 or 1. Within α·|value| as long as the values fill no more than `buckets` buckets, which at the defaults holds while values of one sign stay within a factor of 1e17 of each other (of both signs 1e8); each time buckets must be joined in pairs, α becomes 2α / (1 + α²): at the defaults 0.57 once values of one sign span all doubles, 0.86 of both signs. Values below 2^−1022 in size count as 0; infinities are answered as they are. Empty: null. One multiset of values has one state, whatever the order of arrival. State: 1 byte when empty, then about 2 bytes per filled bucket; at most 3 to 10 bytes times `buckets`.',
  accepts: isNumericType,
  valueType: () => 'number | null',
  algebra: (inputType, params) => sketchedQuantile(inputType, params.q, params.error, params.buckets),
})

function sketchedQuantile(type: NumericType, q: number, error: number, buckets: number): Algebra<LogSketch> {
  const spec = logSketchSpec(error, buckets)
  const toNumber = cellToNumber(type)
  return {
    empty: emptyLogSketch,
    add: (state, input) => {
      if (input.cell !== null) addToLogSketch(spec, state, toNumber(input.cell))
      return state
    },
    merge: (left, right) => mergeLogSketches(spec, left, right),
    result: state => logSketchQuantile(spec, state, q),
    encode: encodeLogSketch,
    decode: input => decodeLogSketch(spec, input),
    absorb: (state, input) => absorbLogSketch(spec, state, decodeLogSketch(spec, input)),
  }
}
