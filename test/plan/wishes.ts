import { entity, event, group, t } from '../../features/define/index.ts'
import type { Duration, WindowLength } from '../../features/define/index.ts'
import type { Plan } from '../../features/plan/plan.ts'
import type { Catalogue, CatalogueUnit, TopicStanding } from '../../features/plan/units.ts'
import { projectOf } from './source.ts'

export interface Wish {
  readonly name?: string
  readonly family?: 'count' | 'sum' | 'last' | 'argMax' | 'gapStd' | 'decayedSum'
  readonly window?: WindowLength
  readonly edge?: Duration
  /** Only amounts above this. */
  readonly above?: number
  readonly night?: boolean
  readonly delay?: Duration
  readonly include?: 'current' | 'excludeSelf'
  readonly description?: string
}

export interface Setup {
  readonly card?: readonly Wish[]
  readonly shop?: readonly Wish[]
  readonly lateness?: '1m' | '1d'
  readonly readBack?: '5m' | '2d'
  readonly night?: 'boolean' | 'int' | 'absent'
  readonly shopName?: string
}

const FIELDS = { id: t.string(), at: t.timestamp(), card: t.string(), shop: t.string(), amount: t.decimal(2) }
const NIGHTLY = { ...FIELDS, night: t.boolean() }
const INT_NIGHTLY = { ...FIELDS, night: t.int() } as unknown as typeof NIGHTLY

/** A plan over one event, with a group of features for each of two entities. */
export function planOf(setup: Setup): Plan {
  const night = setup.night ?? 'boolean'
  const payment = event('payment', {
    topic: 'payments',
    id: 'id',
    time: 'at',
    key: 'card',
    partitions: 2,
    lateness: setup.lateness ?? '1m',
    readBack: setup.readBack ?? '5m',
    fields: night === 'absent' ? (FIELDS as typeof NIGHTLY) : night === 'int' ? INT_NIGHTLY : NIGHTLY,
  })
  const definitions: Record<string, unknown> = { payment }
  const wishes = { card: setup.card ?? [], [setup.shopName ?? 'shop']: setup.shop ?? [] }
  for (const [name, list] of Object.entries(wishes)) {
    if (list.length === 0) continue
    const key = name === 'card' ? 'card' : 'shop'
    const of = entity(name, { key })
    definitions[name] = group(`${name}_activity` as 'card_activity', { entity: of, source: payment }, e =>
      Object.fromEntries(
        list.map((wish, index) => {
          const { window = '5m', above, night: atNight, name: _name, family: _family, ...options } = wish
          const where = atNight === true ? e.field('night').isTrue() : above === undefined ? null : e.amount.gt(above)
          const all = where === null ? options : { ...options, where }
          const made = {
            count: () => e.count(window, all),
            sum: () => e.sum(e.amount, window, all),
            last: () => e.last(e.shop, window, all),
            argMax: () => e.argMax(e.shop, e.amount, window, all),
            gapStd: () => e.gapStd(window === 'lifetime' ? '1h' : window, all),
            decayedSum: () => e.decayedSum(e.amount, '1h', all),
          }[wish.family ?? 'count']()
          return [wish.name ?? `f${index}`, made]
        }),
      ),
    )
  }
  return projectOf(definitions).plan
}

export function standing(end: number): ReadonlyMap<string, TopicStanding> {
  return new Map([['payment', { incarnation: 'life-1', startOffsets: [3, 5], endOffsets: [end, end + 1] }]])
}

export const unitsOf = (catalogue: Catalogue): readonly CatalogueUnit[] => catalogue.revisions.flatMap(r => r.units)
