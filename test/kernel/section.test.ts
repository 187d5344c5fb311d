import { describe, expect, it } from 'vitest'
import {
  TILE_MIN_POINTS,
  applyPoint,
  comparePoints,
  createWriter,
  decodeSection,
  emptySection,
  encodeSection,
  makeAggregator,
  newestTime,
  oracleVerdicts,
  pointCount,
  tileMsFor,
} from '../../features/kernel/index.ts'
import type { SectionState } from '../../features/kernel/index.ts'
import type { PartialSpec, Point, UnitSpec } from '../../features/kernel/types.ts'
import { caseOf, diceOf, hex, pointOf, seedsOf, textOfValues, timeoutMsOf, type Dice } from './logs.ts'

function applyAll(spec: UnitSpec, points: readonly Point[]): SectionState {
  const state = emptySection(spec)
  for (const point of points) applyPoint(spec, state, point)
  return state
}

/** As `applyAll`, but the state goes through bytes now and then, as when a worker is killed and another resumes. */
function applyWithCrashes(spec: UnitSpec, points: readonly Point[], dice: Dice): SectionState {
  let state = emptySection(spec)
  for (const point of points) {
    if (dice.chance(0.15)) state = decodeSection(spec, encodeSection(spec, state))
    applyPoint(spec, state, point)
  }
  return state
}

/** Another order in which none of the points is late: each is delayed by at most the lateness. */
function shuffledWithinLateness(spec: UnitSpec, points: readonly Point[], dice: Dice): Point[] {
  const keyed = points.map(point => ({
    point,
    key: point.time + dice.integer(0, spec.latenessMs),
    tie: dice.integer(0, 99),
  }))
  return keyed.sort((a, b) => a.key - b.key || a.tie - b.tie).map(({ point }) => point)
}

const foldOf = (partial: PartialSpec, points: readonly Point[]): string => {
  const rows = points.filter(point => partial.filter < 0 || (point.mask & (1 << partial.filter)) !== 0)
  const { aggregator, column } = partial
  const out = createWriter()
  const inputs = rows.map(({ time, id, cells }) => ({ cell: column < 0 ? null : cells[column]!, time, id }))
  aggregator.encode(
    inputs.reduce((state, input) => aggregator.add(state, input), aggregator.empty()),
    out,
  )
  return hex(out.finish())
}

/** What is stored, by the definition, of a set of accepted points of one partition. */
function defined(spec: UnitSpec, accepted: readonly Point[]): unknown {
  const newest = Math.max(...accepted.map(point => point.time))
  const sorted = [...accepted].sort(comparePoints)
  const raw = sorted.filter(point => point.time >= newest - spec.retentionMs)
  const old = sorted.filter(point => point.time < newest - spec.retentionMs)
  const tiles: unknown[] = []
  const starts =
    spec.tileMs === 0 ? [] : [...new Set(raw.map(point => Math.floor(point.time / spec.tileMs) * spec.tileMs))]
  for (const start of starts) {
    const inside = sorted.filter(point => point.time >= start && point.time < start + spec.tileMs)
    const closed = start + spec.tileMs <= newest - spec.latenessMs
    if (!closed || start < newest - spec.retentionMs || inside.length < TILE_MIN_POINTS) continue
    const states = spec.partials.map(partial => foldOf(partial, inside))
    tiles.push({ start, first: raw.indexOf(inside[0]!), count: inside.length, states: states.join('') })
  }
  const kept = spec.partials.filter(partial => partial.lifetime)
  return { newest, raw, folded: kept.length > 0 ? old.length : 0, base: kept.map(p => foldOf(p, old)), tiles }
}

/** The same of a state, read from its fields. */
function observed(spec: UnitSpec, state: SectionState): unknown {
  const zero = state.shift + state.head
  const kept = [...spec.partials.keys()].filter(index => spec.partials[index]!.lifetime)
  return {
    newest: newestTime(state),
    raw: state.points.slice(state.head),
    folded: state.folded,
    base: kept.map(index => {
      const out = createWriter()
      spec.partials[index]!.aggregator.encode(state.base[index], out)
      return hex(out.finish())
    }),
    tiles: state.tiles.map(tile => ({
      start: tile.startMs,
      first: tile.first - zero,
      count: tile.end - tile.first,
      states: hex(tile.packed.subarray(4 * spec.partials.length)),
    })),
  }
}

