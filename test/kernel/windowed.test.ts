import * as fc from 'fast-check'
import { describe, expect, it } from 'vitest'
import { makeAggregator, type RawParams } from '../../features/kernel/aggregators/index.ts'
import { windowed } from '../../features/kernel/aggregators/windowed.ts'
import { createReader, createWriter } from '../../features/kernel/encoding.ts'
import { compareCells, comparePoints } from '../../features/kernel/order.ts'
import type { Aggregator, ByteWriter, Cell, FieldType, Input, Value, Window } from '../../features/kernel/types.ts'
import { cellsOf } from './inputs.ts'
import { bytesOf, stateOf } from './laws.ts'

const DECIMAL: FieldType = { kind: 'decimal', scale: 2 }
const STRING: FieldType = { kind: 'string' }
const BOOLEAN: FieldType = { kind: 'boolean' }
const RUNS = 300

const session = (gapMs: number): Window => ({ kind: 'session', gapMs, maxLengthMs: 86_400_000, delayMs: 0 })
const lastEvents = (count: number): Window => ({ kind: 'lastEvents', count, withinMs: null, delayMs: 0 })
const at = (t: number): { t: number; lengthMs: null } => ({ t, lengthMs: null })

const input = (time: number, cell: Cell = null, id = `id${time}`): Input => ({ cell, time, id })

/** Inner aggregators of both kinds, with the type of their input. */
const INNER: readonly (readonly [string, RawParams, FieldType | null])[] = [
  ['count', {}, null],
  ['sum', {}, DECIMAL],
  ['mean', {}, { kind: 'double' }],
  ['last', {}, STRING],
  ['distinct', { bound: 3 }, STRING],
  ['lastN', { n: 2 }, DECIMAL],
  ['gapMean', {}, null],
  ['gapStd', {}, DECIMAL],
  ['longestStreak', {}, BOOLEAN],
]

const rowsOf = (type: FieldType | null, span: number): fc.Arbitrary<Input[]> =>
  fc.array(
    fc.record({ cell: cellsOf(type), time: fc.integer({ min: -span, max: span }), id: fc.constantFrom('a', 'b', 'é') }),
    { maxLength: 16 },
  )

const inOrder = (type: FieldType | null, rows: readonly Input[]): Input[] =>
  rows.toSorted((a, b) => comparePoints(a, b) || (type === null ? 0 : compareCells(type, a.cell, b.cell)))

/** The state of rows as they come, where `kind` allows that, else in order; folded in two parts. */
function foldedState(aggregator: Aggregator, type: FieldType | null, rows: readonly Input[], seam: number): unknown {
  const given = aggregator.kind === 'merge' ? rows : inOrder(type, rows)
  const left = stateOf(aggregator, given.slice(0, seam))
  return aggregator.merge(left, stateOf(aggregator, given.slice(seam)))
}

/** The definition: rows up to t from the last backwards while neighbours are within the gap. */
function naiveSession(type: FieldType | null, rows: readonly Input[], gapMs: number, t: number): Input[] {
  const before = inOrder(type, rows).filter(row => row.time <= t)
  const run: Input[] = []
  let next = t
  for (const row of before.toReversed()) {
    if (next - row.time > gapMs) break
    run.unshift(row)
    next = row.time
  }
  return run
}

function same(left: Value, right: Value): void {
  expect(left).toEqual(right)
}

