import fc from 'fast-check'
import { afterEach, beforeEach, describe, expect, it } from 'vitest'
import { onlineKey, shardOf } from '../../topology/ports/online-layout.ts'
import type {
  Canary,
  FlushOutcome,
  Lane,
  OnlineStore,
  Section,
  SectionWrite,
} from '../../topology/ports/online-store.ts'
import { SHARD_COUNT } from '../../topology/ports/online-store.ts'
import { modelOnlineStore } from './online-store-model.ts'

/** One store under test. Namespaces, incarnations and names are fresh per test, so one server can serve every test. */
export interface OnlineStoreSubject {
  readonly store: OnlineStore
  /** True when `advanceMs` moves the store's clock by hand and costs no time. */
  readonly handMovedClock: boolean
  /** Lets time pass for the store: moves its clock, or waits. */
  advanceMs(ms: number): Promise<void>
  /** Another handle on the same store; closed by `cleanup`. */
  second(): Promise<OnlineStore>
  /** Closes `store` and opens the same store again, as a new process would; closed by `cleanup`. */
  reopen(): Promise<OnlineStore>
  cleanup(): Promise<void>
}

const start: Canary = { offset: -1, arrivalMs: 0 }
const at = (offset: number): Canary => ({ offset, arrivalMs: 1000 + offset })
const bytes = (...values: number[]): Uint8Array => Uint8Array.from(values)
const write = (key: string, position: number, value: Uint8Array, ttlMs = 0): SectionWrite => ({
  key,
  position,
  bytes: value,
  ttlMs,
})
const plain = (section: Section | null | undefined): unknown =>
  section === null || section === undefined ? null : { ...section, bytes: [...section.bytes] }
const sorted = (sections: readonly Section[] | undefined): unknown[] =>
  [...(sections ?? [])]
    .sort((a, b) =>
      a.incarnation < b.incarnation ? -1 : a.incarnation > b.incarnation ? 1 : a.partition - b.partition,
    )
    .map(plain)

let counter = 0
function fresh(prefix: string): string {
  counter += 1
  return `${prefix}-${process.pid}-${Math.random().toString(36).slice(2, 10)}-${counter}`
}

function freshLane(partition = 0, unit = 1): Lane {
  return { unit, incarnation: fresh('life'), partition }
}

/** An entity's key of a namespace and the shard it belongs to. */
function entity(namespace: string, id: string, unit = 1): { readonly key: string; readonly shard: number } {
  return { key: onlineKey(namespace, 'card', id, unit), shard: shardOf('card', id) }
}

