import { mkdtempSync, rmSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { derived, entity, event, group, policy, service, t } from '../../features/define/index.ts'
import { applyPoint, emptySection, encodeSection } from '../../features/kernel/index.ts'
import type { SectionState } from '../../features/kernel/index.ts'
import type { Value } from '../../features/kernel/types.ts'
import { compileProject } from '../../features/plan/compile.ts'
import type { ServiceCode } from '../../features/plan/compile.ts'
import { decodeFields } from '../../features/plan/event.ts'
import { EMPTY_CATALOGUE, bindPlan, placePlan } from '../../features/plan/units.ts'
import type { BoundPlan } from '../../features/plan/units.ts'
import { openEmbeddedOnlineStore } from '../../topology/adapters/online-store/embedded.ts'
import { createOnnxRuntime } from '../../topology/adapters/model-runtime/onnx/onnx.ts'
import type { ModelManifest } from '../../topology/ports/model-repository.ts'
import { onlineKey, shardOf } from '../../topology/ports/online-layout.ts'
import { SHARD_COUNT } from '../../topology/ports/online-store.ts'
import type { OnlineStore, Progress } from '../../topology/ports/online-store.ts'
import type { ServerError } from '../../topology/ports/server.ts'
import type { ScoreRecord } from '../../topology/ports/score-record.ts'
import { createScoringEngine } from '../../topology/scoring/engine.ts'
import type { ScoringEngine } from '../../topology/scoring/engine.ts'
import type { ScoringOptions, ServedModel } from '../../topology/scoring/options.ts'
import { collectTelemetry, handClock } from './harness.ts'
import type { CollectedTelemetry, HandClock } from './harness.ts'

/** The instant at which the tests stand. */
export const NOW = 1_700_000_000_000
const MINUTE = 60_000

export const payment = event('payment', {
  topic: 'payments',
  id: 'id',
  time: 'at',
  key: 'card',
  partitions: 2,
  lateness: '10m',
  fields: {
    id: t.string(),
    at: t.timestamp(),
    card: t.string(),
    shop: t.optional(t.string()),
    amount: t.decimal(2),
  },
})
const profile = event('profile', {
  topic: 'profiles',
  id: 'id',
  time: 'at',
  key: 'shop',
  partitions: 1,
  lateness: '1m',
  fields: { id: t.string(), at: t.timestamp(), shop: t.string(), rating: t.double() },
})
const card = entity('card', { key: 'card' })
const shop = entity('shop', { key: 'shop' })
const cardActivity = group('card_activity', { entity: card, source: payment, maxAge: '1m' }, e => ({
  count_1h: e.count('1h'),
  mean_1h: e.mean(e.amount, '1h'),
  last_shop: e.last(e.shop, 'lifetime', { include: 'excludeSelf' }),
}))
const shopActivity = group('shop_activity', { entity: shop, source: payment, maxAge: '1m' }, e => ({
  spend_1h: e.sum(e.amount, '1h'),
}))
const shopProfile = group('shop_profile', { entity: shop, source: profile, maxAge: '1h' }, e => ({
  rating: e.last(e.rating, 'lifetime'),
}))
const overMean = derived(
  { request: payment, groups: [cardActivity] },
  v => v.request.amount / (v.card_activity.mean_1h ?? 1),
)
const rules = policy('rules', {
  version: '7',
  request: payment,
  groups: [cardActivity],
  outcomes: ['approve', 'review', 'decline'],
  rules: [
    { name: 'burst', when: v => v.card_activity.count_1h > 3, outcome: 'decline' },
    {
      name: 'broken',
      when: () => {
        throw new Error('this rule is broken')
      },
      outcome: 'decline',
    },
  ],
  thresholds: { review: 0.9 },
  fallback: 'review',
})
const scored = service('scored', {
  request: payment,
  groups: [cardActivity, shopActivity, shopProfile],
  derived: {
    over_mean: overMean,
    broken: (v): number => {
      if (v.request.amount < 1e9) throw new Error('this derived feature is broken')
      return 0
    },
  },
  model: 'tiny',
  policy: rules,
})
const plain = service('plain', { request: payment, groups: [cardActivity] })

export const MODEL_PATH = join(import.meta.dirname, '..', 'fixtures', 'models', 'classifier.onnx')

export const manifest: ModelManifest = {
  name: 'tiny',
  version: '1.2.0',
  inputs: [
    { name: 'request.amount', default: 0 },
    { name: 'shop_profile.rating', default: 2.5 },
    { name: 'derived.over_mean', default: 1 },
  ],
  scoreOutput: 'probabilities',
  planHash: '',
  trainedAt: '2024-01-01T00:00:00Z',
  rows: 100,
  metrics: {},
  reference: [],
  checksums: {},
}

const DEFINITIONS = {
  payment,
  profile,
  card,
  shop,
  cardActivity,
  shopActivity,
  shopProfile,
  overMean,
  rules,
  scored,
  plain,
}

/** Definitions, those above unless others are given, compiled and bound to units on fresh topics. */
export function compileWorld(exports: Readonly<Record<string, unknown>> = DEFINITIONS): {
  readonly bound: BoundPlan
  readonly services: ReadonlyMap<string, ServiceCode>
} {
  const compiled = compileProject({ definitions: [{ file: 'world.ts', exports }], bundleHashes: { 'world.ts': '0' } })
  if (!compiled.ok) throw new Error(JSON.stringify(compiled.problems, null, 1))
  const { plan, services } = compiled.project
  const standings = plan.sources.map(source => {
    const offsets = new Array<number>(source.partitions).fill(0)
    return [source.name, { incarnation: 'life', startOffsets: offsets, endOffsets: offsets }] as const
  })
  return { bound: bindPlan(plan, placePlan(plan, EMPTY_CATALOGUE, new Map(standings))), services }
}

/** A running engine over a real store and a real model, with what it emitted. */
export interface World {
  readonly engine: ScoringEngine
  readonly bound: BoundPlan
  readonly store: OnlineStore
  readonly clock: HandClock
  readonly telemetry: CollectedTelemetry
  readonly records: ScoreRecord[]
  readonly models: ReadonlyMap<string, ServedModel>
  /** Writes the state that a worker would have after these events of one partition. */
  feed(source: string, partition: number, events: readonly Readonly<Record<string, Value>>[]): Promise<void>
  /** Publishes that every partition of every source was caught up at this time. */
  caughtUp(timeMs: number, sources?: readonly string[]): Promise<void>
  close(): Promise<void>
}

const NAMESPACE = 'test'

/** Starts a world; `change` may replace parts of the engine's options, `exports` the definitions. */
export async function startWorld(
  change: (options: ScoringOptions) => Partial<ScoringOptions> = () => ({}),
  exports: Readonly<Record<string, unknown>> = DEFINITIONS,
): Promise<World> {
  const folder = mkdtempSync(join(tmpdir(), 'headwater-scoring-'))
  const clock = handClock(NOW)
  const telemetry = collectTelemetry()
  const { bound, services } = compileWorld(exports)
  const store = await openEmbeddedOnlineStore({ path: join(folder, 'online.sqlite'), clock })
  const model = await createOnnxRuntime().load(MODEL_PATH, { inputWidth: 3, scoreOutput: manifest.scoreOutput })
  const models = new Map<string, ServedModel>([['tiny', { manifest, model }]])
  const records: ScoreRecord[] = []
  const emit = (record: ScoreRecord): void => void records.push(record)
  const options: ScoringOptions = { bound, services, namespace: NAMESPACE, store, models, clock, telemetry, emit }
  const engine = createScoringEngine({ ...options, ...change(options) })
  const caughtUp = async (timeMs: number, sources = bound.plan.sources.map(source => source.name)): Promise<void> => {
    const progress = bound.units
      .filter(unit => sources.includes(unit.source.name))
      .flatMap(({ feed, source }) =>
        Array.from({ length: source.partitions }, (_, partition): Progress => {
          return { feed, partition, offset: 1, arrivalMs: timeMs, caughtUpAtMs: timeMs }
        }),
      )
    await store.publishProgress(progress)
    await engine.refreshStaleness()
  }
  await caughtUp(NOW)
  return {
    engine,
    bound,
    store,
    clock,
    telemetry,
    records,
    models,
    feed: (source, partition, events) => feed({ bound, store }, source, partition, events),
    caughtUp,
    close: async () => {
      await engine.close()
      await store.close().catch(() => {})
      for (const served of models.values()) await served.model.close()
      rmSync(folder, { recursive: true, force: true })
    },
  }
}

async function feed(
  { bound, store }: Pick<World, 'bound' | 'store'>,
  sourceName: string,
  partition: number,
  events: readonly Readonly<Record<string, Value>>[],
): Promise<void> {
  for (const unit of bound.units.filter(each => each.source.name === sourceName)) {
    const states = new Map<string, { state: SectionState; position: number }>()
    for (const [offset, fields] of events.entries()) {
      const decoded = decodeFields(unit.source, fields, null)
      if (!decoded.ok) throw new Error(decoded.reason)
      const id = unit.entityId(decoded.event)
      if (id === null) continue
      const entry = states.get(id) ?? { state: emptySection(unit.spec), position: -1 }
      applyPoint(unit.spec, entry.state, unit.project(decoded.event))
      entry.position = offset
      states.set(id, entry)
    }
    const lane = { unit: unit.id, incarnation: 'life', partition }
    const start = { offset: -1, arrivalMs: 0 }
    await store.initialiseCanaries(lane, SHARD_COUNT, start)
    const next = { offset: events.length - 1, arrivalMs: NOW }
    for (const [id, { state, position }] of states) {
      const shard = shardOf(unit.entity, id)
      const key = onlineKey(NAMESPACE, unit.entity, id, unit.id)
      const writes = [{ key, position, ...encodeSection(unit.spec, state), base: -1, ttlMs: 0 }]
      const [canary] = (await store.readCanaries(lane, SHARD_COUNT)).slice(shard, shard + 1)
      const [outcome] = await store.flush(lane, [{ shard, expected: canary ?? start, next, writes }])
      if (outcome?.ok !== true) throw new Error(`the flush of ${key} was refused`)
    }
  }
}

/** A payment some minutes before now. */
export function paid(
  id: string,
  minutesAgo: number,
  fields: Readonly<Record<string, Value>> = {},
): Record<string, Value> {
  return { id, at: NOW - minutesAgo * MINUTE, card: 'c1', shop: 's1', amount: 10, ...fields }
}

/** The payments that `withHistory` has seen: two of card c1, one of c2, all in shop s1. */
export const HISTORY = [paid('p1', 50), paid('p2', 30, { amount: 20 }), paid('p3', 5, { card: 'c2', amount: 33.33 })]

/** Feeds a world with HISTORY and a rating of the shop. */
export async function feedHistory(world: World): Promise<World> {
  await world.feed('payment', 0, HISTORY)
  await world.feed('profile', 0, [{ id: 'q1', at: NOW - 1000, shop: 's1', rating: 4.5 }])
  return world
}

/** The error of work that must fail. */
export function failure(work: Promise<unknown>): Promise<ServerError> {
  return work.then(
    () => Promise.reject(new Error('it did not fail')),
    (error: unknown) => error as ServerError,
  )
}

/** A store that is the given one but for some methods. */
export function changed(store: OnlineStore, changes: Partial<OnlineStore>): OnlineStore {
  return Object.assign(Object.create(store) as OnlineStore, changes)
}
