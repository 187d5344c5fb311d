import { writeFileSync } from 'node:fs'
import { join } from 'node:path'
import { Session } from 'chdb'
import { afterAll, beforeAll, describe, expect, it } from 'vitest'
import { openEmbeddedEventLog } from '../../topology/adapters/event-log/embedded.ts'
import { createGrpcClient } from '../../topology/adapters/server/grpc/client.ts'
import type { GrpcClient } from '../../topology/adapters/server/grpc/client.ts'
import type { EventLog, LogRecord } from '../../topology/ports/event-log.ts'
import { systemClock } from '../../services/clock.ts'
import { ROOT, headwater, startSystem, temporaryFolder } from './headwater.ts'
import type { Finished, RunningSystem } from './headwater.ts'

const ROWS = 1_200
const CARDS = 5
const MINUTE = 60_000
/** Three hours ago, on a whole second. */
const T = Math.floor(Date.now() / 1_000) * 1_000 - 180 * MINUTE

const DEFINITIONS = `import { entity, event, group, t } from '${join(ROOT, 'features', 'define', 'index.ts')}'

export const payment = event('payment', {
  topic: 'payments', id: 'payment_id', time: 'at', key: 'card', lateness: '1h', partitions: 2,
  fields: { payment_id: t.string(), at: t.timestamp(), card: t.string(), amount: t.decimal(2), note: t.optional(t.string()) },
})
export const profile = event('profile', {
  topic: 'profiles', id: 'profile_id', time: 'seen_at', key: 'card', lateness: '1h', partitions: 2,
  fields: { profile_id: t.string(), seen_at: t.timestamp(), card: t.string(), segment: t.string(), credit_limit: t.int() },
})
export const card = entity('card', { key: 'card' })
export const activity = group('activity', { entity: card, source: payment }, e => ({
  payments: e.count('lifetime'),
  spend: e.sum(e.amount, 'lifetime'),
  payments_1h: e.count('1h'),
}))
export const customer = group('customer', { entity: card, source: profile }, e => ({
  segment: e.last(e.segment, 'lifetime'),
  credit_limit: e.last(e.credit_limit, 'lifetime'),
}))
`

const EARLY = `payment_id,at,card,amount,known,note
e0,${T},c0,1,${T},
e1,${T + 90 * MINUTE},c9,1,${T},
e2,${T},c9,1,,
e3,${T},c9,1,${Date.UTC(2099, 0, 1)},
e4,${T},c9,1,${T},${'x'.repeat(2_000_000)}
`

