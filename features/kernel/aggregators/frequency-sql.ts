import type { FieldType } from '../types.ts'

/**
 * The cells as ClickHouse must see them to tell values apart as the kernel does: of doubles all NaN become one bit
 * pattern and −0 becomes 0.
 */
export function canonicalCellsSql(cells: string, type: FieldType): string {
  if (type.kind !== 'double') return cells
  return `arrayMap(hw_d -> if(isNaN(hw_d), CAST('nan', 'Float64'), hw_d + 0), ${cells})`
}

/** An array of cells as an array of values in the form of results: a decimal becomes the nearest Float64. */
export function valuesSql(cells: string, type: FieldType): string {
  return type.kind === 'decimal' ? `arrayMap(hw_v -> toFloat64(hw_v), ${cells})` : cells
}

/**
 * An array of tuples (category, count), ascending by category, of the cells; empty for none. Sorting is that of the
 * kernel: strings by bytes, false before true, NaN last.
 */
export function categoryCountsSql(cells: string, type: FieldType): string {
  const groups = 'arraySplit((hw_x, hw_u) -> hw_u = 1, hw_s, arrayEnumerateUniq(hw_s))'
  const counts = `arrayMap(hw_g -> (hw_g[1], length(hw_g)), arrayFilter(hw_f -> notEmpty(hw_f), ${groups}))`
  return `arrayMap(hw_s -> ${counts}, [arraySort(${canonicalCellsSql(cells, type)})])[1]`
}

/** The counts of the `bound` least categories, then of all others together when there are any, as Array(UInt64). */
export function boundedCountsSql(cells: string, type: FieldType, bound: number): string {
  const kept = `arrayMap(hw_p -> hw_p.2, arraySlice(hw_c, 1, ${bound}))`
  const others = `arraySum(hw_o -> hw_o.2, arraySlice(hw_c, ${bound + 1}))`
  return `arrayMap(hw_c -> if(length(hw_c) > ${bound}, arrayPushBack(${kept}, ${others}), ${kept}), [${categoryCountsSql(cells, type)}])[1]`
}