describe('windowed', () => {
  const count = makeAggregator('count', {}, null)

  it('leaves windows that are ranges of time to the reader', () => {
    const windows: Window[] = [
      { kind: 'sliding', lengthMs: 5, delayMs: 0, edgeMs: 0 },
      { kind: 'tumbling', lengthMs: 5, lookback: 1, delayMs: 0 },
      { kind: 'lifetime', delayMs: 0 },
      { kind: 'decay', halfLifeMs: 5, delayMs: 0 },
    ]
    for (const window of windows) expect(windowed(count, window, null, null)).toBe(count)
  })

  it('names, versions and kinds its wrappers', () => {
    const sum = makeAggregator('sum', {}, DECIMAL)
    const streak = makeAggregator('longestStreak', {}, BOOLEAN)
    const shown = ({ name, kind, version, inner }: Aggregator): unknown => ({ name, kind, version, inner: inner?.name })
    expect(shown(windowed(sum, session(1_800_000), DECIMAL, null))).toEqual({
      name: 'session(1800000) of sum:decimal(2)',
      kind: 'merge',
      version: 1000 + sum.version,
      inner: 'sum:decimal(2)',
    })
    expect(windowed(streak, session(1), BOOLEAN, null).kind).toBe('concat')
    expect(shown(windowed(streak, lastEvents(10), BOOLEAN, null))).toEqual({
      name: 'lastEvents(10) of longestStreak:boolean',
      kind: 'merge',
      version: 1000 + streak.version,
      inner: 'longestStreak:boolean',
    })
  })

  it('refuses gaps and counts beyond its bounds', () => {
    for (const gapMs of [0, -1, 0.5, 400 * 86_400_000 + 1, NaN]) {
      expect(() => windowed(count, session(gapMs), null, null)).toThrow(/gap of a session/)
    }
    for (const events of [0, 1001, 1.5]) {
      expect(() => windowed(count, lastEvents(events), null, null)).toThrow(/count of a last-events/)
    }
    expect(windowed(count, session(400 * 86_400_000), null, null).inner).toBe(count)
    expect(windowed(count, lastEvents(1000), null, null).inner).toBe(count)
  })

  it('gives the inner aggregator no declared length', () => {
    const rate = makeAggregator('rate', {}, null)
    for (const window of [session(5), lastEvents(5)]) {
      const aggregator = windowed(rate, window, null, null)
      expect(() => aggregator.result(aggregator.empty(), { t: 0, lengthMs: 1000 })).toThrow(/declared length/)
    }
  })
})

describe('sessions', () => {
  const counted = windowed(makeAggregator('count', {}, null), session(10), null, null)
  const over = (times: readonly number[], t: number): Value =>
    counted.result(
      stateOf(
        counted,
        times.map(time => input(time)),
      ),
      at(t),
    )

  it('last until the gap has passed', () => {
    expect(over([0, 10, 20], 20)).toBe(3)
    expect(over([0, 10, 20], 30)).toBe(3)
    expect(over([0, 10, 20], 31)).toBe(0)
    expect(over([0, 10, 21], 21)).toBe(1)
    expect(over([], 5)).toBe(0)
    expect(over([-20, -10], 0)).toBe(2)
  })

  it('become one when the event between them comes last, and stay two without it', () => {
    expect(over([0, 5, 20, 25], 26)).toBe(2)
    expect(over([0, 5, 20, 25, 12], 26)).toBe(5)
    const sum = windowed(makeAggregator('sum', {}, DECIMAL), session(10), DECIMAL, null)
    const rows = [input(0, 100), input(20, 300), input(25, null), input(10, 50)]
    const whole = stateOf(sum, rows)
    const [bridge] = rows.splice(3, 1)
    const parted = stateOf(sum, rows)
    expect(sum.result(whole, at(30))).toBe(4.5)
    expect(sum.result(parted, at(30))).toBe(3)
    const merged = sum.merge(parted, stateOf(sum, [bridge!]))
    expect(bytesOf(sum, merged)).toBe(bytesOf(sum, whole))
    expect(sum.result(parted, at(30))).toBe(3)
  })

  it('join over the seam of two states of the kind concat', () => {
    const streak = windowed(makeAggregator('longestStreak', {}, BOOLEAN), session(10), BOOLEAN, null)
    const left = stateOf(streak, [input(-50, true), input(0, true), input(5, true)])
    const right = stateOf(streak, [input(15, true), input(18, false), input(40, true)])
    const both = streak.merge(left, right)
    expect(streak.result(both, at(45))).toBe(1)
    const cut = streak.merge(left, stateOf(streak, [input(15, true), input(18, false)]))
    expect(streak.result(cut, at(20))).toBe(3)
  })

  it('hold rows whose input is null', () => {
    const sum = windowed(makeAggregator('sum', {}, DECIMAL), session(10), DECIMAL, null)
    expect(sum.result(stateOf(sum, [input(0, 100), input(8, null), input(16, null)]), at(26))).toBe(1)
    expect(sum.result(stateOf(sum, [input(0, 100)]), at(26))).toBe(0)
  })

  for (const [family, params, type] of INNER) {
    const inner = makeAggregator(family, params, type)
    const aggregator = windowed(inner, session(6), type, null)
    it(`${aggregator.name} is the inner aggregator over the run that the definition picks`, () => {
      fc.assert(
        fc.property(rowsOf(type, 40), fc.nat(16), fc.nat(9), (rows, seam, later) => {
          const state = foldedState(aggregator, type, rows, seam)
          const t = Math.max(-40, ...rows.map(row => row.time)) + later
          const run = naiveSession(type, rows, 6, t)
          same(aggregator.result(state, at(t)), inner.result(stateOf(inner, run), at(t)))
        }),
        { numRuns: RUNS },
      )
    })
  }

  it('write one form and refuse others', () => {
    const runs = (write: (out: ByteWriter) => void): (() => unknown) => {
      const out = createWriter()
      write(out)
      return () => counted.decode(createReader(out.finish()))
    }
    const two = (start: number): (() => unknown) =>
      runs(out => {
        out.varint(2)
        for (const from of [0, start]) {
          out.int(from)
          out.varint(5)
          out.varint(2)
        }
      })
    expect(two(16)).not.toThrow()
    expect(two(15)).toThrow(/out of place/)
    expect(two(-20)).toThrow(/out of place/)
    expect(
      runs(out => {
        out.varint(1)
        out.int(Number.MAX_SAFE_INTEGER)
        out.varint(1)
        out.varint(2)
      }),
    ).toThrow(/out of place/)
  })
})

