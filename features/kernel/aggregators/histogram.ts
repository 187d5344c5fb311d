import { binCounts } from './bin-counts.ts'
import { defineAggregator, type AggregatorDescriptor } from './descriptor.ts'
import { binOfCell, edgeCells, isEdgeType, thresholdsSql } from './edges.ts'

const MAX_EDGES = 200

/** `histogram(field, edges)`. */
export const histogram: AggregatorDescriptor = defineAggregator({
  family: 'histogram',
  kind: 'merge',
  version: 1,
  exactness: 'exact',
  params: {
    edges: {
      kind: 'numbers',
      minLength: 1,
      maxLength: MAX_EDGES,
      doc: 'where one count ends and the next begins, ascending; a value at an edge belongs above it',
    },
  },
  doc: 'How many values that are not null lie below the first edge, in [edge i, edge i + 1) for each pair of neighbours, and at or above the last: one count more than edges. NaN is not counted; the infinities are in the outer counts. Edges of decimals are decimal: 0.1 is one tenth; an edge between two units separates them. Empty: a list of zeros. Exact. State: a varint for each count that is not 0 and 2 to 3 bytes for each run of zeros.',
  accepts: isEdgeType,
  valueType: () => 'readonly number[]',
  algebra: (inputType, params) => {
    const thresholds = edgeCells(inputType, params.edges)
    return binCounts(params.edges.length + 1, cell => (cell === cell ? binOfCell(thresholds, cell) : -1))
  },
  sql: (rows, inputType, params) => {
    const above = `arrayMap(hw_e -> arrayCount(hw_x -> hw_x >= hw_e, ${rows.cells}), ${thresholdsSql(inputType, params.edges)})`
    const all =
      inputType.kind === 'double' ? `arrayCount(hw_x -> not isNaN(hw_x), ${rows.cells})` : `length(${rows.cells})`
    const difference = 'arrayMap((hw_l, hw_r) -> hw_l - hw_r, hw_h, arrayPushBack(arrayPopFront(hw_h), 0))'
    return `arrayMap(hw_h -> ${difference}, [arrayPushFront(${above}, toUInt64(${all}))])[1]`
  },
})
