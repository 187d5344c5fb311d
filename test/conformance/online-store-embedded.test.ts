import { mkdtemp, rm, writeFile } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { spawn } from 'node:child_process'
import { once } from 'node:events'
import { DatabaseSync } from 'node:sqlite'
import { Worker } from 'node:worker_threads'
import { afterAll, beforeAll, describe, expect, it } from 'vitest'
import { openEmbeddedOnlineStore } from '../../topology/adapters/online-store/embedded.ts'
import type { OnlineStore } from '../../topology/ports/online-store.ts'
import { onlineStoreConformance } from './online-store.ts'

const adapter = new URL('../../topology/adapters/online-store/embedded.ts', import.meta.url).href

onlineStoreConformance('embedded', async () => {
  const folder = await mkdtemp(join(tmpdir(), 'headwater-store-'))
  let nowMs = 1_700_000_000_000
  const clock = { nowMs: () => nowMs, monotonicMs: () => 0 }
  const handles: OnlineStore[] = []
  const open = async (): Promise<OnlineStore> => {
    const opened = await openEmbeddedOnlineStore({ path: join(folder, 'store.sqlite'), clock })
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
      return open()
    },
    cleanup: async () => {
      for (const handle of handles) await handle.close()
      await rm(folder, { recursive: true })
    },
  }
})

