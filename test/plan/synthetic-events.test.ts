import { describe, expect, it } from 'vitest'
import { applyPoint, emptySection, encodeSection, layoutFor } from '../../features/kernel/index.ts'
import type { FieldType, UnitSpec } from '../../features/kernel/types.ts'
import { syntheticEvent, syntheticInterval } from '../../features/plan/synthetic-events.ts'

describe('a synthetic event', () => {
  const columns: readonly FieldType[] = [
    { kind: 'string' },
    { kind: 'boolean' },
    { kind: 'int' },
    { kind: 'int64' },
    { kind: 'double' },
    { kind: 'decimal', scale: 3 },
    { kind: 'timestamp' },
    { kind: 'vector', length: 2 },
  ]
  const shape = { columns, filterCount: 31, idType: { kind: 'string' }, idBytes: 36, textBytes: 12 } as const

  it('fits every type of field, and the events come in order', () => {
    const spec: UnitSpec = {
      columns,
      filterCount: 31,
      partials: [],
      latenessMs: 0,
      horizonMs: 0,
      retentionMs: 60_000,
      edgeMs: 0,
      rawMs: 60_000,
      layout: layoutFor(60_000),
    }
    const state = emptySection(spec)
    let [before, time] = [-Infinity, 0]
    for (let index = 0; index < 500; index++) {
      time += syntheticInterval(index, 1000)
      const point = syntheticEvent(shape, index, Math.floor(time))
      expect(point).toEqual(syntheticEvent(shape, index, Math.floor(time)))
      expect(point.time).toBeGreaterThanOrEqual(before)
      expect(point.id).toMatch(/^[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}$/)
      before = point.time
      expect(applyPoint(spec, state, point)).toBe('added')
    }
    encodeSection(spec, state)
  })

  it('comes at a random time after the one before, of the mean that is asked for', () => {
    const intervals = Array.from({ length: 20_000 }, (_, index) => syntheticInterval(index, 1000))
    const mean = intervals.reduce((sum, interval) => sum + interval, 0) / intervals.length
    const spread = Math.sqrt(intervals.reduce((sum, interval) => sum + (interval - mean) ** 2, 0) / intervals.length)
    expect(Math.min(...intervals)).toBeGreaterThanOrEqual(0)
    expect(mean).toBeGreaterThan(970)
    expect(mean).toBeLessThan(1030)
    expect(spread / mean).toBeGreaterThan(0.95)
    expect(spread / mean).toBeLessThan(1.05)
  })

  it('has ids of the type and length that are asked for', () => {
    expect(syntheticEvent({ ...shape, idBytes: 10 }, 5, 0).id).toHaveLength(10)
    expect(syntheticEvent({ ...shape, idType: { kind: 'int64' } }, 5, 0).id).toMatch(/^\d+$/)
    const ids = Array.from({ length: 5000 }, (_, index) => syntheticEvent({ ...shape, idBytes: 8 }, index, 0).id)
    expect(new Set(ids).size).toBe(ids.length)
  })
})
