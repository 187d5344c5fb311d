import { createHash } from 'node:crypto'
import type { LogRecord } from '../ports/event-log.ts'
import type { OfflineRow } from '../processors/offline-schema.ts'

/** A row that waits to be written, and the record that it came from. */
export interface BufferedRow {
  readonly row: OfflineRow
  readonly record: LogRecord
  readonly incarnation: string
}

/** Rows of one table that go out in one INSERT. The same rows stay together however often that is tried. */
export interface Chunk {
  readonly table: string
  readonly rows: readonly BufferedRow[]
}

/** How large one INSERT may be. */
export interface ChunkLimits {
  readonly maxInsertRows: number
  /** Bytes of the records that the rows came from. */
  readonly maxInsertBytes: number
}

/** Rows that were taken from the log and are not written yet. */
export interface OfflineBuffer {
  add(table: string, row: BufferedRow): void
  /** Everything added so far as chunks, oldest first; those of before that are not written come first, unchanged. */
  seal(): readonly Chunk[]
  written(chunk: Chunk): void
  readonly rows: number
  readonly bytes: number
}

function cut(table: string, rows: readonly BufferedRow[], limits: ChunkLimits): readonly Chunk[] {
  const chunks: Chunk[] = []
  let from = 0
  let bytes = 0
  for (const [index, item] of rows.entries()) {
    const next = item.record.value.length
    if (index > from && (index - from >= limits.maxInsertRows || bytes + next > limits.maxInsertBytes)) {
      chunks.push({ table, rows: rows.slice(from, index) })
      from = index
      bytes = 0
    }
    bytes += next
  }
  if (from < rows.length) chunks.push({ table, rows: rows.slice(from) })
  return chunks
}

/** An empty buffer. */
export function createOfflineBuffer(limits: ChunkLimits): OfflineBuffer {
  const open = new Map<string, BufferedRow[]>()
  const sealed: Chunk[] = []
  let rows = 0
  let bytes = 0
  return {
    add(table, row) {
      const list = open.get(table)
      if (list === undefined) open.set(table, [row])
      else list.push(row)
      rows += 1
      bytes += row.record.value.length
    },
    seal() {
      for (const [table, list] of open) sealed.push(...cut(table, list, limits))
      open.clear()
      return sealed.slice()
    },
    written(chunk) {
      const at = sealed.indexOf(chunk)
      if (at < 0) return
      sealed.splice(at, 1)
      rows -= chunk.rows.length
      bytes -= chunk.rows.reduce((sum, item) => sum + item.record.value.length, 0)
    },
    get rows() {
      return rows
    },
    get bytes() {
      return bytes
    },
  }
}

/**
 * The deduplication token of an INSERT: its table and where its rows stand in the log, so that another try has the same
 * one and other rows never do. `run` tells one life of a process from another: after a restart, or when a table was
 * emptied to be filled again, rows must not be taken for those that a former life has written.
 */
export function insertToken(run: string, table: string, rows: readonly BufferedRow[]): string {
  const ranges = new Map<string, { first: number; last: number; count: number }>()
  for (const { record, incarnation } of rows) {
    const key = `${record.topic}/${incarnation}/${record.partition}`
    const range = ranges.get(key)
    if (range === undefined) ranges.set(key, { first: record.offset, last: record.offset, count: 1 })
    else {
      range.last = record.offset
      range.count += 1
    }
  }
  const text = [...ranges].map(([key, { first, last, count }]) => `${key}:${first}-${last}:${count}`)
  const hash = createHash('sha256').update([run, table, ...text].join('\n'))
  return `${table}:${hash.digest('hex')}`
}
