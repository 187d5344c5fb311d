import { EncodedSection } from './encoded-section.ts'
import { cellOrder, comparePoints, compareUtf8 } from './order.ts'
import { StateView } from './state-view.ts'
import { TILE_MIN_POINTS, type SectionState } from './tiles.ts'
import type { Cell, FeatureRead, Include, Input, PartialSpec, Point, TimeMs, UnitSpec, Value } from './types.ts'

/**
 * The answer to all reads of a unit, in their order. `newest` is the time of the entity's newest event in the sections
 * read, null without any. Out of range: the instant lies further back than the state is kept for.
 */
export type UnitAnswer =
  | { readonly outOfRange: true; readonly newest: TimeMs }
  | { readonly outOfRange: false; readonly newest: TimeMs | null; readonly values: Value[] }

/** Reads of a unit with everything worked out that does not depend on the entity. */
export interface PreparedReads {
  /** From encoded sections, in place. Throws `RangeError` for bytes that are not of this unit or version. */
  fromBytes(sections: readonly Uint8Array[], t: TimeMs, self: Point | null): UnitAnswer
  /** From sections in memory. */
  fromStates(states: readonly SectionState[], t: TimeMs, self: Point | null): UnitAnswer
}

/** What a read needs of a section; rows are its points by (time, id). */
interface SectionView {
  readonly count: number
  readonly newest: TimeMs | null
  readonly tileCount: number
  time(row: number): TimeMs
  id(row: number): string
  mask(row: number): number
  cell(column: number, row: number): Cell
  base(partial: number): unknown
  tileFirst(tile: number): number
  tileEnd(tile: number): number
  tileState(tile: number, partial: number): unknown
}

/** Windows with one upper edge and one rule of inclusion. A lifetime window has the length Infinity. */
interface Frame {
  readonly delayMs: number
  readonly include: Include
  /** Ascending. */
  readonly lengthsMs: readonly number[]
  readonly chains: readonly Chain[]
}

/** One partial over ascending windows of a frame: the state of each window is carried on into the next. */
interface Chain {
  readonly partial: number
  readonly steps: readonly Step[]
}

interface Step {
  /** Index into the frame's lengths. */
  readonly length: number
  /** Indexes of the reads that are answered here. */
  readonly reads: readonly number[]
}

/** A frame's edges in one section: rows `[lows[i], high)` are window i, of which rows `[cutFrom, cutTo)` are left out. */
interface Span {
  readonly view: SectionView
  readonly high: number
  readonly lows: readonly number[]
  readonly cutFrom: number
  readonly cutTo: number
}

/** The event being scored, as a read sees it. */
interface Virtual {
  readonly point: Point
  /** Its row in each section, −1 where there is none. */
  readonly rows: readonly number[]
  readonly stored: boolean
}

const prepared = new WeakMap<readonly FeatureRead[], { readonly spec: UnitSpec; readonly reads: PreparedReads }>()

/**
 * Answers reads of a unit at instant `t` from its encoded sections, one per source partition and incarnation; points
 * of different sections are different events even when time and id agree. `self` is the event being scored, null for
 * none. The instant is out of range when it is before newest − horizon of any section; so is, if a lifetime window is
 * read, an event being scored that is older than newest − retention, for it could be among the folded points. Throws
 * `RangeError` as `prepareReads` does. What is prepared is remembered for as long as the array `reads` lives.
 */
export function readUnit(
  spec: UnitSpec,
  reads: readonly FeatureRead[],
  sections: readonly Uint8Array[],
  t: TimeMs,
  self: Point | null,
): UnitAnswer {
  return remembered(spec, reads).fromBytes(sections, t, self)
}

/** As `readUnit`, from sections in memory. */
export function readUnitState(
  spec: UnitSpec,
  reads: readonly FeatureRead[],
  states: readonly SectionState[],
  t: TimeMs,
  self: Point | null,
): UnitAnswer {
  return remembered(spec, reads).fromStates(states, t, self)
}