function checkSections(seed: number, tiles: boolean): { tiles: number; folded: number } {
  const { spec, log } = caseOf(seed, tiles)
  const dice = diceOf(seed + 700_000)
  const verdicts = oracleVerdicts(spec, log)
  const seen = { tiles: 0, folded: 0 }
  for (const partition of new Set(log.map(record => record.partition))) {
    const all = log.filter(record => record.partition === partition).map(record => record.point)
    const accepted = log.filter((r, i) => r.partition === partition && verdicts[i] === 'added').map(r => r.point)
    const state = applyAll(spec, all)
    const bytes = encodeSection(spec, state)
    const told = `seed ${seed} partition ${partition}`
    expect(textOfValues(observed(spec, state)), `definition, ${told}`).toBe(textOfValues(defined(spec, accepted)))
    const decoded = decodeSection(spec, bytes)
    expect(textOfValues(observed(spec, decoded)), `decoded, ${told}`).toBe(textOfValues(observed(spec, state)))
    expect(hex(encodeSection(spec, decoded)), `encoded again, ${told}`).toBe(hex(bytes))
    expect(hex(encodeSection(spec, applyWithCrashes(spec, all, dice))), `resumed, ${told}`).toBe(hex(bytes))
    const shuffled = shuffledWithinLateness(spec, accepted, dice)
    expect(hex(encodeSection(spec, applyAll(spec, shuffled))), `other order, ${told}`).toBe(hex(bytes))
    const replayed = applyWithCrashes(spec, [...shuffled, ...shuffled, ...all], dice)
    expect(hex(encodeSection(spec, replayed)), `delivered again, ${told}`).toBe(hex(bytes))
    seen.tiles += state.tiles.length
    seen.folded += state.folded
  }
  return seen
}

describe('sections are canonical', () => {
  for (const tiles of [false, true]) {
    it(
      `in any order, over crashes and redelivery, ${tiles ? 'with' : 'without'} tiles`,
      () => {
        const seen = { tiles: 0, folded: 0 }
        for (const seed of seedsOf(80)) {
          const one = checkSections(seed + (tiles ? 3_000_000 : 2_000_000), tiles)
          seen.tiles += one.tiles
          seen.folded += one.folded
        }
        expect(seen.folded).toBeGreaterThan(0)
        expect(seen.tiles > 0).toBe(tiles)
      },
      timeoutMsOf(80),
    )
  }
})

const spec: UnitSpec = {
  columns: [{ kind: 'int' }, { kind: 'string' }],
  filterCount: 2,
  partials: [
    { aggregator: makeAggregator('count', {}, null), column: -1, filter: 1, lifetime: true },
    { aggregator: makeAggregator('sum', {}, { kind: 'int' }), column: 0, filter: -1, lifetime: false },
  ],
  latenessMs: 10,
  horizonMs: 10,
  retentionMs: 100,
  tileMs: 0,
}

const point = (time: number, id: string, value: number | null = 1, text: string | null = 'x', mask = 3): Point => ({
  time,
  id,
  cells: [value, text],
  mask,
})

