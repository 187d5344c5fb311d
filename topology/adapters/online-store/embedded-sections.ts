import type { Block, BlockDrop, Section, SectionWrite } from '../../ports/online-store.ts'
import type { RowsStatement, SqliteFile } from '../sqlite-file.ts'
import type { Incarnations } from './embedded-tables.ts'

/** Sections with their blocks; every call belongs inside a transaction. */
export interface SectionTable {
  /**
   * Stores a section, its blocks and its drops. False, with nothing changed, when a section of the same or a larger
   * position is stored and alive.
   */
  put(incarnation: number, partition: number, write: SectionWrite, nowMs: number): boolean
  /** Position of the section that is stored and alive, −1 for none. */
  positionOf(incarnation: number, partition: number, key: string, nowMs: number): number
  /** One lane's section, with those of the asked blocks that exist. */
  own(incarnation: number, partition: number, key: string, blocks: readonly number[], nowMs: number): Section | null
  /** All sections of a key; `blocks` is called once, and only where one of them has blocks. */
  ofKey(key: string, blocks: () => readonly number[], nowMs: number): Section[]
  /** Looks at the next `maxRows` sections in key order, around and around, and deletes the expired with their blocks. */
  sweep(maxRows: number, nowMs: number): void
}

/** Levels are the low four bits of a block's id. */
const LEVELS = 16

/** What a section without any asked block is given. */
const NO_BLOCKS: ReadonlyMap<number, Uint8Array> = new Map()

const EXPIRED = '(sections.expires_ms > 0 AND sections.expires_ms <= ?)'
const ALIVE = '(expires_ms = 0 OR expires_ms > ?)'
const ONE = 'key = ? AND incarnation = ? AND partition = ?'

/** Prepares the section and block tables. */
export function sectionTable(file: SqliteFile, names: Incarnations): SectionTable {
  const put = file.statement(
    `INSERT INTO sections VALUES (?, ?, ?, ?, ?, ?, ?) ON CONFLICT DO UPDATE
     SET position = excluded.position, expires_ms = excluded.expires_ms, levels = excluded.levels,
       bytes = excluded.bytes
     WHERE excluded.position > sections.position AND NOT ${EXPIRED}`,
  )
  const dropExpired = file.statement(`DELETE FROM sections WHERE ${ONE} AND ${EXPIRED}`)
  const columns = 'incarnation, partition, position, levels, bytes'
  const own = file.rows(`SELECT ${columns} FROM sections WHERE ${ONE} AND ${ALIVE}`)
  const positionOf = file.rows(`SELECT position FROM sections WHERE ${ONE} AND ${ALIVE}`)
  const ofKey = file.rows(`SELECT ${columns} FROM sections WHERE key = ? AND ${ALIVE}`)
  const blocks = blockTable(file)
  const decode = (key: string, row: readonly unknown[], asked: () => readonly number[]): Section => {
    const incarnation = Number(row[0])
    const partition = Number(row[1])
    const levels = Number(row[3])
    return {
      incarnation: names.nameOf(incarnation),
      partition,
      position: Number(row[2]),
      bytes: blobOf(row[4]),
      levels,
      blocks: levels === 0 ? NO_BLOCKS : blocks.get(key, incarnation, partition, levels, asked()),
    }
  }
  const putSection = (incarnation: number, partition: number, write: SectionWrite, nowMs: number): boolean => {
    const { key, position, levels, bytes, ttlMs } = write
    const expiresMs = ttlMs > 0 ? nowMs + ttlMs : 0
    return put.run(key, incarnation, partition, position, expiresMs, levels, bytes, nowMs).changes !== 0
  }
  return {
    put: (incarnation, partition, write, nowMs) => {
      const { key } = write
      if (!putSection(incarnation, partition, write, nowMs)) {
        // Refused, or an expired section is in the way: that one is absent, and so are its blocks.
        if (dropExpired.run(key, incarnation, partition, nowMs).changes === 0) return false
        blocks.dropAll(key, incarnation, partition)
        putSection(incarnation, partition, write, nowMs)
      }
      for (const drop of write.drops) blocks.drop(key, incarnation, partition, drop)
      for (const block of write.blocks) blocks.put(key, incarnation, partition, block)
      return true
    },
    positionOf: (incarnation, partition, key, nowMs) =>
      Number(positionOf.get(key, incarnation, partition, nowMs)?.[0] ?? -1),
    own: (incarnation, partition, key, asked, nowMs) => {
      const row = own.get(key, incarnation, partition, nowMs)
      return row === undefined ? null : decode(key, row, () => asked)
    },
    ofKey: (key, asked, nowMs) => {
      let ids: readonly number[] | null = null
      return ofKey.all(key, nowMs).map(row => decode(key, row, () => (ids ??= asked())))
    },
    sweep: sweeper(file, blocks),
  }
}

