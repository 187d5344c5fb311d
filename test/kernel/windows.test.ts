import { describe, expect, it } from 'vitest'
import { applyPoint, emptySection, encodeSection, makeAggregator, prepareReads } from '../../features/kernel/index.ts'
import type { UnitAnswer } from '../../features/kernel/index.ts'
import type {
  Aggregator,
  FeatureRead,
  Include,
  PartialSpec,
  Point,
  UnitSpec,
  Value,
} from '../../features/kernel/types.ts'

const count = makeAggregator('count', {}, null)
const counted = makeAggregator('count', {}, { kind: 'int' })
const sum = makeAggregator('sum', {}, { kind: 'int' })
const last = makeAggregator('last', {}, { kind: 'int' })

const partial = (aggregator: Aggregator, column: number, filter = -1): PartialSpec => ({
  aggregator,
  column,
  by: -1,
  filter,
  lifetime: true,
})

/** Windows of up to 100 ms with delays of up to 50; reads up to 20 ms back. */
const spec: UnitSpec = {
  columns: [{ kind: 'int' }],
  filterCount: 1,
  partials: [partial(count, -1), partial(sum, 0), partial(last, 0), partial(count, -1, 0), partial(counted, 0)],
  latenessMs: 10,
  horizonMs: 20,
  retentionMs: 170,
  edgeMs: 0,
  rawMs: 170,
  layout: { levelsMs: [1000], leafPoints: 128, blockPoints: 1000 },
}
const [COUNT, SUM, LAST, COUNT_FILTERED, COUNT_VALUES] = [0, 1, 2, 3, 4]

const point = (time: number, id: string, value: number | null = 1, mask = 0): Point => ({
  time,
  id,
  cells: [value],
  mask,
})

function section(points: readonly Point[], unit: UnitSpec = spec): Uint8Array {
  const state = emptySection(unit)
  for (const one of points) applyPoint(unit, state, one)
  return encodeSection(unit, state).bytes
}

/** Reads sections that are whole in their heads. */
function readUnit(
  unit: UnitSpec,
  reads: readonly FeatureRead[],
  sections: readonly Uint8Array[],
  t: number,
  self: Point | null,
): UnitAnswer {
  const stored = sections.map(bytes => ({ bytes, blocks: new Map<number, Uint8Array>() }))
  const answer = prepareReads(unit, reads).fromBytes(stored, t, self)
  if ('missing' in answer) throw new Error(`missing blocks ${answer.missing.join(', ')}`)
  return answer
}

const sliding = (at: number, lengthMs: number, delayMs = 0, include: Include = 'current'): FeatureRead => ({
  partial: at,
  window: { kind: 'sliding', lengthMs, delayMs, edgeMs: 0 },
  include,
  whenEmpty: null,
})

const lifetime = (at: number, delayMs = 0, include: Include = 'current'): FeatureRead => ({
  partial: at,
  window: { kind: 'lifetime', delayMs },
  include,
  whenEmpty: null,
})

function valueAt(read: FeatureRead, points: readonly Point[], t: number, self: Point | null = null): Value {
  const answer = readUnit(spec, [read], [section(points)], t, self)
  if (answer.outOfRange) throw new Error(`out of range at ${t}`)
  return answer.values[0]!
}

