import { walkUncut, type Cut, type CutVisitor } from './cut.ts'
import type { EncodedSection } from './encoded-section.ts'
import { cellOrder, comparePoints, compareUtf8 } from './order.ts'
import { RowInput, type SectionSource } from './source.ts'
import { addPoint } from './states.ts'
import type { Cell, PartialSpec, Point, TimeMs, UnitSpec } from './types.ts'

/**
 * The most points that are put in order for reads of one upper edge and one rule of inclusion, those that pass no filter
 * among them. So many take some 20 MB and tens of milliseconds, in which the process does nothing else.
 */
export const MAX_ORDERED_POINTS = 200_000

/** Which points to put in order, and for whom. */
export interface Ordering {
  /** The aggregator that needs them furthest back, as errors name it. */
  readonly aggregator: string
  /** They have `low < time ≤ high`. */
  readonly low: TimeMs
  readonly high: TimeMs
  readonly cut: Cut | null
  /** The event being scored where it joins the stored ones. */
  readonly self: Point | null
}

/** Points of several sections in the total order by (time, id). */
export interface OrderedPoints {
  readonly entries: Entry[]
  /** Stretches of entries that are equal in time and id, which their cells put in order. */
  readonly ties: readonly Tie[]
  readonly self: Point | null
}

/** A point where it lies; what it holds is decoded when it is asked for. */
interface Entry {
  readonly time: TimeMs
  /** null: the event being scored. */
  readonly view: EncodedSection | null
  readonly row: number
  /** null until it was needed. */
  id: string | null
}

/** Entries `[from, to)`. */
interface Tie {
  readonly from: number
  readonly to: number
}

/** Rows `[from, to)` of a value. */
interface Stretch {
  readonly view: EncodedSection
  readonly from: number
  readonly to: number
}

/** What the concat partials of a frame cannot take section by section. */
export interface OutOfOrder {
  /** All points, where several sections hold some of them; else null. */
  readonly gathered: OrderedPoints | null
  /** Those of the instant of the event being scored, where it joins points of one section in their midst; else null. */
  readonly beside: OrderedPoints | null
}

/**
 * Puts points in order where it takes that. Where `missing` names blocks that were not read there are none, since there
 * will be no answer. Throws `RangeError` beyond `MAX_ORDERED_POINTS`, as soon as so many are known to be there: as a
 * rule from the directories, before any block of points is asked for.
 */
export function outOfOrder(
  sources: readonly SectionSource[],
  ordering: Ordering,
  missing: ReadonlySet<number>,
): OutOfOrder {
  const { low, high, self } = ordering
  const filled = sources.filter(({ head, directory }) => {
    if (head.rowAfter(low) < head.rowAfter(high)) return true
    const tile = directory?.tileAfter(low) ?? 0
    return directory !== null && tile < directory.tileCount && directory.tileStart(tile) <= high
  })
  const [only] = filled
  if (filled.length > 1) return { gathered: orderPoints(sources, ordering, missing), beside: null }
  if (self === null || self.time <= low || only === undefined || endsBefore(only, self)) {
    return { gathered: null, beside: null }
  }
  const instant = { ...ordering, low: self.time - 1, high: self.time }
  return { gathered: null, beside: orderPoints(sources, instant, missing) }
}

/** Whether every event of a section comes before the point, as far as head and directory tell. */
function endsBefore({ head, directory }: SectionSource, point: Point): boolean {
  const row = head.count - 1
  if (row < 0 || comparePoints({ time: head.time(row), id: head.id(row) }, point) >= 0) return false
  return directory === null || directory.tileLast(directory.tileCount - 1) < point.time
}

function orderPoints(
  sources: readonly SectionSource[],
  ordering: Ordering,
  missing: ReadonlySet<number>,
): OrderedPoints {
  const { low, high, cut, self } = ordering
  const joins = self !== null && self.time > low && self.time <= high
  checkBound(
    ordering,
    sources.reduce((points, source) => points + pointsOfTiles(source, ordering), 0),
  )
  const stretches: Stretch[] = []
  let points = joins ? 1 : 0
  const take = (view: EncodedSection, from: number, to: number): void => {
    stretches.push({ view, from, to })
    points += to - from
    checkBound(ordering, points)
  }
  const collector: CutVisitor = {
    skipId: null,
    rows: (view, from, to) => {
      if (collector.skipId === null) take(view, from, to)
      else {
        for (let row = from; row < to; row++) if (view.id(row) !== collector.skipId) take(view, row, row + 1)
      }
    },
    tile: () => undefined,
  }
  for (let index = 0; index < sources.length; index++) {
    walkUncut(sources[index]!, index, cut, low, high, true, collector)
  }
  const entries = missing.size > 0 ? [] : entriesOf(stretches, joins ? self : null)
  return { entries, ties: tiesOf(entries), self }
}

