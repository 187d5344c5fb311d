/**
 * Preloaded into the process that runs Headwater, so that it is never left behind holding ports and files: when the
 * launcher that started it is gone (its channel closes), or, under `npm run`, the shell that npm put between, which ends
 * without passing signals on, the process is asked to end as by SIGTERM.
 */
const PARENT_POLL_MS = 500

function end() {
  process.kill(process.pid, 'SIGTERM')
}

if (process.channel) {
  process.channel.unref()
  process.once('disconnect', end)
} else if (process.env.npm_lifecycle_event !== undefined && process.platform !== 'win32') {
  const parent = process.ppid
  const timer = setInterval(() => {
    if (process.ppid === parent) return
    clearInterval(timer)
    end()
  }, PARENT_POLL_MS)
  timer.unref()
}
