import { encodeJsonEvent, eventDecoder, keyText } from '../features/plan/event.ts'
import type { DecodedEvent } from '../features/plan/event.ts'
import type { SourcePlan } from '../features/plan/plan.ts'
import type { NewRecord } from './ports/event-log.ts'
import type { EventFormats, EventReader, EventWriter } from './ports/value-format.ts'

/** The log record of an event, or why there can be none. */
export type EventRecord =
  { readonly ok: true; readonly record: NewRecord } | { readonly ok: false; readonly reason: string }

function checkJson(source: SourcePlan): void {
  if (source.format !== 'avro') return
  throw new Error(`event ${source.name} is written as avro: its records need the formats that createEventFormats makes`)
}

function jsonReader(source: SourcePlan): EventReader {
  checkJson(source)
  const decoder = eventDecoder(source)
  return { prepare: () => null, read: (value, arrivalMs) => decoder.decodeJson(value, arrivalMs) }
}

function jsonWriter(source: SourcePlan): EventWriter {
  checkJson(source)
  return { prepare: () => null, write: event => encodeJsonEvent(source, event) }
}

/** The formats of a plan in which every event is JSON; throws for a source whose format is another. */
export const jsonFormats: EventFormats = { reader: jsonReader, writer: jsonWriter, close: () => Promise.resolve() }

/**
 * Makes the records of a source's events, prepared once per source: keyed by the source's key field. `arrivalMs` is when
 * the event became known; null for now. An event without a key and one that is too large have no record. The writer must
 * have been prepared.
 */
export function eventRecorder(
  source: SourcePlan,
  writer: EventWriter = jsonWriter(source),
): (event: DecodedEvent, arrivalMs: number | null) => EventRecord {
  const keyIndex = source.fields.findIndex(field => field.name === source.keyField)
  return (event, arrivalMs) => {
    const key = keyText(event.cells[keyIndex] ?? null)
    if (key === null) {
      return { ok: false, reason: `field "${source.keyField}" decides the partition and must not be null` }
    }
    try {
      const value = writer.write(event)
      return { ok: true, record: { topic: source.topic, key, value, ...(arrivalMs === null ? {} : { arrivalMs }) } }
    } catch (error) {
      if (error instanceof RangeError) return { ok: false, reason: error.message }
      throw error
    }
  }
}
