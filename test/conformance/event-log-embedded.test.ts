import { mkdtemp, rm, writeFile } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { spawn } from 'node:child_process'
import { once } from 'node:events'
import { DatabaseSync } from 'node:sqlite'
import fc from 'fast-check'
import { afterAll, beforeAll, describe, expect, it, vi } from 'vitest'
import { openEmbeddedEventLog } from '../../topology/adapters/event-log/embedded.ts'
import { openEmbeddedOnlineStore } from '../../topology/adapters/online-store/embedded.ts'
import { murmur2, partitionOf } from '../../topology/adapters/partitioner.ts'
import type { EventLog, NewRecord } from '../../topology/ports/event-log.ts'
import { eventLogConformance } from './event-log.ts'

const NOW_MS = 1_700_000_000_000
const clock = { nowMs: () => NOW_MS, monotonicMs: () => 0 }

eventLogConformance('embedded', async () => {
  const folder = await mkdtemp(join(tmpdir(), 'headwater-log-'))
  const open = async (): Promise<EventLog> => {
    const opened = await openEmbeddedEventLog({ path: join(folder, 'log.sqlite'), clock, maxRecordBytes: 200_000 })
    handles.push(opened)
    return opened
  }
  const handles: EventLog[] = []
  const log = await open()
  return {
    log,
    maxRecordBytes: 200_000,
    nowMs: clock.nowMs,
    second: open,
    reopen: async () => {
      await log.close()
      return open()
    },
    cleanup: async () => {
      for (const handle of handles) await handle.close()
      await rm(folder, { recursive: true })
    },
  }
})

describe('partitioner', () => {
  it("hashes as Kafka's murmur2 does (vectors of Kafka's UtilsTest and of kafkajs 2)", () => {
    const vectors: Readonly<Record<string, number>> = {
      '21': -973932308,
      foobar: -790332482,
      'a-little-bit-long-string': -985981536,
      'a-little-bit-longer-string': -1486304829,
      lkjh234lh9fiuh90y23oiuhsafujhadof229phr9h19h89h8: -58897971,
      abc: 479470107,
      '': 275646681,
      '0': 971027396,
      '1': -1993445489,
      '128': -326012175,
      '2187': -1508407203,
      '16384': -325739742,
      '78125': -1654490814,
      '279936': 1462227128,
      '823543': -2014198330,
      '4782969': -1182699775,
      '170859375': -1658323481,
      '100:48069': 1009543857,
    }
    for (const [key, hash] of Object.entries(vectors)) expect(murmur2(Buffer.from(key)), key).toBe(hash)
  })

  it('stays within the partitions for any bytes', () => {
    fc.assert(
      fc.property(fc.uint8Array(), fc.integer({ min: 1, max: 1000 }), (key, partitions) => {
        const partition = partitionOf(key, partitions)
        expect(Number.isInteger(partition) && partition >= 0 && partition < partitions).toBe(true)
      }),
    )
  })
})

