import { beforeEach, describe, expect, it } from 'vitest'
import type { OnlineStore } from '../../topology/ports/online-store.ts'
import { SHARD_COUNT } from '../../topology/ports/online-store.ts'
import {
  at,
  bytes,
  entity,
  fresh,
  freshLane,
  loading,
  plain,
  reading,
  sorted,
  start,
  write,
} from './online-store-harness.ts'
import type { OnlineStoreContext, OnlineStoreSubject } from './online-store-harness.ts'

/** Reads, loads and times to live. */
export function readConformance(context: OnlineStoreContext): void {
  const { ready, flushOne } = context
  let store: OnlineStore
  let subject: OnlineStoreSubject
  let namespace: string
  beforeEach(() => {
    ;({ store, subject, namespace } = context)
  })

  describe('read', () => {
    it('answers in key order, absent keys as empty, a key asked twice twice', async () => {
      const lane = await ready(freshLane())
      const [a, b] = [entity(namespace, 'a'), entity(namespace, 'b')]
      await flushOne(lane, a.shard, start, at(1), [write(a.key, 1, bytes(1))])
      await flushOne(lane, b.shard, start, at(2), [write(b.key, 2, bytes(2))])
      const absent = entity(namespace, 'absent').key
      const sections = await store.read(reading([b.key, absent, a.key, b.key]))
      expect(sections.map(one => one.map(section => section.position))).toEqual([[2], [], [1], [2]])
      expect(await store.read([])).toEqual([])
    })

    it('returns the sections of every incarnation and partition, untouched by each other', async () => {
      const { key, shard } = entity(namespace, 'm')
      const first = await ready(freshLane(0))
      const second = await ready({ ...first, partition: 11 })
      const third = await ready({ ...first, incarnation: fresh('life') })
      await flushOne(first, shard, start, at(9), [write(key, 9, bytes(1))])
      await flushOne(second, shard, start, at(2), [write(key, 2, bytes(2))])
      await flushOne(third, shard, start, at(1), [write(key, 1, bytes(3))])
      const expected = [
        { incarnation: first.incarnation, partition: 0, position: 9, bytes: [1] },
        { incarnation: first.incarnation, partition: 11, position: 2, bytes: [2] },
        { incarnation: third.incarnation, partition: 0, position: 1, bytes: [3] },
      ]
      const order = (section: { incarnation: string; partition: number }): string =>
        `${section.incarnation} ${String(section.partition).padStart(5, '0')}`
      expected.sort((x, y) => (order(x) < order(y) ? -1 : 1))
      expect(sorted((await store.read(reading([key])))[0])).toEqual(expected)
    })

    it('keeps bytes exactly: empty, every byte value, and a mebibyte', async () => {
      const lane = await ready(freshLane())
      const values = [
        new Uint8Array(0),
        Uint8Array.from({ length: 256 }, (_, i) => i),
        new Uint8Array(1_048_576).map((_, i) => i * 31),
      ]
      for (const [i, value] of values.entries()) {
        const { key, shard } = entity(namespace, `v${i}`)
        await flushOne(lane, shard, start, at(1), [write(key, 1, value)])
        const [sections] = await store.read(reading([key]))
        expect(sections).toHaveLength(1)
        expect(Buffer.from(sections?.[0]?.bytes ?? [1]).equals(value)).toBe(true)
      }
    })

    it('keeps what was written when the writer reuses its buffer, and lets a reader change its copy', async () => {
      const lane = await ready(freshLane())
      const { key, shard } = entity(namespace, 'a')
      const buffer = bytes(1, 2, 3, 4)
      await flushOne(lane, shard, start, at(1), [write(key, 1, buffer.subarray(1, 3))])
      buffer.fill(9)
      const [first] = (await store.read(reading([key])))[0] ?? []
      expect([...(first?.bytes ?? [])]).toEqual([2, 3])
      first?.bytes.fill(7)
      expect([...((await store.read(reading([key])))[0]?.[0]?.bytes ?? [])]).toEqual([2, 3])
    })

    it('tells keys of any script, case and spacing apart', async () => {
      const lane = await ready(freshLane())
      const ids = [
        'é',
        'e\u0301',
        'E',
        'e',
        'ключ',
        '鍵🔑',
        ' e',
        'e ',
        "o'clock",
        '{7}:x',
        'a:b',
        '%',
        '_',
        '*',
        '\\',
        '"',
      ]
      for (const [i, id] of ids.entries()) {
        const { key, shard } = entity(namespace, id)
        expect(await flushOne(lane, shard, start, start, [write(key, i, bytes(i))])).toMatchObject({ ok: true })
      }
      const sections = await store.read(reading(ids.map(id => entity(namespace, id).key)))
      expect(sections.map(one => one.map(section => section.position))).toEqual(ids.map((_, i) => [i]))
    })

    it('does not mix units and namespaces', async () => {
      const lane = await ready(freshLane())
      const { key, shard } = entity(namespace, 'a', 1)
      await flushOne(lane, shard, start, at(1), [write(key, 1, bytes(1))])
      const others = [entity(namespace, 'a', 11).key, entity(`${namespace}2`, 'a', 1).key]
      expect(await store.read(reading(others))).toEqual([[], []])
    })
  })

  describe('load', () => {
    it("returns this lane's own sections in key order, null where absent", async () => {
      const lane = await ready(freshLane(1))
      const other = await ready({ ...lane, partition: 2 })
      const { key, shard } = entity(namespace, 'a')
      const [absent, foreign] = [`${key}:absent`, `${key}:foreign`]
      await flushOne(lane, shard, start, at(3), [write(key, 3, bytes(3))])
      await flushOne(other, shard, start, at(8), [write(key, 8, bytes(8)), write(foreign, 8, bytes(8))])
      const loaded = await store.load(lane, shard, at(3), loading([absent, key, foreign]))
      expect(loaded.ok && loaded.sections.map(plain)).toEqual([
        null,
        { incarnation: lane.incarnation, partition: 1, position: 3, bytes: [3] },
        null,
      ])
    })

    it('is fenced as a flush is', async () => {
      const lane = freshLane()
      const { key, shard } = entity(namespace, 'a')
      expect(await store.load(lane, shard, start, loading([key]))).toEqual({ ok: false, canary: null })
      await ready(lane)
      await flushOne(lane, shard, start, at(5), [write(key, 5, bytes(5))])
      expect(await store.load(lane, shard, at(6), loading([key]))).toEqual({ ok: false, canary: at(5) })
      expect(await store.load(lane, shard, at(5), loading([key]))).toMatchObject({ ok: true })
      expect(await store.load(lane, shard, at(2), loading([key]))).toMatchObject({ ok: true })
      expect(await store.load(lane, shard, at(5), [])).toEqual({ ok: true, sections: [] })
      expect(await store.load(lane, shard, at(6), [])).toEqual({ ok: false, canary: at(5) })
    })

    it('shows a section ahead of the writer with its position, so that its records can be skipped', async () => {
      const lane = await ready(freshLane())
      const { key, shard } = entity(namespace, 'a')
      await flushOne(lane, shard, start, at(2), [write(key, 9, bytes(9))])
      const loaded = await store.load(lane, shard, at(2), loading([key]))
      expect(loaded.ok && loaded.sections[0]?.position).toBe(9)
    })
  })

  describe('time to live', () => {
    it('ends sections that have one, keeps those that have none, and a write renews it', async () => {
      if (!store.capabilities.timeToLive) return
      const lane = await ready(freshLane())
      const { key, shard } = entity(namespace, 'a')
      const [forever, renewed] = [`${key}:forever`, `${key}:renewed`]
      const positions = async (): Promise<number[][]> =>
        (await store.read(reading([key, forever, renewed]))).map(sections => sections.map(section => section.position))
      await flushOne(lane, shard, start, at(1), [
        write(key, 1, bytes(1), 200),
        write(forever, 1, bytes(1)),
        write(renewed, 1, bytes(1), 200),
      ])
      await flushOne(lane, shard, at(1), at(2), [write(renewed, 2, bytes(2), 600_000)])
      expect(await positions()).toEqual([[1], [1], [2]])
      await subject.advanceMs(250)
      expect(await positions()).toEqual([[], [1], [2]])
      const loaded = await store.load(lane, shard, at(2), loading([key, forever, renewed]))
      expect(loaded.ok && loaded.sections.map(section => section?.position ?? null)).toEqual([null, 1, 2])
    })

    it('makes an ended section absent: a smaller position may be written', async () => {
      if (!store.capabilities.timeToLive) return
      const lane = await ready(freshLane())
      const { key, shard } = entity(namespace, 'a')
      await flushOne(lane, shard, start, at(9), [write(key, 9, bytes(9), 50)])
      await subject.advanceMs(100)
      expect(await flushOne(lane, shard, at(9), at(9), [write(key, 3, bytes(3))])).toMatchObject({ refused: 0 })
      expect(plain((await store.read(reading([key])))[0]?.[0])).toMatchObject({ position: 3, bytes: [3] })
      await subject.advanceMs(100)
      expect((await store.read(reading([key])))[0]).toHaveLength(1)
    })

    it('leaves canaries, documents and progress alone', async () => {
      if (!store.capabilities.timeToLive) return
      const lane = await ready(freshLane())
      const { key, shard } = entity(namespace, 'a')
      const document = fresh('document')
      await store.writeDocument(document, null, 'text')
      await flushOne(lane, shard, start, at(4), [write(key, 4, bytes(4), 50)])
      await subject.advanceMs(100)
      expect((await store.readCanaries(lane, SHARD_COUNT))[shard]).toEqual(at(4))
      expect(await store.readDocument(document)).toBe('text')
    })

    it('keeps sections for ever where the store declares no time to live', async () => {
      if (store.capabilities.timeToLive) return
      const lane = await ready(freshLane())
      const { key, shard } = entity(namespace, 'a')
      await flushOne(lane, shard, start, at(1), [write(key, 1, bytes(1), 10)])
      await subject.advanceMs(50)
      expect((await store.read(reading([key])))[0]).toHaveLength(1)
    })
  })
}
