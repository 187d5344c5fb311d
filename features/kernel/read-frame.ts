import { cutOf, walkUncut, type Cut, type CutVisitor, type Virtual } from './cut.ts'
import type { EncodedSection } from './encoded-section.ts'
import { stepsAt, type Frame, type FramePartial } from './frames.ts'
import { addOrdered, outOfOrder, type OrderedPoints } from './ordered.ts'
import { RowInput, type SectionSource } from './source.ts'
import { absorbState, addPoint } from './states.ts'
import type { FeatureRead, Point, ReadAt, TimeMs, UnitSpec, Value } from './types.ts'
import { lowerEdge, upperEdge } from './windows.ts'

/**
 * Answers the reads of a frame into `values`, which are no answer where `missing` names blocks afterwards. Throws
 * `RangeError` as `outOfOrder` does.
 * @param empties what `emptyPacked` makes for the unit
 * @param missing blocks that turned out to be needed and were not read, as the sources note them
 */
export function readFrame(
  spec: UnitSpec,
  reads: readonly FeatureRead[],
  frame: Frame,
  empties: readonly Uint8Array[],
  sources: readonly SectionSource[],
  t: TimeMs,
  virtual: Virtual | null,
  missing: ReadonlySet<number>,
  values: Value[],
): void {
  const high = upperEdge(frame.window, t)
  const { order, reach } = stepsAt(frame, t)
  const joins = frame.include === 'current' && virtual !== null && !virtual.stored && virtual.point.time <= high
  const run = new FrameRun(spec, frame, empties, joins ? virtual.point : null, cutOf(frame.include, t, virtual))
  const furthest = frame.hasConcat ? furthestConcat(frame, reach) : null
  if (furthest !== null) {
    const low = lowerEdge(frame.lows[order[reach[furthest]!]!]!.window, t)
    run.order(sources, frame.partials[furthest]!.spec.aggregator.name, low, high, missing)
  }
  const at = { t: high, lengthMs: null as number | null }
  let upper = high
  for (let step = 0; step < order.length; step++) {
    const low = frame.lows[order[step]!]!
    const edge = lowerEdge(low.window, t)
    run.segment(sources, edge, upper, step, reach)
    for (const { read, slot, lengthMs } of low.reads) {
      at.lengthMs = lengthMs
      values[read] = run.result(slot, at) ?? reads[read]!.whenEmpty
    }
    if (edge < upper) upper = edge
  }
}

/** The slot of the concat partial that is read furthest back; null without any. */
function furthestConcat({ partials }: Frame, reach: readonly number[]): number | null {
  let furthest: number | null = null
  partials.forEach(({ concat }, slot) => {
    if (concat && (furthest === null || reach[slot]! > reach[furthest]!)) furthest = slot
  })
  return furthest
}

/** A partial while a segment is folded. */
interface Active {
  readonly partial: FramePartial
  /** The partial's packed empty state. */
  readonly empty: Uint8Array
  state: unknown
  /** The decisive row or tile come upon so far in a section, not merged yet. */
  view: EncodedSection | null
  row: number
  at: number
  /** The packed state that was merged last. */
  seen: Uint8Array | null
  seenAt: number
  seenLength: number
}

/** The states of a frame's partials while its segments are folded, from the newest to the oldest. */
class FrameRun implements CutVisitor {
  private readonly spec: UnitSpec
  private readonly frame: Frame
  private readonly self: Point | null
  private readonly cut: Cut | null
  /** By slot. */
  private readonly all: readonly Active[]
  /** By slot: the states of concat partials, carried on from segment to segment. */
  private readonly concats: unknown[]
  private active: Active[] = []
  /** By unit partial: the active one, null for what the segment does not concern. */
  private readonly byPartial: (Active | null)[]
  private lastPartial = -1
  private waiting: boolean
  /** As `OutOfOrder` has them. */
  private gathered: OrderedPoints | null = null
  private beside: OrderedPoints | null = null
  skipId: string | null = null
  private readonly input = new RowInput()

