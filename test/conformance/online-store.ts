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
  onlineStoreContext,
  plain,
  reading,
  sorted,
  start,
  write,
} from './online-store-harness.ts'
import type { OnlineStoreContext, OnlineStoreSubject } from './online-store-harness.ts'
import { propertyConformance } from './online-store-property.ts'
import { blockConformance } from './online-store-blocks.ts'
import { readConformance } from './online-store-read.ts'
import { writeConformance } from './online-store-write.ts'

/** Everything the online-store port promises, for any adapter. */
export function onlineStoreConformance(name: string, factory: () => Promise<OnlineStoreSubject>): void {
  describe(`online store: ${name}`, () => {
    const context = onlineStoreContext(factory)
    writeConformance(context)
    readConformance(context)
    blockConformance(context)
    besideConformance(context)
    propertyConformance(context)
  })
}

function besideConformance(context: OnlineStoreContext): void {
  const { ready, flushOne } = context
  let store: OnlineStore
  let subject: OnlineStoreSubject
  let namespace: string
  beforeEach(() => {
    ;({ store, subject, namespace } = context)
  })

  describe('documents', () => {
    it('are compared and set on the previous text', async () => {
      const document = fresh('document')
      expect(await store.readDocument(document)).toBeNull()
      expect(await store.writeDocument(document, 'guess', 'a')).toBe(false)
      expect(await store.readDocument(document)).toBeNull()
      expect(await store.writeDocument(document, null, 'a')).toBe(true)
      expect(await store.writeDocument(document, null, 'b')).toBe(false)
      expect(await store.writeDocument(document, 'A', 'b')).toBe(false)
      expect(await store.readDocument(document)).toBe('a')
      expect(await store.writeDocument(document, 'a', 'b')).toBe(true)
      expect(await store.writeDocument(document, 'b', 'b')).toBe(true)
      expect(await store.readDocument(document)).toBe('b')
    })

    it('keep their text exactly, the empty one too, and are told apart by name', async () => {
      const [one, two] = [fresh('document'), fresh('document')]
      const text = `${'{"unit":1,"é":"🔑\\u0000"}\n'.repeat(5000)} `
      expect(await store.writeDocument(one, null, '')).toBe(true)
      expect(await store.readDocument(one)).toBe('')
      expect(await store.writeDocument(one, '', text)).toBe(true)
      expect(await store.readDocument(one)).toBe(text)
      expect(await store.readDocument(two)).toBeNull()
    })

    it('let exactly one of several writers win', async () => {
      const document = fresh('document')
      const handles = [store, await subject.second(), await subject.second()]
      const won = await Promise.all(handles.map((handle, i) => handle.writeDocument(document, null, `writer ${i}`)))
      expect(won.filter(Boolean)).toHaveLength(1)
      expect(await store.readDocument(document)).toBe(`writer ${won.indexOf(true)}`)
    })
  })

  describe('progress', () => {
    it('is kept per feed and partition, the newest publication standing', async () => {
      const [a, b] = [fresh('feed'), fresh('feed')]
      const progress = (
        feed: string,
        partition: number,
        offset: number,
      ): Parameters<OnlineStore['publishProgress']>[0][number] => ({
        feed,
        partition,
        offset,
        arrivalMs: 1_700_000_000_000,
        caughtUpAtMs: 1_700_000_000_001,
      })
      const mine = async (): Promise<unknown[]> =>
        (await store.readProgress())
          .filter(one => one.feed === a || one.feed === b)
          .sort((x, y) => (x.feed === y.feed ? x.partition - y.partition : x.feed < y.feed ? -1 : 1))
      await store.publishProgress([])
      expect(await mine()).toEqual([])
      await store.publishProgress([progress(a, 1, 5), progress(a, 0, -1), progress(b, 0, 9)])
      await store.publishProgress([progress(a, 1, 6)])
      const expected = [progress(a, 0, -1), progress(a, 1, 6), progress(b, 0, 9)]
      expected.sort((x, y) => (x.feed === y.feed ? x.partition - y.partition : x.feed < y.feed ? -1 : 1))
      expect(await mine()).toEqual(expected)
    })
  })

  describe('several handles', () => {
    it('see each other’s writes, canaries and documents at once', async () => {
      const lane = await ready(freshLane())
      const other = await subject.second()
      const { key, shard } = entity(namespace, 'a')
      await flushOne(lane, shard, start, at(5), [write(key, 5, bytes(5))], other)
      expect((await store.readCanaries(lane, SHARD_COUNT))[shard]).toEqual(at(5))
      expect(sorted((await store.read(reading([key])))[0])).toEqual(sorted((await other.read(reading([key])))[0]))
      expect(await flushOne(lane, shard, at(6), at(7), [write(key, 7, bytes(7))])).toEqual({
        ok: false,
        canary: at(5),
      })
      const life = freshLane()
      await other.initialiseCanaries(life, SHARD_COUNT, at(2))
      expect(await store.readCanaries(life, 1)).toEqual([at(2)])
      await flushOne(life, shard, at(2), at(3), [write(key, 3, bytes(3))], other)
      expect((await store.read(reading([key])))[0]).toHaveLength(2)
    })

    it('of two owners of a lane end with the newest sections and the largest canary', async () => {
      const lane = await ready(freshLane())
      const handles = [store, await subject.second()]
      const { key, shard } = entity(namespace, 'a')
      const outcomes = await Promise.all(
        Array.from({ length: 40 }, (_, offset) =>
          flushOne(lane, shard, start, at(offset), [write(key, offset, bytes(offset))], handles[offset % 2]),
        ),
      )
      expect(outcomes.every(outcome => outcome?.ok === true)).toBe(true)
      expect((await store.readCanaries(lane, SHARD_COUNT))[shard]).toEqual(at(39))
      expect(plain((await store.read(reading([key])))[0]?.[0])).toMatchObject({ position: 39, bytes: [39] })
    })
  })

  describe('life', () => {
    it('keeps everything when opened again, where it declares so', async () => {
      const lane = await ready(freshLane(2))
      const { key, shard } = entity(namespace, 'a')
      const [document, feed] = [fresh('document'), fresh('feed')]
      const progress = { feed, partition: 1, offset: 2, arrivalMs: 3, caughtUpAtMs: 4 }
      await flushOne(lane, shard, start, at(5), [write(key, 5, bytes(5))])
      await store.writeDocument(document, null, 'kept')
      await store.publishProgress([progress])
      const again = await subject.reopen()
      if (!again.capabilities.survivesProcess) {
        expect(await again.read(reading([key]))).toEqual([[]])
        expect((await again.readCanaries(lane, SHARD_COUNT))[shard]).toBeNull()
        return
      }
      expect((await again.read(reading([key]))).map(sorted)).toEqual([
        [{ incarnation: lane.incarnation, partition: 2, position: 5, bytes: [5] }],
      ])
      expect((await again.readCanaries(lane, SHARD_COUNT))[shard]).toEqual(at(5))
      expect(await again.load(lane, shard, at(5), loading([key]))).toMatchObject({ ok: true })
      expect(await again.readDocument(document)).toBe('kept')
      expect((await again.readProgress()).filter(one => one.feed === feed)).toEqual([progress])
    })

    it('refuses every call after close with CLOSED, and closes twice', async () => {
      const lane = await ready(freshLane())
      await store.close()
      await store.close()
      const calls: (() => Promise<unknown>)[] = [
        () => store.initialiseCanaries(lane, 1, start),
        () => store.readCanaries(lane, 1),
        () => store.flush(lane, []),
        () => store.load(lane, 0, start, []),
        () => store.read(reading(['k'])),
        () => store.readDocument('d'),
        () => store.writeDocument('d', null, 'x'),
        () => store.publishProgress([]),
        () => store.readProgress(),
      ]
      for (const call of calls) await expect(call()).rejects.toMatchObject({ name: 'PortError', code: 'CLOSED' })
    })
  })
}
