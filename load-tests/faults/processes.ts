import { spawn } from 'node:child_process'
import { createWriteStream } from 'node:fs'
import { join, resolve } from 'node:path'

const ROOT = resolve(import.meta.dirname, '..', '..')
const MAX_OUTPUT_CHARS = 20_000

/** A process of the system under test. */
export interface SystemProcess {
  readonly name: string
  readonly pid: number
  /** Resolves once it says that it is ready; rejects with what it printed when it ends before. */
  readonly ready: Promise<void>
  /** Resolves with the exit code, null after a signal. */
  readonly exited: Promise<number | null>
  /** The last of what it printed. */
  output(): string
  signal(signal: NodeJS.Signals): void
  /** SIGTERM, and what it ended with. */
  stop(): Promise<number | null>
}

interface Options {
  readonly name: string
  readonly args: readonly string[]
  readonly environment: Readonly<Record<string, string>>
  /** Everything printed is appended to `NAME.log` in it. */
  readonly folder: string
  readonly readyLine: RegExp
}

/** Starts a TypeScript file of this repository, as itself and not under a launcher, so that signals reach it. */
export function startProcess(options: Options): SystemProcess {
  const child = spawn(process.execPath, options.args, {
    cwd: ROOT,
    stdio: ['ignore', 'pipe', 'pipe'],
    env: { PATH: process.env['PATH'] ?? '', HOME: process.env['HOME'] ?? '', ...options.environment },
  })
  const log = createWriteStream(join(options.folder, `${options.name}.log`), { flags: 'a' })
  let printed = ''
  const ready = Promise.withResolvers<void>()
  ready.promise.catch(() => undefined)
  const take = (chunk: Buffer): void => {
    log.write(chunk)
    printed = (printed + chunk.toString()).slice(-MAX_OUTPUT_CHARS)
    if (options.readyLine.test(printed)) ready.resolve()
  }
  child.stdout.on('data', take)
  child.stderr.on('data', take)
  const exited = new Promise<number | null>(done => {
    child.once('close', code => {
      log.end()
      ready.reject(new Error(`${options.name} ended before it was ready:\n${printed}`))
      done(code)
    })
  })
  return {
    name: options.name,
    pid: child.pid ?? -1,
    ready: ready.promise,
    exited,
    output: () => printed,
    signal: signal => void child.kill(signal),
    stop: async () => {
      child.kill('SIGTERM')
      return await exited
    },
  }
}

/** Starts `headwater ARGS`. */
export function startHeadwater(options: {
  readonly args: readonly string[]
  readonly name: string
  readonly environment: Readonly<Record<string, string>>
  readonly folder: string
}): SystemProcess {
  const args = [join(ROOT, 'services', 'cli', 'main.ts'), ...options.args]
  return startProcess({ ...options, args, readyLine: /^ready: /m })
}

/** Starts the embedded ClickHouse engine as a server of its own, as a real one would be. */
export function startClickHouse(folder: string, port: number): SystemProcess {
  const args = [join(import.meta.dirname, 'clickhouse-server.ts'), join(folder, 'clickhouse'), String(port)]
  return startProcess({ name: 'clickhouse', args, environment: {}, folder, readyLine: /^ready: /m })
}
