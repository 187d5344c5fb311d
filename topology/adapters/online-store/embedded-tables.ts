import type { Canary, Lane } from '../../ports/online-store.ts'
import type { SqliteFile } from '../sqlite-file.ts'

/** 'HWos' */
export const STORE_APPLICATION_ID = 0x48576f73
/** Version of the schema; a file of another one is refused. */
export const STORE_FORMAT_VERSION = 2

/**
 * Sections lie in key order, so a read of a key is one short range scan. Incarnations are kept once and referred to by
 * number. `expires_ms` 0 means never. Blocks live and end with their section; those of a level lie in the order of
 * their index, so that dropping the oldest is one range.
 */
export const STORE_SCHEMA = `
CREATE TABLE incarnations (id INTEGER PRIMARY KEY, name TEXT NOT NULL UNIQUE);
CREATE TABLE sections (
  key TEXT NOT NULL,
  incarnation INTEGER NOT NULL,
  partition INTEGER NOT NULL,
  position INTEGER NOT NULL,
  expires_ms INTEGER NOT NULL,
  levels INTEGER NOT NULL,
  bytes BLOB NOT NULL,
  PRIMARY KEY (key, incarnation, partition)
) WITHOUT ROWID;
CREATE TABLE blocks (
  key TEXT NOT NULL,
  incarnation INTEGER NOT NULL,
  partition INTEGER NOT NULL,
  level INTEGER NOT NULL,
  "index" INTEGER NOT NULL,
  bytes BLOB NOT NULL,
  PRIMARY KEY (key, incarnation, partition, level, "index")
) WITHOUT ROWID;
CREATE TRIGGER forget_blocks AFTER UPDATE OF levels ON sections WHEN (OLD.levels & ~NEW.levels) <> 0 BEGIN
  DELETE FROM blocks WHERE key = OLD.key AND incarnation = OLD.incarnation AND partition = OLD.partition
    AND ((NEW.levels >> level) & 1) = 0;
END;
CREATE TABLE canaries (
  unit INTEGER NOT NULL,
  incarnation INTEGER NOT NULL,
  partition INTEGER NOT NULL,
  shard INTEGER NOT NULL,
  "offset" INTEGER NOT NULL,
  arrival_ms INTEGER NOT NULL,
  PRIMARY KEY (unit, incarnation, partition, shard)
) WITHOUT ROWID;
CREATE TABLE documents (name TEXT PRIMARY KEY, text TEXT NOT NULL) WITHOUT ROWID;
CREATE TABLE progress (
  feed TEXT NOT NULL,
  partition INTEGER NOT NULL,
  "offset" INTEGER NOT NULL,
  arrival_ms INTEGER NOT NULL,
  caught_up_at_ms INTEGER NOT NULL,
  PRIMARY KEY (feed, partition)
) WITHOUT ROWID;
`

/** Incarnation names and their numbers, remembered by this handle. */
export interface Incarnations {
  /** The number of a name, given one when it is new. Call outside a transaction. */
  intern(name: string): number
  /** null when the store has never seen it. */
  find(name: string): number | null
  nameOf(id: number): string
}

/** Prepares the incarnation table. */
export function incarnations(file: SqliteFile): Incarnations {
  const idRow = file.rows('SELECT id FROM incarnations WHERE name = ?')
  const nameRow = file.rows('SELECT name FROM incarnations WHERE id = ?')
  const insert = file.statement('INSERT OR IGNORE INTO incarnations (name) VALUES (?)')
  const ids = new Map<string, number>()
  const names = new Map<number, string>()
  const find = (name: string): number | null => {
    const cached = ids.get(name)
    if (cached !== undefined) return cached
    const row = idRow.get(name)
    if (row === undefined) return null
    ids.set(name, Number(row[0]))
    return Number(row[0])
  }
  return {
    find,
    intern: name => {
      const known = find(name)
      if (known !== null) return known
      insert.run(name)
      return Number(find(name))
    },
    nameOf: id => {
      const cached = names.get(id)
      if (cached !== undefined) return cached
      const name = String(nameRow.get(id)?.[0])
      names.set(id, name)
      return name
    },
  }
}

/** Canaries of one lane; every call belongs inside a transaction. */
export interface CanaryTable {
  /** By shard, for the shards asked for. */
  stored(lane: Lane, incarnation: number, shards: readonly number[]): Map<number, Canary>
  /** All of the lane, by shard. */
  all(lane: Lane, incarnation: number): Map<number, Canary>
  set(lane: Lane, incarnation: number, shard: number, canary: Canary): void
}

const ONE_BY_ONE_MAX_SHARDS = 16

/** Prepares the canary table. */
export function canaryTable(file: SqliteFile): CanaryTable {
  const where = 'WHERE unit = ? AND incarnation = ? AND partition = ?'
  const one = file.rows(`SELECT shard, "offset", arrival_ms FROM canaries ${where} AND shard = ?`)
  const many = file.rows(`SELECT shard, "offset", arrival_ms FROM canaries ${where}`)
  const put = file.statement(
    `INSERT INTO canaries VALUES (?, ?, ?, ?, ?, ?)
     ON CONFLICT DO UPDATE SET "offset" = excluded."offset", arrival_ms = excluded.arrival_ms`,
  )
  const all = (lane: Lane, incarnation: number): Map<number, Canary> =>
    new Map(many.all(lane.unit, incarnation, lane.partition).map(decodeCanary))
  return {
    all,
    stored: (lane, incarnation, shards) => {
      if (shards.length > ONE_BY_ONE_MAX_SHARDS) return all(lane, incarnation)
      const found = new Map<number, Canary>()
      for (const shard of shards) {
        const row = one.get(lane.unit, incarnation, lane.partition, shard)
        if (row !== undefined) found.set(...decodeCanary(row))
      }
      return found
    },
    set: (lane, incarnation, shard, canary) => {
      put.run(lane.unit, incarnation, lane.partition, shard, canary.offset, canary.arrivalMs)
    },
  }
}

function decodeCanary(row: readonly unknown[]): [number, Canary] {
  return [Number(row[0]), { offset: Number(row[1]), arrivalMs: Number(row[2]) }]
}
