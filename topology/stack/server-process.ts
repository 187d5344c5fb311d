import { spawn, spawnSync } from 'node:child_process'
import {
  closeSync,
  existsSync,
  mkdirSync,
  openSync,
  readFileSync,
  readSync,
  readdirSync,
  statSync,
  writeFileSync,
} from 'node:fs'
import { join } from 'node:path'
import { PortError } from '../ports/errors.ts'
import { identityOf } from './identity.ts'

/** What speaks on a server's port. */
export type ServerKind = 'redis' | 'sentinel' | 'kafka'

/** How a server is started, each time the same way: it keeps its folder and its port. */
export interface ServerSpec {
  /** Unique in its stack: `kafka-1`. */
  readonly name: string
  readonly kind: ServerKind
  readonly host: string
  readonly port: number
  /** Of its own; holds its configuration, data, log and record. */
  readonly folder: string
  readonly command: string
  readonly args: readonly string[]
  /** What the log says once it is ready. */
  readonly readyLine: string
}

/** What is left in a server's folder about the process that was started last. */
export interface ServerRecord extends ServerSpec {
  readonly pid: number
  readonly identity: string
}

/** How a process ended. */
export interface ServerExit {
  readonly code: number | null
  readonly signal: NodeJS.Signals | null
}

/** A started process. */
export interface ServerProcess {
  readonly pid: number
  readonly exited: Promise<ServerExit>
  /** False when it has ended already. */
  kill(signal: NodeJS.Signals): boolean
}

const RECORD = 'server.json'
const LOG = 'server.log'
const POLL_MS = 20
/** How long the system may take to end a process that was killed. */
const KILL_MS = 10_000
const LOG_TAIL_BYTES = 4_096
const MAX_LOG_SCAN_BYTES = 16 * 1024 * 1024

/** Thrown when a server found its port taken: whoever chose the port may choose another. */
export class PortTaken extends PortError {
  constructor(message: string) {
    super('SERVER_FAILED', message)
    this.name = 'PortTaken'
  }
}

/** Resolves after so many milliseconds. */
export function pause(ms: number): Promise<void> {
  return new Promise(done => setTimeout(done, ms))
}

/**
 * Asks again and again until the answer is yes.
 * @param timeoutMs how long
 * @returns whether it became true in time
 */
export async function until(timeoutMs: number, ask: () => Promise<boolean> | boolean): Promise<boolean> {
  const deadline = AbortSignal.timeout(timeoutMs)
  for (;;) {
    if (await ask()) return true
    if (deadline.aborted) return false
    await pause(POLL_MS)
  }
}

/** What a program prints about its version, or null when it cannot be started. */
export function versionOf(command: string, args: readonly string[]): string | null {
  const run = spawnSync(command, args, { encoding: 'utf8', timeout: 60_000 })
  return run.error !== undefined || run.status !== 0 ? null : `${run.stdout}${run.stderr}`
}

/** The record of the process that was started last in a server's folder, or null. */
export function readRecord(folder: string): ServerRecord | null {
  try {
    return { ...(JSON.parse(readFileSync(join(folder, RECORD), 'utf8')) as ServerRecord), folder }
  } catch {
    return null
  }
}

/** The records of all servers in a folder and in the folders of their stack, by name. */
export function recordedServers(folder: string): readonly ServerRecord[] {
  if (!existsSync(folder)) return []
  const places = readdirSync(folder, { withFileTypes: true }).filter(entry => entry.isDirectory())
  const below = places.flatMap(({ name }) => {
    const place = join(folder, name)
    const record = readRecord(place)
    return record === null ? recordedServers(place) : [record]
  })
  return below.toSorted((a, b) => (a.name < b.name ? -1 : 1))
}

/** Whether the very process of a record runs; a stranger that got its number does not count. */
export function isAlive(record: ServerRecord): boolean {
  return identityOf(record.pid) === record.identity
}

/** Signals the process of a record, and never a stranger. False when it has ended. */
export function signalRecorded(record: ServerRecord, signal: NodeJS.Signals): boolean {
  if (!isAlive(record)) return false
  try {
    process.kill(record.pid, signal)
    return true
  } catch {
    return false
  }
}

/**
 * Ends the process of a record: asks with SIGTERM, also when it is frozen, and kills it when it has not ended in time.
 * @returns how it ended; `gone` when it had before
 */
export async function endRecorded(record: ServerRecord, graceMs: number): Promise<'gone' | 'ended' | 'killed'> {
  if (!signalRecorded(record, 'SIGTERM')) return 'gone'
  signalRecorded(record, 'SIGCONT')
  if (await until(graceMs, () => !isAlive(record))) return 'ended'
  signalRecorded(record, 'SIGKILL')
  if (await until(KILL_MS, () => !isAlive(record))) return 'killed'
  throw new PortError('SERVER_FAILED', `process ${record.pid} (${record.name}) does not end, even by SIGKILL`)
}

function logSize(file: string): number {
  return existsSync(file) ? statSync(file).size : 0
}

