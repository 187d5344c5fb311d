import { compareCells, comparePoints } from './order.ts'
import type { FeatureRead, PartialSpec, Point, TimeMs, UnitSpec, Value, Window } from './types.ts'

/** A record of a log as the oracle takes it: the source partition and the point, in log order per partition. */
export interface LogRecord {
  readonly partition: number
  readonly point: Point
}

const shown = (value: unknown): string =>
  JSON.stringify(value, (_, v) =>
    typeof v === 'bigint' ? `${v}n` : typeof v === 'number' && !Number.isFinite(v) ? `${v}` : v,
  )

/**
 * What becomes of each record, by the definition: late when older than the newest event at smaller offsets of its
 * partition minus the lateness; else a duplicate or conflict of an accepted one of the same partition, time and id.
 */
export function oracleVerdicts(
  spec: UnitSpec,
  log: readonly LogRecord[],
): ('added' | 'late' | 'duplicate' | 'conflict')[] {
  const accepted: LogRecord[] = []
  return log.map(({ partition, point }, index) => {
    const earlier = log.slice(0, index).filter(record => record.partition === partition)
    if (earlier.some(record => point.time < record.point.time - spec.latenessMs)) return 'late'
    const twin = accepted.find(a => a.partition === partition && a.point.time === point.time && a.point.id === point.id)
    if (twin)
      return shown([twin.point.cells, twin.point.mask]) === shown([point.cells, point.mask]) ? 'duplicate' : 'conflict'
    accepted.push({ partition, point })
    return 'added'
  })
}

/** Picks among rows in total order, all of them passing the filter and none above `u`. */
type Pick = (rows: readonly Point[], u: TimeMs) => readonly Point[]

/** The greatest multiple of `step` since the epoch that is not above `x`. */
const floorTo = (x: TimeMs, step: number): TimeMs => Math.floor(x / step) * step

const from =
  (lowest: (u: TimeMs) => TimeMs): Pick =>
  (rows, u) =>
    rows.filter(row => row.time >= lowest(u))

/** The rows of each kind of window, by its definition. */
function picker(window: Window): Pick {
  switch (window.kind) {
    case 'sliding':
      return window.edgeMs > 0
        ? from(u => floorTo(u - window.lengthMs, window.edgeMs))
        : from(u => u - window.lengthMs + 1)
    case 'tumbling':
      return from(u => floorTo(u, window.lengthMs))
    case 'session':
      return (rows, u) => {
        const run: Point[] = []
        let next = u
        for (const row of rows.toReversed()) {
          if (next - row.time > window.gapMs || row.time <= u - window.maxLengthMs) break
          run.unshift(row)
          next = row.time
        }
        return run
      }
    case 'lastEvents': {
      const { count, withinMs } = window
      return (rows, u) => rows.filter(row => withinMs === null || row.time > u - withinMs).slice(-count)
    }
    case 'lifetime':
    case 'decay':
      return rows => rows
  }
}

/** The last instant that the window covers at `t`. */
function upperEdge(window: Window, t: TimeMs): TimeMs {
  const u = t - window.delayMs
  if (window.kind !== 'tumbling' || window.lookback === 0) return u
  return floorTo(u, window.lengthMs) - (window.lookback - 1) * window.lengthMs - 1
}

function hasNoLowerEdge(window: Window): boolean {
  return (
    window.kind === 'lifetime' || window.kind === 'decay' || (window.kind === 'lastEvents' && window.withinMs === null)
  )
}

/** By time, id, input and second input: rows equal in all four are alike to an aggregator. */
function rowOrder(spec: UnitSpec, { column, by }: PartialSpec): (a: Point, b: Point) => number {
  const byCell = (at: number, a: Point, b: Point): number =>
    at < 0 ? 0 : compareCells(spec.columns[at]!, a.cells[at]!, b.cells[at]!)
  return (a, b) => comparePoints(a, b) || byCell(column, a, b) || byCell(by, a, b)
}

/**
 * The definition of a read: of all accepted points of an entity, and the event being scored where it joins, those that
 * the filter and the rule of inclusion let through, in total order; of these the rows of the window; folded one by one.
 * Null when the instant is out of range: further than the horizon behind the newest event of any partition; or, with an
 * event being scored that is older than the points kept, where a window reads further back than those (one without a
 * lower edge, any window of a unit with an `edgeMs`), for then nobody knows whether it is among the folded ones.
 * @param isOwn whether a partition is fed by events of the kind of `self`; others hold other events, whatever their ids
 */
export function oracleRead(
  spec: UnitSpec,
  reads: readonly FeatureRead[],
  accepted: readonly LogRecord[],
  t: TimeMs,
  self: Point | null,
  isOwn: (partition: number) => boolean = () => true,
): Value[] | null {
  const cutsAll = reads.some(
    ({ include, window }) => include === 'excludeInstant' && (spec.edgeMs > 0 || hasNoLowerEdge(window)),
  )
  const looksAt = (partition: number): boolean => cutsAll || isOwn(partition)
  const readsPastPoints = spec.edgeMs > 0 || reads.some(read => hasNoLowerEdge(read.window))
  for (const { partition, point } of accepted) {
    if (t < point.time - spec.horizonMs) return null
    if (readsPastPoints && self !== null && looksAt(partition) && self.time < point.time - spec.rawMs) return null
  }
  const isSelf = ({ partition, point }: LogRecord): boolean =>
    self !== null && isOwn(partition) && point.time === self.time && point.id === self.id
  return reads.map(({ partial: index, window, include, whenEmpty }) => {
    const partial = spec.partials[index]!
    const { column, by, filter } = partial
    const u = upperEdge(window, t)
    const stored = accepted.filter(record => include !== 'excludeSelf' || !isSelf(record)).map(record => record.point)
    const joined = include === 'current' && self !== null && !accepted.some(isSelf) ? [...stored, self] : stored
    const rows = joined
      .filter(point => point.time <= u)
      .filter(point => filter < 0 || (point.mask & (1 << filter)) !== 0)
      .filter(point => include !== 'excludeInstant' || point.time !== (self === null ? t : self.time))
      .sort(rowOrder(spec, partial))
    const aggregator = partial.aggregator.inner ?? partial.aggregator
    let state = aggregator.empty()
    for (const { time, id, cells } of picker(window)(rows, u)) {
      const input = { cell: column < 0 ? null : cells[column]!, time, id }
      state = aggregator.add(state, by < 0 ? input : { ...input, by: cells[by]! })
    }
    const lengthMs = window.kind === 'sliding' || window.kind === 'tumbling' ? window.lengthMs : null
    return aggregator.result(state, { t: u, lengthMs }) ?? whenEmpty
  })
}
