import * as fc from 'fast-check'
import { describe, expect, it } from 'vitest'
import { makeAggregator } from '../../features/kernel/aggregators/index.ts'
import { createReader, createWriter } from '../../features/kernel/encoding.ts'
import type { Aggregator, ByteWriter, FieldType, Input } from '../../features/kernel/types.ts'
import { BITS, exactDecay, fixed, floorDiv, size } from './high-precision.ts'
import { cellsOf } from './inputs.ts'
import { bytesOf, lawSuite, stateOf } from './laws.ts'

const DOUBLE: FieldType = { kind: 'double' }
const DECIMAL: FieldType = { kind: 'decimal', scale: 2 }
const inputs = (pairs: readonly (readonly [number | null, number])[]): Input[] =>
  pairs.map(([cell, time], index) => ({ cell, time, id: String(index) }))

const at = (t: number): { t: number; lengthMs: null } => ({ t, lengthMs: null })

function read(aggregator: Aggregator, pairs: readonly (readonly [number | null, number])[], t: number): number {
  return aggregator.result(stateOf(aggregator, inputs(pairs)), at(t)) as number
}

const make = (family: string, halfLifeMs: number, type: FieldType | null = DOUBLE): Aggregator =>
  makeAggregator(family, { halfLifeMs }, type)

describe('decay by hand', () => {
  it('halves with every half-life', () => {
    const count = make('decayedCount', 1000, null)
    expect(read(count, [[null, 5000]], 5000)).toBe(1)
    expect(read(count, [[null, 5000]], 6000)).toBe(0.5)
    expect(
      read(
        count,
        [
          [null, 5000],
          [null, 4000],
          [null, 2000],
        ],
        5000,
      ),
    ).toBe(1.625)
    expect(read(count, [[null, 4500]], 5000)).toBeCloseTo(Math.SQRT1_2, 15)
    expect(
      read(
        make('decayedSum', 1000, DECIMAL),
        [
          [1050, 1000],
          [200, 3000],
        ],
        3000,
      ),
    ).toBe(4.625)
    expect(
      read(
        make('decayedMean', 1000),
        [
          [3, 1000],
          [9, 2000],
          [null, 2000],
        ],
        77_777,
      ),
    ).toBe(7)
  })

  it('states its value without rows', () => {
    expect(read(make('decayedCount', 1000, null), [], 5)).toBe(0)
    expect(read(make('decayedSum', 1000), [[null, 3]], 5)).toBe(0)
    expect(make('decayedMean', 1000).result(make('decayedMean', 1000).empty(), at(5))).toBe(null)
  })

  it('counts non-null values, NaN among them, and booleans and int64 as numbers', () => {
    expect(
      read(
        make('decayedCount', 1000),
        [
          [NaN, 0],
          [null, 0],
          [1, 0],
        ],
        0,
      ),
    ).toBe(2)
    const flags = makeAggregator('decayedSum', { halfLifeMs: 1000 }, { kind: 'boolean' })
    const wide = makeAggregator('decayedSum', { halfLifeMs: 1000 }, { kind: 'int64' })
    const over = (aggregator: Aggregator, cells: readonly (boolean | bigint)[]): unknown =>
      aggregator.result(
        stateOf(
          aggregator,
          cells.map(cell => ({ cell, time: 0, id: '' })),
        ),
        at(1000),
      )
    expect(over(flags, [true, false, true])).toBe(1)
    expect(over(wide, [2n ** 62n, 2n ** 62n])).toBe(2 ** 62)
  })

  it('is right before the epoch', () => {
    expect(
      read(
        make('decayedSum', 1000),
        [
          [8, -3000],
          [1, -1000],
        ],
        -1000,
      ),
    ).toBe(3)
    const sum = make('decayedSum', 1000)
    expect(read(sum, [[8, -1]], 999)).toBe(4)
    expect(
      read(
        sum,
        [
          [8, -1001],
          [4, -1],
        ],
        -1,
      ),
    ).toBe(8)
  })

  it('has the rules of sum for what is not finite, however old', () => {
    const sum = make('decayedSum', 1000)
    expect(
      read(
        sum,
        [
          [NaN, 0],
          [1, 1_000_000],
        ],
        1_000_000,
      ),
    ).toBe(NaN)
    expect(
      read(
        sum,
        [
          [1, 1_000_000],
          [Infinity, 0],
        ],
        2_000_000_000,
      ),
    ).toBe(Infinity)
    expect(
      read(
        sum,
        [
          [Infinity, 0],
          [-Infinity, 999_000],
        ],
        2_000_000,
      ),
    ).toBe(NaN)
    expect(
      read(
        make('decayedMean', 1000),
        [
          [-Infinity, 0],
          [1, 900_000],
        ],
        900_000,
      ),
    ).toBe(-Infinity)
  })

  it('loses no range: the greatest doubles, idle entities', () => {
    const greatest = Number.MAX_VALUE
    const sum = make('decayedSum', 1000)
    expect(read(sum, [[greatest, 999]], 1999) / (greatest / 2)).toBeCloseTo(1, 14)
    expect(
      read(
        sum,
        [
          [greatest, 999],
          [greatest, 999],
        ],
        999,
      ),
    ).toBe(Infinity)
    expect(
      read(
        sum,
        [
          [greatest, 999],
          [greatest, 999],
        ],
        2999,
      ) /
        (greatest / 2),
    ).toBeCloseTo(1, 14)
    expect(
      read(
        make('decayedMean', 1000),
        [
          [greatest, 1],
          [greatest, 2],
        ],
        9,
      ) / greatest,
    ).toBeCloseTo(1, 14)
    expect(read(make('decayedMean', 1000), [[5e-324, 0]], 9)).toBe(5e-324)
    expect(read(sum, [[1, 0]], 1_074_000)).toBe(5e-324)
    expect(Object.is(read(sum, [[-1, 0]], 400 * 86_400_000), 0)).toBe(true)
    expect(
      read(
        make('decayedMean', 1),
        [
          [1, 0],
          [4, 1],
        ],
        8.64e15,
      ),
    ).toBe(3)
  })
})

