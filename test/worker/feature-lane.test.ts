import fc from 'fast-check'
import { describe, expect, it } from 'vitest'
import { entity, event, group, t } from '../../features/define/index.ts'
import { applyPoint, emptySection, encodeSection, stateBytes } from '../../features/kernel/index.ts'
import { compileProject } from '../../features/plan/compile.ts'
import { eventDecoder } from '../../features/plan/event.ts'
import { EMPTY_CATALOGUE, bindPlan, placePlan } from '../../features/plan/units.ts'
import type { BoundUnit } from '../../features/plan/units.ts'
import { SHARD_COUNT } from '../../topology/ports/online-store.ts'
import type { FlushOutcome, OnlineStore } from '../../topology/ports/online-store.ts'
import {
  applyEvents,
  createFeatureLane,
  flushed,
  flushesFor,
  trimCache,
  writtenBytes,
} from '../../topology/processors/feature-lane.ts'
import type { FeatureLane, LaneEvent } from '../../topology/processors/feature-lane.ts'
import { BlockMissing, blockLoadsFor, blocksLoaded, loaded, loadsFor } from '../../topology/processors/lane-loads.ts'
import { createSimulatedStore, random } from './simulated-ports.ts'

const payment = event('payment', {
  topic: 'payments',
  id: 'id',
  time: 'at',
  key: 'card',
  partitions: 1,
  lateness: '1m',
  fields: { id: t.string(), at: t.timestamp(), card: t.string(), amount: t.decimal(2) },
})
const card = entity('card', { key: 'card' })
const activity = group('activity', { entity: card, source: payment }, e => ({
  n: e.count('10m'),
  spend: e.sum(e.amount, 'lifetime'),
}))

const BASE = 1_700_000_000_000
const LANE = { unit: 1, incarnation: 'life-1', partition: 0 }
const START = { offset: -1, arrivalMs: 0 }

function tinyUnit(): BoundUnit {
  const compiled = compileProject({
    definitions: [{ file: 'lane.ts', exports: { payment, card, activity } }],
    bundleHashes: { 'lane.ts': '0' },
  })
  if (!compiled.ok) throw new Error(JSON.stringify(compiled.problems))
  const standing = { incarnation: 'life-1', startOffsets: [0], endOffsets: [0] }
  const { plan } = compiled.project
  const [unit] = bindPlan(plan, placePlan(plan, EMPTY_CATALOGUE, new Map([['payment', standing]]))).units
  if (unit === undefined) throw new Error('no unit')
  const layout = { levelsMs: [4, 16, 64], leafPoints: 4, blockPoints: 2 }
  const ages = { latenessMs: 300, horizonMs: 300, retentionMs: 400, rawMs: 400, edgeMs: 0 }
  return { ...unit, spec: { ...unit.spec, ...ages, layout } }
}

const unit = tinyUnit()
const decoder = eventDecoder(unit.source)

function laneEvent(offset: number, at: number, cardId = 'c1', id = `e${offset}`): LaneEvent {
  const value = new TextEncoder().encode(JSON.stringify({ id, at: BASE + at, card: cardId, amount: 1.5 }))
  const decoded = decoder.decodeJson(value, BASE)
  if (!decoded.ok) throw new Error(decoded.reason)
  return { offset, arrivalMs: BASE + offset, event: decoded.event }
}

/** Busy enough that blocks lie within blocks: an event every two milliseconds. */
const BUSY = Array.from({ length: 100 }, (_, offset) => laneEvent(offset, 2 * offset))

function simulated(): ReturnType<typeof createSimulatedStore> {
  return createSimulatedStore(
    () => Promise.resolve(),
    () => 99,
    {},
  )
}

async function openLane(store: OnlineStore): Promise<FeatureLane> {
  return createFeatureLane(unit, LANE, 'n', await store.initialiseCanaries(LANE, SHARD_COUNT, START))
}

