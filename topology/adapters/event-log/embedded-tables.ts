import { PortError } from '../../ports/errors.ts'
import type { LogRecord, PartitionBounds } from '../../ports/event-log.ts'
import type { SqliteFile } from '../sqlite-file.ts'
import { decodeChunk } from './embedded-chunk.ts'
import type { ReadBudget } from './embedded-chunk.ts'

/** 'HWel' */
export const LOG_APPLICATION_ID = 0x4857656c
/** Version of the schema and the chunk encoding; a file of another one is refused. */
export const LOG_FORMAT_VERSION = 1

/**
 * A lane is one partition of one life of a topic; its number is never used again. A chunk's row id is
 * `lane × 2^36 + offset of its first record`, so one table in row-id order holds every partition contiguously.
 */
export const LOG_SCHEMA = `
CREATE TABLE topics (
  id INTEGER PRIMARY KEY AUTOINCREMENT,
  name TEXT NOT NULL UNIQUE,
  incarnation TEXT NOT NULL,
  partitions INTEGER NOT NULL,
  retention_ms INTEGER NOT NULL
);
CREATE TABLE lanes (
  id INTEGER PRIMARY KEY AUTOINCREMENT,
  topic INTEGER NOT NULL,
  partition INTEGER NOT NULL,
  start_offset INTEGER NOT NULL,
  end_offset INTEGER NOT NULL,
  last_arrival_ms INTEGER,
  UNIQUE (topic, partition)
);
CREATE TABLE chunks (
  id INTEGER PRIMARY KEY,
  records INTEGER NOT NULL,
  written_ms INTEGER NOT NULL,
  data BLOB NOT NULL
);
CREATE TABLE commits (
  consumer_group TEXT NOT NULL,
  lane INTEGER NOT NULL,
  next_offset INTEGER NOT NULL,
  PRIMARY KEY (consumer_group, lane)
) WITHOUT ROWID;
CREATE TABLE garbage_lanes (lane INTEGER PRIMARY KEY);
`

/** Row ids set aside for one lane, one per offset. */
export const OFFSETS_PER_LANE = 2 ** 36
/** Lanes that one file can number in its life: row ids stay below 2^53, exact as JavaScript numbers. */
export const MAX_LANES = 2 ** 17

/** One partition as it stands. */
export interface Lane {
  readonly id: number
  readonly partition: number
  readonly startOffset: number
  readonly endOffset: number
  /** −Infinity before the first record. */
  readonly lastArrivalMs: number
}

/** A topic with all its partitions, in partition order. */
export interface Topic {
  readonly id: number
  readonly name: string
  readonly incarnation: string
  readonly retentionMs: number
  readonly lanes: readonly Lane[]
}

/** The statements shared by appending, reading and consuming. */
export interface LogTables {
  readonly file: SqliteFile
  /** null when there is no such topic. */
  topic(name: string): Topic | null
  /** Fails with `UNKNOWN_TOPIC`. */
  requireTopic(name: string): Topic
  /** Fails with `UNKNOWN_TOPIC` or, for a partition the topic does not have, `TOPIC_MISMATCH`. */
  requireLane(name: string, partition: number): { readonly topic: Topic; readonly lane: Lane }
  /** The lane as it is now; null when its topic was deleted. */
  lane(id: number): Lane | null
  committed(group: string, lane: number): number | null
  /** No effect when the lane's topic is deleted. */
  commit(group: string, lane: number, offset: number): void
  /** Records of `[fromOffset, lane.endOffset)` within the budget. */
  records(topic: string, lane: Lane, fromOffset: number, budget: ReadBudget): LogRecord[]
  /** Deletes up to `maxChunks` chunks of deleted topics; call inside a write. True when none are left. */
  sweepGarbage(maxChunks: number): boolean
}

