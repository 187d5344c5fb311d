import { readFileSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import { afterAll, describe, expect, it } from 'vitest'
import { createGrpcClient } from '../../topology/adapters/server/grpc/client.ts'
import type { GrpcClient } from '../../topology/adapters/server/grpc/client.ts'
import { ROOT, headwater, startSystem, temporaryFolder } from './headwater.ts'
import type { RunningSystem } from './headwater.ts'
import { expectedCard, expectedShop, makePayments, paymentFields, totals } from './payments.ts'
import type { Payment } from './payments.ts'

const EVENTS = 3_000
const SEED = 41

/** What the features of the second version answer, by plain loops. */
function expectedLater(payments: readonly Payment[], t: number): Record<string, unknown> {
  const upTo = payments.filter(p => p.at <= t)
  return {
    'card_activity.large_payments': upTo.filter(p => p.cents >= 50_000).length,
    'card_activity.largest_10m': upTo
      .filter(p => p.at > t - 600_000)
      .reduce<number | null>((most, p) => Math.max(most ?? 0, p.cents / 100), null),
  }
}

describe('definitions that change', () => {
  const folder = temporaryFolder()
  const file = join(folder.path, 'definitions.ts')
  const flags = ['--data', join(folder.path, 'data'), '--features', file]
  const shipped = readFileSync(join(ROOT, 'test', 'system', 'definitions', 'payments.ts'), 'utf8')
  const first = shipped.replace('../../../features/define/index.ts', join(ROOT, 'features', 'define', 'index.ts'))
  const line = "  last_shop: e.last(e.shop, 'lifetime'),\n"
  const second = first.replace(
    line,
    `${line}  large_payments: e.count('lifetime', { where: e.amount.ge(500) }),\n  largest_10m: e.max(e.amount, '10m'),\n`,
  )
  const payments = makePayments(SEED, EVENTS, Date.now() - 600_000)
  const t = Math.max(...payments.map(p => p.at))
  const { cards, shops } = totals(payments)
  let system: RunningSystem | null = null
  let client: GrpcClient | null = null

  async function start(definitions: string): Promise<GrpcClient> {
    writeFileSync(file, definitions)
    system = await startSystem(flags)
    client = createGrpcClient({ address: `127.0.0.1:${system.port}` })
    return client
  }

  async function stop(): Promise<void> {
    client?.close()
    expect(await system?.stop()).toBe(0)
    system = null
  }

  async function planHash(): Promise<string> {
    const run = await headwater(['plan', '--json', '--features', file])
    return (JSON.parse(run.stdout) as { plan: { hash: string } }).plan.hash
  }

  /** Everything that is answered otherwise than expected, once nothing changes any more. */
  async function wrong(
    from: GrpcClient,
    expected: (key: string, list: readonly Payment[]) => object,
  ): Promise<string[]> {
    let found: string[] = []
    for (let attempt = 0; attempt < 100; attempt++) {
      found = []
      for (const [key, list] of cards) {
        const of = { kind: 'groups', groups: ['card_activity'], entities: { card: key } } as const
        const { features } = await from.getFeatures({ of, asOfMs: t })
        for (const [name, value] of Object.entries(expected(key, list))) {
          if (features[name] !== value) found.push(`${key} ${name}: ${String(features[name])} not ${String(value)}`)
        }
        if (found.length > 0) break
      }
      if (found.length === 0) return []
      await new Promise(done => setTimeout(done, 100))
    }
    return found
  }

  async function hashesAnswered(from: GrpcClient): Promise<readonly string[]> {
    const [payment] = payments
    if (payment === undefined) throw new Error('no payment')
    const event = { ...paymentFields(payment), payment_id: 'asked', at: t }
    const score = await from.score({ service: 'check', event })
    const of = { kind: 'groups', groups: ['card_activity'], entities: { card: payment.card } } as const
    return [score.planHash, (await from.getFeatures({ of, asOfMs: t })).planHash]
  }

  afterAll(async () => {
    client?.close()
    await system?.kill()
    folder.remove()
  })

  it('compute a new feature over all past events and leave the others as they are', async () => {
    expect(second).not.toBe(first)
    let from = await start(first)
    for (let begin = 0; begin < EVENTS; begin += 1_000) {
      const events = payments.slice(begin, begin + 1_000).map(paymentFields)
      const results = await from.publishEvents({ source: 'payment', events })
      expect(results.filter(result => !result.ok)).toEqual([])
    }
    expect(await wrong(from, (_key, list) => expectedCard(list, t))).toEqual([])
    const firstHash = await planHash()
    expect(await hashesAnswered(from)).toEqual([firstHash, firstHash])
    await stop()

    from = await start(second)
    expect(await wrong(from, (_key, list) => ({ ...expectedCard(list, t), ...expectedLater(list, t) }))).toEqual([])
    const secondHash = await planHash()
    expect(secondHash).not.toBe(firstHash)
    expect(await hashesAnswered(from)).toEqual([secondHash, secondHash])
    const [[shop, list] = ['', []]] = shops
    const of = { kind: 'groups', groups: ['shop_activity'], entities: { shop } } as const
    expect((await from.getFeatures({ of, asOfMs: t })).features).toEqual(expectedShop(list, t))

    // What comes from now on counts in both, once.
    const [card = ''] = [...cards.keys()]
    const next: Payment = { payment_id: 'new', at: t + 1_000, card, shop, cents: 77_700 }
    await from.publishEvents({ source: 'payment', events: [paymentFields(next)] })
    const all = [...(cards.get(card) ?? []), next]
    const expected = { ...expectedCard(all, next.at), ...expectedLater(all, next.at) }
    const ask = { kind: 'groups', groups: ['card_activity'], entities: { card } } as const
    await expect
      .poll(async () => (await from.getFeatures({ of: ask, asOfMs: next.at })).features, { timeout: 10_000 })
      .toEqual(expected)
    await stop()

    // Back to the first version: its features are where they were, and have not stood still.
    from = await start(first)
    await expect
      .poll(async () => (await from.getFeatures({ of: ask, asOfMs: next.at })).features, { timeout: 10_000 })
      .toEqual(expectedCard(all, next.at))
    expect(await hashesAnswered(from)).toEqual([firstHash, firstHash])
    await stop()
  }, 60_000)
})