describe('edges of windows', () => {
  const one = [point(1000, 'a')]

  it('of a sliding window: t − W is outside, t is inside', () => {
    const read = sliding(COUNT, 100)
    expect([999, 1000, 1001, 1099, 1100, 1101].map(t => valueAt(read, one, t))).toEqual([0, 1, 1, 1, 0, 0])
  })

  it('of a delayed sliding window: both move by the delay', () => {
    const read = sliding(COUNT, 100, 50)
    expect([1049, 1050, 1149, 1150].map(t => valueAt(read, one, t))).toEqual([0, 1, 1, 0])
  })

  it('of a lifetime window: only the upper one, moved by the delay', () => {
    expect([999, 1000, 10_000_000].map(t => valueAt(lifetime(COUNT), one, t))).toEqual([0, 1, 1])
    expect([1049, 1050].map(t => valueAt(lifetime(COUNT, 50), one, t))).toEqual([0, 1])
  })

  it('of a window of 1 ms: the instant alone', () => {
    expect([999, 1000, 1001].map(t => valueAt(sliding(COUNT, 1), one, t))).toEqual([0, 1, 0])
  })

  it('hold for an idle key read long after', () => {
    const reads = [sliding(COUNT, 100), sliding(SUM, 100), sliding(LAST, 100), lifetime(LAST)]
    const answer = readUnit(spec, reads, [section([point(1000, 'a', 7)])], 9_000_000_000_000, null)
    expect(answer).toEqual({ outOfRange: false, newest: 1000, values: [0, 0, null, 7] })
  })

  it('reach back to the horizon and no further', () => {
    const bytes = [section([point(100, 'x'), point(1000, 'a'), point(1001, 'b')])]
    expect(readUnit(spec, [sliding(COUNT, 100)], bytes, 981, null)).toMatchObject({ outOfRange: false, values: [0] })
    expect(readUnit(spec, [sliding(COUNT, 100)], bytes, 980, null)).toEqual({ outOfRange: true, newest: 1001 })
    const both = [...bytes, section([point(2000, 'c')])]
    expect(readUnit(spec, [sliding(COUNT, 100)], both, 1979, null)).toEqual({ outOfRange: true, newest: 2000 })
  })

  it('are the same for lifetime windows after points were folded', () => {
    const points = [point(1, 'a', 5), point(2, 'b', null), point(300, 'c', 6), point(301, 'd', 7)]
    const reads = [lifetime(COUNT), lifetime(SUM), lifetime(COUNT_VALUES), lifetime(LAST), lifetime(SUM, 50)]
    const at = (t: number): Value[] => {
      const answer = readUnit(spec, reads, [section(points)], t, null)
      return answer.outOfRange ? [] : answer.values
    }
    expect(at(301)).toEqual([4, 18, 3, 7, 5])
    expect(at(300)).toEqual([3, 11, 2, 6, 5])
    expect(at(281)).toEqual([2, 5, 1, 5, 5])
    expect(at(350)).toEqual([4, 18, 3, 7, 11])
  })
})

describe('what a read of nothing gives', () => {
  it('is each aggregator’s empty value, or whenEmpty in place of null', () => {
    const reads = [sliding(COUNT, 100), sliding(LAST, 100), { ...sliding(LAST, 100), whenEmpty: -1 }]
    const empty = { outOfRange: false, newest: null, values: [0, null, -1] }
    expect(readUnit(spec, reads, [], 5, null)).toEqual(empty)
    expect(readUnit(spec, reads, [section([])], 5, null)).toEqual(empty)
  })

  it('leaves zero alone: whenEmpty replaces null only', () => {
    expect(valueAt({ ...sliding(COUNT, 1), whenEmpty: 9 }, [], 5)).toBe(0)
  })
})

describe('the event being scored', () => {
  const stored = [point(990, 'o', 2), point(1000, 'a', 3), point(1000, 'b', 4)]
  const sums = (self: Point | null, t = 1000): Value[] =>
    (['current', 'excludeSelf', 'excludeInstant'] as const).map(i => valueAt(sliding(SUM, 100, 0, i), stored, t, self))

  it('is counted once, left out, or left out with its instant, when it is stored', () => {
    expect(sums(point(1000, 'a', 3))).toEqual([9, 6, 2])
  })

  it('counts as it is stored when the payload differs', () => {
    expect(sums(point(1000, 'a', 100))).toEqual([9, 6, 2])
  })

  it('joins under `current` alone when it is not stored', () => {
    expect(sums(point(1000, 'new', 100))).toEqual([109, 9, 2])
    expect(sums(point(995, 'a', 100))).toEqual([109, 9, 9])
  })

  it('is none: then the instant of the read is what excludeInstant leaves out', () => {
    expect(sums(null)).toEqual([9, 9, 2])
    expect(sums(null, 1001)).toEqual([9, 9, 9])
  })

  it('joins only windows that cover its time, and only through filters it passes', () => {
    const joined = (read: FeatureRead, self: Point, t = 1000): Value => valueAt(read, [], t, self)
    expect(joined(sliding(COUNT, 100), point(900, 's'))).toBe(0)
    expect(joined(sliding(COUNT, 100), point(901, 's'))).toBe(1)
    expect(joined(sliding(COUNT, 100), point(1001, 's'))).toBe(0)
    expect(joined(sliding(COUNT, 100, 50), point(1000, 's'))).toBe(0)
    expect(joined(lifetime(COUNT), point(-5, 's'))).toBe(1)
    expect(joined(sliding(COUNT_FILTERED, 100), point(1000, 's', 1, 0))).toBe(0)
    expect(joined(sliding(COUNT_FILTERED, 100), point(1000, 's', 1, 1))).toBe(1)
  })

  it('is recognised in whichever partition it is stored, and left out of each', () => {
    const bytes = [section(stored), section([point(1000, 'a', 50)]), section([])]
    const reads = [sliding(SUM, 100), sliding(SUM, 100, 0, 'excludeSelf'), sliding(COUNT, 100)]
    expect(readUnit(spec, reads, bytes, 1000, point(1000, 'a', 7))).toMatchObject({ values: [59, 6, 4] })
  })

  it('is out of range where its whole instant is left out of a section of other events that has folded it', () => {
    const own = section([point(829, 's')])
    const other = section([point(829, 'x'), point(1500, 'y')])
    const stored = [own, other].map(bytes => ({ bytes, blocks: new Map<number, Uint8Array>() }))
    const read = (include: Include): unknown =>
      prepareReads(spec, [lifetime(COUNT, 0, include)]).fromBytes(stored, 1500, point(829, 's'), [true, false])
    expect(read('excludeInstant')).toEqual({ outOfRange: true, newest: 1500 })
    expect(read('excludeSelf')).toMatchObject({ values: [2] })
    expect(read('current')).toMatchObject({ values: [3] })
  })

  it('is out of range for lifetime windows when it could be among the folded points', () => {
    const bytes = [section([point(1, 'a'), point(1000, 'b')])]
    expect(readUnit(spec, [lifetime(COUNT)], bytes, 1000, point(829, 's'))).toEqual({ outOfRange: true, newest: 1000 })
    expect(readUnit(spec, [lifetime(COUNT)], bytes, 1000, point(830, 's'))).toMatchObject({ values: [3] })
    expect(readUnit(spec, [sliding(COUNT, 100)], bytes, 1000, point(829, 's'))).toMatchObject({ values: [1] })
  })
})

