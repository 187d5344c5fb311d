import { afterAll, beforeAll, describe, expect, it } from 'vitest'
import { decodeJsonEvent } from '../../features/plan/event.ts'
import type { SourcePlan } from '../../features/plan/plan.ts'
import { expectedImage } from '../../load-tests/faults/section-oracle.ts'
import { verifyOffline, verifyOnline } from '../../load-tests/faults/verify.ts'
import { onlineKey } from '../../topology/ports/online-layout.ts'
import type { OnlineStore, Section } from '../../topology/ports/online-store.ts'
import { rawRow } from '../../topology/processors/offline-schema.ts'
import { random } from '../worker/simulated-ports.ts'
import { temporaryFolder } from './headwater.ts'
import { allRecords, makeTransfers, startPoisonWorld, transferRecord } from './poison-world.ts'
import type { PoisonWorld } from './poison-world.ts'

const EVENTS = 2_000
const POISON = 20

describe('the check of a run against its log', () => {
  const folder = temporaryFolder()
  let world: PoisonWorld
  let source: SourcePlan

  beforeAll(async () => {
    world = await startPoisonWorld(folder.path)
    source = world.context.project.plan.sources[0] as SourcePlan
    const transfers = makeTransfers(random(3), EVENTS, Date.now() - EVENTS * 100)
    const { log } = world.context
    await log.append(transfers.map(transferRecord))
    // Some come twice, some are too late, some are no events.
    await log.append(transfers.slice(0, 50).map(transferRecord))
    const late = transfers
      .slice(0, 30)
      .map(each => ({ ...each, transfer_id: `late-${each.transfer_id}`, at: each.at - 90_000_000 }))
    await log.append(late.map(transferRecord))
    await log.append(
      Array.from({ length: POISON }, (_, index) => ({
        topic: 'transfers',
        key: `k${index}`,
        value: Uint8Array.of(index),
      })),
    )
    await world.caughtUp()
  })
  afterAll(async () => {
    await world.stop()
    folder.remove()
  })

  const online = async (store: OnlineStore, passes = 1, storedKeys: AsyncIterable<string> | null = null) => {
    const { log, bound, config } = world.context
    const { namespace } = config
    return await verifyOnline({ log, store, bound, namespace, topic: 'transfers', readOneIn: 9, passes, storedKeys })
  }
  const history = async () => await verifyOffline({ offline: world.offline, log: world.context.log, source })

  /** The store as somebody would see it in whose copy the sections of one key are others. */
  const tampered = (key: string, change: (sections: readonly Section[]) => readonly Section[]): OnlineStore => ({
    ...world.context.store,
    read: async keys => {
      const found = await world.context.store.read(keys)
      return found.map((sections, index) => (keys[index]?.key === key ? change(sections) : sections))
    },
  })
  const unitOf = (entity: string) => {
    const unit = world.context.bound.units.find(each => each.entity === entity)
    if (unit === undefined) throw new Error(`no unit of ${entity}`)
    return unit
  }
  const keyOf = (entity: string, id: string): string => onlineKey('default', entity, id, unitOf(entity).id)
  const clean = { wrong: 0, missing: 0, extra: 0, ofOtherLives: 0, differences: [] }

  it('finds nothing where everything is right, in one pass or in several', async () => {
    const once = await online(world.context.store)
    expect(once).toMatchObject({ ...clean, records: EVENTS + 80, invalid: POISON })
    expect(once.entities).toBe(60 + 12)
    expect(once.sections).toBeGreaterThan(60 + 12)
    expect(once.readSections).toBeGreaterThan(3)
    expect(await online(world.context.store, 3)).toEqual(once)
  })

  it('finds an entity that counted one event less, or one twice', async () => {
    const records = await allRecords(world.context.log, 'transfers')
    const unit = unitOf('shop')
    const key = keyOf('shop', 's3')
    const points = (partition: number) =>
      records.flatMap(record => {
        const decoded = decodeJsonEvent(source, record.value, record.arrivalMs)
        const mine = decoded.ok && record.partition === partition && unit.entityId(decoded.event) === 's3'
        return mine ? [unit.project(decoded.event)] : []
      })
    const less = tampered(key, sections =>
      sections.map((section, index) => {
        if (index > 0) return section
        const all = points(section.partition)
        const image = expectedImage(unit, all.toSpliced(all.length >> 1, 1))
        return { ...section, ...image, blocks: new Map(image.blocks.map(block => [block.id, block.bytes])) }
      }),
    )
    const found = await online(less)
    expect(found).toMatchObject({ wrong: 1, missing: 0, extra: 0 })
    expect(found.differences).toEqual([expect.stringContaining(key)])
    const twice = tampered(key, sections =>
      sections.map((section, index) => {
        const all = points(section.partition)
        const one = all[all.length >> 1]
        if (index > 0 || one === undefined) return section
        const image = expectedImage(unit, [...all, { ...one, id: 'again' }])
        return { ...section, ...image, blocks: new Map(image.blocks.map(block => [block.id, block.bytes])) }
      }),
    )
    expect(await online(twice)).toMatchObject({ wrong: 1, missing: 0, extra: 0 })
  })

  it('finds a section that is behind, missing, too many, or left by an entity that nobody names', async () => {
    const key = keyOf('card', 'c7')
    const behind = await online(tampered(key, list => list.map(each => ({ ...each, position: each.position - 1 }))))
    expect(behind).toMatchObject({ wrong: 1, missing: 0, extra: 0 })
    expect(behind.differences[0]).toMatch(/at \d+, not at \d+/)
    const missing = await online(tampered(key, () => []))
    expect(missing).toMatchObject({ wrong: 0, missing: 1, extra: 0 })
    const more = tampered(key, list => list.flatMap(each => [each, { ...each, partition: (each.partition + 1) % 3 }]))
    expect(await online(more)).toMatchObject({ wrong: 0, missing: 0, extra: 1 })
    const older = tampered(key, list => list.flatMap(each => [each, { ...each, incarnation: 'before' }]))
    expect(await online(older)).toMatchObject({ wrong: 0, missing: 0, extra: 0, ofOtherLives: 1 })
    async function* keys(): AsyncGenerator<string> {
      yield await Promise.resolve(key)
      yield keyOf('card', 'nobody')
    }
    const unnamed = await online(world.context.store, 1, keys())
    expect(unnamed).toMatchObject({ wrong: 0, missing: 0, extra: 1 })
    expect(unnamed.differences).toEqual([`${keyOf('card', 'nobody')}: stored, but no record names it`])
  })

  it('finds rows that are missing, double, changed or too many, and dead letters', async () => {
    const right = await history()
    const counts = { missing: 0, double: 0, extra: 0, wrong: 0 }
    expect(right).toMatchObject({ records: EVENTS + 80 + POISON, wrongViews: 0, differences: [] })
    expect(right.events).toEqual({ ...counts, expected: EVENTS + 80 })
    expect(right.deadLetters).toEqual({ ...counts, expected: POISON })

    const records = await allRecords(world.context.log, 'transfers')
    const rows = records.flatMap(record => {
      const decoded = decodeJsonEvent(source, record.value, record.arrivalMs)
      if (!decoded.ok) return []
      const { incarnation } = right.life
      return [rawRow(source, { ...record, incarnation }, decoded.event)]
    })
    const [first, second, third, fourth] = [10, 20, 30, 40].map(index => rows[index] ?? {})
    const { offline } = world
    // A record that is delivered again is no double row: the table collapses it.
    await offline.insert('events_transfer', rows.slice(0, 5))
    expect((await history()).events).toEqual({ ...counts, expected: EVENTS + 80 })

    await offline.command(
      'ALTER TABLE events_transfer DELETE WHERE _partition = {p:UInt32} AND _offset = {o:UInt64} SETTINGS mutations_sync = 2',
      { p: first?.['_partition'], o: first?.['_offset'] },
    )
    expect((await history()).events).toEqual({ ...counts, expected: EVENTS + 80, missing: 1 })
    await offline.insert('events_transfer', [{ ...second, card: 'another' }])
    const two = await history()
    expect(two.events).toEqual({ ...counts, expected: EVENTS + 80, missing: 1, double: 1 })
    expect(two.wrongViews).toBeGreaterThan(0)
    await offline.insert('events_transfer', [{ ...third, amount: '0.01' }])
    await offline.insert('events_transfer', [{ ...fourth, _offset: 1_000_000 }])
    const all = await history()
    expect(all.events).toEqual({ expected: EVENTS + 80, missing: 1, double: 1, extra: 1, wrong: 1 })
    const told = all.differences.join('\n')
    for (const words of ['has no row', 'more than one row', 'no such record', 'amount is 0.01'])
      expect(told).toContain(words)
    await offline.command("ALTER TABLE dead_letters DELETE WHERE code = 'NOT_JSON' SETTINGS mutations_sync = 2")
    const letters = await history()
    expect(letters.deadLetters).toEqual({ ...counts, expected: POISON, missing: POISON })
  })
})
