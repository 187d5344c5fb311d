import { EncodedSection, HEADER_BYTES, TILE_BYTES } from '../kernel/encoded-section.ts'
import { applyPoint, DIRECTORY_BLOCK, emptySection, encodeSection, spanOfBlock } from '../kernel/index.ts'
import { DIRECTORY_LEVEL } from '../kernel/layout.ts'
import { addPoint, emptyStates, packStates } from '../kernel/states.ts'
import { MAX_BUNDLE_BYTES } from '../kernel/tiles.ts'
import type { TimeMs, UnitSpec } from '../kernel/types.ts'
import { syntheticEvent, syntheticInterval } from './synthetic-events.ts'
import type { EventShape } from './synthetic-events.ts'

/** What one section comes to at a constant rate of events at random times, on average over time. */
export interface SteadyState {
  /** Head and blocks. */
  readonly bytes: number
  /** Head and blocks of a flush that carries one event. */
  readonly bytesWritten: number
  /** Events that are kept as they are, in head and blocks. */
  readonly points: number
  /** Whether the rate was too high for all events to be tried, so that only the latest were. */
  readonly extrapolated: boolean
}

const DAY_MS = 86_400_000
/** A multiple of every width of tiles, so that the first one is whole. */
const START_MS: TimeMs = 320 * 64 * DAY_MS
/** Up to so many events are all tried. */
const MAX_EVENTS = 80_000
/** Few events more or less make no difference in a run of at least so many. */
const MIN_EVENTS = 3000
/** States that are kept for ever are looked at after so long. */
const LIFETIME_DAYS = 30

/**
 * Runs the kernel over synthetic events for longer than the unit's retention (30 days for states that are kept for ever),
 * with a flush for each event where it measures. Where these would be too many, the past is made of a part of them and
 * of tiles with the states of all of them, the latest events are all run, and the blocks of the past are counted as the
 * latest ones were found to be.
 */
export function steadyState(spec: UnitSpec, shape: EventShape, perDay: number): SteadyState {
  const spacingMs = DAY_MS / perDay
  const widest = spec.layout.levelsMs.at(-1) ?? 0
  const lifetime = spec.partials.some(partial => partial.lifetime) ? LIFETIME_DAYS * DAY_MS : 0
  const least = (MIN_EVENTS / 2) * spacingMs
  const pastMs = Math.max(spec.retentionMs + widest, lifetime, least)
  // Blocks are dropped at the end of spans of these widths: what is held goes up and down with them.
  const periodMs = Math.max(widest, spec.edgeMs)
  const measuredMs = Math.ceil(Math.max(spec.retentionMs, 2 * widest, least) / periodMs) * periodMs
  const run = new Run(spec, shape)
  if ((pastMs + measuredMs) / spacingMs > MAX_EVENTS) return fromLatest(run, spacingMs, pastMs)
  run.advance(START_MS + pastMs, spacingMs)
  const { head, directory, directoryWritten, live, livePoints, blocksWritten } = run.measure(
    measuredMs / spacingMs,
    spacingMs,
  )
  return {
    bytes: head.bytes + directory + live,
    bytesWritten: head.bytes + directoryWritten + blocksWritten,
    points: head.points + livePoints,
    extrapolated: false,
  }
}

/** How many events stand for the past, and how many latest ones are all run. */
const PAST_EVENTS = 20_000
const LATEST_EVENTS = 40_000
/** The part of the latest events that comes before those that are measured. */
const LEAD_IN = 1 / 4

