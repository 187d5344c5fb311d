import type { Telemetry } from '../ports/telemetry.ts'

/** What `logSeldom` writes to, and the clock it goes by. */
export interface WarningContext {
  readonly telemetry: Telemetry
  monotonicMs(): number
}

const LINE_INTERVAL_MS = 1000

interface Written {
  atMs: number
  leftOut: number
}

const writtenBy = new WeakMap<object, Map<string, Written>>()

/**
 * Logs at most one line a second for each name that `owner` gives, so that a fault that every request meets does not
 * flood the log. A line carries the error and, as `leftOut`, how many were kept back since the line before it. `owner`
 * is what the fault belongs to, such as a service: it has few names and is forgotten with it.
 */
export function logSeldom(
  context: WarningContext,
  owner: object,
  name: string,
  warning: {
    readonly level: 'warn' | 'error'
    readonly message: string
    readonly fields: Readonly<Record<string, unknown>>
    readonly error: unknown
  },
): void {
  const names = writtenBy.get(owner) ?? new Map<string, Written>()
  writtenBy.set(owner, names)
  const last = names.get(name)
  const nowMs = context.monotonicMs()
  if (last !== undefined && nowMs - last.atMs < LINE_INTERVAL_MS) {
    last.leftOut += 1
    return
  }
  names.set(name, { atMs: nowMs, leftOut: 0 })
  const { level, message, fields, error } = warning
  context.telemetry.log(level, message, { ...fields, error: String(error), leftOut: last?.leftOut ?? 0 })
}
