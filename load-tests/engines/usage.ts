import { fork } from 'node:child_process'
import { once } from 'node:events'
import { join } from 'node:path'

/** In a child: runs `start` and answers `usage` with the processor time since then, and `stop`. */
export async function reportUsage(start: () => Promise<() => Promise<void>>): Promise<void> {
  const before = process.cpuUsage()
  const stop = await start()
  process.on('message', message => {
    if (message === 'usage') {
      const { user, system } = process.cpuUsage(before)
      process.send?.({ kind: 'usage', cpuSeconds: (user + system) / 1e6, rssBytes: process.memoryUsage.rss() })
    } else if (message === 'stop') {
      void stop().then(() => process.disconnect())
    }
  })
  process.send?.({ kind: 'ready' })
}

type Message =
  | { readonly kind: 'ready' }
  | { readonly kind: 'finished'; readonly bytes: number }
  | { readonly kind: 'usage'; readonly cpuSeconds: number; readonly rssBytes: number }

/** A measured process. */
export interface Measured {
  readonly ready: Promise<void>
  readonly finished: Promise<void>
  usage(): Promise<{ readonly cpuSeconds: number; readonly rssBytes: number }>
  stop(): Promise<void>
}

/** Starts a file of this folder that uses `reportUsage`. */
export function startMeasured(
  file: string,
  args: readonly string[],
  environment: Readonly<Record<string, string>>,
): Measured {
  const child = fork(join(import.meta.dirname, file), args, { env: { ...process.env, ...environment } })
  const ready = Promise.withResolvers<void>()
  const finished = Promise.withResolvers<void>()
  const asked: ((usage: { cpuSeconds: number; rssBytes: number }) => void)[] = []
  child.on('message', message => {
    const said = message as Message
    if (said.kind === 'ready') ready.resolve()
    else if (said.kind === 'finished') finished.resolve()
    else asked.shift()?.({ cpuSeconds: said.cpuSeconds, rssBytes: said.rssBytes })
  })
  const ended = once(child, 'exit')
  void ended.then(() => ready.reject(new Error(`${file} ended before it was ready`)))
  return {
    ready: ready.promise,
    finished: finished.promise,
    usage: () =>
      new Promise(done => {
        asked.push(done)
        child.send('usage')
      }),
    stop: async () => {
      child.send('stop')
      await ended
    },
  }
}