describe('headwater import', () => {
  const folder = temporaryFolder()
  const at = (name: string) => join(folder.path, name)
  const flags = ['--data', at('data'), '--features', at('definitions.ts')]
  let system: RunningSystem
  let client: GrpcClient
  let log: EventLog

  const run = (file: string, source: string, ...more: string[]): Promise<Finished> =>
    headwater(['import', at(file), '--source', source, ...more, ...flags])

  async function recordsOf(
    topic: string,
  ): Promise<readonly (LogRecord & { readonly fields: Record<string, unknown> })[]> {
    const both = await Promise.all([0, 1].map(partition => log.read(topic, partition, 0, 100_000)))
    return both.flatMap(batch =>
      batch.records.map(record => ({
        ...record,
        fields: (topic.endsWith('dead-letter') ? {} : JSON.parse(new TextDecoder().decode(record.value))) as Record<
          string,
          unknown
        >,
      })),
    )
  }

  /** Records of one import by the beginning of their ids, in the order of the file. */
  async function imported(prefix: string) {
    const found = (await recordsOf('payments')).filter(record => String(record.fields['payment_id']).startsWith(prefix))
    const place = (record: (typeof found)[number]) => Number(String(record.fields['payment_id']).slice(prefix.length))
    return found.toSorted((a, b) => place(a) - place(b))
  }

  const features = async (group: string, card: string) =>
    (await client.getFeatures({ of: { kind: 'groups', groups: [group], entities: { card } } })).features

  /** What each card has after so many imports of `rowAt` rows. */
  const payments = (card: number, from: number, to: number) =>
    Array.from({ length: to - from }, (_, n) => n + from).filter(n => n % CARDS === card).length

  beforeAll(async () => {
    writeFileSync(at('definitions.ts'), DEFINITIONS)
    const session = new Session(at('maker'))
    // Every tenth row is dated five seconds before the one ahead of it.
    session.query(`INSERT INTO FUNCTION file('${at('a.parquet')}', 'Parquet')
      SELECT concat('a', toString(number)) AS payment_id,
        fromUnixTimestamp64Milli(toInt64(${T} + number * 1000 - if(number % 10 = 9, 6000, 0)), 'UTC') AS at,
        concat('c', toString(number % ${CARDS})) AS card, toDecimal64(number / 4, 2) AS amount
      FROM numbers(${ROWS}) ORDER BY number SETTINGS max_threads = 1`)
    session.cleanup()
    const lines = Array.from({ length: 100 }, (_, n) => {
      const time = T + 30 * MINUTE + n * 1_000
      return {
        payment_id: `b${n}`,
        at: new Date(time).toISOString(),
        card: `c${n % CARDS}`,
        amount: 1.5,
        known: time + 500,
      }
    })
    writeFileSync(at('b.ndjson'), lines.map(line => JSON.stringify(line)).join('\n'))
    const rows = Array.from(
      { length: 100 },
      (_, n) => `d${n},${T + 60 * MINUTE + n},c${n % CARDS},2.25,"a ""note"", ${n}"`,
    )
    writeFileSync(at('d.csv'), `payment_id,at,card,amount,note\n${rows.join('\n')}\n`)
    const people = Array.from({ length: CARDS }, (_, n) => `c${n},segment-${n % 2},${1_000 * (n + 1)}`)
    writeFileSync(at('people.csv'), `card,segment,credit_limit\n${people.join('\n')}\n`)
    system = await startSystem(flags)
    client = createGrpcClient({ address: `127.0.0.1:${system.port}` })
    log = await openEmbeddedEventLog({ path: join(at('data'), 'event-log.sqlite'), clock: systemClock })
  }, 60_000)
  afterAll(async () => {
    client.close()
    await log.close()
    await system.kill()
    folder.remove()
  })

  it('reads Parquet while the system runs; rows are known at their own time, in file order', async () => {
    const done = await run('a.parquet', 'payment')
    expect(done).toMatchObject({ code: 0 })
    expect(done.stdout).toMatch(new RegExp(`${ROWS} of ${ROWS} rows appended to payment`))
    expect(done.stdout).toMatch(new RegExp(`${ROWS / 10} rows are dated before an earlier row`))
    const found = await imported('a')
    expect(found).toHaveLength(ROWS)
    let newest = 0
    const wrong = found.filter((record, n) => {
      const time = T + n * 1_000 - (n % 10 === 9 ? 6_000 : 0)
      newest = Math.max(newest, time)
      const { fields } = record
      return fields['at'] !== time || fields['amount'] !== n / 4 || record.arrivalMs !== newest
    })
    expect(wrong.map(record => [record.fields, record.arrivalMs]).slice(0, 3)).toEqual([])
    for (let card = 0; card < CARDS; card++) {
      const list = found.filter(record => record.key === `c${card}`)
      const spend = list.reduce((sum, record) => sum + Number(record.fields['amount']), 0)
      await expect
        .poll(() => features('activity', `c${card}`), { timeout: 10_000 })
        .toMatchObject({ 'activity.payments': payments(card, 0, ROWS), 'activity.spend': spend })
    }
  }, 60_000)

  it('does not count a file twice', async () => {
    const before = await features('activity', 'c1')
    const done = await run('a.parquet', 'payment')
    expect(done.stdout).toMatch(new RegExp(`${ROWS} of ${ROWS} rows appended`))
    expect(await imported('a')).toHaveLength(2 * ROWS)
    // What comes after it in the same partition is counted, so what came before it has been read.
    const event = { payment_id: 'after', at: T + 25 * MINUTE, card: 'c1', amount: 0 }
    await client.publishEvents({ source: 'payment', events: [event] })
    await expect
      .poll(() => features('activity', 'c1'), { timeout: 10_000 })
      .toMatchObject({ 'activity.payments': Number(before['activity.payments']) + 1 })
    expect((await features('activity', 'c1'))['activity.spend']).toBe(before['activity.spend'])
  }, 60_000)

  it('reads NDJSON whose rows became known as a column says', async () => {
    const refused = await run('b.ndjson', 'payment')
    expect(refused.code).toBe(1)
    expect(refused.stderr).toMatch(/known \(drop them/)
    const absent = await run('d.csv', 'payment', '--arrival', 'knwon')
    expect(absent.code).toBe(1)
    expect(absent.stderr).toMatch(/no column knwon, which --arrival names/)
    // Rows of a fresh topic would be known exactly then; here the log already holds what was published above.
    const published = Math.max(...(await recordsOf('payments')).map(record => record.arrivalMs))
    const done = await run('b.ndjson', 'payment', '--arrival', 'known')
    expect(done).toMatchObject({ code: 0 })
    const found = await imported('b')
    expect(found).toHaveLength(100)
    for (const [n, record] of found.entries()) {
      expect(record.fields).toEqual({
        payment_id: `b${n}`,
        at: T + 30 * MINUTE + n * 1_000,
        card: `c${n % CARDS}`,
        amount: 1.5,
      })
      const known = T + 30 * MINUTE + n * 1_000 + 500
      expect([known, published]).toContain(record.arrivalMs)
    }
    expect(
      found.some(
        record =>
          record.arrivalMs === T + 30 * MINUTE + Number(String(record.fields['payment_id']).slice(1)) * 1_000 + 500,
      ),
    ).toBe(true)
  }, 60_000)

  it('reads CSV as known now', async () => {
    const from = Date.now()
    const done = await run('d.csv', 'payment', '--arrival', 'now')
    expect(done).toMatchObject({ code: 0 })
    const found = await imported('d')
    expect(found.map(record => record.fields['note'])).toEqual(Array.from({ length: 100 }, (_, n) => `a "note", ${n}`))
    expect(new Set(found.map(record => record.arrivalMs)).size).toBe(1)
    expect(found[0]?.arrivalMs).toBeGreaterThanOrEqual(from)
    expect(found[0]?.arrivalMs).toBeLessThanOrEqual(Date.now())
  }, 60_000)

  it('refuses rows whose arrival cannot be, and huge ones, with file, row and reason', async () => {
    writeFileSync(at('e.csv'), EARLY)
    const done = await run('e.csv', 'payment', '--arrival', 'known')
    expect(done.stdout).toMatch(/1 of 5 rows appended/)
    expect(done.stdout).toMatch(/row 2: .*"at".*after its arrival/)
    expect(done.stdout).toMatch(/row 3: .*known must hold UTC milliseconds, found null/)
    expect(done.stdout).toMatch(/row 4: .*has not come yet/)
    const letters = (await recordsOf('payments.dead-letter')).toSorted(
      (a, b) => Number(a.headers['hw-row']) - Number(b.headers['hw-row']),
    )
    expect(letters.map(record => record.headers)).toMatchObject([
      { 'hw-code': 'FUTURE', 'hw-row': '2', 'hw-file': at('e.csv') },
      { 'hw-code': 'BAD_ARRIVAL', 'hw-row': '3' },
      { 'hw-code': 'BAD_ARRIVAL', 'hw-row': '4' },
      { 'hw-code': 'STRING_TOO_LONG', 'hw-row': '5' },
    ])
    // The log's own clock goes on: no later record becomes known in 2099.
    await client.publishEvents({ source: 'payment', events: [{ payment_id: 'f0', at: T, card: 'c9', amount: 1 }] })
    expect((await imported('f'))[0]?.arrivalMs).toBeLessThanOrEqual(Date.now())
  }, 60_000)

  it('makes events of the rows of a table, which last then serves', async () => {
    const missing = await run('people.csv', 'profile')
    expect(missing.code).toBe(1)
    expect(missing.stderr).toMatch(/lacks the columns profile_id, seen_at/)
    const done = await run('people.csv', 'profile', '--snapshot')
    expect(done).toMatchObject({ code: 0 })
    expect(done.stdout).toMatch(/5 of 5 rows appended to profile/)
    const first = await recordsOf('profiles')
    expect(new Set(first.map(record => record.fields['profile_id'])).size).toBe(CARDS)
    const serves = (card: number, segment: string, limit: number) =>
      expect
        .poll(() => features('customer', `c${card}`), { timeout: 10_000 })
        .toEqual({ 'customer.segment': segment, 'customer.credit_limit': limit })
    for (let card = 0; card < CARDS; card++) await serves(card, `segment-${card % 2}`, 1_000 * (card + 1))
    // A later snapshot takes the place of the first.
    writeFileSync(at('people.csv'), 'card,segment,credit_limit\nc0,gold,9\nc1,segment-1,2000\n')
    expect((await run('people.csv', 'profile', '--snapshot')).code).toBe(0)
    await serves(0, 'gold', 9)
    await serves(1, 'segment-1', 2_000)
    await serves(2, 'segment-0', 3_000)
  }, 60_000)
})
