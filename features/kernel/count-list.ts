import type { ByteReader, ByteWriter } from './types.ts'

/** Counts by position: non-negative safe integers. */
export type Counts = number[] | Float64Array

/**
 * Writes counts whose number the reader knows: each count that is not 0 as a varint, each longest run of zeros as 0 and
 * the run's length, so that a list of zeros takes 2 or 3 bytes.
 */
export function encodeCounts(counts: Counts, out: ByteWriter): void {
  const length = counts.length
  for (let index = 0; index < length; index++) {
    const count = counts[index]!
    out.varint(count)
    if (count !== 0) continue
    const start = index
    while (index + 1 < length && counts[index + 1] === 0) index++
    out.varint(index - start + 1)
  }
}

/** Adds what `encodeCounts` wrote to as many counts; throws `RangeError` for bytes it never writes. */
export function absorbCounts(counts: Counts, input: ByteReader): void {
  const length = counts.length
  let afterRun = false
  for (let index = 0; index < length; index++) {
    const count = input.varint()
    if (count !== 0) {
      counts[index]! += count
      afterRun = false
      continue
    }
    const run = input.varint()
    if (afterRun || run < 1 || run > length - index) {
      throw new RangeError(`a run of ${run} zeros at count ${index} of ${length}`)
    }
    index += run - 1
    afterRun = true
  }
}

/** Adds the second counts to the first, which are as many. */
export function addCounts(into: Counts, from: Counts): void {
  for (let index = 0; index < from.length; index++) into[index]! += from[index]!
}