/** Loads what the events need; answers how many loads of blocks it took, null where the lane must be forgotten. */
async function load(lane: FeatureLane, store: OnlineStore, events: readonly LaneEvent[]): Promise<number | null> {
  for (const request of loadsFor(lane, events)) {
    const outcome = await store.load(LANE, request.shard, request.expected, request.keys)
    if (!outcome.ok) return null
    loaded(lane, request, outcome.sections)
  }
  for (let rounds = 0; ; rounds++) {
    const requests = blockLoadsFor(lane, events)
    if (requests.length === 0) return rounds
    for (const request of requests) {
      const outcome = await store.load(LANE, request.shard, request.expected, request.keys)
      if (!outcome.ok || !blocksLoaded(lane, request, outcome.sections)) return null
    }
  }
}

function apply(lane: FeatureLane, events: readonly LaneEvent[]): ReturnType<typeof applyEvents> {
  const last = events.at(-1)
  return applyEvents(lane, events, { offset: last?.offset ?? -1, arrivalMs: last?.arrivalMs ?? 0 })
}

async function flush(
  lane: FeatureLane,
  store: OnlineStore,
): Promise<{ accepted: boolean; bytes: number; outcomes: readonly FlushOutcome[] }> {
  const shards = flushesFor(lane, false)
  const outcomes = await store.flush(LANE, shards)
  return { accepted: flushed(lane, shards, outcomes).accepted, bytes: writtenBytes(shards), outcomes }
}

async function step(lane: FeatureLane, store: OnlineStore, events: readonly LaneEvent[]): Promise<number | null> {
  const rounds = await load(lane, store, events)
  if (rounds === null) return null
  apply(lane, events)
  return (await flush(lane, store)).accepted ? rounds : null
}

/** What must be stored after these events. */
function imageOf(events: readonly LaneEvent[]): ReturnType<typeof encodeSection> {
  const state = emptySection(unit.spec)
  for (const each of events) applyPoint(unit.spec, state, unit.project(each.event))
  return encodeSection(unit.spec, state)
}

function expectStored(sim: ReturnType<typeof simulated>, events: readonly LaneEvent[]): void {
  const [section] = sim.sections().values()
  const { bytes, blocks } = imageOf(events)
  expect(section?.position).toBe(events.at(-1)?.offset)
  expect(section?.bytes).toEqual(bytes)
  expect(section?.blocks).toEqual(new Map(blocks.map(block => [block.id, block.bytes])))
}

