import { setTimeout as pause } from 'node:timers/promises'
import { PortError } from '../../../ports/errors.ts'
import { CODE, KafkaFault } from './faults.ts'
import { API } from './internals.ts'
import type { Broker, Connection, ProtocolCall } from './internals.ts'
import { FETCH_VERSION, METADATA_VERSION } from './requests.ts'
import type { BrokerAddress } from './requests.ts'

/** What connecting may take beside kafkajs's own limit: a broker that accepts and then says nothing has none. */
const HANDSHAKE_MS = 10_000

/** A broker with its two sockets: 0 for short requests, 1 for those that wait. */
export interface Node {
  readonly address: BrokerAddress
  send<T>(socket: 0 | 1, call: (broker: Broker) => ProtocolCall<T>): Promise<T>
  connected(): boolean
  /** Ends both connections at once; requests in flight fail. */
  close(): Promise<void>
}

/** A node that connects when it is first asked, and again after it was cut off. */
export function openNode(address: BrokerAddress, broker: Broker): Node {
  const connecting: [Promise<void> | null, Promise<void> | null] = [null, null]
  let closed = false
  const name = `${address.host}:${address.port}`
  const connect = async (socket: 0 | 1): Promise<void> => {
    if (broker.versions === null || !broker.connectionPool.pool[0].isConnected()) await broker.connect()
    checkVersions(broker, name)
    const connection = broker.connectionPool.pool[socket]
    if (!connection.isConnected()) await connection.connect()
    await connection.authenticate()
  }
  const ready = (socket: 0 | 1): Promise<void> => {
    // kafkajs opens a second socket, and forgets the first, when two requests find it closed at the same time.
    connecting[socket] ??= bounded(connect(socket), broker, name).finally(() => (connecting[socket] = null))
    return connecting[socket]
  }
  return {
    address,
    connected: () => broker.connectionPool.pool.some(each => each.isConnected()),
    send: async (socket, call) => {
      if (closed) throw new KafkaFault(CODE.brokerNotAvailable, `The connection to ${name} is closed`)
      const connection = broker.connectionPool.pool[socket]
      // kafkajs takes the next answer of a request under way for that to a second login: the socket is made anew.
      const isOver = connection.sasl !== null && connection.isConnected() && !connection.isAuthenticated()
      if (isOver && connecting[socket] === null) await drop(connection, name)
      if (broker.versions === null || !connection.isConnected() || connecting[socket] !== null) await ready(socket)
      try {
        return await connection.send(call(broker))
      } catch (error) {
        // Who does not answer in time may never: what comes next must not wait for it as long.
        if ((error as Error).name === 'KafkaJSRequestTimeoutError') await drop(connection, name)
        throw error
      }
    },
    close: async () => {
      closed = true
      await Promise.allSettled(
        broker.connectionPool.pool.map(async connection => {
          connection.rejectRequests(new KafkaFault(CODE.networkException, `The connection to ${name} was closed`))
          await connection.disconnect()
          connection.socket?.destroy()
        }),
      )
    },
  }
}

/** Ends a connection at once, in the eyes of kafkajs too: what waits on it fails, and the next request connects anew. */
async function drop(connection: Connection, name: string): Promise<void> {
  connection.rejectRequests(new KafkaFault(CODE.networkException, `The connection to ${name} was given up`))
  connection.authHandlers?.onError()
  await connection.disconnect()
  connection.socket?.destroy()
}

function checkVersions(broker: Broker, name: string): void {
  const fetch = broker.versions?.[API.Fetch]?.maxVersion ?? 0
  const metadata = broker.versions?.[API.Metadata]?.maxVersion ?? 0
  if (fetch >= FETCH_VERSION && metadata >= METADATA_VERSION) return
  throw new PortError('LOG_UNAVAILABLE', `The broker ${name} is older than Kafka 3.1: use Kafka 3.7 or newer.`)
}

async function bounded(connected: Promise<void>, broker: Broker, name: string): Promise<void> {
  const over = new AbortController()
  const limit = pause(HANDSHAKE_MS, undefined, { signal: over.signal }).then(
    async () => {
      await Promise.all(broker.connectionPool.pool.map(each => drop(each, name)))
      throw new KafkaFault(CODE.networkException, `The broker ${name} did not finish connecting`)
    },
    () => {},
  )
  try {
    await Promise.race([connected, limit])
  } finally {
    over.abort()
  }
}
