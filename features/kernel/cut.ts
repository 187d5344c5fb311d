import { walk, type SectionSource, type Visitor } from './source.ts'
import type { Include, Point, TimeMs } from './types.ts'

/** The event being scored, as a read sees it. */
export interface Virtual {
  readonly point: Point
  /** Per section. */
  readonly storedIn: readonly boolean[]
  readonly stored: boolean
}

/** What is left out of a frame: one instant, or in sections that store the event being scored that event alone. */
export interface Cut {
  readonly time: TimeMs
  /** null: every event of that time. */
  readonly id: string | null
  /** Per section; null: all. */
  readonly sections: readonly boolean[] | null
}

/** What a rule of inclusion leaves out at `t`; null for nothing. */
export function cutOf(include: Include, t: TimeMs, virtual: Virtual | null): Cut | null {
  if (include === 'excludeInstant') {
    return { time: virtual === null ? t : virtual.point.time, id: null, sections: null }
  }
  if (include !== 'excludeSelf' || virtual === null || !virtual.stored) return null
  return { time: virtual.point.time, id: virtual.point.id, sections: virtual.storedIn }
}

/** A visitor that passes over one event among the rows it is given. */
export interface CutVisitor extends Visitor {
  /** The id of that event while rows of its instant are given; null at all other times. */
  skipId: string | null
}

/** As `walk` over a whole section, without what is cut out of it. `index` is the number of the section. */
export function walkUncut(
  source: SectionSource,
  index: number,
  cut: Cut | null,
  low: TimeMs,
  high: TimeMs,
  raw: boolean,
  visitor: CutVisitor,
): void {
  const cuts = cut !== null && cut.time > low && cut.time <= high && (cut.sections === null || cut.sections[index]!)
  if (!cuts) {
    if (low < high) walk(source, source.head, low, high, raw, visitor)
    return
  }
  if (low < cut.time - 1) walk(source, source.head, low, cut.time - 1, raw, visitor)
  if (cut.id !== null) {
    visitor.skipId = cut.id
    walk(source, source.head, cut.time - 1, cut.time, true, visitor)
    visitor.skipId = null
  }
  if (cut.time < high) walk(source, source.head, cut.time, high, raw, visitor)
}