describe('blocks of a busy entity', () => {
  it('are loaded level by level for a late event, and only those that changed are written again', async () => {
    const sim = simulated()
    await step(await openLane(sim.store), sim.store, BUSY)
    expectStored(sim, BUSY)
    const blocks = imageOf(BUSY).blocks.length
    expect(blocks).toBeGreaterThan(20)
    const lane = await openLane(sim.store)
    const written = sim.counts.written
    const late = laneEvent(100, 21)
    expect(await load(lane, sim.store, [late])).toBeGreaterThan(1)
    expect(apply(lane, [late])).toMatchObject({ added: 1, late: [] })
    const { accepted, bytes } = await flush(lane, sim.store)
    expect(accepted).toBe(true)
    expectStored(sim, [...BUSY, late])
    expect(sim.counts.written - written).toBeLessThan(blocks / 4)
    const all = imageOf([...BUSY, late])
    expect(bytes).toBeLessThan(all.blocks.reduce((sum, block) => sum + block.bytes.length, all.bytes.length) / 2)
  })

  it('are not loaded for an event that is newest, too late, or known to be in the section', async () => {
    const sim = simulated()
    await step(await openLane(sim.store), sim.store, BUSY)
    const lane = await openLane(sim.store)
    expect(await load(lane, sim.store, [laneEvent(100, 200), laneEvent(101, -200), laneEvent(20, 40)])).toBe(0)
  })

  it('make the lane be forgotten when another owner wrote the section between the loads', async () => {
    const sim = simulated()
    await step(await openLane(sim.store), sim.store, BUSY)
    const one = await openLane(sim.store)
    const late = laneEvent(101, 21)
    for (const request of loadsFor(one, [late])) {
      const outcome = await sim.store.load(LANE, request.shard, request.expected, request.keys)
      if (outcome.ok) loaded(one, request, outcome.sections)
    }
    const other = await openLane(sim.store)
    expect(await step(other, sim.store, [laneEvent(100, 23)])).not.toBeNull()
    expect(await load(one, sim.store, [late])).toBeNull()
  })

  it('are asked for against what is stored, not against what is in memory', async () => {
    const sim = simulated()
    await step(await openLane(sim.store), sim.store, BUSY)
    const lane = await openLane(sim.store)
    await load(lane, sim.store, [laneEvent(100, 200)])
    apply(lane, [laneEvent(100, 200)])
    expect(await step(lane, sim.store, [laneEvent(101, 21)])).toBeGreaterThan(1)
    expect(await step(lane, sim.store, [laneEvent(102, 51)])).toBeGreaterThan(1)
    expectStored(sim, [...BUSY, laneEvent(100, 200), laneEvent(101, 21), laneEvent(102, 51)])
  })

  it('that are gone from an unchanged section are an error that names them', async () => {
    const sim = simulated()
    await step(await openLane(sim.store), sim.store, BUSY)
    const lane = await openLane(sim.store)
    const emptied: OnlineStore = {
      ...sim.store,
      load: async (...asked) => {
        const outcome = await sim.store.load(...asked)
        if (!outcome.ok) return outcome
        return {
          ok: true,
          sections: outcome.sections.map(each => (each === null ? null : { ...each, blocks: new Map() })),
        }
      },
    }
    const failing = load(lane, emptied, [laneEvent(100, 21)])
    await expect(failing).rejects.toThrow(BlockMissing)
    await expect(failing).rejects.toThrow(/card:c1:1: block \d+ of the stored section is missing/)
  })

  it('that a section found ahead of its canary relies on are lost with it: the flush is fenced', async () => {
    const sim = simulated()
    const store = sim.store
    const owner = await openLane(store)
    await step(owner, store, BUSY.slice(0, 50))
    const behind = await openLane(store)
    await step(owner, store, BUSY.slice(50))
    // The one behind loads what is ahead of it, and skips what that holds.
    expect(await load(behind, store, BUSY.slice(50))).toBe(0)
    expect(apply(behind, BUSY.slice(50))).toMatchObject({ added: 0, skipped: 50 })
    // The store goes back to where the one behind began, so that its canary says nothing.
    sim.rollBack(2)
    const { accepted, outcomes } = await flush(behind, store)
    expect(accepted).toBe(false)
    expect(outcomes).toMatchObject([{ ok: false, canary: { offset: 49 } }])
    expectStored(sim, BUSY.slice(0, 50))
    expect(await step(await openLane(store), store, BUSY.slice(50))).not.toBeNull()
    expectStored(sim, BUSY)
  })
})

describe('the cache', () => {
  it('counts the bytes of what it holds, and is trimmed to its bound but for what is not written', async () => {
    await fc.assert(
      fc.asyncProperty(fc.integer(), async seed => {
        const pick = random(seed)
        const sim = simulated()
        const lane = await openLane(sim.store)
        const held = (): number => [...lane.entries.values()].reduce((sum, entry) => sum + stateBytes(entry.state), 0)
        let at = 0
        for (let offset = 0; offset < 120;) {
          const events = Array.from({ length: 1 + pick(10) }, () =>
            laneEvent(offset++, (at += pick(6)) - (pick(4) === 0 ? pick(200) : 0), `c${pick(6)}`),
          )
          await load(lane, sim.store, events)
          expect(lane.cachedBytes).toBe(held())
          apply(lane, events)
          expect(lane.cachedBytes).toBe(held())
          if (pick(2) === 0) {
            const bound = pick(20_000)
            const before = new Set(lane.dirty)
            trimCache(lane, bound)
            for (const id of before) expect(lane.entries.has(id)).toBe(true)
            expect(lane.cachedBytes <= bound || lane.entries.size === lane.dirty.size).toBe(true)
            expect((await flush(lane, sim.store)).accepted).toBe(true)
            trimCache(lane, bound)
            expect(lane.cachedBytes).toBeLessThanOrEqual(bound)
          }
          expect(lane.cachedBytes).toBe(held())
        }
      }),
      { numRuns: 40 },
    )
  })
})
