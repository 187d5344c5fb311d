/**
 * Preloaded into a process that a launcher started: when the launcher is gone (killed, say), its channel closes, and
 * the process is asked to end as by SIGTERM, so that it is never left behind holding ports and files.
 */
if (process.channel) {
  process.channel.unref()
  process.once('disconnect', () => process.kill(process.pid, 'SIGTERM'))
}
