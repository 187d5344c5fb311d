import { mkdtemp, rm, writeFile } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { spawn } from 'node:child_process'
import { once } from 'node:events'
import { DatabaseSync } from 'node:sqlite'
import { Worker } from 'node:worker_threads'
import { afterAll, beforeAll, describe, expect, it } from 'vitest'
import { openEmbeddedOnlineStore } from '../../topology/adapters/online-store/embedded.ts'
import type { Block, OnlineStore } from '../../topology/ports/online-store.ts'
import { reading, write } from './online-store-harness.ts'
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
      const block = (id: number): Block => ({ id, bytes: new Uint8Array(10) })
      const beside = { levels: 1, blocks: [block(16 * offset), block(16 * offset + 16)] }
      const writes = Array.from({ length: count }, (_, i) =>
        write(`${prefix}${i}`, offset, new Uint8Array(10), ttlMs, beside),
      )
      await store.flush(lane, [{ shard: 0, expected: canary(-1), next: canary(offset), writes }])
    }
    await flush(1000, 0, 500, 'short')
    await flush(100, 1, 0, 'long')
    nowMs += 1000
    const rows = (table = 'sections'): number => {
      const db = new DatabaseSync(path)
      const [count] = Object.values(db.prepare(`SELECT count(*) FROM ${table}`).get() ?? {})
      db.close()
      return Number(count)
    }
    expect(rows()).toBe(1100)
    expect(rows('blocks')).toBe(2200)
    await flush(1, 2, 0, 'long')
    expect(rows()).toBeGreaterThan(900)
    for (let offset = 3; offset < 30; offset += 1) await flush(1, offset, 0, 'long')
    expect(rows()).toBe(100)
    // The first of those that stay was written with new blocks in every flush.
    expect(rows('blocks')).toBe(200 + 28)
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

  it('refuses a file of the format before this one, naming the versions', async () => {
    const path = join(folder, 'old.sqlite')
    await (await openEmbeddedOnlineStore({ path, clock })).close()
    const db = new DatabaseSync(path)
    db.exec('PRAGMA user_version = 1')
    db.close()
    await expect(openEmbeddedOnlineStore({ path, clock })).rejects.toMatchObject({
      code: 'STORE_UNAVAILABLE',
      message: expect.stringMatching(/online store .*old\.sqlite has format version 1, this program reads version 2/),
    })
  })

  it('keeps the rows of a level in the order of their index, so that a drop is one range', async () => {
    const path = join(folder, 'plan.sqlite')
    await (await openEmbeddedOnlineStore({ path, clock })).close()
    const db = new DatabaseSync(path)
    const where = 'key = ? AND incarnation = ? AND partition = ? AND level = ? AND "index" < ?'
    const plan = db.prepare(`EXPLAIN QUERY PLAN DELETE FROM blocks WHERE ${where}`).all('k', 1, 0, 0, 5)
    db.close()
    expect(JSON.stringify(plan)).toContain(
      'SEARCH blocks USING PRIMARY KEY (key=? AND incarnation=? AND partition=? AND level=? AND index<?)',
    )
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

  it('is written by several threads at once without loss, and what is read meanwhile is never torn', async () => {
    const path = join(folder, 'threads.sqlite')
    const store = await openEmbeddedOnlineStore({ path, clock })
    await store.initialiseCanaries(lane, 4, canary(-1))
    const program = `
      const { openEmbeddedOnlineStore } = await import(${JSON.stringify(adapter)})
      const { workerData } = await import('node:worker_threads')
      const store = await openEmbeddedOnlineStore({ path: ${JSON.stringify(path)}, clock: { nowMs: () => 1, monotonicMs: () => 0 } })
      const lane = ${JSON.stringify(lane)}
      const { shard, reads } = workerData
      // Now and then the reader is given the time for a whole read, so that it sees what is between two writes.
      const letRead = () => {
        const from = Atomics.load(reads, 0)
        while (Atomics.load(reads, 0) < from + 2) Atomics.wait(reads, 0, Atomics.load(reads, 0), 20)
      }
      for (let offset = 0; offset < 200; offset += 1) {
        if (offset % 40 === 20) letRead()
        const writes = [{ key: 'own' + shard, position: offset, bytes: new Uint8Array(100).fill(offset), levels: 1, blocks: [{ id: 16, bytes: new Uint8Array(50).fill(offset) }, { id: 32 + 16 * (offset & 1), bytes: new Uint8Array(50).fill(offset) }], drops: [], base: -1, ttlMs: 0 }]
        const [outcome] = await store.flush(lane, [{ shard, expected: { offset: offset - 1, arrivalMs: 0 }, next: { offset, arrivalMs: 0 }, writes }])
        if (!outcome.ok || outcome.refused !== 0) throw new Error('refused at ' + offset)
      }
      await store.close()`
    const names = ['own0', 'own1', 'own2', 'own3']
    const reads = new Int32Array(new SharedArrayBuffer(4))
    let writing = true
    const writers = Promise.all(
      [0, 1, 2, 3].map(async shard => {
        const worker = new Worker(new URL(`data:text/javascript,${encodeURIComponent(program)}`), {
          workerData: { shard, reads },
        })
        const [code] = await once(worker, 'exit')
        expect(code).toBe(0)
      }),
    ).finally(() => (writing = false))
    const seen = new Set<number>()
    while (writing) {
      await new Promise(resolve => void setImmediate(resolve))
      Atomics.add(reads, 0, 1)
      for (const sections of await store.read(reading(names, [16, 32, 48]))) {
        for (const { position, bytes, blocks } of sections) {
          // The head, the block of every flush and the block of every other one are of the same flush.
          const newest = blocks.get(32 + 16 * (position & 1))
          const values = [bytes, blocks.get(16), newest].flatMap(part => [...(part ?? [NaN])])
          expect(new Set(values)).toEqual(new Set([position]))
          seen.add(position)
        }
      }
    }
    await writers
    expect(seen.size).toBeGreaterThan(3)
    expect(await store.readCanaries(lane, 4)).toEqual([canary(199), canary(199), canary(199), canary(199)])
    const sections = await store.read(reading(names))
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
        const writes = shard => ['a', 'b', 'c'].map(name => ({ key: shard + name, position: offset, bytes: new Uint8Array(3000).fill(offset), levels: 1, blocks: [{ id: 0, bytes: new Uint8Array(2000).fill(offset) }], drops: [], base: -1, ttlMs: 0 }))
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
      const sections = await store.read(reading(['0a', '0b', '0c', '1a', '1b', '1c'], [0]))
      const stored = canaries[0]?.offset ?? NaN
      expect(stored).toBeGreaterThanOrEqual(acknowledged)
      expect(sections.map(([section]) => section?.position)).toEqual(Array(6).fill(stored))
      const parts = sections.flatMap(([section]) => [section?.bytes, section?.blocks.get(0)])
      expect(parts.every(part => part?.every(byte => byte === (stored & 0xff)) === true)).toBe(true)
      await store.close()
    }
  })
})
