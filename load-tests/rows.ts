import { mkdirSync, writeFileSync } from 'node:fs'
import { dirname } from 'node:path'

/** One line of a benchmark: a value, what it is measured against in the same run, and their ratio. */
export interface BenchRow {
  readonly name: string
  readonly value: number
  readonly unit: string
  readonly baseline: number | null
  readonly ratio: number | null
}

/** A row with a baseline of the same unit. */
export function ratioRow(name: string, value: number, unit: string, baseline: number): BenchRow {
  return { name, value, unit, baseline, ratio: value / baseline }
}

/** A row that stands for itself. */
export function plainRow(name: string, value: number, unit: string): BenchRow {
  return { name, value, unit, baseline: null, ratio: null }
}

function figure(value: number | null): string {
  if (value === null) return '-'
  if (Math.abs(value) >= 1_000) return Math.round(value).toLocaleString('en-US')
  return value.toPrecision(3)
}

/** The rows as an aligned table. */
export function renderRows(rows: readonly BenchRow[]): string {
  const cells = rows.map(row => [row.name, figure(row.value), row.unit, figure(row.baseline), figure(row.ratio)])
  const table = [['name', 'value', 'unit', 'baseline', 'ratio'], ...cells]
  const widths = [0, 1, 2, 3, 4].map(column => Math.max(...table.map(line => (line[column] ?? '').length)))
  return table
    .map(line =>
      line.map((cell, i) => (i === 0 || i === 2 ? cell.padEnd(widths[i] ?? 0) : cell.padStart(widths[i] ?? 0))),
    )
    .map(line => line.join('  '))
    .join('\n')
}

/** Writes the rows as JSON. */
export function writeRows(path: string, rows: readonly BenchRow[]): void {
  mkdirSync(dirname(path), { recursive: true })
  writeFileSync(path, `${JSON.stringify(rows, null, 2)}\n`)
}

/** Events per second of a piece of work, the better of `rounds` runs after one to warm up. */
export async function bestRate(rounds: number, count: number, work: () => void | Promise<void>): Promise<number> {
  let best = 0
  for (let round = 0; round <= rounds; round++) {
    const started = performance.now()
    await work()
    const rate = (count / (performance.now() - started)) * 1_000
    if (round > 0) best = Math.max(best, rate)
  }
  return best
}
