import {
  DIRECTORY_BLOCK,
  addBlock,
  applyPoint,
  blocksForPoint,
  decodeSection,
  emptySection,
  encodeSection,
  prepareReads,
} from '../../features/kernel/index.ts'
import type { SectionState, StoredSection, UnitAnswer } from '../../features/kernel/index.ts'
import type { FeatureRead, Point, TimeMs, UnitSpec } from '../../features/kernel/types.ts'

/** A section and the blocks beside it as a store would hold them, with the state of the writer that feeds it. */
export class StoredUnit {
  readonly spec: UnitSpec
  /** As of the last flush. */
  bytes: Uint8Array
  readonly blocks = new Map<number, Uint8Array>()
  state: SectionState
  blockLoads = 0
  blockWrites = 0
  drops = 0

  constructor(spec: UnitSpec) {
    this.spec = spec
    this.state = emptySection(spec)
    this.bytes = encodeSection(spec, this.state).bytes
  }

  /** Applies a point, bringing the blocks it needs into memory first. */
  apply(point: Point): ReturnType<typeof applyPoint> {
    for (;;) {
      const wanted = blocksForPoint(this.spec, this.state, point.time)
      if (wanted.length === 0) return applyPoint(this.spec, this.state, point)
      for (const id of wanted) {
        const bytes = this.blocks.get(id)
        if (bytes === undefined) throw new Error(`block ${id} is not stored`)
        addBlock(this.spec, this.state, id, bytes)
        this.blockLoads++
      }
    }
  }

  /** Stores what has changed. */
  flush(): void {
    const image = encodeSection(this.spec, this.state)
    this.bytes = image.bytes
    for (const { id, bytes } of image.blocks) this.blocks.set(id, bytes)
    this.blockWrites += image.blocks.length
    for (const { level, belowIndex } of image.drops) {
      for (const id of this.blocks.keys()) {
        const index = Math.floor(id / 16)
        if (id - 16 * index === level && index < belowIndex && this.blocks.delete(id)) this.drops++
      }
    }
  }

  /** Forgets the writer's state and starts again from what is stored. */
  restart(): void {
    this.state = decodeSection(this.spec, this.bytes, this.blocks.get(DIRECTORY_BLOCK))
  }
}

/** The answer from stored sections; only the blocks named in advance are given, then those found missing. */
export function readStored(
  spec: UnitSpec,
  reads: readonly FeatureRead[],
  units: readonly StoredUnit[],
  t: TimeMs,
  self: Point | null,
): { readonly answer: UnitAnswer; readonly rounds: number } {
  const prepared = prepareReads(spec, reads)
  const ids = new Set(prepared.blocksFor(t, self))
  for (let rounds = 1; ; rounds++) {
    const sections: StoredSection[] = units.map(({ bytes, blocks }) => ({
      bytes,
      blocks: new Map([...blocks].filter(([id]) => ids.has(id))),
    }))
    const answer = prepared.fromBytes(sections, t, self)
    if (!('missing' in answer)) return { answer, rounds }
    const before = ids.size
    for (const id of answer.missing) ids.add(id)
    if (ids.size === before) throw new Error(`blocks ${answer.missing.join(', ')} are needed and not stored`)
  }
}
