import type { DecodeResult, DecodedEvent } from '../../features/plan/event.ts'
import type { SourcePlan } from '../../features/plan/plan.ts'

/** Reads the events of one source out of record values, in whatever format they are. */
export interface EventReader {
  /**
   * Fetches what reading these values needs and is not known yet, such as schemas; null when all is at hand. Rejects
   * with `REGISTRY_UNAVAILABLE` when that cannot be had now: nothing is known of the values, and they may be tried again.
   */
  prepare(values: readonly Uint8Array[]): Promise<void> | null
  /**
   * The event, or why there is none. A pure function of its arguments, once prepared.
   * @param arrivalMs when the log took the record; an event dated more than the clock skew after it is refused
   */
  read(value: Uint8Array, arrivalMs: number): DecodeResult
}

/** Writes the events of one source as record values. */
export interface EventWriter {
  /** As with `EventReader.prepare`; also rejects with `SCHEMA_MISMATCH` when the registry refuses the source's schema. */
  prepare(): Promise<void> | null
  /** Throws `RangeError` for an event whose value is too large. */
  write(event: Pick<DecodedEvent, 'cells'>): Uint8Array
}

/** How the events of a plan are read and written, opened once for all sources. Both are kept per source. */
export interface EventFormats {
  reader(source: SourcePlan): EventReader
  writer(source: SourcePlan): EventWriter
  close(): Promise<void>
}
