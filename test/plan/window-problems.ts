import { card, featureWith, loose, payment, spreadWith, window } from './problem-definitions.ts'
import type { Case, Columns } from './problem-definitions.ts'

/** Windows, edges and rooms that earn a problem. */
export const WINDOW_CASES: readonly Case[] = [
  [
    'HW0105',
    'of a window',
    () => featureWith(e => e['count']?.(window.tumbling('1d', { look: 1 }))),
    'there is no option "look"; there are lookback',
  ],
  [
    'HW0105',
    'a half-life',
    () => featureWith(e => e['decayedCount']?.('1h', { halfLifeMs: 1 })),
    'there is no option "halfLifeMs"',
  ],
  [
    'HW0204',
    'a gap',
    () => featureWith(e => e['count']?.(window.session(30))),
    'the gap of session() is 30, not a duration',
  ],
  ['HW0204', 'a length', () => featureWith(e => e['count']?.(window.tumbling('day'))), 'the length of tumbling() is'],
  ['HW0204', 'a half-life', () => featureWith(e => e['decayedCount']?.('1')), 'the half-life is "1"'],
  [
    'HW0204',
    'a window for a half-life',
    () => featureWith(e => e['decayedSum']?.(e.amount, window.tumbling('1d'))),
    'the half-life is an object, not a duration',
  ],
  ['HW0205', 'an edge', () => featureWith(e => e['count']?.('1h', { edge: '0s' })), 'edge is "0s"'],
  ['HW0205', 'a gap', () => featureWith(e => e['count']?.(window.session('0s'))), 'the gap of session() is "0s"'],
  [
    'HW0205',
    'a bound in time',
    () => featureWith(e => e['count']?.(window.lastEvents(5, { within: '401d' }))),
    'within is "401d", it must be from 1s to 400d',
  ],
  [
    'HW0211',
    'lookback',
    () => featureWith(e => e['count']?.(window.tumbling('1d', { lookback: -1 }))),
    'lookback is -1, it must be a whole number from 0 to 1000',
  ],
  [
    'HW0211',
    'half a lookback',
    () => featureWith(e => e['count']?.(window.tumbling('1d', { lookback: 1.5 }))),
    'lookback is 1.5',
  ],
  [
    'HW0211',
    'too many events',
    () => featureWith(e => e['count']?.(window.lastEvents(1001))),
    'the number of lastEvents() is 1001, it must be a whole number from 1 to 1000',
  ],
  ['HW0211', 'no events', () => featureWith(e => e['count']?.(window.lastEvents())), 'is undefined'],
  [
    'HW0310',
    'an object',
    () => featureWith(e => e['count']?.({ kind: 'hopping' })),
    'the window is an object that no function of the language made',
  ],
  [
    'HW0310',
    'a long way back',
    () => featureWith(e => e['count']?.(window.tumbling('200d', { lookback: 2 }))),
    'tumbling("200d") with a lookback of 2 reaches 600d back, 400d at most',
  ],
  [
    'HW0310',
    'a short session',
    () => featureWith(e => e['count']?.(window.session('2h', { maxLength: '1h' }))),
    'maxLength "1h" is below the gap of session(), "2h"',
  ],
  [
    'HW0310',
    'a session of unsaid length',
    () => featureWith(e => e['count']?.(window.session('2d'))),
    'maxLength "1d" is below the gap',
  ],
  [
    'HW0311',
    'a long edge',
    () => featureWith(e => e['count']?.('1h', { edge: '2h' })),
    'edge "2h" is above the length of the window, "1h"',
  ],
  ...(
    [
      ['tumbling', (): unknown => window.tumbling('1d')],
      ['session', (): unknown => window.session('1h')],
      ['last events', (): unknown => window.lastEvents(5)],
      ['lifetime', (): unknown => 'lifetime'],
    ] as const
  ).map(([kind, of]): Case => [
    'HW0311',
    kind,
    () => featureWith(e => e['count']?.(of(), { edge: '1h' })),
    `it has an edge and a ${kind} window`,
  ]),
  [
    'HW0312',
    'a rate of a session',
    () => featureWith(e => e['rate']?.(window.session('1h'))),
    'rate divides by the length of the window, and session 1h, at most 1d has none',
  ],
  ['HW0312', 'a rate for ever', () => featureWith(e => e['rate']?.('lifetime')), 'and lifetime has none'],
  [
    'HW0312',
    'an order for ever',
    () => featureWith(e => e['gapStd']?.('lifetime')),
    "gapStd needs the order of all events, which 'lifetime' does not keep",
  ],
  [
    'HW0312',
    'a sum that forgets',
    () => featureWith(e => e['sum']?.(e.amount, { kind: 'decay', halfLife: '1h' })),
    'sum does not forget by a half-life; its window is decay 1h',
  ],
  [
    'HW0313',
    'eight days',
    () => spreadWith(e => e['gapStd']?.('8d')),
    'gapStd over 8d: events of one card lie in all partitions of "by_customer", whose records are keyed by customer',
  ],
  [
    'HW0313',
    'a long session',
    () => spreadWith(e => e['gapStd']?.(window.session('1h', { maxLength: '8d' }))),
    'gapStd over session 1h, at most 8d',
  ],
  [
    'HW0314',
    'vectors of a year',
    () => spreadWith(e => e['last']?.(e['embedding'], '365d')),
    'at 10 events a day its window of 365d holds about 3660 events in',
  ],
  [
    'HW0314',
    'a busy entity',
    () =>
      loose.group('g', { entity: card, source: payment, eventsPerEntityPerDay: 1e5 }, (e: Columns) => ({
        n: e['count']?.('30d'),
      })),
    'maxBytesPerEntity is 16 MiB',
  ],
]
