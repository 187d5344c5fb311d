import { describe, expect, it } from 'vitest'
import { group, service } from '../../features/define/index.ts'
import { card, fieldsOf, movement, pairMoves, payment } from '../plan/movements.ts'
import type { Movement } from '../plan/movements.ts'
import { changed, startWorld } from './world.ts'

const T = 1_700_000_000_000
const MINUTE = 60_000
const HOUR = 60 * MINUTE

const sums = group('sums', { entity: card, source: movement }, e => ({
  count_1h: e.count('1h'),
  sum_1h: e.sum(e.amount, '1h'),
}))
const summed = service('summed', { request: payment, groups: [sums, pairMoves] })

describe('a busy entity of several events', () => {
  it('is answered from one read of all its units, with the blocks that the instant names', async () => {
    const reads: string[][] = []
    const world = await startWorld(
      ({ store }) => ({
        models: new Map(),
        store: changed(store, {
          read: keys => {
            reads.push(keys.map(each => each.key))
            return store.read(keys)
          },
        }),
      }),
      { sums, pairMoves, summed },
    )
    try {
      const spaced = (kind: 'payment' | 'refund', count: number, everyMs: number) =>
        Array.from({ length: count }, (_, index): Movement => {
          const at = T - 37 - (count - index) * everyMs
          return { kind, id: `${index}`, at, card: 'c', shop: 's', cents: index % 700, note: 'no' }
        })
      const [payments, refunds] = [spaced('payment', 1500, 2000), spaced('refund', 900, 3500)]
      await world.feed('payment', 0, payments.map(fieldsOf))
      await world.feed('refund', 1, refunds.map(fieldsOf))
      const self: Movement = { kind: 'payment', id: 'new', at: T, card: 'c', shop: 's', cents: 100, note: 'no' }
      const all = [...payments, ...refunds, self]
      for (const asOfMs of [T, T - 1234, T + 17 * MINUTE + 1, T + 40 * MINUTE, T + HOUR]) {
        const { features, degraded } = await world.engine.score({
          service: 'summed',
          event: fieldsOf(self),
          asOfMs,
          includeFeatures: true,
        })
        const hour = all.filter(({ at }) => at <= asOfMs && at > asOfMs - HOUR)
        expect(degraded).toBe(null)
        expect(features?.['sums.count_1h']).toBe(hour.length)
        expect(features?.['sums.sum_1h']).toBe(hour.reduce((sum, { cents }) => sum + cents, 0) / 100)
        expect(features?.['pair_moves.count_1h']).toBe(hour.length)
      }
      expect(reads).toHaveLength(5)
      const stored = await world.store.read(reads[0]!.map(key => ({ key, blocks: () => [] })))
      expect(stored.flat().filter(section => section.levels !== 0).length).toBeGreaterThan(3)
      expect(new Set(reads[0]).size).toBe(world.engine.describe().services[0]!.reads)
    } finally {
      await world.close()
    }
  })
})