describe('applying points', () => {
  it('is late only below newest − lateness', () => {
    const state = applyAll(spec, [point(1000, 'a')])
    expect(applyPoint(spec, state, point(989, 'b'))).toBe('late')
    expect(applyPoint(spec, state, point(990, 'c'))).toBe('added')
    expect(newestTime(state)).toBe(1000)
    expect(pointCount(state)).toBe(2)
  })

  it('tells duplicates from conflicts, and changes nothing for either', () => {
    const state = applyAll(spec, [point(1000, 'a', 5, 'x', 1)])
    const bytes = hex(encodeSection(spec, state))
    expect(applyPoint(spec, state, point(1000, 'a', 5, 'x', 1))).toBe('duplicate')
    expect(applyPoint(spec, state, point(1000, 'a', 6, 'x', 1))).toBe('conflict')
    expect(applyPoint(spec, state, point(1000, 'a', 5, null, 1))).toBe('conflict')
    expect(applyPoint(spec, state, point(1000, 'a', 5, 'x', 2))).toBe('conflict')
    expect(hex(encodeSection(spec, state))).toBe(bytes)
    expect(applyPoint(spec, state, point(1001, 'a', 5, 'x', 1))).toBe('added')
  })

  it('takes NaN as equal to itself', () => {
    const doubles: UnitSpec = { ...spec, columns: [{ kind: 'double' }, { kind: 'vector', length: 2 }] }
    const nan = (): Point => ({ time: 5, id: 'a', cells: [NaN, [1, NaN]], mask: 0 })
    const state = emptySection(doubles)
    expect(applyPoint(doubles, state, nan())).toBe('added')
    expect(applyPoint(doubles, state, nan())).toBe('duplicate')
    expect(decodeSection(doubles, encodeSection(doubles, state)).points).toEqual([nan()])
  })

  it('keeps a point at newest − retention and folds the one before', () => {
    const state = applyAll(spec, [point(899, 'a'), point(899, 'b', 1, 'x', 1), point(900, 'c'), point(1000, 'd')])
    expect(pointCount(state)).toBe(2)
    expect(state.folded).toBe(2)
    expect(spec.partials[0]!.aggregator.result(state.base[0])).toBe(1)
    expect(state.base[1]).toBeNull()
  })

  it('drops old points without a trace where no partial is a lifetime one', () => {
    const windows: UnitSpec = { ...spec, partials: spec.partials.map(partial => ({ ...partial, lifetime: false })) }
    const long = applyAll(windows, [point(1, 'a'), point(2, 'b'), point(1000, 'c')])
    expect(hex(encodeSection(windows, long))).toBe(hex(encodeSection(windows, applyAll(windows, [point(1000, 'c')]))))
  })

  it('orders ids of one time by UTF-8 bytes', () => {
    const state = applyAll(spec, [point(1, '\u{1F600}'), point(1, '\uFFFD'), point(1, 'é'), point(1, 'z')])
    const ids = decodeSection(spec, encodeSection(spec, state)).points.map(({ id }) => id)
    expect(ids).toEqual(['z', 'é', '\uFFFD', '\u{1F600}'])
  })

  it('refuses points that are not of the unit’s shape', () => {
    const state = emptySection(spec)
    expect(() => applyPoint(spec, state, point(1.5, 'a'))).toThrow(/point a: time 1.5/)
    expect(() => applyPoint(spec, state, { ...point(1, 'a'), cells: [1] })).toThrow(/1 cells for a unit of 2 columns/)
    expect(() => applyPoint(spec, state, { ...point(1, 'a'), mask: 4 })).toThrow(/mask 4 for a unit of 2 filters/)
    expect(newestTime(state)).toBeNull()
    expect(pointCount(state)).toBe(0)
  })
})

describe('tiles', () => {
  const tiled: UnitSpec = { ...spec, tileMs: 20 }
  const burst = (from: number, count: number): Point[] =>
    Array.from({ length: count }, (_, index) => point(from + (index % 20), `i${index}`))

  it('are stored once their end reaches newest − lateness, with enough points', () => {
    const points = burst(100, TILE_MIN_POINTS)
    expect(applyAll(tiled, [...points, point(129, 'z')]).tiles).toEqual([])
    expect(applyAll(tiled, [...points, point(130, 'z')]).tiles).toMatchObject([{ startMs: 100, first: 0, end: 16 }])
    expect(applyAll(tiled, [...points.slice(1), point(130, 'z')]).tiles).toEqual([])
  })

  it('go when their start leaves the retention, and are the same before the epoch', () => {
    const points = burst(-40, 40)
    const closing = [...points, point(-10, 'x')]
    expect(applyAll(tiled, closing).tiles).toMatchObject([{ startMs: -40 }])
    expect(applyAll(tiled, [...points, point(60, 'z')]).tiles).toMatchObject([{ startMs: -40 }])
    expect(applyAll(tiled, [...closing, point(60, 'z')]).tiles).toMatchObject([{ startMs: -40 }])
    expect(applyAll(tiled, [...closing, point(61, 'z')]).tiles).toEqual([])
  })

  it('keep their rows while older points leave memory', () => {
    const points = Array.from({ length: 1000 }, (_, index) => point(Math.floor(index / 2), `i${index % 2}`, index))
    const state = emptySection(tiled)
    let compactions = 0
    for (const [index, one] of points.entries()) {
      const { shift } = state
      applyPoint(tiled, state, one)
      compactions += state.shift > shift ? 1 : 0
      if (index % 7 !== 0 && state.shift === shift) continue
      const told = `after ${index}`
      expect(textOfValues(observed(tiled, state)), told).toBe(textOfValues(defined(tiled, points.slice(0, index + 1))))
    }
    expect(compactions).toBeGreaterThanOrEqual(3)
    expect(state.tiles.length).toBeGreaterThanOrEqual(3)
  })

  it('have a width that follows from the windows alone', () => {
    const hour = 3_600_000
    expect(
      [[], [0], [63_999], [64_000], [hour], [24 * hour, hour], [7 * 24 * hour, 0], [3650 * 24 * hour]].map(tileMsFor),
    ).toEqual([0, 0, 0, 1000, 30_000, hour / 4, 2 * hour, 24 * hour])
  })
})

