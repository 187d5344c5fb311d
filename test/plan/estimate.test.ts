import { describe, expect, it } from 'vitest'
import * as cards from '../../features/cards/index.ts'
import { entity, event, group, lastEvents, session, t, tumbling } from '../../features/define/index.ts'
import type { Duration, WindowLength } from '../../features/define/index.ts'
import * as fraud from '../../features/fraud/index.ts'
import { applyPoint, emptySection, encodeSection } from '../../features/kernel/index.ts'
import type { Cell, FieldType, UnitSpec } from '../../features/kernel/types.ts'
import {
  bytesText,
  estimateGroup,
  estimateUnit,
  exactWindowSizes,
  TYPICAL_EVENTS,
} from '../../features/plan/estimate.ts'
import { eventSource } from '../../features/plan/group-source.ts'
import { renderEstimates } from '../../features/plan/render.ts'
import { EMPTY_CATALOGUE, bindPlan, placePlan } from '../../features/plan/units.ts'
import type { BoundPlan } from '../../features/plan/units.ts'
import { projectOf } from './source.ts'

const DAY_MS = 86_400_000

function bind(exports: Readonly<Record<string, unknown>>): BoundPlan {
  const { plan } = projectOf(exports)
  const none = { incarnation: '', startOffsets: [], endOffsets: [] }
  return bindPlan(plan, placePlan(plan, EMPTY_CATALOGUE, new Map(plan.sources.map(source => [source.name, none]))))
}

interface Shape {
  readonly window: WindowLength
  readonly edge?: Duration
  readonly key?: 'card' | 'shop'
  readonly partitions?: number
  /** With the number of different amounts. */
  readonly distinct?: boolean
}

/** One group over payments keyed by card. */
function groupOf({ window, edge, key = 'card', partitions = 4, distinct = false }: Shape): BoundPlan {
  const payment = event('payment', {
    topic: 'payments',
    id: 'id',
    time: 'at',
    key: 'card',
    lateness: '1h',
    partitions,
    fields: { id: t.string(), at: t.timestamp(), card: t.string(), shop: t.string(), amount: t.decimal(2) },
  })
  const of = entity('of', { key })
  const options = edge === undefined ? {} : { edge }
  return bind({
    g: group('g', { entity: of, source: payment, key, maxBytesPerEntity: 1 << 29 }, e => ({
      n: e.count(window, options),
      spend: e.sum(e.amount, window, options),
      large: e.count(window, { ...options, where: e.amount.gt(100) }),
      last: e.last(e.shop, window, options),
      ...(distinct ? { amounts: e.distinct(e.amount, window, options) } : {}),
    })),
  })
}

/** A generator of 32-bit numbers (SplitMix32), as shares from 0 up to 1. */
function dice(seed: number): () => number {
  let state = seed
  return () => {
    state = (state + 0x9e3779b9) | 0
    let mixed = Math.imul(state ^ (state >>> 16), 0x21f0aaad)
    mixed = Math.imul(mixed ^ (mixed >>> 15), 0x735a2d97)
    return ((mixed ^ (mixed >>> 15)) >>> 0) / 2 ** 32
  }
}

function randomCell(type: FieldType, roll: () => number): Cell {
  if (type.kind === 'string') return `shop_${String(Math.floor(roll() * 1e7)).padStart(7, '0')}`
  if (type.kind === 'decimal') return Math.floor(roll() ** 2 * 50_000)
  throw new Error(type.kind)
}

/** Bytes held and written per event at a constant rate of random times, measured over the last days of the run. */
function measured(
  spec: UnitSpec,
  perDay: number,
  days: number,
  lastDays: number,
): { readonly held: number; readonly written: number } {
  const roll = dice(7)
  const state = emptySection(spec)
  const live = new Map<number, number>()
  let liveBytes = 0
  const endMs = 1_700_000_000_000 + days * DAY_MS
  const lastMs = endMs - lastDays * DAY_MS
  let time = 1_700_000_000_000
  const sums = { held: 0, written: 0, flushes: 0 }
  for (let index = 1; time < endMs; index++) {
    time += Math.ceil((-Math.log(1 - roll()) * DAY_MS) / perDay)
    const hex = Array.from({ length: 4 }, () =>
      Math.floor(roll() * 2 ** 32)
        .toString(16)
        .padStart(8, '0'),
    ).join('')
    const id = hex.replace(/^(.{8})(.{4})(.{4})(.{4})(.{12})$/, '$1-$2-$3-$4-$5')
    const cells = spec.columns.map(type => randomCell(type, roll))
    applyPoint(spec, state, { time, id, cells, mask: spec.filterCount === 0 ? 0 : Math.floor(roll() * 2) })
    if (time < lastMs && index % 256 !== 0) continue
    const image = encodeSection(spec, state)
    for (const { id: block, bytes } of image.blocks) {
      liveBytes += bytes.length - (live.get(block) ?? 0)
      live.set(block, bytes.length)
    }
    for (const { level, belowIndex } of image.drops) {
      for (const [block, length] of live) {
        if (block % 16 !== level || (block - level) / 16 >= belowIndex) continue
        live.delete(block)
        liveBytes -= length
      }
    }
    if (time < lastMs) continue
    sums.flushes++
    sums.held += image.bytes.length + liveBytes
    sums.written += image.bytes.length + image.blocks.reduce((sum, block) => sum + block.bytes.length, 0)
  }
  return { held: sums.held / sums.flushes, written: sums.written / sums.flushes }
}

