/** What tells the series of one name apart; each combination of values is a series of its own. */
export type Labels = Readonly<Record<string, string | number>>

/** Counters and latency histograms; names are snake_case with their unit last. */
export interface Telemetry {
  count(name: string, by: number, labels?: Labels): void
  gauge(name: string, value: number, labels?: Labels): void
  observeMs(name: string, milliseconds: number, labels?: Labels): void
  log(level: 'info' | 'warn' | 'error', message: string, fields?: Readonly<Record<string, unknown>>): void
}
