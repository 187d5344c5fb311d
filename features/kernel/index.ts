export { AGGREGATORS, makeAggregator } from './aggregators/index.ts'
export { SECTION_VERSION } from './encoded-section.ts'
export { createReader, createWriter, decodeCell, encodeCell } from './encoding.ts'
export { DIRECTORY_BLOCK, LEVELS_MS, blockIdAt, layoutFor, spanOfBlock } from './layout.ts'
export { oracleRead, oracleVerdicts, type LogRecord } from './oracle.ts'
export { compareCells, comparePoints, compareUtf8 } from './order.ts'
export { prepareReads, type MissingBlocks, type PreparedReads, type UnitAnswer } from './read.ts'
export {
  addBlock,
  applyPoint,
  blocksForPoint,
  decodeSection,
  emptySection,
  newestTime,
  pointCount,
  stateBytes,
  type SectionState,
} from './section.ts'
export { encodeSection, type EncodedBlock, type SectionImage } from './section-blocks.ts'
export type { StoredSection } from './source.ts'
export { declaredLength, isUnbounded, lowerEdge, reachOf, upperEdge } from './windows.ts'
