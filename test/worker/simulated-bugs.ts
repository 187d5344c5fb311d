import type * as FeatureLanes from '../../topology/processors/feature-lane.ts'

type Lanes = typeof FeatureLanes

/** Which rules of the worker's own state are left out. Only where the module is replaced by `withLaneBugs`. */
export interface LaneBugs {
  /** Records at or below a section's position are applied to it again. */
  readonly noSkip?: boolean
  /** A section found ahead, whose records were skipped, is not written again. */
  readonly notResent?: boolean
  /** What is cached stays cached. */
  readonly noTrim?: boolean
}

let planted: LaneBugs = {}

/** Plants these from now on, and no others. */
export function plantLaneBugs(bugs: LaneBugs): void {
  planted = bugs
}

/** The step machine of the worker, in which the planted bugs are. */
export function withLaneBugs(real: Lanes): Lanes {
  return {
    ...real,
    applyEvents: (lane, events, last) => {
      if (planted.noSkip === true) {
        for (const entry of lane.entries.values()) entry.position = Math.min(entry.position, lane.applied.offset)
      }
      const dirty = new Set(lane.dirty)
      const positions = new Map([...lane.entries].map(([id, entry]) => [id, entry.position]))
      const outcome = real.applyEvents(lane, events, last)
      if (planted.notResent === true) {
        for (const id of lane.dirty) {
          if (!dirty.has(id) && lane.entries.get(id)?.position === positions.get(id)) lane.dirty.delete(id)
        }
      }
      return outcome
    },
    trimCache: (lane, maxBytes) => {
      if (planted.noTrim !== true) real.trimCache(lane, maxBytes)
    },
  }
}
