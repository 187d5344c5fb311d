import { closeSync, mkdirSync, openSync, readFileSync, rmSync, writeSync } from 'node:fs'
import { dirname } from 'node:path'
import { PortError } from '../ports/errors.ts'
import { identityOf } from './identity.ts'
import { pause } from './server-process.ts'

interface Holder {
  readonly pid: number
  readonly identity: string | null
}

const POLL_MS = 100

function take(file: string): boolean {
  try {
    const handle = openSync(file, 'wx')
    writeSync(handle, JSON.stringify({ pid: process.pid, identity: identityOf(process.pid) } satisfies Holder))
    closeSync(handle)
    return true
  } catch (error) {
    if (error instanceof Error && 'code' in error && error.code === 'EEXIST') return false
    throw error
  }
}

function holderOf(file: string): Holder | null {
  try {
    const holder = JSON.parse(readFileSync(file, 'utf8')) as Holder
    return identityOf(holder.pid) === holder.identity ? holder : null
  } catch {
    return null
  }
}

/**
 * Does something while no other process does it. A holder that was killed holds nothing.
 * @param file says who holds the lock; its folder is made
 * @param timeoutMs how long to wait for the holder
 * @throws PortError SERVER_FAILED when the holder keeps it longer
 */
export async function withLock<T>(file: string, timeoutMs: number, work: () => Promise<T>): Promise<T> {
  mkdirSync(dirname(file), { recursive: true })
  const deadline = AbortSignal.timeout(timeoutMs)
  let vanished = 0
  while (!take(file)) {
    const holder = holderOf(file)
    // A file that names nobody may be half-written: it is taken for left behind only when it stays so.
    if (holder === null && ++vanished > 3) rmSync(file, { force: true })
    else if (holder !== null) vanished = 0
    if (deadline.aborted) {
      throw new PortError('SERVER_FAILED', `process ${holder?.pid ?? '?'} holds ${file}; wait for it, or end it`)
    }
    await pause(POLL_MS)
  }
  try {
    return await work()
  } finally {
    rmSync(file, { force: true })
  }
}