function within(actual: number, expected: number, share: number, what: string): void {
  expect(Math.abs(actual / expected - 1), `${what}: ${actual} instead of ${expected}`).toBeLessThan(share)
}

function expectNear(
  what: string,
  shape: Shape,
  perDay: number,
  days: number,
  lastDays: number,
  isExtrapolated: boolean,
): void {
  const [unit] = groupOf(shape).units
  if (unit === undefined) throw new Error('no unit')
  const { bytesPerEntity, bytesWrittenPerEvent, extrapolated } = estimateUnit(unit, {
    ...TYPICAL_EVENTS,
    eventsPerEntityPerDay: perDay,
  })
  const { held, written } = measured(unit.spec, perDay, days, lastDays)
  expect(extrapolated).toBe(isExtrapolated)
  within(bytesPerEntity, held, 0.2, `bytes of ${what}`)
  within(bytesWrittenPerEvent, written, 0.2, `bytes written for ${what}`)
}

describe('the estimate of a unit', () => {
  it.each<[string, Shape, number, number, number]>([
    ['a quiet entity', { window: '30d' }, 3, 90, 50],
    ['an entity with blocks', { window: '7d' }, 200, 24, 6],
    ['a busy hour', { window: '1h' }, 5000, 1, 0.5],
    ['everything', { window: 'lifetime' }, 20, 60, 15],
    ['a year in days', { window: '365d', edge: '1d' }, 5, 800, 200],
    ['a week in hours', { window: '7d', edge: '1h' }, 100, 24, 6],
    ['days', { window: tumbling('1d', { lookback: 3 }) }, 50, 15, 4],
    ['sessions', { window: session('10m', { maxLength: '1d' }) }, 100, 8, 2],
    ['last events', { window: lastEvents(20, { within: '1d' }) }, 2000, 4, 2],
    ['odd edges', { window: '3d', edge: '90m' }, 2000, 5, 1],
  ])('of %s is within 20 %% of what random events take', (what, shape, perDay, days, lastDays) => {
    expectNear(what, shape, perDay, days, lastDays, false)
  })

  it.each<[string, Shape, number, number, number]>([
    ['a week', { window: '7d' }, 10_000, 7.8, 0.3],
    ['a day', { window: '1d' }, 100_000, 1.25, 0.08],
    ['a week in minutes', { window: '7d', edge: '1m' }, 10_000, 7.8, 0.3],
    ['a month in days', { window: '30d', edge: '1d' }, 3000, 33, 1],
    ['days', { window: tumbling('1d', { lookback: 1 }) }, 20_000, 3.4, 1],
    ['last events', { window: lastEvents(20, { within: '1d' }) }, 60_000, 1.25, 0.1],
    ['amounts', { window: '1d', distinct: true }, 60_000, 1.3, 0.15],
    ['everything', { window: 'lifetime' }, 5000, 31, 1],
  ])('of %s at a rate too high to try them all is as near, and says so', (what, shape, perDay, days, lastDays) => {
    expectNear(what, shape, perDay, days, lastDays, true)
  })

  it('is the same every time', () => {
    const estimate = (): unknown =>
      [...bind(fraud).groups.values()].map(each =>
        estimateGroup(each, { ...TYPICAL_EVENTS, eventsPerEntityPerDay: 50 }),
      )
    expect(estimate()).toEqual(estimate())
  })

  it('counts a section for each partition where the entity is not the record key', () => {
    const rate = { ...TYPICAL_EVENTS, eventsPerEntityPerDay: 40 }
    const estimateOf = (shape: Shape) => estimateUnit(groupOf(shape).units[0]!, rate)
    const whole = estimateOf({ window: '7d', key: 'card' })
    const spread = estimateOf({ window: '7d', key: 'shop', partitions: 8 })
    const alone = estimateUnit(groupOf({ window: '7d', key: 'card' }).units[0]!, { ...rate, eventsPerEntityPerDay: 5 })
    within(spread.bytesPerEntity, 8 * alone.bytesPerEntity, 0.001, 'eight sections')
    expect(spread.bytesWrittenPerEvent).toBe(alone.bytesWrittenPerEvent)
    within(spread.pointsHeld, whole.pointsHeld, 0.1, 'points')
  })

  it('goes on steadily where the rate becomes too high to try all events', () => {
    const [unit] = groupOf({ window: '7d' }).units
    if (unit === undefined) throw new Error('no unit')
    const at = (perDay: number) => estimateUnit(unit, { ...TYPICAL_EVENTS, eventsPerEntityPerDay: perDay })
    const [tried, carriedOn] = [at(5000), at(6250)]
    expect([tried.extrapolated, carriedOn.extrapolated]).toEqual([false, true])
    within(carriedOn.bytesPerEntity, 1.25 * tried.bytesPerEntity, 0.1, 'bytes')
    within(carriedOn.bytesWrittenPerEvent, tried.bytesWrittenPerEvent, 0.15, 'bytes written')
    within(carriedOn.pointsHeld, 1.25 * tried.pointsHeld, 0.03, 'points')
  })

  it('shows what an edge spares', () => {
    const rate = { ...TYPICAL_EVENTS, eventsPerEntityPerDay: 2000 }
    const exact = estimateUnit(groupOf({ window: '30d' }).units[0]!, rate)
    const tiles = estimateUnit(groupOf({ window: '30d', edge: '1h' }).units[0]!, rate)
    expect(tiles.bytesPerEntity).toBeLessThan(exact.bytesPerEntity / 5)
    expect(tiles.pointsHeld).toBeLessThan(exact.pointsHeld / 100)
  })
})

