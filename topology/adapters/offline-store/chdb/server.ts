import { randomUUID } from 'node:crypto'
import { rmSync } from 'node:fs'
import { mkdir, mkdtemp, readdir, readFile, rename, rm, writeFile } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { basename, dirname, join, resolve } from 'node:path'
import { inspect } from 'node:util'
import { Worker } from 'node:worker_threads'
import { PortError } from '../../../ports/errors.ts'
import type { Credentials } from './credentials.ts'
import type { WorkerMessage, WorkerSettings } from './server-worker.ts'

/** Where and how the embedded engine is served. */
export interface ChdbServerOptions {
  /** The folder that holds the data; made when absent. One process at a time owns it. */
  readonly directory: string
  /** Interface to listen on; only loopback unless another is named. The engine itself has no users and no passwords. */
  readonly host?: string
  /** 0 takes a free port. */
  readonly port?: number
  /** Largest body of an INSERT, in bytes after decompression; it is spooled to disk, not held in memory. */
  readonly maxRequestBytes?: number
  /** Largest statement, in bytes. */
  readonly maxStatementBytes?: number
  /** A client that reads nothing of its answer for so long is cut off. */
  readonly stalledClientMs?: number
  /** How long `close` waits for answers in progress. */
  readonly drainMs?: number
  /** The user and password that every query must come with; nobody is asked for any where absent. */
  readonly credentials?: Credentials
}

/** A served folder. */
export interface ChdbServer {
  readonly url: string
  close(): Promise<void>
}

interface Engine {
  readonly kind: 'served' | 'temporary'
  readonly directory: string
  readonly url: string
  readonly credentials: Credentials | null
  readonly worker: Worker
  /** Operations of this process that lean on it. */
  users: number
  stop(): Promise<void>
}

/** The engine is a singleton of the process: at most one folder is open at any time. */
let current: Engine | null = null
let transition: Promise<unknown> = Promise.resolve()

function exclusively<T>(work: () => Promise<T>): Promise<T> {
  const result = transition.then(work, work)
  transition = result.catch(() => undefined)
  return result
}

function workerUrl(): URL {
  const extension = import.meta.url.endsWith('.ts') ? 'ts' : 'js'
  return new URL(`./server-worker.${extension}`, import.meta.url)
}

function waitFor(worker: Worker): Promise<WorkerMessage> {
  return new Promise((resolvePromise, reject) => {
    const done = (): void => {
      worker.off('message', onMessage)
      worker.off('error', onError)
      worker.off('exit', onExit)
    }
    const onMessage = (message: WorkerMessage): void => {
      done()
      resolvePromise(message)
    }
    const onError = (error: Error): void => {
      done()
      reject(error)
    }
    const onExit = (code: number): void => {
      done()
      reject(new Error(`the engine's thread ended with code ${code}`))
    }
    worker.once('message', onMessage)
    worker.once('error', onError)
    worker.once('exit', onExit)
  })
}

/** The file beside the folder that holds the address of its server while one runs: `<directory>.address`. */
export function addressFile(directory: string): string {
  const path = resolve(directory)
  return join(dirname(path), `${basename(path)}.address`)
}

interface Address {
  readonly url: string
  readonly instance: string
  readonly pid: number
}

async function readAddress(directory: string): Promise<Address | null> {
  try {
    const value: unknown = JSON.parse(await readFile(addressFile(directory), 'utf8'))
    const { url, instance, pid } = value as Partial<Address>
    return typeof url === 'string' && typeof instance === 'string' && typeof pid === 'number'
      ? { url, instance, pid }
      : null
  } catch {
    return null
  }
}

/**
 * The address under which a folder is being served, by whatever process; null when there is none, or when the address
 * written there does not answer as the server that wrote it (a process that was killed leaves the file behind).
 */
export async function readServedAddress(directory: string): Promise<string | null> {
  const address = await readAddress(directory)
  if (address === null) return null
  try {
    const answer = await fetch(new URL('/ping', address.url), { signal: AbortSignal.timeout(2_000) })
    const text = await answer.text()
    const same = answer.headers.get('x-clickhouse-server-display-name') === address.instance
    return answer.ok && text === 'Ok.\n' && same ? address.url : null
  } catch {
    return null
  }
}

