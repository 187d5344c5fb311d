import type { ByteReader, ByteWriter, TimeMs } from '../types.ts'
import type { SqlRows } from './descriptor.ts'

/** How many rows there are and the times of the first and the last; the times mean something only when there are any. */
export interface TimeSpan {
  count: number
  first: TimeMs
  last: TimeMs
}

/** The count, then the first time if there is any row, then the last time if there are two. */
export function encodeTimeSpan(span: TimeSpan, out: ByteWriter): void {
  out.varint(span.count)
  if (span.count > 0) out.int(span.first)
  if (span.count > 1) out.int(span.last)
}

/** Reads what `encodeTimeSpan` wrote; throws `RangeError` for a last time before the first. */
export function decodeTimeSpan(input: ByteReader): TimeSpan {
  const count = input.varint()
  const first = count > 0 ? input.int() : 0
  const last = count > 1 ? input.int() : first
  if (last < first) throw new RangeError(`rows from ${first} to ${last} end before they start`)
  return { count, first, last }
}

/** The array of the gaps between neighbouring rows, Array(Int64), one shorter than the rows. */
export function gapsSql(rows: SqlRows): string {
  return `arrayPopFront(arrayDifference(${rows.times}))`
}