describe('the quick estimate of exact windows', () => {
  it.each([0.5, 10, 200, 2000])('is not below that of the kernel, and not far above, at %d events a day', perDay => {
    for (const definitions of [cards, fraud]) {
      const bound = bind(definitions)
      for (const each of bound.groups.values()) {
        const plan = { ...each.plan, eventsPerEntityPerDay: perDay }
        const source = each.features[0]?.unit.source
        if (source === undefined) throw new Error('no source')
        const quick = Math.max(...exactWindowSizes(plan, eventSource(source)).map(size => size.bytes))
        const { bytesPerEntity } = estimateGroup(each, { ...TYPICAL_EVENTS, eventsPerEntityPerDay: perDay })
        expect(quick / bytesPerEntity, `${plan.name} at ${perDay}`).toBeGreaterThan(0.8)
        expect(quick / bytesPerEntity, `${plan.name} at ${perDay}`).toBeLessThan(4)
      }
    }
  })

  it('leaves windows out that are kept as tiles', () => {
    const bound = groupOf({ window: '7d', edge: '1h' })
    const [each] = bound.groups.values()
    expect(exactWindowSizes(each!.plan, eventSource(each!.features[0]!.unit.source))).toEqual([])
  })
})

describe('estimates as text', () => {
  it.each([
    [0, '0 B'],
    [714, '714 B'],
    [1024, '1 KiB'],
    [4300, '4.2 KiB'],
    [150_000, '146 KiB'],
    [1 << 24, '16 MiB'],
    [3 * 2 ** 40, '3 TiB'],
  ])('%d bytes are %s', (bytes, text) => expect(bytesText(bytes)).toBe(text))

  it('stand in a table with what they assume', () => {
    const rate = { ...TYPICAL_EVENTS, eventsPerEntityPerDay: 10 }
    const estimate = { bytesPerEntity: 4300, bytesWrittenPerEvent: 714, pointsHeld: 70, extrapolated: false }
    const text = renderEstimates([
      { group: 'a', rate, estimate, sharedWith: [] },
      { group: 'busy', rate, estimate: { ...estimate, extrapolated: true }, sharedWith: ['a'] },
    ])
    expect(text).toMatchInlineSnapshot(`
      "online state of one entity, for ids of 36 bytes and texts of 12
        a     10 events a day  4.2 KiB per entity        714 B written per event        70 events held
        busy  10 events a day  about 4.2 KiB per entity  about 714 B written per event  70 events held  shared with a"
    `)
    expect(renderEstimates([])).toBe('online state: no group')
  })
})
