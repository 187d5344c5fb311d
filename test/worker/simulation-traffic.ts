import { entity, event, group, t } from '../../features/define/index.ts'
import { compileProject } from '../../features/plan/compile.ts'
import type { SourcePlan } from '../../features/plan/plan.ts'
import { EMPTY_CATALOGUE, bindPlan, placePlan } from '../../features/plan/units.ts'
import type { BoundUnit } from '../../features/plan/units.ts'
import { hash32, shardOf } from '../../topology/ports/online-layout.ts'
import { meet } from './simulated-scheduler.ts'
import type { Met, Pick } from './simulated-scheduler.ts'

export const TOPIC = 'payments'
export const NAMESPACE = 'sim'
/** When simulations begin, UTC milliseconds. */
export const BASE_MS = 1_700_000_000_000

const payment = event('payment', {
  topic: TOPIC,
  id: 'id',
  time: 'at',
  key: 'card',
  partitions: 1,
  lateness: '1m',
  fields: { id: t.string(), at: t.timestamp(), card: t.string(), shop: t.string(), amount: t.decimal(2) },
})
const card = entity('card', { key: 'card' })
const shop = entity('shop', { key: 'shop' })
const cardGroup = group('card_activity', { entity: card, source: payment }, e => ({
  n: e.count('10m'),
  spend: e.sum(e.amount, 'lifetime'),
  last: e.last(e.shop, '1h'),
}))
const shopGroup = group('shop_activity', { entity: shop, source: payment }, e => ({ cards: e.distinct(e.card, '1h') }))

function bind() {
  const definitions = [{ file: 'sim.ts', exports: { payment, card, shop, cardGroup, shopGroup } }]
  const compiled = compileProject({ definitions, bundleHashes: { 'sim.ts': '0' } })
  if (!compiled.ok) throw new Error(JSON.stringify(compiled.problems))
  const standing = { incarnation: 'life-1', startOffsets: [0], endOffsets: [0] }
  const catalogue = placePlan(compiled.project.plan, EMPTY_CATALOGUE, new Map([['payment', standing]]))
  return bindPlan(compiled.project.plan, catalogue)
}

const bound = bind()

/** The source that all simulated events belong to. */
export function paymentSource(): SourcePlan {
  const [source] = bound.plan.sources
  if (source === undefined) throw new Error('the plan has no source')
  return source
}

/** What a schedule runs over: units as the plan has them, or cut so finely that a few events make blocks. */
export interface Setting {
  readonly name: 'whole' | 'in blocks' | 'with an edge'
  readonly units: readonly BoundUnit[]
  readonly records: number
  readonly stepMs: number
  readonly latestMs: number
  /** Of so many events one is dated earlier than those before it, by up to `latestMs`. */
  readonly behindOneIn: number
}

const TINY = { latenessMs: 40, horizonMs: 40, layout: { levelsMs: [4, 16, 64], leafPoints: 4, blockPoints: 2 } }
const withSpec = (spec: Partial<BoundUnit['spec']>): readonly BoundUnit[] =>
  bound.units.map(unit => ({ ...unit, spec: { ...unit.spec, ...TINY, ...spec } }))
const WHOLE: Setting = {
  name: 'whole',
  units: bound.units,
  records: 40,
  stepMs: 20_000,
  latestMs: 120_000,
  behindOneIn: 4,
}
const IN_BLOCKS: Setting = {
  name: 'in blocks',
  units: withSpec({ retentionMs: 150, rawMs: 150, edgeMs: 0 }),
  records: 90,
  stepMs: 10,
  latestMs: 60,
  behindOneIn: 3,
}
const WITH_EDGE: Setting = {
  ...IN_BLOCKS,
  name: 'with an edge',
  units: withSpec({ retentionMs: 200, rawMs: 60, edgeMs: 16 }),
}

/** Two schedules of three are over sections with blocks. */
export function settingOf(seed: number): Setting {
  return [WHOLE, IN_BLOCKS, WITH_EDGE][Math.floor(seed / 2) % 3] ?? WHOLE
}

/** Names of entities, several to a shard, so that shards hold more than one. */
function crowded(entityType: string, letter: string, count: number, shards: number): readonly string[] {
  const names: string[] = []
  const used = new Set<number>()
  for (let index = 0; names.length < count; index++) {
    const shard = shardOf(entityType, `${letter}${index}`)
    if (used.size < shards) used.add(shard)
    if (used.has(shard)) names.push(`${letter}${index}`)
  }
  return names
}

const CARDS = crowded('card', 'c', 5, 3)
const SHOPS = crowded('shop', 's', 3, 2)

/** A record to append: its key's partition is the hash's, unless its producer has another partitioner. */
export interface Sent {
  readonly key: string
  readonly value: Uint8Array
  partition(partitions: number): number
}

/**
 * Events as producers send them: out of order, late, sent again with the same or another payload, to the key's partition
 * or by another partitioner; some are none.
 */
export function createProducer(pick: Pick, setting: Setting, met: Met) {
  const encoder = new TextEncoder()
  const sent: { readonly id: string; readonly at: number; readonly card: string; readonly shop: string }[] = []
  let now = BASE_MS
  let made = 0

  function body(): Readonly<Record<string, unknown>> {
    const again = sent.length > 0 && pick(8) === 0 ? sent[pick(sent.length)] : undefined
    const amount = pick(10_000) / 100
    if (again !== undefined) {
      meet(met, 'id comes again')
      // The same entities mostly, so that it is known there; the amount makes it conflict.
      return pick(3) > 0 ? { ...again, amount } : { ...again, card: cardName(), shop: shopName(), amount }
    }
    const behind = pick(setting.behindOneIn) === 0 ? pick(setting.latestMs) : 0
    if (behind > 0) meet(met, 'event out of order')
    const fresh = { id: `e${made++}`, at: now - behind, card: cardName(), shop: shopName() }
    sent.push(fresh)
    return { ...fresh, amount }
  }
  const cardName = (): string => CARDS[pick(CARDS.length)] ?? ''
  const shopName = (): string => SHOPS[pick(SHOPS.length)] ?? ''
  let previous: Sent | null = null

  return {
    /** The producers' time, UTC milliseconds. */
    nowMs: (): number => now,
    next: (): Sent => {
      now += pick(setting.stepMs)
      if (previous !== null && pick(15) === 0) {
        meet(met, 'record sent twice')
        return previous
      }
      const event = body()
      const poison = pick(20) === 0
      if (poison) meet(met, 'poison record')
      const elsewhere = pick(20) === 0 ? pick(1_000) : null
      if (elsewhere !== null) meet(met, 'other partitioner')
      const key = String(event['card'])
      const value = encoder.encode(poison ? '{"id":' : JSON.stringify(event))
      previous = { key, value, partition: partitions => (elsewhere ?? hash32(key)) % partitions }
      return previous
    },
  }
}
