import { createServer, connect } from 'node:net'
import type { Socket } from 'node:net'

/** A door on loopback that leads to one port, to another, or nowhere. */
export interface Proxy {
  readonly port: number
  /** Where connections lead from now on; those that are open are cut. Null: they are refused. */
  lead(port: number | null): void
  close(): Promise<void>
}

/** Opens a door to `target`. */
export async function startProxy(target: number): Promise<Proxy> {
  let leadsTo: number | null = target
  const open = new Set<Socket>()
  const server = createServer(client => {
    if (leadsTo === null) {
      client.destroy()
      return
    }
    const upstream = connect({ port: leadsTo, host: '127.0.0.1', noDelay: true })
    client.setNoDelay(true)
    for (const [from, to] of [
      [client, upstream],
      [upstream, client],
    ] as const) {
      open.add(from)
      from.pipe(to)
      from.on('error', () => to.destroy())
      from.on('close', () => {
        open.delete(from)
        to.destroy()
      })
    }
  })
  await new Promise<void>((resolve, reject) => {
    server.once('error', reject)
    server.listen(0, '127.0.0.1', resolve)
  })
  const address = server.address()
  const cut = (): void => {
    for (const socket of open) socket.destroy()
  }
  return {
    port: typeof address === 'object' && address !== null ? address.port : 0,
    lead: port => {
      leadsTo = port
      cut()
    },
    close: async () => {
      cut()
      await new Promise<void>(resolve => server.close(() => resolve()))
    },
  }
}
