import type { Cell, TimeMs } from '../kernel/types.ts'

/** An event that passed its source's checks. */
export interface DecodedEvent {
  readonly id: string
  readonly time: TimeMs
  /** One cell per field of the source, in the plan's field order. */
  readonly cells: readonly Cell[]
}