/** The log from a byte on, at most its last MAX_LOG_SCAN_BYTES. */
function logSince(file: string, from: number): string {
  const size = logSize(file)
  const start = Math.max(from, size - MAX_LOG_SCAN_BYTES)
  if (size <= start) return ''
  const handle = openSync(file, 'r')
  try {
    const bytes = Buffer.alloc(size - start)
    return bytes.toString('utf8', 0, readSync(handle, bytes, 0, bytes.length, start))
  } finally {
    closeSync(handle)
  }
}

/** The end of a server's log. */
export function logTail(folder: string): string {
  const file = join(folder, LOG)
  return logSince(file, Math.max(0, logSize(file) - LOG_TAIL_BYTES)).trim()
}

/**
 * Starts a server with its output appended to `server.log` in its folder, and waits until the log says that it is ready.
 * The folder's record names the process. Detached, it outlives the process that started it.
 * @throws PortTaken when another has its port, PortError SERVER_FAILED when it ends or is not ready in time (it is killed)
 */
export async function launch(
  spec: ServerSpec,
  options: { readonly detached: boolean; readonly readyMs: number },
): Promise<ServerProcess> {
  mkdirSync(spec.folder, { recursive: true })
  const logFile = join(spec.folder, LOG)
  const logStart = logSize(logFile)
  const output = openSync(logFile, 'a')
  const child = spawn(spec.command, spec.args, {
    cwd: spec.folder,
    detached: options.detached,
    stdio: ['ignore', output, output],
  })
  closeSync(output)
  let ended: ServerExit | null = null
  const exited = new Promise<ServerExit>(done => {
    child.once('exit', (code, signal) => done((ended = { code, signal })))
    child.once('error', () => done((ended = { code: null, signal: null })))
  })
  if (child.pid === undefined) {
    await exited
    throw new PortError('SERVER_UNAVAILABLE', `${spec.command} cannot be started for ${spec.name}; install it`)
  }
  const { pid } = child
  const record: ServerRecord = { ...spec, pid, identity: identityOf(pid) ?? 'ended' }
  writeFileSync(join(spec.folder, RECORD), `${JSON.stringify(record, null, 2)}\n`, { mode: 0o600 })

  const ready = await until(
    options.readyMs,
    () => ended !== null || logSince(logFile, logStart).includes(spec.readyLine),
  )
  if (!ready || ended !== null) {
    child.kill('SIGKILL')
    await exited
    const said = logSince(logFile, logStart)
    const what = `${spec.name} ${ready ? 'ended before it was ready' : `was not ready within ${options.readyMs} ms`}`
    const message = `${what}; its log (${logFile}) ends with:\n${logTail(spec.folder)}`
    throw /Address already in use/i.test(said) ? new PortTaken(message) : new PortError('SERVER_FAILED', message)
  }
  // Detached it keeps nobody waiting, unless it was told to end and somebody waits for that.
  if (options.detached) child.unref()
  const kill = (signal: NodeJS.Signals): boolean => {
    if (ended === null) child.ref()
    return ended === null && child.kill(signal)
  }
  return { pid, exited, kill }
}

/** A running server that can be stopped and started again in the same place. */
export interface Server {
  readonly spec: ServerSpec
  /** Of the process that runs now, or ran last. */
  readonly pid: number
  /** Settles when the process that runs now has ended. */
  readonly exited: Promise<ServerExit>
  /** Signals it (SIGKILL, SIGSTOP, SIGCONT …); false when it has ended. */
  kill(signal: NodeJS.Signals): boolean
  /** Ends it: SIGTERM, then SIGKILL when it takes too long. Its folder stays. */
  stop(): Promise<void>
  /** Starts it again with the same folder and port, after its end; resolves when it is ready. */
  restart(): Promise<void>
}

/** Starts a server by `launch` and holds it. */
export async function startServer(
  spec: ServerSpec,
  options: { readonly detached: boolean; readonly readyMs: number; readonly graceMs: number },
): Promise<Server> {
  let current = await launch(spec, options)
  const stop = async (): Promise<void> => {
    const { exited, kill } = current
    if (!kill('SIGTERM')) return
    kill('SIGCONT')
    const late = setTimeout(() => kill('SIGKILL'), options.graceMs)
    await exited
    clearTimeout(late)
  }
  return {
    spec,
    get pid() {
      return current.pid
    },
    get exited() {
      return current.exited
    },
    kill: signal => current.kill(signal),
    stop,
    restart: async () => {
      await stop()
      current = await launch(spec, options)
    },
  }
}

/** Tries again on other ports when one turned out to be taken; `attempt` chooses its ports anew. */
export async function withFreshPorts<T>(attempt: () => Promise<T>): Promise<T> {
  for (let attempts = 1; ; attempts++) {
    try {
      return await attempt()
    } catch (error) {
      if (!(error instanceof PortTaken) || attempts >= MAX_PORT_ATTEMPTS) throw error
    }
  }
}

const MAX_PORT_ATTEMPTS = 5
