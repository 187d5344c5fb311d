export { AGGREGATORS, makeAggregator } from './aggregators/index.ts'
export { createReader, createWriter, decodeCell, encodeCell } from './encoding.ts'
export { oracleRead, oracleVerdicts, type LogRecord } from './oracle.ts'
export { compareCells, comparePoints, compareUtf8 } from './order.ts'
export { prepareReads, readUnit, readUnitState, type PreparedReads } from './read.ts'
export {
  applyPoint,
  decodeSection,
  emptySection,
  encodeSection,
  newestTime,
  pointCount,
  type SectionState,
} from './section.ts'
export { TILE_MIN_POINTS, tileMsFor } from './tiles.ts'
