import { describe, expect, it } from 'vitest'
import { AGGREGATORS, makeAggregator, type RawParams } from '../../features/kernel/aggregators/index.ts'
import type { FieldType } from '../../features/kernel/types.ts'
import { distinctByArrival } from './broken/distinct-by-arrival.ts'
import { firstByArrival } from './broken/first-by-arrival.ts'
import { floatSum } from './broken/float-sum.ts'
import { greedyMerge } from './broken/greedy-merge.ts'
import { maxBySubtraction } from './broken/max-by-subtraction.ts'
import { inputsOf, TYPES } from './inputs.ts'
import { brokenLaws, lawSuite } from './laws.ts'

const PARAMS: Readonly<Record<string, readonly RawParams[]>> = {
  variance: [{}, { sample: true }],
  std: [{}, { sample: true }],
  lastN: [{ n: 1 }, { n: 4 }, { n: 1000 }],
  distinct: [{ bound: 1 }, { bound: 4 }, {}],
}

for (const descriptor of AGGREGATORS) {
  for (const type of [null, ...TYPES]) {
    if (!descriptor.accepts(type)) continue
    for (const params of PARAMS[descriptor.family] ?? [{}]) {
      const aggregator = makeAggregator(descriptor.family, params, type)
      lawSuite(aggregator.name, aggregator, inputsOf(type))
    }
  }
}

describe('the laws find broken aggregators', () => {
  const seed = 20240229
  const double: FieldType = { kind: 'double' }

  it('a sum in floating point', () => {
    const found = brokenLaws(floatSum, inputsOf(double), 300, seed)
    expect(found).toContain('merge is associative')
    expect(found).toContain('equal states have equal bytes')
  })

  it('a first by arrival', () => {
    const found = brokenLaws(firstByArrival, inputsOf(double), 300, seed)
    expect(found).toContain('merge is commutative')
    expect(found).toContain('equal states have equal bytes')
  })

  it('a maximum by subtraction', () => {
    expect(brokenLaws(maxBySubtraction, inputsOf({ kind: 'int64' }), 300, seed)).toContain('merge is commutative')
  })

  it('a distinct that overflows and encodes by arrival', () => {
    const found = brokenLaws(distinctByArrival, inputsOf({ kind: 'string' }), 300, seed)
    expect(found).toContain('merge is commutative')
    expect(found).toContain('equal states have equal bytes')
  })

  it('a merge that grows its left argument', () => {
    const found = brokenLaws(greedyMerge, inputsOf(null), 300, seed)
    expect(found).toContain('merge changes neither argument, nor shares what add changes')
    expect(found).toContain('empty is the unit of merge')
    expect(found).toContain('decode after encode is identity')
    expect(found).toContain('add returns its first argument')
    expect(found).toContain('add equals merge of a singleton')
  })

  it('and nothing wrong with the sound ones', () => {
    expect(brokenLaws(makeAggregator('sum', {}, double), inputsOf(double), 300, seed)).toEqual([])
    expect(brokenLaws(makeAggregator('first', {}, double), inputsOf(double), 300, seed)).toEqual([])
  })
})
