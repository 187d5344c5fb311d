import { rawTableName } from '../../topology/processors/offline-schema.ts'
import { PortError } from '../../topology/ports/errors.ts'
import type { OfflineStore } from '../../topology/ports/offline-store.ts'
import type { Network } from './simulated-network.ts'
import { meet } from './simulated-scheduler.ts'
import type { Met, Process } from './simulated-scheduler.ts'
import { paymentSource } from './simulation-traffic.ts'

type Row = Readonly<Record<string, unknown>>

/** The table that valid events go to. */
export const RAW_TABLE = rawTableName(paymentSource())

const MOST_TOKENS = 100

/** Tables whose rows collapse by their position in the log; some rows are refused whenever they come. */
export function createTables(met: Met, isRefused: (row: Row) => boolean) {
  const stored = new Map<string, number>()
  const tokens: string[] = []
  const nameOf = (table: string, row: Row): string =>
    `${table}|${String(row['_incarnation'])}|${String(row['_partition'])}|${String(row['_offset'])}`

  function insert(table: string, rows: readonly Row[], token?: string): void {
    if (table === RAW_TABLE && rows.some(isRefused)) {
      meet(met, 'row refused')
      throw new PortError('QUERY_FAILED', 'Code: 27. DB::Exception: Cannot parse input')
    }
    if (token !== undefined && tokens.includes(token)) {
      meet(met, 'insert known by its token')
      return
    }
    if (token !== undefined) tokens.push(token)
    if (tokens.length > MOST_TOKENS) tokens.shift()
    for (const row of rows) meet(stored, nameOf(table, row))
  }

  return {
    has: (table: string, incarnation: string, partition: number, offset: number): boolean =>
      stored.has(`${table}|${incarnation}|${partition}|${offset}`),
    /** Rows that were written more than once, and collapse. */
    doubles: (): number => [...stored.values()].filter(count => count > 1).length,
    rows: (): number => stored.size,
    /** The store as one process reaches it. */
    port: (network: Network, process: Process): OfflineStore => {
      const unused = (): never => {
        throw new Error('nothing of the writer asks for it')
      }
      return {
        url: 'simulated',
        command: () => Promise.reject(new Error('nothing of the writer asks for it')),
        query: () => Promise.reject(new Error('nothing of the writer asks for it')),
        stream: unused,
        insert: (table, rows, token) => network.call(process, 'insert', () => insert(table, rows, token)),
        export: () => Promise.reject(new Error('nothing of the writer asks for it')),
        close: () => Promise.resolve(),
      }
    },
  }
}
