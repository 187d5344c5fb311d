import type { Clock } from '../../ports/clock.ts'
import type {
  Canary,
  FlushOutcome,
  Lane,
  LoadKey,
  LoadOutcome,
  OnlineStore,
  Progress,
  ReadKey,
  Section,
  ShardFlush,
} from '../../ports/online-store.ts'
import { openSqliteFile } from '../sqlite-file.ts'
import type { Durability, SqliteFile } from '../sqlite-file.ts'
import { sectionTable } from './embedded-sections.ts'
import type { SectionTable } from './embedded-sections.ts'
import {
  STORE_APPLICATION_ID,
  STORE_FORMAT_VERSION,
  STORE_SCHEMA,
  canaryTable,
  incarnations,
} from './embedded-tables.ts'
import type { CanaryTable, Incarnations } from './embedded-tables.ts'

/** Options of `openEmbeddedOnlineStore`. */
export interface EmbeddedOnlineStoreOptions {
  /** The SQLite file, made with its folder when absent; `-wal` and `-shm` files lie beside it. */
  readonly path: string
  /** Decides when sections expire. */
  readonly clock: Clock
  /** `normal` (default) survives `kill -9`; `full` survives a loss of power too. */
  readonly durability?: Durability
  /** How long a call may wait for another writer of the file; 5,000 by default. */
  readonly busyTimeoutMs?: number
  /** Page cache of this handle; 65,536 by default. */
  readonly cacheKiB?: number
}

const SWEEP_MIN_ROWS = 64
const SWEEP_MAX_ROWS = 2048

/** The tables of one open store. */
interface Tables {
  readonly file: SqliteFile
  readonly names: Incarnations
  readonly canaries: CanaryTable
  readonly sections: SectionTable
  readonly clock: Clock
}

/**
 * The online store in one SQLite file, which several threads and processes may open at once: readers never wait for a
 * writer. Errors carry code `STORE_UNAVAILABLE` and name the file. A flush of many shards is one transaction in which
 * each shard is accepted or refused by itself. An expired section is never seen again, nor are its blocks; the rows are
 * deleted when a flush's bounded sweep comes by. Bytes and texts are stored as given.
 */
export async function openEmbeddedOnlineStore(options: EmbeddedOnlineStoreOptions): Promise<OnlineStore> {
  const file = await openSqliteFile({
    path: options.path,
    what: 'online store',
    errorCode: 'STORE_UNAVAILABLE',
    applicationId: STORE_APPLICATION_ID,
    formatVersion: STORE_FORMAT_VERSION,
    schema: STORE_SCHEMA,
    durability: options.durability ?? 'normal',
    busyTimeoutMs: options.busyTimeoutMs ?? 5000,
    cacheKiB: options.cacheKiB ?? 65_536,
    checkpointPages: 16_000,
  })
  const names = incarnations(file)
  const tables: Tables = {
    file,
    names,
    canaries: canaryTable(file),
    sections: sectionTable(file, names),
    clock: options.clock,
  }
  return {
    capabilities: { survivesProcess: true, timeToLive: true },
    initialiseCanaries: async (lane, shardCount, start) => initialiseCanaries(tables, lane, shardCount, start),
    readCanaries: async (lane, shardCount) => readCanaries(tables, lane, shardCount),
    flush: async (lane, shards) => flush(tables, lane, shards),
    load: async (lane, shard, expected, keys) => load(tables, lane, shard, expected, keys),
    read: async keys => read(tables, keys),
    ...documents(file),
    ...progressTable(file),
    close: async () => file.close(),
  }
}

function initialiseCanaries(tables: Tables, lane: Lane, shardCount: number, start: Canary): readonly Canary[] {
  const { file, names, canaries } = tables
  const incarnation = file.run(() => names.intern(lane.incarnation))
  return file.write(() => {
    const stored = canaries.all(lane, incarnation)
    return shardNumbers(shardCount).map(shard => {
      const found = stored.get(shard)
      if (found === undefined) canaries.set(lane, incarnation, shard, start)
      return found ?? start
    })
  })
}

function readCanaries(tables: Tables, lane: Lane, shardCount: number): readonly (Canary | null)[] {
  return tables.file.read(() => {
    const incarnation = tables.names.find(lane.incarnation)
    const stored = incarnation === null ? null : tables.canaries.all(lane, incarnation)
    return shardNumbers(shardCount).map(shard => stored?.get(shard) ?? null)
  })
}

