import * as fc from 'fast-check'
import { describe, expect, it } from 'vitest'
import { makeAggregator, type RawParams } from '../../features/kernel/aggregators/index.ts'
import { windowed } from '../../features/kernel/aggregators/windowed.ts'
import type { FieldType, Input, Window } from '../../features/kernel/types.ts'
import { distinctByArrival } from './broken/distinct-by-arrival.ts'
import { firstByArrival } from './broken/first-by-arrival.ts'
import { floatSum } from './broken/float-sum.ts'
import { greedyMerge } from './broken/greedy-merge.ts'
import { maxBySubtraction } from './broken/max-by-subtraction.ts'
import { streakWithoutPrefix } from './broken/streak-without-prefix.ts'
import { inputsOf } from './inputs.ts'
import { brokenLaws, lawSuite } from './laws.ts'

/** Rows close to each other and to the instant at which the laws compare results, and now and then anywhere. */
function clusteredInputs(type: FieldType | null, byType: FieldType | null): fc.Arbitrary<Input> {
  const near = fc.integer({ min: 0, max: 60 }).map(ago => 1_700_000_000_000 - ago)
  const moved = fc.tuple(inputsOf(type, byType), near).map(([input, time]) => ({ ...input, time }))
  return fc.oneof({ weight: 9, arbitrary: moved }, { weight: 1, arbitrary: inputsOf(type, byType) })
}

const STRING: FieldType = { kind: 'string' }

/** What wrappers are tried around: family, parameters, input type, second input type. */
const WRAPPED: readonly (readonly [string, RawParams, FieldType | null, FieldType | null])[] = [
  ['count', {}, null, null],
  ['sum', {}, { kind: 'decimal', scale: 2 }, null],
  ['last', {}, STRING, null],
  ['last', {}, STRING, { kind: 'int' }],
  ['distinct', { bound: 3 }, STRING, null],
  ['gapMean', {}, null, null],
  ['gapStd', {}, { kind: 'double' }, null],
  ['longestStreak', {}, { kind: 'boolean' }, null],
  ['lastN', { n: 2 }, { kind: 'vector', length: 3 }, null],
  ['decayedMean', { halfLifeMs: 7 }, { kind: 'double' }, null],
]

const WRAPPERS: readonly Window[] = [
  { kind: 'session', gapMs: 1, maxLengthMs: 1000, delayMs: 0 },
  { kind: 'session', gapMs: 5, maxLengthMs: 1000, delayMs: 0 },
  { kind: 'lastEvents', count: 1, withinMs: null, delayMs: 0 },
  { kind: 'lastEvents', count: 3, withinMs: null, delayMs: 0 },
  { kind: 'lastEvents', count: 1000, withinMs: null, delayMs: 0 },
]

for (const [family, params, type, byType] of WRAPPED) {
  const inner = makeAggregator(family, params, type)
  for (const window of WRAPPERS) {
    const aggregator = windowed(inner, window, type, byType)
    const seconds = byType === null ? '' : `, ${byType.kind} beside`
    lawSuite(aggregator.name + seconds, aggregator, clusteredInputs(type, byType))
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

  it('a streak that forgets how a state begins', () => {
    const found = brokenLaws(streakWithoutPrefix, inputsOf({ kind: 'boolean' }), 300, seed)
    expect(found).toEqual(['merge is associative'])
  })

  it('such a streak inside a session', () => {
    const window: Window = { kind: 'session', gapMs: 5, maxLengthMs: 1000, delayMs: 0 }
    const type: FieldType = { kind: 'boolean' }
    const aggregator = windowed(streakWithoutPrefix, window, type, null)
    expect(brokenLaws(aggregator, clusteredInputs(type, null), 1000, seed)).toEqual(['merge is associative'])
  })

  it('and nothing wrong with the sound ones', () => {
    expect(brokenLaws(makeAggregator('sum', {}, double), inputsOf(double), 300, seed)).toEqual([])
    expect(brokenLaws(makeAggregator('first', {}, double), inputsOf(double), 300, seed)).toEqual([])
  })
})
