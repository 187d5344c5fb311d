import { Session } from 'chdb'
import { sqlIdentifier, sqlString } from '../../../../features/plan/expression-sql.ts'
import { HttpFailure } from './engine-error.ts'

/** What one request asks of its connection. */
export interface ConnectionState {
  readonly database: string
  readonly settings: ReadonlyMap<string, string>
  /** Values of `{name:Type}` placeholders, escaped as in a TSV field. */
  readonly params: ReadonlyMap<string, string>
  /** Placeholders that the statement has. */
  readonly placeholders: readonly string[]
}

/** Result of a statement that was run to its end. */
export interface RunResult {
  readonly bytes: Uint8Array
  readonly rows: number
  readonly readBytes: number
  readonly elapsedNs: number
}

/** One engine connection for the time of one request. */
export interface Lease {
  run(sql: string, format: string): Promise<RunResult>
  /** Chunks as the engine makes them; leaving the loop cancels the query. */
  stream(sql: string, format: string): AsyncIterable<Uint8Array>
  /** `reusable` false closes the connection, for one whose state is not known any more. */
  release(reusable: boolean): void
}

/** Connections to one folder, of which a bounded number exist and a bounded number run at the same time. */
export interface ConnectionPool {
  lease(state: ConnectionState): Promise<Lease>
  close(): void
}

interface Connection {
  readonly session: Session
  database: string
  readonly settings: Map<string, string>
  readonly params: Set<string>
}

const MAX_REMEMBERED_PARAMS = 256
const NAME = /^[A-Za-z_][A-Za-z0-9_.]*$/

/** Settings after which a connection cannot be brought back to its first state. */
const ONE_WAY_SETTINGS = new Set(['readonly', 'allow_ddl', 'profile', 'limit'])

interface Limiter {
  enter(): Promise<void>
  leave(): void
}

function createLimiter(maxInside: number, maxWaiting: number): Limiter {
  let inside = 0
  const waiting: (() => void)[] = []
  return {
    enter() {
      if (inside < maxInside) {
        inside += 1
        return Promise.resolve()
      }
      if (waiting.length >= maxWaiting) {
        const message = `Too many simultaneous queries: ${maxInside} run and ${maxWaiting} wait. Try again later.`
        return Promise.reject(new HttpFailure(202, 'TOO_MANY_SIMULTANEOUS_QUERIES', message))
      }
      return new Promise(resolve => waiting.push(resolve))
    },
    leave() {
      const next = waiting.shift()
      if (next === undefined) inside -= 1
      else next()
    },
  }
}

async function prepare(connection: Connection, state: ConnectionState): Promise<void> {
  const changes: string[] = []
  for (const [name, value] of state.settings) {
    if (!NAME.test(name)) throw new HttpFailure(115, 'UNKNOWN_SETTING', `Unknown setting '${name}'.`)
    if (connection.settings.get(name) !== value) changes.push(`${name}=${sqlString(value)}`)
  }
  const stale = [...connection.settings.keys()].filter(name => !state.settings.has(name))
  for (const name of stale) changes.push(`${name}=DEFAULT`)
  for (const [name, value] of state.params) {
    if (!NAME.test(name)) throw new HttpFailure(36, 'BAD_ARGUMENTS', `The parameter name '${name}' is not a name.`)
    changes.push(`param_${name}=${sqlString(value)}`)
    connection.params.add(name)
  }
  if (changes.length > 0) {
    for (const name of state.settings.keys()) connection.settings.set(name, '')
    await connection.session.queryAsync(`SET ${changes.join(', ')}`)
    for (const name of stale) connection.settings.delete(name)
    for (const [name, value] of state.settings) connection.settings.set(name, value)
  }
  if (connection.database !== state.database) {
    await connection.session.queryAsync(`USE ${sqlIdentifier(state.database)}`)
    connection.database = state.database
  }
}

type Exclusively = <T>(work: () => Promise<T>) => Promise<T>

function leaseOf(connection: Connection, exclusively: Exclusively, release: (reusable: boolean) => void): Lease {
  return {
    run: (sql, format) =>
      exclusively(async () => {
        const result = await connection.session.queryAsync(sql, { format })
        return {
          bytes: result.bytes(),
          rows: result.rowsRead,
          readBytes: result.bytesRead,
          elapsedNs: Math.round(result.elapsed * 1e9),
        }
      }),
    async *stream(sql, format) {
      const iterator = connection.session.queryStream(sql, { format })[Symbol.asyncIterator]()
      try {
        for (;;) {
          const next = await exclusively(() => iterator.next())
          if (next.done === true) return
          yield next.value.raw()
        }
      } finally {
        await iterator.return?.()
      }
    },
    release,
  }
}

/**
 * A pool over one folder. The engine keeps settings, parameters and the current database per connection, so a request
 * has one for itself; what differs from the last request is set before the statement runs. `maxRunning` keeps the
 * engine from taking all threads of the process's pool, which files and compression need too.
 */
export function createConnectionPool(
  directory: string,
  limits: { readonly maxConnections: number; readonly maxRunning: number; readonly maxWaiting: number },
): ConnectionPool {
  const idle: Connection[] = []
  const all = new Set<Connection>()
  const connections = createLimiter(limits.maxConnections, limits.maxWaiting)
  const running = createLimiter(limits.maxRunning, limits.maxConnections)
  let closed = false

  const open = (): Connection => {
    const connection = {
      session: new Session(directory),
      database: 'default',
      settings: new Map(),
      params: new Set<string>(),
    }
    all.add(connection)
    return connection
  }
  const discard = (connection: Connection): void => {
    all.delete(connection)
    connection.session.close()
  }
  const exclusively = async <T>(work: () => Promise<T>): Promise<T> => {
    await running.enter()
    try {
      return await work()
    } finally {
      running.leave()
    }
  }
  const take = (state: ConnectionState): Connection => {
    const connection = idle.pop() ?? open()
    const unset = state.placeholders.some(name => connection.params.has(name) && !state.params.has(name))
    if (!unset && connection.params.size <= MAX_REMEMBERED_PARAMS) return connection
    discard(connection)
    return open()
  }
  const giveBack = (connection: Connection, state: ConnectionState, reusable: boolean): void => {
    const oneWay = [...state.settings.keys()].some(name => ONE_WAY_SETTINGS.has(name))
    if (closed || !reusable || oneWay) discard(connection)
    else idle.push(connection)
    connections.leave()
  }

  return {
    async lease(state) {
      await connections.enter()
      let connection: Connection | null = null
      try {
        if (closed) throw new HttpFailure(236, 'ABORTED', 'The store is shutting down.', 503)
        const taken = take(state)
        connection = taken
        await exclusively(() => prepare(taken, state))
        return leaseOf(taken, exclusively, reusable => giveBack(taken, state, reusable))
      } catch (error) {
        if (connection !== null) discard(connection)
        connections.leave()
        throw error
      }
    },
    close() {
      closed = true
      for (const connection of [...all]) discard(connection)
      idle.length = 0
    },
  }
}
