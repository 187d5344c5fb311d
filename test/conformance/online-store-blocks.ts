import { beforeEach, describe, expect, it } from 'vitest'
import type { FlushOutcome, Lane, OnlineStore, Section } from '../../topology/ports/online-store.ts'
import {
  at,
  block,
  blockId,
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

/** Levels 0 and 2 have blocks. */
const LEVELS = 0b101
const IDS = [blockId(0, 1), blockId(0, 2), blockId(2, 1)]

/** Parts of a section that are stored beside it. */
export function blockConformance(context: OnlineStoreContext): void {
  const { ready, flushOne } = context
  let store: OnlineStore
  let subject: OnlineStoreSubject
  let namespace: string
  beforeEach(() => {
    ;({ store, subject, namespace } = context)
  })

  /** The asked blocks of the only section of a key, as pairs of id and bytes. */
  async function blocksOf(key: string, ids: readonly number[] = IDS): Promise<unknown> {
    const [sections = []] = await store.read(reading([key], ids))
    expect(sections).toHaveLength(1)
    return [...(sections[0]?.blocks ?? [])]
      .map(([id, value]) => [id, [...value]])
      .sort((a, b) => Number(a[0]) - Number(b[0]))
  }

  describe('blocks', () => {
    it('are written with their section and come back when asked for, from a read and from a load', async () => {
      const lane = await ready(freshLane())
      const { key, shard } = entity(namespace, 'a')
      const blocks = [block(0, 1, 11), block(0, 2, 12), block(2, 1, 21)]
      const outcome = await flushOne(lane, shard, start, at(5), [
        write(key, 5, bytes(5), 0, { levels: LEVELS, blocks }),
      ])
      expect(outcome).toEqual({ ok: true, canary: at(5), refused: 0 })
      const head = { incarnation: lane.incarnation, partition: 0, position: 5, bytes: [5], levels: LEVELS }
      const asked = [blockId(2, 1), blockId(0, 2), blockId(0, 9)]
      const both = [
        [blockId(2, 1), [21]],
        [blockId(0, 2), [12]],
      ]
      expect((await store.read(reading([key], asked))).map(sorted)).toEqual([[{ ...head, blocks: both }]])
      expect((await store.read(reading([key]))).map(sorted)).toEqual([[{ ...head, blocks: [] }]])
      const loaded = await store.load(lane, shard, at(5), loading([key, `${key}:absent`], asked))
      expect(loaded.ok && loaded.sections.map(plain)).toEqual([{ ...head, blocks: both }, null])
    })

    it('are asked for at most once a key, and only where the key has some', async () => {
      const lane = await ready(freshLane(0))
      const second = await ready({ ...lane, partition: 1 })
      const busy = entity(namespace, 'busy')
      const quiet = entity(namespace, 'quiet')
      const beside = { levels: LEVELS, blocks: [block(0, 1, 1)] }
      for (const each of [lane, second]) {
        await flushOne(each, busy.shard, start, at(1), [write(busy.key, 1, bytes(1), 0, beside)])
        await flushOne(each, quiet.shard, start, at(2), [write(quiet.key, 2, bytes(2))])
      }
      const asked: string[] = []
      const asking = (key: string): { key: string; blocks: () => readonly number[] } => ({
        key,
        blocks: () => {
          asked.push(key)
          return IDS
        },
      })
      const sections = await store.read([asking(quiet.key), asking(busy.key), asking(`${busy.key}:absent`)])
      expect(asked).toEqual([busy.key])
      expect(sections.map(list => list.map(section => section.blocks.size))).toEqual([[0, 0], [1, 1], []])
    })

    it('are replaced by id, the others stay as they are', async () => {
      const lane = await ready(freshLane())
      const { key, shard } = entity(namespace, 'a')
      const first = [block(0, 1, 1), block(0, 2, 2), block(2, 1, 3)]
      await flushOne(lane, shard, start, at(1), [write(key, 1, bytes(1), 0, { levels: LEVELS, blocks: first })])
      const next = [block(0, 2, 9, 9), block(2, 1)]
      await flushOne(lane, shard, at(1), at(2), [write(key, 2, bytes(2), 0, { levels: LEVELS, blocks: next })])
      expect(await blocksOf(key)).toEqual([
        [blockId(0, 1), [1]],
        [blockId(2, 1), []],
        [blockId(0, 2), [9, 9]],
      ])
    })

    it('are not touched by a write that is refused, nor by a flush that is fenced', async () => {
      const lane = await ready(freshLane())
      const { key, shard } = entity(namespace, 'a')
      const beside = { levels: LEVELS, blocks: [block(0, 1, 1), block(2, 1, 2)] }
      await flushOne(lane, shard, start, at(9), [write(key, 9, bytes(9), 0, beside)])
      const other = { levels: LEVELS, blocks: [block(0, 1, 8), block(0, 2, 8)], drops: [{ level: 2, belowIndex: 5 }] }
      for (const position of [8, 9]) {
        const outcome = await flushOne(lane, shard, at(9), at(10), [write(key, position, bytes(8), 0, other)])
        expect(outcome).toEqual({ ok: true, canary: at(10), refused: 1 })
      }
      const fenced = await flushOne(lane, shard, at(11), at(12), [write(key, 12, bytes(8), 0, other)])
      expect(fenced).toEqual({ ok: false, canary: at(10) })
      expect(await blocksOf(key)).toEqual([
        [blockId(0, 1), [1]],
        [blockId(2, 1), [2]],
      ])
    })

    it('are dropped below an index, by level, with negative indexes too, before others are written', async () => {
      const lane = await ready(freshLane())
      const { key, shard } = entity(namespace, 'a')
      const indexes = [-(2 ** 40), -3, -2, -1, 0, 1, 2, 3, 2 ** 40]
      const ids = [0, 1, 15].flatMap(level => indexes.map(index => blockId(level, index)))
      const blocks = [0, 1, 15].flatMap(level => indexes.map(index => block(level, index, level)))
      const levels = 1 | 2 | (1 << 15)
      await flushOne(lane, shard, start, at(1), [write(key, 1, bytes(1), 0, { levels, blocks })])
      expect(await blocksOf(key, ids)).toHaveLength(ids.length)
      const drops = [
        { level: 0, belowIndex: -1 },
        { level: 1, belowIndex: 2 },
      ]
      const again = { levels, blocks: [block(1, -3, 77)], drops }
      await flushOne(lane, shard, at(1), at(2), [write(key, 2, bytes(2), 0, again)])
      const left = [
        ...indexes.filter(index => index >= -1).map(index => [blockId(0, index), [0]] as const),
        ...indexes.filter(index => index >= 2).map(index => [blockId(1, index), [1]] as const),
        [blockId(1, -3), [77]] as const,
        ...indexes.map(index => [blockId(15, index), [15]] as const),
      ].sort((a, b) => a[0] - b[0])
      expect(await blocksOf(key, ids)).toEqual(left)
    })

    it('must still be stored where a write leaves them alone: with a lost base the whole shard is fenced', async () => {
      const lane = await ready(freshLane())
      const other = await ready({ ...lane, partition: 1 })
      const { key, shard } = entity(namespace, 'a')
      const beside = `${key}:beside`
      await flushOne(lane, shard, start, at(5), [write(key, 5, bytes(5), 0, { levels: 1, blocks: [block(0, 1, 1)] })])
      await flushOne(other, shard, start, at(9), [write(key, 9, bytes(9))])
      const next = (position: number, base: number): Promise<FlushOutcome | undefined> =>
        flushOne(lane, shard, at(5), at(position), [
          write(beside, position, bytes(0)),
          write(key, position, bytes(position), 0, { levels: 1, base, blocks: [block(0, 1, 6)] }),
        ])
      // The section of another lane is not this one's base.
      expect(await next(8, 7)).toEqual({ ok: false, canary: at(5) })
      expect(await store.read(reading([beside]))).toEqual([[]])
      const [sections = []] = await store.read(reading([key], [blockId(0, 1)]))
      expect(sorted(sections)[0]).toMatchObject({ position: 5, blocks: [[blockId(0, 1), [1]]] })
      expect(await next(6, 5)).toEqual({ ok: true, canary: at(6), refused: 0 })
      // A larger position than the base holds all of its blocks too; the write itself may then be refused.
      expect(await next(7, 5)).toEqual({ ok: true, canary: at(7), refused: 0 })
      expect(await next(7, 6)).toEqual({ ok: true, canary: at(7), refused: 2 })
      const absent = write(`${key}:absent`, 8, bytes(8), 0, { levels: 1, base: 0 })
      expect(await flushOne(lane, shard, at(7), at(8), [absent])).toEqual({ ok: false, canary: at(7) })
    })

    it('of an ended section are no base', async () => {
      if (!store.capabilities.timeToLive) return
      const lane = await ready(freshLane())
      const { key, shard } = entity(namespace, 'a')
      const beside = { levels: 1, blocks: [block(0, 1, 1)] }
      await flushOne(lane, shard, start, at(5), [write(key, 5, bytes(5), 50, beside)])
      await subject.advanceMs(100)
      const next = write(key, 6, bytes(6), 0, { levels: 1, base: 5 })
      expect(await flushOne(lane, shard, at(5), at(6), [next])).toEqual({ ok: false, canary: at(5) })
    })

    it('belong to one section: partitions, incarnations, keys and units do not see each other’s', async () => {
      const { key, shard } = entity(namespace, 'm')
      const elsewhere = entity(namespace, 'm', 2).key
      const lane = await ready(freshLane(0))
      const lanes: Lane[] = [
        lane,
        await ready({ ...lane, partition: 11 }),
        await ready({ ...lane, incarnation: fresh('life') }),
      ]
      for (const [index, each] of lanes.entries()) {
        const blocks = [block(0, 1, index), block(0, 3 + index, index)]
        await flushOne(each, shard, start, at(1), [write(key, 1, bytes(index), 0, { levels: 1, blocks })])
      }
      await flushOne(lane, shard, at(1), at(2), [write(elsewhere, 2, bytes(9), 0, { levels: 1 })])
      await flushOne(lane, shard, at(2), at(3), [
        write(key, 3, bytes(0), 0, { levels: 1, drops: [{ level: 0, belowIndex: 100 }] }),
      ])
      const ids = [1, 3, 4, 5].map(index => blockId(0, index))
      const [sections = [], others = []] = await store.read(reading([key, elsewhere], ids))
      const byByte = new Map(
        sections.map(section => [section.bytes[0], [...section.blocks.keys()].sort((a, b) => a - b)]),
      )
      expect(byByte).toEqual(
        new Map([
          [0, []],
          [1, [blockId(0, 1), blockId(0, 4)]],
          [2, [blockId(0, 1), blockId(0, 5)]],
        ]),
      )
      expect(others.map(section => section.blocks.size)).toEqual([0])
      const loaded = await store.load({ ...lane, partition: 11 }, shard, at(1), loading([key], ids))
      expect(loaded.ok && [...(loaded.sections[0]?.blocks.values() ?? [])].map(value => value[0])).toEqual([1, 1])
    })

    it('of a level that the section does not have are not answered', async () => {
      const lane = await ready(freshLane())
      const { key, shard } = entity(namespace, 'a')
      const blocks = [block(0, 1, 1), block(2, 1, 2)]
      await flushOne(lane, shard, start, at(1), [write(key, 1, bytes(1), 0, { levels: 0b100, blocks })])
      expect(await blocksOf(key)).toEqual([[blockId(2, 1), [2]]])
      const loaded = await store.load(lane, shard, at(1), loading([key], IDS))
      expect(loaded.ok && [...(loaded.sections[0]?.blocks.keys() ?? [])]).toEqual([blockId(2, 1)])
    })

    it('of a level that the section no longer has are forgotten', async () => {
      const lane = await ready(freshLane())
      const { key, shard } = entity(namespace, 'a')
      const first = [block(0, 1, 1), block(2, 1, 3)]
      await flushOne(lane, shard, start, at(1), [write(key, 1, bytes(1), 0, { levels: LEVELS, blocks: first })])
      await flushOne(lane, shard, at(1), at(2), [write(key, 2, bytes(2), 0, { levels: 1 })])
      await flushOne(lane, shard, at(2), at(3), [write(key, 3, bytes(3), 0, { levels: LEVELS })])
      expect(await blocksOf(key)).toEqual([[blockId(0, 1), [1]]])
    })

    it('keep bytes exactly, also when the writer reuses its buffer', async () => {
      const lane = await ready(freshLane())
      const { key, shard } = entity(namespace, 'a')
      const large = new Uint8Array(1_048_576).map((_, i) => i * 31)
      const buffer = bytes(1, 2, 3, 4)
      const blocks = [
        { id: blockId(0, 1), bytes: large },
        { id: blockId(0, 2), bytes: buffer.subarray(1, 3) },
      ]
      await flushOne(lane, shard, start, at(1), [write(key, 1, bytes(1), 0, { levels: 1, blocks })])
      buffer.fill(9)
      const [section] = (await store.read(reading([key], IDS)))[0] ?? []
      expect(Buffer.from(section?.blocks.get(blockId(0, 1)) ?? []).equals(large)).toBe(true)
      expect([...(section?.blocks.get(blockId(0, 2)) ?? [])]).toEqual([2, 3])
    })

    it('end with their section, and a new one does not find them', async () => {
      if (!store.capabilities.timeToLive) return
      const lane = await ready(freshLane())
      const { key, shard } = entity(namespace, 'a')
      const blocks = [block(0, 1, 1), block(2, 1, 2)]
      await flushOne(lane, shard, start, at(9), [write(key, 9, bytes(9), 200, { levels: LEVELS, blocks })])
      await flushOne(lane, shard, at(9), at(10), [write(key, 10, bytes(10), 600, { levels: LEVELS })])
      await subject.advanceMs(250)
      // A write renews the time of the blocks that it leaves alone.
      expect(await blocksOf(key)).toHaveLength(2)
      await subject.advanceMs(450)
      expect((await store.read(reading([key], IDS)))[0]).toEqual([])
      const next = { levels: LEVELS, blocks: [block(0, 2, 3)] }
      expect(await flushOne(lane, shard, at(10), at(10), [write(key, 3, bytes(3), 0, next)])).toMatchObject({
        refused: 0,
      })
      expect(await blocksOf(key)).toEqual([[blockId(0, 2), [3]]])
    })

    it('survive with their section where the store declares so', async () => {
      const lane = await ready(freshLane())
      const { key, shard } = entity(namespace, 'a')
      const beside = { levels: LEVELS, blocks: [block(0, 1, 1)] }
      await flushOne(lane, shard, start, at(1), [write(key, 1, bytes(1), 0, beside)])
      const again = await subject.reopen()
      const [sections = []] = await again.read(reading([key], IDS))
      const expected = again.capabilities.survivesProcess ? [[blockId(0, 1)]] : []
      expect(sections.map(section => [...section.blocks.keys()])).toEqual(expected)
    })

    it('are of one moment with their section while a writer flushes', async () => {
      const lane = await ready(freshLane())
      const { key, shard } = entity(namespace, 'a')
      const writer = await subject.second()
      const ids = [0, 1, 2].map(index => blockId(0, index))
      const flush = async (offset: number): Promise<void> => {
        const blocks = [0, 1, 2].map(index => block(0, index, offset))
        await flushOne(
          lane,
          shard,
          at(offset - 1),
          at(offset),
          [write(key, offset, bytes(offset), 0, { levels: 1, blocks })],
          writer,
        )
      }
      await flushOne(lane, shard, start, at(0), [
        write(key, 0, bytes(0), 0, { levels: 1, blocks: [0, 1, 2].map(index => block(0, index, 0)) }),
      ])
      const torn = (sections: readonly Section[] | undefined): boolean => {
        const values = (sections ?? []).flatMap(section =>
          [section.bytes, ...section.blocks.values()].map(value => value[0]),
        )
        return values.length !== 4 || new Set(values).size !== 1
      }
      let writing = true
      const written = (async () => {
        for (let offset = 1; offset <= 200; offset++) await flush(offset)
        writing = false
      })()
      let reads = 0
      do {
        const [sections] = await store.read(reading([key], ids))
        expect(torn(sections), `read ${reads}`).toBe(false)
        const loaded = await store.load(lane, shard, start, loading([key], ids))
        expect(loaded.ok && torn(loaded.sections.filter(section => section !== null)), `load ${reads}`).toBe(false)
        reads++
      } while (writing)
      await written
      expect(reads).toBeGreaterThan(1)
    })
  })
}