function flush(tables: Tables, lane: Lane, shards: readonly ShardFlush[]): readonly FlushOutcome[] {
  const { file, names, canaries, sections, clock } = tables
  const incarnation = file.run(() => names.intern(lane.incarnation))
  const numbers = shards.map(flushed => flushed.shard)
  return file.write(() => {
    const nowMs = clock.nowMs()
    const stored = canaries.stored(lane, incarnation, numbers)
    let written = 0
    const outcomes = shards.map((flushed): FlushOutcome => {
      const before = stored.get(flushed.shard)
      if (before === undefined || before.offset < flushed.expected.offset) return { ok: false, canary: before ?? null }
      const lost = flushed.writes.some(
        ({ key, base }) => base >= 0 && sections.positionOf(incarnation, lane.partition, key, nowMs) < base,
      )
      if (lost) return { ok: false, canary: before }
      let refused = 0
      for (const write of flushed.writes) {
        if (!sections.put(incarnation, lane.partition, write, nowMs)) refused += 1
      }
      written += flushed.writes.length
      if (flushed.next.offset <= before.offset) return { ok: true, canary: before, refused }
      canaries.set(lane, incarnation, flushed.shard, flushed.next)
      stored.set(flushed.shard, flushed.next)
      return { ok: true, canary: flushed.next, refused }
    })
    if (written > 0) sections.sweep(Math.min(SWEEP_MAX_ROWS, Math.max(SWEEP_MIN_ROWS, 2 * written)), nowMs)
    return outcomes
  })
}

function load(tables: Tables, lane: Lane, shard: number, expected: Canary, keys: readonly LoadKey[]): LoadOutcome {
  return tables.file.read(() => {
    const nowMs = tables.clock.nowMs()
    const incarnation = tables.names.find(lane.incarnation)
    if (incarnation === null) return { ok: false, canary: null }
    const canary = tables.canaries.stored(lane, incarnation, [shard]).get(shard) ?? null
    if (canary === null || canary.offset < expected.offset) return { ok: false, canary }
    const own = ({ key, blocks }: LoadKey): Section | null =>
      tables.sections.own(incarnation, lane.partition, key, blocks, nowMs)
    return { ok: true, sections: keys.map(own) }
  })
}

function read(tables: Tables, keys: readonly ReadKey[]): readonly (readonly Section[])[] {
  return tables.file.read(() => {
    const nowMs = tables.clock.nowMs()
    return keys.map(each => tables.sections.ofKey(each.key, () => each.blocks(), nowMs))
  })
}

function documents(file: SqliteFile): Pick<OnlineStore, 'readDocument' | 'writeDocument'> {
  const select = file.rows('SELECT text FROM documents WHERE name = ?')
  const insert = file.statement('INSERT OR IGNORE INTO documents VALUES (?, ?)')
  const update = file.statement('UPDATE documents SET text = ? WHERE name = ? AND text = ?')
  return {
    readDocument: async name =>
      file.run(() => {
        const row = select.get(name)
        return row === undefined ? null : String(row[0])
      }),
    writeDocument: async (name, expected, next) =>
      file.write(() => (expected === null ? insert.run(name, next) : update.run(next, name, expected)).changes !== 0),
  }
}

function progressTable(file: SqliteFile): Pick<OnlineStore, 'publishProgress' | 'readProgress'> {
  const put = file.statement(
    `INSERT INTO progress VALUES (?, ?, ?, ?, ?) ON CONFLICT DO UPDATE SET
     "offset" = excluded."offset", arrival_ms = excluded.arrival_ms, caught_up_at_ms = excluded.caught_up_at_ms`,
  )
  const select = file.rows(
    'SELECT feed, partition, "offset", arrival_ms, caught_up_at_ms FROM progress ORDER BY feed, partition',
  )
  return {
    publishProgress: async progress =>
      file.write(() => {
        for (const one of progress) {
          put.run(one.feed, one.partition, one.offset, one.arrivalMs, one.caughtUpAtMs)
        }
      }),
    readProgress: async () => file.run(() => select.all().map(decodeProgress)),
  }
}

function decodeProgress(row: readonly unknown[]): Progress {
  return {
    feed: String(row[0]),
    partition: Number(row[1]),
    offset: Number(row[2]),
    arrivalMs: Number(row[3]),
    caughtUpAtMs: Number(row[4]),
  }
}

function shardNumbers(shardCount: number): number[] {
  return Array.from({ length: shardCount }, (_, shard) => shard)
}