function remembered(spec: UnitSpec, reads: readonly FeatureRead[]): PreparedReads {
  const known = prepared.get(reads)
  if (known?.spec === spec) return known.reads
  const made = prepareReads(spec, reads)
  prepared.set(reads, { spec, reads: made })
  return made
}

/**
 * Checks reads against their unit and works out which share edges and states. Throws `RangeError` for a read of a
 * partial the unit lacks, a window the retention does not cover, and a lifetime window over a partial not kept for it.
 */
export function prepareReads(spec: UnitSpec, reads: readonly FeatureRead[]): PreparedReads {
  reads.forEach((read, index) => checkRead(spec, read, index))
  const frames = framesOf(reads)
  const lifetime = reads.some(read => read.window.kind === 'lifetime')
  const answer = (views: readonly SectionView[], t: TimeMs, self: Point | null): UnitAnswer => {
    let newest: TimeMs | null = null
    let outOfRange = false
    for (const view of views) {
      if (view.newest === null) continue
      if (newest === null || view.newest > newest) newest = view.newest
      if (t < view.newest - spec.horizonMs) outOfRange = true
      if (lifetime && self !== null && self.time < view.newest - spec.retentionMs) outOfRange = true
    }
    if (newest !== null && outOfRange) return { outOfRange, newest }
    const values: Value[] = Array.from({ length: reads.length }, () => null)
    const virtual = self === null ? null : locate(views, self)
    for (const frame of frames) answerFrame(spec, reads, frame, views, t, virtual, values)
    return { outOfRange: false, newest, values }
  }
  return {
    fromBytes: (sections, t, self) =>
      answer(
        sections.map(bytes => new EncodedSection(spec, bytes)),
        t,
        self,
      ),
    fromStates: (states, t, self) =>
      answer(
        states.map(state => new StateView(spec, state)),
        t,
        self,
      ),
  }
}

function checkRead(spec: UnitSpec, read: FeatureRead, index: number): void {
  const { window } = read
  const partial = spec.partials[read.partial]
  if (partial === undefined) {
    throw new RangeError(`read ${index}: partial ${read.partial} of a unit that has ${spec.partials.length}`)
  }
  if (window.kind === 'lifetime' && !partial.lifetime) {
    throw new RangeError(`read ${index}: partial ${read.partial} is not kept for lifetime windows`)
  }
  if (window.kind === 'lifetime' && partial.aggregator.kind === 'concat') {
    throw new RangeError(`read ${index}: ${partial.aggregator.name} has no lifetime window, its points must be kept`)
  }
  const length = window.kind === 'sliding' ? window.lengthMs : 0
  if (!(length >= 0 && window.delayMs >= 0 && length + window.delayMs + spec.horizonMs <= spec.retentionMs)) {
    throw new RangeError(
      `read ${index}: a window of ${length} ms with a delay of ${window.delayMs} ms and a horizon of ` +
        `${spec.horizonMs} ms does not fit the unit's retention of ${spec.retentionMs} ms`,
    )
  }
}

function framesOf(reads: readonly FeatureRead[]): Frame[] {
  const lengthOf = (read: FeatureRead): number => (read.window.kind === 'sliding' ? read.window.lengthMs : Infinity)
  const all = reads.map((read, index) => ({ read, index, length: lengthOf(read) }))
  const byFrame = Map.groupBy(all, ({ read }) => `${read.window.delayMs} ${read.include}`)
  return [...byFrame.values()].map(members => {
    const { window, include } = members[0]!.read
    const lengthsMs = [...new Set(members.map(member => member.length))].sort((a, b) => (a < b ? -1 : 1))
    const chains = [...Map.groupBy(members, ({ read }) => read.partial)].map(([partial, chain]) => ({
      partial,
      steps: lengthsMs
        .map((ms, length) => ({ length, reads: chain.filter(member => member.length === ms).map(m => m.index) }))
        .filter(step => step.reads.length > 0),
    }))
    return { delayMs: window.delayMs, include, lengthsMs, chains }
  })
}