const amounts = fc.oneof(
  fc.integer({ min: -100_000, max: 100_000 }).map(cents => cents / 100 + 0),
  fc.double({ min: -1e9, max: 1e9, noNaN: true }).map(value => (Math.abs(value) < 1e-9 ? 0 : value)),
)
const HALF_LIVES = [1, 7, 1000, 86_400_000, 34_560_000_000]

/** A half-life, pairs of value and time over about `halfLives` of them on both sides of the epoch, the time after. */
const histories = (halfLives: number): fc.Arbitrary<[number, [number, number][], number]> =>
  fc.constantFrom(...HALF_LIVES).chain(halfLifeMs => {
    const reach = halfLives * halfLifeMs
    const pair = fc.tuple(amounts, fc.integer({ min: -reach, max: reach }))
    return fc.tuple(
      fc.constant(halfLifeMs),
      fc.array(pair, { minLength: 1, maxLength: 12 }),
      fc.integer({ min: 0, max: 4 * halfLifeMs }),
    )
  })

const newestOf = (pairs: readonly (readonly [number, number])[]): number => Math.max(...pairs.map(pair => pair[1]))

describe('decay against high precision', () => {
  it('is within 2^−50 of Σ|terms|', () => {
    fc.assert(
      fc.property(histories(30), ([halfLifeMs, pairs, later]) => {
        const t = newestOf(pairs) + later
        const [total, sizes] = exactDecay(pairs, halfLifeMs, t)
        const [weights] = exactDecay(
          pairs.map(([, time]) => [1, time]),
          halfLifeMs,
          t,
        )
        const sum = fixed(read(make('decayedSum', halfLifeMs), pairs, t))
        const count = fixed(read(make('decayedCount', halfLifeMs), pairs, t))
        const mean = fixed(read(make('decayedMean', halfLifeMs), pairs, t))
        expect(size(sum - total) <= (sizes >> 50n) + 2n).toBe(true)
        expect(size(count - weights) <= (weights >> 50n) + 2n).toBe(true)
        expect(size(((mean * weights) >> BITS) - total) <= (sizes >> 50n) + 2n).toBe(true)
      }),
      { numRuns: 1000 },
    )
  })

  it('is near a sum in floating point', () => {
    fc.assert(
      fc.property(histories(30), ([halfLifeMs, pairs, later]) => {
        const t = newestOf(pairs) + later
        const terms = pairs.map(([x, time]) => x * 2 ** (-(t - time) / halfLifeMs))
        const naive = terms.reduce((a, b) => a + b, 0)
        const sizes = terms.reduce((a, b) => a + Math.abs(b), 0)
        const sum = read(make('decayedSum', halfLifeMs), pairs, t)
        expect(Math.abs(sum - naive)).toBeLessThanOrEqual(1e-12 * sizes)
      }),
      { numRuns: 1000 },
    )
  })

  it('leaves out only rows that weigh below 2^−63 of the newest', () => {
    let left = 0
    fc.assert(
      fc.property(histories(90), ([halfLifeMs, pairs, later]) => {
        const newest = newestOf(pairs)
        const t = newest + later
        const oldest = (floorDiv(newest, halfLifeMs) - 63n) * BigInt(halfLifeMs)
        const kept = pairs.filter(([, time]) => BigInt(time) >= oldest)
        const dropped = pairs.filter(([, time]) => BigInt(time) < oldest)
        left += dropped.length
        const sum = make('decayedSum', halfLifeMs)
        expect(Object.is(read(sum, pairs, t), read(sum, kept, t))).toBe(true)
        const [, sizes] = exactDecay(dropped, halfLifeMs, newest)
        const bound = dropped.reduce((total, [x]) => total + (size(fixed(x)) >> 63n), 0n)
        expect(sizes <= bound).toBe(true)
      }),
      { numRuns: 1000 },
    )
    expect(left).toBeGreaterThan(100)
  })

  it('keeps its answer when a newer event moves the newest landmark', () => {
    fc.assert(
      fc.property(histories(10), fc.integer({ min: 0, max: 40 }), ([halfLifeMs, pairs, later], halfLives) => {
        const next = newestOf(pairs) + halfLives * halfLifeMs + later
        const sum = make('decayedSum', halfLifeMs)
        const t = next + 3 * halfLifeMs
        const [, sizes] = exactDecay(pairs, halfLifeMs, t)
        const [before, after] = [read(sum, pairs, t), read(sum, [...pairs, [0, next]], t)]
        expect(size(fixed(before) - fixed(after)) <= (sizes >> 49n) + 2n).toBe(true)
      }),
      { numRuns: 500 },
    )
  })

  it('depends on times only through their distance, bit by bit over whole half-lives', () => {
    fc.assert(
      fc.property(histories(40), fc.integer({ min: -100_000, max: 100_000 }), ([halfLifeMs, pairs, later], n) => {
        const t = newestOf(pairs) + later
        const moved = pairs.map(([x, time]): [number, number] => [x, time + n * halfLifeMs])
        const sum = make('decayedSum', halfLifeMs)
        expect(read(sum, moved, t + n * halfLifeMs)).toBe(read(sum, pairs, t))
      }),
      { numRuns: 500 },
    )
  })

  it('answers the same whether a sum is held as parts or beyond the range of doubles', () => {
    const sum = make('decayedSum', 1000)
    const state = stateOf(
      sum,
      inputs([
        [Number.MAX_VALUE, 0],
        [Number.MAX_VALUE, 0],
        [3.25, 500],
        [1e-300, -9000],
      ]),
    )
    const cancelled = inputs([
      [-Number.MAX_VALUE, 0],
      [-Number.MAX_VALUE, 0],
    ]).reduce(sum.add, state)
    const plain = stateOf(
      sum,
      inputs([
        [0, 0],
        [3.25, 500],
        [1e-300, -9000],
      ]),
    )
    expect(bytesOf(sum, cancelled)).toBe(bytesOf(sum, plain))
    expect(sum.result(cancelled, at(777))).toBe(sum.result(plain, at(777)))
  })
})

