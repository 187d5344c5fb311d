import { entity, group, t, union } from '../../features/define/index.ts'
import { byCustomer, card, eventWith, groupWith, loose, payment, serviceWith, visit } from './problem-definitions.ts'
import type { Case, Columns, Untyped } from './problem-definitions.ts'

const anyUnion = union as unknown as Untyped
const shape = { card: t.string(), amount: t.decimal(2) }
const unionWith = (options: object): unknown =>
  anyUnion('moves', { fields: shape, from: [{ source: payment }], ...options })
const visitAs = (map: object): unknown => unionWith({ from: [{ source: payment }, { source: visit, map }] })
const moves = union('moves', { fields: shape, from: [{ source: payment }, { source: byCustomer }] })
const pair = entity('pair', { key: ['card', 'note'] })
const over = (source: unknown, build: (e: Columns) => unknown, of: unknown = card): unknown =>
  loose.group('g', { entity: of, source }, (e: Columns) => ({ f: build(e) }))

/** Unions and composite keys that earn a problem. */
export const UNION_CASES: readonly Case[] = [
  [
    'HW0101',
    'a union',
    () => anyUnion('Moves', { fields: shape, from: [{ source: payment }] }),
    'not a name for a union',
  ],
  [
    'HW0102',
    'a union',
    () => anyUnion('scores', { fields: shape, from: [{ source: payment }] }),
    '"scores" is reserved',
  ],
  [
    'HW0103',
    'a union and an event',
    () => [visit, anyUnion('visit', { fields: shape, from: [{ source: payment }] })],
    'an event in this file is named "visit" too',
  ],
  ['HW0103', 'two unions', () => [moves, unionWith({})], 'another union in this file is named "moves" too'],
  ['HW0104', 'a union of names', () => unionWith({ from: ['payment'] }), 'from[0].source is undefined, not an event'],
  [
    'HW0104',
    'a union of unions',
    () => unionWith({ from: [{ source: moves }] }),
    'from[0].source is an object, not an event',
  ],
  [
    'HW0105',
    'of a union',
    () => unionWith({ lateness: '1d' }),
    'there is no option "lateness"; there are fields, from',
  ],
  ['HW0105', 'of a member', () => unionWith({ from: [{ source: payment, as: {} }] }), 'there is no option "as"'],
  ['HW0201', 'no fields of a union', () => unionWith({ fields: {} }), 'it has no fields'],
  [
    'HW0201',
    'a part of a key',
    () => loose.entity('pair', { key: ['card', 5] }),
    'key lists 5, not the name of a field',
  ],
  [
    'HW0202',
    'a part of a key',
    () =>
      loose.group('g', { entity: pair, source: payment, key: ['card', 'shop'] }, (e: Columns) => ({
        n: e['count']?.('1h'),
      })),
    'there is no field "shop"',
  ],
  ['HW0212', 'no list', () => unionWith({ from: payment }), 'from is an object, not a list of events'],
  ['HW0212', 'no event', () => unionWith({ from: [] }), 'from lists no event'],
  [
    'HW0212',
    'an event twice',
    () => unionWith({ from: [{ source: payment }, { source: payment }] }),
    'event payment is listed twice',
  ],
  [
    'HW0212',
    'many',
    () => unionWith({ from: Array.from({ length: 17 }, () => ({ source: payment })) }),
    'from lists 17 events, 16 at most',
  ],
  ['HW0213', 'no map', () => visitAs({}), '"card" is mapped to "card", which event visit lacks; it has id, at, page'],
  ['HW0213', 'a typo', () => visitAs({ card: 'ID' }), '"card" is mapped to "ID", which event visit lacks'],
  ['HW0213', 'another field', () => visitAs({ cards: 'id' }), 'map names "cards", which is no field of the union'],
  ['HW0213', 'no object', () => visitAs('id' as never), 'map is "id", not an object of field names'],
  [
    'HW0214',
    'a kind',
    () => visitAs({ card: 'page', amount: 'page' }),
    '"page" of event visit is int, "card" of the union is string',
  ],
  [
    'HW0214',
    'a scale',
    () => unionWith({ fields: { ...shape, amount: t.decimal(3) } }),
    '"amount" of event payment is decimal(2), "amount" of the union is decimal(3)',
  ],
  [
    'HW0214',
    'an optional field',
    () => unionWith({ fields: { ...shape, note: t.string() } }),
    '"note" of event payment is optional, "note" of the union is not',
  ],
  ['HW0215', 'no part', () => loose.entity('pair', { key: [] }), 'key lists 0 fields, from 1 to 8 are allowed'],
  ['HW0215', 'many parts', () => loose.entity('pair', { key: 'abcdefghi'.split('') }), 'key lists 9 fields'],
  ['HW0215', 'a part twice', () => loose.entity('pair', { key: ['card', 'card'] }), 'key lists "card" twice'],
  [
    'HW0301',
    'a part of a key',
    () => over(payment, e => e['count']?.('1h'), entity('pair', { key: ['card', 'shop'] })),
    'event payment has no field "shop", the key of entity pair',
  ],
  [
    'HW0301',
    'a union',
    () => over(moves, e => e['count']?.('1h'), pair),
    'union moves has no field "note", the key of entity pair',
  ],
  [
    'HW0302',
    'a part of a key',
    () => over(payment, e => e['count']?.('1h'), entity('pair', { key: ['card', 'amount'] })),
    '"amount" is decimal(2)',
  ],
  [
    'HW0303',
    'a field of one event',
    () => over(moves, e => e['count']?.(e['customer'], '1h')),
    'there is no field "customer"; there are card, amount',
  ],
  [
    'HW0307',
    'a field of one event',
    () => over(moves, e => e['count']?.('1h', { where: e.note['eq']!('x') })),
    'there is no field "note"',
  ],
  [
    'HW0313',
    'two topics',
    () => over(moves, e => e['gapStd']?.('8d')),
    'gapStd over 8d: events of one card lie in "by_customer", "payments", and are put in order over at most 7d',
  ],
  [
    'HW0313',
    'a key without the record key',
    () => over(byCustomer, e => e['gapStd']?.('8d'), pair),
    'gapStd over 8d: events of one card, note lie in all partitions of "by_customer", whose records are keyed by customer',
  ],
  [
    'HW0315',
    'too few',
    () => groupWith({ entity: pair, key: 'card' }),
    'key names 1 field, the key of entity pair has 2: card, note',
  ],
  [
    'HW0315',
    'too many',
    () => groupWith({ key: ['card', 'note'] }),
    'key names 2 fields, the key of entity card has 1: card',
  ],
  [
    'HW0401',
    'a part of a key',
    () =>
      loose.service('s', {
        request: visit,
        groups: [group('g', { entity: pair, source: payment }, e => ({ n: e.count('1h') }))],
      }),
    'event visit has no key fields "card", "note", which name the pair of group g',
  ],
  ['HW0408', 'a union', () => serviceWith({ request: moves }), 'request is union moves'],
  ['HW0209', 'an event of a union', () => unionWith({ from: [{ source: eventWith({ topic: 'hw.x' }) }] }), 'hw.x'],
]
