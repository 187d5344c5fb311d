import type { FeatureRead, Point, TimeMs, UnitSpec, Value } from './types.ts'

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

/** The definition of a read over all accepted points of an entity, folded one by one; null when out of range. */
export function oracleRead(
  spec: UnitSpec,
  reads: readonly FeatureRead[],
  accepted: readonly LogRecord[],
  t: TimeMs,
  self: Point | null,
): Value[] | null {
  const anyLifetime = reads.some(read => read.window.kind === 'lifetime')
  for (const { point } of accepted) {
    if (t < point.time - spec.horizonMs) return null
    if (anyLifetime && self !== null && self.time < point.time - spec.retentionMs) return null
  }
  const isSelf = (point: Point): boolean => self !== null && point.time === self.time && point.id === self.id
  const stored = accepted.map(record => record.point)
  return reads.map(({ partial: index, window, include, whenEmpty }) => {
    const partial = spec.partials[index]!
    const rows = include === 'current' && self !== null && !stored.some(isSelf) ? [...stored, self] : stored
    let state = partial.aggregator.empty()
    for (const point of rows) {
      if (point.time > t - window.delayMs) continue
      if (window.kind === 'sliding' && point.time <= t - window.delayMs - window.lengthMs) continue
      if (partial.filter >= 0 && (point.mask & (1 << partial.filter)) === 0) continue
      if (include === 'excludeSelf' && isSelf(point)) continue
      if (include === 'excludeInstant' && point.time === (self === null ? t : self.time)) continue
      const cell = partial.column < 0 ? null : point.cells[partial.column]!
      state = partial.aggregator.add(state, { cell, time: point.time, id: point.id })
    }
    return partial.aggregator.result(state) ?? whenEmpty
  })
}
