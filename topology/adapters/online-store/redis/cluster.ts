import { PortError } from '../../../ports/errors.ts'
import type { Telemetry } from '../../../ports/telemetry.ts'
import { addressText, awaitOpened, connectNode, parseAddress, unavailable } from './connection.ts'
import type { Address, Node, RedisConnectionOptions } from './connection.ts'
import type { Directory } from './directory.ts'
import { SLOT_COUNT } from './layout.ts'

/** A range of `CLUSTER SLOTS`, and where its primary is. */
interface SlotRange {
  readonly first: number
  readonly last: number
  readonly address: Address
}

function parseSlots(reply: unknown, asked: Address): SlotRange[] {
  if (!Array.isArray(reply)) throw new Error('CLUSTER SLOTS was not answered with a list')
  return reply.map((entry: unknown): SlotRange => {
    const [first, last, primary] = entry as [number, number, [string | null, number]]
    const [host, port] = primary
    // A node that does not know how it is called from here leaves that out.
    return { first, last, address: { host: host === null || host === '' || host === '?' ? asked.host : host, port } }
  })
}

/** The primaries of a cluster and the slots that they serve, as far as this process knows. */
interface SlotTable {
  readonly options: RedisConnectionOptions
  readonly telemetry: Telemetry
  readonly seeds: readonly Address[]
  /** By address. */
  readonly known: Map<string, Node>
  /** By slot. */
  readonly owners: (Node | undefined)[]
  refreshing: Promise<void> | null
  closed: boolean
}

/**
 * The directory of a cluster. Which node serves which slot is asked at the start, and again in the background whenever a
 * node says otherwise or does not answer. Errors: none of the addresses belongs to a cluster that can be used.
 */
export async function openCluster(options: RedisConnectionOptions, telemetry: Telemetry): Promise<Directory> {
  const table: SlotTable = {
    options,
    telemetry,
    seeds: options.addresses.map(address => parseAddress(address)),
    known: new Map(),
    owners: new Array<Node | undefined>(SLOT_COUNT).fill(undefined),
    refreshing: null,
    closed: false,
  }
  const nodes = (): readonly Node[] => [...table.known.values()]
  try {
    await refresh(table)
    await Promise.all(nodes().map(node => awaitOpened(node, options.commandTimeoutMs)))
  } catch (error) {
    table.closed = true
    for (const { client } of nodes()) client.disconnect()
    throw error
  }
  const look = (): void => void refresh(table).catch(() => undefined)
  return {
    clustered: true,
    nodeOf: slot => {
      const node = table.owners[slot]
      return node?.client.status === 'ready' ? node : findOwner(table, slot)
    },
    moved: async (slot, address, from) => {
      const node = await usable(table, redirected(address, from))
      table.owners[slot] = node
      look()
      return node
    },
    ask: (address, from) => usable(table, redirected(address, from)),
    suspect: look,
    nodes,
    stop: () => {
      table.closed = true
    },
  }
}

/** The address in a redirection; one without a host is that of the server which sent it. */
function redirected(text: string, from: Node): Address {
  if (!text.startsWith(':')) return parseAddress(text)
  return { host: parseAddress(from.address).host, port: Number(text.slice(1)) }
}

async function findOwner(table: SlotTable, slot: number): Promise<Node> {
  if (table.owners[slot] === undefined) await refresh(table)
  const node = table.owners[slot]
  if (node === undefined) throw unavailable(null, new Error(`CLUSTERDOWN slot ${slot} is not served`))
  if (node.client.status !== 'ready') {
    if (node.trouble !== '') refresh(table).catch(() => undefined)
    await awaitOpened(node, table.options.commandTimeoutMs)
  }
  return node
}

function nodeAt(table: SlotTable, address: Address): Node {
  if (table.closed) throw new PortError('CLOSED', 'the online store is closed')
  const key = addressText(address)
  let node = table.known.get(key)
  if (node === undefined) table.known.set(key, (node = connectNode(table.options, address, table.telemetry)))
  return node
}

async function usable(table: SlotTable, address: Address): Promise<Node> {
  const node = nodeAt(table, address)
  if (node.client.status !== 'ready') await awaitOpened(node, table.options.commandTimeoutMs)
  return node
}

/** Asks the nodes in turn which of them serves what; once at a time. */
async function refresh(table: SlotTable): Promise<void> {
  table.refreshing ??= refreshOnce(table).finally(() => (table.refreshing = null))
  await table.refreshing
}

async function refreshOnce(table: SlotTable): Promise<void> {
  const ready = [...table.known.values()].filter(node => node.client.status === 'ready')
  let last: unknown = new Error('no node of the cluster is known')
  for (const address of [...ready.map(node => parseAddress(node.address)), ...table.seeds]) {
    try {
      const node = await usable(table, address)
      const ranges = parseSlots(await node.client.call('CLUSTER', 'SLOTS'), address)
      if (ranges.length === 0) throw new Error('CLUSTERDOWN no slots are assigned')
      take(table, ranges)
      table.telemetry.count('online_store_topology_reads', 1)
      return
    } catch (error) {
      const node = table.known.get(addressText(address)) ?? null
      last = unavailable(node, error)
      if (node !== null && node.client.status !== 'ready' && !table.owners.includes(node)) forget(table, node)
    }
  }
  throw last
}

function take(table: SlotTable, ranges: readonly SlotRange[]): void {
  const owners = new Array<Node | undefined>(SLOT_COUNT).fill(undefined)
  for (const { first, last, address } of ranges) owners.fill(nodeAt(table, address), first, last + 1)
  for (const [slot, node] of owners.entries()) table.owners[slot] = node
  const serving = new Set(owners)
  for (const node of table.known.values()) if (!serving.has(node)) forget(table, node)
}

function forget(table: SlotTable, node: Node): void {
  table.known.delete(node.address)
  node.client.disconnect()
}
