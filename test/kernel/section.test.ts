import { describe, expect, it } from 'vitest'
import {
  DIRECTORY_BLOCK,
  addBlock,
  applyPoint,
  blockIdAt,
  blocksForPoint,
  comparePoints,
  decodeSection,
  emptySection,
  encodeSection,
  layoutFor,
  makeAggregator,
  newestTime,
  oracleVerdicts,
  pointCount,
} from '../../features/kernel/index.ts'
import type { SectionState } from '../../features/kernel/index.ts'
import { encodeValue } from '../../features/kernel/section-encoding.ts'
import { packStates } from '../../features/kernel/states.ts'
import { bundlesOf, suffixesOf } from '../../features/kernel/tiles.ts'
import type { Point, UnitSpec } from '../../features/kernel/types.ts'
import { caseOf, diceOf, hex, pointOf, seedsOf, timeoutMsOf, type Dice } from './logs.ts'
import { StoredUnit } from './stored.ts'

function applyAll(spec: UnitSpec, points: readonly Point[]): SectionState {
  const state = emptySection(spec)
  for (const point of points) applyPoint(spec, state, point)
  return state
}

/** What is stored after points that came in this order, flushed and resumed now and then, or only at the end. */
function storedAfter(spec: UnitSpec, points: readonly Point[], dice: Dice | null): StoredUnit {
  const unit = new StoredUnit(spec)
  for (const point of points) {
    if (dice !== null && dice.chance(0.15)) unit.flush()
    if (dice !== null && dice.chance(0.05)) {
      unit.flush()
      unit.restart()
    }
    unit.apply(point)
  }
  unit.flush()
  return unit
}