/** Times over 200 half-lives of 10 ms, so that landmarks drop out, next to the instant at which results are compared. */
function crowded(type: FieldType | null): fc.Arbitrary<Input> {
  return fc.record({
    cell: cellsOf(type),
    time: fc.integer({ min: 0, max: 2000 }).map(ago => 1_700_000_000_000 - ago),
    id: fc.constantFrom('', 'a', 'b'),
  })
}

for (const family of ['decayedCount', 'decayedSum', 'decayedMean']) {
  for (const type of [DOUBLE, DECIMAL]) {
    const aggregator = make(family, 10, type)
    lawSuite(`${aggregator.name} with landmarks that drop out`, aggregator, crowded(type))
  }
}

describe('the bytes of a decay', () => {
  const mean = make('decayedMean', 10)
  const decoding = (write: (out: ByteWriter) => void): (() => unknown) => {
    const out = createWriter()
    write(out)
    return () => mean.decode(createReader(out.finish()))
  }
  const zeros = (out: ByteWriter, sums: number): void => {
    for (let index = 0; index < sums; index++) out.u8(0)
  }

  it('are refused where no state writes them', () => {
    expect(decoding(out => out.varint(65))).toThrow(/65 landmarks/)
    const second = (distance: number): (() => unknown) =>
      decoding(out => {
        out.varint(2)
        out.int(7)
        zeros(out, 2)
        out.varint(distance)
        zeros(out, 3)
      })
    expect(second(1)).not.toThrow()
    expect(second(63)).not.toThrow()
    expect(second(0)).toThrow(/out of place/)
    expect(second(64)).toThrow(/out of place/)
    const infinite = (out: ByteWriter): void => {
      out.u8(1)
      for (const tally of [0, 1, 0]) out.varint(tally)
    }
    const one = (first: (out: ByteWriter) => void, last: (out: ByteWriter) => void): (() => unknown) =>
      decoding(out => {
        out.varint(1)
        out.int(7)
        first(out)
        zeros(out, 1)
        last(out)
      })
    expect(one(out => zeros(out, 1), infinite)).not.toThrow()
    expect(one(infinite, infinite)).toThrow(/not finite/)
    const finite = (out: ByteWriter): void => {
      out.u8(2)
      out.int(1)
      out.int(0)
    }
    expect(one(finite, finite)).toThrow(/as not finite/)
  })

  it('stay within what is stated', () => {
    const pairs = Array.from({ length: 20_000 }, (_, index): [number, number] => [(index * 7919) % 10_000, index])
    const lengthOf = (family: string): number => {
      const aggregator = make(family, 1000, DECIMAL)
      return bytesOf(aggregator, stateOf(aggregator, inputs(pairs))).length / 2 / 20
    }
    expect(lengthOf('decayedCount')).toBeLessThanOrEqual(14)
    expect(lengthOf('decayedSum')).toBeLessThanOrEqual(24)
    expect(lengthOf('decayedMean')).toBeLessThanOrEqual(37)
  })
})
