import { readFileSync } from 'node:fs'

/** Of the fields of /proc/PID/stat behind the command's name. */
const STATE_FIELD = 0
const START_TIME_FIELD = 19

/**
 * What tells a process from a later one with the same number: its start time where the system shows it (Linux), else
 * only that it is there. Null when there is none, or when it has ended and only its parent has not asked yet.
 */
export function identityOf(pid: number): string | null {
  try {
    process.kill(pid, 0)
  } catch (error) {
    if (!(error instanceof Error && 'code' in error && error.code === 'EPERM')) return null
  }
  try {
    const stat = readFileSync(`/proc/${pid}/stat`, 'utf8')
    const fields = stat.slice(stat.lastIndexOf(')') + 2).split(' ')
    if (fields[STATE_FIELD] === 'Z' || fields[STATE_FIELD] === 'X') return null
    return fields[START_TIME_FIELD] ?? 'running'
  } catch {
    return 'running'
  }
}
