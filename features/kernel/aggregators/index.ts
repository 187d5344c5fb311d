import type { Aggregator, FieldType } from '../types.ts'
import { count } from './count.ts'
import type { AggregatorDescriptor, RawParams } from './descriptor.ts'
import { distinct } from './distinct.ts'
import { first } from './first.ts'
import { lastN } from './last-n.ts'
import { last } from './last.ts'
import { max } from './max.ts'
import { mean } from './mean.ts'
import { min } from './min.ts'
import { std } from './std.ts'
import { sum } from './sum.ts'
import { variance } from './variance.ts'

export type { AggregatorDescriptor, RawParams } from './descriptor.ts'

/** Every aggregator family, in the order in which they are documented. */
export const AGGREGATORS: readonly AggregatorDescriptor[] = [
  count,
  sum,
  mean,
  min,
  max,
  variance,
  std,
  first,
  last,
  lastN,
  distinct,
]

const byFamily: ReadonlyMap<string, AggregatorDescriptor> = new Map(AGGREGATORS.map(entry => [entry.family, entry]))

/**
 * The aggregator of a family with these parameters over fields of this type (null: without an input). Throws
 * `RangeError` that names the family, parameter or type which is not known or not allowed.
 */
export function makeAggregator(family: string, params: RawParams, inputType: FieldType | null): Aggregator {
  const descriptor = byFamily.get(family)
  if (descriptor === undefined) {
    throw new RangeError(`no aggregator is named ${family}; there are ${[...byFamily.keys()].join(', ')}`)
  }
  return descriptor.make(inputType, params)
}
