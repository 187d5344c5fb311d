import { SHARD_COUNT } from '../topology/ports/online-store.ts'
import type { RuntimeContext } from '../topology/runtime/context.ts'

/** Whether every shard of every unit is written up to these ends of the topic's partitions, in its present life. */
export async function isWritten(context: RuntimeContext, topic: string, ends: readonly number[]): Promise<boolean> {
  const { store, bound, log } = context
  const incarnation = (await log.describe(topic))?.incarnation ?? ''
  for (const unit of bound.units) {
    for (const [partition, end] of ends.entries()) {
      if (end === 0) continue
      const canaries = await store.readCanaries({ unit: unit.id, incarnation, partition }, SHARD_COUNT)
      if (canaries.some(canary => canary === null || canary.offset < end - 1)) return false
    }
  }
  return true
}

/** The end of every partition of a topic now. */
export async function endsOf({ log }: Pick<RuntimeContext, 'log'>, topic: string): Promise<readonly number[]> {
  const info = await log.describe(topic)
  const bounds = await Promise.all(
    Array.from({ length: info?.partitions ?? 0 }, (_, partition) => log.bounds(topic, partition)),
  )
  return bounds.map(each => each.endOffset)
}
