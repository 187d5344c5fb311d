import type { OfflineStore } from '../ports/offline-store.ts'
import type { ReplayOptions } from './dead-letter-replay.ts'

interface StoredLetter {
  readonly key: string | null
  readonly payload_hex: string
}

const QUERY = `SELECT key, payload_hex FROM dead_letters FINAL
WHERE topic = {topic:String} AND _partition = {partition:UInt32} AND _offset = {offset:UInt64}
  AND ({incarnation:String} = '' OR _incarnation = {incarnation:String}) LIMIT 1`

/**
 * Finds refused records whole in the table `dead_letters`, which keeps every byte of them.
 * @param open the offline store; null where it cannot be reached. Called for each record, so it must open it once
 */
export function wholeRecords(open: () => Promise<OfflineStore | null>): ReplayOptions['wholeRecord'] {
  return async ({ topic, partition, offset, incarnation }) => {
    const offline = await open()
    if (offline === null) return { reason: 'the topic has only a part of it, and the offline store cannot be reached' }
    const params = { topic, partition, offset, incarnation: incarnation ?? '' }
    const [row] = await offline.query<StoredLetter>(QUERY, params)
    if (row === undefined) return { reason: 'the topic has only a part of it, and the offline store has none' }
    return { record: { key: row.key, value: Buffer.from(row.payload_hex, 'hex') } }
  }
}
