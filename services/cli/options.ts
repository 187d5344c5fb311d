import { InvalidArgumentError, Option } from 'commander'
import type { Command } from 'commander'

function collect(value: string, previous: readonly string[] | undefined): readonly string[] {
  return [...(previous ?? []), value]
}

/** The flags every command with a configuration takes. */
export function withConfigFlags(command: Command): Command {
  return command
    .option('--config <file>', 'configuration file (default: headwater.config.ts here, or the shipped definitions)')
    .option('--features <file>', 'definition module instead of the configured ones; may be repeated', collect)
    .option('--data <folder>', 'data folder of the embedded engines')
    .option('--set <key=value>', 'one setting, such as server.port=50051; may be repeated', collect)
}

/** A whole number within bounds, or an error that names them. */
export function wholeNumber(minimum: number, maximum: number): (text: string) => number {
  return text => {
    const value = Number(text)
    if (/^\d+$/.test(text) && value >= minimum && value <= maximum) return value
    throw new InvalidArgumentError(`must be a whole number from ${minimum} to ${maximum}`)
  }
}

/** A number within bounds, or an error that names them. */
export function positiveNumber(minimum: number, maximum: number): (text: string) => number {
  return text => {
    const value = Number(text)
    if (/^\d+(\.\d+)?$/.test(text) && value >= minimum && value <= maximum) return value
    throw new InvalidArgumentError(`must be a number from ${minimum} to ${maximum}`)
  }
}

/** A flag that takes a duration; the default is shown as it is written. */
export function durationOption(flags: string, description: string, initial: string): Option {
  return new Option(flags, description).argParser(duration).default(duration(initial), initial)
}

/** `90s`, `5m`, `2h` or a number of seconds, as milliseconds. */
export function duration(text: string): number {
  const match = /^(\d+)(ms|s|m|h)?$/.exec(text)
  if (match === null) throw new InvalidArgumentError('must be a duration such as 90s, 5m or 2h')
  const unit = { ms: 1, s: 1_000, m: 60_000, h: 3_600_000 }[match[2] ?? 's'] ?? 1_000
  return Number(match[1]) * unit
}

/** Progress on standard error: redrawn in place on a terminal, a line every few seconds elsewhere. */
export function progressPrinter(label: string): { update(done: number, total: number | null): void; end(): void } {
  const started = performance.now()
  let lastMs = 0
  let drawn = false
  return {
    update: (done, total) => {
      const now = performance.now()
      if (now - lastMs < (process.stderr.isTTY ? 200 : 5_000)) return
      lastMs = now
      const rate = Math.round((done / (now - started)) * 1_000)
      const share = total === null || total === 0 ? '' : ` of ${total} (${Math.floor((100 * done) / total)} %)`
      const line = `${label}: ${done}${share} rows, ${rate}/s`
      drawn = process.stderr.isTTY
      process.stderr.write(process.stderr.isTTY ? `\r\x1b[K${line}` : `${line}\n`)
    },
    end: () => {
      if (drawn) process.stderr.write('\r\x1b[K')
    },
  }
}
