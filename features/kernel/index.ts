export { AGGREGATORS, makeAggregator } from './aggregators/index.ts'
export { createReader, createWriter, decodeCell, encodeCell } from './encoding.ts'
export { oracleRead, oracleVerdicts, type LogRecord } from './oracle.ts'
export { compareCells, comparePoints, compareUtf8 } from './order.ts'
export { prepareReads, readUnit, readUnitState, type PreparedReads, type UnitAnswer } from './read.ts'
export { SECTION_VERSION } from './encoded-section.ts'
export {
  applyPoint,
  decodeSection,
  emptySection,
  encodeSection,
  newestTime,
  pointCount,
  type Applied,
  type SectionState,
} from './section.ts'
export { TILE_MIN_POINTS, tileMsFor } from './tiles.ts'
