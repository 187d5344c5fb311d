import type { SectionLayout, TimeMs } from './types.ts'

const SECOND = 1000
const MINUTE = 60 * SECOND
const HOUR = 60 * MINUTE
const DAY = 24 * HOUR

/** Widths in milliseconds of the spans that sections are cut into; each divides the next. */
export const LEVELS_MS: readonly number[] = [
  1,
  10,
  100,
  SECOND,
  10 * SECOND,
  MINUTE,
  10 * MINUTE,
  HOUR,
  6 * HOUR,
  DAY,
  8 * DAY,
  64 * DAY,
]

/** A span with more points than this is split: what a flush of a busy entity rewrites. */
const LEAF_POINTS = 128
/** A span with fewer points than this stays where it is: reading its points costs no more than merging its states. */
const BLOCK_POINTS = 16
/** At least so many spans of the widest level fit the retention, so that little is kept beyond it. */
const MIN_WIDEST_SPANS = 8

/**
 * The layout of a unit with this retention: up to the widest level that fits it eight times. Part of the stored state's
 * shape: equal retentions must give equal layouts for ever.
 */
export function layoutFor(retentionMs: number): SectionLayout {
  const top = Math.max(
    LEVELS_MS.indexOf(SECOND),
    LEVELS_MS.findLastIndex(width => width * MIN_WIDEST_SPANS <= retentionMs),
  )
  return { levelsMs: LEVELS_MS.slice(0, top + 1), leafPoints: LEAF_POINTS, blockPoints: BLOCK_POINTS }
}

/** The greatest multiple of `widthMs` that is not above `time`. */
export function floorTo(time: TimeMs, widthMs: number): TimeMs {
  return Math.floor(time / widthMs) * widthMs
}

/** Levels take the four lowest bits of a block's id. */
const LEVELS_BOUND = 16
/** The level that no layout has: of the directory. */
export const DIRECTORY_LEVEL = LEVELS_BOUND - 1
/** The id of the block that holds the tiles of a section which has any, so that a flush need not write them again. */
export const DIRECTORY_BLOCK = LEVELS_BOUND - 1

/** The id of the block of the span of a level that holds `time`: `16 · index + level`. */
export function blockIdAt(layout: SectionLayout, level: number, time: TimeMs): number {
  return Math.floor(time / layout.levelsMs[level]!) * LEVELS_BOUND + level
}

/** The level and the first instant of the span of a block. */
export function spanOfBlock(layout: SectionLayout, id: number): { readonly level: number; readonly startMs: TimeMs } {
  const index = Math.floor(id / LEVELS_BOUND)
  const level = id - index * LEVELS_BOUND
  const width = layout.levelsMs[level]
  if (width === undefined)
    throw new RangeError(`block ${id} is of level ${level}, the layout has ${layout.levelsMs.length}`)
  return { level, startMs: index * width }
}
