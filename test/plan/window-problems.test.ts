import { describe, expect, it } from 'vitest'
import { card, exported, featureWith, loose, payment, spreadWith, window } from './problem-definitions.ts'
import type { Columns } from './problem-definitions.ts'
import { problemsOf } from './source.ts'

describe('the remedy for a window', () => {
  const remedyOf = (definition: unknown): string | undefined => problemsOf(exported(definition))[0]?.remedy

  it('names the topic that would bring the events of an entity together', () => {
    expect(remedyOf(spreadWith(e => e['gapStd']?.('8d')))).toBe(
      'shorten the window to at most 7d, or publish the events also under a topic keyed by card, such as "by_customer.by_card", and use that as source',
    )
  })

  it('is an edge only where one helps', () => {
    const busy = (build: (e: Columns) => unknown): unknown =>
      loose.group('g', { entity: card, source: payment, eventsPerEntityPerDay: 1e6 }, (e: Columns) => ({ f: build(e) }))
    expect(remedyOf(busy(e => e['count']?.('30d')))).toContain("declare an `edge` such as '1h'")
    expect(remedyOf(busy(e => e['gapStd']?.('30d', { edge: '1h' })))).toMatch(/^shorten the window/)
    expect(remedyOf(busy(e => e['count']?.(window.session('1h', { maxLength: '30d' }))))).toMatch(/^shorten/)
    expect(remedyOf(busy(e => e['count']?.('30d', { edge: '1h' })))).toBeUndefined()
    expect(remedyOf(busy(e => e['count']?.(window.tumbling('30d'))))).toBeUndefined()
  })

  it('is derived from other features for a rate without a length', () => {
    expect(remedyOf(featureWith(e => e['rate']?.(window.lastEvents(5))))).toContain('divide a count by timeSinceFirst')
  })
})

describe('a window', () => {
  it.each<[string, (e: Columns) => unknown]>([
    ['of 7 days in the order of events of any entity', e => e['gapStd']?.('7d')],
    ['of sessions of any length without an order', e => e['count']?.(window.session('1h', { maxLength: '400d' }))],
    ['of the last events in their order, at any age', e => e['gapStd']?.(window.lastEvents(1000))],
    ['of 400 days back', e => e['count']?.(window.tumbling('1d', { lookback: 399 }))],
    ['of a second', e => e['count']?.('1s', { edge: '1s' })],
    ['of 400 days with an edge as long', e => e['sum']?.(e.amount, '400d', { edge: '400d', delay: '400d' })],
    ['of a gap as long as the session', e => e['count']?.(window.session('2d', { maxLength: '2d' }))],
  ])('%s is fine', (_what, build) => {
    expect(problemsOf(exported(spreadWith(build)))).toEqual([])
  })

  it('in the order of events may be long where the entity is the record key', () => {
    expect(problemsOf(exported(featureWith(e => e['gapStd']?.('400d'))))).toEqual([])
  })
})
