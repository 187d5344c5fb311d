import { spawn } from 'node:child_process'
import type { ChildProcess } from 'node:child_process'
import { mkdtempSync, rmSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join, resolve } from 'node:path'

export const ROOT = resolve(import.meta.dirname, '..', '..')
const BIN = join(ROOT, 'bin', 'headwater.js')

/** What one finished command left. */
export interface Finished {
  readonly code: number | null
  readonly stdout: string
  readonly stderr: string
}

/** A temporary folder that is removed by `remove`. */
export function temporaryFolder(): { readonly path: string; remove(): void } {
  const path = mkdtempSync(join(tmpdir(), 'headwater-test-'))
  return { path, remove: () => rmSync(path, { recursive: true, force: true, maxRetries: 5 }) }
}

/** Runs `headwater …` to its end. */
export async function headwater(args: readonly string[], options: { cwd?: string } = {}): Promise<Finished> {
  const child = spawn(process.execPath, [BIN, ...args], { cwd: options.cwd ?? ROOT, stdio: ['ignore', 'pipe', 'pipe'] })
  let stdout = ''
  let stderr = ''
  child.stdout.on('data', (chunk: Buffer) => (stdout += chunk.toString()))
  child.stderr.on('data', (chunk: Buffer) => (stderr += chunk.toString()))
  const code = await new Promise<number | null>(done => child.once('close', done))
  return { code, stdout, stderr }
}

/** A process of the system that runs until it is stopped or killed. */
export interface RunningSystem {
  readonly port: number
  readonly offlineUrl: string
  readonly child: ChildProcess
  output(): string
  /** SIGTERM and the exit code. */
  stop(): Promise<number | null>
  /** SIGKILL to the whole process group: nothing gets to clean up. */
  kill(): Promise<void>
}

/** Starts `headwater run all …` in a process group of its own and waits until it says that it is ready. */
export async function startSystem(args: readonly string[], options: { cwd?: string } = {}): Promise<RunningSystem> {
  const child = spawn(process.execPath, [BIN, 'run', 'all', '--set', 'server.port=0', ...args], {
    cwd: options.cwd ?? ROOT,
    detached: true,
    stdio: ['ignore', 'pipe', 'pipe'],
  })
  let output = ''
  child.stdout.on('data', (chunk: Buffer) => (output += chunk.toString()))
  child.stderr.on('data', (chunk: Buffer) => (output += chunk.toString()))
  const closed = new Promise<number | null>(done => child.once('close', done))
  const killGroup = (signal: NodeJS.Signals) => {
    if (child.pid === undefined) return
    try {
      process.kill(-child.pid, signal)
    } catch {
      // The group is gone already.
    }
  }
  let ended = false
  void closed.then(() => (ended = true))
  while (!/^ready: /m.test(output)) {
    if (ended) throw new Error(`headwater run all ended before it was ready:\n${output}`)
    await new Promise(done => setTimeout(done, 25))
  }
  const port = Number(/gRPC on [^\s:]+:(\d+)/.exec(output)?.[1])
  const offlineUrl = /offline store on (\S+?);/.exec(output)?.[1] ?? ''
  return {
    port,
    offlineUrl,
    child,
    output: () => output,
    stop: async () => {
      child.kill('SIGTERM')
      const code = await closed
      return code
    },
    kill: async () => {
      killGroup('SIGKILL')
      await closed
    },
  }
}