function fromLatest(run: Run, spacingMs: number, pastMs: number): SteadyState {
  const { spec } = run
  const { levelsMs } = spec.layout
  const widest = levelsMs.at(-1) ?? 1
  const leadInMs = LATEST_EVENTS * LEAD_IN * spacingMs
  const measuredMs = LATEST_EVENTS * spacingMs - leadInMs
  // What is measured lies around the middle of a span of the widest level.
  const middle = (Math.floor((START_MS + pastMs) / widest) + 1.5) * widest
  const pastEnd = middle - measuredMs / 2 - leadInMs
  run.advance(pastEnd, (pastEnd - START_MS) / PAST_EVENTS)
  const known = levelsMs.filter(width => width <= leadInMs).length
  const packed = packedStates(spec, run.shape, levelsMs, known, spacingMs)
  run.putStates(packed)
  run.advance(pastEnd + leadInMs, spacingMs)
  const { head, directory, directoryWritten, byLevel, spanMs } = run.measure(measuredMs / spacingMs, spacingMs)
  const sum = { bytes: head.bytes + directory, bytesWritten: head.bytes + directoryWritten, points: head.points }
  for (const [level, width] of levelsMs.entries()) {
    const aliveMs = coveredMs(spec, width)
    const found = byLevel.get(level) ?? { bytes: 0, points: 0 }
    const perMs = level < known ? found.bytes / spanMs : closedBytes(spec, level, packed) / width
    sum.bytes += perMs * aliveMs
    if (level < known) sum.points += (found.points / spanMs) * aliveMs
    sum.bytesWritten += perMs * spacingMs
  }
  return { ...sum, extrapolated: true }
}

/** The time that blocks of a width cover, on average: from where they are dropped to the span that is still open. */
function coveredMs(spec: UnitSpec, width: number): number {
  const sealable = spec.edgeMs > 0 && spec.edgeMs % width === 0
  const keptMs = spec.retentionMs + (spec.layout.levelsMs.at(-1) ?? 0) / 2
  return Math.max(0, Math.min(keptMs, sealable ? spec.rawMs + spec.edgeMs / 2 : Infinity) - width / 2)
}

/** Bytes of a block of a span whose spans of the level below are all full of events. */
function closedBytes(spec: UnitSpec, level: number, packed: readonly Uint8Array[]): number {
  const { levelsMs } = spec.layout
  const within = levelsMs[level]! / levelsMs[level - 1]!
  const [inner, whole] = [packed[level - 1]?.length ?? 0, packed[level]?.length ?? 0]
  const bundles = whole <= MAX_BUNDLE_BYTES ? within - 1 : 0
  return HEADER_BYTES + within * (TILE_BYTES + inner) + bundles * (TILE_BYTES + whole)
}

/** No state is folded of more events than these: it has the size that it will have. */
const MAX_FOLDED = 100_000

/** The states of a span full of events, by level, for those of at least `from − 1`. */
function packedStates(
  spec: UnitSpec,
  shape: EventShape,
  levelsMs: readonly number[],
  from: number,
  spacingMs: number,
): readonly Uint8Array[] {
  const packed: Uint8Array[] = []
  const states = emptyStates(spec)
  let count = 0
  let time = START_MS
  for (const [level, width] of levelsMs.entries()) {
    if (level < from - 1) {
      packed.push(new Uint8Array())
      continue
    }
    for (const end = Math.min(MAX_FOLDED, width / spacingMs); count < end; count++) {
      time += syntheticInterval(count, spacingMs)
      const point = syntheticEvent(shape, count, Math.floor(time))
      for (let index = 0; index < states.length; index++) {
        states[index] = addPoint(spec.partials[index]!, states[index], point)
      }
    }
    packed.push(packStates(spec, states))
  }
  return packed
}

/** How many flushes of one event each are looked at, in rows of so many. */
const MEASURED_ROWS = 16
const MEASURED_ROW = 256
/** A flush each so many events elsewhere. */
const FLUSH_EVENTS = 64

interface Amount {
  bytes: number
  points: number
}

/** Averages over the flushes of one event, unless said otherwise. */
interface Measured {
  readonly head: Amount
  /** Bytes of the directory that lies beside the head. */
  readonly directory: number
  /** Bytes of directories written per event. */
  readonly directoryWritten: number
  /** Bytes of all other blocks, and the points in them. */
  readonly live: number
  readonly livePoints: number
  /** Bytes of all other blocks written per event, over the whole time. */
  readonly blocksWritten: number
  /** What was written into all other blocks over the whole time, by level. */
  readonly byLevel: ReadonlyMap<number, Amount>
  /** How long the whole time was. */
  readonly spanMs: number
}

interface Flush {
  readonly head: Uint8Array
  /** Bytes of the directory, 0 where it is as it was. */
  readonly directory: number
  /** The other blocks, by level. */
  readonly blocks: ReadonlyMap<number, Amount>
}