async function heldBy(directory: string): Promise<string> {
  const served = await readServedAddress(directory)
  if (served !== null) {
    return `it is served by another process at ${served}; connect there (the address is in ${addressFile(directory)})`
  }
  const status = await readFile(join(directory, 'status'), 'utf8').catch(() => '')
  const pid = /^PID: (\d+)/m.exec(status)?.[1]
  const holder = pid === undefined ? 'another process' : `another process (last seen: ${pid})`
  return `either ${holder} holds it, or it is not a writable folder of the engine; end that process, connect to the address it wrote to ${addressFile(directory)}, or choose another folder`
}

function diedUnexpectedly(directory: string, code: number, cause: Error | null): PortError {
  const reason = cause === null ? '' : `: ${cause.message}`
  const message = `The engine's thread of the offline store at ${directory} ended unexpectedly with code ${code}${reason}. Start this process again; rows that were acknowledged are kept.`
  return new PortError('STORE_UNAVAILABLE', message, { cause })
}

/** Nobody waits for the engine's thread, so its death ends the process, unless the process catches such errors. */
function throwUncaught(error: Error): void {
  setImmediate(() => {
    throw error
  })
}

async function startEngine(
  kind: Engine['kind'],
  directory: string,
  options: Omit<ChdbServerOptions, 'directory'>,
): Promise<Engine> {
  const host = options.host ?? '127.0.0.1'
  const instance = `headwater-${randomUUID()}`
  const spoolDirectory = `${directory}.spool`
  await mkdir(directory, { recursive: true })
  await mkdir(spoolDirectory, { recursive: true })
  const settings: WorkerSettings = {
    directory,
    spoolDirectory: join(spoolDirectory, instance),
    host,
    port: options.port ?? 0,
    instance,
    maxRequestBytes: options.maxRequestBytes ?? 4 * 1024 ** 3,
    maxStatementBytes: options.maxStatementBytes ?? 16 * 1024 ** 2,
    stalledClientMs: options.stalledClientMs ?? 300_000,
    drainMs: options.drainMs ?? 10_000,
    credentials: options.credentials ?? null,
  }
  await mkdir(settings.spoolDirectory)
  // The engine leaves thread-exit hooks behind; loaded here too, its code stays in memory when the thread ends.
  await import('chdb')
  const worker = new Worker(workerUrl(), { workerData: settings, name: 'offline-store' })
  let cause: Error | null = null
  worker.on('error', error => (cause = error instanceof Error ? error : new Error(`it threw ${inspect(error)}`)))
  const gone = new Promise<void>(done => worker.once('exit', () => done()))
  const removeSpool = (): Promise<void> => rm(settings.spoolDirectory, { recursive: true, force: true })
  const failed = async (message: string): Promise<never> => {
    await worker.terminate()
    await removeSpool()
    throw new PortError('STORE_UNAVAILABLE', message)
  }
  const first = await waitFor(worker).catch((error: Error) =>
    failed(`Cannot start the offline store at ${directory}: ${error.message}.`),
  )
  if (first.type === 'failed' && first.step === 'open') {
    return await failed(
      `Cannot open ${directory} as the offline store: ${await heldBy(directory)}. The engine said: ${first.message}`,
    )
  }
  if (first.type !== 'listening') {
    const reason = first.type === 'failed' ? first.message : 'it closed'
    return await failed(
      `Cannot serve the offline store on ${host}:${settings.port}: ${reason}. Choose a free port (0 finds one).`,
    )
  }
  let closing = false
  worker.once('exit', code => {
    if (!closing) throwUncaught(diedUnexpectedly(directory, code, cause))
  })
  for (const left of await readdir(spoolDirectory)) {
    if (left !== instance) await rm(join(spoolDirectory, left), { recursive: true, force: true })
  }
  const name = host.includes(':') ? `[${host}]` : host
  return {
    kind,
    directory,
    url: `http://${name === '0.0.0.0' ? '127.0.0.1' : name}:${first.port}`,
    credentials: settings.credentials,
    worker,
    users: 0,
    async stop() {
      closing = true
      worker.ref()
      worker.postMessage('close')
      await gone
      await rm(spoolDirectory, { recursive: true, force: true })
    },
  }
}