describe('last events', () => {
  it('are the greatest by time, id and input, with null inputs among them', () => {
    const last = windowed(makeAggregator('sum', {}, DECIMAL), lastEvents(2), DECIMAL, null)
    const over = (rows: readonly Input[]): Value => last.result(stateOf(last, rows), at(99))
    expect(over([])).toBe(0)
    expect(over([input(1, 100)])).toBe(1)
    expect(over([input(3, 400), input(1, 100), input(2, 200)])).toBe(6)
    expect(over([input(2, 200), input(3, null), input(1, 100)])).toBe(2)
    expect(over([input(2, 200, 'b'), input(2, 100, 'a'), input(2, 400, 'é')])).toBe(6)
    expect(over([input(2, 200, 'a'), input(2, 100, 'a'), input(2, 400, 'a')])).toBe(6)
  })

  it('give the second input to the inner aggregator and order by it last', () => {
    const seen: unknown[] = []
    const spy: Aggregator = {
      ...makeAggregator('count', {}, null),
      add: (state, row) => {
        seen.push([row.cell, row.by])
        return state
      },
    }
    const int: FieldType = { kind: 'int' }
    const last = windowed(spy, lastEvents(2), STRING, int)
    const row = (by: Cell): Input => ({ cell: 'x', time: 1, id: '', by })
    const out = createWriter()
    last.encode(stateOf(last, [row(5), row(null), row(7)]), out)
    last.result(last.decode(createReader(out.finish())), at(1))
    expect(seen).toEqual([
      ['x', 5],
      ['x', 7],
    ])
  })

  for (const [family, params, type] of INNER) {
    const inner = makeAggregator(family, params, type)
    for (const count of [1, 4]) {
      const aggregator = windowed(inner, lastEvents(count), type, null)
      it(`${aggregator.name} is the inner aggregator over the last rows, whatever the arrival`, () => {
        fc.assert(
          fc.property(rowsOf(type, 6), fc.nat(16), (rows, seam) => {
            const state = foldedState(aggregator, type, rows, seam)
            const picked = inOrder(type, rows).slice(-count)
            same(aggregator.result(state, at(50)), inner.result(stateOf(inner, picked), at(50)))
          }),
          { numRuns: RUNS },
        )
      })
    }
  }

  it('write one form and refuse others', () => {
    const last = windowed(makeAggregator('last', {}, STRING), lastEvents(2), STRING, null)
    const rows = (times: readonly number[]): (() => unknown) => {
      const out = createWriter()
      out.varint(times.length)
      for (const time of times) {
        out.int(time)
        out.string('id')
        out.u8(0)
      }
      return () => last.decode(createReader(out.finish()))
    }
    expect(rows([1, 1])).not.toThrow()
    expect(rows([2, 1])).toThrow(/out of order/)
    expect(rows([1, 2, 3])).toThrow(/last 2/)
  })
})