describe('embedded online store', () => {
  let folder: string
  let nowMs = 1_700_000_000_000
  const clock = { nowMs: () => nowMs, monotonicMs: () => 0 }
  const lane = { unit: 1, incarnation: 'life', partition: 0 }
  const canary = (offset: number): { offset: number; arrivalMs: number } => ({ offset, arrivalMs: 0 })
  beforeAll(async () => {
    folder = await mkdtemp(join(tmpdir(), 'headwater-store-'))
  })
  afterAll(async () => {
    await rm(folder, { recursive: true })
  })

  it('deletes expired rows by a bounded sweep as flushes go by', async () => {
    const path = join(folder, 'sweep.sqlite')
    const store = await openEmbeddedOnlineStore({ path, clock })
    await store.initialiseCanaries(lane, 1, canary(-1))
    const flush = async (count: number, offset: number, ttlMs: number, prefix: string): Promise<void> => {
      const writes = Array.from({ length: count }, (_, i) => ({
        key: `${prefix}${i}`,
        position: offset,
        bytes: new Uint8Array(10),
        ttlMs,
      }))
      await store.flush(lane, [{ shard: 0, expected: canary(-1), next: canary(offset), writes }])
    }
    await flush(1000, 0, 500, 'short')
    await flush(100, 1, 0, 'long')
    nowMs += 1000
    const rows = (): number => {
      const db = new DatabaseSync(path)
      const [count] = Object.values(db.prepare('SELECT count(*) FROM sections').get() ?? {})
      db.close()
      return Number(count)
    }
    expect(rows()).toBe(1100)
    await flush(1, 2, 0, 'long')
    expect(rows()).toBeGreaterThan(900)
    for (let offset = 3; offset < 30; offset += 1) await flush(1, offset, 0, 'long')
    expect(rows()).toBe(100)
    await store.close()
  })

  it('refuses a file that is not an online store, naming it', async () => {
    const path = join(folder, 'text.sqlite')
    await writeFile(path, 'these are not the bytes of a database, however long one looks at them'.repeat(20))
    await expect(openEmbeddedOnlineStore({ path, clock })).rejects.toMatchObject({
      name: 'PortError',
      code: 'STORE_UNAVAILABLE',
      message: expect.stringContaining(path),
    })
  })

  it('answers STORE_UNAVAILABLE with the file and the remedy when another writer never lets go, then recovers', async () => {
    const path = join(folder, 'locked.sqlite')
    const store = await openEmbeddedOnlineStore({ path, clock, busyTimeoutMs: 20 })
    const other = new DatabaseSync(path)
    other.exec('BEGIN IMMEDIATE')
    await expect(store.writeDocument('d', null, 'x')).rejects.toMatchObject({
      code: 'STORE_UNAVAILABLE',
      message: expect.stringMatching(/locked\.sqlite.*write lock/),
    })
    expect(await store.readDocument('d')).toBeNull()
    other.exec('ROLLBACK')
    other.close()
    expect(await store.writeDocument('d', null, 'x')).toBe(true)
    await store.close()
  })

  it('is written by several threads at once without loss', async () => {
    const path = join(folder, 'threads.sqlite')
    const store = await openEmbeddedOnlineStore({ path, clock })
    await store.initialiseCanaries(lane, 4, canary(-1))
    const program = `
      const { openEmbeddedOnlineStore } = await import(${JSON.stringify(adapter)})
      const { workerData } = await import('node:worker_threads')
      const store = await openEmbeddedOnlineStore({ path: ${JSON.stringify(path)}, clock: { nowMs: () => 1, monotonicMs: () => 0 } })
      const lane = ${JSON.stringify(lane)}
      for (let offset = 0; offset < 200; offset += 1) {
        const writes = [{ key: 'own' + workerData, position: offset, bytes: new Uint8Array(100).fill(offset), ttlMs: 0 }]
        const [outcome] = await store.flush(lane, [{ shard: workerData, expected: { offset: offset - 1, arrivalMs: 0 }, next: { offset, arrivalMs: 0 }, writes }])
        if (!outcome.ok || outcome.refused !== 0) throw new Error('refused at ' + offset)
      }
      await store.close()`
    await Promise.all(
      [0, 1, 2, 3].map(async workerData => {
        const worker = new Worker(new URL(`data:text/javascript,${encodeURIComponent(program)}`), { workerData })
        const [code] = await once(worker, 'exit')
        expect(code).toBe(0)
      }),
    )
    expect(await store.readCanaries(lane, 4)).toEqual([canary(199), canary(199), canary(199), canary(199)])
    const sections = await store.read(['own0', 'own1', 'own2', 'own3'])
    expect(sections.map(([section]) => [section?.position, section?.bytes[99]])).toEqual(
      [0, 1, 2, 3].map(() => [199, 199]),
    )
    await store.close()
  })

  it('never has a canary without the sections it speaks of when the writer is killed at any instant', async () => {
    const path = join(folder, 'killed.sqlite')
    const program = `
      import { openEmbeddedOnlineStore } from ${JSON.stringify(adapter)}
      const store = await openEmbeddedOnlineStore({ path: ${JSON.stringify(path)}, clock: { nowMs: () => 1, monotonicMs: () => 0 } })
      const lane = ${JSON.stringify(lane)}
      const [{ offset: begin }] = await store.initialiseCanaries(lane, 2, { offset: -1, arrivalMs: 0 })
      for (let offset = begin + 1; ; offset += 1) {
        const writes = shard => ['a', 'b', 'c'].map(name => ({ key: shard + name, position: offset, bytes: new Uint8Array(3000).fill(offset), ttlMs: 0 }))
        const expected = { offset: offset - 1, arrivalMs: 0 }
        const next = { offset, arrivalMs: 0 }
        const outcomes = await store.flush(lane, [0, 1].map(shard => ({ shard, expected, next, writes: writes(shard) })))
        if (!outcomes.every(outcome => outcome.ok)) throw new Error('fenced at ' + offset)
        process.stdout.write(offset + '\\n')
      }`
    for (let round = 0; round < 3; round += 1) {
      const child = spawn(process.execPath, ['--input-type=module', '-e', program], {
        stdio: ['ignore', 'pipe', 'inherit'],
      })
      let output = ''
      child.stdout.setEncoding('utf8')
      child.stdout.on('data', (chunk: string) => {
        output += chunk
        if (output.length > 1000 + 700 * round) child.kill('SIGKILL')
      })
      await once(child, 'close')
      const acknowledged = Number(output.slice(0, output.lastIndexOf('\n')).split('\n').at(-1))
      const store = await openEmbeddedOnlineStore({ path, clock })
      const canaries = await store.readCanaries(lane, 2)
      const sections = await store.read(['0a', '0b', '0c', '1a', '1b', '1c'])
      const stored = canaries[0]?.offset ?? NaN
      expect(stored).toBeGreaterThanOrEqual(acknowledged)
      expect(sections.map(([section]) => section?.position)).toEqual(Array(6).fill(stored))
      expect(sections.every(([section]) => section?.bytes.every(byte => byte === (stored & 0xff)) === true)).toBe(true)
      await store.close()
    }
  })
})