/** One section that is fed. */
class Run {
  readonly spec: UnitSpec
  readonly shape: EventShape
  private readonly state
  /** By level, by index: in ascending order, as events come in order. */
  private readonly live: readonly Map<number, Amount>[]
  private readonly held: Amount = { bytes: 0, points: 0 }
  private directory = 0
  private count = 0
  private time: number = START_MS

  constructor(spec: UnitSpec, shape: EventShape) {
    this.spec = spec
    this.shape = shape
    this.state = emptySection(spec)
    this.live = spec.layout.levelsMs.map(() => new Map())
  }

  /** Feeds events up to a time. */
  advance(end: TimeMs, spacingMs: number): void {
    while (this.time < end) {
      this.next(spacingMs)
      if (this.count % FLUSH_EVENTS === 0) this.flush()
    }
    this.flush()
  }

  /** Gives tiles the states of other tiles of their level; an empty one leaves them. */
  putStates(packed: readonly Uint8Array[]): void {
    const { state } = this
    state.tiles = state.tiles.map(tile => {
      const states = packed[tile.level]
      return states === undefined || states.length === 0 ? tile : { ...tile, packed: states }
    })
  }

  /** Feeds so many events and averages what it sees, over time as over events. */
  measure(events: number, spacingMs: number): Measured {
    const count = Math.ceil(events)
    const every = Math.max(MEASURED_ROW, Math.floor(count / MEASURED_ROWS))
    const sums = { head: { bytes: 0, points: 0 }, directory: 0, directoryWritten: 0, live: 0, livePoints: 0 }
    const byLevel = new Map<number, Amount>()
    const start = this.time
    let [flushes, written] = [0, 0]
    for (let index = 0; index < count; index++) {
      this.next(spacingMs)
      const inRow = index % every < MEASURED_ROW
      if (!inRow && (index + 1) % every !== 0 && index % FLUSH_EVENTS !== 0) continue
      const { head, directory, blocks } = this.flush()
      for (const [level, { bytes, points }] of blocks) {
        const sum = byLevel.get(level) ?? { bytes: 0, points: 0 }
        byLevel.set(level, { bytes: sum.bytes + bytes, points: sum.points + points })
        written += bytes
      }
      if (!inRow) continue
      flushes++
      sums.head.bytes += head.length
      sums.head.points += new EncodedSection(this.spec, head, 'head').count
      sums.directory += this.directory
      sums.directoryWritten += directory
      sums.live += this.held.bytes
      sums.livePoints += this.held.points
    }
    return {
      head: { bytes: sums.head.bytes / flushes, points: sums.head.points / flushes },
      directory: sums.directory / flushes,
      directoryWritten: sums.directoryWritten / flushes,
      live: sums.live / flushes,
      livePoints: sums.livePoints / flushes,
      blocksWritten: written / count,
      byLevel,
      spanMs: this.time - start,
    }
  }

  private next(spacingMs: number): void {
    this.time += syntheticInterval(this.count, spacingMs)
    applyPoint(this.spec, this.state, syntheticEvent(this.shape, this.count, Math.floor(this.time)))
    this.count++
  }

  private flush(): Flush {
    const { spec, live, held } = this
    const image = encodeSection(spec, this.state)
    const blocks = new Map<number, Amount>()
    let directory = 0
    for (const { id, bytes } of image.blocks) {
      if (id === DIRECTORY_BLOCK) {
        directory = this.directory = bytes.length
        continue
      }
      const { level, startMs } = spanOfBlock(spec.layout, id)
      const amount = { bytes: bytes.length, points: new EncodedSection(spec, bytes, 'block').count }
      live[level]!.set(startMs / spec.layout.levelsMs[level]!, amount)
      const sum = blocks.get(level) ?? { bytes: 0, points: 0 }
      blocks.set(level, { bytes: sum.bytes + amount.bytes, points: sum.points + amount.points })
      held.bytes += amount.bytes
      held.points += amount.points
    }
    for (const { level, belowIndex } of image.drops) {
      if (level === DIRECTORY_LEVEL) this.directory = 0
      for (const [index, amount] of live[level] ?? []) {
        if (index >= belowIndex) break
        live[level]!.delete(index)
        held.bytes -= amount.bytes
        held.points -= amount.points
      }
    }
    return { head: image.bytes, directory, blocks }
  }
}