/** The blocks of sections. */
interface BlockTable {
  put(key: string, incarnation: number, partition: number, block: Block): void
  drop(key: string, incarnation: number, partition: number, drop: BlockDrop): void
  dropAll(key: string, incarnation: number, partition: number): void
  /** Those of the ids that exist and whose level is in `levels`. */
  get(
    key: string,
    incarnation: number,
    partition: number,
    levels: number,
    ids: readonly number[],
  ): ReadonlyMap<number, Uint8Array>
}

function blockTable(file: SqliteFile): BlockTable {
  const put = file.statement(
    'INSERT INTO blocks VALUES (?, ?, ?, ?, ?, ?) ON CONFLICT DO UPDATE SET bytes = excluded.bytes',
  )
  const drop = file.statement(`DELETE FROM blocks WHERE ${ONE} AND level = ? AND "index" < ?`)
  const dropAll = file.statement(`DELETE FROM blocks WHERE ${ONE}`)
  const get = file.rows(`SELECT bytes FROM blocks WHERE ${ONE} AND level = ? AND "index" = ?`)
  return {
    put: (key, incarnation, partition, { id, bytes }) => {
      const level = levelOf(id)
      put.run(key, incarnation, partition, level, (id - level) / LEVELS, bytes)
    },
    drop: (key, incarnation, partition, { level, belowIndex }) => {
      drop.run(key, incarnation, partition, level, belowIndex)
    },
    dropAll: (key, incarnation, partition) => {
      dropAll.run(key, incarnation, partition)
    },
    get: (key, incarnation, partition, levels, ids) => {
      const found = new Map<number, Uint8Array>()
      for (const id of ids) {
        const level = levelOf(id)
        if (((levels >>> level) & 1) === 0) continue
        const row = get.get(key, incarnation, partition, level, (id - level) / LEVELS)
        if (row !== undefined) found.set(id, blobOf(row[0]))
      }
      return found
    },
  }
}

/** Indexes, and with them ids, may be negative. */
function levelOf(id: number): number {
  const rest = id % LEVELS
  return rest < 0 ? rest + LEVELS : rest
}

function blobOf(value: unknown): Uint8Array {
  return value instanceof Uint8Array ? value : new Uint8Array(0)
}

function sweeper(file: SqliteFile, blocks: BlockTable): (maxRows: number, nowMs: number) => void {
  const boundary: RowsStatement = file.rows('SELECT key FROM sections WHERE key > ? ORDER BY key LIMIT 1 OFFSET ?')
  const ended = 'expires_ms > 0 AND expires_ms <= ? RETURNING key, incarnation, partition'
  const drop = file.rows(`DELETE FROM sections WHERE key > ? AND key <= ? AND ${ended}`)
  const dropRest = file.rows(`DELETE FROM sections WHERE key > ? AND ${ended}`)
  let after = ''
  return (maxRows, nowMs) => {
    const found = boundary.get(after, maxRows)?.[0]
    const until = typeof found === 'string' ? found : null
    const dropped = until === null ? dropRest.all(after, nowMs) : drop.all(after, until, nowMs)
    for (const [key, incarnation, partition] of dropped) {
      blocks.dropAll(String(key), Number(incarnation), Number(partition))
    }
    after = until ?? ''
  }
}
