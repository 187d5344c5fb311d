import type { BoundPlan } from '../../features/plan/units.ts'
import type { Clock } from '../ports/clock.ts'
import type { OnlineStore } from '../ports/online-store.ts'
import type { Telemetry } from '../ports/telemetry.ts'

/** How long ago each feed had nothing left to read, kept fresh in the background. */
export interface StalenessWatch {
  /** Milliseconds since every partition of the feed was caught up; Infinity while one has never been. */
  caughtUpAgeMs(feed: string, nowMs: number): number
  /** Reads the progress once; a failure is counted and leaves what was known. */
  refresh(): Promise<void>
  close(): void
}

/** Starts to read the store's progress every `pollMs`. The first reading is under way when this returns. */
export function watchStaleness(options: {
  readonly bound: BoundPlan
  readonly store: OnlineStore
  readonly clock: Clock
  readonly telemetry: Telemetry
  readonly pollMs: number
}): StalenessWatch {
  const { bound, store, clock, telemetry, pollMs } = options
  const partitions = new Map(bound.units.map(unit => [unit.feed, unit.source.partitions]))
  const caughtUpAt = new Map<string, number>()
  let closed = false
  const refresh = async (): Promise<void> => {
    try {
      const seen = new Map<string, Map<number, number>>()
      for (const progress of await store.readProgress()) {
        const feed = seen.get(progress.feed) ?? new Map<number, number>()
        feed.set(progress.partition, Math.max(feed.get(progress.partition) ?? -Infinity, progress.caughtUpAtMs))
        seen.set(progress.feed, feed)
      }
      const nowMs = clock.nowMs()
      for (const [name, count] of partitions) {
        const byPartition = seen.get(name)
        let oldest = Infinity
        for (let partition = 0; partition < count; partition++) {
          oldest = Math.min(oldest, byPartition?.get(partition) ?? -Infinity)
        }
        caughtUpAt.set(name, oldest)
        if (Number.isFinite(oldest)) telemetry.gauge('feed_caught_up_age_ms', nowMs - oldest, { feed: name })
      }
    } catch (error) {
      telemetry.count('progress_read_failures', 1)
      if (!closed) telemetry.log('warn', 'reading the progress of the sources failed', { error: String(error) })
    }
  }
  let reading = refresh()
  let idle = true
  const timer = setInterval(() => {
    if (!idle) return
    idle = false
    reading = reading.then(refresh).finally(() => (idle = true))
  }, pollMs)
  timer.unref()
  return {
    caughtUpAgeMs: (feed, nowMs) => nowMs - (caughtUpAt.get(feed) ?? -Infinity),
    refresh,
    close: () => {
      closed = true
      clearInterval(timer)
    },
  }
}
