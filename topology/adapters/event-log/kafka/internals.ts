import { createRequire } from 'node:module'
import type { SASLOptions } from 'kafkajs'
import type { ConnectionOptions } from 'node:tls'
import type { Telemetry } from '../../../ports/telemetry.ts'

/**
 * The parts of kafkajs 2.2.4 that are used: its connections (TLS, SASL, quotas, timeouts) and its encodings of the
 * group and administration requests. Its consumer, producer and brokers' list are not: they give up on one partition's
 * error for all, commit offsets of their own when one is out of range, know no topic ids, and may come back to life
 * after they were stopped. kafkajs is frozen; what is declared here is checked by a test.
 */

/** A request with its version chosen, and how its answer is read. */
export interface ProtocolCall<T> {
  readonly request: {
    readonly apiKey: number
    readonly apiVersion: number
    readonly apiName: string
    encode(): Promise<EncodedBody>
  }
  readonly response: { decode(bytes: Buffer): Promise<unknown>; parse(decoded: never): Promise<T> }
  /** In milliseconds, where it exceeds the connection's own. */
  readonly requestTimeout?: number
  readonly logResponseError?: boolean
}

/** What kafkajs takes for an encoder: both names hold all the bytes. */
export interface EncodedBody {
  readonly buf: Buffer
  readonly buffer: Buffer
}

/** One socket. */
export interface Connection {
  isConnected(): boolean
  connect(): Promise<unknown>
  disconnect(): Promise<unknown>
  send<T>(call: ProtocolCall<T>): Promise<T>
  rejectRequests(error: Error): void
  /** Logs in where that is asked for and not done yet; waits without a limit. */
  authenticate(): Promise<void>
  /** Whether it is logged in, and for how long that holds. */
  isAuthenticated(): boolean
  readonly sasl: unknown
  /** A login that waits for its answer. */
  readonly authHandlers: { onError(): void } | null
  readonly socket?: { destroy(): void }
}

/** A broker: two sockets, and the versions of the protocol that it speaks. */
export interface Broker {
  readonly connectionPool: { readonly pool: readonly [Connection, Connection] }
  versions: Readonly<Record<number, { readonly minVersion: number; readonly maxVersion: number }>> | null
  connect(): Promise<void>
  lookupRequest(apiKey: number, definition: unknown): (args: object) => ProtocolCall<unknown>
}

/** Names of the requests that kafkajs encodes for this adapter, with their keys in the protocol. */
export const API = {
  Produce: 0,
  Fetch: 1,
  ListOffsets: 2,
  Metadata: 3,
  OffsetCommit: 8,
  OffsetFetch: 9,
  GroupCoordinator: 10,
  JoinGroup: 11,
  Heartbeat: 12,
  LeaveGroup: 13,
  SyncGroup: 14,
  CreateTopics: 19,
  DeleteTopics: 20,
  InitProducerId: 22,
  DescribeConfigs: 32,
} as const

interface Logger {
  namespace(name: string): Logger
}

interface LogEntry {
  readonly namespace: string
  readonly level: number
  readonly log: { readonly message: string; readonly broker?: string }
}

interface RequestQueue {
  readonly pending: readonly unknown[]
  scheduleCheckPendingRequests(): void
}

const load = createRequire(import.meta.url)
const { createLogger, LEVELS } = load('kafkajs/src/loggers/index.js') as {
  createLogger(options: { level: number; logCreator: () => (entry: LogEntry) => void }): Logger
  readonly LEVELS: { readonly ERROR: number; readonly WARN: number }
}
const buildConnections = load('kafkajs/src/cluster/connectionPoolBuilder.js') as (options: object) => {
  build(destination: { host: string; port: number }): Promise<Broker['connectionPool']>
}
const BrokerClass = load('kafkajs/src/broker/index.js') as new (options: object) => Broker
const socketFactory = load('kafkajs/src/network/socketFactory.js') as () => unknown
const RequestQueueClass = load('kafkajs/src/network/requestQueue/index.js') as { readonly prototype: RequestQueue }
const { requests } = load('kafkajs/src/protocol/requests/index.js') as {
  readonly requests: Readonly<Record<string, unknown>>
}

/**
 * After every answer kafkajs sets a timer to look at requests that wait for a quota, with a negative time when none is
 * in force (Node warns of that) and also when none waits (which costs a timer for each request). Only the look that has
 * something to look at is kept; pushing a request makes one by itself.
 */
const scheduleCheck = RequestQueueClass.prototype.scheduleCheckPendingRequests
RequestQueueClass.prototype.scheduleCheckPendingRequests = function scheduleWhenPending(this: RequestQueue): void {
  if (this.pending.length > 0) scheduleCheck.call(this)
}

/** How brokers are reached. */
export interface ConnectionSettings {
  readonly clientId: string
  readonly tls: ConnectionOptions | null
  readonly sasl: SASLOptions | null
  readonly connectTimeoutMs: number
  readonly requestTimeoutMs: number
  readonly telemetry: Telemetry | null
}

/** Makes brokers that connect when they are first asked something. */
export function brokerFactory(settings: ConnectionSettings): (host: string, port: number) => Promise<Broker> {
  const { telemetry } = settings
  const logger = createLogger({
    level: telemetry === null ? 0 : LEVELS.WARN,
    logCreator:
      () =>
      ({ namespace, level, log }) => {
        // An answer with an error code, such as that of a heartbeat in a rebalance, is dealt with by whoever asked.
        if (log.message.startsWith('Response ')) return
        // What fails is retried and reported where it matters; this is for whoever looks for the cause.
        const fields = log.broker === undefined ? {} : { broker: log.broker }
        telemetry?.log(level === LEVELS.ERROR ? 'warn' : 'info', `kafka: ${namespace}: ${log.message}`, fields)
      },
  })
  const connections = buildConnections({
    logger,
    brokers: ['unused:0'],
    ssl: settings.tls,
    sasl: settings.sasl,
    clientId: settings.clientId,
    socketFactory: socketFactory(),
    connectionTimeout: settings.connectTimeoutMs,
    requestTimeout: settings.requestTimeoutMs,
    enforceRequestTimeout: true,
    maxInFlightRequests: null,
  })
  return async (host, port) =>
    new BrokerClass({
      connectionPool: await connections.build({ host, port }),
      logger,
      authenticationTimeout: settings.connectTimeoutMs,
    })
}

/** A request of kafkajs's own encoding, in the newest version that both sides know. */
export function kafkajsCall<T>(broker: Broker, name: keyof typeof API, args: object): ProtocolCall<T> {
  return broker.lookupRequest(API[name], requests[name])(args) as ProtocolCall<T>
}