  constructor(spec: UnitSpec, frame: Frame, empties: readonly Uint8Array[], self: Point | null, cut: Cut | null) {
    this.spec = spec
    this.frame = frame
    this.self = self
    this.cut = cut
    this.waiting = self !== null
    this.all = frame.partials.map(partial => ({
      partial,
      empty: empties[partial.index]!,
      state: partial.spec.aggregator.empty(),
      view: null,
      row: -1,
      at: -1,
      seen: null,
      seenAt: 0,
      seenLength: 0,
    }))
    this.concats = frame.hasConcat ? this.all.map(({ state }) => state) : []
    this.byPartial = new Array<Active | null>(spec.partials.length).fill(null)
  }

  /** Puts in order what concat partials cannot take as it comes. */
  order(
    sources: readonly SectionSource[],
    aggregator: string,
    low: TimeMs,
    high: TimeMs,
    missing: ReadonlySet<number>,
  ): void {
    const { self, cut } = this
    const { gathered, beside } = outOfOrder(sources, { aggregator, low, high, cut, self }, missing)
    this.gathered = gathered
    this.beside = beside
  }

  /** Folds the events with `low < time ≤ high` of every section into the states that reach so far. */
  segment(sources: readonly SectionSource[], low: TimeMs, high: TimeMs, step: number, reach: readonly number[]): void {
    this.activate(step, reach)
    const joins = this.waiting && this.self!.time > low
    if (joins && this.beside !== null) this.around(sources, this.beside, low, high)
    else {
      this.stretch(sources, low, high)
      if (joins) for (const one of this.active) one.state = addPoint(one.partial.spec, one.state, this.self!)
    }
    if (joins) this.waiting = false
    if (low === -Infinity) this.absorbBases(sources)
    if (this.frame.hasConcat) this.carryOn(low, high, step, reach)
  }

  /** Folds what every section holds of a stretch of time. */
  private stretch(sources: readonly SectionSource[], low: TimeMs, high: TimeMs): void {
    if (this.active.length === 0) return
    for (let index = 0; index < sources.length; index++) {
      walkUncut(sources[index]!, index, this.cut, low, high, false, this)
      this.settle()
    }
  }

  /** Folds a segment with the event being scored in the midst of its points. */
  private around(sources: readonly SectionSource[], beside: OrderedPoints, low: TimeMs, high: TimeMs): void {
    const { time } = this.self!
    this.stretch(sources, low, time - 1)
    for (const one of this.active) {
      one.state = addOrdered(this.spec, beside, one.partial.spec, one.state, time - 1, time)
    }
    this.stretch(sources, time, high)
  }

  /** Puts the segment's states of concat partials before those of the newer segments. */
  private carryOn(low: TimeMs, high: TimeMs, step: number, reach: readonly number[]): void {
    const { all, concats, gathered } = this
    for (let slot = 0; slot < all.length; slot++) {
      const { partial, state } = all[slot]!
      if (!partial.concat || reach[slot]! < step) continue
      const { spec } = partial
      const older =
        gathered === null ? state : addOrdered(this.spec, gathered, spec, spec.aggregator.empty(), low, high)
      concats[slot] = spec.aggregator.merge(older, concats[slot])
    }
  }

  private activate(step: number, reach: readonly number[]): void {
    const { all, byPartial } = this
    this.active = []
    this.lastPartial = -1
    for (let slot = 0; slot < all.length; slot++) {
      const one = all[slot]!
      const { index, concat, spec } = one.partial
      if (reach[slot]! < step || (concat && this.gathered !== null)) {
        byPartial[index] = null
        continue
      }
      if (concat) one.state = spec.aggregator.empty()
      byPartial[index] = one
      this.active.push(one)
      if (index > this.lastPartial) this.lastPartial = index
    }
  }

  private absorbBases(sources: readonly SectionSource[]): void {
    const states = this.byPartial.map(one => (one === null || one.partial.concat ? null : one.state))
    for (const { head } of sources) head.absorbBase(states)
    for (const one of this.active) if (!one.partial.concat) one.state = states[one.partial.index]
  }

  rows(view: EncodedSection, from: number, to: number): void {
    for (const one of this.active) {
      const { decisive } = one.partial.spec.aggregator
      if (decisive === undefined) this.addRows(one, view, from, to)
      else if (decisive === 'last') this.lastRow(one, view, from, to)
      else if (one.view === null) this.firstRow(one, view, from, to)
    }
  }