/** Prepares the statements over an open log file. */
export function logTables(file: SqliteFile): LogTables {
  const topicRows = file.rows(
    `SELECT t.id, t.incarnation, t.retention_ms, l.id, l.partition, l.start_offset, l.end_offset, l.last_arrival_ms
     FROM topics t JOIN lanes l ON l.topic = t.id WHERE t.name = ? ORDER BY l.partition`,
  )
  const laneRow = file.rows('SELECT id, partition, start_offset, end_offset, last_arrival_ms FROM lanes WHERE id = ?')
  const committedRow = file.rows('SELECT next_offset FROM commits WHERE consumer_group = ? AND lane = ?')
  const setCommitted = file.statement(
    `INSERT INTO commits SELECT ?1, id, ?3 FROM lanes WHERE id = ?2
     ON CONFLICT DO UPDATE SET next_offset = excluded.next_offset`,
  )
  const chunkRows = file.rows(
    `SELECT id, data FROM chunks
     WHERE id >= coalesce((SELECT max(id) FROM chunks WHERE id BETWEEN ?1 AND ?2), ?2) AND id < ?3 ORDER BY id`,
  )
  const topic = (name: string): Topic | null => decodeTopic(name, topicRows.all(name))
  const requireTopic = (name: string): Topic => {
    const found = topic(name)
    if (found === null) throw unknownTopic(name, file.path)
    return found
  }
  return {
    file,
    topic,
    requireTopic,
    requireLane: (name, partition) => {
      const found = requireTopic(name)
      return { topic: found, lane: laneOf(found, partition) }
    },
    lane: id => {
      const row = laneRow.get(id)
      return row === undefined ? null : decodeLane(row)
    },
    committed: (group, lane) => {
      const row = committedRow.get(group, lane)
      return row === undefined ? null : Number(row[0])
    },
    commit: (group, lane, offset) => {
      setCommitted.run(group, lane, offset)
    },
    records: (name, lane, fromOffset, budget) => {
      const out: LogRecord[] = []
      const origin = lane.id * OFFSETS_PER_LANE
      for (const [id, data] of chunkRows.iterate(origin, origin + fromOffset, origin + lane.endOffset)) {
        const range = {
          topic: name,
          partition: lane.partition,
          baseOffset: Number(id) - origin,
          fromOffset,
          untilOffset: lane.endOffset,
        }
        if (!(data instanceof Uint8Array) || !decodeChunk(data, range, budget, out)) break
      }
      return out
    },
    sweepGarbage: garbageSweeper(file),
  }
}

function garbageSweeper(file: SqliteFile): (maxChunks: number) => boolean {
  const firstLane = file.rows('SELECT lane FROM garbage_lanes LIMIT 1')
  const someChunks = file.rows(
    'SELECT count(*), max(id) FROM (SELECT id FROM chunks WHERE id >= ? AND id < ? ORDER BY id LIMIT ?)',
  )
  const dropChunks = file.statement('DELETE FROM chunks WHERE id >= ? AND id <= ?')
  const dropLane = file.statement('DELETE FROM garbage_lanes WHERE lane = ?')
  return maxChunks => {
    for (let left = maxChunks; left > 0;) {
      const row = firstLane.get()
      if (row === undefined) return true
      const lane = Number(row[0])
      const origin = lane * OFFSETS_PER_LANE
      const [count, last] = someChunks.get(origin, origin + OFFSETS_PER_LANE, left) ?? []
      if (Number(count) > 0) dropChunks.run(origin, Number(last))
      if (Number(count) < left) dropLane.run(lane)
      left -= Math.max(1, Number(count))
    }
    return firstLane.get() === undefined
  }
}

function decodeTopic(name: string, rows: readonly unknown[][]): Topic | null {
  const first = rows[0]
  if (first === undefined) return null
  return {
    id: Number(first[0]),
    name,
    incarnation: String(first[1]),
    retentionMs: Number(first[2]),
    lanes: rows.map(row => decodeLane(row.slice(3))),
  }
}

function decodeLane(row: readonly unknown[]): Lane {
  return {
    id: Number(row[0]),
    partition: Number(row[1]),
    startOffset: Number(row[2]),
    endOffset: Number(row[3]),
    lastArrivalMs: row[4] === null ? -Infinity : Number(row[4]),
  }
}

/** The lane of a partition; `TOPIC_MISMATCH` when the topic has no such partition. */
export function laneOf(topic: Topic, partition: number): Lane {
  const lane = topic.lanes[partition]
  if (lane === undefined) {
    throw new PortError(
      'TOPIC_MISMATCH',
      `Topic ${topic.name} has no partition ${partition}: it has ${topic.lanes.length}, numbered from 0.`,
    )
  }
  return lane
}

/** The first retained and the next offset of a lane. */
export function boundsOf(topic: Topic, lane: Lane): PartitionBounds {
  return { incarnation: topic.incarnation, startOffset: lane.startOffset, endOffset: lane.endOffset }
}

/** The error for a topic that is not there. */
export function unknownTopic(name: string, path: string): PortError {
  return new PortError(
    'UNKNOWN_TOPIC',
    `The event log ${path} has no topic ${name}: make it with ensureTopics, or correct the name.`,
  )
}
