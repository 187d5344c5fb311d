const BITS = new DataView(new ArrayBuffer(8))

/** A string as a ClickHouse literal. */
export function sqlString(text: string): string {
  return `'${text.replaceAll('\\', '\\\\').replaceAll("'", "\\'").replaceAll('\0', '\\0')}'`
}

/**
 * A double as a ClickHouse expression of type Float64: a short number in digits; of others ClickHouse's parser may miss
 * the last bit, so they are given by their bits.
 */
export function sqlDouble(value: number): string {
  const text = String(value)
  if (/^-?\d{1,15}(\.\d+)?$/.test(text) && text.length <= 16) return `toFloat64(${text})`
  BITS.setFloat64(0, value)
  return `reinterpretAsFloat64(toUInt64('${BITS.getBigUint64(0)}'))`
}
