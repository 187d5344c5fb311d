import { readFileSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import { afterAll, describe, expect, it } from 'vitest'
import { headwater, temporaryFolder } from './headwater.ts'

const DAY = 86_400_000
const T = 1_700_000_000_000
const HEADER = 'transaction_id,event_ms,customer_id,terminal_id,amount,fraud,fraud_scenario'

describe('headwater backtest', () => {
  const folder = temporaryFolder()
  const events = join(folder.path, 'events.csv')
  const out = join(folder.path, 'vectors.ndjson')
  afterAll(() => folder.remove())

  it('reports rows out of order, and leaves out those beyond the read horizon', async () => {
    const times = [T, T + 3 * DAY, T + DAY, T + 3 * DAY + 1_000, T + 3 * DAY]
    const rows = times.map((time, index) => `${index + 1},${time},7,1,${index + 5},0,0`)
    writeFileSync(events, `${[HEADER, ...rows].join('\n')}\n`)
    const run = await headwater(['backtest', '--service', 'cards', '--events', events, '--out', out])
    expect(run.code, run.stderr).toBe(0)
    expect(run.stdout).toContain('4 vectors from 5 rows')
    expect(run.stdout).toContain('2 rows are dated before an earlier row')
    expect(run.stdout).toContain('1 rows are older')
    const vectors = readFileSync(out, 'utf8')
      .trim()
      .split('\n')
      .map(line => JSON.parse(line) as Record<string, number>)
    // Row 3 was too late to count. Row 5 became known with row 4, at the same instant, so row 4 sees it; row 5 itself is
    // read at its own time, a second before row 4.
    expect(vectors.map(vector => [vector['transaction_id'], vector['customer.count_7d']])).toEqual([
      [1, 1],
      [2, 2],
      [4, 4],
      [5, 3],
    ])
  })

  it('touches none of the servers that are configured', async () => {
    writeFileSync(events, `${HEADER}\n1,${T},7,1,5,0,0\n`)
    const nobody = ['eventLog.kind=kafka', 'eventLog.brokers=127.0.0.1:1', 'onlineStore.kind=redis']
    const servers = [...nobody, 'onlineStore.addresses=127.0.0.1:1'].flatMap(setting => ['--set', setting])
    const run = await headwater(['backtest', '--service', 'cards', '--events', events, '--out', out, ...servers])
    expect(run.code, run.stderr).toBe(0)
    expect(run.stdout).toContain('1 vectors from 1 rows')
  })

  it.each([
    [['--service', 'cards', '--events', events, '--out', events], /overwrite/],
    [['--service', 'cards', '--events', events, '--out', join(folder.path, 'no', 'where.csv')], /no such folder/],
    [['--service', 'nope', '--events', events, '--out', out], /no service "nope"/],
    [['--groups', 'customer,card_activity', '--events', events, '--out', out], /one event/],
    [['--service', 'cards', '--groups', 'customer', '--events', events, '--out', out], /either/],
  ] as const)('refuses %j', async (args, reason) => {
    const run = await headwater(['backtest', ...args])
    expect(run.code).toBe(1)
    expect(run.stderr).toMatch(reason)
  })
})
