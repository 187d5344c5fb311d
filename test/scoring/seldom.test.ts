import { describe, expect, it } from 'vitest'
import { logSeldom } from '../../topology/scoring/seldom.ts'
import { collectTelemetry, handClock } from './harness.ts'
import { changed, feedHistory, paid, startWorld } from './world.ts'

describe('warnings that every request gives', () => {
  it('are at most one line a second for each name, with how many were left out', () => {
    const clock = handClock(5)
    const telemetry = collectTelemetry()
    const context = { telemetry, monotonicMs: clock.monotonicMs }
    const [one, other] = [{}, {}]
    const warn = (owner: object, name: string): void =>
      logSeldom(context, owner, name, { level: 'warn', message: 'm', fields: { name }, error: new Error('e') })
    for (const timeMs of [0, 1, 999]) {
      clock.timeMs = timeMs
      warn(one, 'a')
      warn(one, 'b')
    }
    warn(other, 'a')
    clock.timeMs = 1000
    warn(one, 'a')
    clock.timeMs = 9000
    warn(one, 'a')
    const line = (name: string, leftOut: number): string =>
      `warn m ${JSON.stringify({ name, error: 'Error: e', leftOut })}`
    expect(telemetry.logs).toEqual([line('a', 0), line('b', 0), line('a', 0), line('a', 2), line('a', 0)])
  })

  it('do not flood the log from scoring; counters have all', async () => {
    const unreadable = Uint8Array.of(255, 255)
    const world = await startWorld(({ store }) => ({
      store: changed(store, {
        read: async keys =>
          (await store.read(keys)).map((list, index) =>
            keys[index]?.key.includes(':card:') === true
              ? list.map(section => ({ ...section, bytes: unreadable }))
              : list,
          ),
      }),
    }))
    try {
      await feedHistory(world)
      const score = async (count: number): Promise<void> => {
        for (let index = 0; index < count; index++) {
          await world.engine.score({ service: 'scored', event: paid(`p${index}`, 0) })
        }
      }
      await score(7)
      world.clock.timeMs += 1000
      await score(3)
      const lines = (message: string): unknown[] =>
        world.telemetry.logs
          .filter(line => line.includes(message))
          .map(line => JSON.parse(line.slice(line.indexOf('{'))) as unknown)
      const derived = { service: 'scored', feature: 'broken' }
      expect(lines('a derived feature failed')).toMatchObject([
        { ...derived, leftOut: 0 },
        { ...derived, leftOut: 6 },
      ])
      expect(lines('stored state is not readable')).toMatchObject([
        { service: 'scored', leftOut: 0 },
        { service: 'scored', leftOut: 6 },
      ])
      expect(world.telemetry.total('derived_failures')).toBe(10)
      expect(world.telemetry.total('unit_read_failures')).toBe(10)
    } finally {
      await world.close()
    }
  })
})