describe('aggregators that need the total order', () => {
  const text: Aggregator<string> = {
    name: 'text',
    kind: 'concat',
    version: 1,
    empty: () => '',
    add: (state, { time, id, cell }) => `${state}${time}${id}${String(cell)} `,
    merge: (left, right) => left + right,
    result: state => state,
    encode: (state, out) => out.string(state),
    decode: input => input.string(),
  }
  const unit: UnitSpec = {
    ...spec,
    partials: [{ aggregator: text, column: 0, by: -1, filter: -1, lifetime: false }],
  }

  it('are given the points of all partitions in it, cells deciding between equal events', () => {
    const bytes = [
      section([point(10, 'b', 2), point(30, 'a')], unit),
      section([point(10, 'b', 1), point(10, 'a'), point(20, 'c')], unit),
    ]
    const values = (include: Include, self: Point | null): unknown =>
      readUnit(unit, [sliding(0, 100, 0, include), sliding(0, 15, 0, include)], bytes, 30, self)
    expect(values('current', point(25, 'z', 9))).toMatchObject({
      values: ['10a1 10b1 10b2 20c1 25z9 30a1 ', '20c1 25z9 30a1 '],
    })
    expect(values('excludeInstant', null)).toMatchObject({ values: ['10a1 10b1 10b2 20c1 ', '20c1 '] })
  })

  it('see many points one by one', () => {
    const points = Array.from({ length: 40 }, (_, index) => point(index, 'x', index))
    const answer = readUnit(unit, [sliding(0, 100)], [section(points, unit)], 39, null)
    expect(answer).toMatchObject({ values: [points.map(p => `${p.time}x${p.time} `).join('')] })
  })

  it('have no lifetime windows', () => {
    const kept: UnitSpec = { ...unit, partials: [{ ...unit.partials[0]!, lifetime: true }] }
    expect(() => prepareReads(kept, [lifetime(0)])).toThrow(/text has no lifetime window/)
  })
})

describe('reads that do not fit their unit', () => {
  it('are refused with the numbers that clash', () => {
    expect(() => prepareReads(spec, [sliding(9, 100)])).toThrow('read 0: partial 9 of a unit that has 5')
    expect(() => prepareReads(spec, [sliding(0, 1), sliding(0, 101, 50)])).toThrow(
      /read 1: a window that reaches 151 ms back .* 170 ms/,
    )
    expect(() => prepareReads(spec, [lifetime(0, 151)])).toThrow(RangeError)
    const windowsOnly: UnitSpec = { ...spec, partials: [{ ...spec.partials[0]!, lifetime: false }] }
    expect(() => prepareReads(windowsOnly, [lifetime(0)])).toThrow(/partial 0 is not kept for lifetime windows/)
  })
})