describe('encoded sections', () => {
  const bytes = encodeSection(spec, applyAll(spec, [point(1, 'a'), point(2, 'b', null, null)]))

  it('keep the layout of version 1', () => {
    const points = [point(1, 'a'), point(150, 'b'), point(160, 'c', null, null, 2)]
    const layout = [
      '01000200 82000000 0000000000006440 000000000000f03f 02000000 00000000 48000000 56000000 79000000 82000000',
      '58000000 6a000000',
      '0000000000c06240 0000000000006440',
      '00000000 01000000 02000000 6263',
      '03 02',
      '01 000000000000f03f 0000000000000000 02',
      '01 00000000 01000000 01000000 02 78',
      '01000000 01000000 01',
    ]
    expect(hex(encodeSection(spec, applyAll(spec, points)))).toBe(layout.join('').replaceAll(' ', ''))
  })

  it('refuse another version by its number, cut bytes, and another unit', () => {
    expect(() => decodeSection(spec, Uint8Array.from([2, ...bytes.subarray(1)]))).toThrow(/section of version 2; this/)
    expect(() => decodeSection(spec, new Uint8Array())).toThrow(RangeError)
    expect(() => decodeSection(spec, bytes.subarray(0, bytes.length - 1))).toThrow(/it was cut or joined/)
    expect(() => decodeSection(spec, bytes.subarray(0, 9))).toThrow(/it was cut or joined/)
    expect(() => decodeSection({ ...spec, columns: [] }, bytes)).toThrow(/2 columns read as a unit of 0/)
  })

  it('are read wherever they lie in a larger buffer', () => {
    const wide = new Uint8Array(bytes.length + 6)
    wide.set(bytes, 3)
    expect(encodeSection(spec, decodeSection(spec, wide.subarray(3, 3 + bytes.length)))).toEqual(bytes)
  })

  it('refuse cells that are not of their column', () => {
    const encoded = (columns: UnitSpec['columns'], cell: Point['cells'][number]): Uint8Array => {
      const one: UnitSpec = { ...spec, columns, filterCount: 0, partials: [] }
      return encodeSection(one, applyAll(one, [{ time: 1, id: 'a', cells: [cell], mask: 0 }]))
    }
    expect(() => encoded([{ kind: 'int64' }], 2n ** 63n)).toThrow(/an int64, not bigint 9223372036854775808/)
    expect(() => encoded([{ kind: 'int64' }], 1)).toThrow(RangeError)
    expect(() => encoded([{ kind: 'vector', length: 3 }], [1, 2])).toThrow(/a vector of 3/)
    expect(() => encoded([{ kind: 'double' }], 'x')).toThrow(/a double, not string x/)
    expect(() => encoded([{ kind: 'boolean' }], 1)).toThrow(RangeError)
    expect(() => encoded([{ kind: 'string' }], 1)).toThrow(RangeError)
    expect(() => encoded([{ kind: 'string' }], '\uD800')).toThrow(/lone surrogate/)
  })

  it('hold every kind of cell at its extremes', () => {
    const dice = diceOf(7)
    const wide = caseOf(12, false).spec
    const points = Array.from({ length: 50 }, (_, index) => pointOf(dice, wide, index, `é${index}`))
    const state = applyAll({ ...wide, retentionMs: 1000 }, points)
    expect(decodeSection(wide, encodeSection(wide, state)).points).toEqual(points)
  })
})