/** Head and blocks as text. */
function imageOf({ bytes, blocks }: { bytes: Uint8Array; blocks: ReadonlyMap<number, Uint8Array> }): string {
  const sorted = [...blocks].sort(([a], [b]) => a - b)
  return [hex(bytes), ...sorted.map(([id, block]) => `${id}: ${hex(block)}`)].join('\n')
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

/** The packed states of points, folded one by one. */
function foldOf(spec: UnitSpec, points: readonly Point[], lifetimeOnly = false): Uint8Array {
  const states = spec.partials.map(({ aggregator, column, by, filter, lifetime }) => {
    let state = aggregator.empty()
    for (const { time, id, cells, mask } of points) {
      if (lifetimeOnly && !lifetime) break
      if (filter >= 0 && (mask & (1 << filter)) === 0) continue
      const cell = column < 0 ? null : cells[column]!
      state = aggregator.add(state, { cell, by: by < 0 ? null : cells[by]!, time, id })
    }
    return state
  })
  return packStates(spec, states)
}

const floorTo = (time: number, width: number): number => Math.floor(time / width) * width

type Tiles = Parameters<typeof encodeValue>[2]['tiles'][number][]

/** What is stored, by the definition, of a set of accepted points of one partition: head and blocks. */
function defined(spec: UnitSpec, accepted: readonly Point[]): string {
  const { layout } = spec
  const { levelsMs } = layout
  const top = levelsMs.length - 1
  const newest = Math.max(...accepted.map(point => point.time))
  const keptFrom = floorTo(newest - spec.retentionMs, levelsMs[top]!)
  const sealedTo = spec.edgeMs === 0 ? -Infinity : floorTo(newest - spec.rawMs, spec.edgeMs)
  const sorted = [...accepted].sort(comparePoints)
  const old = sorted.filter(point => point.time < keptFrom)
  const folded = spec.partials.some(partial => partial.lifetime) ? old.length : 0
  const blocks = new Map<number, Uint8Array>()

  const grouped = (points: readonly Point[], level: number): [number, Point[]][] => [
    ...Map.groupBy(points, point => floorTo(point.time, levelsMs[level]!)),
  ]
  const block = (level: number, startMs: number, content: { points: Point[]; tiles: Tiles }, all: readonly Point[]) => {
    const width = levelsMs[level]!
    const forgotten = spec.edgeMs > 0 && spec.edgeMs % width === 0 && startMs + width <= sealedTo
    const header = { kind: 'block', time: startMs, folded: 0, base: null, levels: 0 } as const
    const bundles = suffixesOf(spec, content.tiles)
    const bytes = encodeValue(spec, { ...header, bundles }, content)
    if (!forgotten) blocks.set(blockIdAt(layout, level, startMs), bytes)
    const levels = content.tiles.reduce((mask, tile) => mask | tile.levels, 1 << level)
    return { startMs, level, count: all.length, levels, packed: foldOf(spec, all) }
  }
  /** The spans of a level: apart, or raw where they are few, or cut further where they hold the newest point. */
  const spans = (level: number, points: readonly Point[], holdsNewest: boolean): { points: Point[]; tiles: Tiles } => {
    const content: { points: Point[]; tiles: Tiles } = { points: [], tiles: [] }
    for (const [startMs, inside] of grouped(points, level)) {
      if (holdsNewest && newest >= startMs && newest < startMs + levelsMs[level]!) {
        const cut = within(level, inside, true)
        content.points.push(...cut.points)
        content.tiles.push(...cut.tiles)
      } else if (inside.length < layout.blockPoints) content.points.push(...inside)
      else content.tiles.push(block(level, startMs, within(level, inside, false), inside))
    }
    return content
  }
  const within = (level: number, points: Point[], holdsNewest: boolean): { points: Point[]; tiles: Tiles } =>
    level > 0 && points.length > layout.leafPoints ? spans(level - 1, points, holdsNewest) : { points, tiles: [] }

  const open = spans(
    top,
    sorted.filter(point => point.time >= keptFrom),
    true,
  )
  const base = folded > 0 ? foldOf(spec, old, true) : null
  const inDirectory = open.tiles
  const levels = inDirectory.reduce((mask, tile) => mask | tile.levels, inDirectory.length > 0 ? 1 << 15 : 0)
  const header = { kind: 'head', time: newest, folded, base, levels, bundles: [] } as const
  const bytes = encodeValue(spec, header, { points: open.points, tiles: [] })
  if (inDirectory.length > 0) {
    const directory = {
      kind: 'block',
      time: 0,
      folded: 0,
      base: null,
      levels: 0,
      bundles: bundlesOf(spec, inDirectory),
    } as const
    blocks.set(DIRECTORY_BLOCK, encodeValue(spec, directory, { points: [], tiles: inDirectory }))
  }
  return imageOf({ bytes, blocks })
}

function checkSections(seed: number, busy: boolean): { blocks: number; drops: number; folded: number } {
  const { spec, log } = caseOf(seed, busy)
  const dice = diceOf(seed + 700_000)
  const verdicts = oracleVerdicts(spec, log)
  const seen = { blocks: 0, drops: 0, folded: 0 }
  for (const partition of new Set(log.map(record => record.partition))) {
    const all = log.filter(record => record.partition === partition).map(record => record.point)
    const accepted = log.filter((r, i) => r.partition === partition && verdicts[i] === 'added').map(r => r.point)
    const told = `seed ${seed} partition ${partition}`
    const expected = defined(spec, accepted)
    const resumed = storedAfter(spec, all, dice)
    expect(imageOf(storedAfter(spec, all, null)), `flushed once, ${told}`).toBe(expected)
    expect(imageOf(resumed), `flushed and resumed, ${told}`).toBe(expected)
    const shuffled = shuffledWithinLateness(spec, accepted, dice)
    expect(imageOf(storedAfter(spec, shuffled, dice)), `other order, ${told}`).toBe(expected)
    const replayed = storedAfter(spec, [...shuffled, ...shuffled, ...all], dice)
    expect(imageOf(replayed), `delivered again, ${told}`).toBe(expected)
    expect(pointCount(resumed.state), told).toBe(pointCount(replayed.state))
    seen.blocks += resumed.blocks.size
    seen.drops += resumed.drops
    seen.folded += resumed.state.folded
  }
  return seen
}

describe('sections are canonical', () => {
  for (const busy of [false, true]) {
    it(
      `in any order, over flushes, crashes and redelivery, ${busy ? 'busy' : 'mostly quiet'}`,
      () => {
        const seen = { blocks: 0, drops: 0, folded: 0 }
        for (const seed of seedsOf(80)) {
          const one = checkSections(seed + (busy ? 3_000_000 : 2_000_000), busy)
          seen.blocks += one.blocks
          seen.drops += one.drops
          seen.folded += one.folded
        }
        for (const [what, count] of Object.entries(seen)) expect(count, what).toBeGreaterThan(0)
      },
      timeoutMsOf(80),
    )
  }
})

const spec: UnitSpec = {
  columns: [{ kind: 'int' }, { kind: 'string' }],
  filterCount: 2,
  partials: [
    { aggregator: makeAggregator('count', {}, null), column: -1, by: -1, filter: 1, lifetime: true },
    { aggregator: makeAggregator('sum', {}, { kind: 'int' }), column: 0, by: -1, filter: -1, lifetime: false },
  ],
  latenessMs: 10,
  horizonMs: 10,
  retentionMs: 100,
  edgeMs: 0,
  rawMs: 100,
  layout: { levelsMs: [10, 50], leafPoints: 4, blockPoints: 3 },
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
    const bytes = hex(encodeSection(spec, state).bytes)
    expect(applyPoint(spec, state, point(1000, 'a', 5, 'x', 1))).toBe('duplicate')
    expect(applyPoint(spec, state, point(1000, 'a', 6, 'x', 1))).toBe('conflict')
    expect(applyPoint(spec, state, point(1000, 'a', 5, null, 1))).toBe('conflict')
    expect(applyPoint(spec, state, point(1000, 'a', 5, 'x', 2))).toBe('conflict')
    expect(hex(encodeSection(spec, state).bytes)).toBe(bytes)
    expect(applyPoint(spec, state, point(1001, 'a', 5, 'x', 1))).toBe('added')
  })

  it('takes NaN as equal to itself', () => {
    const doubles: UnitSpec = { ...spec, columns: [{ kind: 'double' }, { kind: 'vector', length: 2 }] }
    const nan = (): Point => ({ time: 5, id: 'a', cells: [NaN, [1, NaN]], mask: 0 })
    const state = emptySection(doubles)
    expect(applyPoint(doubles, state, nan())).toBe('added')
    expect(applyPoint(doubles, state, nan())).toBe('duplicate')
    expect(decodeSection(doubles, encodeSection(doubles, state).bytes).points).toEqual([nan()])
  })

  it('keeps whole spans of the widest level and folds the points before', () => {
    const points = [point(899, 'a'), point(899, 'b', 1, 'x', 1), point(900, 'c'), point(1049, 'd')]
    const state = applyAll(spec, points)
    expect(pointCount(state)).toBe(4)
    expect(state.folded).toBe(2)
    const at = { t: 0, lengthMs: null }
    expect(spec.partials[0]!.aggregator.result(state.base[0], at)).toBe(1)
    expect(spec.partials[1]!.aggregator.result(state.base[1], at)).toBe(0)
    expect(applyAll(spec, [...points.slice(0, 3), point(999, 'e')]).folded).toBe(0)
  })

  it('drops old points without a trace where no partial is a lifetime one', () => {
    const windows: UnitSpec = { ...spec, partials: spec.partials.map(partial => ({ ...partial, lifetime: false })) }
    const long = applyAll(windows, [point(1, 'a'), point(2, 'b'), point(1000, 'c')])
    expect(hex(encodeSection(windows, long).bytes)).toBe(
      hex(encodeSection(windows, applyAll(windows, [point(1000, 'c')])).bytes),
    )
  })

  it('orders ids of one time by UTF-8 bytes', () => {
    const state = applyAll(spec, [point(1, '\u{1F600}'), point(1, '\uFFFD'), point(1, 'é'), point(1, 'z')])
    const ids = decodeSection(spec, encodeSection(spec, state).bytes).points.map(({ id }) => id)
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

describe('blocks', () => {
  const burst = (from: number, count: number): Point[] =>
    Array.from({ length: count }, (_, index) => point(from + index, `i${index}`))

  it('leave memory with an encoding and come back for a late point', () => {
    const state = applyAll(spec, [...burst(1000, 8), point(1050, 'z')])
    const { blocks, levels } = encodeSection(spec, state)
    const id = blockIdAt(spec.layout, 1, 1000)
    expect(blocks.map(block => block.id)).toEqual([blockIdAt(spec.layout, 0, 1000), id, DIRECTORY_BLOCK])
    expect(levels).toBe(0x8003)
    expect(pointCount(state)).toBe(9)
    expect(state.points.map(p => p.id)).toEqual(['z'])
    expect(blocksForPoint(spec, state, 1039)).toEqual([])
    expect(blocksForPoint(spec, state, 1045)).toEqual([id])
    expect(() => applyPoint(spec, state, point(1045, 'late'))).toThrow(`its block ${id} is not in memory`)
    addBlock(spec, state, id, blocks[1]!.bytes)
    expect(blocksForPoint(spec, state, 1045)).toEqual([])
    expect(applyPoint(spec, state, point(1045, 'late'))).toBe('added')
    expect(encodeSection(spec, state).blocks.map(block => block.id)).toEqual([id, DIRECTORY_BLOCK])
  })

  it('refuse bytes of another block and of a head', () => {
    const state = applyAll(spec, [...burst(1000, 8), point(1050, 'z')])
    const { bytes, blocks } = encodeSection(spec, state)
    const id = blockIdAt(spec.layout, 1, 1000)
    expect(() => addBlock(spec, state, id, bytes)).toThrow('the bytes are not those of a block')
    expect(() => decodeSection(spec, blocks[0]!.bytes)).toThrow('the bytes are not those of a head')
    const other = applyAll(spec, [...burst(2000, 8), point(2050, 'z')])
    const others = encodeSection(spec, other).blocks
    expect(() => addBlock(spec, state, id, others[1]!.bytes)).toThrow(`block ${id} starts at 2000, not at 1000`)
  })

  it('hold as many points as fall into one instant', () => {
    const many = 300_000
    const state = emptySection(spec)
    for (let index = 0; index < many; index++) applyPoint(spec, state, point(1000, String(many + index)))
    applyPoint(spec, state, point(1060, 'z'))
    const { blocks } = encodeSection(spec, state)
    expect(pointCount(state)).toBe(many + 1)
    expect(state.points.length).toBe(1)
    for (const { id, bytes } of blocks.toReversed()) if (id !== DIRECTORY_BLOCK) addBlock(spec, state, id, bytes)
    expect(state.points.length).toBe(many + 1)
  })

  it('are dropped by level once their widest span has left the retention', () => {
    const state = applyAll(spec, [...burst(1000, 8), point(1050, 'z')])
    encodeSection(spec, state)
    applyPoint(spec, state, point(1149, 'y'))
    expect(encodeSection(spec, state).drops.every(drop => drop.belowIndex <= 1000 / 10)).toBe(true)
    applyPoint(spec, state, point(1150, 'x'))
    expect(encodeSection(spec, state).drops).toEqual([
      { level: 0, belowIndex: 105 },
      { level: 1, belowIndex: 21 },
      { level: 15, belowIndex: 1 },
    ])
    expect(encodeSection(spec, state).drops).toEqual([])
  })
})

describe('layouts', () => {
  const hour = 3_600_000
  const day = 24 * hour
  const widths = (retentionMs: number): readonly number[] => layoutFor(retentionMs).levelsMs

  it('follow from the retention alone', () => {
    expect([0, 1000, 10 * 60_000, 2 * hour, 2 * day, 31 * day, 401 * day].map(ms => widths(ms).at(-1))).toEqual([
      1000,
      1000,
      60_000,
      600_000,
      6 * hour,
      day,
      8 * day,
    ])
    expect(widths(2 * hour)).toEqual([1, 10, 100, 1000, 10_000, 60_000, 600_000])
  })
})

describe('encoded sections', () => {
  const { bytes } = encodeSection(spec, applyAll(spec, [point(1, 'a'), point(2, 'b', null, null)]))

  it('refuse another version by its number, cut bytes, and another unit', () => {
    expect(() => decodeSection(spec, Uint8Array.from([1, ...bytes.subarray(1)]))).toThrow(/section of version 1; this/)
    expect(() => decodeSection(spec, new Uint8Array())).toThrow(RangeError)
    expect(() => decodeSection(spec, bytes.subarray(0, bytes.length - 1))).toThrow(/it was cut or joined/)
    expect(() => decodeSection(spec, bytes.subarray(0, 9))).toThrow(/it was cut or joined/)
    expect(() => decodeSection({ ...spec, columns: [] }, bytes)).toThrow(/2 columns read as a unit of 0/)
  })

  it('are read wherever they lie in a larger buffer', () => {
    const wide = new Uint8Array(bytes.length + 6)
    wide.set(bytes, 3)
    expect(encodeSection(spec, decodeSection(spec, wide.subarray(3, 3 + bytes.length))).bytes).toEqual(bytes)
  })

  it('refuse cells that are not of their column', () => {
    const encoded = (columns: UnitSpec['columns'], cell: Point['cells'][number]): Uint8Array => {
      const one: UnitSpec = { ...spec, columns, filterCount: 0, partials: [] }
      return encodeSection(one, applyAll(one, [{ time: 1, id: 'a', cells: [cell], mask: 0 }])).bytes
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
    const layout = { levelsMs: [1000], leafPoints: 1000, blockPoints: 1000 }
    const unit: UnitSpec = { ...wide, retentionMs: 1000, edgeMs: 0, rawMs: 1000, layout }
    const state = applyAll(unit, points)
    expect(decodeSection(unit, encodeSection(unit, state).bytes).points).toEqual(points)
  })
})
