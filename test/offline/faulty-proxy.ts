import { once } from 'node:events'
import { createServer, request as sendRequest } from 'node:http'
import type { IncomingMessage, ServerResponse } from 'node:http'
import type { AddressInfo } from 'node:net'

/**
 * What happens to a request. `reset`: the connection breaks before anything is forwarded. `cut`: half of the body is
 * forwarded, then it breaks. `lost`: it is done, and the connection breaks before the answer. `hang`: it is done, and
 * no answer comes. `gateway`: 502 with a page of HTML. `parts`, `memory`: ClickHouse's own words for "not now".
 */
export type Fate = 'pass' | 'reset' | 'cut' | 'lost' | 'hang' | 'gateway' | 'parts' | 'memory'

/** An HTTP proxy that does harm. */
export interface FaultyProxy {
  readonly url: string
  /** Requests by what became of them. */
  readonly fates: ReadonlyMap<Fate, number>
  /** Stops listening and breaks every connection. */
  down(): Promise<void>
  /** Listens again at the same address. */
  up(): Promise<void>
}

const BUSY = {
  parts:
    'Code: 252. DB::Exception: Too many parts (300). Merges are processing significantly slower than inserts. (TOO_MANY_PARTS)',
  memory: 'Code: 241. DB::Exception: Memory limit (total) exceeded. (MEMORY_LIMIT_EXCEEDED)',
}

async function bodyOf(request: IncomingMessage): Promise<Buffer> {
  const chunks: Buffer[] = []
  for await (const chunk of request) chunks.push(chunk as Buffer)
  return Buffer.concat(chunks)
}

function forward(target: URL, request: IncomingMessage, body: Buffer, share: number) {
  const headers = { ...request.headers, host: target.host, 'content-length': String(body.length) }
  delete headers['transfer-encoding']
  const onward = sendRequest(new URL(request.url ?? '/', target), { method: request.method ?? 'POST', headers })
  if (share < 1) {
    onward.on('error', () => undefined)
    onward.write(body.subarray(0, Math.floor(body.length * share)), () => onward.destroy())
  } else onward.end(body)
  return onward
}

async function handle(target: URL, fate: Fate, request: IncomingMessage, response: ServerResponse): Promise<void> {
  if (fate === 'reset') return void request.socket.destroy()
  const body = await bodyOf(request)
  switch (fate) {
    case 'gateway':
      response.writeHead(502, { 'Content-Type': 'text/html' }).end('<html><body>502 Bad Gateway</body></html>')
      return
    case 'parts':
    case 'memory':
      response.writeHead(500, { 'Content-Type': 'text/plain' }).end(BUSY[fate])
      return
    case 'cut':
      forward(target, request, body, 0.5)
      request.socket.destroy()
      return
    case 'pass':
    case 'lost':
    case 'hang': {
      const [answer] = (await once(forward(target, request, body, 1), 'response')) as [IncomingMessage]
      const content = await bodyOf(answer)
      if (fate === 'lost') request.socket.destroy()
      if (fate === 'pass') response.writeHead(answer.statusCode ?? 200, answer.headers).end(content)
    }
  }
}

/** Starts a proxy in front of `url`; `fateOf` is asked once a request. */
export async function startFaultyProxy(url: string, fateOf: () => Fate): Promise<FaultyProxy> {
  const target = new URL(url)
  const fates = new Map<Fate, number>()
  const server = createServer((request, response) => {
    const fate = fateOf()
    fates.set(fate, (fates.get(fate) ?? 0) + 1)
    handle(target, fate, request, response).catch(() => request.socket.destroy())
  })
  const listen = async (port: number): Promise<void> => {
    server.listen(port, '127.0.0.1')
    await once(server, 'listening')
  }
  await listen(0)
  const { port } = server.address() as AddressInfo
  return {
    url: `http://127.0.0.1:${port}`,
    fates,
    down: async () => {
      server.closeAllConnections()
      await new Promise(resolve => server.close(resolve))
    },
    up: () => listen(port),
  }
}