async function writeAddress(engine: Engine): Promise<void> {
  const path = addressFile(engine.directory)
  const answer = await fetch(new URL('/ping', engine.url))
  const instance = answer.headers.get('x-clickhouse-server-display-name') ?? ''
  const address: Address = { url: engine.url, instance, pid: process.pid }
  const staged = `${path}.${randomUUID()}`
  await writeFile(staged, `${JSON.stringify(address)}\n`)
  await rename(staged, path)
}

/**
 * Opens a folder with the embedded ClickHouse engine, in a thread of its own, and serves ClickHouse's HTTP protocol
 * from there. The address is written beside the folder for other processes (`readServedAddress`).
 *
 * A folder belongs to one process and a process to one folder: a folder that is taken is a `STORE_UNAVAILABLE` error
 * that names it and where to connect instead.
 */
export function startChdbServer(options: ChdbServerOptions): Promise<ChdbServer> {
  const directory = resolve(options.directory)
  return exclusively(async () => {
    if (current?.kind === 'served') {
      const message = `This process already serves ${current.directory} at ${current.url}, and the engine opens one folder per process. Connect there, or close it first.`
      throw new PortError('STORE_UNAVAILABLE', message)
    }
    if (current !== null && current.users > 0) {
      const message = `Cannot open ${directory}: this process is reading or writing table files, and the engine opens one folder per process. Open the offline store first, or finish with the files.`
      throw new PortError('STORE_UNAVAILABLE', message)
    }
    await stopCurrent()
    const engine = await startEngine('served', directory, options)
    current = engine
    try {
      await writeAddress(engine)
    } catch (error) {
      await stopCurrent()
      throw new PortError('STORE_UNAVAILABLE', `Cannot write ${addressFile(directory)}: ${String(error)}.`, {
        cause: error,
      })
    }
    let closing: Promise<void> | null = null
    const close = (): Promise<void> =>
      exclusively(async () => {
        await rm(addressFile(directory), { force: true })
        if (current === engine) current = null
        await engine.stop()
      })
    return { url: engine.url, close: () => (closing ??= close()) }
  })
}

async function stopCurrent(): Promise<void> {
  const engine = current
  if (engine === null) return
  current = null
  await engine.stop()
  if (engine.kind === 'temporary') await rm(dirname(engine.directory), { recursive: true, force: true })
}

async function startTemporary(): Promise<Engine> {
  const parent = await mkdtemp(join(tmpdir(), 'headwater-engine-'))
  const engine = await startEngine('temporary', join(parent, 'data'), {})
  engine.worker.unref()
  const remove = (): void => rmSync(parent, { recursive: true, force: true })
  process.once('exit', remove)
  engine.worker.once('exit', () => process.off('exit', remove))
  return engine
}

/** An engine of this process for the time of one operation, on files of this machine. */
export interface EngineUse {
  readonly url: string
  /** What to log in with; null where nothing is asked for. */
  readonly credentials: Credentials | null
  release(): void
}

/** The engine this process has open, or a temporary one; until it is released no other folder can be opened. */
export function useEngine(): Promise<EngineUse> {
  return exclusively(async () => {
    current ??= await startTemporary()
    const engine = current
    engine.users += 1
    let released = false
    return {
      url: engine.url,
      credentials: engine.credentials,
      release() {
        if (!released) engine.users -= 1
        released = true
      },
    }
  })
}

/** Ends the temporary engine, if there is one that nothing uses. */
export function releaseTemporaryEngine(): Promise<void> {
  return exclusively(async () => {
    if (current?.kind === 'temporary' && current.users === 0) await stopCurrent()
  })
}
