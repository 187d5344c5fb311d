import { makeAggregator } from '../../features/kernel/index.ts'
import type { RawParams } from '../../features/kernel/aggregators/index.ts'
import { windowed } from '../../features/kernel/aggregators/windowed.ts'
import type {
  Cell,
  FeatureRead,
  FieldType,
  Point,
  SectionLayout,
  UnitSpec,
  Window,
} from '../../features/kernel/types.ts'

/** A unit as plain JSON, so that it can be recorded beside the bytes that were stored of it. */
export interface RecordedUnit {
  readonly columns: readonly FieldType[]
  readonly filterCount: number
  readonly partials: readonly RecordedPartial[]
  readonly latenessMs: number
  readonly horizonMs: number
  readonly retentionMs: number
  readonly edgeMs: number
  readonly rawMs: number
  readonly layout: SectionLayout
}

interface RecordedPartial {
  readonly family: string
  readonly params: RawParams
  readonly column: number
  readonly by: number
  readonly filter: number
  readonly lifetime: boolean
  /** The window that it is read over and, for some, wrapped for. */
  readonly window: Window
}

/** The kernel's unit and one read of each partial. */
export function unitOf(recorded: RecordedUnit): { readonly spec: UnitSpec; readonly reads: readonly FeatureRead[] } {
  const typeAt = (column: number): FieldType | null => (column < 0 ? null : recorded.columns[column]!)
  const partials = recorded.partials.map(({ family, params, column, by, filter, lifetime, window }) => {
    const made = makeAggregator(family, params, typeAt(column), typeAt(by))
    return { aggregator: windowed(made, window, typeAt(column), typeAt(by)), column, by, filter, lifetime }
  })
  const reads = recorded.partials.map(({ window }, partial): FeatureRead => ({
    partial,
    window,
    include: 'current',
    whenEmpty: null,
  }))
  return { spec: { ...recorded, partials }, reads }
}

/** JSON that keeps bigints, NaN and the infinities apart from text and null. */
export function toJson(value: unknown): string {
  return JSON.stringify(value, (_, part: unknown) => {
    if (typeof part === 'bigint') return { $: `${part}n` }
    return typeof part === 'number' && !Number.isFinite(part) ? { $: String(part) } : part
  })
}

/** What `toJson` wrote. */
export function fromJson<T>(text: string): T {
  return JSON.parse(text, (_, part: unknown) => {
    if (typeof part !== 'object' || part === null || !('$' in part)) return part
    const { $ } = part as { readonly $: string }
    return $.endsWith('n') ? BigInt($.slice(0, -1)) : Number($)
  }) as T
}

/** A point as it is recorded. */
export type RecordedPoint = readonly [time: number, id: string, mask: number, cells: readonly Cell[]]

/** The point of its recorded form. */
export function pointFrom([time, id, mask, cells]: RecordedPoint): Point {
  return { time, id, mask, cells }
}
