import { card, featureWith, groupWith, loose, page, payment, spreadWith } from './problem-definitions.ts'
import type { Case, Columns } from './problem-definitions.ts'

/** Wrong groups and features. */
export const FEATURE_CASES: readonly Case[] = [
  [
    'HW0301',
    'no key',
    () => loose.group('g', { entity: page, source: payment }, (e: Columns) => ({ n: e['count']?.('1h') })),
    'event payment has no field "page", the key of entity page',
  ],
  ['HW0302', 'a decimal', () => groupWith({ key: 'amount' }), '"amount" is decimal(2)'],
  ['HW0303', 'a typo', () => featureWith(e => e['sum']?.(e['amout'], '1h')), 'there is no field "amout"; there are id'],
  ['HW0303', 'a name', () => featureWith(e => e['sum']?.('amount', '1h')), 'the input is not a column of `e`'],
  [
    'HW0303',
    'an aggregator',
    () => featureWith(e => e['sum']?.(e['rate'], '1h')),
    "the input is an aggregator of `e`: a field named as one is e.field('name')",
  ],
  [
    'HW0303',
    'a typo in the second field',
    () => featureWith(e => e['argMax']?.(e.note, e['amout'], '1h')),
    'there is no field "amout"',
  ],
  ['HW0303', 'no second field', () => featureWith(e => e['argMax']?.(e.note, '1h')), 'what it goes by is not a column'],
  [
    'HW0304',
    'a vector to go by',
    () => spreadWith(e => e['argMax']?.(e.note, e['embedding'], '1h')),
    'argMax takes no second field of type vector(4096), which "embedding" is',
  ],
  [
    'HW0304',
    'a string',
    () => featureWith(e => e['sum']?.(e.note, '1h')),
    'sum takes no field of type string, which "note" is; it takes int, int64, double, decimal, boolean',
  ],
  [
    'HW0304',
    'a timestamp',
    () => featureWith(e => e['mean']?.(e.at, '1h')),
    'mean takes no field of type timestamp, which "at" is',
  ],
  ['HW0305', 'no n', () => featureWith(e => e['lastN']?.(e.note, undefined, '1h')), 'parameter n must be an integer'],
  [
    'HW0305',
    'a large bound',
    () => featureWith(e => e['distinct']?.(e.note, '1h', { bound: 1e9 })),
    'parameter bound must be an integer',
  ],
  [
    'HW0305',
    'a parameter of another',
    () => featureWith(e => e['sum']?.(e.amount, '1h', { sample: true })),
    'sum has no parameter sample',
  ],
  [
    'HW0306',
    'count',
    () => featureWith(e => e['count']?.('1h', { whenEmpty: 0 })),
    'has a value for an empty window already',
  ],
  [
    'HW0306',
    'NaN',
    () => featureWith(e => e['mean']?.(e.amount, '1h', { whenEmpty: NaN })),
    'a finite number is expected',
  ],
  [
    'HW0306',
    'a number',
    () => featureWith(e => e['last']?.(e.note, '1h', { whenEmpty: 0 })),
    'whenEmpty is 0: a string is expected',
  ],
  [
    'HW0307',
    'a literal',
    () => featureWith(e => e['count']?.('1h', { where: e.amount['gt']?.('x') })),
    'where: expected a number or a numeric string',
  ],
  [
    'HW0308',
    'an error',
    () =>
      loose.group('g', { entity: card, source: payment }, () => {
        throw new Error('oops')
      }),
    'failed: oops',
  ],
  ['HW0308', 'a number', () => featureWith(() => 5), 'it is 5, not a feature'],
  ['HW0309', 'nothing', () => loose.group('g', { entity: card, source: payment }, () => ({})), 'it has no features'],
  [
    'HW0309',
    'no object',
    () => loose.group('g', { entity: card, source: payment }, () => undefined),
    'it has no features',
  ],
]