/** How many points at least lie in the range, as the directory alone tells. */
function pointsOfTiles({ directory }: SectionSource, { low, high, cut }: Ordering): number {
  if (directory === null) return 0
  let points = 0
  for (let tile = directory.tileAfter(low); tile < directory.tileCount; tile++) {
    const startMs = directory.tileStart(tile)
    const lastMs = directory.tileLast(tile)
    if (lastMs > high) break
    const whole = startMs > low && (cut === null || cut.time < startMs || cut.time > lastMs)
    if (whole) points += directory.tilePoints(tile)
  }
  return points
}

function checkBound({ aggregator, low, high }: Ordering, points: number): void {
  if (points <= MAX_ORDERED_POINTS) return
  throw new RangeError(
    `${aggregator}: ${points} or more events of one entity within ${high - low} ms lie in several partitions and would ` +
      `have to be put in order, which is done for at most ${MAX_ORDERED_POINTS}; use a source whose topic is keyed by ` +
      'that entity, or a shorter window',
  )
}

function entriesOf(stretches: readonly Stretch[], self: Point | null): Entry[] {
  const entries: Entry[] = []
  for (const { view, from, to } of stretches) {
    for (let row = from; row < to; row++) entries.push({ time: view.time(row), view, row, id: null })
  }
  if (self !== null) entries.push({ time: self.time, view: null, row: 0, id: self.id })
  return entries.sort((a, b) => a.time - b.time || compareUtf8(idOf(a), idOf(b)))
}

function idOf(entry: Entry): string {
  return (entry.id ??= entry.view!.id(entry.row))
}

function tiesOf(entries: readonly Entry[]): readonly Tie[] {
  const ties: Tie[] = []
  for (let from = 0, to = 1; from < entries.length; from = to, to++) {
    const first = entries[from]!
    while (to < entries.length && entries[to]!.time === first.time && idOf(entries[to]!) === idOf(first)) to++
    if (to - from > 1) ties.push({ from, to })
  }
  return ties
}

/** The state of a partial with the points of `low < time ≤ high` added to it in the total order; may change it. */
export function addOrdered(
  unit: UnitSpec,
  ordered: OrderedPoints,
  partial: PartialSpec,
  state: unknown,
  low: TimeMs,
  high: TimeMs,
): unknown {
  const { aggregator, column, by, filter } = partial
  const { entries, self } = ordered
  const from = firstAfter(entries, low)
  const to = firstAfter(entries, high)
  sortTies(unit, ordered, partial, from, to)
  const input = new RowInput()
  let added = state
  for (let at = from; at < to; at++) {
    const { view, row } = entries[at]!
    if (view === null) {
      added = addPoint(partial, added, self!)
      continue
    }
    if (filter >= 0 && ((view.mask(row) >>> filter) & 1) === 0) continue
    input.at(view, row)
    input.cell = column < 0 ? null : view.cell(column, row)
    input.by = by < 0 ? null : view.cell(by, row)
    added = aggregator.add(added, input)
  }
  return added
}

/** The number of entries at or before `time`. */
function firstAfter(entries: readonly Entry[], time: TimeMs): number {
  let low = 0
  let high = entries.length
  while (low < high) {
    const middle = (low + high) >>> 1
    if (entries[middle]!.time <= time) low = middle + 1
    else high = middle
  }
  return low
}

/** Puts entries of equal time and id into the order of what the partial is given of them. */
function sortTies(
  unit: UnitSpec,
  { entries, ties, self }: OrderedPoints,
  { column, by }: PartialSpec,
  from: number,
  to: number,
): void {
  if (column < 0 && by < 0) return
  const cells = column < 0 ? () => 0 : cellOrder(unit.columns[column]!)
  const bys = by < 0 ? () => 0 : cellOrder(unit.columns[by]!)
  const cell = (at: number, { view, row }: Entry): Cell =>
    at < 0 ? null : view === null ? self!.cells[at]! : view.cell(at, row)
  const order = (a: Entry, b: Entry): number => cells(cell(column, a), cell(column, b)) || bys(cell(by, a), cell(by, b))
  for (const tie of ties) {
    if (tie.from < from || tie.from >= to) continue
    const sorted = entries.slice(tie.from, tie.to).sort(order)
    sorted.forEach((entry, index) => (entries[tie.from + index] = entry))
  }
}