function locate(views: readonly SectionView[], point: Point): Virtual {
  const rows = views.map(view => rowOf(view, point))
  return { point, rows, stored: rows.some(row => row >= 0) }
}

function answerFrame(
  spec: UnitSpec,
  reads: readonly FeatureRead[],
  frame: Frame,
  views: readonly SectionView[],
  t: TimeMs,
  virtual: Virtual | null,
  values: Value[],
): void {
  const upper = t - frame.delayMs
  const spans = views.map((view, index) => spanOf(frame, view, upper, t, virtual, virtual?.rows[index] ?? -1))
  const joins = frame.include === 'current' && virtual !== null && !virtual.stored && virtual.point.time <= upper
  for (const chain of frame.chains) {
    const partial = spec.partials[chain.partial]!
    const self = joins && passes(partial, virtual.point.mask) ? virtual.point : null
    const answer = (step: Step, state: unknown): void => {
      const value = partial.aggregator.result(state)
      for (const read of step.reads) values[read] = value === null ? reads[read]!.whenEmpty : value
    }
    if (partial.aggregator.kind === 'concat') {
      for (const step of chain.steps) answer(step, concatState(spec, chain.partial, frame, spans, step, upper, self))
    } else {
      carryChain(spec, chain, frame, spans, upper, self, answer)
    }
  }
}

function spanOf(
  frame: Frame,
  view: SectionView,
  upper: TimeMs,
  t: TimeMs,
  virtual: Virtual | null,
  selfRow: number,
): Span {
  const high = rowAfter(view, upper)
  const lows = frame.lengthsMs.map(length => (length === Infinity || high === 0 ? 0 : rowAfter(view, upper - length)))
  if (frame.include === 'excludeInstant') {
    const instant = virtual === null ? t : virtual.point.time
    const cutFrom = rowAfter(view, instant - 1)
    const cutTo = rowAfter(view, instant)
    if (cutFrom < cutTo) return { view, high, lows, cutFrom, cutTo }
  } else if (frame.include === 'excludeSelf' && selfRow >= 0) {
    return { view, high, lows, cutFrom: selfRow, cutTo: selfRow + 1 }
  }
  return { view, high, lows, cutFrom: high, cutTo: high }
}

/** Folds each window as the one before it, and the points between their lower edges. */
function carryChain(
  spec: UnitSpec,
  chain: Chain,
  frame: Frame,
  spans: readonly Span[],
  upper: TimeMs,
  self: Point | null,
  answer: (step: Step, state: unknown) => void,
): void {
  const partial = spec.partials[chain.partial]!
  const { aggregator } = partial
  let state = aggregator.empty()
  let waiting = self
  let before = -1
  for (const step of chain.steps) {
    const length = frame.lengthsMs[step.length]!
    for (const span of spans) {
      const from = span.lows[step.length]!
      const to = before < 0 ? span.high : span.lows[before]!
      state = foldRows(spec, chain.partial, span.view, state, from, Math.min(to, span.cutFrom))
      state = foldRows(spec, chain.partial, span.view, state, Math.max(from, span.cutTo), to)
      if (length === Infinity) {
        const base = span.view.base(chain.partial)
        if (base !== null) state = aggregator.merge(state, base)
      }
    }
    if (waiting !== null && waiting.time > upper - length) {
      state = aggregator.add(state, inputOf(partial, waiting))
      waiting = null
    }
    answer(step, state)
    before = step.length
  }
}

