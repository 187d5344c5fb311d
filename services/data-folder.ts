import { existsSync, mkdirSync, readFileSync, readdirSync, rmSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import type { Config } from '../topology/runtime/config.ts'
import { identityOf } from '../topology/stack/identity.ts'
import { UsageError } from './load.ts'

const HOLDER = 'running.json'
const DEMO_MARK = 'made-by-headwater-demo'

interface Holder {
  readonly pid: number
  readonly identity: string | null
  readonly what: string
}

function holderOf(folder: string): Holder | null {
  try {
    const holder = JSON.parse(readFileSync(join(folder, HOLDER), 'utf8')) as Holder
    const now = identityOf(holder.pid)
    return holder.pid === process.pid || now === null || now !== holder.identity ? null : holder
  } catch {
    return null
  }
}

/** Refuses a folder that a whole system runs on already; a process that was killed holds nothing. */
export function refuseHeldFolder(folder: string): void {
  const holder = holderOf(folder)
  if (holder === null) return
  throw new UsageError(
    `${folder} is in use by process ${holder.pid} (headwater ${holder.what}); stop it, or give --data another folder`,
  )
}

/** Takes a data folder for this process; returns how to give it back. */
export function claimDataFolder(folder: string, what: string): () => void {
  refuseHeldFolder(folder)
  mkdirSync(folder, { recursive: true })
  const file = join(folder, HOLDER)
  writeFileSync(file, JSON.stringify({ pid: process.pid, identity: identityOf(process.pid), what } satisfies Holder))
  return () => rmSync(file, { force: true })
}

/** Makes the demonstration's folder anew; one that holds anything else is left alone and refused. */
export function emptyDemoFolder(folder: string): void {
  refuseHeldFolder(folder)
  const mark = join(folder, DEMO_MARK)
  if (existsSync(folder) && readdirSync(folder).length > 0 && !existsSync(mark)) {
    throw new UsageError(`${folder} holds files that are not the demo's; give --data a new folder`)
  }
  rmSync(folder, { recursive: true, force: true })
  mkdirSync(folder, { recursive: true })
  writeFileSync(mark, 'headwater demo makes this folder anew each time it runs\n')
}

/** Refuses to ask a history that nothing was ever written to, instead of making an empty one. */
export function requireHistory(config: Config): void {
  if (config.offlineStore.kind !== 'chdb' || existsSync(join(config.dataDirectory, 'offline'))) return
  throw new UsageError(
    `there is no history in ${config.dataDirectory} yet; run "headwater run all" or the demo first, or name its folder with --data`,
  )
}
