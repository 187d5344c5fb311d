import { entity, event, group, service, t } from '../define/index.ts'

/** One card payment of the Fraud Detection Handbook's raw set, with its label as a column. */
export const cardTransaction = event('card_transaction', {
  topic: 'card_transactions',
  id: 'transaction_id',
  time: 'event_ms',
  key: 'customer_id',
  lateness: '1d',
  description: 'A simulated card payment; its label becomes known seven days later.',
  fields: {
    transaction_id: t.int64(),
    event_ms: t.timestamp(),
    customer_id: t.int(),
    terminal_id: t.int(),
    amount: t.double(),
    fraud: t.int({ description: '1 for fraud; not known before seven days have passed' }),
    fraud_scenario: t.int({ description: '0 for none, 1 to 3 by the way of the fraud' }),
  },
})

export const customer = entity('customer', { key: 'customer_id' })
export const terminal = entity('terminal', { key: 'terminal_id' })

/** How often and how much a customer pays, the payment itself included. */
export const customerGroup = group('customer', { entity: customer, source: cardTransaction }, e => ({
  count_1d: e.count('1d'),
  count_7d: e.count('7d'),
  count_30d: e.count('30d'),
  mean_amount_1d: e.mean(e.amount, '1d'),
  mean_amount_7d: e.mean(e.amount, '7d'),
  mean_amount_30d: e.mean(e.amount, '30d'),
}))

/** How risky a terminal has shown itself, by labels old enough to be known. */
export const terminalGroup = group('terminal', { entity: terminal, source: cardTransaction }, e => ({
  count_1d_delayed: e.count('1d', { delay: '7d' }),
  count_7d_delayed: e.count('7d', { delay: '7d' }),
  count_30d_delayed: e.count('30d', { delay: '7d' }),
  risk_1d: e.mean(e.fraud, '1d', { delay: '7d', whenEmpty: 0 }),
  risk_7d: e.mean(e.fraud, '7d', { delay: '7d', whenEmpty: 0 }),
  risk_30d: e.mean(e.fraud, '30d', { delay: '7d', whenEmpty: 0 }),
}))

/** The twelve features of the handbook as one vector. */
export const cards = service('cards', { request: cardTransaction, groups: [customerGroup, terminalGroup] })