describe('embedded event log', () => {
  let folder: string
  beforeAll(async () => {
    folder = await mkdtemp(join(tmpdir(), 'headwater-log-'))
  })
  afterAll(async () => {
    await rm(folder, { recursive: true })
  })

  it('drops old records by retention in bounded steps, moves the start, and tells a consumer that fell behind', async () => {
    let nowMs = NOW_MS
    const log = await openEmbeddedEventLog({
      path: join(folder, 'retention.sqlite'),
      clock: { nowMs: () => nowMs, monotonicMs: () => 0 },
      sweepEveryTransactions: 1,
    })
    await log.ensureTopics([
      { name: 'short', partitions: 1, retentionMs: 1000 },
      { name: 'ever', partitions: 1, retentionMs: 0 },
    ])
    const ten = (topic: string): NewRecord[] =>
      Array.from({ length: 10 }, () => ({ topic, key: null, partition: 0, value: new Uint8Array(8), arrivalMs: 5 }))
    await log.append([...ten('short'), ...ten('ever')])
    expect(await log.bounds('short', 0)).toMatchObject({ startOffset: 0, endOffset: 10 })
    nowMs += 2000
    await log.append([...ten('short'), ...ten('ever')])
    await log.append([...ten('short'), ...ten('ever')])
    expect(await log.bounds('short', 0)).toMatchObject({ startOffset: 10, endOffset: 30 })
    expect(await log.bounds('ever', 0)).toMatchObject({ startOffset: 0, endOffset: 30 })
    const batch = await log.read('short', 0, 0, 100)
    expect(batch.records.map(record => record.offset)).toEqual(Array.from({ length: 20 }, (_, i) => i + 10))

    const errors: string[] = []
    const offsets: number[] = []
    await new Promise<void>(resolve => {
      void log.consume({
        group: 'g',
        topics: ['short'],
        maxBatchRecords: 100,
        maxBatchBytes: 100_000,
        handlers: {
          assigned: async () => 3,
          batch: async read => {
            offsets.push(...read.records.map(record => record.offset))
            resolve()
          },
          idle: async () => {},
          revoked: async () => {},
        },
        onError: error => errors.push(error.message),
      })
    })
    expect(offsets[0]).toBe(10)
    expect(errors).toHaveLength(1)
    expect(errors[0]).toMatch(/offset 3 .*below 10/)
    await log.close()
  })

  it('stops a partition whose position lies beyond the end, until a seek', async () => {
    const log = await openEmbeddedEventLog({ path: join(folder, 'beyond.sqlite'), clock })
    await log.ensureTopics([{ name: 't', partitions: 1, retentionMs: 0 }])
    await log.append([{ topic: 't', key: null, partition: 0, value: new Uint8Array(1) }])
    const errors: Error[] = []
    let calls = 0
    let failed = (): void => {}
    const failure = new Promise<void>(resolve => (failed = resolve))
    await log.consume({
      group: 'g',
      topics: ['t'],
      maxBatchRecords: 1,
      maxBatchBytes: 1,
      handlers: {
        assigned: async () => 7,
        batch: async () => {
          calls += 1
        },
        idle: async () => {
          calls += 1
        },
        revoked: async () => {},
      },
      onError: error => {
        errors.push(error)
        failed()
      },
    })
    await failure
    await new Promise(resolve => setTimeout(resolve, 60))
    expect(errors).toHaveLength(1)
    expect(errors[0]).toMatchObject({ code: 'TOPIC_MISMATCH' })
    expect(calls).toBe(0)
    await log.close()
  })

  it('wakes a consumer by the append itself: no poll is needed', async () => {
    vi.useFakeTimers({ toFake: ['setInterval', 'clearInterval'] })
    try {
      const log = await openEmbeddedEventLog({ path: join(folder, 'wake.sqlite'), clock })
      await log.ensureTopics([{ name: 't', partitions: 1, retentionMs: 0 }])
      let waiting: ((offset: number) => void) | null = null
      await log.consume({
        group: 'g',
        topics: ['t'],
        maxBatchRecords: 1,
        maxBatchBytes: 1,
        handlers: {
          assigned: async () => null,
          batch: async batch => waiting?.(batch.nextOffset),
          idle: async () => {},
          revoked: async () => {},
        },
        onError: () => {},
      })
      for (let round = 1; round <= 5; round += 1) {
        const handled = new Promise<number>(resolve => (waiting = resolve))
        await new Promise(resolve => setTimeout(resolve, 5))
        await log.append([{ topic: 't', key: null, partition: 0, value: new Uint8Array(1) }])
        expect(await handled).toBe(round)
      }
      await log.close()
    } finally {
      vi.useRealTimers()
    }
  })

  it('removes the records of a deleted topic from the file', async () => {
    const path = join(folder, 'deleted.sqlite')
    const log = await openEmbeddedEventLog({ path, clock })
    await log.ensureTopics([{ name: 't', partitions: 3, retentionMs: 0 }])
    const value = new Uint8Array(40_000)
    for (let i = 0; i < 20; i += 1) {
      await log.append(Array.from({ length: 60 }, (_, j) => ({ topic: 't', key: `k${j}`, value })))
    }
    await log.deleteTopic('t')
    await log.close()
    const db = new DatabaseSync(path)
    expect({ ...db.prepare('SELECT count(*) AS chunks FROM chunks').get() }).toEqual({ chunks: 0 })
    expect({ ...db.prepare('SELECT count(*) AS lanes FROM garbage_lanes').get() }).toEqual({ lanes: 0 })
    db.close()
  })

  it('refuses what is not an event log, naming the file and the remedy', async () => {
    const text = join(folder, 'text.sqlite')
    await writeFile(text, 'these are not the bytes of a database, however long one looks at them'.repeat(20))
    await expect(openEmbeddedEventLog({ path: text, clock })).rejects.toMatchObject({
      code: 'LOG_UNAVAILABLE',
      message: expect.stringMatching(/text\.sqlite.*not an SQLite file: name another path/),
    })
    const store = join(folder, 'store.sqlite')
    await (await openEmbeddedOnlineStore({ path: store, clock })).close()
    await expect(openEmbeddedEventLog({ path: store, clock })).rejects.toMatchObject({
      code: 'LOG_UNAVAILABLE',
      message: expect.stringContaining('not an event log'),
    })
    await expect(openEmbeddedEventLog({ path: join(text, 'under', 'log'), clock })).rejects.toMatchObject({
      code: 'LOG_UNAVAILABLE',
    })
    const newer = join(folder, 'newer.sqlite')
    await (await openEmbeddedEventLog({ path: newer, clock })).close()
    const db = new DatabaseSync(newer)
    db.exec('PRAGMA user_version = 99')
    db.close()
    await expect(openEmbeddedEventLog({ path: newer, clock })).rejects.toThrow(/format version 99.*version 1/)
  })

  it('opens a new file from several handles at once', async () => {
    const path = join(folder, 'race', 'log.sqlite')
    const logs = await Promise.all([1, 2, 3, 4].map(() => openEmbeddedEventLog({ path, clock })))
    const infos = await Promise.all(logs.map(log => log.ensureTopics([{ name: 't', partitions: 2, retentionMs: 0 }])))
    expect(new Set(infos.map(([info]) => info?.incarnation)).size).toBe(1)
    for (const log of logs) await log.close()
  })

  it('keeps every acknowledged record when the process is killed at any instant', async () => {
    const path = join(folder, 'killed.sqlite')
    const program = `
      import { openEmbeddedEventLog } from ${JSON.stringify(new URL('../../topology/adapters/event-log/embedded.ts', import.meta.url).href)}
      const clock = { nowMs: () => 1, monotonicMs: () => 0 }
      const log = await openEmbeddedEventLog({ path: ${JSON.stringify(path)}, clock })
      await log.ensureTopics([{ name: 't', partitions: 1, retentionMs: 0 }])
      for (;;) {
        const last = (await log.append([1, 2, 3].map(i => ({ topic: 't', key: null, partition: 0, value: Buffer.from(String(i)) })))).at(-1)
        process.stdout.write(last.offset + '\\n')
      }`
    let acknowledged = -1
    for (let round = 0; round < 3; round += 1) {
      const child = spawn(process.execPath, ['--input-type=module', '-e', program], {
        stdio: ['ignore', 'pipe', 'inherit'],
      })
      let output = ''
      child.stdout.setEncoding('utf8')
      child.stdout.on('data', (chunk: string) => {
        output += chunk
        if (output.length > 2000 * (round + 1)) child.kill('SIGKILL')
      })
      await once(child, 'close')
      const complete = output.slice(0, output.lastIndexOf('\n')).split('\n')
      acknowledged = Number(complete.at(-1))
      const log = await openEmbeddedEventLog({ path, clock })
      const { endOffset } = await log.bounds('t', 0)
      expect(endOffset).toBeGreaterThan(acknowledged)
      expect(endOffset % 3).toBe(0)
      const { records } = await log.read('t', 0, 0, endOffset)
      expect(records.map(record => record.offset)).toEqual(Array.from({ length: endOffset }, (_, i) => i))
      expect(records.every((record, i) => Buffer.from(record.value).toString() === String((i % 3) + 1))).toBe(true)
      await log.close()
    }
  })
})
