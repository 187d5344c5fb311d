import { createServer } from 'node:net'
import type { Server } from 'node:net'
import { PortError } from '../ports/errors.ts'

/**
 * Below the range that systems hand out to outgoing connections, so that a server which is down for a while finds its
 * port free when it comes back.
 */
const FIRST_PORT = 21_000
const PORTS = 11_000
const MAX_PROBES = 2_000

let cursor = (process.pid * 61) % PORTS

function listen(port: number): Promise<Server | null> {
  const server = createServer()
  return new Promise(done => {
    server.once('error', () => done(null))
    server.listen({ host: '127.0.0.1', port, exclusive: true }, () => done(server))
  })
}

/**
 * Loopback ports that nothing listens on. All are held until the last is found; another process may still take one
 * before it is used, so whoever starts a server on it tries again with others when the port turns out to be taken.
 * @param count how many
 */
export async function freePorts(count: number): Promise<readonly number[]> {
  const held: { readonly port: number; readonly server: Server }[] = []
  try {
    for (let probes = 0; held.length < count; probes++) {
      if (probes > MAX_PROBES) throw new PortError('SERVER_FAILED', `no ${count} free ports on 127.0.0.1 were found`)
      cursor = (cursor + 1) % PORTS
      const server = await listen(FIRST_PORT + cursor)
      if (server !== null) held.push({ port: FIRST_PORT + cursor, server })
    }
    return held.map(each => each.port)
  } finally {
    await Promise.all(held.map(({ server }) => new Promise(done => server.close(done))))
  }
}
