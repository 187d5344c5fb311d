import { join } from 'node:path'
import { describe, expect, it } from 'vitest'
import { createGrpcClient } from '../../topology/adapters/server/grpc/client.ts'
import { random } from '../worker/simulated-ports.ts'
import { ROOT, headwater, startSystem, temporaryFolder } from './headwater.ts'
import { expectedCard, expectedShop, makePayments, paymentFields, totals } from './payments.ts'

const EVENTS = 100_000
const KILLS = 10
const BATCH = 500
const SEED = 20_261_123

/** Counts of the raw table and of the analysts' view, through the command line. */
async function offlineCounts(flags: readonly string[]): Promise<Record<string, unknown>> {
  const query = `SELECT (SELECT count() FROM events_payment FINAL) AS raw,
    (SELECT uniqExact(_partition, _offset) FROM events_payment) AS positions,
    (SELECT count() FROM payment) AS rows, (SELECT uniqExact(payment_id) FROM payment) AS ids,
    (SELECT toInt64(sum(toInt64(amount * 100))) FROM payment) AS cents`
  const run = await headwater(['sql', query, '--format', 'JSONEachRow', ...flags])
  if (run.code !== 0) throw new Error(run.stderr)
  return JSON.parse(run.stdout) as Record<string, unknown>
}

describe('kill -9', () => {
  it(`loses and doubles nothing over ${KILLS} kills while ${EVENTS} events come in`, async () => {
    const folder = temporaryFolder()
    const definitions = join(ROOT, 'test', 'system', 'definitions', 'payments.ts')
    const flags = ['--data', join(folder.path, 'data'), '--features', definitions]
    const payments = makePayments(SEED, EVENTS, Date.now() - 4_000_000)
    const pick = random(SEED)
    const killAt = new Set<number>()
    while (killAt.size < KILLS) killAt.add(1 + pick(EVENTS / BATCH - 1))
    let system = await startSystem(flags)
    let client = createGrpcClient({ address: `127.0.0.1:${system.port}` })
    let killed = 0
    try {
      for (let batch = 0; batch * BATCH < EVENTS;) {
        const events = payments.slice(batch * BATCH, (batch + 1) * BATCH).map(paymentFields)
        const published = client.publishEvents({ source: 'payment', events })
        published.catch(() => undefined)
        if (killAt.delete(batch)) {
          await new Promise(done => setTimeout(done, pick(30)))
          await system.kill()
          killed++
          client.close()
          system = await startSystem(flags)
          client = createGrpcClient({ address: `127.0.0.1:${system.port}` })
          // The batch's fate is unknown, so it is sent again, as a producer that delivers at least once does.
          continue
        }
        const results = await published
        expect(results.filter(result => !result.ok)).toEqual([])
        batch++
      }
      expect(killed).toBe(KILLS)

      const t = Math.max(...payments.map(p => p.at))
      const { cards, shops } = totals(payments)
      const wrong: string[] = []
      const check = async (group: string, entity: string, key: string, expected: Record<string, unknown>) => {
        const of = { kind: 'groups', groups: [group], entities: { [entity]: key } } as const
        const { features } = await client.getFeatures({ of, asOfMs: t })
        for (const [name, value] of Object.entries(expected)) {
          if (features[name] !== value) wrong.push(`${key} ${name}: ${String(features[name])} not ${String(value)}`)
        }
      }
      const checkAll = async () => {
        wrong.length = 0
        for (const [key, list] of cards) await check('card_activity', 'card', key, expectedCard(list, t))
        for (const [key, list] of shops) await check('shop_activity', 'shop', key, expectedShop(list, t))
      }
      for (let attempt = 0; attempt < 60; attempt++) {
        await checkAll()
        if (wrong.length === 0) break
        await new Promise(done => setTimeout(done, 1_000))
      }
      expect(wrong.slice(0, 10)).toEqual([])

      client.close()
      expect(await system.stop()).toBe(0)
      const counts = await offlineCounts(flags)
      const cents = payments.reduce((total, p) => total + p.cents, 0)
      expect(Number(counts['raw'])).toBe(Number(counts['positions']))
      expect(counts).toMatchObject({ rows: String(EVENTS), ids: String(EVENTS), cents: String(cents) })
    } finally {
      client.close()
      await system.kill()
      folder.remove()
    }
  }, 600_000)
})
