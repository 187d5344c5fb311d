/**
 * One value as ClickHouse's JSON formats read it: 64-bit integers as strings, NaN and infinities by name (JSON has
 * neither, and null would turn into another value), −0 as 0, bytes refused.
 */
export function jsonValue(value: unknown): string {
  switch (typeof value) {
    case 'string':
      return JSON.stringify(value)
    case 'number':
      return Number.isFinite(value) ? String(value) : Number.isNaN(value) ? '"nan"' : value > 0 ? '"inf"' : '"-inf"'
    case 'boolean':
      return value ? 'true' : 'false'
    case 'bigint':
      return `"${value}"`
    case 'undefined':
      return 'null'
    case 'object': {
      if (value === null) return 'null'
      if (Array.isArray(value)) return `[${value.map(jsonValue).join(',')}]`
      if (ArrayBuffer.isView(value)) throw new TypeError('Bytes are no JSON value; give text, such as base64.')
      return jsonRow(value as Readonly<Record<string, unknown>>)
    }
    default:
      throw new TypeError(`A ${typeof value} is no JSON value.`)
  }
}

/** One row as a JSON object; keys whose value is undefined are left out. */
export function jsonRow(row: Readonly<Record<string, unknown>>): string {
  const parts: string[] = []
  for (const name in row) {
    const value = row[name]
    if (value !== undefined) parts.push(`${JSON.stringify(name)}:${jsonValue(value)}`)
  }
  return `{${parts.join(',')}}`
}
