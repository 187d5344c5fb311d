import { existsSync } from 'node:fs'
import { join, resolve } from 'node:path'
import { Session } from 'chdb'
import { afterAll, beforeAll, describe, expect, it } from 'vitest'
import { ROOT, headwater, temporaryFolder } from './headwater.ts'

const DATA = resolve(ROOT, '..', 'shared', 'data', 'card-transactions.parquet')
const ROWS = 200_000
const DAY = 86_400_000

interface Row {
  readonly id: string
  readonly values: readonly (number | null)[]
}

const CUSTOMER = [1, 7, 30].flatMap(days => [`customer.count_${days}d`, `customer.mean_amount_${days}d`])
const TERMINAL = [1, 7, 30].flatMap(days => [`terminal.count_${days}d_delayed`, `terminal.risk_${days}d`])
const NAMES = [...CUSTOMER, ...TERMINAL]

/** The twelve features by pairing every transaction with every other of its customer and of its terminal. */
function bruteForce(events: string): string {
  const windows = [1, 7, 30]
  const own = windows.flatMap(d => [
    `countIf(b.event_ms > a.event_ms - ${d * DAY} AND b.event_ms <= a.event_ms) AS c${d}`,
    `sumIf(b.cents, b.event_ms > a.event_ms - ${d * DAY} AND b.event_ms <= a.event_ms) / 100 / c${d} AS m${d}`,
  ])
  const delayed = windows.flatMap(d => [
    `countIf(b.event_ms > a.event_ms - ${(d + 7) * DAY} AND b.event_ms <= a.event_ms - ${7 * DAY}) AS n${d}`,
    `if(n${d} = 0, 0, sumIf(b.fraud, b.event_ms > a.event_ms - ${(d + 7) * DAY} AND b.event_ms <= a.event_ms - ${7 * DAY}) / n${d}) AS r${d}`,
  ])
  const rows = `(SELECT *, toInt64(round(amount * 100)) AS cents FROM file('${events}'))`
  return `SELECT x.id AS id, ${windows.flatMap(d => [`c${d}`, `m${d}`]).join(', ')}, ${windows.flatMap(d => [`n${d}`, `r${d}`]).join(', ')}
    FROM (SELECT a.transaction_id AS id, ${own.join(', ')}
          FROM ${rows} AS a INNER JOIN ${rows} AS b ON a.customer_id = b.customer_id GROUP BY id) AS x
    INNER JOIN (SELECT a.transaction_id AS id, ${delayed.join(', ')}
          FROM ${rows} AS a INNER JOIN ${rows} AS b ON a.terminal_id = b.terminal_id GROUP BY id) AS y ON x.id = y.id
    ORDER BY id`
}

describe.runIf(existsSync(DATA))('backtest on real card transactions', () => {
  const folder = temporaryFolder()
  const events = join(folder.path, 'events.parquet')
  let session: Session

  beforeAll(() => {
    session = new Session(join(folder.path, 'engine'))
    session.query(
      `INSERT INTO FUNCTION file('${events}', 'Parquet') SELECT * FROM file('${DATA}') LIMIT ${ROWS}
       SETTINGS max_threads = 1, max_parsing_threads = 1, input_format_parquet_preserve_order = 1`,
    )
  })
  afterAll(() => {
    session.cleanup()
    folder.remove()
  })

  function rows(sql: string): Row[] {
    const text = session.query(sql, 'JSONCompactEachRow')
    return text
      .trim()
      .split('\n')
      .map(line => {
        const [id, ...values] = JSON.parse(line) as (string | number | null)[]
        return { id: String(id), values: values.map(value => (value === null ? null : Number(value))) }
      })
  }

  it(`equals brute-force SQL on each of the first ${ROWS} rows`, async () => {
    const out = join(folder.path, 'vectors.parquet')
    const run = await headwater(['backtest', '--groups', 'customer,terminal', '--events', events, '--out', out])
    expect(run.stderr + run.stdout).toContain(`${ROWS} vectors from ${ROWS} rows`)
    expect(run.code).toBe(0)
    const columns = NAMES.map(name => `\`${name}\``).join(', ')
    const online = rows(`SELECT transaction_id, ${columns} FROM file('${out}') ORDER BY transaction_id`)
    const expected = rows(bruteForce(events))
    expect(online.length).toBe(ROWS)
    expect(expected.length).toBe(ROWS)
    const wrong: string[] = []
    for (const [index, want] of expected.entries()) {
      const got = online[index]
      if (got === undefined || got.id !== want.id) throw new Error(`row ${index}: ${got?.id} instead of ${want.id}`)
      NAMES.forEach((name, column) => {
        const a = got.values[column]
        const b = want.values[column]
        const exact = name.includes('count')
        const equal = a === b || (!exact && typeof a === 'number' && typeof b === 'number' && Math.abs(a - b) <= 1e-9)
        if (!equal && wrong.length < 10) wrong.push(`${want.id} ${name}: ${a} instead of ${b}`)
      })
    }
    expect(wrong).toEqual([])
  }, 600_000)
})
