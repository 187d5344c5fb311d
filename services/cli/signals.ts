/** A terminal and npm may deliver the same Ctrl-C twice; what comes this soon after the first is the same one. */
const SAME_SIGNAL_MS = 500

/**
 * Resolves at the first SIGINT or SIGTERM. A second Ctrl-C ends the process at once; a repeated SIGTERM (a supervisor
 * that signals the whole group) changes nothing.
 */
export function untilSignal(): Promise<string> {
  return new Promise(resolve => {
    let askedAtMs: number | null = null
    for (const signal of ['SIGINT', 'SIGTERM'] as const) {
      process.on(signal, () => {
        const now = performance.now()
        if (askedAtMs === null) {
          askedAtMs = now
          resolve(signal)
        } else if (signal === 'SIGINT' && now - askedAtMs > SAME_SIGNAL_MS) {
          process.exit(130)
        }
      })
    }
  })
}
