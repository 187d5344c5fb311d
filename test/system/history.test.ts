import { join } from 'node:path'
import { afterAll, beforeAll, describe, expect, it } from 'vitest'
import { openEmbeddedEventLog } from '../../topology/adapters/event-log/embedded.ts'
import { createGrpcClient } from '../../topology/adapters/server/grpc/client.ts'
import type { GrpcClient } from '../../topology/adapters/server/grpc/client.ts'
import type { EventLog } from '../../topology/ports/event-log.ts'
import { systemClock } from '../../services/clock.ts'
import { ROOT, headwater, startSystem, temporaryFolder } from './headwater.ts'
import type { RunningSystem } from './headwater.ts'

const DAY = 86_400_000
const NOW = Date.now()

describe('what ClickHouse remembers', () => {
  const folder = temporaryFolder()
  const data = join(folder.path, 'data')
  const flags = ['--data', data, '--features', join(ROOT, 'test', 'system', 'definitions', 'payments.ts')]
  let system: RunningSystem
  let client: GrpcClient
  let log: EventLog

  async function sql<Row>(query: string): Promise<Row[]> {
    const run = await headwater(['sql', query, '--format', 'JSONEachRow', ...flags])
    if (run.code !== 0) throw new Error(run.stderr)
    const lines = run.stdout.split('\n').filter(line => line !== '')
    return lines.map(line => JSON.parse(line) as Row)
  }

  const publish = async (payment_id: string, at: number, card: string, shop: string, amount = 1) => {
    const [result] = await client.publishEvents({ source: 'payment', events: [{ payment_id, at, card, shop, amount }] })
    if (result?.ok !== true) throw new Error(JSON.stringify(result))
    return result.answer
  }

  const features = async (group: string, entities: Record<string, string>, asOfMs = NOW) =>
    (await client.getFeatures({ of: { kind: 'groups', groups: [group], entities }, asOfMs })).features

  beforeAll(async () => {
    system = await startSystem(flags)
    client = createGrpcClient({ address: `127.0.0.1:${system.port}` })
    log = await openEmbeddedEventLog({ path: join(data, 'event-log.sqlite'), clock: systemClock })
  }, 60_000)
  afterAll(async () => {
    client.close()
    await log.close()
    await system.kill()
    folder.remove()
  })

  it('holds late events, duplicates and conflicts as the log does, while the features count by the rules', async () => {
    await publish('newest', NOW, 'card-1', 'shop-1')
    const late = await publish('late', NOW - DAY - 1, 'card-1', 'shop-2')
    await publish('in-time', NOW - DAY, 'card-1', 'shop-3')
    await publish('twice', NOW - 10, 'card-1', 'shop-1', 5)
    await publish('twice', NOW - 10, 'card-1', 'shop-1', 5)
    await publish('twice', NOW - 10, 'card-1', 'shop-1', 6)
    await expect
      .poll(() => features('card_activity', { card: 'card-1' }), { timeout: 10_000 })
      .toMatchObject({
        'card_activity.payments': 3,
        'card_activity.spend': 7,
      })
    expect(await features('shop_activity', { shop: 'shop-2' })).toMatchObject({ 'shop_activity.payments': 1 })
    const { records } = await log.read('payments.late', late.partition, 0, 10)
    expect(records.map(record => record.headers)).toMatchObject([
      { 'hw-late-for': 'card', 'hw-partition': String(late.partition), 'hw-offset': String(late.offset) },
    ])
    await expect
      .poll(() => sql<{ n: string }>('SELECT count() AS n FROM events_payment FINAL'), { timeout: 10_000 })
      .toEqual([{ n: '6' }])
    const raw = await sql('SELECT payment_id, count() AS n FROM events_payment FINAL GROUP BY payment_id ORDER BY 1')
    expect(raw).toEqual([
      { payment_id: 'in-time', n: '1' },
      { payment_id: 'late', n: '1' },
      { payment_id: 'newest', n: '1' },
      { payment_id: 'twice', n: '3' },
    ])
    const position = await sql(
      `SELECT _event_ms, _partition, _offset FROM events_payment FINAL WHERE payment_id = 'late'`,
    )
    expect(position).toEqual([
      { _event_ms: String(NOW - DAY - 1), _partition: late.partition, _offset: String(late.offset) },
    ])
    // The view holds each event once, the first one in the log.
    expect(await sql("SELECT payment_id, toFloat64(amount) AS amount FROM payment WHERE payment_id = 'twice'")).toEqual(
      [{ payment_id: 'twice', amount: 5 }],
    )
  }, 60_000)

  it('is not held up by a record that fills the log\u2019s largest record and is no event', async () => {
    const value = new Uint8Array(1_048_576 - 'card-1'.length).fill(0x78)
    const [position] = await log.append([{ topic: 'payments', key: 'card-1', value }])
    await publish('after-it', NOW, 'card-1', 'shop-8')
    await expect
      .poll(() => sql<{ n: string }>("SELECT count() AS n FROM payment WHERE shop = 'shop-8'"), { timeout: 10_000 })
      .toEqual([{ n: '1' }])
    const kept = await sql('SELECT length(payload) AS n, code FROM dead_letters FINAL')
    expect(kept).toEqual([{ n: String(value.length), code: 'NOT_JSON' }])
    const letters = async () => (await log.read('payments.dead-letter', position?.partition ?? 0, 0, 10)).records
    await expect.poll(async () => (await letters()).length, { timeout: 10_000 }).toBe(1)
    const [letter] = await letters()
    expect(letter?.headers).toMatchObject({
      'hw-cut-from-bytes': String(value.length),
      'hw-offset': String(position?.offset),
    })
    expect(letter?.value.length).toBeGreaterThan(1_000_000)
  }, 60_000)

  it('holds arrival times that never go back in a partition', async () => {
    for (let index = 0; index < 20; index++) await publish(`a${index}`, NOW - index * 1_000, `card-${index}`, 'shop-9')
    await expect
      .poll(() => sql<{ n: string }>("SELECT count() AS n FROM payment WHERE shop = 'shop-9'"), { timeout: 10_000 })
      .toEqual([{ n: '20' }])
    const back = await sql<{ n: string }>(`SELECT countIf(_arrival_ms < before) AS n FROM (
      SELECT _arrival_ms, lagInFrame(_arrival_ms) OVER (PARTITION BY _partition ORDER BY _offset
        ROWS BETWEEN UNBOUNDED PRECEDING AND UNBOUNDED FOLLOWING) AS before FROM events_payment FINAL)`)
    expect(back).toEqual([{ n: '0' }])
  }, 60_000)
})
