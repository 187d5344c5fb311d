import { readFileSync } from 'node:fs'
import * as fc from 'fast-check'
import { describe, expect, it } from 'vitest'
import { AGGREGATORS, makeAggregator } from '../../features/kernel/aggregators/index.ts'
import { createReader, createWriter } from '../../features/kernel/encoding.ts'
import type { Aggregator, Cell, FieldType, Input, Value } from '../../features/kernel/types.ts'
import { inputsOf, TYPES } from './inputs.ts'
import { lawSuite, stateOf } from './laws.ts'

const INT: FieldType = { kind: 'int' }
const BOOLEAN: FieldType = { kind: 'boolean' }
const T = 1_700_000_000_000

const rows = (times: readonly number[], cells: readonly Cell[] = []): Input[] =>
  times.map((time, index) => ({ cell: cells[index] ?? null, time, id: `id${String(index).padStart(4, '0')}` }))

/** The result over rows in their order, folded in two parts that are merged, the second through its bytes. */
function resultOf(
  aggregator: Aggregator,
  inputs: readonly Input[],
  t = T,
  lengthMs: number | null = null,
  seam = inputs.length >> 1,
): Value {
  const out = createWriter()
  aggregator.encode(stateOf(aggregator, inputs.slice(seam)), out)
  const right = aggregator.decode(createReader(out.finish()))
  return aggregator.result(aggregator.merge(stateOf(aggregator, inputs.slice(0, seam)), right), { t, lengthMs })
}

function malformed(aggregator: Aggregator, write: (out: ReturnType<typeof createWriter>) => void): () => unknown {
  const out = createWriter()
  write(out)
  return () => aggregator.decode(createReader(out.finish()))
}

describe('time since', () => {
  const first = makeAggregator('timeSinceFirst', {}, null)
  const last = makeAggregator('timeSinceLast', {}, null)

  it('is from the ends of the rows to the instant of the read', () => {
    const inputs = rows([T - 50, T - 900, T - 7])
    expect(resultOf(first, inputs)).toBe(900)
    expect(resultOf(last, inputs)).toBe(7)
    expect(resultOf(last, inputs, T + 86_400_000)).toBe(86_400_007)
    expect(resultOf(last, rows([T]))).toBe(0)
    expect(resultOf(first, rows([-5, 3]), 10)).toBe(15)
    expect(resultOf(first, [])).toBe(null)
    expect(resultOf(last, [])).toBe(null)
  })

  it('with a field is over rows where it is not null', () => {
    const inputs = rows([T - 9, T - 8, T - 7, T - 6], [null, 1, 2, null])
    expect(resultOf(makeAggregator('timeSinceFirst', {}, INT), inputs)).toBe(8)
    expect(resultOf(makeAggregator('timeSinceLast', {}, INT), inputs)).toBe(7)
    expect(resultOf(makeAggregator('timeSinceLast', {}, INT), rows([T - 9]))).toBe(null)
  })

  it('refuses bytes that it does not write', () => {
    expect(malformed(first, out => out.u8(2))).toThrow(RangeError)
    expect(malformed(last, out => out.u8(1))).toThrow(RangeError)
  })
})

