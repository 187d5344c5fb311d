import { connect, createServer } from 'node:net'
import type { AddressInfo, Socket } from 'node:net'
import { once } from 'node:events'
import { openRedisOnlineStore } from '../../topology/adapters/online-store/redis/store.ts'
import type { RedisConnectionOptions } from '../../topology/adapters/online-store/redis/connection.ts'
import type { Clock } from '../../topology/ports/clock.ts'
import type { OnlineStore } from '../../topology/ports/online-store.ts'
import type { Telemetry } from '../../topology/ports/telemetry.ts'
import type { RedisServer } from '../../topology/stack/redis.ts'
import { fresh } from './online-store-harness.ts'
import type { OnlineStoreSubject } from './online-store-harness.ts'

/** Counters by name and, where there is one, the label `why`. */
export interface Counted extends Telemetry {
  readonly counts: Map<string, number>
}

export function counting(): Counted {
  const counts = new Map<string, number>()
  return {
    counts,
    count: (name, by, labels) => {
      const series = labels?.['why'] === undefined ? name : `${name} ${labels['why']}`
      counts.set(series, (counts.get(series) ?? 0) + by)
    },
    gauge: () => undefined,
    observeMs: () => undefined,
    log: () => undefined,
  }
}

/** A server without user, password and TLS, or what `over` says. */
export function connectionTo(
  addresses: readonly string[],
  over: Partial<RedisConnectionOptions> = {},
): RedisConnectionOptions {
  return {
    mode: 'single',
    addresses,
    sentinelName: 'headwater',
    username: '',
    password: '',
    sentinelPassword: '',
    commandTimeoutMs: 5_000,
    tls: false,
    tlsCa: '',
    tlsCert: '',
    tlsKey: '',
    ...over,
  }
}

export const stillClock: Clock = { nowMs: () => 1_700_000_000_000, monotonicMs: () => 0 }

/** A store in a namespace that nothing else uses. */
export async function openStore(
  connection: RedisConnectionOptions,
  namespace = fresh('store'),
  telemetry: Telemetry = counting(),
  clock: Clock = stillClock,
): Promise<OnlineStore> {
  return await openRedisOnlineStore({ connection, namespace, clock, telemetry })
}

/** The subject of the conformance suite; its clock is moved by hand. */
export async function redisSubject(connection: RedisConnectionOptions): Promise<OnlineStoreSubject> {
  const namespace = fresh('store')
  let nowMs = 1_700_000_000_000
  const clock = { nowMs: () => nowMs, monotonicMs: () => 0 }
  const handles: OnlineStore[] = []
  const open = async (): Promise<OnlineStore> => {
    const opened = await openStore(connection, namespace, counting(), clock)
    handles.push(opened)
    return opened
  }
  const store = await open()
  return {
    store,
    handMovedClock: true,
    advanceMs: async ms => {
      nowMs += ms
    },
    second: open,
    reopen: async () => {
      await store.close()
      return await open()
    },
    cleanup: async () => {
      for (const handle of handles) await handle.close()
    },
  }
}

/** What becomes of bytes on their way through a proxy. */
export type ProxyMode = 'pass' | 'swallow requests' | 'swallow replies'

/** A TCP proxy on loopback whose connections can be cut or made to lose one direction. */
export interface Proxy {
  readonly address: string
  mode: ProxyMode
  /** Where new connections lead. */
  target: { readonly host: string; readonly port: number }
  /** Text in what a client sends at which to wait: what comes before it is passed on, the rest by `release`. */
  holdAt: string | null
  /** Resolves when something is held. */
  readonly held: () => Promise<void>
  release(): void
  /** Bytes that came from the client since the last look. */
  takeRequests(): string
  /** Ends every connection. */
  cut(): void
  close(): Promise<void>
}

export async function startProxy(target: { readonly host: string; readonly port: number }): Promise<Proxy> {
  const sockets = new Set<Socket>()
  let requests = ''
  let holding = Promise.withResolvers<void>()
  let rest = (): void => undefined
  const server = createServer(client => {
    const upstream = connect(proxy.target.port, proxy.target.host)
    for (const socket of [client, upstream]) {
      sockets.add(socket)
      socket.on('error', () => undefined)
      socket.on('close', () => {
        sockets.delete(socket)
        client.destroy()
        upstream.destroy()
      })
    }
    client.on('data', bytes => {
      const text = bytes.toString('latin1')
      requests += text
      if (proxy.mode === 'swallow requests') return
      const at = proxy.holdAt === null ? -1 : text.indexOf(proxy.holdAt)
      if (at < 0) {
        upstream.write(bytes)
        return
      }
      proxy.holdAt = null
      upstream.write(bytes.subarray(0, at))
      rest = () => void upstream.write(bytes.subarray(at))
      holding.resolve()
    })
    upstream.on('data', bytes => {
      if (proxy.mode !== 'swallow replies') client.write(bytes)
    })
  })
  const proxy: Proxy = {
    address: '',
    mode: 'pass',
    target,
    holdAt: null,
    held: () => holding.promise,
    release: () => {
      rest()
      holding = Promise.withResolvers<void>()
    },
    takeRequests: () => {
      const taken = requests
      requests = ''
      return taken
    },
    cut: () => {
      for (const socket of sockets) socket.destroy()
    },
    close: async () => {
      server.close()
      proxy.cut()
      if (server.listening) await once(server, 'close')
    },
  }
  server.listen(0, '127.0.0.1')
  await once(server, 'listening')
  return Object.assign(proxy, { address: `127.0.0.1:${(server.address() as AddressInfo).port}` })
}

/** Resolves once the check no longer throws, looking every few milliseconds; fails with its last error. */
export async function eventually<T>(check: () => Promise<T>, tries = 400): Promise<T> {
  for (let left = tries; ; left--) {
    try {
      return await check()
    } catch (error) {
      if (left === 0) throw error
      await new Promise(resolve => setTimeout(resolve, 25))
    }
  }
}

/** Resolves when the replica has as many keys as its primary. */
export async function inStep(primary: RedisServer, replica: RedisServer): Promise<void> {
  const keys = await primary.command('DBSIZE')
  await eventually(async () => {
    const copied = await replica.command('DBSIZE')
    if (copied !== keys) throw new Error(`the replica has ${String(copied)} of ${String(keys)} keys`)
  })
}