  private addRows(one: Active, view: EncodedSection, from: number, to: number): void {
    const { aggregator, column, by, filter } = one.partial.spec
    const { input, skipId } = this
    let { state } = one
    for (let row = from; row < to; row++) {
      if (filter >= 0 && ((view.mask(row) >>> filter) & 1) === 0) continue
      if (skipId !== null && view.id(row) === skipId) continue
      input.at(view, row)
      input.cell = column < 0 ? null : view.cell(column, row)
      input.by = by < 0 ? null : view.cell(by, row)
      state = aggregator.add(state, input)
    }
    one.state = state
  }

  private lastRow(one: Active, view: EncodedSection, from: number, to: number): void {
    for (let row = to - 1; row >= from; row--) if (this.takes(one, view, row)) return
  }

  private firstRow(one: Active, view: EncodedSection, from: number, to: number): void {
    for (let row = from; row < to; row++) if (this.takes(one, view, row)) return
  }

  private takes(one: Active, view: EncodedSection, row: number): boolean {
    const { column, filter } = one.partial.spec
    if (filter >= 0 && ((view.mask(row) >>> filter) & 1) === 0) return false
    if (this.skipId !== null && view.id(row) === this.skipId) return false
    if (column >= 0 && !view.has(column, row)) return false
    one.view = view
    one.row = row
    one.at = -1
    return true
  }

  tile(view: EncodedSection, tile: number): void {
    const { byPartial, lastPartial } = this
    const { bytes } = view
    let at = view.tileStatesAt(tile)
    for (let index = 0; index <= lastPartial; index++) {
      const start = at
      let length = bytes[at++]!
      if (length >= 0x80) {
        view.reader.seek(start, bytes.length)
        length = view.reader.varint()
        at = view.reader.at
      }
      const one = byPartial[index]!
      if (one !== null && !sameBytes(bytes, start, one.empty, at + length - start)) this.absorb(one, view, at, length)
      at += length
    }
  }

  private absorb(one: Active, view: EncodedSection, at: number, length: number): void {
    const { spec } = one.partial
    const { decisive, idempotent } = spec.aggregator
    if (decisive !== undefined) {
      if (decisive === 'first' && one.view !== null) return
      one.view = view
      one.row = -1
      one.at = at
      return
    }
    if (idempotent === true) {
      if (one.seen !== null && one.seenLength === length && sameRange(one.seen, one.seenAt, view.bytes, at, length))
        return
      one.seen = view.bytes
      one.seenAt = at
      one.seenLength = length
    }
    view.reader.seek(at, at + length)
    one.state = absorbState(spec, one.state, view.reader)
  }

  /** Merges what was decisive in a section. */
  private settle(): void {
    for (const one of this.active) {
      const { view } = one
      if (view === null) continue
      one.view = null
      if (one.row < 0) {
        view.reader.seek(one.at, view.bytes.length)
        one.state = absorbState(one.partial.spec, one.state, view.reader)
      } else {
        const { aggregator, column, by } = one.partial.spec
        this.input.at(view, one.row)
        this.input.cell = column < 0 ? null : view.cell(column, one.row)
        this.input.by = by < 0 ? null : view.cell(by, one.row)
        one.state = aggregator.add(one.state, this.input)
      }
    }
  }

  /** The value of a slot over the events folded so far. */
  result(slot: number, at: ReadAt): Value {
    const { spec, concat } = this.frame.partials[slot]!
    return spec.aggregator.result(concat ? this.concats[slot] : this.all[slot]!.state, at)
  }
}

/** Whether the bytes from `at` on are these, all `length` of them. */
function sameBytes(bytes: Uint8Array, at: number, wanted: Uint8Array, length: number): boolean {
  return wanted.length === length && sameRange(wanted, 0, bytes, at, length)
}

function sameRange(a: Uint8Array, aAt: number, b: Uint8Array, bAt: number, length: number): boolean {
  for (let index = 0; index < length; index++) if (a[aAt + index] !== b[bAt + index]) return false
  return true
}
