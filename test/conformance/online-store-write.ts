import { beforeEach, describe, expect, it } from 'vitest'
import { shardOf } from '../../topology/ports/online-layout.ts'
import type { OnlineStore } from '../../topology/ports/online-store.ts'
import { SHARD_COUNT } from '../../topology/ports/online-store.ts'
import { at, bytes, entity, fresh, freshLane, plain, reading, sorted, start, write } from './online-store-harness.ts'
import type { OnlineStoreContext } from './online-store-harness.ts'

/** Canaries and flushes. */
export function writeConformance(context: OnlineStoreContext): void {
  const { ready, flushOne } = context
  let store: OnlineStore
  let namespace: string
  beforeEach(() => {
    ;({ store, namespace } = context)
  })

  describe('canaries', () => {
    it('are missing until initialised, then all stand at the start', async () => {
      const lane = freshLane()
      expect(await store.readCanaries(lane, 4)).toEqual([null, null, null, null])
      expect(await store.initialiseCanaries(lane, 4, at(41))).toEqual([at(41), at(41), at(41), at(41)])
      expect(await store.readCanaries(lane, 4)).toEqual([at(41), at(41), at(41), at(41)])
    })

    it('are initialised only where none is stored', async () => {
      const lane = freshLane()
      await store.initialiseCanaries(lane, 2, at(5))
      await flushOne(lane, 1, at(5), at(9), [])
      expect(await store.initialiseCanaries(lane, 3, start)).toEqual([at(5), at(9), start])
      expect(await store.readCanaries(lane, 3)).toEqual([at(5), at(9), start])
    })

    it('belong to one unit, incarnation and partition', async () => {
      const lane = await ready(freshLane())
      await flushOne(lane, 3, start, at(7), [])
      for (const other of [
        { ...lane, unit: 2 },
        { ...lane, partition: 1 },
        { ...lane, incarnation: fresh('life') },
      ]) {
        expect((await store.readCanaries(other, 4))[3]).toBeNull()
        await store.initialiseCanaries(other, 4, at(1))
        expect((await store.readCanaries(other, 4))[3]).toEqual(at(1))
      }
      expect((await store.readCanaries(lane, 4))[3]).toEqual(at(7))
    })

    it('advance without writes, keep the arrival of their record, and never move back', async () => {
      const lane = await ready(freshLane())
      expect(await flushOne(lane, 0, start, at(10), [])).toEqual({ ok: true, canary: at(10), refused: 0 })
      expect(await flushOne(lane, 0, at(4), at(6), [])).toEqual({ ok: true, canary: at(10), refused: 0 })
      const sameOffset = { offset: 10, arrivalMs: 1 }
      expect(await flushOne(lane, 0, at(10), sameOffset, [])).toEqual({ ok: true, canary: at(10), refused: 0 })
      expect((await store.readCanaries(lane, 1))[0]).toEqual(at(10))
    })
  })

  describe('flush', () => {
    it('writes sections that a read returns with incarnation, partition and position', async () => {
      const lane = await ready(freshLane(3))
      const { key, shard } = entity(namespace, 'a')
      expect(await flushOne(lane, shard, start, at(5), [write(key, 5, bytes(1, 2, 3))])).toEqual({
        ok: true,
        canary: at(5),
        refused: 0,
      })
      expect((await store.read(reading([key]))).map(sorted)).toEqual([
        [{ incarnation: lane.incarnation, partition: 3, position: 5, bytes: [1, 2, 3] }],
      ])
    })

    it('is a max-register: only a larger position replaces; smaller and equal ones are refused and counted', async () => {
      const lane = await ready(freshLane())
      const { key, shard } = entity(namespace, 'a')
      await flushOne(lane, shard, start, at(5), [write(key, 5, bytes(5))])
      const refusedFlush = await flushOne(lane, shard, at(5), at(6), [
        write(key, 4, bytes(4)),
        write(key, 5, bytes(55)),
      ])
      expect(refusedFlush).toEqual({ ok: true, canary: at(6), refused: 2 })
      expect(plain((await store.read(reading([key])))[0]?.[0])).toMatchObject({ position: 5, bytes: [5] })
      expect(await flushOne(lane, shard, at(6), at(8), [write(key, 6, bytes(6))])).toMatchObject({ refused: 0 })
      expect(plain((await store.read(reading([key])))[0]?.[0])).toMatchObject({ position: 6, bytes: [6] })
    })

    it('counts refusals per shard and still takes the other writes of the shard', async () => {
      const lane = await ready(freshLane())
      const { key, shard } = entity(namespace, 'a')
      const beside = `${key}:beside`
      await flushOne(lane, shard, start, at(9), [write(key, 9, bytes(9))])
      const outcome = await flushOne(lane, shard, at(9), at(10), [
        write(key, 3, bytes(3)),
        write(beside, 10, bytes(10)),
      ])
      expect(outcome).toEqual({ ok: true, canary: at(10), refused: 1 })
      expect(
        (await store.read(reading([key, beside]))).map(sections => sections.map(section => section.position)),
      ).toEqual([[9], [10]])
    })

    it('accepts a position of -1 and of a large offset', async () => {
      const lane = await ready(freshLane())
      const { key, shard } = entity(namespace, 'a')
      const large = 2 ** 40
      expect(await flushOne(lane, shard, start, start, [write(key, -1, bytes(1))])).toMatchObject({ refused: 0 })
      expect(await flushOne(lane, shard, start, at(large), [write(key, large, bytes(2))])).toMatchObject({
        canary: at(large),
        refused: 0,
      })
      expect(await flushOne(lane, shard, at(large), at(large), [write(key, large - 1, bytes(3))])).toMatchObject({
        refused: 1,
      })
      expect(plain((await store.read(reading([key])))[0]?.[0])).toMatchObject({ position: large, bytes: [2] })
    })

    it('is fenced: a stored canary lower than expected means nothing is written', async () => {
      const lane = await ready(freshLane())
      const { key, shard } = entity(namespace, 'a')
      await flushOne(lane, shard, start, at(5), [write(key, 5, bytes(5))])
      expect(await flushOne(lane, shard, at(6), at(20), [write(key, 20, bytes(20))])).toEqual({
        ok: false,
        canary: at(5),
      })
      expect((await store.readCanaries(lane, SHARD_COUNT))[shard]).toEqual(at(5))
      expect(plain((await store.read(reading([key])))[0]?.[0])).toMatchObject({ position: 5 })
    })

    it('is fenced: a missing canary means nothing is written, none is made, and null is answered', async () => {
      const lane = freshLane()
      const { key, shard } = entity(namespace, 'a')
      expect(await flushOne(lane, shard, start, at(1), [write(key, 1, bytes(1))])).toEqual({
        ok: false,
        canary: null,
      })
      expect((await store.readCanaries(lane, SHARD_COUNT))[shard]).toBeNull()
      expect(await store.read(reading([key]))).toEqual([[]])
    })

    it('accepts a writer that is behind the stored canary: positions keep it harmless', async () => {
      const lane = await ready(freshLane())
      const { key, shard } = entity(namespace, 'a')
      const beside = `${key}:beside`
      await flushOne(lane, shard, start, at(50), [write(key, 50, bytes(50))])
      const zombie = await flushOne(lane, shard, at(10), at(20), [
        write(key, 20, bytes(20)),
        write(beside, 20, bytes(20)),
      ])
      expect(zombie).toEqual({ ok: true, canary: at(50), refused: 1 })
      expect(plain((await store.read(reading([key])))[0]?.[0])).toMatchObject({ position: 50 })
    })

    it('judges each shard by itself and answers in argument order', async () => {
      const lane = freshLane()
      await store.initialiseCanaries(lane, 3, at(5))
      await flushOne(lane, 1, at(5), at(9), [])
      const key = (shard: number): string => `hw:${namespace}:{${shard}}:card:x:1`
      const outcomes = await store.flush(
        lane,
        [3, 1, 0, 2].map(shard => ({
          shard,
          expected: at(shard === 0 ? 6 : 5),
          next: at(12),
          writes: [write(key(shard), 12, bytes(shard))],
        })),
      )
      expect(outcomes).toEqual([
        { ok: false, canary: null },
        { ok: true, canary: at(12), refused: 0 },
        { ok: false, canary: at(5) },
        { ok: true, canary: at(12), refused: 0 },
      ])
      expect((await store.read(reading([0, 1, 2, 3].map(key)))).map(sections => sections.length)).toEqual([0, 1, 1, 0])
      expect(await store.readCanaries(lane, 4)).toEqual([at(5), at(12), at(12), null])
    })

    it('takes many shards and keys in one call', async () => {
      const lane = await ready(freshLane())
      const ids = Array.from({ length: 2000 }, (_, i) => `c${i}`)
      const byShard = Map.groupBy(ids, id => shardOf('card', id))
      const outcomes = await store.flush(
        lane,
        [...byShard].map(([shard, members]) => ({
          shard,
          expected: start,
          next: at(1999),
          writes: members.map(id => write(entity(namespace, id).key, Number(id.slice(1)), bytes(shard))),
        })),
      )
      expect(outcomes).toHaveLength(byShard.size)
      expect(outcomes.every(outcome => outcome.ok && outcome.refused === 0)).toBe(true)
      const all = await store.read(reading(ids.map(id => entity(namespace, id).key)))
      expect(all.map(sections => sections.map(section => section.position))).toEqual(ids.map((_, i) => [i]))
    })

    it('answers an empty flush with no outcomes', async () => {
      expect(await store.flush(await ready(freshLane()), [])).toEqual([])
    })
  })
}
