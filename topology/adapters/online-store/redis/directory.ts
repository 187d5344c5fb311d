import type { Node } from './connection.ts'

/** How a router finds and replaces its servers. */
export interface Directory {
  readonly clustered: boolean
  /** The server of a slot; a promise where one has to be found first. */
  nodeOf(slot: number): Node | Promise<Node>
  moved(slot: number, address: string, from: Node): Promise<Node>
  ask(address: string, from: Node): Promise<Node>
  /** The server did not answer, or said that the cluster is not well. */
  suspect(node: Node): void
  nodes(): readonly Node[]
  /** No server is looked for any more. */
  stop(): void
}
