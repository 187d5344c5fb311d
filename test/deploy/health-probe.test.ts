import { spawn } from 'node:child_process'
import { once } from 'node:events'
import { createServer } from 'node:http2'
import type { AddressInfo } from 'node:net'
import { join } from 'node:path'
import { describe, expect, it } from 'vitest'
import { createGrpcClient } from '../../topology/adapters/server/grpc/client.ts'
import { startGrpcServer } from '../../topology/adapters/server/grpc/server.ts'
import { ServerError } from '../../topology/ports/server.ts'
import { systemClock } from '../../services/clock.ts'
import { createTelemetry } from '../../services/telemetry.ts'
import { ROOT } from './files.ts'

async function probe(...args: readonly string[]): Promise<{ readonly code: number | null; readonly said: string }> {
  const child = spawn(
    process.execPath,
    ['--disable-warning=ExperimentalWarning', join(ROOT, 'services', 'health-probe.ts'), ...args],
    {
      stdio: ['ignore', 'ignore', 'pipe'],
    },
  )
  const chunks: Buffer[] = []
  child.stderr.on('data', (chunk: Buffer) => chunks.push(chunk))
  const [code] = (await once(child, 'close')) as [number | null]
  return { code, said: Buffer.concat(chunks).toString() }
}

/** A server whose GetFeatures answers when it is told to. */
async function startServer() {
  const asked = Promise.withResolvers<void>()
  const answer = Promise.withResolvers<void>()
  const refuse = () => Promise.reject(new ServerError('INVALID_REQUEST', 'not part of this test'))
  const server = await startGrpcServer({
    handlers: {
      score: refuse,
      scoreBatch: () => Promise.resolve([]),
      publishEvents: refuse,
      getFeatures: async () => {
        asked.resolve()
        await answer.promise
        return await refuse()
      },
    },
    port: 0,
    clock: systemClock,
    telemetry: createTelemetry('error'),
  })
  return { server, asked: asked.promise, answer: answer.resolve }
}

describe('the health probe', () => {
  it('follows a server from serving to gone', async () => {
    const { server } = await startServer()
    expect(await probe(server.address)).toEqual({ code: 0, said: '' })
    await server.close(1_000)
    const gone = await probe(server.address)
    expect(gone.code).toBe(1)
    expect(gone.said).toContain(`not healthy: ${server.address}`)
  })

  it('fails at once when a server ends, while calls in progress finish', async () => {
    const { server, asked, answer } = await startServer()
    const client = createGrpcClient({ address: server.address })
    try {
      expect(await client.health('')).toBe('SERVING')
      const pending = client
        .getFeatures({ of: { kind: 'groups', groups: ['card_activity'], entities: {} } })
        .catch((error: unknown) => error)
      await asked
      const closed = server.close(60_000)
      expect((await probe(server.address)).code).toBe(1)
      answer()
      expect(await pending).toMatchObject({ code: 'INVALID_REQUEST' })
      await closed
    } finally {
      answer()
      client.close()
    }
  })

  it.each([
    ['another status', Buffer.from([0, 0, 0, 0, 2, 8, 2])],
    ['something else', Buffer.from('<html>')],
    ['too much', Buffer.alloc(2_000)],
    ['nothing', Buffer.alloc(0)],
  ])('fails on %s', async (_, body) => {
    const server = createServer((_request, response) => response.end(body)).listen(0, '127.0.0.1')
    await once(server, 'listening')
    const { code, said } = await probe(`127.0.0.1:${(server.address() as AddressInfo).port}`)
    expect(code).toBe(1)
    expect(said).toContain('not healthy')
    server.close()
  })

  it('fails without an address, and where nobody listens', async () => {
    expect(await probe()).toMatchObject({ code: 1 })
    const server = createServer().listen(0, '127.0.0.1')
    await once(server, 'listening')
    const { port } = server.address() as AddressInfo
    server.close()
    await once(server, 'close')
    expect((await probe(`127.0.0.1:${port}`)).said).toMatch(/not healthy: .*ECONNREFUSED/)
  })
})