/** Everything the online-store port promises, for any adapter. */
export function onlineStoreConformance(name: string, factory: () => Promise<OnlineStoreSubject>): void {
  describe(`online store: ${name}`, () => {
    let subject: OnlineStoreSubject
    let store: OnlineStore
    let namespace: string

    beforeEach(async () => {
      subject = await factory()
      store = subject.store
      namespace = fresh('ns')
    })
    afterEach(async () => {
      await subject.cleanup()
    })

    const ready = async (lane: Lane, from: Canary = start): Promise<Lane> => {
      await store.initialiseCanaries(lane, SHARD_COUNT, from)
      return lane
    }
    const flushOne = async (
      lane: Lane,
      shard: number,
      expected: Canary,
      next: Canary,
      writes: readonly SectionWrite[],
      on: OnlineStore = store,
    ): Promise<FlushOutcome | undefined> => (await on.flush(lane, [{ shard, expected, next, writes }]))[0]

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
        expect((await store.read([key])).map(sorted)).toEqual([
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
        expect(plain((await store.read([key]))[0]?.[0])).toMatchObject({ position: 5, bytes: [5] })
        expect(await flushOne(lane, shard, at(6), at(8), [write(key, 6, bytes(6))])).toMatchObject({ refused: 0 })
        expect(plain((await store.read([key]))[0]?.[0])).toMatchObject({ position: 6, bytes: [6] })
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
        expect((await store.read([key, beside])).map(sections => sections.map(section => section.position))).toEqual([
          [9],
          [10],
        ])
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
        expect(plain((await store.read([key]))[0]?.[0])).toMatchObject({ position: large, bytes: [2] })
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
        expect(plain((await store.read([key]))[0]?.[0])).toMatchObject({ position: 5 })
      })

      it('is fenced: a missing canary means nothing is written, none is made, and null is answered', async () => {
        const lane = freshLane()
        const { key, shard } = entity(namespace, 'a')
        expect(await flushOne(lane, shard, start, at(1), [write(key, 1, bytes(1))])).toEqual({
          ok: false,
          canary: null,
        })
        expect((await store.readCanaries(lane, SHARD_COUNT))[shard]).toBeNull()
        expect(await store.read([key])).toEqual([[]])
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
        expect(plain((await store.read([key]))[0]?.[0])).toMatchObject({ position: 50 })
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
        expect((await store.read([0, 1, 2, 3].map(key))).map(sections => sections.length)).toEqual([0, 1, 1, 0])
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
        const all = await store.read(ids.map(id => entity(namespace, id).key))
        expect(all.map(sections => sections.map(section => section.position))).toEqual(ids.map((_, i) => [i]))
      })

      it('answers an empty flush with no outcomes', async () => {
        expect(await store.flush(await ready(freshLane()), [])).toEqual([])
      })
    })

    describe('read', () => {
      it('answers in key order, absent keys as empty, a key asked twice twice', async () => {
        const lane = await ready(freshLane())
        const [a, b] = [entity(namespace, 'a'), entity(namespace, 'b')]
        await flushOne(lane, a.shard, start, at(1), [write(a.key, 1, bytes(1))])
        await flushOne(lane, b.shard, start, at(2), [write(b.key, 2, bytes(2))])
        const absent = entity(namespace, 'absent').key
        const sections = await store.read([b.key, absent, a.key, b.key])
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
        expect(sorted((await store.read([key]))[0])).toEqual(expected)
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
          const [sections] = await store.read([key])
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
        const [first] = (await store.read([key]))[0] ?? []
        expect([...(first?.bytes ?? [])]).toEqual([2, 3])
        first?.bytes.fill(7)
        expect([...((await store.read([key]))[0]?.[0]?.bytes ?? [])]).toEqual([2, 3])
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
        const sections = await store.read(ids.map(id => entity(namespace, id).key))
        expect(sections.map(one => one.map(section => section.position))).toEqual(ids.map((_, i) => [i]))
      })

      it('does not mix units and namespaces', async () => {
        const lane = await ready(freshLane())
        const { key, shard } = entity(namespace, 'a', 1)
        await flushOne(lane, shard, start, at(1), [write(key, 1, bytes(1))])
        const others = [entity(namespace, 'a', 11).key, entity(`${namespace}2`, 'a', 1).key]
        expect(await store.read(others)).toEqual([[], []])
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
        const loaded = await store.load(lane, shard, at(3), [absent, key, foreign])
        expect(loaded.ok && loaded.sections.map(plain)).toEqual([
          null,
          { incarnation: lane.incarnation, partition: 1, position: 3, bytes: [3] },
          null,
        ])
      })

      it('is fenced as a flush is', async () => {
        const lane = freshLane()
        const { key, shard } = entity(namespace, 'a')
        expect(await store.load(lane, shard, start, [key])).toEqual({ ok: false, canary: null })
        await ready(lane)
        await flushOne(lane, shard, start, at(5), [write(key, 5, bytes(5))])
        expect(await store.load(lane, shard, at(6), [key])).toEqual({ ok: false, canary: at(5) })
        expect(await store.load(lane, shard, at(5), [key])).toMatchObject({ ok: true })
        expect(await store.load(lane, shard, at(2), [key])).toMatchObject({ ok: true })
        expect(await store.load(lane, shard, at(5), [])).toEqual({ ok: true, sections: [] })
        expect(await store.load(lane, shard, at(6), [])).toEqual({ ok: false, canary: at(5) })
      })

      it('shows a section ahead of the writer with its position, so that its records can be skipped', async () => {
        const lane = await ready(freshLane())
        const { key, shard } = entity(namespace, 'a')
        await flushOne(lane, shard, start, at(2), [write(key, 9, bytes(9))])
        const loaded = await store.load(lane, shard, at(2), [key])
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
          (await store.read([key, forever, renewed])).map(sections => sections.map(section => section.position))
        await flushOne(lane, shard, start, at(1), [
          write(key, 1, bytes(1), 200),
          write(forever, 1, bytes(1)),
          write(renewed, 1, bytes(1), 200),
        ])
        await flushOne(lane, shard, at(1), at(2), [write(renewed, 2, bytes(2), 600_000)])
        expect(await positions()).toEqual([[1], [1], [2]])
        await subject.advanceMs(250)
        expect(await positions()).toEqual([[], [1], [2]])
        const loaded = await store.load(lane, shard, at(2), [key, forever, renewed])
        expect(loaded.ok && loaded.sections.map(section => section?.position ?? null)).toEqual([null, 1, 2])
      })

      it('makes an ended section absent: a smaller position may be written', async () => {
        if (!store.capabilities.timeToLive) return
        const lane = await ready(freshLane())
        const { key, shard } = entity(namespace, 'a')
        await flushOne(lane, shard, start, at(9), [write(key, 9, bytes(9), 50)])
        await subject.advanceMs(100)
        expect(await flushOne(lane, shard, at(9), at(9), [write(key, 3, bytes(3))])).toMatchObject({ refused: 0 })
        expect(plain((await store.read([key]))[0]?.[0])).toMatchObject({ position: 3, bytes: [3] })
        await subject.advanceMs(100)
        expect((await store.read([key]))[0]).toHaveLength(1)
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
        expect((await store.read([key]))[0]).toHaveLength(1)
      })
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
      it('is kept per source and partition, the newest publication standing', async () => {
        const [a, b] = [fresh('source'), fresh('source')]
        const progress = (
          source: string,
          partition: number,
          offset: number,
        ): Parameters<OnlineStore['publishProgress']>[0][number] => ({
          source,
          partition,
          offset,
          arrivalMs: 1_700_000_000_000,
          caughtUpAtMs: 1_700_000_000_001,
        })
        const mine = async (): Promise<unknown[]> =>
          (await store.readProgress())
            .filter(one => one.source === a || one.source === b)
            .sort((x, y) => (x.source === y.source ? x.partition - y.partition : x.source < y.source ? -1 : 1))
        await store.publishProgress([])
        expect(await mine()).toEqual([])
        await store.publishProgress([progress(a, 1, 5), progress(a, 0, -1), progress(b, 0, 9)])
        await store.publishProgress([progress(a, 1, 6)])
        const expected = [progress(a, 0, -1), progress(a, 1, 6), progress(b, 0, 9)]
        expected.sort((x, y) => (x.source === y.source ? x.partition - y.partition : x.source < y.source ? -1 : 1))
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
        expect(sorted((await store.read([key]))[0])).toEqual(sorted((await other.read([key]))[0]))
        expect(await flushOne(lane, shard, at(6), at(7), [write(key, 7, bytes(7))])).toEqual({
          ok: false,
          canary: at(5),
        })
        const life = freshLane()
        await other.initialiseCanaries(life, 1, at(2))
        expect(await store.readCanaries(life, 1)).toEqual([at(2)])
        await flushOne(life, 0, at(2), at(3), [write(key, 3, bytes(3))], other)
        expect((await store.read([key]))[0]).toHaveLength(2)
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
        expect(plain((await store.read([key]))[0]?.[0])).toMatchObject({ position: 39, bytes: [39] })
      })
    })

    describe('life', () => {
      it('keeps everything when opened again, where it declares so', async () => {
        const lane = await ready(freshLane(2))
        const { key, shard } = entity(namespace, 'a')
        const [document, source] = [fresh('document'), fresh('source')]
        const progress = { source, partition: 1, offset: 2, arrivalMs: 3, caughtUpAtMs: 4 }
        await flushOne(lane, shard, start, at(5), [write(key, 5, bytes(5))])
        await store.writeDocument(document, null, 'kept')
        await store.publishProgress([progress])
        const again = await subject.reopen()
        if (!again.capabilities.survivesProcess) {
          expect(await again.read([key])).toEqual([[]])
          expect((await again.readCanaries(lane, SHARD_COUNT))[shard]).toBeNull()
          return
        }
        expect((await again.read([key])).map(sorted)).toEqual([
          [{ incarnation: lane.incarnation, partition: 2, position: 5, bytes: [5] }],
        ])
        expect((await again.readCanaries(lane, SHARD_COUNT))[shard]).toEqual(at(5))
        expect(await again.load(lane, shard, at(5), [key])).toMatchObject({ ok: true })
        expect(await again.readDocument(document)).toBe('kept')
        expect((await again.readProgress()).filter(one => one.source === source)).toEqual([progress])
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
          () => store.read(['k']),
          () => store.readDocument('d'),
          () => store.writeDocument('d', null, 'x'),
          () => store.publishProgress([]),
          () => store.readProgress(),
        ]
        for (const call of calls) await expect(call()).rejects.toMatchObject({ name: 'PortError', code: 'CLOSED' })
      })
    })

    it('answers any sequence of operations as the model does', { timeout: 60_000 }, async () => {
      await fc.assert(
        fc.asyncProperty(fc.array(operation(subject.handMovedClock), { maxLength: 30 }), async operations => {
          const run = { namespace: fresh('ns'), life: fresh('life') }
          const model = modelOnlineStore()
          for (const one of operations) {
            const [actual, expected] = [await perform(one, store, run), await perform(one, model.store, run)]
            expect(actual).toEqual(expected)
            if (one.kind === 'advance') {
              await subject.advanceMs(one.ms)
              model.advanceMs(one.ms)
            }
          }
        }),
        { numRuns: 250 },
      )
    })
  })
}

