import type { Labels, Telemetry } from '../topology/ports/telemetry.ts'

const MAX_SAMPLES = 4_096

interface Histogram {
  count: number
  next: number
  readonly samples: Float64Array
}

/** Quantiles over the last samples of one histogram, in milliseconds. */
export interface LatencySummary {
  readonly count: number
  readonly p50: number
  readonly p99: number
}

/** Telemetry kept in this process: counters, gauges and recent latencies, with logs on standard error. */
export interface LocalTelemetry extends Telemetry {
  counters(): ReadonlyMap<string, number>
  latency(name: string, labels?: Labels): LatencySummary
}

function seriesName(name: string, labels?: Labels): string {
  if (labels === undefined) return name
  const parts = Object.entries(labels).map(([key, value]) => `${key}=${value}`)
  return `${name}{${parts.sort().join(',')}}`
}

/** One registry a process. `minimum` is the least level that is printed. */
export function createTelemetry(minimum: 'info' | 'warn' | 'error'): LocalTelemetry {
  const values = new Map<string, number>()
  const histograms = new Map<string, Histogram>()
  const levels = ['info', 'warn', 'error']
  return {
    count: (name, by, labels) => {
      if (by === 0) return
      const series = seriesName(name, labels)
      values.set(series, (values.get(series) ?? 0) + by)
    },
    gauge: (name, value, labels) => void values.set(seriesName(name, labels), value),
    observeMs: (name, milliseconds, labels) => {
      const series = seriesName(name, labels)
      let histogram = histograms.get(series)
      if (histogram === undefined) {
        histogram = { count: 0, next: 0, samples: new Float64Array(MAX_SAMPLES) }
        histograms.set(series, histogram)
      }
      histogram.samples[histogram.next] = milliseconds
      histogram.next = (histogram.next + 1) % MAX_SAMPLES
      histogram.count++
    },
    log: (level, message, fields) => {
      if (levels.indexOf(level) < levels.indexOf(minimum)) return
      const text = fields === undefined ? '' : ` ${JSON.stringify(fields)}`
      process.stderr.write(`${new Date().toISOString()} ${level} ${message}${text}\n`)
    },
    counters: () => values,
    latency: (name, labels) => {
      const histogram = histograms.get(seriesName(name, labels))
      if (histogram === undefined || histogram.count === 0) return { count: 0, p50: 0, p99: 0 }
      const sorted = histogram.samples.slice(0, Math.min(histogram.count, MAX_SAMPLES)).sort()
      const at = (q: number) => sorted[Math.min(sorted.length - 1, Math.floor(q * sorted.length))] ?? 0
      return { count: histogram.count, p50: at(0.5), p99: at(0.99) }
    },
  }
}
