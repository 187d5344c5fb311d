import { packStates } from './states.ts'
import type { FeatureRead, Include, PartialSpec, TimeMs, UnitSpec, Window } from './types.ts'
import { declaredLength, fixedReach, isUnbounded, lowerEdge } from './windows.ts'

/** Reads with one upper edge and one rule of inclusion. */
export interface Frame {
  /** Any of its windows, for the upper edge. */
  readonly window: Window
  readonly include: Include
  readonly lows: readonly Low[]
  /** The partials read, each once. */
  readonly partials: readonly FramePartial[]
  readonly hasConcat: boolean
  /** The order of its lower edges where that is the same at every instant; null where it is not. */
  readonly steps: Steps | null
}

/** Windows with one lower edge. */
interface Low {
  /** Any of them. */
  readonly window: Window
  readonly reads: readonly FrameRead[]
}

interface FrameRead {
  /** Index into the unit's reads. */
  readonly read: number
  /** Index into the frame's partials. */
  readonly slot: number
  readonly lengthMs: number | null
}

/** One partial of a frame. */
export interface FramePartial {
  /** Index into the unit's partials. */
  readonly index: number
  readonly spec: PartialSpec
  readonly concat: boolean
  /** Indexes of the lows at which it is read. */
  readonly lows: readonly number[]
}

/** The lower edges of a frame from the newest to the oldest. */
export interface Steps {
  /** Indexes into the frame's lows. */
  readonly order: readonly number[]
  /** By slot: the last step that reads it. */
  readonly reach: readonly number[]
}

/** Groups reads into frames; a state is carried on from each lower edge of a frame to the next further back. */
export function framesOf(spec: UnitSpec, reads: readonly FeatureRead[]): readonly Frame[] {
  const all = reads.map((read, index) => ({ read, index }))
  return [...Map.groupBy(all, ({ read }) => `${upperKey(read.window)} ${read.include}`).values()].map(members => {
    const partials = [...new Set(members.map(({ read }) => read.partial))]
    const lows = [...Map.groupBy(members, ({ read }) => lowerKey(read.window)).values()].map(same => ({
      window: same[0]!.read.window,
      reads: same.map(({ read, index }) => ({
        read: index,
        slot: partials.indexOf(read.partial),
        lengthMs: declaredLength(read.window),
      })),
    }))
    const framePartials = partials.map((index, slot) => ({
      index,
      spec: spec.partials[index]!,
      concat: spec.partials[index]!.aggregator.kind === 'concat',
      lows: [...lows.keys()].filter(low => lows[low]!.reads.some(read => read.slot === slot)),
    }))
    const reaches = lows.map(low => fixedReach(low.window))
    return {
      window: members[0]!.read.window,
      include: members[0]!.read.include,
      lows,
      partials: framePartials,
      hasConcat: framePartials.some(partial => partial.concat),
      steps: reaches.includes(null)
        ? null
        : stepsOf(
            framePartials,
            reaches.map(reach => -reach!),
          ),
    }
  })
}

function stepsOf(partials: readonly FramePartial[], edges: readonly TimeMs[]): Steps {
  const order = [...edges.keys()].sort((a, b) => (edges[a] === edges[b] ? a - b : edges[b]! > edges[a]! ? 1 : -1))
  const reach = partials.map(partial => Math.max(...partial.lows.map(low => order.indexOf(low))))
  return { order, reach }
}

/** The order of a frame's lower edges at `t`. */
export function stepsAt(frame: Frame, t: TimeMs): Steps {
  return (
    frame.steps ??
    stepsOf(
      frame.partials,
      frame.lows.map(low => lowerEdge(low.window, t)),
    )
  )
}

function upperKey(window: Window): string {
  if (window.kind !== 'tumbling' || window.lookback === 0) return String(window.delayMs)
  return `${window.delayMs} ${window.lengthMs} ${window.lookback}`
}

function lowerKey(window: Window): string {
  const fixed = fixedReach(window)
  if (fixed !== null) return isUnbounded(window) ? 'none' : String(fixed)
  if (window.kind === 'tumbling') return `tumbling ${window.lengthMs} ${window.lookback}`
  return window.kind === 'sliding' ? `edge ${window.lengthMs} ${window.edgeMs}` : window.kind
}

/** The packed empty states of a unit's partials, each with its length before it. */
export function emptyPacked(spec: UnitSpec): readonly Uint8Array[] {
  return spec.partials.map(partial => packStates({ ...spec, partials: [partial] }, [partial.aggregator.empty()]))
}