type Operation =
  | { readonly kind: 'initialise'; readonly lane: number; readonly offset: number }
  | {
      readonly kind: 'flush'
      readonly lane: number
      readonly shards: readonly {
        readonly shard: number
        readonly expected: number
        readonly next: number
        readonly writes: readonly {
          readonly key: number
          readonly position: number
          readonly byte: number
          readonly ttlMs: number
        }[]
      }[]
    }
  | { readonly kind: 'load'; readonly lane: number; readonly shard: number; readonly expected: number }
  | { readonly kind: 'read' }
  | { readonly kind: 'canaries'; readonly lane: number }
  | { readonly kind: 'document'; readonly expected: string | null; readonly next: string }
  | { readonly kind: 'advance'; readonly ms: number }

const SHARDS = 3
const KEYS_PER_SHARD = 2

function operation(handMovedClock: boolean): fc.Arbitrary<Operation> {
  const lane = fc.integer({ min: 0, max: 3 })
  const offset = fc.integer({ min: -1, max: 6 })
  const shard = fc.integer({ min: 0, max: SHARDS - 1 })
  const writes = fc.array(
    fc.record({
      key: fc.integer({ min: 0, max: KEYS_PER_SHARD - 1 }),
      position: offset,
      byte: fc.integer({ min: 0, max: 255 }),
      ttlMs: handMovedClock ? fc.constantFrom(0, 0, 1000, 5000) : fc.constant(0),
    }),
    { maxLength: 3 },
  )
  const shards = fc.array(fc.record({ shard, expected: offset, next: offset, writes }), { minLength: 1, maxLength: 3 })
  const documents = fc.constantFrom<(string | null)[]>('a', 'b', null)
  const text = fc.constantFrom('a', 'b')
  return fc.oneof(
    { weight: 2, arbitrary: fc.record({ kind: fc.constant('initialise' as const), lane, offset }) },
    { weight: 6, arbitrary: fc.record({ kind: fc.constant('flush' as const), lane, shards }) },
    { weight: 3, arbitrary: fc.record({ kind: fc.constant('load' as const), lane, shard, expected: offset }) },
    { weight: 3, arbitrary: fc.record({ kind: fc.constant('read' as const) }) },
    { weight: 1, arbitrary: fc.record({ kind: fc.constant('canaries' as const), lane }) },
    { weight: 1, arbitrary: fc.record({ kind: fc.constant('document' as const), expected: documents, next: text }) },
    {
      weight: handMovedClock ? 2 : 0,
      arbitrary: fc.record({ kind: fc.constant('advance' as const), ms: fc.constantFrom(400, 1000, 4000) }),
    },
  )
}

