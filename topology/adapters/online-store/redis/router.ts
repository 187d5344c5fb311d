import type { Telemetry } from '../../../ports/telemetry.ts'
import { openCluster } from './cluster.ts'
import { awaitOpened, connectNode, connectSentinel, cork, parseAddress, unavailable } from './connection.ts'
import type { Node, RedisConnectionOptions } from './connection.ts'
import type { Directory } from './directory.ts'
import type { Script } from './scripts.ts'

/** One command, or one run of a script: `args` then begin with the keys, of which there are `keys`. */
export interface Call {
  /** Where it belongs in a cluster; whatever elsewhere. */
  readonly slot: number
  readonly command: string | Script
  readonly keys: number
  readonly args: readonly (string | Buffer | number)[]
  /** The caller has another way when only a part of the keys has moved: `TRYAGAIN` is thrown as it came. */
  readonly splits?: boolean
}

/**
 * Sends each call to the server that it belongs to, and again where a server said that it did not execute it: bounded,
 * counted in `online_store_retries`. Whatever may have been executed is never sent again.
 */
export interface Router {
  readonly clustered: boolean
  /** Errors: `STORE_UNAVAILABLE`; the call may have been executed. */
  send(call: Call): Promise<unknown>
  /** Servers known now; of a cluster the primaries. */
  nodes(): readonly Node[]
  close(): Promise<void>
}

const MAX_REDIRECTIONS = 16
const FIRST_DELAY_MS = 2
const MAX_DELAY_MS = 100

/** What a refusal to execute asks for. Nothing was done: to send it again is safe for writes, too. */
type Refusal =
  | { readonly why: 'moved' | 'ask'; readonly slot: number; readonly address: string }
  | { readonly why: 'tryagain' | 'clusterdown' | 'loading' | 'noscript' }

function refusalOf(error: unknown): Refusal | null {
  if (!(error instanceof Error)) return null
  const [code = '', slot = '', address = ''] = error.message.split(' ', 3)
  switch (code) {
    case 'MOVED':
      return { why: 'moved', slot: Number(slot), address }
    case 'ASK':
      return { why: 'ask', slot: Number(slot), address }
    case 'TRYAGAIN':
      return { why: 'tryagain' }
    case 'CLUSTERDOWN':
      return { why: 'clusterdown' }
    case 'LOADING':
      return { why: 'loading' }
    case 'NOSCRIPT':
      return { why: 'noscript' }
    default:
      return null
  }
}

/** Whether a cluster refused a call because only a part of its keys has moved. */
export function isTryAgain(error: unknown): boolean {
  return refusalOf(error)?.why === 'tryagain'
}

/** Writes the call to the connection before it returns. */
function dispatch(node: Node, { command, keys, args }: Call, asking: boolean): Promise<unknown> {
  cork(node)
  if (asking) node.client.asking().catch(() => undefined)
  if (typeof command === 'string') return node.client.callBuffer(command, args as (string | Buffer | number)[])
  return node.client.callBuffer('evalsha', [command.sha, keys, ...args])
}

async function loadScript(node: Node, script: Script): Promise<void> {
  const before = node.loading.get(script.sha)
  if (before !== undefined) return await before
  const loading = node.client.script('LOAD', script.text).then(() => undefined)
  node.loading.set(script.sha, loading)
  try {
    await loading
  } finally {
    node.loading.delete(script.sha)
  }
}

function routerOf(directory: Directory, options: RedisConnectionOptions, telemetry: Telemetry): Router {
  const retried = (why: string): void => telemetry.count('online_store_retries', 1, { why })

  async function send(call: Call): Promise<unknown> {
    const found = directory.nodeOf(call.slot)
    let node = found instanceof Promise ? await found : found
    let asking = false
    let redirections = 0
    let delayMs = FIRST_DELAY_MS
    let waitedMs = 0
    for (;;) {
      try {
        return await dispatch(node, call, asking)
      } catch (error) {
        const refusal = refusalOf(error)
        if (refusal === null || (refusal.why === 'tryagain' && call.splits === true)) {
          if (refusal !== null) throw error
          if (node.client.status !== 'ready') directory.suspect(node)
          throw unavailable(node, error)
        }
        redirections += 1
        if (redirections > MAX_REDIRECTIONS && waitedMs >= options.commandTimeoutMs) throw unavailable(node, error)
        if (!directory.clustered && (refusal.why === 'moved' || refusal.why === 'ask')) throw unavailable(node, error)
        retried(refusal.why)
        if (redirections > 1) {
          await new Promise(resolve => setTimeout(resolve, delayMs))
          waitedMs += delayMs
          delayMs = Math.min(MAX_DELAY_MS, 2 * delayMs)
        }
        try {
          ;({ node, asking } = await redirect(call, node, refusal))
        } catch (failure) {
          throw unavailable(node, failure)
        }
      }
    }
  }

  async function redirect(call: Call, node: Node, refusal: Refusal): Promise<{ node: Node; asking: boolean }> {
    switch (refusal.why) {
      case 'moved':
        return { node: await directory.moved(refusal.slot, refusal.address, node), asking: false }
      case 'ask':
        return { node: await directory.ask(refusal.address, node), asking: true }
      case 'noscript':
        if (typeof call.command !== 'string') await loadScript(node, call.command)
        // Where it was asked of a server that is taking over the slot, the owner sends it there again.
        return { node: await directory.nodeOf(call.slot), asking: false }
      case 'clusterdown':
        directory.suspect(node)
        return { node: await directory.nodeOf(call.slot), asking: false }
      case 'tryagain':
      case 'loading':
        return { node: await directory.nodeOf(call.slot), asking: false }
    }
  }

  return {
    clustered: directory.clustered,
    send,
    nodes: () => directory.nodes(),
    close: async () => {
      directory.stop()
      await Promise.all(directory.nodes().map(node => quit(node, options.commandTimeoutMs)))
    },
  }
}

/** Lets what is on its way be answered, then ends the connection. */
async function quit({ client }: Node, maxWaitMs: number): Promise<void> {
  let timer: NodeJS.Timeout | undefined
  if (client.status === 'ready') {
    const late = new Promise<void>(resolve => (timer = setTimeout(resolve, maxWaitMs)))
    const ended = client.quit().then(
      () => undefined,
      () => undefined,
    )
    await Promise.race([ended, late])
    clearTimeout(timer)
  }
  client.disconnect()
}

/** Opens a router. Errors: no server, sentinel or node of the cluster can be reached and used. */
export async function openRouter(options: RedisConnectionOptions, telemetry: Telemetry): Promise<Router> {
  const directory =
    options.mode === 'cluster' ? await openCluster(options, telemetry) : await openSingle(options, telemetry)
  return routerOf(directory, options, telemetry)
}

async function openSingle(options: RedisConnectionOptions, telemetry: Telemetry): Promise<Directory> {
  const [first = ''] = options.addresses
  const node =
    options.mode === 'sentinel'
      ? connectSentinel(options, telemetry)
      : connectNode(options, parseAddress(first), telemetry)
  try {
    await awaitOpened(node, options.commandTimeoutMs)
  } catch (error) {
    node.client.disconnect()
    throw error
  }
  return {
    clustered: false,
    nodeOf: () => node,
    moved: async () => node,
    ask: async () => node,
    suspect: () => undefined,
    nodes: () => [node],
    stop: () => undefined,
  }
}
