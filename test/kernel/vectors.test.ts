import * as fc from 'fast-check'
import { describe, expect, it } from 'vitest'
import { makeAggregator } from '../../features/kernel/aggregators/index.ts'
import type { Cell, FieldType, Input, ReadAt, Value } from '../../features/kernel/types.ts'
import { inputsOf } from './inputs.ts'
import { stateOf } from './laws.ts'

const AT: ReadAt = { t: 0, lengthMs: null }
const LENGTH = 3
const vector: FieldType = { kind: 'vector', length: LENGTH }
const double: FieldType = { kind: 'double' }

function resultOf(family: string, type: FieldType, inputs: readonly Input[]): Value {
  const aggregator = makeAggregator(family, {}, type)
  const middle = inputs.length >> 1
  const left = stateOf(aggregator, inputs.slice(0, middle))
  return aggregator.result(aggregator.merge(left, stateOf(aggregator, inputs.slice(middle))), AT)
}

function of(family: string, cells: readonly Cell[], length = LENGTH): Value {
  const inputs = cells.map((cell, time) => ({ cell, time, id: '' }))
  return resultOf(family, { kind: 'vector', length }, inputs)
}

/** The inputs with one element of each vector in place of the vector. */
function element(inputs: readonly Input[], place: number): Input[] {
  return inputs.map(input => ({ ...input, cell: (input.cell as readonly number[] | null)?.[place] ?? null }))
}

describe('aggregators over vectors', () => {
  const pairs = { vectorSum: 'sum', vectorMean: 'mean', vectorMin: 'min', vectorMax: 'max' }
  for (const [family, scalar] of Object.entries(pairs)) {
    it(`${family} is ${scalar} of each element`, () => {
      const property = fc.property(fc.array(inputsOf(vector), { maxLength: 10 }), inputs => {
        const result = resultOf(family, vector, inputs)
        if (family !== 'vectorSum' && inputs.every(input => input.cell === null)) {
          expect(result).toBe(null)
          return
        }
        const wanted = Array.from({ length: LENGTH }, (_, place) => resultOf(scalar, double, element(inputs, place)))
        expect(result).toEqual(wanted.map(value => value ?? NaN))
      })
      fc.assert(property, { numRuns: 500 })
    })
  }

  it('by hand', () => {
    const vectors = [
      [1, -2, 0.1],
      [3, 5, 0.2],
      [2, 0, 0.3],
    ]
    expect(of('vectorSum', vectors)).toEqual([6, 3, 0.6])
    expect(of('vectorMean', vectors)).toEqual([2, 1, 0.2])
    expect(of('vectorMin', vectors)).toEqual([1, -2, 0.1])
    expect(of('vectorMax', vectors)).toEqual([3, 5, 0.3])
    expect(of('vectorSum', [null, [1, 2, 3], null])).toEqual([1, 2, 3])
  })

  it('of nothing', () => {
    for (const cells of [[], [null]]) {
      expect(of('vectorSum', cells)).toEqual([0, 0, 0])
      expect(of('vectorMean', cells)).toBe(null)
      expect(of('vectorMin', cells)).toBe(null)
      expect(of('vectorMax', cells)).toBe(null)
    }
  })

  it('of NaN and infinities', () => {
    const hostile = [
      [NaN, NaN, Infinity],
      [1, NaN, -Infinity],
    ]
    expect(of('vectorMin', hostile)).toEqual([1, NaN, -Infinity])
    expect(of('vectorMax', hostile)).toEqual([1, NaN, Infinity])
    expect(of('vectorSum', hostile)).toEqual([NaN, NaN, NaN])
    expect(of('vectorMean', [[Infinity], [1]], 1)).toEqual([Infinity])
  })

  it('gives results that later adds leave alone', () => {
    for (const family of Object.keys(pairs)) {
      const aggregator = makeAggregator(family, {}, vector)
      const state = stateOf(aggregator, [{ cell: [1, 2, 3], time: 0, id: '' }])
      const before = aggregator.result(state, AT)
      aggregator.add(state, { cell: [-9, 9, 9], time: 1, id: '' })
      expect(before).toEqual([1, 2, 3])
    }
  })

  it('refuses other types', () => {
    for (const family of Object.keys(pairs)) {
      expect(() => makeAggregator(family, {}, double)).toThrow(`${family} takes no field of type double`)
      expect(() => makeAggregator(family, {}, null)).toThrow(`${family} needs a field`)
    }
  })
})