/** Performs one operation and answers something that can be compared. */
async function perform(
  one: Operation,
  store: OnlineStore,
  run: { readonly namespace: string; readonly life: string },
): Promise<unknown> {
  const lane = (index: number): Lane => ({
    unit: 1,
    incarnation: `${run.life}-${index >> 1}`,
    partition: index & 1,
  })
  const key = (shard: number, index: number): string => `hw:${run.namespace}:{${shard}}:card:c${index}:1`
  const indexes = Array.from({ length: KEYS_PER_SHARD }, (_, index) => index)
  switch (one.kind) {
    case 'initialise':
      return store.initialiseCanaries(lane(one.lane), SHARDS, at(one.offset))
    case 'canaries':
      return store.readCanaries(lane(one.lane), SHARDS)
    case 'flush':
      return store.flush(
        lane(one.lane),
        one.shards.map(({ shard, expected, next, writes }) => ({
          shard,
          expected: at(expected),
          next: at(next),
          writes: writes.map(made => write(key(shard, made.key), made.position, bytes(made.byte), made.ttlMs)),
        })),
      )
    case 'load': {
      const keys = indexes.map(index => key(one.shard, index))
      const outcome = await store.load(lane(one.lane), one.shard, at(one.expected), keys)
      return outcome.ok ? outcome.sections.map(plain) : outcome
    }
    case 'read': {
      const keys = Array.from({ length: SHARDS }, (_, shard) => indexes.map(index => key(shard, index))).flat()
      return (await store.read(keys)).map(sorted)
    }
    case 'document': {
      const document = `${run.namespace}:document`
      return [await store.writeDocument(document, one.expected, one.next), await store.readDocument(document)]
    }
    case 'advance':
      return null
  }
}
