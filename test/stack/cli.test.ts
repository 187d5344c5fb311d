import { existsSync, readFileSync, writeFileSync } from 'node:fs'
import { createServer } from 'node:net'
import { join } from 'node:path'
import { parseEnv } from 'node:util'
import { afterEach, beforeEach, expect, it } from 'vitest'
import { parseConfig } from '../../topology/runtime/config.ts'
import { identityOf } from '../../topology/stack/identity.ts'
import { askRedis } from '../../topology/stack/redis-client.ts'
import { recordedServers, until } from '../../topology/stack/server-process.ts'
import { stopStack } from '../../topology/stack/stack.ts'
import { describeWithKafka, describeWithRedis } from '../servers.ts'
import { headwater, temporaryFolder } from '../system/headwater.ts'

describeWithRedis('headwater stack', () => {
  describeWithKafka('as a user runs it', () => {
    let folder: ReturnType<typeof temporaryFolder>
    let place = ''
    const stack = (...args: readonly string[]) => headwater(['stack', ...args, '--folder', place])

    beforeEach(() => {
      folder = temporaryFolder()
      place = join(folder.path, 'stack')
    })
    afterEach(async () => {
      await stopStack(place, true)
      folder.remove()
    })

    it('up prints settings that are valid; status sees a server killed, and one frozen; up starts it again', async () => {
      const up = await stack('up')
      expect(up.stderr).toContain(`starting Kafka and Redis in ${place}`)
      expect(up.stdout).toMatch(/^The stack is up:\n\n {2}kafka-1 {2}127\.0\.0\.1:\d+ {2}process \d+ {2}answers\n/)
      expect(up.code).toBe(0)
      const environment = parseEnv(readFileSync(join(place, 'stack.env'), 'utf8'))
      const parsed = parseConfig({ file: null, environment, flags: {} })
      const config = parsed.ok ? parsed.config : null
      const [kafka, redis] = recordedServers(place)
      expect(config?.eventLog).toMatchObject({ kind: 'kafka', brokers: [`127.0.0.1:${kafka!.port}`] })
      const addresses = [`127.0.0.1:${redis!.port}`]
      expect(config?.onlineStore).toMatchObject({ kind: 'redis', mode: 'single', addresses })
      expect(up.stdout).toContain(`  onlineStore: { kind: 'redis', mode: 'single', addresses: ['${addresses[0]}'] },`)
      expect((await stack('status')).code).toBe(0)

      await askRedis({ host: '127.0.0.1', port: redis!.port }, 'SET', 'k', 'v')
      process.kill(redis!.pid, 'SIGKILL')
      process.kill(kafka!.pid, 'SIGSTOP')
      const down = await stack('status')
      expect(down.stdout).toMatch(/kafka-1 .* runs, but does not answer\n/)
      expect(down.stdout).toMatch(/redis .* has ended\n/)
      expect(down.code).toBe(1)
      process.kill(kafka!.pid, 'SIGCONT')

      const again = await stack('up')
      expect(again.stdout).toMatch(/^The stack is up; started again: redis\n/)
      expect(await askRedis({ host: '127.0.0.1', port: redis!.port }, 'GET', 'k')).toBe('v')
      const refused = await stack('up', '--redis', 'cluster')
      expect(refused.stderr).toContain('has redis single, not cluster; remove it with "stack down --purge" first')
      expect(refused.code).toBe(1)
      expect((await stack('up')).stdout).toMatch(/^The stack was up already:\n/)

      const ended = await stack('down', '--purge')
      expect(ended.stdout).toMatch(/ {2}kafka-1 has ended\n {2}redis has ended\n/)
      expect([kafka, redis].map(record => identityOf(record!.pid) === record!.identity)).toEqual([false, false])
      expect(existsSync(place)).toBe(false)
    })

    it('down never signals a stranger that has the number of a server, and up never takes a stranger for one', async () => {
      await stack('up')
      const [kafka, redis] = recordedServers(place)
      process.kill(redis!.pid, 'SIGKILL')
      await until(5_000, () => identityOf(redis!.pid) === null)
      const file = join(redis!.folder, 'server.json')
      writeFileSync(file, JSON.stringify({ ...redis, pid: process.pid, identity: 'another' }))
      expect((await stack('status')).stdout).toContain(`process ${process.pid}  has ended`)
      const stranger = createServer(socket => socket.end('+PONG\r\n'))
      await new Promise<void>(done => stranger.listen(redis!.port, '127.0.0.1', done))
      const up = await stack('up')
      expect(up.stderr).toMatch(/redis ended before it was ready[^]*Address already in use/)
      expect(up.code).toBe(1)
      await new Promise(done => stranger.close(done))
      writeFileSync(file, JSON.stringify({ ...redis, pid: process.pid, identity: 'another' }))
      const down = await stack('down')
      expect(down.stdout).toContain('  kafka-1 has ended\n  redis had ended before\n')
      expect(identityOf(kafka!.pid)).not.toBe(kafka!.identity)
      expect((await stack('status')).code).toBe(1)
    })
  })
})