describe('gaps', () => {
  const mean = makeAggregator('gapMean', {}, null)
  const std = makeAggregator('gapStd', {}, null)
  const sampleStd = makeAggregator('gapStd', { sample: true }, null)

  it('by hand', () => {
    const inputs = rows([T - 60, T - 50, T - 20])
    expect(resultOf(mean, inputs)).toBe(20)
    expect(resultOf(std, inputs)).toBe(10)
    expect(resultOf(sampleStd, inputs)).toBe(Math.sqrt(200))
    expect(resultOf(mean, rows([T, T, T]))).toBe(0)
    expect(resultOf(std, rows([T, T, T]))).toBe(0)
  })

  it('is null below two rows, a sample below three', () => {
    for (const inputs of [rows([]), rows([T])]) {
      for (const aggregator of [mean, std, sampleStd]) expect(resultOf(aggregator, inputs)).toBe(null)
    }
    expect(resultOf(mean, rows([T, T + 5]))).toBe(5)
    expect(resultOf(std, rows([T, T + 5]))).toBe(0)
    expect(resultOf(sampleStd, rows([T, T + 5]))).toBe(null)
  })

  it('with a field is between rows where it is not null', () => {
    const inputs = rows([T - 60, T - 55, T - 50, T - 21, T - 20], [1, null, 2, null, 3])
    expect(resultOf(makeAggregator('gapMean', {}, INT), inputs)).toBe(20)
    expect(resultOf(makeAggregator('gapStd', {}, INT), inputs)).toBe(10)
  })

  it('is exact where a gap or its square passes 2^53', () => {
    const ends = rows([-8_640_000_000_000_001, 8_640_000_000_000_000, 8_640_000_000_000_003])
    expect(resultOf(mean, ends)).toBe(8_640_000_000_000_002)
    expect(resultOf(std, ends)).toBe(8_639_999_999_999_999)
    const wide = rows([0, 3_000_000_000, 3_000_000_001])
    expect(resultOf(std, wide)).toBe(1_499_999_999.5)
  })

  const recorded = JSON.parse(readFileSync(new URL('recorded/gaps.json', import.meta.url), 'utf8')) as {
    readonly cases: readonly {
      readonly name: string
      readonly times: readonly number[]
      readonly mean: number
      readonly std: number
      readonly sampleStd: number | null
    }[]
  }
  for (const { name, times, ...expected } of recorded.cases) {
    it(`as NumPy has it: ${name}`, () => {
      const close = (actual: Value, by: number): void =>
        expect(Math.abs((actual as number) - by)).toBeLessThanOrEqual(1e-13 * Math.abs(by))
      for (const seam of [0, 1, times.length >> 1, times.length]) {
        close(resultOf(mean, rows(times), T, null, seam), expected.mean)
        close(resultOf(std, rows(times), T, null, seam), expected.std)
        const sample = resultOf(sampleStd, rows(times), T, null, seam)
        if (expected.sampleStd === null) expect(sample).toBe(null)
        else close(sample, expected.sampleStd)
      }
    })
  }

  lawSuite('gapMean with rows in any order', { ...mean, kind: 'merge' }, inputsOf(null))

  it('refuses bytes that it does not write', () => {
    const backwards = (out: ReturnType<typeof createWriter>): void => {
      out.varint(2)
      out.int(7)
      out.int(6)
    }
    expect(malformed(mean, backwards)).toThrow(RangeError)
    expect(malformed(std, backwards)).toThrow(RangeError)
    expect(
      malformed(std, out => {
        out.varint(3)
        out.int(7)
        out.int(9)
        out.int(-1)
      }),
    ).toThrow(RangeError)
  })
})

describe('rate', () => {
  const rate = makeAggregator('rate', {}, null)

  it('is rows per second of the declared length', () => {
    expect(resultOf(rate, rows([T, T - 1, T - 2]), T, 60_000)).toBe(0.05)
    expect(resultOf(rate, rows([T, T]), T, 500)).toBe(4)
    expect(resultOf(rate, [], T, 60_000)).toBe(0)
    expect(resultOf(makeAggregator('rate', {}, INT), rows([T, T, T], [1, null, 2]), T, 1000)).toBe(2)
  })

  it('refuses a window without a declared length, in SQL too', () => {
    expect(() => resultOf(rate, [], T, null)).toThrow(/declared length/)
    const sql = AGGREGATORS.find(descriptor => descriptor.family === 'rate')!
    const arrays = { times: 'times', ids: 'ids', cells: 'cells', bys: 'bys', t: 't' }
    expect(() => sql.sql({ ...arrays, lengthMs: null }, null, {})).toThrow(/declared length/)
    expect(sql.sql({ ...arrays, lengthMs: 500 }, null, {})).toBe('length(times) * 1000 / 500')
  })
})

describe('longest streak', () => {
  const streak = makeAggregator('longestStreak', {}, BOOLEAN)
  const over = (text: string, seam?: number): Value => {
    const cells = text.split('').map(letter => (letter === 'T' ? true : letter === 'F' ? false : null))
    return resultOf(
      streak,
      rows(
        cells.map((_, index) => T + index),
        cells,
      ),
      T,
      null,
      seam,
    )
  }

  it('by hand', () => {
    expect(over('')).toBe(0)
    expect(over('FF')).toBe(0)
    expect(over('TTFTTTF')).toBe(3)
    expect(over('TT..TF')).toBe(3)
    expect(over('.')).toBe(0)
  })

  it('over every seam as in one piece', () => {
    const letters = fc.array(fc.constantFrom('T', 'T', 'T', 'F', '.'), { maxLength: 20 }).map(list => list.join(''))
    fc.assert(
      fc.property(letters, text => {
        const longest = Math.max(
          ...text
            .replaceAll('.', '')
            .split('F')
            .map(run => run.length),
        )
        for (let seam = 0; seam <= text.length; seam++) expect(over(text, seam)).toBe(longest)
      }),
      { numRuns: 500 },
    )
  })

  it('takes booleans only and refuses bytes that it does not write', () => {
    for (const type of [null, ...TYPES]) {
      if (type?.kind !== 'boolean') expect(() => makeAggregator('longestStreak', {}, type)).toThrow(/longestStreak/)
    }
    expect(
      malformed(streak, out => {
        out.varint(2 * 4 + 1)
        out.varint(1)
        out.varint(3)
      }),
    ).toThrow(RangeError)
  })
})