/** Folds rows `[from, to)` of a section, by tiles where they lie wholly inside. */
function foldRows(
  spec: UnitSpec,
  partial: number,
  view: SectionView,
  state: unknown,
  from: number,
  to: number,
): unknown {
  const { aggregator } = spec.partials[partial]!
  let folded = state
  let row = from
  if (view.tileCount > 0 && to - from >= TILE_MIN_POINTS) {
    for (let tile = firstTile(view, from); tile < view.tileCount && view.tileEnd(tile) <= to; tile++) {
      folded = addRows(spec.partials[partial]!, view, folded, row, view.tileFirst(tile))
      folded = aggregator.merge(folded, view.tileState(tile, partial))
      row = view.tileEnd(tile)
    }
  }
  return addRows(spec.partials[partial]!, view, folded, row, to)
}

function addRows(partial: PartialSpec, view: SectionView, state: unknown, from: number, to: number): unknown {
  let added = state
  for (let row = from; row < to; row++) {
    if (passes(partial, partial.filter < 0 ? 0 : view.mask(row))) {
      added = partial.aggregator.add(added, new RowInput(partial, view, row))
    }
  }
  return added
}

/** The first tile whose rows start at `row` or after. */
function firstTile(view: SectionView, row: number): number {
  let low = 0
  let high = view.tileCount
  while (low < high) {
    const middle = (low + high) >>> 1
    if (view.tileFirst(middle) < row) low = middle + 1
    else high = middle
  }
  return low
}

/** The rows of one window of all sections, folded in the total order; equal (time, id) by cell. */
function concatState(
  spec: UnitSpec,
  index: number,
  frame: Frame,
  spans: readonly Span[],
  step: Step,
  upper: TimeMs,
  self: Point | null,
): unknown {
  const partial = spec.partials[index]!
  const inputs: Input[] = []
  for (const { view, high, lows, cutFrom, cutTo } of spans) {
    for (let row = lows[step.length]!; row < high; row++) {
      const left = row >= cutFrom && row < cutTo
      if (!left && passes(partial, view.mask(row))) inputs.push(new RowInput(partial, view, row))
    }
  }
  if (self !== null && self.time > upper - frame.lengthsMs[step.length]!) inputs.push(inputOf(partial, self))
  const cells = partial.column < 0 ? () => 0 : cellOrder(spec.columns[partial.column]!)
  inputs.sort((a, b) => comparePoints(a, b) || cells(a.cell, b.cell))
  return inputs.reduce((state, input) => partial.aggregator.add(state, input), partial.aggregator.empty())
}

function passes(partial: PartialSpec, mask: number): boolean {
  return partial.filter < 0 || ((mask >>> partial.filter) & 1) === 1
}

function inputOf(partial: PartialSpec, point: Point): Input {
  return { cell: partial.column < 0 ? null : point.cells[partial.column]!, time: point.time, id: point.id }
}

/** How many rows have a time at or before `time`. */
function rowAfter(view: SectionView, time: TimeMs): number {
  let low = 0
  let high = view.count
  if (high === 0 || view.time(high - 1) <= time) return high
  while (low < high) {
    const middle = (low + high) >>> 1
    if (view.time(middle) <= time) low = middle + 1
    else high = middle
  }
  return low
}

/** The row of the point with this time and id, −1 for none. */
function rowOf(view: SectionView, point: Point): number {
  let low = 0
  let high = rowAfter(view, point.time)
  while (low < high) {
    const middle = (low + high) >>> 1
    const before = view.time(middle) < point.time || compareUtf8(view.id(middle), point.id) < 0
    if (before) low = middle + 1
    else high = middle
  }
  return low < view.count && view.time(low) === point.time && view.id(low) === point.id ? low : -1
}

/** A row given to an aggregator: most never ask for its id, which is then not decoded. */
class RowInput implements Input {
  readonly cell: Cell
  private readonly view: SectionView
  private readonly row: number

  constructor(partial: PartialSpec, view: SectionView, row: number) {
    this.cell = partial.column < 0 ? null : view.cell(partial.column, row)
    this.view = view
    this.row = row
  }

  get time(): TimeMs {
    return this.view.time(this.row)
  }

  get id(): string {
    return this.view.id(this.row)
  }
}
