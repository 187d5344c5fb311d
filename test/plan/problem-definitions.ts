import {
  derived,
  entity,
  event,
  group,
  lastEvents,
  policy,
  service,
  session,
  t,
  tumbling,
} from '../../features/define/index.ts'
import type { ProblemCode } from '../../features/plan/problems.ts'

/** A code, what about it, a definition that earns it, and part of the message. */
export type Case = readonly [ProblemCode, string, () => unknown, string]

/** Calls a function of the language as JavaScript without types would. */
export type Untyped = (...args: readonly unknown[]) => never
export const loose = { event, entity, group, derived, policy, service } as unknown as Record<
  'event' | 'entity' | 'group' | 'derived' | 'policy' | 'service',
  Untyped
>

export const fields = {
  id: t.string(),
  at: t.timestamp(),
  card: t.string(),
  amount: t.decimal(2),
  note: t.optional(t.string()),
}
export const basics = { topic: 'payments', id: 'id', time: 'at', lateness: '1d', fields } as const
export const payment = event('payment', { ...basics, key: 'card' })
export const visit = event('visit', {
  ...basics,
  topic: 'visits',
  fields: { id: t.string(), at: t.timestamp(), page: t.int() },
})
export const byCustomer = event('by_customer', {
  ...basics,
  topic: 'by_customer',
  key: 'customer',
  fields: { ...fields, customer: t.string(), embedding: t.vector(4096) },
})
export const card = entity('card', { key: 'card' })
export const page = entity('page', { key: 'page' })
export const activity = group('activity', { entity: card, source: payment }, e => ({ n: e.count('1h') }))
export const views = group('views', { entity: page, source: visit }, e => ({ n: e.count('1h') }))

export const eventWith = (options: object): unknown => loose.event('payment', { ...basics, ...options })
export const groupWith = (options: object): unknown =>
  loose.group('g', { entity: card, source: payment, ...options }, (e: { count: Untyped }) => ({ n: e.count('1h') }))
export type Columns = Record<string, Untyped> & Record<'amount' | 'note' | 'at' | 'nothing', Record<string, Untyped>>
export const featureWith = (build: (e: Columns) => unknown): unknown =>
  loose.group('g', { entity: card, source: payment }, (e: Columns) => ({ f: build(e) }))
/** A feature of an entity that is not the record key. */
export const spreadWith = (build: (e: Columns) => unknown): unknown =>
  loose.group('g', { entity: card, source: byCustomer }, (e: Columns) => ({ f: build(e) }))
export const window = { tumbling, session, lastEvents } as unknown as Record<
  'tumbling' | 'session' | 'lastEvents',
  Untyped
>
export const serviceWith = (options: object): unknown =>
  loose.service('s', { request: payment, groups: [activity], ...options })
export const policyWith = (options: object): unknown =>
  loose.policy('p', { outcomes: ['good', 'bad'], fallback: 'good', ...options })
export const needsViews = derived({ groups: [views] }, v => v.views.n)

/** A definition or a list of them as the exports of a module. */
export function exported(definition: unknown): Record<string, unknown> {
  return Array.isArray(definition)
    ? Object.fromEntries(definition.map((each, index) => [`d${index}`, each]))
    : { definition }
}
