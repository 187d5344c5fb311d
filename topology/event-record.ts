import { encodeJsonEvent, keyText } from '../features/plan/event.ts'
import type { DecodedEvent } from '../features/plan/event.ts'
import type { SourcePlan } from '../features/plan/plan.ts'
import type { NewRecord } from './ports/event-log.ts'

/** The log record of an event, or why there can be none. */
export type EventRecord =
  { readonly ok: true; readonly record: NewRecord } | { readonly ok: false; readonly reason: string }

/**
 * Makes the records of a source's events, prepared once per source: keyed by the source's key field, as JSON. `arrivalMs`
 * is when the event became known; null for now. An event without a key and one that is too large have no record.
 */
export function eventRecorder(source: SourcePlan): (event: DecodedEvent, arrivalMs: number | null) => EventRecord {
  const keyIndex = source.fields.findIndex(field => field.name === source.keyField)
  return (event, arrivalMs) => {
    const key = keyText(event.cells[keyIndex] ?? null)
    if (key === null) {
      return { ok: false, reason: `field "${source.keyField}" decides the partition and must not be null` }
    }
    try {
      const value = encodeJsonEvent(source, event)
      return { ok: true, record: { topic: source.topic, key, value, ...(arrivalMs === null ? {} : { arrivalMs }) } }
    } catch (error) {
      if (error instanceof RangeError) return { ok: false, reason: error.message }
      throw error
    }
  }
}
