import type { Window } from '../kernel/types.ts'

/** The greatest multiple of `stepMs` since the epoch that is not above the expression, also before the epoch. */
function floorSql(sql: string, stepMs: number): string {
  return `(${sql} - positiveModulo(${sql}, toInt64(${stepMs})))`
}

function delayed(t: string, delayMs: number): string {
  return delayMs === 0 ? t : `(${t} - ${delayMs})`
}

/** The last instant that a window covers when read at `t`, as an Int64 expression. */
export function upperEdgeSql(window: Window, t: string): string {
  const u = delayed(t, window.delayMs)
  if (window.kind !== 'tumbling' || window.lookback === 0) return `toInt64(${u})`
  return `toInt64(${floorSql(u, window.lengthMs)} - ${(window.lookback - 1) * window.lengthMs + 1})`
}

/**
 * The rows of a window read at `t`, as an expression.
 * @param rows an array of tuples whose first element is the time, in total order, all passing the feature's filter
 */
export function windowRowsSql(window: Window, rows: string, t: string): string {
  const u = delayed(t, window.delayMs)
  const between = (lowest: string | null): string => {
    const low = lowest === null ? '' : ` AND x.1 ${lowest}`
    return `arrayFilter(x -> x.1 <= ${upperEdgeSql(window, t)}${low}, ${rows})`
  }
  switch (window.kind) {
    case 'sliding': {
      const low = `${u} - ${window.lengthMs}`
      return between(window.edgeMs > 0 ? `>= ${floorSql(`(${low})`, window.edgeMs)}` : `> ${low}`)
    }
    case 'tumbling':
      return between(`>= ${floorSql(u, window.lengthMs)} - ${window.lookback * window.lengthMs}`)
    case 'session': {
      // The run begins after the last gap; the instant itself stands behind the rows as one more neighbour.
      const looked = between(`> ${u} - ${window.maxLengthMs}`)
      const gaps = `arrayDifference(arrayPushBack(arrayMap(x -> x.1, ${looked}), toInt64(${u})))`
      return `arraySlice(${looked}, greatest(arrayLastIndex(gap -> gap > ${window.gapMs}, ${gaps}), 1))`
    }
    case 'lastEvents':
      return `arraySlice(${between(window.withinMs === null ? null : `> ${u} - ${window.withinMs}`)}, -${window.count})`
    case 'lifetime':
    case 'decay':
      return between(null)
  }
}
